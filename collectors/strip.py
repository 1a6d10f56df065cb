"""Phase seconds per column of a time axis: what a strip of any width is coloured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collectors.clock import NANO
from collectors.model import PHASES, Phase
from collectors.phase.label import phase_seconds
from collectors.replay_parts import Part, Parts
from collectors.store_read import FileReader, PhaseRow
from collectors.store_schema import MINUTE


@dataclass(frozen=True, slots=True)
class StripColumn:
    """Seconds of each phase between two moments (wall-clock ns), and of the recording's own time
    in which nothing was recorded. A column outside of the recording has nothing but zeros."""

    start: int
    end: int
    prefill: float
    decode: float
    idle: float
    waiting: float
    unknown: float
    gap: float


class _Columns:
    """Spreads spans of phase seconds over equal columns from one moment to another."""

    def __init__(self, from_ns: int, to_ns: int, columns: int) -> None:
        if columns < 1 or to_ns <= from_ns:
            raise ValueError(f"{columns} columns from {from_ns} to {to_ns} are no strip")
        self._edges = [from_ns + (to_ns - from_ns) * column // columns for column in range(columns + 1)]
        self._width = (to_ns - from_ns) / columns
        self._sums = [[0.0] * len(PHASES) for _ in range(columns)]

    def add(self, start: int, end: int, seconds: Sequence[float]) -> None:
        """Seconds of each of `PHASES`, spent evenly between two moments."""
        first = self._column(start)
        if self._edges[first] <= start and end <= self._edges[first + 1]:
            self._spend(first, seconds, 1.0)
            return
        for column in range(first, self._column(end - 1) + 1):
            inside = min(end, self._edges[column + 1]) - max(start, self._edges[column])
            if inside > 0:
                self._spend(column, seconds, inside / (end - start))

    def _spend(self, column: int, seconds: Sequence[float], part: float) -> None:
        sums = self._sums[column]
        for index, value in enumerate(seconds):
            if value:
                sums[index] += value * part

    def _column(self, time_ns: int) -> int:
        column = int((time_ns - self._edges[0]) / self._width)
        return 0 if column < 0 else min(column, len(self._sums) - 1)

    def built(self, start: int, end: int) -> list[StripColumn]:
        """The columns of a recording that covers `start` to `end`."""
        built = []
        for column, (prefill, decode, idle, waiting, unknown) in enumerate(self._sums):
            left, right = self._edges[column], self._edges[column + 1]
            within = max(0, min(right, end) - max(left, start)) / NANO
            gap = max(0.0, within - (prefill + decode + idle + waiting + unknown))
            built.append(StripColumn(left, right, prefill, decode, idle, waiting, unknown, gap))
        return built


def strip(
    parts: Parts,
    from_ns: int,
    to_ns: int,
    columns: int,
    entity: str,
    missing: Callable[[Part, PhaseRow], Phase | None],
) -> list[StripColumn]:
    """The strip of an entity between two moments.

    Columns of a minute and more are made of the one-minute roll-ups as far as these go, the rest of
    the labels. `missing` gives the phase of an interval whose label is not stored.
    """
    sums = _Columns(from_ns, to_ns, columns)
    is_coarse = to_ns - from_ns >= columns * MINUTE

    def draw(part: Part, reader: FileReader) -> None:
        begin = from_ns - max(MINUTE, round(part.interval_seconds * NANO))
        through = reader.find.rolled_through() if is_coarse else None
        if through is not None:
            for start, seconds in reader.find.minutes(entity, begin, min(to_ns, through)):
                sums.add(max(start, part.extent.start), min(start + MINUTE, part.extent.end), seconds)
            begin = max(begin, through)
        for row in reader.phases(entity, begin, to_ns):
            phase = row.phase or missing(part, row)
            unknown = (0.0, 0.0, 0.0, 0.0, row.seconds)
            sums.add(row.start, row.end, unknown if phase is None else _split(phase, row.seconds))

    covered = [part for part in parts.all if part.extent.start < to_ns and part.extent.end > from_ns]
    parts.ask(covered, draw)
    return sums.built(parts.all[0].extent.start, max(part.extent.end for part in parts.all))


def _split(phase: Phase, seconds: float) -> Sequence[float]:
    split = phase_seconds(phase, seconds)
    return [split[name] for name in PHASES]
