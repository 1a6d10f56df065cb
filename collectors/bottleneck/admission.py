"""What keeps requests waiting outside: a full KV cache, the engine's own limits, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collectors.model import BottleneckName
from collectors.readings import EngineReading

KV_FULL = 0.95
_KV_ROOMY = 0.80
"""KV cache use up to which requests that wait for room wait for a place in the batch, not for memory."""


class Admission(NamedTuple):
    """What keeps requests out, with the words for it and the engine it is about. `name` None: nothing does."""

    name: BottleneckName | None = None
    why: str = ""
    engine: EngineReading | None = None


def admission(engines: Sequence[EngineReading]) -> Admission:
    """The admission of some engines: that of the first whose KV cache is full, else of the first at its limit."""
    for engine in engines:
        usage, waiting = engine.kv_cache_usage_ratio, engine.requests_waiting or 0
        if usage is not None and usage >= KV_FULL and (waiting or engine.preemptions):
            preempted = f", {engine.preemptions:.0f} preempted" if engine.preemptions else ""
            return Admission(
                "kv-capacity", f"KV cache {usage * 100:.0f} % full, {waiting:.0f} waiting{preempted}", engine
            )
    for engine in engines:
        told = _limited(engine)
        if told:
            return Admission("scheduler", told, engine)
    return Admission()


def _limited(engine: EngineReading) -> str:
    limit, running, queued = engine.requests_limit, engine.requests_running, engine.requests_waiting
    if not queued or running is None:
        return ""
    if limit and running >= limit:
        return f"{running:.0f} of {limit:.0f} requests running, {queued:.0f} waiting"
    capacity, usage = engine.requests_waiting_capacity, engine.kv_cache_usage_ratio
    if capacity and running and usage is not None and usage < _KV_ROOMY:
        # The engine says room is lacking, and the KV cache has some: it is room in the batch.
        return f"{capacity:.0f} waiting for room in the batch, {running:.0f} running, KV cache {usage * 100:.0f} % used"
    return ""


def waiting(engines: Sequence[EngineReading]) -> float | None:
    """Requests waiting in all the engines; None where none of them tells."""
    told = [engine.requests_waiting for engine in engines if engine.requests_waiting is not None]
    return sum(told) if told else None
