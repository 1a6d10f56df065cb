"""The reader of this machine's GPUs that a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.gpu.peaks import PeakBook
    from collectors.gpu.worker import GpuSource
    from dashboard.config import Config


def nvml_reader(config: Config) -> GpuSource | None:
    """What reads the GPUs through NVML, not yet started; None where that is turned off."""
    if not config.gpu.enabled:
        return None
    from collectors.gpu.worker import GpuSource

    library = config.gpu.nvml_library
    return GpuSource(library=str(library) if library is not None else None, book=peak_book(config))


def peak_book(config: Config) -> PeakBook:
    """The peaks of devices, with what the configuration says of them."""
    from collectors.gpu.peaks import PeakBook, Peaks

    return PeakBook({name: Peaks(dram, tensor, "configuration") for name, (dram, tensor) in config.gpu.peaks.items()})
