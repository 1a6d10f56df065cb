"""The processes on one GPU, as NVML lists them. Runs in the child.

NVML has had three layouts of this list, one of them under the version number of another. What is
read with the wrong one are other fields' bytes, so a list that makes no sense is no list.
"""

from __future__ import annotations

import ctypes
import struct

from collectors.gpu.nvml import Funnel

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from typing import Any

    Entry = tuple[int, int | None, float | None]

_KINDS = ("Compute", "MPSCompute", "Graphics")
_INSUFFICIENT_SIZE = 7
_ROOM = 64
_MOST = 4096
"""Entries of one list at most: more than that is garbage, and room for it would cost gigabytes."""
_SPARE = 8
_FIRST = struct.Struct("@IxxxxQ")  # pid, bytes
_SECOND = struct.Struct("@IxxxxQII")  # pid, bytes, GPU instance, compute instance
_R535 = struct.Struct("@IxxxxQIIQ")  # the same and protected bytes: 535.43 to 535.86 under version 3
_NOT_AVAILABLE = 2**64 - 1
_HIGHEST_PID = 4_194_304  # the kernel's own limit
_BYTES_LIMIT = 1e15


class Processes:
    """Asked through the GPU's funnel, which remembers what this GPU will never answer."""

    def __init__(self, funnel: Funnel) -> None:
        self._funnel = funnel
        self._room = _ROOM
        self._is_r535: bool | None = None

    def read(self, handle: Any) -> list[Entry]:
        """(pid as the host numbers it, GPU instance, bytes) of each process, once. Raises GpuLost or NvmlGone."""
        found: dict[tuple[int, int | None], Entry] = {}
        for kind in _KINDS:
            for entry in self._list(handle, kind):
                known = found.get(entry[:2])
                if known is None or (known[2] or 0.0) < (entry[2] or 0.0):
                    found[entry[:2]] = entry
        return list(found.values())

    def _list(self, handle: Any, kind: str) -> list[Entry]:
        """The newest version of the list that the library has."""
        for version, layout in (("_v3", self._layout_of_version_3()), ("_v2", _SECOND), ("", _FIRST)):
            symbol = f"nvmlDeviceGet{kind}RunningProcesses{version}"
            entries = self._funnel.ask_by(symbol, self._call, symbol, layout, handle)
            if entries is not None:
                return entries if _makes_sense(entries) else []
            if self._funnel.usable(symbol):
                return []
        return []

    def _layout_of_version_3(self) -> struct.Struct:
        """Told by the two functions that came and went with the odd one."""
        if self._is_r535 is None:
            self._is_r535 = self._has("nvmlDeviceGetConfComputeMemSizeInfo") and not self._has(
                "nvmlDeviceGetRunningProcessDetailList"
            )
        return _R535 if self._is_r535 else _SECOND

    def _has(self, symbol: str) -> bool:
        try:
            self._funnel.nvml._nvmlGetFunctionPointer(symbol)
        except self._funnel.nvml.NVMLError:
            return False
        return True

    def _call(self, symbol: str, layout: struct.Struct, handle: Any) -> list[Entry]:
        nvml = self._funnel.nvml
        function = nvml._nvmlGetFunctionPointer(symbol)
        for _ in range(2):
            count = ctypes.c_uint(self._room)
            room = ctypes.create_string_buffer((self._room + _SPARE) * _R535.size)
            code = function(handle, ctypes.byref(count), room)
            if code != _INSUFFICIENT_SIZE or not self._room < count.value <= _MOST:
                break
            self._room = min(count.value + _ROOM, _MOST)
        nvml._nvmlCheckReturn(code)
        size = min(count.value, self._room)
        return [_entry(layout.unpack_from(room, position * layout.size)) for position in range(size)]


def _entry(fields: tuple[int, ...]) -> Entry:
    pid, used, *rest = fields
    return pid, (rest[0] if rest else None), None if used == _NOT_AVAILABLE else float(used)


def _makes_sense(entries: list[Entry]) -> bool:
    return all(0 < pid <= _HIGHEST_PID and (used is None or 0 <= used < _BYTES_LIMIT) for pid, _, used in entries)
