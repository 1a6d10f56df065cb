"""One moment of what is looked at: everything a panel needs to draw itself, and nothing of Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Literal

from collectors.model import HOST, EngineKey, Event, Label, Tick
from collectors.slo import SloBook
from dashboard.format import NANOSECONDS, Units
from dashboard.frames import Arrangement
from dashboard.palette import Palette
from dashboard.state import History, View
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

    @property
    def label(self) -> Label | None:
        return None if self.tick is None else self.tick.labels.get(HOST)

    @property
    def step(self) -> int:
        """Nanoseconds in one column."""
        return self.view.step or usual_step(self.interval)

    def averages(self, entity: str, name: str, columns: Sequence[Column]) -> list[float]:
        """One number of `dashboard.series` in each of the columns, NaN where it is missing."""
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
        return [] if end is None or count < 1 else self.history.columns(end, self.step, count)

    def recent(self, seconds: float) -> list[Tick]:
        """The ticks up to the one looked at, over that much time."""
        if self.tick is None:
            return []
        return self.history.before(self.tick.interval.sequence, seconds)
