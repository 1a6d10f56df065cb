"""The phase of a GPU whose engine says nothing: DRAM activity over busy time.

Decode streams weights and KV cache, so it uses the DRAM bandwidth; prefill is bound by compute and
uses little. SM activity and power do not separate the two and are not asked. The reference is the
GPU's own past: the 90th percentile of DRAM activity while busy stands for pure decode, 0.18 of it
for pure prefill. Without contrast in the past only absolute anchors are left, else it is unknown.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from collectors.model import Confidence, Evidence
from collectors.phase.evidence import gpu_busy_ratio
from collectors.phase.rules import IDLE_BELOW, Spent
from collectors.readings import GpuReading

_HISTORY = 900
_MIN_HISTORY = 30
_BUSY_ENOUGH = 0.5
_CEILING = 0.85
_PREFILL_LEVEL = 0.18
_MIN_SPREAD = 0.03
_FAR = 3.0
"""Stated errors between two shares that cannot both be right."""
_ERROR = {"dram-activity": 0.15, "memory-active": 0.30}


@dataclass(slots=True)
class DramHistory:
    """One GPU's DRAM activity per busy time over its recent busy intervals."""

    levels: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    _sorted: list[float] = field(default_factory=list)
    _decode_level: float | None = None
    """The activity that stands for pure decode; None while the past shows no contrast."""

    def __post_init__(self) -> None:
        self._sorted = sorted(self.levels)
        self._find_contrast()

    def add(self, gpu: GpuReading) -> None:
        busy = gpu_busy_ratio(gpu)
        if busy is None or busy <= _BUSY_ENOUGH:
            return
        level = _level(gpu, busy)
        if level is None:
            return
        if len(self.levels) == self.levels.maxlen:
            del self._sorted[bisect_left(self._sorted, self.levels[0])]
        self.levels.append(level)
        insort(self._sorted, level)
        self._find_contrast()

    def _find_contrast(self) -> None:
        levels, count = self._sorted, len(self._sorted)
        has_contrast = count >= _MIN_HISTORY and levels[(3 * count) // 4] - levels[count // 4] >= _MIN_SPREAD
        self._decode_level = min(_CEILING, levels[min(count - 1, int(0.9 * count))]) if has_contrast else None

    def share(self, gpu: GpuReading, busy: float | None) -> float | None:
        """The prefill share of a GPU's busy time, or None when its activity does not tell."""
        level = _level(gpu, busy)
        if level is None:
            return None
        high = self._decode_level
        if high is None:
            return _anchored(gpu)
        low = _PREFILL_LEVEL * high
        return min(1.0, max(0.0, (high - level) / (high - low))) if high > 0 else None

    def to_json(self) -> list[float]:
        return list(self.levels)

    @classmethod
    def from_json(cls, levels: list[Any]) -> DramHistory:
        return cls(deque(levels, maxlen=_HISTORY))


def _level(gpu: GpuReading, busy: float | None) -> float | None:
    """DRAM activity per busy time; memory-active time where only that is known."""
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


def contradicts(share: float, error: float, gpu: GpuReading, busy: float | None, history: DramHistory) -> bool:
    """Whether a GPU's DRAM activity speaks against a share that its engine's counters tell."""
    own = history.share(gpu, busy) if gpu.dram_active_ratio is not None else None
    return own is not None and abs(own - share) > _FAR * (_ERROR["dram-activity"] + error)


def hardware_spent(gpu: GpuReading, history: DramHistory, seconds: float) -> Spent:
    """Where a GPU's seconds went by its own signals alone; never better than medium confidence."""
    busy = gpu_busy_ratio(gpu)
    if busy is None:
        return Spent(0.0, 0.0, 0.0, seconds, 1.0, "low", ())
    evidence: Evidence = "dram-activity" if gpu.dram_active_ratio is not None else "memory-active"
    idle = seconds * (1.0 - min(1.0, busy))
    if busy < IDLE_BELOW:
        return Spent(0.0, 0.0, seconds, 0.0, 0.05, "medium", (evidence,))
    share = history.share(gpu, busy)
    if share is None:
        return Spent(0.0, 0.0, idle, seconds - idle, 1.0, "low", ())
    confidence: Confidence = (
        "medium" if evidence == "dram-activity" and len(history.levels) >= 4 * _MIN_HISTORY else "low"
    )
    prefill = share * (seconds - idle)
    return Spent(prefill, seconds - idle - prefill, idle, 0.0, _ERROR[evidence], confidence, (evidence,))
