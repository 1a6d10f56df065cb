"""Which GPUs the GPUs screen lists, in which order, and which one of them it shows in detail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboard.format import short_gpu

if TYPE_CHECKING:
    from collectors.model import Tick
    from collectors.readings import GpuReading


def _memory_share(gpu: GpuReading) -> float | None:
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    return used / total if used is not None and total else None


def throttled(gpu: GpuReading) -> float | None:
    """The largest share of the interval that one cause held the clocks down; None where none is known."""
    shares = (gpu.throttle_thermal_ratio, gpu.throttle_hardware_ratio, gpu.throttle_power_ratio)
    return max((share for share in shares if share is not None), default=None)


@dataclass(frozen=True, slots=True)
class Order:
    """A way to sort: `column` is the heading it belongs to."""

    name: str
    column: str
    value: Callable[[GpuReading], float | None]


ORDERS: tuple[Order, ...] = (
    Order("number", "#", lambda gpu: None),
    Order("SM", "SM", lambda gpu: gpu.sm_active_ratio if gpu.sm_active_ratio is not None else gpu.kernel_active_ratio),
    Order("tensor", "tensor", lambda gpu: gpu.tensor_active_ratio),
    Order("DRAM", "DRAM", lambda gpu: gpu.dram_active_ratio),
    Order("memory", "memory", _memory_share),
    Order("power", "power", lambda gpu: gpu.power_watts),
    Order("temperature", "temperature", lambda gpu: gpu.temperature_celsius),
    Order("throttling", "throttled", throttled),
)


def number(gpu: GpuReading) -> str:
    """How a GPU is called: "3", and "3:7" for GPU instance 7 on it."""
    return f"{gpu.index}:{gpu.instance}" if gpu.instance is not None else str(gpu.index)


def _place(gpu: GpuReading) -> tuple[int, int, str]:
    """GPUs by number, each followed by the instances on it."""
    instance = gpu.instance or ""
    return gpu.index, int(instance) if instance.isdecimal() else -1 if not instance else 1 << 30, instance


def _is_among(word: str, words: list[str]) -> bool:
    """Numbers have to be the same, other words may be parts."""
    return word in words if word.isdecimal() else any(word in one for one in words)


@dataclass(slots=True)
class GpuChoice:
    """The list as a person wants it. A selected GPU that is not in the list any more gives way to the first."""

    selected: str | None = None
    order: int = 0
    wanted: str = ""
    above: int = 0
    """Processes of the selected GPU that are scrolled away."""

    @property
    def sorted_by(self) -> Order:
        return ORDERS[self.order]

    def listed(self, tick: Tick | None) -> list[GpuReading]:
        """Sorted, the largest first, what is missing last; GPUs without what is looked for are left out."""
        gpus = [] if tick is None else sorted(tick.interval.gpus.values(), key=_place)
        if self.wanted:
            words = self.wanted.casefold().split()
            gpus = [gpu for gpu in gpus if all(_is_among(word, self._known_by(gpu, tick)) for word in words)]
        if self.order:
            value = self.sorted_by.value
            gpus.sort(key=lambda gpu: -found if (found := value(gpu)) is not None else 1.0)
        return gpus

    def _known_by(self, gpu: GpuReading, tick: Tick | None) -> list[str]:
        """Every word a GPU can be found by."""
        told = [number(gpu), f"gpu {gpu.index}", gpu.name or "", gpu.uuid, gpu.state, gpu.source or ""]
        if tick is not None:
            for process in tick.interval.gpu_processes.get(gpu.uuid, ()):
                told += [str(process.pid), process.name or "", process.user or ""]
            told += [engine.model or "" for engine in tick.interval.engines.values() if gpu.uuid in engine.gpus]
        return " ".join(told).casefold().split()

    def shown(self, tick: Tick | None) -> GpuReading | None:
        """The one in detail."""
        gpus = self.listed(tick)
        return next((gpu for gpu in gpus if gpu.uuid == self.selected), gpus[0] if gpus else None)

    def move(self, tick: Tick | None, by: int) -> None:
        """Selects the one so many rows further down; stops at both ends."""
        gpus = self.listed(tick)
        here = self.shown(tick)
        if here is not None:
            row = next(n for n, gpu in enumerate(gpus) if gpu.uuid == here.uuid)
            self.select(gpus[min(max(row + by, 0), len(gpus) - 1)].uuid)

    def select(self, uuid: str) -> None:
        if uuid != self.selected:
            self.selected, self.above = uuid, 0

    def scroll(self, tick: Tick | None, by: int) -> None:
        """Through the processes of the selected GPU; stops at both ends."""
        here = self.shown(tick)
        count = len(tick.interval.gpu_processes.get(here.uuid, ())) if tick is not None and here is not None else 0
        self.above = min(max(self.above + by, 0), max(0, count - 1))

    def sort_next(self) -> None:
        self.order = (self.order + 1) % len(ORDERS)


def short_name(gpu: GpuReading) -> str:
    """ "H100 80GB HBM3", and which part of it an instance is."""
    return short_gpu(gpu.name or "GPU")
