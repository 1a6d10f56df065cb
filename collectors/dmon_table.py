"""A table of `nvidia-smi` or `dcgmi` over time: what it says of each GPU within an interval."""

from __future__ import annotations

from collections import deque
from typing import Any

from collectors.dmon import Figures, Round, Row, mean
from collectors.gpu.pages import can_be
from collectors.gpu.peaks import PeakBook
from collectors.median import median
from collectors.readings import GpuReading, field_specs

_AVERAGED = frozenset(
    spec.name
    for spec in field_specs(GpuReading)
    if spec.unit == "ratio" or spec.name == "power_watts" or spec.name.endswith("x_bytes_per_second")
)
_GAPS = 8
_PATIENCE = 2.0
"""How old the last round may be, as a multiple of the time between two."""


class DmonTable:
    """Rounds as they come, readings as intervals close. Times are epoch seconds."""

    def __init__(self) -> None:
        self._book = PeakBook()
        self._rounds: list[Round] = []
        """Since the last interval closed."""
        self._last: Round | None = None
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._totals: dict[str, tuple[float, Figures]] = {}
        """When an interval last closed with a round in it, and the totals by then."""

    def put(self, one: Round) -> None:
        if self._last is not None and one.time > self._last.time:
            self._gaps.append(one.time - self._last.time)
        self._rounds.append(one)
        self._last = one

    def readings(self, edge: float, *, patience: float) -> tuple[GpuReading, ...]:
        """Every GPU of the last round: averages over the rounds of the interval, the rest as it was last."""
        last = self._last
        if last is None:
            return ()
        rounds, self._rounds = self._rounds or [last], []
        pause = median(self._gaps) if self._gaps else None
        if edge - last.time > max(patience, _PATIENCE * (pause or 0.0)):
            return tuple(_stale(uuid, row, last, edge) for uuid, row in last.rows.items())
        return tuple(self._reading(uuid, row, rounds, edge, pause) for uuid, row in last.rows.items())

    def _reading(self, uuid: str, row: Row, rounds: list[Round], edge: float, pause: float | None) -> GpuReading:
        last = rounds[-1]
        averages = mean(one.rows[uuid].figures for one in rounds if uuid in one.rows)
        values: dict[str, Any] = {**row.figures, **{name: averages[name] for name in averages if name in _AVERAGED}}
        window = None
        before = self._totals.get(uuid)
        if row.totals and (before is None or last.time > before[0]):
            self._totals[uuid] = (last.time, row.totals)
            if before is not None:
                window = last.time - before[0]
                grown = {name: total - before[1][name] for name, total in row.totals.items() if name in before[1]}
                values.update((name, one) for name, one in grown.items() if one >= 0 and can_be(name, one))
        peak = self._book.of(row.name)
        return GpuReading(
            uuid=uuid,
            index=row.index,
            name=row.name,
            source=last.source,
            dram_peak_bytes_per_second=peak.dram,
            tensor_peak_flops_per_second=peak.tensor,
            peak_source=peak.source,
            window_seconds=window,
            age_seconds=max(0.0, edge - last.time),
            activity_window_seconds=pause,
            activity_age_seconds=max(0.0, edge - last.time),
            **{name: min(value, 1.0) if name.endswith("_ratio") else value for name, value in values.items()},
        )


def _stale(uuid: str, row: Row, last: Round, edge: float) -> GpuReading:
    age = edge - last.time
    return GpuReading(uuid=uuid, index=row.index, name=row.name, source=last.source, state="stale", age_seconds=age)
