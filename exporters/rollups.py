"""One-minute sums of phase seconds, made while recording so that a week is drawn without reading it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from collectors.clock import NANO
from collectors.model import PHASES, Interval, Label, Phase
from collectors.store_schema import MINUTE

SETTLE_SECONDS = 30.0
"""Labels settle ten seconds after their interval's end; whatever comes later than this, plus two
intervals, is not waited for."""


PhaseSeconds = Callable[[Phase, float], Mapping[str, float]]
"""Splits an interval's seconds by `PHASES`."""

Row = tuple[str, int, float, float, float, float, float, float]
"""Entity, start of the minute, seconds of each phase, seconds without any interval."""


@dataclass(slots=True)
class _Minute:
    entities: dict[str, list[float]] = field(default_factory=dict)
    hole: float = 0.0
    last: float = 0.0
    """Recorded seconds at which its latest interval ended."""


@dataclass(slots=True)
class _Awaited:
    start: int
    seconds: float
    ended: float
    labelled: set[str] = field(default_factory=set)


class RollUps:
    """Sums settled labels by minute and entity, and gives each minute out once nothing more can come.

    An interval counts in the minute it starts in. Waiting is measured in recorded seconds, so that
    a wall clock that steps takes no part.
    """

    def __init__(self, phase_seconds: PhaseSeconds) -> None:
        self._phase_seconds = phase_seconds
        self._minutes: dict[int, _Minute] = {}
        self._awaited: dict[int, _Awaited] = {}
        self._recorded = 0.0
        self._patience = SETTLE_SECONDS

    def interval(self, interval: Interval, previous_end: int | None) -> None:
        """An interval was recorded; `previous_end` is where the one before it ended, if there was one."""
        self._patience = SETTLE_SECONDS + 2 * interval.duration
        self.elapse(interval.duration)
        start = interval.start - interval.start % MINUTE
        self._minutes.setdefault(start, _Minute()).last = self._recorded
        self._awaited[interval.sequence] = _Awaited(interval.start, interval.duration, self._recorded)
        if previous_end is not None and previous_end < interval.start:
            self._hole(previous_end, interval.start)

    def elapse(self, seconds: float) -> None:
        """Recorded time went by; intervals that have waited long enough get no more labels."""
        self._recorded += seconds
        while self._awaited:
            oldest = next(iter(self._awaited))
            if self._awaited[oldest].ended + self._patience > self._recorded:
                break
            del self._awaited[oldest]

    @property
    def is_waiting(self) -> bool:
        """True while labels of recorded intervals may still come."""
        return bool(self._awaited)

    def _hole(self, begin: int, end: int) -> None:
        """Seconds without interval go to the minutes at its edges; those in between have no rows."""
        for start in {begin - begin % MINUTE, end - end % MINUTE}:
            if start in self._minutes:
                self._minutes[start].hole += (min(end, start + MINUTE) - max(begin, start)) / NANO

    def expects(self, label: Label) -> bool:
        """True for the first label of an entity of an interval that was recorded not too long ago."""
        awaited = self._awaited.get(label.sequence)
        return awaited is not None and label.entity not in awaited.labelled

    def start_of(self, label: Label) -> int:
        """Start of the interval an expected label is of, in wall-clock nanoseconds."""
        return self._awaited[label.sequence].start

    def label(self, label: Label) -> None:
        """Counts an expected label."""
        awaited = self._awaited[label.sequence]
        awaited.labelled.add(label.entity)
        split = self._phase_seconds(label.phase, awaited.seconds)
        minute = self._minutes.setdefault(awaited.start - awaited.start % MINUTE, _Minute(last=self._recorded))
        sums = minute.entities.setdefault(label.entity, [0.0] * len(PHASES))
        for index, phase in enumerate(PHASES):
            sums[index] += split[phase]

    def complete(self) -> Iterator[Row]:
        """The minutes that are over and whose labels have all had their time; each is given once."""
        over = [start for start, minute in self._minutes.items() if minute.last + self._patience <= self._recorded]
        for start in over:
            yield from self._rows(start, self._minutes.pop(start))

    def rest(self) -> Iterator[Row]:
        """Every minute not given yet: the recording ends here."""
        for start, minute in self._minutes.items():
            yield from self._rows(start, minute)
        self._minutes.clear()

    @staticmethod
    def _rows(start: int, minute: _Minute) -> Iterator[Row]:
        for entity, (prefill, decode, idle, waiting, unknown) in minute.entities.items():
            yield (entity, start, prefill, decode, idle, waiting, unknown, minute.hole)
