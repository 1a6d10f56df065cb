"""Ticks packed small: an hour of full readings in a few megabytes.

Readings are numbers with few digits, so JSON text of rows without names, deflated, is about a
fiftieth of the objects. Nothing is lost: floats are written as Python reads them back.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from collectors.histogram import Histogram
from collectors.model import Bottleneck, Event, Gap, Interval, Label, Phase, Tick
from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading, GpuReading, HostReading

_LEVEL = 6


def _names(cls: type) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(cls))


_HOST = _names(HostReading)
_GPU = _names(GpuReading)
_ENGINE = _names(EngineReading)
_PHASE = _names(Phase)
_BOTTLENECK = _names(Bottleneck)
_COST = _names(CostModel)
_cost_row = attrgetter(*_COST)
_host_row, _gpu_row = attrgetter(*_HOST), attrgetter(*_GPU)
_engine_row, _phase_row, _bottleneck_row = attrgetter(*_ENGINE), attrgetter(*_PHASE), attrgetter(*_BOTTLENECK)


def pack(ticks: Sequence[Tick]) -> bytes:
    """The ticks without their `settled` lists, which whoever keeps history has applied by then."""
    deflate = zlib.compressobj(_LEVEL)
    parts = [deflate.compress(b"[")]
    for number, tick in enumerate(ticks):  # one at a time: the text of all would be a megabyte that is never given back
        text = json.dumps(_tick_row(tick), separators=(",", ":"))
        parts.append(deflate.compress(f"{',' if number else ''}{text}".encode()))
    return b"".join((*parts, deflate.compress(b"]"), deflate.flush()))


def unpack(packed: bytes) -> tuple[Tick, ...]:
    return tuple(_tick(row) for row in json.loads(zlib.decompress(packed)))


def _tick_row(tick: Tick) -> list[Any]:
    interval = tick.interval
    return [
        [interval.sequence, interval.start, interval.end, interval.duration],
        None if interval.host is None else _host_row(interval.host),
        [_gpu_row(gpu) for gpu in interval.gpus.values()],
        [[_flat(value) for value in _engine_row(engine)] for engine in interval.engines.values()],
        [[gap.source, gap.reason] for gap in interval.gaps],
        [_label_row(entity, label) for entity, label in tick.labels.items()],
        [[event.time, event.kind, event.entity, event.text] for event in tick.events],
        {entity: _cost_row(model) for entity, model in tick.costs.items()},
    ]


def _flat(value: object) -> object:
    return [value.bounds, value.counts, value.sum] if isinstance(value, Histogram) else value


def _label_row(entity: str, label: Label) -> list[Any]:
    bottleneck = _bottleneck_row(label.bottleneck)
    return [
        entity,
        _phase_row(label.phase),
        [dict(value) if name == "shares" else value for name, value in zip(_BOTTLENECK, bottleneck, strict=True)],
    ]


def _tick(row: list[Any]) -> Tick:
    moment, host, gpus, engines, gaps, labels, events, costs = row
    sequence, start, end, length = moment
    gpu_readings = [GpuReading(**dict(zip(_GPU, gpu, strict=True))) for gpu in gpus]
    engine_readings = [_engine(engine) for engine in engines]
    return Tick(
        interval=Interval(
            sequence=sequence,
            start=start,
            end=end,
            duration=length,
            host=None if host is None else _host(host),
            gpus={gpu.uuid: gpu for gpu in gpu_readings},
            engines={engine.key: engine for engine in engine_readings},
            gaps=tuple(Gap(source, reason) for source, reason in gaps),
        ),
        labels={entity: _label(sequence, entity, phase, bottleneck) for entity, phase, bottleneck in labels},
        events=tuple(Event(*event) for event in events),
        costs={entity: CostModel(*model) for entity, model in costs.items()},
    )


_LISTS = {
    kind: tuple(entry.name for entry in fields(kind) if entry.metadata["kind"] == "list")
    for kind in (HostReading, EngineReading)
}
_HISTOGRAMS = {entry.name for entry in fields(EngineReading) if entry.metadata["kind"] == "histogram"}


def _host(row: list[Any]) -> HostReading:
    values = dict(zip(_HOST, row, strict=True))
    _restore_lists(values, _LISTS[HostReading])
    return HostReading(**values)


def _restore_lists(values: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if values[name] is not None:
            values[name] = tuple(values[name])


def _engine(row: list[Any]) -> EngineReading:
    values = dict(zip(_ENGINE, row, strict=True))
    _restore_lists(values, _LISTS[EngineReading])
    for name in _HISTOGRAMS:
        if values[name] is not None:
            bounds, counts, total = values[name]
            values[name] = Histogram(tuple(bounds), tuple(counts), total)
    values["gpus"] = tuple(values["gpus"])
    return EngineReading(**values)


def _label(sequence: int, entity: str, phase: list[Any], bottleneck: list[Any]) -> Label:
    phase_values = dict(zip(_PHASE, phase, strict=True))
    phase_values["evidence"] = tuple(phase_values["evidence"])
    bottleneck_values = dict(zip(_BOTTLENECK, bottleneck, strict=True))
    bottleneck_values["advice"] = tuple(bottleneck_values["advice"])
    return Label(sequence, entity, Phase(**phase_values), Bottleneck(**bottleneck_values))
