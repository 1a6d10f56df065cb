"""Events that take more than two intervals to see: throttling, a full KV cache, another dominant phase.

All of them have a memory and a distance between beginning and end, so that a figure that sways
around a limit is one event and not twenty. Pure: a live session and an import find the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from collectors.events import events_between
from collectors.model import HOST, Event, EventKind, Interval, Label, Tick, engine_entity, gpu_entity
from collectors.phase.rules import phase_seconds
from collectors.readings import EngineReading, GpuReading
from collectors.slo import SloBook, SloWatch

CAUSES = (
    ("throttle_power_ratio", "the power cap holds clocks down", "the power cap no longer holds clocks down"),
    ("throttle_thermal_ratio", "heat holds clocks down", "heat no longer holds clocks down"),
    ("throttle_hardware_ratio", "a hardware slowdown holds clocks down", "the hardware slowdown is over"),
)
"""Field of a GPU's reading, and what is said when it begins and when it ends."""
THROTTLE_SECONDS = 10.0
THROTTLE_BEGINS, THROTTLE_ENDS = 0.10, 0.02
"""Share of the last ten seconds in which clocks were held down."""

KV_FULL, KV_ROOMY = 0.95, 0.85
"""Shares of the KV cache in use: full, when requests wait or are preempted, and no longer full."""

PHASE_SECONDS = 30.0
PHASE_TAKES_OVER = 0.60
"""A phase dominates once this share of the last half minute was its."""
_WORDS = {"prefill": "mostly prefill", "decode": "mostly decode", "idle": "mostly idle", "waiting": "mostly waiting"}


class Watch:
    """All events of a session. Feed it every tick, in order."""

    def __init__(self, book: SloBook | None = None) -> None:
        self._previous: Interval | None = None
        self._slo = SloWatch(book or SloBook())
        self._throttles = ThrottleWatch()
        self._caches = KvWatch()
        self._phases = PhaseWatch()

    def promise(self, book: SloBook) -> None:
        """Other objectives from now on; what was observed counts anew."""
        self._slo = SloWatch(book)

    def push(self, tick: Tick) -> tuple[Event, ...]:
        """The events that became visible with this tick. Those of phases lie up to ten seconds back."""
        interval, previous = tick.interval, self._previous
        self._previous = interval
        return (
            *events_between(previous, interval),
            *self._slo.push(interval),
            *self._throttles.push(interval),
            *self._caches.push(interval),
            *self._phases.push(tick),
        )


class _Mean:
    """The time-weighted mean of a share over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self._seconds = self._held = 0.0
        self.is_on = False

    def add(self, share: float, seconds: float) -> float:
        self._seen.append((share * seconds, seconds))
        self._held += share * seconds
        self._seconds += seconds
        while self._seconds - self._seen[0][1] >= THROTTLE_SECONDS:
            held, gone = self._seen.popleft()
            self._held -= held
            self._seconds -= gone
        return self._held / max(self._seconds, THROTTLE_SECONDS)


class ThrottleWatch:
    """When power, heat or hardware begins and ceases to hold a GPU's clocks down."""

    def __init__(self) -> None:
        self._means: dict[tuple[str, str], _Mean] = {}

    def push(self, interval: Interval) -> Iterator[Event]:
        for field, begins, ends in CAUSES:
            begun: list[GpuReading] = []
            ended: list[GpuReading] = []
            for gpu in interval.gpus.values():
                change = self._change(gpu, field, interval.duration)
                if change is not None:
                    (begun if change else ended).append(gpu)
            if begun:
                yield _about("throttle-begin", begun, begins, interval.end)
            if ended:
                yield _about("throttle-end", ended, ends, interval.end)

    def _change(self, gpu: GpuReading, field: str, seconds: float) -> bool | None:
        """True when it begins, False when it ends, None when nothing changes. What is not measured changes nothing."""
        share = getattr(gpu, field)
        if share is None or seconds <= 0:
            return None
        mean = self._means.setdefault((gpu.uuid, field), _Mean())
        level = mean.add(share, seconds)
        if mean.is_on != (level >= (THROTTLE_ENDS if mean.is_on else THROTTLE_BEGINS)):
            mean.is_on = not mean.is_on
            return mean.is_on
        return None


