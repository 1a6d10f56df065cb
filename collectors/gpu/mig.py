"""The GPU instances of a GPU that is divided up (MIG). Runs in the child.

One row per GPU instance: its activity from GPM, which is sampled on the whole GPU's handle with
the instance's number, and its memory from the device that the instance's programs see. A GPU in
this mode has no utilisation figures of its own.

On a driver of the 535 branch GPM on MIG made every later memory query fail with "in use". So memory
is read before GPM, GPM is only ever asked about on the whole GPU, and it is given up on that GPU
when memory is refused that way after it.
"""

from __future__ import annotations

from collectors.gpu.codes import GONE, IN_USE, LOST, NOT_FOUND
from collectors.gpu.gpm import Gpm
from collectors.gpu.limits import memory_of, within
from collectors.gpu.nvml import Funnel, GpuLost, gone

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Clock = Callable[[], float]
    Values = dict[str, Any]

_IN_USE_LIMIT = 3
_MEMORY_SLICES = 8
"""Memory is handed out in eighths of the GPU's, less what the driver keeps."""
_CORES_PER_SM = {(8, 0): 64}
_CORES_PER_NEWER_SM = 128
GPM_GIVEN_UP = "GPM is not used: with it this driver refuses memory figures under MIG (550 and newer do not)"


class Instance:
    """One GPU instance."""

    def __init__(self, funnel: Funnel, number: int, uuid: str, handle: Any) -> None:
        """`funnel` is its own: what one instance refuses another may give."""
        self.number = number
        self.uuid = uuid
        self.gpm = Gpm(funnel, number)
        self.values: Values = {}
        self.facts: Values = {}
        self.compute_instances = 1
        """How many devices that programs see share it."""
        self._funnel = funnel
        self._handle = handle
        self._sampled_at: float | None = None

    def renew(self, handle: Any) -> None:
        self._handle = handle
        self.compute_instances = 1

    @property
    def note(self) -> str | None:
        """Why its figures are missing or not the best there could be, in one line."""
        if self.gpm.reason is None and self.compute_instances > 1:
            return (
                f"{self.compute_instances} compute instances share this GPU instance and this row:"
                " the driver measures them together"
            )
        return self.gpm.reason

    def describe(self, multiprocessors: int | None, memory_bytes: float | None) -> None:
        """Take name and size. `multiprocessors` and `memory_bytes` are those of the whole GPU."""
        self.facts = {"name": self._funnel.ask("nvmlDeviceGetName", self._handle)}
        attributes = self._funnel.ask("nvmlDeviceGetAttributes_v2", self._handle)
        if attributes is None:
            return
        size = attributes.memorySizeMB * 1048576.0
        if memory_bytes and size > 0:
            slices = max(1, round(size / memory_bytes * _MEMORY_SLICES))
            self.facts["memory_share"] = within(slices / _MEMORY_SLICES, 0.0, 1.0)
        if multiprocessors:
            self.facts["compute_share"] = within(attributes.multiprocessorCount / multiprocessors, 0.0, 1.0)

    @property
    def memory_in_use(self) -> bool:
        """Whether memory was refused as "in use" when it was last asked for."""
        codes = (self._funnel.codes.get(f"nvmlDeviceGetMemoryInfo{version}") for version in ("_v2", ""))
        return "memory_used_bytes" not in self.values and IN_USE in codes

    def memory(self) -> None:
        self.values.update(memory_of(self._funnel, self._handle))

    def sample(self, gpu: Any, now: float) -> None:
        """Take the averages since the last sample. `gpu` is the whole GPU's handle."""
        self.values = self.gpm.poll(gpu)
        if self._sampled_at is not None:
            self.values["window_seconds"] = now - self._sampled_at
        self._sampled_at = self.values["taken"] = now


