"""A recording in memory, for the tests of replay."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from collectors.model import HOST, PHASES, Event, Tick
from collectors.phase.rules import phase_seconds


@dataclass(frozen=True, slots=True)
class Part:
    start: int
    end: int
    prefill: float
    decode: float
    idle: float
    waiting: float
    unknown: float
    gap: float


class FakeRecording:
    """Implements `dashboard.scrub.Readable` over ticks; `ticks_now` of them are there, the rest is to come."""

    def __init__(self, ticks: Sequence[Tick], *, ticks_now: int | None = None, zone: tzinfo = UTC) -> None:
        self._all = list(ticks)
        self._ticks = self._all[:ticks_now]
        self.zone = zone
        self.is_closed = False
        self.reads = 0
        self.failure: Exception | None = None

    @property
    def start(self) -> int:
        return self._ticks[0].interval.start

    @property
    def end(self) -> int:
        return self._ticks[-1].interval.end

    @property
    def first_sequence(self) -> int:
        return self._ticks[0].interval.sequence

    @property
    def last_sequence(self) -> int:
        return self._ticks[-1].interval.sequence

    interval_length = 1.0
    host_name = "node-17"
    problems: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        return len(self._ticks) < len(self._all)

    def grow(self, count: int) -> None:
        self._to_come = count

    _to_come = 0

    def refresh(self) -> bool:
        more, self._to_come = self._to_come, 0
        self._ticks = self._all[: len(self._ticks) + more]
        return more > 0

    def _row(self, sequence: int) -> int:
        return bisect_right(self._ticks, sequence, key=lambda tick: tick.interval.sequence)

    def tick(self, sequence: int) -> Tick | None:
        row = self._row(sequence)
        found = self._ticks[row - 1] if row else None
        return found if found is not None and found.interval.sequence == sequence else None

    def tick_at(self, time_ns: int) -> Tick | None:
        self._read()
        row = bisect_right(self._ticks, time_ns, key=lambda tick: tick.interval.start)
        return self._ticks[row - 1] if row else None

    def next(self, sequence: int) -> Tick | None:
        self._read()
        row = self._row(sequence)
        return self._ticks[row] if row < len(self._ticks) else None

    def previous(self, sequence: int) -> Tick | None:
        self._read()
        row = self._row(sequence - 1)
        return self._ticks[row - 1] if row else None

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]:
        for tick in self._ticks:
            if (from_ns or 0) <= tick.interval.start < (to_ns or 1 << 62):
                yield tick

    def _changes(self) -> list[int]:
        labels = [tick.labels[HOST].phase.label for tick in self._ticks]
        return [
            tick.interval.start
            for tick, before, now in zip(self._ticks[1:], labels, labels[1:], strict=False)
            if before != now
        ]

    def next_phase_change(self, time_ns: int) -> int | None:
        return next((start for start in self._changes() if start > time_ns), None)

    def previous_phase_change(self, time_ns: int) -> int | None:
        return next((start for start in reversed(self._changes()) if start < time_ns), None)

    def next_event(self, time_ns: int) -> int | None:
        return next(
            (tick.interval.start for tick in self._ticks if tick.events and tick.interval.start > time_ns), None
        )

    def previous_event(self, time_ns: int) -> int | None:
        found = [tick.interval.start for tick in self._ticks if tick.events and tick.interval.start < time_ns]
        return found[-1] if found else None

    def events(self, from_ns: int, to_ns: int) -> list[Event]:
        return [event for tick in self._ticks for event in tick.events if from_ns <= event.time < to_ns]

    def strip(self, from_ns: int, to_ns: int, columns: int) -> list[Part]:
        parts = []
        for column in range(columns):
            start = from_ns + (to_ns - from_ns) * column // columns
            end = from_ns + (to_ns - from_ns) * (column + 1) // columns
            inside = [tick for tick in self._ticks if start <= tick.interval.start < end]
            seconds = dict.fromkeys(PHASES, 0.0)
            for tick in inside:
                for name, value in phase_seconds(tick.labels[HOST].phase, tick.interval.duration).items():
                    seconds[name] += value
            gap = max(0.0, (end - start) / 1e9 - sum(seconds.values()))
            parts.append(Part(start, end, **seconds, gap=gap))
        return parts

    def close(self) -> None:
        self.is_closed = True

    def _read(self) -> None:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
