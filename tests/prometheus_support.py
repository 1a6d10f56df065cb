"""Ticks and pages for the tests of the Prometheus page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collectors.histogram import Histogram
from collectors.model import (
    HOST,
    Bottleneck,
    BottleneckName,
    Gap,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs
from exporters.prometheus import PrometheusSink

SECOND = 1_000_000_000
START = 1_795_211_379 * SECOND
ENDPOINT = "http://127.0.0.1:8000/metrics"
LATENCY = Histogram((0.05, 0.5, 1.0), (3, 2, 0, 1), 2.5)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def split(phase: Phase, duration: float) -> Mapping[str, float]:
    """Seconds by phase, as an independent statement of the rule: busy time by share, the rest by label."""
    seconds = dict.fromkeys(("prefill", "decode", "idle", "waiting", "unknown"), 0.0)
    if phase.prefill_share is None or phase.busy_ratio is None:
        seconds[phase.label if phase.label in ("idle", "waiting") else "unknown"] = duration
        return seconds
    busy = duration * phase.busy_ratio
    seconds["prefill"] = busy * phase.prefill_share
    seconds["decode"] = busy - seconds["prefill"]
    seconds["idle"] = duration - busy
    return seconds


def full(reading: type[Reading], **identity: Any) -> Any:
    """A reading in which every field has a value."""
    values: dict[str, Any] = {}
    for number, spec in enumerate(field_specs(reading)):
        match spec.kind:
            case "gauge":
                values[spec.name] = number + 0.5
            case "amount":
                values[spec.name] = number + 2.0
            case "histogram":
                values[spec.name] = LATENCY
            case "text":
                values[spec.name] = f"some {spec.name}"
    if "gpus" in values:
        values["gpus"] = ("GPU-0",)
    if "xid_codes" in values:
        values["xid_codes"] = "31,79"
    if "state" in values:
        values["state"] = "ok"
    return reading(**{**values, **identity})


def gpu(index: int = 0, **fields: Any) -> GpuReading:
    return GpuReading(uuid=f"GPU-{index}", index=index, **fields)


def engine(index: str = "0", **fields: Any) -> EngineReading:
    return EngineReading(**{"endpoint": ENDPOINT, "engine_index": index, "engine": "vllm", **fields})


def interval(
    sequence: int,
    gpus: Sequence[GpuReading] = (),
    engines: Sequence[EngineReading] = (),
    host: HostReading | None = None,
    duration: float = 1.0,
    gaps: tuple[Gap, ...] = (),
) -> Interval:
    return Interval(
        sequence,
        START + (sequence - 1) * SECOND,
        START + sequence * SECOND,
        duration,
        host,
        {one.uuid: one for one in gpus},
        {one.key: one for one in engines},
        gaps,
    )


def label(
    sequence: int,
    entity: str,
    kind: PhaseLabel,
    share: float | None = None,
    busy: float | None = None,
    *,
    settled: bool = True,
    bottleneck: BottleneckName = "compute",
) -> Label:
    phase = Phase(label=kind, settled=settled, prefill_share=share, busy_ratio=busy)
    return Label(sequence, entity, phase, Bottleneck(name=bottleneck))


def entities(of: Interval) -> tuple[str, ...]:
    return (HOST, *(gpu_entity(uuid) for uuid in of.gpus), *(engine_entity(key) for key in of.engines))


def tick(of: Interval, *settled: Label) -> Tick:
    """The interval with provisional labels of all its entities, and what settled with it."""
    provisional = {name: label(of.sequence, name, "decode", 0.0, 1.0, settled=False) for name in entities(of)}
    final = {one.entity: one for one in settled if one.sequence == of.sequence}
    return Tick(of, {**provisional, **final}, tuple(settled))


def settle_all(of: Interval, kind: PhaseLabel = "decode", share: float | None = 0.25, busy: float | None = 0.8) -> Tick:
    """The interval with every label settled at once."""
    return tick(of, *(label(of.sequence, name, kind, share, busy) for name in entities(of)))


def sink(**options: Any) -> PrometheusSink:
    return PrometheusSink(version="1.2.3", **{"split": split, **options})


def read(exporter: PrometheusSink) -> Samples:
    """The page's samples, by name and labels, once through each of the two parsers."""
    text = _samples(parse_text(exporter.page(False, False).decode()))
    openmetrics = _samples(parse_openmetrics(exporter.page(True, False).decode()))
    assert text == openmetrics
    return text


def _samples(families: Any) -> Samples:
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} stands twice on the page"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The one sample of that name that carries these labels; None when there is none."""
    matching = [
        number
        for (sample, carried), number in samples.items()
        if sample == name and labels.items() <= dict(carried).items()
    ]
    assert len(matching) <= 1, f"{len(matching)} samples of {name} carry {labels}"
    return matching[0] if matching else None


def by(samples: Samples, name: str, key: str, **labels: str) -> dict[str, float]:
    """The samples of that name with these labels, by the value of one more label."""
    return {
        dict(carried)[key]: number
        for (sample, carried), number in samples.items()
        if sample == name and labels.items() <= dict(carried).items()
    }


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}
