"""The reader of this machine's GPUs that a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.gpu.worker import GpuSource
    from dashboard.config import Config


def nvml_reader(config: Config) -> GpuSource | None:
    """What reads the GPUs through NVML, not yet started; None where that is turned off."""
    if not config.gpu.enabled:
        return None
    from collectors.gpu.worker import GpuSource

    library = config.gpu.nvml_library
    return GpuSource(library=str(library) if library is not None else None)
