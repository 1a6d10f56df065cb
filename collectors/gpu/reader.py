"""All GPUs of this machine through NVML, in rounds. Runs in the child.

GPUs are kept by UUID. One that is lost keeps its place and is looked for again from time to time;
the others go on. What ends the reader is NVML itself not working any more (`NvmlGone`): only a
new process can load a new library.
"""

from __future__ import annotations

import time

from collectors.gpu.codes import DENIED, GONE, UNKNOWN, gpu_reason
from collectors.gpu.device import SLOW_SECONDS, Device
from collectors.gpu.nvml import GpuLost, NvmlGone, gone

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Clock = Callable[[], float]

RETRY_SECONDS = 10.0
_MOST_GPUS = 256  # more than any machine has: a larger count is garbage


class NvmlReader:
    """Reads every GPU of an initialised pynvml. One thread only.

    `opened` is told of each GPU, and again when it is back: its UUID and its handle.
    """

    def __init__(
        self,
        nvml: Any,
        clock: Clock = time.monotonic,
        beat: Callable[[], None] = lambda: None,
        opened: Callable[[str, Any], None] = lambda uuid, handle: None,
    ) -> None:
        self._nvml = nvml
        self._opened = opened
        self._clock = clock
        self._beat = beat
        self._devices: dict[str, Device] = {}
        self._unopened: dict[int, tuple[int, str]] = {}
        """By index, the error code and what it means."""
        self._find()

    @property
    def driver_version(self) -> str | None:
        try:
            return str(self._nvml.nvmlSystemGetDriverVersion())
        except Exception:  # refused, or no text
            return None

    def sample(self) -> dict[str, Any]:
        """One round over all GPUs. Raises NvmlGone.

        `gpus`: one dictionary per GPU and GPU instance (MIG), by field name of GpuReading; `unopened`:
        the indices of those that never opened, except where that is forbidden;
        `processes`: (pid, UUID, bytes of device memory or None); `notes`: by UUID (or `index N` for
        a GPU that never opened), why its figures are missing or not the best there could be.
        """
        if self._clock() >= self._retry_at:
            self._look_again()
        self._each(Device.edge)
        self._each(Device.levels)
        devices = sorted(self._devices.values(), key=lambda device: device.index)
        self._all_lost_to_revoked_access(devices)
        return {
            "gpus": [row for device in devices for row in device.readings()],
            "processes": [process for device in devices for process in device.processes],
            "notes": {
                **{uuid: note for device in devices for uuid, note in device.notes.items()},
                **{f"index {index}": reason for index, (_, reason) in self._unopened.items()},
            },
            "unopened": [index for index, (code, _) in self._unopened.items() if code not in DENIED],
        }

    def _each(self, part: Callable[[Device], None]) -> None:
        for device in self._devices.values():
            if device.lost_to is None:
                try:
                    part(device)
                except GpuLost as lost:
                    device.lose(lost.code)
                except NvmlGone:
                    raise
                except Exception as error:  # an answer nobody thought of: the others go on
                    device.lose(UNKNOWN, _failure(error))

    def _find(self) -> None:
        """Open every GPU NVML counts; one that does not open does not keep the others away."""
        self._retry_at = self._clock() + RETRY_SECONDS
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            raise gone(error.value) from error
        count = min(count, _MOST_GPUS)
        for index in range(count):
            self._open(index, slow_offset=SLOW_SECONDS * (index + 1) / count)

    def _open(self, index: int, slow_offset: float = SLOW_SECONDS) -> None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError as error:
            if error.value in GONE:
                raise gone(error.value) from error
            self._unopened[index] = (error.value, gpu_reason(error.value))
            return
        except Exception:  # a UUID that is no text
            self._unopened[index] = (UNKNOWN, "this GPU does not tell who it is")
            return
        finally:
            self._beat()
        self._unopened.pop(index, None)
        device = self._devices.setdefault(uuid, Device(nvml, uuid, self._clock, self._beat))
        self._begin(device, index, handle, slow_offset)

    def _begin(self, device: Device, index: int, handle: Any, slow_offset: float) -> None:
        try:
            device.open(index, handle, slow_offset)
            self._opened(device.uuid, handle)
        except GpuLost as lost:
            device.lose(lost.code)
        except NvmlGone:
            raise
        except Exception as error:
            device.lose(UNKNOWN, _failure(error))

    def _look_again(self) -> None:
        """Try the GPUs that are lost (by UUID: the index may have changed) or never opened."""
        self._retry_at = self._clock() + RETRY_SECONDS
        nvml = self._nvml
        for device in self._devices.values():
            if device.lost_to is not None:
                try:
                    handle = nvml.nvmlDeviceGetHandleByUUID(device.uuid)
                    index = nvml.nvmlDeviceGetIndex(handle)
                except nvml.NVMLError as error:
                    if error.value in GONE:
                        raise gone(error.value) from error
                    device.lost_to = error.value
                    continue
                finally:
                    self._beat()
                self._begin(device, index, handle, SLOW_SECONDS)
        for index in list(self._unopened):
            self._open(index)
        self._see_new_ones()

    def _see_new_ones(self) -> None:
        """Open GPUs that were not counted before: one that was attached, or is back after a reset."""
        try:
            count = min(self._nvml.nvmlDeviceGetCount(), _MOST_GPUS)
        except self._nvml.NVMLError as error:
            if error.value in GONE:
                raise gone(error.value) from error
            return
        if count > len(self._devices) + len(self._unopened):
            taken = {device.index for device in self._devices.values() if device.lost_to is None}
            for index in set(range(count)) - taken - set(self._unopened):
                self._open(index)

    def _all_lost_to_revoked_access(self, devices: list[Device]) -> None:
        """Every GPU failing with `unknown error` at once is not the GPUs' doing."""
        if devices and all(device.lost_to == UNKNOWN and device.failure is None for device in devices):
            raise gone(UNKNOWN)


def _failure(error: Exception) -> str:
    return f"reading this GPU has failed: {type(error).__name__}: {error}"
