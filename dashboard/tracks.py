"""What is drawn as history: a few numbers of each interval, in flat arrays, bucketed into columns.

One column of a screen is one fixed step of time, aligned to the wall clock. An interval that lies in
two columns counts in each by the part of its time that lies there; what no interval covers is a gap.
Columns are never rescaled: a full one never changes, unless its labels settle.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.model import HOST, PHASES, EngineKey, Label, Phase, Tick
from collectors.phase.rules import phase_seconds
from dashboard.latency_rows import LatencyRows
from dashboard.phase_rows import PhaseRows
from dashboard.series import Series

if TYPE_CHECKING:
    from collectors.histogram import Histogram
    from collectors.readings import EngineReading, GpuReading

NAN = math.nan
LINES = ("sm", "tensor", "dram", "dram_rate", "kernel", "memory", "power", "cpu", "prompt", "generation", "running")
"""sm, tensor, dram, kernel, memory and cpu are ratios, the mean over the GPUs that have them;
dram_rate is bytes/s per GPU, power watts of all GPUs, prompt and generation tokens/s of all engines."""

_TRIM = 256
_WINDOWS_KEPT = 2
"""Columns are remembered over about so many widths of the screen: an hour of them would be megabytes."""
TOLERANCE = 0.02
"""Of a column's step: less than that uncovered is jitter of the clock, not a gap."""


@dataclass(frozen=True, slots=True)
class Column:
    """One step of time on the screen.

    `seconds` are the phases' seconds in the order of `PHASES`; `gap` is the time that has passed
    in this column and that no interval covers. The sequences are those of the first and the last
    interval in it.
    """

    start: int
    seconds: tuple[float, float, float, float, float]
    gap: float
    provisional: bool
    lines: tuple[float, ...]
    first_sequence: int | None
    last_sequence: int | None

    @property
    def empty(self) -> bool:
        return self.first_sequence is None and not self.gap


_NO_LINES = (NAN,) * len(LINES)


