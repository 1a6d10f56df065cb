"""What can be: figures outside of it are garbage, and missing. Runs in the child."""

from __future__ import annotations

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from typing import Any

    from collectors.gpu.nvml import Funnel

    Values = dict[str, Any]

_BYTES_LIMIT = 1e15


def within(value: float | None, low: float, high: float) -> float | None:
    """The value when it lies between the two limits, else None."""
    return value if value is not None and low <= value <= high else None


def memory_of(funnel: Funnel, handle: Any) -> Values:
    """Device memory of a GPU or of an instance. Raises GpuLost or NvmlGone.

    Version 2 keeps what the driver reserves apart; version 1 counts it as used.
    """
    second = getattr(funnel.nvml, "nvmlMemory_v2", None)
    what = "nvmlDeviceGetMemoryInfo_v2"
    info = funnel.ask_by(what, funnel.nvml.nvmlDeviceGetMemoryInfo, handle, second) if second else None
    if info is None and not (second and funnel.usable(what)):
        info = funnel.ask("nvmlDeviceGetMemoryInfo", handle)
    if info is None:
        return {}
    total = within(info.total, 1, _BYTES_LIMIT)
    return {
        "memory_total_bytes": total,
        "memory_used_bytes": within(info.used, 0, total) if total else None,
    }
