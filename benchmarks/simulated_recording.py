"""Simulated servings as recordings: their pages read and labelled as `phasetop import` does, with GPUs of known use."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.phasebench.deployment import Instance, Process
from benchmarks.phasebench.inputs import Truth, intervals, truths
from benchmarks.phasebench.simulator import Done, Limits
from benchmarks.phasebench.tables import StepTimes
from collectors.model import Interval
from collectors.phase.label import Labeller, phase_seconds
from collectors.readings import rounded
from exporters.recording_file import Origin, RecordingFile

PREFILL_WATTS, DECODE_WATTS, IDLE_WATTS = 420.0, 330.0, 90.0
TENSOR, DRAM = (0.55, 0.04), (0.18, 0.72)
"""Activity while the GPU does prefill, and while it decodes."""
_NOISE = 0.05
"""Relative, of an interval's activity."""


def record(path: Path, steps: Sequence[Done], limits: Limits, tables: StepTimes, seconds: float) -> list[Truth]:
    """A simulated serving as a recording; the truth of each of its intervals."""
    instance = Instance("http://simulated/metrics", "0", (Process(0.0, seconds, steps),), limits)
    true = truths(steps, 1.0, seconds)
    seen = intervals([instance], {instance.key: true}, tables.card, 1.0, "pages")
    chance = random.Random(1)
    record_intervals(path, (_with_use(one, true[one.sequence], chance) for one in seen), "simulated")
    return true


def record_intervals(path: Path, seen: Iterable[Interval], host: str) -> None:
    """Intervals as a recording, labelled on the way. Raises ValueError when there is none."""
    labeller = Labeller()
    file: RecordingFile | None = None
    for interval in seen:
        tick = labeller.push(interval)
        if file is None:
            file = RecordingFile(path, Origin(host, "UTC", host), interval, phase_seconds=phase_seconds)
        file.write(tick, checkpoint=labeller.checkpoint() if interval.sequence % 60 == 59 else None)
    if file is None:
        raise ValueError("there is no interval")
    file.settle(labeller.flush())
    file.close()


def _with_use(interval: Interval, true: Truth, chance: random.Random) -> Interval:
    """With the energy and the activity that the GPUs would have counted."""
    decode = true.busy - true.prefill
    joules = true.prefill * PREFILL_WATTS + decode * DECODE_WATTS + max(0.0, true.seconds - true.busy) * IDLE_WATTS

    def active(each: tuple[float, float]) -> float:
        mean = (each[0] * true.prefill + each[1] * decode) / true.seconds
        return round(min(1.0, max(0.0, mean * chance.gauss(1.0, _NOISE))), 4)

    gpus = {
        uuid: rounded(
            replace(gpu, energy_joules=joules, tensor_active_ratio=active(TENSOR), dram_active_ratio=active(DRAM))
        )
        for uuid, gpu in interval.gpus.items()
    }
    return replace(interval, gpus=gpus)
