"""How often one peer may present wrong credentials."""

from __future__ import annotations

from collections import OrderedDict

BURST = 10
"""So many wrong ones in a row are answered."""
SECONDS_EACH = 2.0
"""Beyond them, one every so many seconds."""
_PEERS = 1024


class FailureLimit:
    """Counts failures by peer and forgets them at a steady rate. `now` is monotonic seconds throughout.

    The number of peers that are remembered is bounded; who failed longest ago is forgotten first.
    """

    def __init__(self, *, burst: int = BURST, seconds_each: float = SECONDS_EACH, peers: int = _PEERS) -> None:
        self._burst = burst
        self._seconds_each = seconds_each
        self._most = peers
        self._forgotten_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, peer: str, now: float) -> float:
        """Seconds until the peer may try again; 0 when it may now."""
        forgotten = self._forgotten_at.get(peer, now)
        return max(0.0, forgotten - now - (self._burst - 1) * self._seconds_each)

    def failed(self, peer: str, now: float) -> None:
        self._forgotten_at[peer] = max(now, self._forgotten_at.get(peer, now)) + self._seconds_each
        self._forgotten_at.move_to_end(peer)
        while len(self._forgotten_at) > self._most:
            self._forgotten_at.popitem(last=False)
