"""One moment of what is looked at: everything a panel needs to draw itself, and nothing of Textual."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Literal

from collectors.model import HOST, EngineKey, Event, Label, Tick
from collectors.slo import SloBook
from dashboard.format import NANOSECONDS, Units
from dashboard.frames import Arrangement
from dashboard.palette import Palette
from dashboard.state import History, PlacedEvent, View
from dashboard.survey import SUMMED_UP, Survey
from dashboard.tracks import Column

if TYPE_CHECKING:
    from collectors.histogram import Histogram
    from collectors.sources import SourceStatus

Mode = Literal["live", "paused", "inspect", "replay", "playing"]

QUANTILE_SECONDS = 60.0
"""Latencies are quantiles over this much time: single intervals see too few requests."""
ODD_SECONDS = 5.0
"""A GPU is compared with its peers over this much time, so that the sentence about it stands still."""
_SHORTEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Tab:
    """One of the screens, as the footer names it."""

    key: str
    title: str
    current: bool


def usual_step(interval: float) -> int:
    """Nanoseconds in one column as long as nobody zooms: whole intervals, at least 2 s."""
    length = max(interval, 0.01)
    return round(max(1, -(-_SHORTEST_STEP // length)) * length * NANOSECONDS)


@dataclass(frozen=True, slots=True)
class Playback:
    """Where a replay stands. Times are wall-clock nanoseconds; `strip` is the whole recording in columns."""

    start: int
    end: int
    position: int
    playing: bool
    speed: float
    following: bool
    strip: tuple[ScrubberCell, ...] = ()
    message: str | None = None
    events: tuple[Event, ...] = ()
    """Those of the whole recording, oldest first; the newest where there are very many."""
    survey: Survey | None = None
    """What has been read of the long span that was asked for."""
    is_read_in_parts: bool = False
    """Whether events are known only of what has been looked at."""


@dataclass(frozen=True, slots=True)
class ScrubberCell:
    """One column of the whole recording: seconds by phase, whether nothing was recorded, events in it."""

    seconds: tuple[float, float, float, float, float]
    gap: bool
    event: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """What all panels show now."""

    palette: Palette
    history: History
    view: View
    tick: Tick | None
    arrangement: Arrangement
    units: Units
    mode: Mode
    now: int
    host_name: str
    statuses: Sequence[SourceStatus] = ()
    zone: tzinfo = UTC
    interval: float = 1.0
    playback: Playback | None = None
    slo: SloBook = field(default_factory=SloBook)
    """The latencies that are promised."""
    keys: Sequence[tuple[str, str]] = ()
    tabs: Sequence[Tab] = ()
    notice: str | None = None
    """What the last key did, where that is not seen otherwise."""
    origin: str = ""
    """Where the figures come from, when that is not this machine now."""
    marks: Sequence[int] = ()
    """Moments that somebody marked, wall-clock nanoseconds."""
    survey: Survey | None = None
    """What the time axis shows where a recording has summed it up; None where it shows what is in memory."""

    told: dict[str, object] = field(default_factory=dict, compare=False)
    """What several panels ask for, made once."""

    @property
    def label(self) -> Label | None:
        return None if self.tick is None else self.tick.labels.get(HOST)

    @property
    def step(self) -> int:
        """Nanoseconds in one column."""
        return self.view.step or usual_step(self.interval)

    def averages(self, entity: str, name: str, columns: Sequence[Column]) -> list[float]:
        """One number of `dashboard.series` in each of the columns, NaN where it is missing."""
        if self.survey is not None:
            return self.survey.averages(entity, name, columns)
        return self.history.tracks.averages(entity, name, columns)

    def value(self, entity: str, name: str) -> float | None:
        """One number of `dashboard.series` in the interval looked at."""
        tracks = self.history.tracks
        row = None if self.tick is None else tracks.row_of(self.tick.interval.sequence)
        return None if row is None else tracks.series.value(entity, name, row)

    def observed(self, keys: Sequence[EngineKey], latency: str) -> Histogram | None:
        """What those engines together observed of a latency in the minute up to the interval looked at."""
        sequence = None if self.tick is None else self.tick.interval.sequence
        return self.history.tracks.observed(keys, latency, sequence, QUANTILE_SECONDS)

    def is_slow(self, model: str | None, latency: str, observed: Histogram | None) -> bool:
        """Whether more of it is slower than was promised of that model."""
        promised = self.slo.of(model).of(latency)
        return promised is not None and promised.met(observed) is False

    def columns(self, count: int) -> list[Column]:
        """The visible columns, newest last; empty before the first interval."""
        end = self.view.end()
        if end is None or count < 1:
            return []
        return self.history.columns(end, self.step, count) if self.survey is None else self.survey.columns(count)

    def wall_time(self, axis_ns: int) -> int:
        """What the clock showed at a moment of the axis."""
        return axis_ns if self.survey is not None else self.history.tracks.wall_time(axis_ns)

    @property
    def edge(self) -> int | None:
        """The right edge of the time axis, wall-clock nanoseconds."""
        if self.survey is not None and self.playback is not None:
            return min(self.survey.span.end, self.playback.end)
        end = self.view.end()
        return None if end is None else self.history.tracks.wall_time(end)

    def events_between(self, start: int, end: int) -> list[PlacedEvent]:
        """Events on the axis from `start` up to `end`, oldest first."""
        if self.survey is None or self.playback is None:
            return self.history.events_between(start, end)
        known = self.playback.events
        first, last = (bisect_left(known, moment, key=lambda event: event.time) for moment in (start, end))
        return [PlacedEvent(event.time, event, SUMMED_UP) for event in known[first:last]]

    def column_of_cursor(self, columns: Sequence[Column]) -> int | None:
        """The column of the interval under the cursor, the last one where it spans several."""
        if self.survey is not None:
            x = -1 if self.playback is None else (self.playback.position - 1 - columns[0].start) // self.step
            return x if 0 <= x < len(columns) else None
        sequence = self.view.cursor
        if sequence is None:
            return None
        for x in range(len(columns) - 1, -1, -1):
            first, last = columns[x].first_sequence, columns[x].last_sequence
            if first is not None and last is not None and first <= sequence <= last:
                return x
        return None

    def recent(self, seconds: float) -> list[Tick]:
        """The ticks up to the one looked at, over that much time."""
        if self.tick is None:
            return []
        return self.history.before(self.tick.interval.sequence, seconds)
