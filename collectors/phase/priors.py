"""Which earlier run's costs are those of an engine: the same model, arguments and GPUs.

Pure: reading and writing them is for whoever runs a labeller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading, GpuReading

_ARGUMENTS = (
    "engine", "version", "model", "role", "dtype", "kv_cache_dtype", "tensor_parallel", "pipeline_parallel",
    "kv_block_tokens",
)  # fmt: skip
"""What of an engine's arguments its page tells and its costs depend on. Limits of length and number do not change
what a step costs."""


def identity(reading: EngineReading, gpus: Sequence[GpuReading]) -> str | None:
    """A name for what an engine's costs depend on, as JSON: arguments, then GPUs. None without a model's name."""
    if reading.model is None:
        return None
    return json.dumps([_arguments(reading), _cards(gpus)], separators=(",", ":"))


def find(priors: Mapping[str, CostModel], reading: EngineReading, gpus: Sequence[GpuReading]) -> CostModel | None:
    """The costs of an earlier run of this engine; None where none is it.

    While the GPUs have not been heard of, costs that fit all else are taken if there is one such set.
    """
    name = identity(reading, gpus)
    if name is None:
        return None
    if name in priors or gpus:
        return priors.get(name)
    start = json.dumps([_arguments(reading)], separators=(",", ":"))[:-1] + ","
    fitting = [costs for known, costs in priors.items() if known.startswith(start)]
    return fitting[0] if len(fitting) == 1 else None


def _arguments(reading: EngineReading) -> list[str | float | None]:
    return [getattr(reading, name) for name in _ARGUMENTS]


def _cards(gpus: Sequence[GpuReading]) -> list[str]:
    """Names of the cards, with the power each may draw: a lowered cap makes it another card."""
    return sorted(f"{gpu.name or 'GPU'} {gpu.power_limit_watts or 0:.0f} W" for gpu in gpus)
