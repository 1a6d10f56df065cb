"""What a feed over a recording can do besides delivering."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Protocol, runtime_checkable

from collectors.model import Tick
from dashboard.scene import Playback
from dashboard.state import Feed
from dashboard.survey import Span


@runtime_checkable
class Replaying(Feed, Protocol):
    """What a feed over a recording can do besides delivering. All of it returns at once."""

    @property
    def zone(self) -> tzinfo: ...

    @property
    def interval(self) -> float:
        """Seconds of one interval."""
        ...

    @property
    def host_name(self) -> str: ...

    @property
    def origin(self) -> str:
        """Where the figures come from, in a few words; may be empty."""
        ...

    @property
    def sums_up(self) -> bool:
        """Whether there are long spans to be looked at, in columns that were summed up."""
        ...

    def playback(self) -> Playback: ...

    def toggle(self) -> None: ...

    def step(self, intervals: int) -> None: ...

    def skip(self, seconds: float) -> None: ...

    def jump_phase(self, direction: int) -> None: ...

    def jump_event(self, direction: int) -> None: ...

    def jump_gap(self, direction: int) -> None: ...

    def seek(self, time_ns: int) -> None: ...

    def change_speed(self, direction: int) -> None: ...

    def to_end(self) -> None: ...

    def between(self, start: int, end: int) -> Iterator[Tick]:
        """The intervals that start within [start, end), wall-clock ns; for a thread, as they are read from disk."""
        ...

    def resize(self, columns: int, window_seconds: float) -> None: ...

    def overlook(self, span: Span | None) -> None:
        """Asks for what the axis shows of a long span; `playback` has it, as far as it has been read."""
        ...
