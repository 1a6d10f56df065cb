"""The health of one GPU: memory errors, what the driver asks for, the PCIe link. Runs in the child.

All of it changes rarely and some of it costs a round trip to the GPU's firmware, so it is read
every ten seconds, what NVML has as field values in one call.
"""

from __future__ import annotations

from collectors.gpu.fieldvalues import (
    ECC_CORRECTED,
    ECC_UNCORRECTED,
    HEALTH,
    RECOVERY_ACTION,
    REMAP_FAILED,
    REMAP_PENDING,
    REMAPPED_CORRECTED,
    REMAPPED_UNCORRECTED,
    FieldBatch,
)
from collectors.gpu.nvml import Funnel

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

_RECOVERY = ("none", "gpu-reset", "node-reboot", "drain-p2p", "drain-and-reset", "imex-restart")
"""What NVML's nvmlDeviceGpuRecoveryAction_t calls for, by its number."""
_COUNT_LIMIT = 2.0**48
_SINCE_THE_DRIVER_WAS_LOADED = 0
_LANES = (1, 2, 4, 8, 12, 16, 32)
_HIGHEST_GENERATION = 9

_COUNTS = {
    ECC_CORRECTED: "ecc_corrected_errors",
    ECC_UNCORRECTED: "ecc_uncorrected_errors",
    REMAPPED_CORRECTED: "remapped_rows_corrected",
    REMAPPED_UNCORRECTED: "remapped_rows_uncorrected",
}
_FLAGS = {REMAP_PENDING: "row_remap_pending", REMAP_FAILED: "row_remap_failed"}


class Health:
    """Asked through the GPU's funnel, which remembers what this GPU will never answer."""

    def __init__(self, funnel: Funnel) -> None:
        self._funnel = funnel
        self._batch = FieldBatch(funnel)
        self._link_max: Values | None = None

    def read(self, handle: Any) -> Values:
        """Fields of GpuReading; what the GPU does not give or cannot be is None. Raises GpuLost or NvmlGone."""
        answers = self._batch.read(handle, HEALTH)
        self._where_no_field_tells(handle, answers)
        values: Values = {name: _count(answers.get(field)) for field, name in _COUNTS.items()}
        values.update({name: _flag(answers.get(field)) for field, name in _FLAGS.items()})
        values["recovery_action"] = _recovery(answers.get(RECOVERY_ACTION))
        values["persistence_mode"] = _flag(self._funnel.ask("nvmlDeviceGetPersistenceMode", handle))
        values["pcie_link_generation"] = _generation(self._funnel.ask("nvmlDeviceGetCurrPcieLinkGeneration", handle))
        values["pcie_link_width"] = _lanes(self._funnel.ask("nvmlDeviceGetCurrPcieLinkWidth", handle))
        if self._link_max is None:
            self._link_max = {
                "pcie_link_generation_max": _generation(self._funnel.ask("nvmlDeviceGetMaxPcieLinkGeneration", handle)),
                "pcie_link_width_max": _lanes(self._funnel.ask("nvmlDeviceGetMaxPcieLinkWidth", handle)),
            }
        return {**values, **self._link_max}

    def _where_no_field_tells(self, handle: Any, answers: dict[int, float]) -> None:
        """Add what functions give of the fields that this driver has not, or refuses."""
        for field, kind in ((ECC_CORRECTED, 0), (ECC_UNCORRECTED, 1)):
            if not self._batch.gives(field):
                count = self._funnel.ask("nvmlDeviceGetTotalEccErrors", handle, kind, _SINCE_THE_DRIVER_WAS_LOADED)
                if count is not None:
                    answers[field] = float(count)
        rows = (REMAPPED_CORRECTED, REMAPPED_UNCORRECTED, REMAP_PENDING, REMAP_FAILED)
        if not any(self._batch.gives(field) for field in rows):
            remapped = self._funnel.ask("nvmlDeviceGetRemappedRows", handle) or ()
            answers.update(zip(rows, map(float, remapped), strict=False))


def _count(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < _COUNT_LIMIT else None


def _flag(value: float | None) -> float | None:
    return float(value) if value in (0, 1) and value is not None else None


def _lanes(value: float | None) -> float | None:
    return float(value) if value in _LANES and value is not None else None


def _generation(value: float | None) -> float | None:
    return float(value) if value is not None and 1 <= value <= _HIGHEST_GENERATION else None


def _recovery(value: float | None) -> str | None:
    return _RECOVERY[int(value)] if value is not None and 0 <= value < len(_RECOVERY) else None
