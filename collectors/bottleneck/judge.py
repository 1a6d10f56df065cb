"""The judgement on one entity's interval: resource, admission, headline, numbers and advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collectors.bottleneck.admission import Admission, admission, waiting
from collectors.bottleneck.advice import PREDICTED, advise
from collectors.bottleneck.partition import EXPLAINED_FROM, Wall
from collectors.model import NOTHING_WRONG, WHY_SEPARATOR, Bottleneck, BottleneckName, Confidence, Phase
from collectors.phase.calibrate import UNCALIBRATED, CostModel
from collectors.readings import EngineReading, GpuReading

_POWER_FROM, _HOST_FROM, _NETWORK_FROM = 0.10, 0.15, 0.10
"""Shares of the wall time from which power, the host and the network are named, in this order."""

_MOSTLY = 0.5
"""Share of the busy time in which memory was touched, from which that agrees with bandwidth as the limit."""

_LARGEST_OF: tuple[BottleneckName, ...] = ("compute", "memory-bandwidth", "demand", "unknown")


def judge(
    phase: Phase,
    engines: Sequence[EngineReading],
    gpus: Sequence[GpuReading],
    wall: Wall | None,
    costs: CostModel = UNCALIBRATED,
    role: str | None = None,
    kept_out: Admission | None = None,
) -> Bottleneck:
    """The bottleneck of one entity in one interval.

    `engines` and `gpus` are the readings that make up the entity; `wall` how its time is divided, by
    `partition` or, for a whole machine, the mean of its GPUs' walls, since one of its engines may be
    idle while another is held up; `costs` the calibrated costs of its engine, where it has one; `role`
    what its token flows show it to be in a disaggregated deployment; `kept_out` the admission of the
    engines, where it is known already.
    """
    if wall is None:
        return Bottleneck(why=_why_unknown(phase, engines, gpus))
    resource = named_resource(wall.shares)
    if kept_out is None:
        kept_out = admission(engines)
    name = headline(resource, kept_out.name, wall.shares)
    return Bottleneck(
        name=name,
        resource=resource,
        admission=kept_out.name,
        shares={share: round(value, 4) for share, value in wall.shares.items() if value > 0},
        confidence=_confidence(name, phase, wall),
        why=WHY_SEPARATOR.join((*_why(name, wall, kept_out, engines, gpus), *_instance(role))),
        advice=tuple(advise(name, kept_out, wall, engines, gpus, costs)),
    )


def rests_on_costs(name: BottleneckName, engines: Sequence[EngineReading]) -> bool:
    """Whether the advice under that name may be told in numbers that the costs predict."""
    return len(engines) == 1 and name in PREDICTED


def judged_again(before: Bottleneck, phase: Phase, wall: Wall) -> Bottleneck:
    """The judgement on the same wall when only what is known of the phase has changed."""
    confidence = _confidence(before.name, phase, wall)
    if confidence == before.confidence:
        return before
    name, resource, kept_out, shares = before.name, before.resource, before.admission, before.shares
    return Bottleneck(name, resource, kept_out, shares, confidence, before.why, before.advice)


def named_resource(shares: Mapping[Any, float]) -> BottleneckName:
    """The first of power, host and network that takes more than its threshold, else the largest share."""
    if shares.get("power", 0.0) >= _POWER_FROM:
        return "power"
    if shares.get("host", 0.0) >= _HOST_FROM:
        return "host"
    if shares.get("network", 0.0) >= _NETWORK_FROM:
        return "network"
    largest, most = _LARGEST_OF[0], shares.get(_LARGEST_OF[0], 0.0)
    for name in _LARGEST_OF[1:]:  # as max() with a key, in a third of the time
        if (share := shares.get(name, 0.0)) > most:
            largest, most = name, share
    return largest


def headline(resource: BottleneckName, kept_out: BottleneckName | None, shares: Mapping[Any, float]) -> BottleneckName:
    """A full KV cache first, then the resource; the scheduler only when nothing else explains the time."""
    if kept_out == "kv-capacity":
        return "kv-capacity"
    if kept_out != "scheduler":
        return resource
    explained = max(shares.get(name, 0.0) for name in ("compute", "memory-bandwidth", "host"))
    return "scheduler" if resource in ("unknown", "demand") or explained < EXPLAINED_FROM else resource


def _confidence(name: BottleneckName, phase: Phase, wall: Wall) -> Confidence:
    if phase.label in ("idle", "waiting"):
        return phase.confidence
    if name == "kv-capacity" or (name in ("host", "power") and wall.hardware.busy is not None):
        return "high"  # counted by the engine, or measured by the GPU; the phase does not come into it
    if wall.basis in ("counters", "engine"):
        return "high" if phase.confidence == "high" and wall.basis == "counters" else "medium"
    agrees = wall.hardware.memory_active is not None and wall.hardware.memory_active >= _MOSTLY * wall.busy
    return "medium" if name == "memory-bandwidth" and agrees and phase.confidence != "low" else "low"


def _why(
    name: BottleneckName,
    wall: Wall,
    kept_out: Admission,
    engines: Sequence[EngineReading],
    gpus: Sequence[GpuReading],
) -> list[str]:
    told = [kept_out.why] if kept_out.why else []
    hardware = wall.hardware
    if wall.transfer >= 0.01:
        told.append(f"waiting for a KV cache transfer {round(wall.transfer * 100)} % of the time")
    if hardware.dram is not None:
        told.append(f"DRAM {round(hardware.dram * 100)} % of peak")
    elif hardware.memory_active is not None and wall.busy > 0:
        told.append(f"memory-active {round(hardware.memory_active * 100)} %")
    if hardware.tensor is not None:
        told.append(f"tensor {round(hardware.tensor * 100)} %")
    if wall.shares.get("power", 0.0) >= 0.01:
        told.append(f"clocks held down {round(wall.shares['power'] * 100)} % of the time")
        told.extend(_clock(gpus))
    if hardware.busy is not None:
        told.append(f"GPU busy {round(wall.busy * 100)} %")
    elif not gpus:
        told.append(f"busy {round(wall.busy * 100)} %")
    if name == "host":
        told.extend(_host_numbers(engines))
    if name == "unknown" and wall.shares.get("host", 0.0) == 0.0 and wall.shares.get("unknown", 0.0) > wall.busy:
        told.append("requests run while neither the GPU nor the engine's processes compute")
    if _is_fine(name, kept_out, engines):
        told.append(f"{NOTHING_WRONG}: no request waits")
    return told


def _instance(role: str | None) -> tuple[str, ...]:
    return (f"by its token flows an instance for {role} alone",) if role in ("prefill", "decode") else ()


def _clock(gpus: Sequence[GpuReading]) -> list[str]:
    for gpu in gpus:
        if gpu.sm_clock_hertz and gpu.sm_clock_max_hertz and gpu.sm_clock_hertz < gpu.sm_clock_max_hertz:
            watts = ""
            if gpu.power_watts is not None and gpu.power_limit_watts:
                watts = f" at {gpu.power_watts:.0f} of {gpu.power_limit_watts:.0f} W"
            return [f"SM clock {gpu.sm_clock_hertz / 1e6:.0f} of {gpu.sm_clock_max_hertz / 1e6:.0f} MHz{watts}"]
    return []


def _host_numbers(engines: Sequence[EngineReading]) -> list[str]:
    told = []
    running = [engine.requests_running for engine in engines if engine.requests_running]
    if running:
        told.append(f"{sum(running):.0f} requests running")
    for engine in engines:
        if engine.cpu_seconds is not None and engine.window_seconds:
            told.append(f"engine uses {engine.cpu_seconds / engine.window_seconds:.1f} cores")
            break
    busiest = max((one for engine in engines for one in _threads(engine)), default=None)
    if busiest is not None:
        told.append(f"its thread {busiest[1]} {busiest[0] * 100:.0f} % of one")
    return told


def _threads(engine: EngineReading) -> list[tuple[float, str]]:
    names, ratios = engine.process_threads or (), engine.process_thread_ratios or ()
    return [(ratio, name) for name, ratio in zip(names, ratios, strict=False) if name and ratio is not None]


def _is_fine(name: BottleneckName, kept_out: Admission, engines: Sequence[EngineReading]) -> bool:
    """Nobody waits, and the time is either not asked for or spent at what the hardware is for."""
    return name in ("demand", "memory-bandwidth", "compute") and kept_out.name is None and waiting(engines) == 0


def _why_unknown(phase: Phase, engines: Sequence[EngineReading], gpus: Sequence[GpuReading]) -> str:
    if not engines and not gpus:
        return "neither a GPU nor a serving engine is measured"
    down = [engine for engine in engines if engine.state != "ok"]
    if down and not gpus:
        return f"{down[0].engine or 'engine'} is {down[0].state}"
    return "what the time went into is not known" if phase.label == "unknown" else ""
