"""Whose seconds are whose: engines, their GPUs, and the machine; and which part of a serving chain an engine is.

- The GPUs of one engine (tensor or pipeline parallel) get one share: they work on the same steps.
- Several engines on one GPU divide its seconds in proportion to their own busy time.
- Data-parallel ranks are engines of their own, with counters of their own.
- Instances of a disaggregated deployment are told by their token flows: see `Flows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from collectors.engine.catalog import GATEWAY_ROLE
from collectors.model import Confidence, EngineKey, Interval
from collectors.phase.costs import CPU_TOKENS_PER_STEP, GPU_TOKENS_PER_STEP, Hardware
from collectors.phase.evidence import gpu_busy_ratio
from collectors.phase.hardware import DramHistory, contradicts, hardware_spent
from collectors.phase.rules import IDLE_BELOW, UNKNOWN_ABOVE, Spent
from collectors.readings import EngineReading, GpuReading

Role = Literal["prefill", "decode", "both"]

_ORDER: Mapping[Confidence, int] = {"high": 0, "medium": 1, "low": 2}

_BANDWIDTH_REACHED = ((1, 0.8), (2, 0.63), (4, 0.38), (8, 0.19))
"""By GPUs of a tensor-parallel group (measured with Llama-2-70B on A100; one GPU: an 8B model)."""
_MOSTLY_ON_CPUS = frozenset({"llamacpp"})
"""Engines of which those whose GPU is not seen have none."""
_FLOW_HALF_LIFE = 30.0
_FEW_TOKENS = 1000.0
_LITTLE_COMPUTED, _LITTLE_GENERATED = 0.05, 0.02
"""Share of its prompt tokens an instance for decode computes itself at most, and generated tokens per
prompt token of one for prefill."""
_HARDLY_MORE = 1.2
"""Generated tokens for each first one at most, of an instance for prefill: short answers are not it."""


def total(parts: Iterable[Spent]) -> Spent | None:
    """Seconds added up; the error is that of the parts weighted by their busy time, the confidence the worst."""
    some = list(parts)
    if len(some) < 2:
        return some[0] if some else None
    prefill = decode = idle = unknown = busy = weighted = widest = 0.0
    has_requests = False
    for own_prefill, own_decode, own_idle, own_unknown, error, _, _, requested in some:
        prefill += own_prefill
        decode += own_decode
        idle += own_idle
        unknown += own_unknown
        own_busy = own_prefill + own_decode
        busy += own_busy
        weighted += error * own_busy
        if error > widest:
            widest = error
        if requested:
            has_requests = True
    sure = [part for part in some if part.busy > 0] or some
    worst = max((part.confidence for part in sure), key=_ORDER.__getitem__)
    kinds = dict.fromkeys(part.evidence for part in sure)
    evidence = dict.fromkeys(kind for told in kinds for kind in told)
    error = weighted / busy if busy else widest
    return Spent(prefill, decode, idle, unknown, error, worst, tuple(evidence), has_requests)


@dataclass(slots=True)
class Flows:
    """Tokens through one engine lately, which tell an instance for prefill or for decode from one for both.

    An instance that only prefills generates one token a prompt. One that only decodes computes next
    to none of its prompts: their KV cache arrives from elsewhere.
    """

    computed: float = 0.0
    transferred: float = 0.0
    generated: float = 0.0
    first: float = 0.0
    role: Role | None = None
    """prefill, decode or both; None while too little has flowed."""

    def __post_init__(self) -> None:
        self.role = self._role()

    def add(self, reading: EngineReading) -> None:
        """One settled interval. What is older counts less, by half a minute."""
        keep = 0.5 ** ((reading.window_seconds or 0.0) / _FLOW_HALF_LIFE)
        self.computed = self.computed * keep + (reading.prompt_tokens_computed or 0.0)
        self.transferred = self.transferred * keep + (reading.prompt_tokens_transferred or 0.0)
        self.generated = self.generated * keep + (reading.generation_tokens or 0.0)
        self.first = self.first * keep + (reading.first_tokens or 0.0)
        self.role = self._role()

    def _role(self) -> Role | None:
        if self.computed + self.transferred + self.generated < _FEW_TOKENS:
            return None
        if self.transferred > 0 and self.computed < _LITTLE_COMPUTED * (self.computed + self.transferred):
            return "decode"
        if self.generated < _LITTLE_GENERATED * self.computed and self.generated <= _HARDLY_MORE * self.first:
            return "prefill"
        return "both"

    def to_json(self) -> list[float]:
        return [self.computed, self.transferred, self.generated, self.first]


def without_gateways(interval: Interval) -> Interval:
    """The interval without what only passes requests on: it has no time of its own to split."""
    if not any(reading.role == GATEWAY_ROLE for reading in interval.engines.values()):
        return interval
    engines = {key: reading for key, reading in interval.engines.items() if reading.role != GATEWAY_ROLE}
    return replace(interval, engines=engines)


def owners(interval: Interval) -> dict[str, list[EngineReading]]:
    """The engines of each GPU, by its UUID; a GPU of no known engine is absent."""
    found: dict[str, list[EngineReading]] = {}
    for reading in interval.engines.values():
        for uuid in reading.gpus:
            found.setdefault(uuid, []).append(reading)
    return found


def gpus_of(interval: Interval, reading: EngineReading) -> list[GpuReading]:
    """The readings of an engine's GPUs, as far as there are any."""
    return [interval.gpus[uuid] for uuid in reading.gpus if uuid in interval.gpus]


