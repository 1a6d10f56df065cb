"""Ticks for the tests of recording and replay: a small machine whose phases come in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from collectors.histogram import Histogram
from collectors.model import (
    HOST,
    RULE_VERSION,
    Bottleneck,
    Event,
    Gap,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.phase.label import phase_seconds
from collectors.readings import EngineReading, GpuReading, HostReading
from exporters.recorder import Recorder
from exporters.recording_file import Origin, RecordingFile

SECOND = 1_000_000_000
START = 1_795_176_000 * SECOND  # 2026-11-20T12:00:00Z, a whole minute
ENDPOINT = "http://127.0.0.1:8000/metrics"
BLOCK = 20
"""Intervals of each phase before the next one comes."""
BLOCKS: tuple[PhaseLabel, ...] = ("prefill", "decode", "idle", "mixed")
SETTLE = 3
"""Intervals after which a label settles."""
SHARES: Mapping[PhaseLabel, float | None] = {"prefill": 0.9, "decode": 0.1, "idle": None, "mixed": 0.5}


def interval(number: int, *, start: int | None = None, seconds: float = 1.0, gaps: tuple[Gap, ...] = ()) -> Interval:
    """The interval of a number, full of figures that depend on it; `start` when it does not follow its number."""
    begin = START + number * round(seconds * SECOND) if start is None else start
    return Interval(
        sequence=number,
        start=begin,
        end=begin + round(seconds * SECOND),
        duration=seconds,
        host=HostReading(name="node-1", cpu_ratio=(number % 100) / 100, memory_used_bytes=float(number) * 2**20),
        gpus={
            f"GPU-{index}": GpuReading(
                uuid=f"GPU-{index}", index=index, name="H100", source="gpm", dram_active_ratio=(number % 90) / 100,
                energy_joules=300.125 + number,
            )
            for index in range(2)
        },
        engines={
            (ENDPOINT, "0"): EngineReading(
                endpoint=ENDPOINT, engine_index="0", engine="vllm", model="m", prompt_tokens=float(number),
                requests_running=float(number % 5), gpus=("GPU-0", "GPU-1"),
                ttft=Histogram((0.1, 1.0, 10.0), (number % 3, 2, 0, number % 2), 1.5),
            )
        },
        gaps=gaps,
    )  # fmt: skip


class Estimator:
    """A labeller with a memory: labels settle `SETTLE` intervals late, and depend on all that settled before.

    So labels made anew are the same only when they begin from the right checkpoint.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._next = state["next_sequence"] if state else 0
        self._seen = state["seen"] if state else 0
        self._history = list(state["history"]) if state else []
        self._pending: list[Interval] = []

    def push(self, pushed: Interval) -> Tick:
        self._pending.append(pushed)
        settled: list[Label] = []
        while len(self._pending) > SETTLE:
            settled += self._settle()
        return Tick(pushed, {label.entity: label for label in self._labels(pushed, False)}, tuple(settled))

    def flush(self) -> tuple[Label, ...]:
        settled: list[Label] = []
        while self._pending:
            settled += self._settle()
        return tuple(settled)

    def checkpoint(self) -> dict[str, Any]:
        following = self._pending[0].sequence if self._pending else self._next
        return {
            "rule_version": RULE_VERSION,
            "next_sequence": following,
            "seen": self._seen,
            "history": list(self._history),
            "coefficients": {ENDPOINT: {"seen": self._seen // 100}},
        }

    def _settle(self) -> list[Label]:
        oldest = self._pending.pop(0)
        self._seen += 1
        self._next = oldest.sequence + 1
        self._history = [*self._history[-49:], oldest.duration * oldest.sequence]
        return self._labels(oldest, True)

    def _labels(self, one: Interval, settled: bool) -> list[Label]:
        label = BLOCKS[one.sequence // BLOCK % len(BLOCKS)]
        busy = 0.0 if label == "idle" else round(0.9 + (self._seen % 100) / 1000, 4)
        phase = Phase(label, settled, SHARES[label], busy, 0.05, "high", ("engine-seconds",))
        bottleneck = Bottleneck(
            "compute", "compute", None, {"compute": busy, "demand": round(1 - busy, 4)}, "high", f"busy {busy:.0%}",
            ("more replicas",) if label == "prefill" else (),
        )  # fmt: skip
        entities = [HOST, *map(gpu_entity, one.gpus), *map(engine_entity, one.engines)]
        return [Label(one.sequence, entity, phase, bottleneck) for entity in entities]


def estimator(state: dict[str, Any] | None) -> Estimator:
    return Estimator(state)


def ticks(intervals: Iterable[Interval], labeller: Estimator | None = None) -> Iterator[Tick]:
    """The intervals labelled; the last tick also settles what was still open."""
    labeller = labeller or Estimator()
    last: Tick | None = None
    for one in intervals:
        if last is not None:
            yield last
        last = labeller.push(one)
    if last is not None:
        yield Tick(last.interval, last.labels, (*last.settled, *labeller.flush()), last.events)


def with_event(tick: Tick, text: str, *, time: int | None = None) -> Tick:
    event = Event(tick.interval.start if time is None else time, "note", HOST, text)
    return Tick(tick.interval, tick.labels, tick.settled, (*tick.events, event))


def recording_file(
    path: Path, written: Iterable[Tick], *, run: str = "run", checkpoints: Estimator | None = None
) -> Path:
    """A finished file of ticks; with `checkpoints`, the labeller that makes them, one every 25 intervals."""
    file: RecordingFile | None = None
    for count, tick in enumerate(written):
        if file is None:
            origin = Origin("node-1", "Europe/Berlin", run)
            file = RecordingFile(path, origin, tick.interval, phase_seconds=phase_seconds)
        state = checkpoints.checkpoint() if checkpoints is not None and count % 25 == 0 else None
        file.write(tick, checkpoint=state)
    assert file is not None
    assert file.close()
    return path


def recorder(directory: Path, **changed: Any) -> Recorder:
    """A recorder with a large queue, so that a test may hand over as fast as it likes."""
    arguments: dict[str, Any] = {
        "host_name": "node-1",
        "byte_cap": 2**30,
        "age_cap_seconds": 10 * 365 * 86400.0,
        "queue_limit": 100_000,
        "reserve_bytes": 0,
        "retry_seconds": (0.02, 0.05),
    }
    return Recorder(directory, **(arguments | changed))


def settled_labels(written: Iterable[Tick]) -> dict[tuple[int, str], Label]:
    return {(label.sequence, label.entity): label for tick in written for label in tick.settled}


def files(directory: Path) -> list[str]:
    """Names of the recording files, oldest first."""
    return sorted(path.name for path in directory.glob("phasetop-*.db"))
