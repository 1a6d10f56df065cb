"""One interval in a few lines of plain text: what `phasetop once` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from collectors.model import HOST, Label, Tick, engine_entity, gpu_entity
from collectors.readings import EngineReading, GpuReading, HostReading
from dashboard.format import GIB, MISSING, NANOSECONDS, scaled

_WIDTH = 9


def summary(tick: Tick) -> Iterator[str]:
    """Missing values are left out, never 0; what is missing altogether is told at the end, with the reason."""
    interval = tick.interval
    start = datetime.fromtimestamp(interval.start / NANOSECONDS).astimezone()
    yield f"{start:%Y-%m-%d %H:%M:%S %z}, {interval.duration:.3g} s"
    yield _line("phase", *_judged(tick.labels.get(HOST)))
    if interval.host is not None:
        yield _line("host", *_host(interval.host))
    for gpu in interval.gpus.values():
        yield _line(f"gpu {gpu.index}", gpu.name, *_gpu(gpu), *_label(tick.labels.get(gpu_entity(gpu.uuid))))
    for engine in interval.engines.values():
        yield _line("engine", _name(engine), *_engine(engine), *_label(tick.labels.get(engine_entity(engine.key))))
    yield from _notes(interval.gpus.values())
    for gap in interval.gaps:
        yield _line("missing", f"{gap.source}: {gap.reason}")


def _notes(gpus: Iterable[GpuReading]) -> Iterator[str]:
    """Why some GPUs that are read give less than they could; what is lost is told as missing."""
    about: dict[str, list[str]] = {}
    for gpu in gpus:
        if gpu.state == "ok" and gpu.note:
            about.setdefault(gpu.note, []).append(str(gpu.index))
    for note, indices in about.items():
        yield _line("note", f"GPU{'s' if len(indices) > 1 else ''} {', '.join(dict.fromkeys(indices))}: {note}")


def _line(topic: str, *parts: str | None) -> str:
    return f"{topic:<{_WIDTH}} {', '.join(part for part in parts if part) or MISSING}"


def _judged(label: Label | None) -> Iterator[str | None]:
    if label is None:
        return
    yield label.phase.label
    yield _share(label)
    yield None if label.bottleneck.name == "unknown" else f"bottleneck {label.bottleneck.name}"
    yield label.bottleneck.why


def _label(label: Label | None) -> Iterator[str | None]:
    if label is not None:
        yield label.phase.label
        yield _share(label)
        yield _percent("busy", label.phase.busy_ratio)


def _share(label: Label) -> str | None:
    return (
        _percent("prefill", label.phase.prefill_share) if label.phase.label in ("prefill", "decode", "mixed") else None
    )


def _host(host: HostReading) -> Iterator[str | None]:
    yield _percent("CPU", host.cpu_ratio)
    if host.cpu_cores is not None:
        yield f"{host.cpu_cores:g} cores"
    if host.memory_used_bytes is not None and host.memory_total_bytes is not None:
        yield f"memory {host.memory_used_bytes / GIB:.1f} of {host.memory_total_bytes / GIB:.1f} GiB"
    yield _percent("waiting for CPU", host.cpu_pressure_ratio)


def _gpu(gpu: GpuReading) -> Iterator[str | None]:
    if gpu.state != "ok":
        yield gpu.state
    yield _percent("SM", gpu.sm_active_ratio)
    yield _percent("tensor", gpu.tensor_active_ratio)
    yield _percent("DRAM", gpu.dram_active_ratio)
    yield _percent("kernel-active", gpu.kernel_active_ratio)
    if gpu.memory_used_bytes is not None and gpu.memory_total_bytes is not None:
        yield f"memory {gpu.memory_used_bytes / GIB:.1f} of {gpu.memory_total_bytes / GIB:.1f} GiB"
    if gpu.power_watts is not None:
        yield f"{gpu.power_watts:.0f} W"


def _name(engine: EngineReading) -> str:
    rank = "" if engine.engine_index == "0" else f" rank {engine.engine_index}"
    return f"{engine.engine or 'unknown'} at {engine.endpoint}{rank}"


def _engine(engine: EngineReading) -> Iterator[str | None]:
    yield engine.model
    if engine.state != "ok":
        yield engine.state
    if engine.requests_running is not None:
        yield f"{engine.requests_running:.0f} running"
    if engine.requests_waiting is not None:
        yield f"{engine.requests_waiting:.0f} waiting"
    yield _rate("prompt", engine.prompt_tokens, engine.window_seconds)
    yield _rate("generated", engine.generation_tokens, engine.window_seconds)
    yield _percent("KV cache", engine.kv_cache_usage_ratio)


def _percent(name: str, ratio: float | None) -> str | None:
    return None if ratio is None else f"{name} {ratio * 100:.0f} %"


def _rate(name: str, tokens: float | None, seconds: float | None) -> str | None:
    if tokens is None or not seconds:
        return None
    return f"{name} {scaled(tokens / seconds)[0].strip()} tokens/s"
