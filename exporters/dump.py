"""A recording as text: JSON intervals, or one table as comma-separated values.

Both stream: what is in memory does not depend on how much is dumped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TextIO

from collectors.clock import NANO
from collectors.document import QUANTILES, document
from collectors.histogram import Histogram
from collectors.model import BOTTLENECK_NAMES, Label, Tick, engine_entity, gpu_entity
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs

_FORMULA = ("=", "+", "-", "@")
"""What makes a spreadsheet run a text. Tabs and line breaks do so too; no recorded text has any."""

Cell = str | float | int | None


class Ticks(Protocol):
    """What is needed of a `collectors.replay.Recording`."""

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]: ...


def dump_jsonl(recording: Ticks, out: TextIO, start: int | None = None, end: int | None = None) -> int:
    """Writes one JSON interval a line of those that start within [start, end), in wall-clock ns; how many.

    Labels are the settled ones; the last ten seconds of a recording still being written say
    `"settled": false`.
    """
    count = 0
    for tick in recording.ticks(start, end):
        out.write(json.dumps(document(tick), allow_nan=False, separators=(", ", ": "), ensure_ascii=False))
        out.write("\n")
        count += 1
    return count


def dump_csv(recording: Ticks, table: str, out: TextIO, start: int | None = None, end: int | None = None) -> int:
    """Writes one table with a heading, in base units; how many rows.

    Times are seconds since 1970; what is missing is empty; True is 1. Text that a spreadsheet would
    take for a formula gets an apostrophe in front. Raises ValueError for a table not in `TABLES`.
    """
    if table not in TABLES:
        raise ValueError(f'there is no table "{table}"; the tables are {", ".join(TABLES)}')
    heading, rows = TABLES[table]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heading)
    count = 0
    for tick in recording.ticks(start, end):
        for row in rows(tick):
            writer.writerow([_harmless(cell) for cell in row])
            count += 1
    return count


def _harmless(cell: Cell) -> Cell:
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell


_TIME = ("start", "end", "duration")
_LABEL = ("phase", "prefill_share", "busy_ratio", "error", "confidence", "bottleneck", "unknown_ratio")


def _times(tick: Tick) -> list[Cell]:
    interval = tick.interval
    return [interval.start / NANO, interval.end / NANO, interval.duration]


def _heading(reading: type[Reading]) -> tuple[str, ...]:
    columns: list[str] = [*_TIME]
    for spec in field_specs(reading):
        if spec.kind == "histogram":
            columns += [f"{spec.name}_seconds_{part}" for part in (*(name for name, _ in QUANTILES), "count", "sum")]
        else:
            columns.append(spec.name)
    return (*columns, *_LABEL)


def _cells(reading: Reading) -> Iterator[Cell]:
    for spec in field_specs(type(reading)):
        value = getattr(reading, spec.name)
        if spec.kind == "histogram":
            yield from _histogram(value)
        elif spec.kind == "list":
            yield None if value is None else json.dumps(value, ensure_ascii=False)
        elif isinstance(value, tuple):
            yield " ".join(value)
        else:
            yield value


def _histogram(histogram: Histogram | None) -> Iterator[Cell]:
    if histogram is None:
        yield from (None,) * (len(QUANTILES) + 2)
        return
    for _, q in QUANTILES:
        yield histogram.quantile(q)
    yield histogram.count
    yield histogram.sum


def _judgement(label: Label | None) -> list[Cell]:
    if label is None:
        return [None] * len(_LABEL)
    phase = label.phase
    said = [phase.label, phase.prefill_share, phase.busy_ratio, phase.error, phase.confidence]
    return [*said, label.bottleneck.name, phase.unknown_ratio]


def _reading_rows(tick: Tick, readings: Iterable[tuple[str, Reading]]) -> Iterator[list[Cell]]:
    for entity, reading in readings:
        yield [*_times(tick), *_cells(reading), *_judgement(tick.labels.get(entity))]


def _host_rows(tick: Tick) -> Iterator[list[Cell]]:
    host = tick.interval.host
    return _reading_rows(tick, [] if host is None else [("host", host)])


def _gpu_rows(tick: Tick) -> Iterator[list[Cell]]:
    return _reading_rows(tick, [(gpu_entity(gpu.uuid), gpu) for gpu in tick.interval.gpus.values()])


def _engine_rows(tick: Tick) -> Iterator[list[Cell]]:
    return _reading_rows(tick, [(engine_entity(one.key), one) for one in tick.interval.engines.values()])


def _label_rows(tick: Tick) -> Iterator[list[Cell]]:
    for entity, label in tick.labels.items():
        phase, bottleneck = label.phase, label.bottleneck
        yield [
            *_times(tick),
            entity,
            phase.label,
            int(phase.settled),
            phase.prefill_share,
            phase.busy_ratio,
            phase.error,
            phase.confidence,
            " ".join(phase.evidence),
            phase.rule_version,
            bottleneck.name,
            bottleneck.resource,
            bottleneck.admission,
            bottleneck.confidence,
            *(bottleneck.shares.get(name) for name in BOTTLENECK_NAMES),
            bottleneck.why,
            phase.unknown_ratio,
        ]


_LABEL_HEADING = (
    *_TIME, "entity", "phase", "settled", "prefill_share", "busy_ratio", "error", "confidence", "evidence",
    "rule_version", "bottleneck", "resource", "admission", "bottleneck_confidence",
    *(f"share_{name.replace('-', '_')}" for name in BOTTLENECK_NAMES), "why",
    "unknown_ratio",
)  # fmt: skip


def _event_rows(tick: Tick) -> Iterator[list[Cell]]:
    for event in tick.events:
        yield [event.time / NANO, event.kind, event.entity, event.text]


def _gap_rows(tick: Tick) -> Iterator[list[Cell]]:
    for gap in tick.interval.gaps:
        yield [*_times(tick), gap.source, gap.reason]


Rows = Callable[[Tick], Iterator[list[Any]]]

TABLES: Mapping[str, tuple[tuple[str, ...], Rows]] = {
    "host": (_heading(HostReading), _host_rows),
    "gpu": (_heading(GpuReading), _gpu_rows),
    "engine": (_heading(EngineReading), _engine_rows),
    "label": (_LABEL_HEADING, _label_rows),
    "event": (("time", "kind", "entity", "text"), _event_rows),
    "gap": ((*_TIME, "source", "reason"), _gap_rows),
}
"""Table -> its heading, and what an interval has to say in it."""
