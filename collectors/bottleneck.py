"""What holds the work back, with the numbers that say so.

Two answers, never mixed up. *Resource* is a partition of the wall time: what the seconds were
limited by. *Admission* is what keeps requests waiting outside. The headline is one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collectors.model import Bottleneck, BottleneckName, Confidence, Phase
from collectors.phase.calibrate import UNCALIBRATED, CostModel
from collectors.phase.evidence import gpu_busy_ratio
from collectors.phase.rules import Spent
from collectors.readings import EngineReading, GpuReading

DRAM_ATTAINABLE = 0.80
"""DRAM activity a bandwidth-bound kernel reaches in practice (NVIDIA's own test program)."""
TENSOR_ATTAINABLE = 0.93
"""Tensor activity a saturating matrix multiplication reaches in practice (likewise)."""

_POWER_FROM, _HOST_FROM, _NETWORK_FROM = 0.10, 0.15, 0.10
_KV_FULL = 0.95
_EXPLAINED_FROM = 0.35
"""Below this share of what is attainable neither compute nor bandwidth explains busy time."""

_SHARES: tuple[BottleneckName, ...] = (
    "power", "host", "network", "compute", "memory-bandwidth", "demand", "unknown",
)  # fmt: skip


class _Hardware(NamedTuple):
    """The mean of each signal over the GPUs that have it; None where none has."""

    throttled: float | None
    tensor: float | None
    dram: float | None
    busy: float | None


class _Wall(NamedTuple):
    """A partition of one entity's wall time, as ratios, and the words for it."""

    shares: Mapping[BottleneckName, float]
    measured: bool
    numbers: tuple[str, ...] = ()


def judge(
    phase: Phase,
    spent: Spent,
    engines: Sequence[EngineReading],
    gpus: Sequence[GpuReading],
    costs: CostModel = UNCALIBRATED,
) -> Bottleneck:
    """The bottleneck of one entity in one interval.

    `engines` and `gpus` are the readings that make up the entity; `costs` the calibrated costs of
    its engine, where it has one.
    """
    working = [gpu for gpu in gpus if gpu.state == "ok"]
    wall = _wall(phase, spent, working)
    if wall is None:
        return Bottleneck(why=_why_unknown(phase, engines, gpus))
    resource = _resource(wall.shares)
    admission, admission_why = _admission(engines)
    name = _headline(resource, admission, wall)
    return Bottleneck(
        name=name,
        resource=resource,
        admission=admission,
        shares={share: round(value, 4) for share, value in wall.shares.items() if value > 0},
        confidence=_confidence(phase, wall),
        why=" · ".join((*((admission_why,) if admission_why else ()), *wall.numbers)),
        advice=tuple(_advice(name, admission, engines, working, costs)),
    )


def _wall(phase: Phase, spent: Spent, gpus: Sequence[GpuReading]) -> _Wall | None:
    if phase.busy_ratio is None:
        return None
    shares: dict[BottleneckName, float] = dict.fromkeys(_SHARES, 0.0)
    busy = phase.busy_ratio
    idle = 1.0 - busy
    waits_for_host = bool(gpus) and (spent.has_requests or phase.label == "waiting")
    shares["host" if waits_for_host else "demand"] = idle
    hardware = _hardware(gpus)
    shares["power"] = min(busy, hardware.throttled or 0.0)
    left = busy - shares["power"]
    tensor, dram = hardware.tensor, hardware.dram
    numbers = _numbers(hardware, busy, shares["power"], of_gpus=bool(gpus))
    if tensor is not None and dram is not None and busy > 0:
        compute, bandwidth = tensor / TENSOR_ATTAINABLE / busy, dram / DRAM_ATTAINABLE / busy
        if max(compute, bandwidth) < _EXPLAINED_FROM:
            shares["unknown"] = left
        else:
            shares["compute"] = left * compute / (compute + bandwidth)
            shares["memory-bandwidth"] = left - shares["compute"]
        return _Wall(shares, True, numbers)
    if phase.prefill_share is not None:
        # No hardware counters: prefill is matrix-matrix work, decode streams weights and KV cache.
        shares["compute"] = left * phase.prefill_share
        shares["memory-bandwidth"] = left - shares["compute"]
    else:
        shares["unknown"] = left
    return _Wall(shares, False, numbers)


def _throttled(gpu: GpuReading) -> float | None:
    power, thermal, hardware = gpu.throttle_power_ratio, gpu.throttle_thermal_ratio, gpu.throttle_hardware_ratio
    if power is None and thermal is None and hardware is None:
        return None
    return max(power or 0.0, thermal or 0.0, hardware or 0.0)


def _hardware(gpus: Sequence[GpuReading]) -> _Hardware:
    if len(gpus) == 1:
        gpu = gpus[0]
        return _Hardware(_throttled(gpu), gpu.tensor_active_ratio, gpu.dram_active_ratio, gpu_busy_ratio(gpu))
    return _Hardware(
        _mean(_throttled(gpu) for gpu in gpus),
        _mean(gpu.tensor_active_ratio for gpu in gpus),
        _mean(gpu.dram_active_ratio for gpu in gpus),
        _mean(gpu_busy_ratio(gpu) for gpu in gpus),
    )


def _numbers(hardware: _Hardware, busy: float, throttled: float, *, of_gpus: bool) -> tuple[str, ...]:
    numbers: list[str] = []
    if hardware.dram is not None:
        numbers.append(f"DRAM {hardware.dram * 100:.0f} % of peak")
    if hardware.tensor is not None:
        numbers.append(f"tensor {hardware.tensor * 100:.0f} %")
    if throttled >= 0.01:
        numbers.append(f"clocks held down {throttled * 100:.0f} % of the time")
    if hardware.busy is not None:
        numbers.append(f"GPU busy {hardware.busy * 100:.0f} %")
    elif not of_gpus:
        numbers.append(f"busy {busy * 100:.0f} %")
    return tuple(numbers)


def _resource(shares: Mapping[BottleneckName, float]) -> BottleneckName:
    if shares["power"] >= _POWER_FROM:
        return "power"
    if shares["host"] >= _HOST_FROM:
        return "host"
    if shares["network"] >= _NETWORK_FROM:
        return "network"
    return max(("compute", "memory-bandwidth", "demand", "unknown"), key=shares.__getitem__)


def _admission(engines: Sequence[EngineReading]) -> tuple[BottleneckName | None, str | None]:
    for engine in engines:
        usage, waiting = engine.kv_cache_usage_ratio, engine.requests_waiting or 0
        if usage is not None and usage >= _KV_FULL and (waiting or engine.preemptions):
            preempted = f", {engine.preemptions:.0f} preempted" if engine.preemptions else ""
            return "kv-capacity", f"KV cache {usage * 100:.0f} % full, {waiting:.0f} waiting{preempted}"
    for engine in engines:
        limit, running, queued = engine.requests_limit, engine.requests_running, engine.requests_waiting
        if limit and running is not None and running >= limit and queued:
            return "scheduler", f"{running:.0f} of {limit:.0f} requests running, {queued:.0f} waiting"
    return None, None


def _headline(resource: BottleneckName, admission: BottleneckName | None, wall: _Wall) -> BottleneckName:
    if admission == "kv-capacity":
        return "kv-capacity"
    explained = max(wall.shares["compute"], wall.shares["memory-bandwidth"], wall.shares["host"])
    if admission == "scheduler" and (resource in ("unknown", "demand") or explained < _EXPLAINED_FROM):
        return "scheduler"
    return resource


def _confidence(phase: Phase, wall: _Wall) -> Confidence:
    if phase.label in ("idle", "waiting"):
        return phase.confidence
    if wall.measured:
        return "high" if phase.confidence == "high" else "medium"
    return "low"


def _why_unknown(phase: Phase, engines: Sequence[EngineReading], gpus: Sequence[GpuReading]) -> str:
    if not engines and not gpus:
        return "neither a GPU nor a serving engine is measured"
    down = [engine for engine in engines if engine.state != "ok"]
    if down and not gpus:
        return f"{down[0].engine or 'engine'} is {down[0].state}"
    return "what the time went into is not known" if phase.label == "unknown" else ""


def _advice(
    name: BottleneckName,
    admission: BottleneckName | None,
    engines: Sequence[EngineReading],
    gpus: Sequence[GpuReading],
    model: CostModel,
) -> Iterable[str]:
    if name == "kv-capacity":
        yield "more KV cache: FP8 KV cache, a larger memory share for the engine, or fewer tokens a request"
        yield "cap admission: preempted requests are computed twice"
    elif name == "memory-bandwidth":
        yield from _batch_advice(engines, model)
        yield "lower-precision weights or KV cache move fewer bytes a step; speculative decoding pays here"
    elif name == "compute":
        yield "prefix caching saves prompt tokens; FP8 doubles the matrix rate where the hardware has it"
        yield "speculative decoding costs more than it gives while compute is the limit"
    elif name == "host":
        yield "the GPU waits for the host: CUDA graphs, asynchronous scheduling, more API or tokenizer workers"
    elif name == "power":
        yield _power_advice(gpus)
    if admission == "scheduler" or name == "scheduler":
        yield "raise the engine's limit of concurrent requests until the time per token reaches its target"


def _batch_advice(engines: Sequence[EngineReading], model: CostModel) -> Iterable[str]:
    """What doubling the batch would do, by the engine's own calibrated step costs."""
    engine = engines[0] if len(engines) == 1 else None
    if engine is None or not model.is_sure or not engine.requests_running or engine.kv_cache_usage_ratio is None:
        return
    batch, usage = engine.requests_running, engine.kv_cache_usage_ratio
    if usage > 0.45:
        return
    resident = usage * (engine.kv_cache_tokens or 0.0)
    now = model.decode_seconds(1, batch, resident)
    then = model.decode_seconds(1, 2 * batch, 2 * resident)
    if now <= 0:
        return
    gain = 2 * now / then - 1
    yield (
        f"more concurrent sequences: KV cache is {usage * 100:.0f} % used. batch {batch:.0f} → {2 * batch:.0f}: "
        f"TPOT {now * 1e3:.0f} → {then * 1e3:.0f} ms, {gain * 100:+.0f} % tokens/s"
    )


def _power_advice(gpus: Sequence[GpuReading]) -> str:
    hot = max((gpu.throttle_thermal_ratio or 0.0 for gpu in gpus), default=0.0)
    capped = max((gpu.throttle_power_ratio or 0.0 for gpu in gpus), default=0.0)
    if hot >= capped:
        return "heat holds the clocks down: check cooling and airflow"
    return "the power cap holds the clocks down: raise it where the supply allows"


def _mean(values: Iterable[float | None]) -> float | None:
    total, count = 0.0, 0
    for value in values:
        if value is not None:
            total += value
            count += 1
    return total / count if count else None
