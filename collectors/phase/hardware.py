"""The phase of a GPU whose engine says nothing: DRAM activity over busy time.

Decode streams weights and KV cache, so it uses the DRAM bandwidth; prefill is bound by compute and
uses little. SM activity and power do not separate the two and are not asked. The reference is the
GPU's own past: the 90th percentile of DRAM activity while busy stands for pure decode, 0.18 of it
for pure prefill. Without contrast in the past only absolute anchors are left, else it is unknown.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from collectors.model import Confidence, Evidence
from collectors.phase.evidence import gpu_busy_ratio
from collectors.phase.rules import Spent
from collectors.readings import GpuReading

_HISTORY = 900
_MIN_HISTORY = 30
_BUSY_ENOUGH = 0.5
_CEILING = 0.85
_PREFILL_LEVEL = 0.18
_MIN_SPREAD = 0.03
_ERROR = {"dram-activity": 0.15, "memory-active": 0.30}


@dataclass(slots=True)
class DramHistory:
    """One GPU's DRAM activity per busy time over its recent busy intervals."""

    levels: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    _sorted: list[float] = field(default_factory=list)

    def add(self, gpu: GpuReading) -> None:
        busy = gpu_busy_ratio(gpu)
        level = _level(gpu)
        if busy is None or level is None or busy <= _BUSY_ENOUGH:
            return
        if len(self.levels) == self.levels.maxlen:
            self._sorted.remove(self.levels[0])
        self.levels.append(level)
        insort(self._sorted, level)

    def share(self, gpu: GpuReading) -> float | None:
        """The prefill share of busy time, or None when the activity does not tell."""
        level = _level(gpu)
        if level is None:
            return None
        count = len(self._sorted)
        if count >= _MIN_HISTORY and self._spread() >= _MIN_SPREAD:
            high = min(_CEILING, self._sorted[min(count - 1, int(0.9 * count))])
            low = _PREFILL_LEVEL * high
            return min(1.0, max(0.0, (high - level) / (high - low))) if high > 0 else None
        return _anchored(gpu)

    def _spread(self) -> float:
        count = len(self._sorted)
        return self._sorted[(3 * count) // 4] - self._sorted[count // 4]

    def to_json(self) -> list[float]:
        return list(self.levels)

    @classmethod
    def from_json(cls, levels: list[Any]) -> DramHistory:
        return cls(deque(levels, maxlen=_HISTORY), sorted(levels))


def _level(gpu: GpuReading) -> float | None:
    """DRAM activity per busy time; memory-active time where only that is known."""
    busy = gpu_busy_ratio(gpu)
    active = gpu.dram_active_ratio if gpu.dram_active_ratio is not None else gpu.memory_active_ratio
    if busy is None or active is None or busy < 0.1:
        return None
    return min(1.0, active / busy)


def _anchored(gpu: GpuReading) -> float | None:
    if gpu.dram_active_ratio is None or gpu.tensor_active_ratio is None:
        return None
    if gpu.dram_active_ratio >= 0.45 and gpu.tensor_active_ratio < 0.35:
        return 0.0
    if gpu.dram_active_ratio <= 0.25 and gpu.tensor_active_ratio >= 0.35:
        return 1.0
    return None


def hardware_spent(gpu: GpuReading, history: DramHistory, seconds: float) -> Spent:
    """Where a GPU's seconds went by its own signals alone; never better than medium confidence."""
    busy = gpu_busy_ratio(gpu)
    if busy is None:
        return Spent(0.0, 0.0, 0.0, seconds, 1.0, "low", ())
    evidence: Evidence = "dram-activity" if gpu.dram_active_ratio is not None else "memory-active"
    idle = seconds * (1.0 - min(1.0, busy))
    if busy < 0.05:
        return Spent(0.0, 0.0, seconds, 0.0, 0.05, "medium", (evidence,))
    share = history.share(gpu)
    if share is None:
        return Spent(0.0, 0.0, idle, seconds - idle, 1.0, "low", ())
    confidence: Confidence = (
        "medium" if evidence == "dram-activity" and len(history.levels) >= 4 * _MIN_HISTORY else "low"
    )
    prefill = share * (seconds - idle)
    return Spent(prefill, seconds - idle - prefill, idle, 0.0, _ERROR[evidence], confidence, (evidence,))
