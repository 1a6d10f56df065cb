"""How much time one column of the axis stands for: from 10 s on the screen to the whole history."""

from __future__ import annotations

from dashboard.format import NANOSECONDS
from dashboard.scene import Playback, usual_step
from dashboard.state import KEEP_SECONDS
from dashboard.survey import SHORTEST_STEP, Span

_STEPS = tuple(
    round(seconds * NANOSECONDS)
    for seconds in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
)
_SHORTEST_WINDOW = 10 * NANOSECONDS
KEPT = round(KEEP_SECONDS * NANOSECONDS)
"""What is in memory at once: longer spans of a recording are looked at in columns that were summed up."""


def is_step(step: int, *, replay: bool) -> bool:
    """Whether it is one of the steps; those for long spans are of recordings alone."""
    return step in _STEPS and (replay or step <= SHORTEST_STEP)


def finer(step: int, columns: int) -> int:
    """The next shorter step; the same one where less than ten seconds would be seen."""
    return max((one for one in _STEPS if one < step and one * columns >= _SHORTEST_WINDOW), default=step)


def coarser(step: int, columns: int, whole: int, *, replay: bool) -> int:
    """The next longer step; the same one where all there is, `whole` nanoseconds, is seen already.

    In a recording, no step is taken at which more would be seen than memory holds and columns are not summed up yet.
    """
    if step * max(1, columns - 1) >= whole:
        return step
    longer = (one for one in _STEPS if one > step and is_step(one, replay=replay))
    fitting = (one for one in longer if not replay or one >= SHORTEST_STEP or one * columns <= KEPT)
    return min(fitting, default=step)


def is_long(step: int, interval: float) -> bool:
    """Whether columns of a recording are read as they were summed up, not made of its intervals in memory."""
    return step >= SHORTEST_STEP and step > usual_step(interval)


class LongView:
    """Which span of a recording is seen: it stays until what is looked at leaves it."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None

    def span(self, playback: Playback, step: int, columns: int) -> Span:
        first, here, last = (
            (moment - at_end) // step
            for moment, at_end in ((playback.start, 0), (playback.position, 1), (playback.end, 1))
        )
        count = max(1, columns)
        if last - first < count:
            edge = last  # all of it is seen
        else:
            before = self._last[1] if self._last is not None and self._last[0] == step else None
            is_seen = before is not None and before - count < here <= min(before, last)
            # As elsewhere, what is jumped to lies three quarters of the way.
            edge = before if before is not None and is_seen else min(last, here + count // 4)
        self._last = (step, edge)
        return Span(step, edge, count)
