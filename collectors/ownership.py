"""Which GPUs belong to which engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from collectors.engine.catalog import GATEWAY_ROLE
from collectors.readings import EngineReading, GpuReading


def assign_gpus(
    engines: Sequence[EngineReading],
    gpus: Sequence[GpuReading],
    *,
    processes: Mapping[int, tuple[str, ...]],
    trees: Mapping[str, frozenset[int]],
    configured: Mapping[str, tuple[str, ...]],
) -> tuple[EngineReading, ...]:
    """The readings with their GPUs' UUIDs filled in; empty where nothing tells.

    In this order: the GPUs on which a process of the engine's tree runs; what is configured for
    its endpoint (`configured` holds NVML indices as text, or UUIDs); all the GPUs, when no other
    engine is up. Ranks on one page share what is found for the page. A GPU that is divided into
    instances (MIG) is nobody's; its instances are.
    """
    gpus = [gpu for gpu in gpus if not gpu.instances]
    up = {reading.endpoint for reading in engines if reading.state != "down" and reading.role != GATEWAY_ROLE}
    owned: dict[str, tuple[str, ...]] = {}
    for endpoint in {reading.endpoint for reading in engines}:
        seen = {uuid for pid in trees.get(endpoint, ()) for uuid in processes.get(pid, ())}
        named = configured.get(endpoint, ())
        by_process = tuple(gpu.uuid for gpu in gpus if gpu.uuid in seen)
        owned[endpoint] = by_process or tuple(gpu.uuid for gpu in gpus if gpu.uuid in named or str(gpu.index) in named)
    if len(up) == 1 and not owned[sole := next(iter(up))]:
        owned[sole] = tuple(gpu.uuid for gpu in gpus)
    return tuple(
        replace(reading, gpus=owned[reading.endpoint]) if owned[reading.endpoint] else reading for reading in engines
    )
