"""The vocabulary every room shares: intervals, labels, gaps, events and ticks.

All of it is frozen. A label stands apart from its interval, so that evidence that arrives late
changes nothing that was already handed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from collectors.readings import EngineReading, GpuReading, HostReading

if TYPE_CHECKING:
    from collectors.phase.calibrate import CostModel  # it takes 5 ms to load, and the first frame needs none
    from collectors.pods import Pod

RULE_VERSION = 3
"""Raised whenever the same readings would get other labels."""

WHY_SEPARATOR = " · "
"""Between the parts of a bottleneck's explanation."""
NOTHING_WRONG = "nothing is wrong"
"""How one of those parts begins where nobody waits, and the time is spent at what the hardware is for."""

PhaseLabel = Literal["prefill", "decode", "mixed", "idle", "waiting", "unknown"]
PHASES = ("prefill", "decode", "idle", "waiting", "unknown")
"""What seconds go into."""
PHASE_LABELS: tuple[PhaseLabel, ...] = ("prefill", "decode", "mixed", "idle", "waiting", "unknown")

Confidence = Literal["high", "medium", "low"]

Evidence = Literal[
    "engine-seconds", "intensity", "decode-deficit", "prefill-cost", "bounds", "dram-activity", "memory-active",
    "idle-counter", "requests", "latency", "silence",
]  # fmt: skip

BottleneckName = Literal[
    "compute", "memory-bandwidth", "kv-capacity", "scheduler", "host", "network", "power", "demand", "unknown"
]
BOTTLENECK_NAMES: tuple[BottleneckName, ...] = (
    "compute", "memory-bandwidth", "kv-capacity", "scheduler", "host", "network", "power", "demand", "unknown",
)  # fmt: skip

EngineKey = tuple[str, str]
"""(endpoint, engine index)."""

HOST = "host"
"""The entity name of the machine itself."""


def gpu_entity(uuid: str) -> str:
    return f"gpu/{uuid}"


def engine_entity(key: EngineKey) -> str:
    return f"engine/{key[0]}#{key[1]}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing from an interval, and why, in one line."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. What cannot be seen of it from here (in a container, say) is None.

    `pid` is as the machine numbers it; `memory_bytes` is its memory on that GPU; `command` is its
    command line with secrets masked; `engine` is the page of the engine it belongs to; `pod` is the
    Kubernetes pod it runs in.
    """

    pid: int
    name: str | None = None
    user: str | None = None
    memory_bytes: float | None = None
    command: str | None = None
    engine: str | None = None
    pod: Pod | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """All readings of one whole, wall-aligned interval.

    `start` and `end` are wall-clock nanoseconds since 1970; `duration` is the monotonic clock's
    seconds. Intervals are told apart by `sequence`, which never repeats within a recording, so a
    clock that steps back makes no two collide.

    `gpu_processes` are the processes on each GPU, by its UUID, where they were looked at; they are
    for whoever watches, and are not recorded.
    """

    sequence: int
    start: int
    end: int
    duration: float
    host: HostReading | None = None
    gpus: Mapping[str, GpuReading] = field(default_factory=dict)
    engines: Mapping[EngineKey, EngineReading] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    gpu_processes: Mapping[str, tuple[GpuProcess, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Phase:
    """What the busy time of one interval went into.

    `prefill_share` is a share of busy *time*; `busy_ratio` is busy time per wall time; `error` is
    the stated error of the share, in the same unit. `unknown_ratio` is the wall time that nothing
    explains: it is neither busy nor idle. Each is None where nothing tells.
    """

    label: PhaseLabel = "unknown"
    settled: bool = False
    prefill_share: float | None = None
    busy_ratio: float | None = None
    error: float | None = None
    confidence: Confidence = "low"
    evidence: tuple[Evidence, ...] = ()
    rule_version: int = RULE_VERSION
    unknown_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What holds the work back.

    `resource` is the largest claim in a partition of the wall time (`shares`, summing to 1);
    `admission` is what keeps requests waiting, if anything does; `name` is the headline of both.
    """

    name: BottleneckName = "unknown"
    resource: BottleneckName = "unknown"
    admission: BottleneckName | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    confidence: Confidence = "low"
    why: str = ""
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """The judgement on one entity's interval: provisional, or settled for good."""

    sequence: int
    entity: str
    phase: Phase
    bottleneck: Bottleneck

    @property
    def settled(self) -> bool:
        return self.phase.settled


EventKind = Literal[
    "gpu-lost", "gpu-back", "xid", "throttle-begin", "throttle-end", "engine-restart", "engine-down", "engine-up",
    "kv-full", "slo-breach", "phase-change", "note", "clock-step",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one moment. `time` is wall-clock nanoseconds since 1970."""

    time: int
    kind: EventKind
    entity: str
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """One interval as it is handed on: its labels so far, and the earlier ones that settled now.

    `labels` holds the newest label of each entity of `interval`, provisional or already settled.
    `settled` holds labels that became final with this tick, oldest first; their sequence tells
    which interval each is of (this one's included, when it settled at once).
    `costs` are the calibrated costs of each engine that has any, by its entity; a recording has
    them as of its last checkpoint, a minute old at most.
    """

    interval: Interval
    labels: Mapping[str, Label] = field(default_factory=dict)
    settled: tuple[Label, ...] = ()
    events: tuple[Event, ...] = ()
    costs: Mapping[str, CostModel] = field(default_factory=dict)
