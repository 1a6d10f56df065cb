"""The JSON interval: one object per interval, for `once --json` and `dump --format jsonl`.

Names and nesting are a promise to other programs: adding a field is free, renaming one raises
`SCHEMA`. What is absent is null. Counters are the amounts within the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from collectors.clock import NANO
from collectors.histogram import Histogram
from collectors.model import HOST, Bottleneck, GpuProcess, Label, Phase, Tick, engine_entity, gpu_entity
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs

SCHEMA = 1

QUANTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
"""Name and rank of the quantiles a histogram is written as."""

_THROTTLE = {
    "throttle_power_ratio": "power",
    "throttle_thermal_ratio": "thermal",
    "throttle_hardware_ratio": "hardware",
}
_HOST, _GPU, _ENGINE = (
    tuple((spec.name, spec.kind == "histogram") for spec in field_specs(reading))
    for reading in (HostReading, GpuReading, EngineReading)
)
"""(name, whether it is a histogram) of each reading's fields."""


def document(tick: Tick) -> dict[str, Any]:
    """The interval with its labels, as plain dicts and lists that json writes without further help."""
    interval = tick.interval
    return {
        "schema": SCHEMA,
        "start": interval.start / NANO,
        "end": interval.end / NANO,
        "duration": interval.duration,
        "host": None if interval.host is None else _fields(interval.host, _HOST),
        "gpus": [
            _gpu(gpu, interval.gpu_processes.get(gpu.uuid), tick.labels.get(gpu_entity(gpu.uuid)))
            for gpu in interval.gpus.values()
        ],
        "engines": [
            _engine(engine, tick.labels.get(engine_entity(engine.key))) for engine in interval.engines.values()
        ],
        **_judgement(tick.labels.get(HOST)),
        "gaps": [{"source": gap.source, "reason": gap.reason} for gap in interval.gaps],
    }


def _gpu(gpu: GpuReading, processes: Iterable[GpuProcess] | None, label: Label | None) -> dict[str, Any]:
    """`processes` is None where nobody looked at them, as in a recording."""
    written = _fields(gpu, _GPU)
    throttle = {short: written.pop(name) for name, short in _THROTTLE.items()}
    listed = None if processes is None else [asdict(process) for process in processes]
    return {**written, "throttle_ratio": throttle, "processes": listed, **_judgement(label)}


def _engine(engine: EngineReading, label: Label | None) -> dict[str, Any]:
    written = _fields(engine, _ENGINE)
    written["prefix_cache_hit_ratio"] = engine.prefix_cache_hit_ratio
    written["gpus"] = list(engine.gpus)
    return {**written, **_judgement(label)}


def _fields(reading: Reading, plan: Iterable[tuple[str, bool]]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name, is_histogram in plan:
        value = getattr(reading, name)
        if is_histogram:
            written[f"{name}_seconds"] = None if value is None else _quantiles(value)
        elif isinstance(value, tuple):
            written[name] = [_finite(item) for item in value]
        else:
            written[name] = _finite(value)
    return written


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _quantiles(histogram: Histogram) -> dict[str, float | int | None]:
    quantiles: dict[str, float | int | None] = {name: histogram.quantile(q) for name, q in QUANTILES}
    quantiles["count"] = histogram.count
    return quantiles


def _judgement(label: Label | None) -> Mapping[str, Any]:
    if label is None:
        return {"phase": None, "bottleneck": None}
    return {"phase": _phase(label.phase), "bottleneck": _bottleneck(label.bottleneck)}


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "label": phase.label,
        "settled": phase.settled,
        "prefill_share": phase.prefill_share,
        "busy_ratio": phase.busy_ratio,
        "error": phase.error,
        "confidence": phase.confidence,
        "evidence": list(phase.evidence),
        "rule_version": phase.rule_version,
        "unknown_ratio": phase.unknown_ratio,
    }


def _bottleneck(bottleneck: Bottleneck) -> dict[str, Any]:
    return {
        "name": bottleneck.name,
        "resource": bottleneck.resource,
        "admission": bottleneck.admission,
        "shares": dict(bottleneck.shares),
        "confidence": bottleneck.confidence,
        "why": bottleneck.why,
        "advice": list(bottleneck.advice),
    }