class Instances:
    """Those of one GPU; none while MIG is off or the GPU does not know it."""

    def __init__(self, nvml: Any, uuid: str, clock: Clock, beat: Callable[[], None]) -> None:
        self._nvml = nvml
        self._uuid = uuid
        self._clock = clock
        self._beat = beat
        self._is_on = False
        self._funnel = Funnel(nvml, clock, beat)
        self._multiprocessors: int | None = None
        self._instances: dict[int, Instance] = {}
        self._refused_in_a_row = 0
        self.gpm_given_up = False

    def __len__(self) -> int:
        return len(self._instances)

    @property
    def is_on(self) -> bool:
        return self._is_on

    def look(self, funnel: Funnel, gpu: Any, memory_bytes: float | None) -> None:
        """See which there are now: they can be made and unmade at any time. Raises GpuLost or NvmlGone.

        `funnel`, `gpu` and `memory_bytes` are those of the whole GPU.
        """
        mode = funnel.ask("nvmlDeviceGetMigMode", gpu)
        self._is_on = mode is not None and mode[0] == 1
        if not self._is_on:
            self._instances = {}
            return
        found: dict[int, Instance] = {}
        for index in range(funnel.ask("nvmlDeviceGetMaxMigDeviceCount", gpu) or 0):
            handle = self._handle(gpu, index)
            if handle is not None:
                self._see(found, handle, memory_bytes, funnel, gpu)
        self._instances = found

    def edge(self, gpu: Any) -> None:
        """Take what covers time. Raises GpuLost or NvmlGone."""
        for instance in self._instances.values():
            if self.gpm_given_up:
                instance.values = {}
            else:
                instance.sample(gpu, self._clock())

    def levels(self) -> None:
        """Take what is read off at one moment. Raises GpuLost or NvmlGone."""
        for instance in self._instances.values():
            instance.memory()
        refused = any(instance.memory_in_use for instance in self._instances.values())
        self._refused_in_a_row = self._refused_in_a_row + 1 if refused else 0
        if self._refused_in_a_row >= _IN_USE_LIMIT:
            self.gpm_given_up = True

    def rows(self, index: int, state: str) -> list[Values]:
        """Fields of GpuReading for each instance, and `memory_share` and `compute_share` for its peaks."""
        rows: list[Values] = []
        for instance in self._instances.values():
            identity = {
                "uuid": instance.uuid, "index": index, "name": instance.facts.get("name"), "parent": self._uuid,
                "instance": str(instance.number), "state": state,
            }  # fmt: skip
            works = instance.gpm.works and not self.gpm_given_up
            measured = {"source": "gpm" if works else "nvml", **instance.facts, **instance.values}
            rows.append({**measured, **identity} if state == "ok" else identity)
        return rows

    def uuid_of(self, number: int | None) -> str | None:
        """The UUID of the instance with that number."""
        instance = self._instances.get(number) if number is not None else None
        return instance.uuid if instance is not None else None

    def notes(self) -> dict[str, str]:
        """The notes of those that have one, by UUID."""
        if self.gpm_given_up:
            return {instance.uuid: GPM_GIVEN_UP for instance in self._instances.values()}
        return {one.uuid: one.note for one in self._instances.values() if one.note}

    def _see(
        self, found: dict[int, Instance], handle: Any, memory_bytes: float | None, funnel: Funnel, gpu: Any
    ) -> None:
        """A device that programs see. Several may share one instance; the first stands for it."""
        number = self._funnel.ask("nvmlDeviceGetGpuInstanceId", handle)
        uuid = self._funnel.ask("nvmlDeviceGetUUID", handle)
        if number is None or uuid is None:
            return
        if number in found:
            found[number].compute_instances += 1
            return
        known = self._instances.get(number)
        if known is not None and known.uuid == uuid:
            known.renew(handle)
            found[number] = known
            return
        if self._multiprocessors is None:
            self._multiprocessors = _multiprocessors(funnel, gpu)
        own_funnel = Funnel(self._nvml, self._clock, self._beat)
        instance = found[number] = Instance(own_funnel, number, uuid, handle)
        instance.describe(self._multiprocessors, memory_bytes)
        instance.memory()

    def _handle(self, gpu: Any, index: int) -> Any:
        """None where there is no instance with that index now; there may be one later, so nothing is remembered."""
        try:
            return self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except self._nvml.NVMLError as error:
            if error.value in GONE:
                raise gone(error.value) from error
            if error.value in LOST - {NOT_FOUND}:
                raise GpuLost(error.value) from error
            return None
        finally:
            self._beat()


def _multiprocessors(funnel: Funnel, gpu: Any) -> int | None:
    cores = funnel.ask("nvmlDeviceGetNumGpuCores", gpu)
    capability = funnel.ask("nvmlDeviceGetCudaComputeCapability", gpu)
    if not cores or capability is None:
        return None
    return int(cores) // _CORES_PER_SM.get(tuple(capability), _CORES_PER_NEWER_SM)
