"""Long spans of a recording in columns of a minute and more: what the time axis shows of them.

What is here was summed up while recording, so no interval stands behind a column; latencies are not among it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from collectors.model import HOST
from dashboard.series import ENGINE_RATES, ENGINE_SERIES, GPU_SERIES, HOST_RATES, HOST_SERIES
from dashboard.tracks import LINES, NAN, Column

SHORTEST_STEP = 60_000_000_000
"""Nanoseconds in one column, at least: what a recording sums up is of whole minutes (`store_schema.MINUTE`)."""
SUMMED_UP = -1
"""Stands for the sequence numbers of a column: something is in it, and no single interval."""

_FIELDS: Mapping[str, Mapping[str, str]] = {
    "host": {**HOST_SERIES, **HOST_RATES}, "gpu": GPU_SERIES, "engine": {**ENGINE_SERIES, **ENGINE_RATES},
}  # fmt: skip

Means = Mapping[str, Mapping[str, float]]
"""By entity and field of its reading, of one column."""


@dataclass(frozen=True, slots=True)
class Span:
    """Columns of the time axis: nanoseconds in each, the number of the last one since 1970, and how many."""

    step: int
    last: int
    count: int

    @property
    def first(self) -> int:
        return self.last - self.count + 1

    @property
    def end(self) -> int:
        """Wall-clock nanoseconds."""
        return (self.last + 1) * self.step


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One column: its phases, those of each engine, and means."""

    column: Column
    engines: Mapping[str, Column]
    means: Means


@dataclass(frozen=True, slots=True)
class Survey:
    """The columns of a span, as far as they have been read."""

    span: Span
    known: Mapping[int, Surveyed] = field(default_factory=dict)

    def columns(self, count: int) -> list[Column]:
        """The newest `count` of them; those not read yet are empty."""
        return [self._column(number) for number in range(self.span.last - count + 1, self.span.last + 1)]

    def averages(self, entity: str, name: str, columns: Sequence[Column]) -> list[float]:
        """One number of `dashboard.series` in each of those columns, NaN where it is missing."""
        wanted = _FIELDS[entity.partition("/")[0]][name]
        found = []
        for column in columns:
            known = self.known.get(column.start // self.span.step)
            found.append(NAN if known is None else known.means.get(entity, {}).get(wanted, NAN))
        return found

    def phases(self, entities: Sequence[str], columns: Sequence[Column]) -> list[Column]:
        """Those columns with the phases of some engines, each with an equal say, in place of the host's."""
        found = []
        for column in columns:
            known = self.known.get(column.start // self.span.step)
            each = [] if known is None else [known.engines[name] for name in entities if name in known.engines]
            found.append(_shared(column, each))
        return found

    def _column(self, number: int) -> Column:
        known = self.known.get(number)
        return blank(number * self.span.step) if known is None else known.column


def blank(start: int) -> Column:
    return Column(start, (0.0,) * 5, 0.0, False, (NAN,) * len(LINES), None, None)


def _shared(column: Column, each: Sequence[Column]) -> Column:
    if not each:
        return replace(column, seconds=(0.0,) * 5, gap=0.0, first_sequence=None, last_sequence=None)
    parts = zip(*(one.seconds for one in each), strict=True)
    seconds: tuple[float, ...] = tuple(sum(part) / len(each) for part in parts)
    gap = sum(one.gap for one in each) / len(each)
    return replace(column, seconds=seconds, gap=gap)  # type: ignore[arg-type]


def lines_of(means: Means) -> tuple[float, ...]:
    """The numbers of `dashboard.tracks.LINES` for one column, NaN where missing."""
    gpus = [fields for entity, fields in means.items() if entity.startswith("gpu/")]
    engines = [fields for entity, fields in means.items() if entity.startswith("engine/")]
    rates = [fields["dram_active_ratio"] * fields["dram_peak_bytes_per_second"] for fields in gpus
             if {"dram_active_ratio", "dram_peak_bytes_per_second"} <= fields.keys()]  # fmt: skip
    named = {
        "sm": _mean(_all(gpus, "sm_active_ratio")),
        "tensor": _mean(_all(gpus, "tensor_active_ratio")),
        "dram": _mean(_all(gpus, "dram_active_ratio")),
        "dram_rate": _mean(rates),
        "kernel": _mean(_all(gpus, "kernel_active_ratio")),
        "memory": _mean(_all(gpus, "memory_active_ratio")),
        "power": _total(_all(gpus, "power_watts")),
        "cpu": means.get(HOST, {}).get("cpu_ratio", NAN),
        "prompt": _total(_all(engines, "prompt_tokens")),
        "generation": _total(_all(engines, "generation_tokens")),
        "running": _total(_all(engines, "requests_running")),
    }
    return tuple(named[name] for name in LINES)


def _all(readings: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [fields[name] for fields in readings if not math.isnan(fields.get(name, NAN))]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else NAN


def _total(values: Sequence[float]) -> float:
    return sum(values) if values else NAN