def _about(kind: EventKind, gpus: list[GpuReading], text: str, end: int) -> Event:
    """One event, also when several GPUs do the same at the same time."""
    entity = gpu_entity(gpus[0].uuid) if len(gpus) == 1 else HOST
    names = f"GPU {gpus[0].index}" if len(gpus) == 1 else f"GPUs {_listed(sorted(gpu.index for gpu in gpus))}"
    return Event(end, kind, entity, f"{names}: {text}")


def _listed(numbers: list[int]) -> str:
    """ "0-3, 6": runs of numbers joined."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


class KvWatch:
    """When the KV cache of an engine is full and keeps requests out."""

    def __init__(self) -> None:
        self._full: set[tuple[str, str]] = set()

    def push(self, interval: Interval) -> Iterator[Event]:
        for key, engine in interval.engines.items():
            used = engine.kv_cache_usage_ratio
            if used is None:
                continue
            if key in self._full:
                if used < KV_ROOMY:
                    self._full.discard(key)
            elif used >= KV_FULL and _keeps_out(engine):
                self._full.add(key)
                rank = "" if engine.engine_index == "0" else f" #{engine.engine_index}"
                text = f"KV cache {used:.0%} full: {engine.engine or 'engine'} at {engine.endpoint}{rank}"
                yield Event(interval.end, "kv-full", engine_entity(key), f"{text}, {_kept_out(engine)}")


def _keeps_out(engine: EngineReading) -> bool:
    return bool(engine.requests_waiting) or bool(engine.preemptions)


def _kept_out(engine: EngineReading) -> str:
    told = []
    if engine.requests_waiting:
        told.append(f"{engine.requests_waiting:.0f} waiting")
    if engine.preemptions:
        told.append(f"{engine.preemptions:.0f} preempted")
    return " and ".join(told)


class PhaseWatch:
    """When another phase becomes the one most of the machine's time goes into. It goes by settled labels."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[int, float]] = {}
        self._recent: deque[tuple[dict[str, float], float]] = deque()
        self._sums: dict[str, float] = {}
        self._seconds = 0.0
        self._dominant: str | None = None

    def push(self, tick: Tick) -> Iterator[Event]:
        interval = tick.interval
        self._ends[interval.sequence] = (interval.end, interval.duration)
        for label in _of_the_machine(tick.settled):
            known = self._ends.pop(label.sequence, None)
            if known is None:
                continue
            for gone in [number for number in self._ends if number < label.sequence]:
                del self._ends[gone]
            yield from self._add(label, *known)

    def _add(self, label: Label, end: int, duration: float) -> Iterator[Event]:
        seconds = phase_seconds(label.phase, duration)
        self._recent.append((seconds, duration))
        self._seconds += duration
        for phase, part in seconds.items():
            self._sums[phase] = self._sums.get(phase, 0.0) + part
        while self._seconds - self._recent[0][1] >= PHASE_SECONDS:
            old, gone = self._recent.popleft()
            self._seconds -= gone
            for phase, part in old.items():
                self._sums[phase] -= part
        phase = max(self._sums, key=lambda one: self._sums[one])
        if phase not in _WORDS or phase == self._dominant or self._sums[phase] < PHASE_TAKES_OVER * PHASE_SECONDS:
            return
        before, self._dominant = self._dominant, phase
        if before is not None:
            yield Event(end, "phase-change", HOST, f"{_WORDS[phase]} now, {_WORDS[before]} before")


def _of_the_machine(labels: Iterable[Label]) -> Iterator[Label]:
    return (label for label in labels if label.entity == HOST)
