"""Asking listeners that may be an engine, politely: once, and then ever less often while they are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collectors.clock import Clock

_RETRY_SECONDS = 60.0
_RETRY_LIMIT_SECONDS = 600.0

FindPage = Callable[[str, Sequence[str]], str | None]
"""Which of some paths at an address is an engine's page, as a URL. May block for seconds."""


@dataclass(slots=True)
class _Asked:
    """What came of asking."""

    identity: int
    page: str | None
    again_at: float
    pause: float


class Asking:
    """Remembers who was asked. For one thread."""

    def __init__(self, find_page: FindPage | None, clock: Clock) -> None:
        """Without `find_page` nobody is ever asked."""
        self._find_page = find_page
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._now: set[str] = set()

    @property
    def may_ask(self) -> bool:
        return self._find_page is not None

    def ask(self, base: str, identity: int, paths: Sequence[str]) -> str | None:
        """The engine's page at an address; asked again after a while, or when who listens there is another."""
        if self._find_page is None:
            return None
        self._now.add(base)
        asked = self._asked.get(base)
        same = asked is not None and asked.identity == identity
        if asked is not None and same and (asked.page or self._clock.monotonic() < asked.again_at):
            return asked.page
        pause = min(asked.pause * 2, _RETRY_LIMIT_SECONDS) if asked is not None and same else _RETRY_SECONDS
        page = self._find_page(base, paths)
        self._asked[base] = _Asked(identity, page, self._clock.monotonic() + pause, pause)
        return page

    def end_of_look(self) -> None:
        """Forget whom nobody would ask any more."""
        self._asked = {base: asked for base, asked in self._asked.items() if base in self._now}
        self._now.clear()
