"""NVML field values: many small questions about one GPU in a single driver call.

Runs in the child.
"""

from __future__ import annotations

import ctypes
import math
import struct

from collectors.gpu.codes import FUNCTION_NOT_FOUND, NEVER, NOT_READY
from collectors.gpu.nvml import Funnel

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ECC_CORRECTED = 3
ECC_UNCORRECTED = 4
POWER_CAP_NS = 74
MEMORY_TEMPERATURE = 82
ENERGY_MILLIJOULES = 83
NVLINK_TX_KIBIBYTES = 138
NVLINK_RX_KIBIBYTES = 139
REMAPPED_CORRECTED = 142
REMAPPED_UNCORRECTED = 143
REMAP_PENDING = 144
REMAP_FAILED = 145
POWER_MILLIWATTS = 186
SLOWDOWN_MARGIN = 194
PCIE_TX_BYTES = 197
PCIE_RX_BYTES = 198
RECOVERY_ACTION = 230
SOFTWARE_THERMAL_NS = 269
HARDWARE_THERMAL_NS = 270
POWER_BRAKE_NS = 271

ALWAYS = (
    POWER_MILLIWATTS, MEMORY_TEMPERATURE, ENERGY_MILLIJOULES,
    POWER_CAP_NS, SOFTWARE_THERMAL_NS, HARDWARE_THERMAL_NS, POWER_BRAKE_NS,
)  # fmt: skip
LINKS = {
    "nvlink_tx_bytes_per_second": NVLINK_TX_KIBIBYTES,
    "nvlink_rx_bytes_per_second": NVLINK_RX_KIBIBYTES,
    "pcie_tx_bytes_per_second": PCIE_TX_BYTES,
    "pcie_rx_bytes_per_second": PCIE_RX_BYTES,
}
"""Counters by the field of GpuReading that they give, each asked for only where GPM does not give it."""
HEALTH = (
    ECC_CORRECTED, ECC_UNCORRECTED, REMAPPED_CORRECTED, REMAPPED_UNCORRECTED, REMAP_PENDING, REMAP_FAILED,
    RECOVERY_ACTION,
)  # fmt: skip
"""Asked for every ten seconds."""

_QUESTIONS = {field: f"field {field}" for field in (*ALWAYS, *LINKS.values(), *HEALTH, SLOWDOWN_MARGIN)}
_ALL_LINKS = 0xFFFFFFFF
_SCOPES = {NVLINK_TX_KIBIBYTES: _ALL_LINKS, NVLINK_RX_KIBIBYTES: _ALL_LINKS}
# nvmlFieldValue_t: field, scope, timestamp, latency, value type, return code, a union of 8 bytes
_ENTRY = struct.Struct("@IIqqII8s")
_TYPES = tuple(struct.Struct(f"@{code}") for code in "dILQqiH")  # what the union holds, by value type
_WIDE = 3  # the value type of 64 bits without sign
_BATCH = "nvmlDeviceGetFieldValues"


def question(field: int) -> str:
    """The name under which a funnel remembers this field."""
    return _QUESTIONS[field]


class FieldBatch:
    """One pre-allocated request for the fields that a GPU still answers.

    A field that is refused for good is left out from then on. The array has one entry more than
    it announces: NVML has been seen to touch the entry after the last one in NVLink queries. It
    is written and read as plain bytes, at a tenth of what pynvml's attributes cost.
    """

    def __init__(self, funnel: Funnel) -> None:
        self._funnel = funnel
        self._asked: tuple[int, ...] = ()
        self._array: Any = None
        self._blank = b""
        self._wide: set[int] = set()
        self._refusal = 0

    def gives(self, field: int) -> bool:
        """Whether asking for this field makes sense now; where not, another call may stand in for it."""
        return self._funnel.usable(_BATCH) and self._funnel.usable(_QUESTIONS[field])

    def is_wide(self, field: int) -> bool:
        """Whether the last answer came as a number of 64 bits."""
        return field in self._wide

    def read(self, handle: Any, fields: Iterable[int]) -> dict[int, float]:
        """The fields that were answered, in NVML's own units. Raises GpuLost or NvmlGone."""
        funnel = self._funnel
        wanted = tuple([field for field in fields if funnel.usable(question(field))])
        if not wanted or not funnel.usable(_BATCH):
            return {}
        if wanted != self._asked:
            self._allocate(wanted)
        ctypes.memmove(self._array, self._blank, len(self._blank))
        if funnel.ask_by(_BATCH, self._call, handle) is None:
            return {}
        return self._answers()

    def _allocate(self, wanted: tuple[int, ...]) -> None:
        """What the driver leaves alone must not look like an answer, hence the code in every entry."""
        entries = [(field, _SCOPES.get(field, 0)) for field in (*wanted, 0)]
        self._blank = b"".join(_ENTRY.pack(field, scope, 0, 0, _WIDE, NOT_READY, b"") for field, scope in entries)
        self._array = (self._funnel.nvml.c_nvmlFieldValue_t * len(entries))()
        self._asked = wanted

    def _call(self, handle: Any) -> bool:
        """pynvml's own wrapper would allocate and fill an array each time."""
        nvml = self._funnel.nvml
        function = nvml._nvmlGetFunctionPointer(_BATCH)
        code = function(handle, ctypes.c_int(len(self._asked)), self._array)
        if code not in NEVER or code == FUNCTION_NOT_FOUND:
            nvml._nvmlCheckReturn(code)
        # Otherwise every value was refused, as a card without ECC does to the health fields: each entry says so
        # of itself, or was not touched and means the same, and the call stays good for other fields.
        self._refusal = code
        return True

    def _answers(self) -> dict[int, float]:
        answers: dict[int, float] = {}
        announced = memoryview(self._array).cast("B")[: len(self._asked) * _ENTRY.size]
        for field, _, _, _, kind, code, raw in _ENTRY.iter_unpack(announced):
            if code != 0:
                refusal = self._refusal if self._refusal and code == NOT_READY else code
                self._funnel.refused(question(field), refusal, within_an_answer=True)
            elif kind < len(_TYPES):
                self._funnel.answered(question(field))
                (value,) = _TYPES[kind].unpack_from(raw)
                if math.isfinite(value):
                    answers[field] = value
                if kind == _WIDE:
                    self._wide.add(field)
        return answers