def on_anothers_gpu(interval: Interval) -> frozenset[EngineKey]:
    """Engines that share a GPU with another one at work in this interval.

    How busy such a GPU was says nothing of an engine that was not at work throughout.
    """
    found: set[EngineKey] = set()
    for engines in owners(interval).values():
        if len(engines) > 1:
            working = [engine.key for engine in engines if _works(engine)]
            found.update(one.key for one in engines if any(key != one.key for key in working))
    return frozenset(found)


def _works(engine: EngineReading) -> bool:
    return engine.state == "ok" and any(
        (engine.requests_running, engine.generation_tokens, engine.steps, engine.prompt_tokens_computed)
    )


def hardware_of(interval: Interval, reading: EngineReading) -> Hardware:
    """What the data sheets of an engine's GPUs tell of its costs.

    With 16-bit weights a step reads two bytes and a prompt token computes two operations per
    parameter, so a step costs as many prompt tokens as the ratio of the two peaks.
    """
    gpus = gpus_of(interval, reading)
    if not gpus:
        return Hardware(CPU_TOKENS_PER_STEP if reading.engine in _MOSTLY_ON_CPUS else GPU_TOKENS_PER_STEP)
    first = gpus[0]
    flops, bandwidth = first.tensor_peak_flops_per_second, first.dram_peak_bytes_per_second
    return Hardware(
        flops / bandwidth if flops and bandwidth else GPU_TOKENS_PER_STEP,
        _bandwidth_reached(len(gpus)) * sum(gpu.dram_peak_bytes_per_second or 0.0 for gpu in gpus),
        sum(gpu.memory_used_bytes or 0.0 for gpu in gpus),
        reading.kv_cache_tokens or 0.0,
    )


def _bandwidth_reached(gpus: int) -> float:
    """Share of its GPUs' memory bandwidth a decode step reaches: the less, the more GPUs it waits for."""
    return next((share for most, share in _BANDWIDTH_REACHED if gpus <= most), _BANDWIDTH_REACHED[-1][1])


def gpu_spent(gpu: GpuReading, seconds: float, engine: Spent | None, history: DramHistory) -> Spent:
    """One GPU's seconds: its engine's share of its own busy time, or its own signals without an engine.

    `engine` is the `total` of the engines on it: several share its seconds in proportion to their own
    busy time. The GPUs of one engine get one share: they work on the same steps.
    """
    if gpu.state != "ok" or engine is None:
        return hardware_spent(gpu, history, seconds)
    prefill, decode, idle, unknown, error, confidence, evidence, has_requests = engine
    engine_busy = prefill + decode
    engine_seconds = engine_busy + idle + unknown
    if engine_seconds <= 0 or unknown > UNKNOWN_ABOVE * engine_seconds:
        return hardware_spent(gpu, history, seconds)
    busy = gpu_busy_ratio(gpu)
    busy_seconds = seconds * min(1.0, busy if busy is not None else engine_busy / engine_seconds)
    if engine_busy <= 0:
        # The engine did nothing: time the GPU was busy for others stays unexplained.
        known = seconds if busy_seconds < IDLE_BELOW * seconds else seconds - busy_seconds
        return engine._replace(prefill=0.0, decode=0.0, idle=known, unknown=seconds - known)
    share = prefill / engine_busy
    if confidence != "low" and contradicts(share, error, gpu, busy, history):
        confidence = "low"
    prefill = share * busy_seconds
    return Spent(
        prefill, busy_seconds - prefill, seconds - busy_seconds, 0.0, error, confidence, evidence, has_requests
    )


def host_spent(gpus: Sequence[Spent], engines: Sequence[Spent]) -> Spent | None:
    """The machine's seconds: over its GPUs, or over its engines where there are none."""
    return total(gpus) if gpus else total(engines)
