"""The roofline: how much arithmetic is done for each byte moved, and how fast.

A device can compute at most `min(peak, intensity x bandwidth)`; the two meet at the ridge (S. Williams,
A. Waterman, D. Patterson, Roofline, CACM 2009). Left of it memory bandwidth is the limit, right of it
compute. One point is one interval's busy time. Two sources, best first:

- `engine`: operations and bytes that the engine itself estimates for its steps, per GPU.
- `activity`: tensor activity times the tensor peak over DRAM activity times the DRAM peak. A tensor pipe
  that is active need not run at its full rate, so both the rate and the intensity are *at most* that.

Peaks are dense BF16; at FP8 a device may pass them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from collectors.model import HOST, Interval, Label, PhaseLabel, engine_entity
from collectors.phase.evidence import gpu_busy_ratio
from collectors.readings import EngineReading, GpuReading

PointSource = Literal["engine", "activity"]

_BUSY_ENOUGH = 0.05
"""Below this share of busy time an interval says nothing about how the device computes."""
_LEAST_ACTIVE = 0.002
"""Activity below this is noise of the counter: its quotient would be anything."""


@dataclass(frozen=True, slots=True)
class Roof:
    """The peaks of one GPU: operations and bytes per second. None where nothing is known."""

    compute: float | None
    bandwidth: float | None

    @property
    def ridge(self) -> float | None:
        """Operations per byte at which compute and bandwidth limit alike."""
        return self.compute / self.bandwidth if self.compute and self.bandwidth else None

    def attainable(self, intensity: float) -> float | None:
        """Operations per second at most at that intensity."""
        if self.compute is None or self.bandwidth is None:
            return None
        return min(self.compute, intensity * self.bandwidth)


@dataclass(frozen=True, slots=True)
class Point:
    """One interval: operations per byte, operations per second of busy time of one GPU, and what the time was."""

    intensity: float
    rate: float
    phase: PhaseLabel
    source: PointSource


def roof_of(gpus: Iterable[GpuReading]) -> Roof:
    """The roof of GPUs of one kind; of several kinds there is no one roof."""
    compute = {gpu.tensor_peak_flops_per_second for gpu in gpus_measured(gpus)}
    bandwidth = {gpu.dram_peak_bytes_per_second for gpu in gpus_measured(gpus)}
    return Roof(compute.pop() if len(compute) == 1 else None, bandwidth.pop() if len(bandwidth) == 1 else None)


def gpus_measured(gpus: Iterable[GpuReading]) -> list[GpuReading]:
    """Without those that are divided: their instances are measured."""
    return [gpu for gpu in gpus if not gpu.instances]


def point_of(interval: Interval, labels: Mapping[str, Label]) -> Point | None:
    """The machine's point in one interval; None where neither source tells or it was not busy."""
    label = labels.get(HOST)
    phase: PhaseLabel = label.phase.label if label is not None else "unknown"
    return _engines_point(interval, labels, phase) or _activity_point(interval.gpus.values(), phase)


def _engines_point(interval: Interval, labels: Mapping[str, Label], phase: PhaseLabel) -> Point | None:
    """By the engines' own estimates; of several engines the sum of work over the sum of busy time."""
    flops = moved = seconds = 0.0
    for engine in interval.engines.values():
        busy = _busy_seconds(interval, engine, labels.get(engine_entity(engine.key)))
        if engine.flops is None or engine.read_bytes is None or not busy:
            continue
        flops += engine.flops
        moved += engine.read_bytes + (engine.write_bytes or 0.0)
        seconds += busy
    if flops <= 0 or moved <= 0 or seconds <= 0:
        return None
    return Point(flops / moved, flops / seconds, phase, "engine")


def _busy_seconds(interval: Interval, engine: EngineReading, label: Label | None) -> float | None:
    busy = label.phase.busy_ratio if label is not None else None
    if busy is None or busy < _BUSY_ENOUGH:
        return None
    return busy * (engine.window_seconds or interval.duration)


def _activity_point(gpus: Iterable[GpuReading], phase: PhaseLabel) -> Point | None:
    """By what the hardware counts: the mean over the GPUs that count all of it."""
    flops = moved = 0.0
    count = 0
    for gpu in gpus_measured(gpus):
        busy = gpu_busy_ratio(gpu)
        tensor, dram = gpu.tensor_active_ratio, gpu.dram_active_ratio
        compute, bandwidth = gpu.tensor_peak_flops_per_second, gpu.dram_peak_bytes_per_second
        if busy is None or tensor is None or dram is None or not compute or not bandwidth:
            continue
        if busy < _BUSY_ENOUGH or tensor < _LEAST_ACTIVE or dram < _LEAST_ACTIVE:
            continue
        flops += tensor / busy * compute
        moved += dram / busy * bandwidth
        count += 1
    return Point(flops / moved, flops / count, phase, "activity") if count else None


def reached(point: Point, roof: Roof) -> float | None:
    """The rate as a share of what is attainable at the point's intensity."""
    attainable = roof.attainable(point.intensity)
    return point.rate / attainable if attainable else None
