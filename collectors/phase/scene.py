"""One interval as it is labelled: which entities there are, and whose readings each of them stands on.

That follows from the readings alone. So it is found out once, and serves the provisional labels and
the settled ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.bottleneck.admission import admission
from collectors.bottleneck.case import Case
from collectors.bottleneck.partition import NO_SIGNALS, mean_signals, signals_of
from collectors.model import HOST, EngineKey, Interval, engine_entity, gpu_entity
from collectors.phase.topology import gpus_of, owners
from collectors.readings import EngineReading, GpuReading


@dataclass(slots=True)
class Scene:
    """An interval with its entities: the machine, each GPU by its UUID, each engine by its key."""

    interval: Interval
    host: Case
    gpus: dict[str, Case]
    engines: dict[EngineKey, Case]
    counted: frozenset[str]
    """The GPUs whose time is the machine's."""

    @classmethod
    def of(cls, interval: Interval) -> Scene:
        host, readings, gpus = interval.host, interval.engines, interval.gpus
        kept_out = {key: admission((reading,)) for key, reading in readings.items()}
        told = {uuid: signals_of(gpu) for uuid, gpu in gpus.items() if gpu.state == "ok"}
        owned = owners(interval)
        of_gpus: dict[str, Case] = {}
        for uuid, gpu in gpus.items():
            own = owned.get(uuid, _NOBODY)
            keys = tuple([engine.key for engine in own])
            limit = kept_out[keys[0]] if len(keys) == 1 else admission(own)
            hardware = told.get(uuid, NO_SIGNALS)
            of_gpus[uuid] = Case(gpu_entity(uuid), own, keys, (gpu,), host, limit, hardware)
        of_engines: dict[EngineKey, Case] = {}
        for key, reading in readings.items():
            hardware = mean_signals([told[uuid] for uuid in reading.gpus if uuid in told])
            its = gpus_of(interval, reading)
            of_engines[key] = Case(engine_entity(key), (reading,), (key,), its, host, kept_out[key], hardware)
        engines = list(readings.values())
        whole = Case(HOST, engines, tuple(readings), list(gpus.values()), host, admission(engines))
        return cls(interval, whole, of_gpus, of_engines, _counted(gpus))


_NOBODY: Sequence[EngineReading] = ()


def _counted(gpus: Mapping[str, GpuReading]) -> frozenset[str]:
    """The GPUs whose time is the machine's: whole ones that answer, or every whole one where none does.

    The time of a GPU that is lost is nobody's; it is not idle time of the machine.
    """
    whole = {uuid: gpu for uuid, gpu in gpus.items() if not gpu.instances}
    return frozenset(uuid for uuid, gpu in whole.items() if gpu.state == "ok") or frozenset(whole)