class Tracks:
    """The rows of up to `keep_seconds`, oldest first.

    Times here are on the *axis*: wall-clock nanoseconds that never go back. When the clock steps
    back the axis goes on where it was, so that no interval hides another; `wall_time` says what
    the clock showed.
    """

    def __init__(self, keep_seconds: float, max_rows: int) -> None:
        self._keep = round(keep_seconds * 1e9)
        self._max_rows = max_rows
        self.sequences = array("q")
        self.ends = array("q")
        self._lengths = array("q")
        self._shifts = array("q")
        self._settled = array("b")
        self._durations = array("d")
        self._phases = tuple(array("f") for _ in PHASES)
        self._lines = tuple(array("f") for _ in LINES)
        self.series = Series()
        self.latencies = LatencyRows()
        self.engine_phases = PhaseRows()
        self._columns: dict[int, Column] = {}
        self._averages: dict[tuple[str, str], dict[int, float]] = {}
        self._step = 0

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def nbytes(self) -> int:
        """What the rows take in memory."""
        whole: list[array[int]] = [self.sequences, self.ends, self._lengths, self._shifts, self._settled]
        parts: list[array[float]] = [self._durations, *self._phases, *self._lines]
        own = sum(len(a) * a.itemsize for a in whole) + sum(len(a) * a.itemsize for a in parts)
        return own + self.series.nbytes + self.latencies.nbytes + self.engine_phases.nbytes

    def append(self, tick: Tick) -> int:
        """Adds the row of a tick newer than all others; returns its end on the axis."""
        interval = tick.interval
        length = max(1, interval.end - interval.start)
        shift = self._shifts[-1] if self._shifts else 0
        if self.ends and interval.start + shift < self.ends[-1] - length // 2:
            shift = self.ends[-1] - interval.start
        end = interval.end + shift
        if self.ends:
            self._forget(self.ends[-1], self.ends[-1] - self._lengths[-1])
        self.sequences.append(interval.sequence)
        self.ends.append(end)
        self._lengths.append(length)
        self._shifts.append(shift)
        self._durations.append(interval.duration)
        label = tick.labels.get(HOST)
        self._settled.append(0)
        for track in self._phases:
            track.append(0.0)
        self._write_phase(len(self.sequences) - 1, label.phase if label else Phase())
        for track, value in zip(self._lines, measures(tick), strict=True):
            track.append(value)
        self.series.append(tick)
        self.latencies.append(tick)
        self.engine_phases.append(tick)
        self._forget(end, end - length)
        self._trim()
        return end

    def settle(self, label: Label) -> None:
        """Puts a settled label of the host or of an engine in place of the provisional one."""
        row = self.row_of(label.sequence)
        if row is not None and label.entity != HOST:
            self.engine_phases.settle(label, row)
        elif row is not None:
            self._write_phase(row, label.phase)
            self._forget(self.ends[row], self.ends[row] - self._lengths[row])

    def row_of(self, sequence: int) -> int | None:
        row = bisect_left(self.sequences, sequence)
        return row if row < len(self.sequences) and self.sequences[row] == sequence else None

    def value(self, row: int, line: str) -> float | None:
        """One number of `LINES` in one row; None where it is missing."""
        value = self._lines[LINES.index(line)][row]
        return value if value == value else None

    def row_at(self, axis_ns: int) -> int | None:
        """The row whose interval holds that moment, or the last one before it."""
        if not self.ends:
            return None
        row = bisect_left(self.ends, axis_ns)
        if row < len(self.ends) and self.ends[row] - self._lengths[row] < axis_ns:
            return row
        return max(0, row - 1)

    def part(self, start: int, end: int) -> tuple[int, list[float], list[float]]:
        """The rows of which some part lies between two moments.

        The first of them, the share of each one's time that lies there, and how many seconds that is.
        """
        first, last = self._overlapping(start, end)
        shares = [self._share(row, start, end) for row in range(first, last)]
        lengths = self._durations[first:last]
        return first, shares, [share * seconds for share, seconds in zip(shares, lengths, strict=True)]

    def rows_before(self, row: int, seconds: float) -> int:
        """The first of the rows that ended in the `seconds` up to the end of that row."""
        return bisect_right(self.ends, self.ends[row] - round(seconds * 1e9), hi=row + 1)

    def observed(
        self, keys: Sequence[EngineKey], latency: str, sequence: int | None, seconds: float
    ) -> Histogram | None:
        """What those engines together observed of a latency in the `seconds` up to the end of that interval."""
        row = None if sequence is None else self.row_of(sequence)
        return None if row is None else self.latencies.merged(keys, latency, self.rows_before(row, seconds), row + 1)

    def wall_time(self, axis_ns: int) -> int:
        """What the clock showed at a moment of the axis."""
        if not self._shifts or self._shifts[0] == self._shifts[-1]:  # it only grows: all are the same
            return axis_ns - self.shift_now()
        row = self.row_at(axis_ns)
        return axis_ns if row is None else axis_ns - self._shifts[row]

    def next_change(self, row: int, direction: int) -> int | None:
        """The nearest row before (-1) or after (1) that one with which another phase became the largest."""
        while 0 < (row := row + direction) < len(self):
            if self._largest(row) != self._largest(row - 1):
                return row
        return None

    def next_gap(self, row: int, direction: int) -> int | None:
        """The nearest row before (-1) or after (1) that one before which time is missing."""
        while 0 < (row := row + direction) < len(self):
            if self.ends[row] - self._lengths[row] > self.ends[row - 1]:
                return row
        return None

    def _largest(self, row: int) -> int:
        shares = [track[row] for track in self._phases]
        return shares.index(max(shares))

    def shift_now(self) -> int:
        return self._shifts[-1] if self._shifts else 0

    def start(self) -> int:
        """Where the oldest row begins on the axis."""
        return self.ends[0] - self._lengths[0]

    def columns(self, end: int, step: int, count: int) -> list[Column]:
        """The `count` columns of `step` nanoseconds whose last one holds the moment before `end`."""
        if step != self._step:
            self._columns.clear()
            self._averages.clear()
            self._step = step
        last = (end - 1) // step
        shown = range(last - count + 1, last + 1)
        if len(self._columns) > _WINDOWS_KEPT * count + _TRIM:
            self._columns = {index: self._columns[index] for index in shown if index in self._columns}
        return [self._column(index) for index in shown]

    def averages(self, entity: str, name: str, columns: Sequence[Column]) -> list[float]:
        """The mean of one number of `dashboard.series` in each of the columns `columns` gave, NaN where missing."""
        track = self.series.track(entity, name)
        if track is None:
            return [NAN] * len(columns)
        known = self._averages.setdefault((entity, name), {})
        if len(known) > _WINDOWS_KEPT * len(columns) + _TRIM:
            known = {column.start: known[column.start] for column in columns if column.start in known}
            self._averages[entity, name] = known
        found = []
        for column in columns:
            value = known.get(column.start)
            if value is None:
                end = column.start + self._step
                first, last = self._overlapping(column.start, end)
                value = _mean(track[first:last], [self._share(row, column.start, end) for row in range(first, last)])
                if len(self) and end <= self.ends[-1]:
                    known[column.start] = value
            found.append(value)
        return found

    def _column(self, index: int) -> Column:
        found = self._columns.get(index)
        if found is None:
            found = self._bucket(index * self._step, (index + 1) * self._step)
            if len(self) and found.start < self.ends[-1]:
                self._columns[index] = found
        return found

    def _bucket(self, start: int, end: int) -> Column:
        first, last = self._overlapping(start, end)
        if first == last:
            within = min(end, self.ends[-1]) - max(start, self.start()) if len(self) else 0
            return Column(start, (0.0,) * 5, max(0, within) / 1e9, False, _NO_LINES, None, None)
        shares = [self._share(row, start, end) for row in range(first, last)]
        return Column(
            start=start,
            seconds=tuple(_weighted(track[first:last], shares) for track in self._phases),  # type: ignore[arg-type]
            gap=self._gap(first, last, shares, start, end),
            provisional=not all(self._settled[first:last]),
            lines=tuple(_mean(track[first:last], shares) for track in self._lines),
            first_sequence=self.sequences[first],
            last_sequence=self.sequences[last - 1],
        )

    def _overlapping(self, start: int, end: int) -> tuple[int, int]:
        """The rows of which some part lies between two moments."""
        first = last = bisect_right(self.ends, start)
        while last < len(self.ends) and self.ends[last] - self._lengths[last] < end:
            last += 1
        return first, last

    def _share(self, row: int, start: int, end: int) -> float:
        """How much of a row's time lies between two moments, 0 to 1."""
        length = self._lengths[row]
        over = min(end, self.ends[row]) - max(start, self.ends[row] - length)
        return 1.0 if over >= length else max(0.0, over / length)

    def _gap(self, first: int, last: int, shares: list[float], start: int, end: int) -> float:
        """Seconds of a column that have passed and that no row covers."""
        passed = min(end, self.ends[-1]) - max(start, self.start())
        covered = sum(share * length for share, length in zip(shares, self._lengths[first:last], strict=True))
        gap = passed - covered
        return gap / 1e9 if gap > (end - start) * TOLERANCE else 0.0

    def _write_phase(self, row: int, phase: Phase) -> None:
        seconds = phase_seconds(phase, self._durations[row])
        for track, name in zip(self._phases, PHASES, strict=True):
            track[row] = seconds[name]
        self._settled[row] = phase.settled

    def _forget(self, end: int, start: int) -> None:
        """Columns that hold any of that time are made anew."""
        if self._step:
            for index in range(start // self._step, end // self._step + 1):
                self._columns.pop(index, None)

    def _trim(self) -> None:
        if len(self) <= self._max_rows and self.ends[-1] - self.ends[min(_TRIM, len(self) - 1)] <= self._keep:
            return
        cut = max(bisect_left(self.ends, self.ends[-1] - self._keep), len(self) - self._max_rows)
        del self.sequences[:cut], self.ends[:cut], self._lengths[:cut], self._shifts[:cut]
        del self._settled[:cut], self._durations[:cut]
        for track in (*self._phases, *self._lines):
            del track[:cut]
        self.series.trim(cut)
        self.latencies.trim(cut)
        self.engine_phases.trim(cut)
        oldest = self.start() // self._step if self._step else 0
        self._columns = {index: column for index, column in self._columns.items() if index > oldest}
        self._averages.clear()


def _weighted(values: array[float], weights: list[float]) -> float:
    return sum([value * weight for value, weight in zip(values, weights, strict=True)])


def _mean(values: array[float], weights: list[float]) -> float:
    """The mean of the values that are not missing, by the time they stand for."""
    total = weight_sum = 0.0
    for value, weight in zip(values, weights, strict=True):
        if value == value:
            total += value * weight
            weight_sum += weight
    return total / weight_sum if weight_sum else NAN


def measures(tick: Tick) -> tuple[float, ...]:
    """The numbers of `LINES` for one tick, NaN where missing."""
    gpus = [gpu for gpu in tick.interval.gpus.values() if gpu.state == "ok"]
    engines = [engine for engine in tick.interval.engines.values() if engine.state == "ok"]
    host = tick.interval.host
    return (
        _over(gpus, "sm_active_ratio"),
        _over(gpus, "tensor_active_ratio"),
        _over(gpus, "dram_active_ratio"),
        _dram_rate(gpus),
        _over(gpus, "kernel_active_ratio"),
        _over(gpus, "memory_active_ratio"),
        _total([gpu.power_watts for gpu in gpus]),
        NAN if host is None or host.cpu_ratio is None else host.cpu_ratio,
        _total([_rate(engine, engine.prompt_tokens) for engine in engines]),
        _total([_rate(engine, engine.generation_tokens) for engine in engines]),
        _total([engine.requests_running for engine in engines]),
    )


def _over(gpus: list[GpuReading], name: str) -> float:
    known = [value for gpu in gpus if (value := getattr(gpu, name)) is not None]
    return sum(known) / len(known) if known else NAN


def _dram_rate(gpus: list[GpuReading]) -> float:
    rates = [
        gpu.dram_active_ratio * gpu.dram_peak_bytes_per_second
        for gpu in gpus
        if gpu.dram_active_ratio is not None and gpu.dram_peak_bytes_per_second is not None
    ]
    return sum(rates) / len(rates) if rates else NAN


def _total(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) if known else NAN


def _rate(engine: EngineReading, amount: float | None) -> float | None:
    if amount is None or not engine.window_seconds:
        return None
    return amount / engine.window_seconds
