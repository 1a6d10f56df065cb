"""What was read, whatever it was read from: blocks of sums, who is in them, and what could not be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from collectors.analysis.blocks import Block
from collectors.analysis.roster import Roster
from collectors.phase.calibrate import CostModel

Absent = Literal["costs", "doubt", "resources"]
"""What a source may not hold: calibrated costs, the stated error of shares, the partition of time over resources."""


@dataclass(frozen=True, slots=True)
class NodeSums:
    """One node of several. Seconds of its time that were counted, in all and by phase; amounts where known."""

    name: str
    seconds: float
    phases: Mapping[str, float]
    bottleneck: str | None = None
    computed: float | None = None
    generated: float | None = None
    joules: float | None = None


@dataclass(slots=True)
class Read:
    """What one pass over a recording, or over a Prometheus, found.

    `blocks` are in order of time. `costs` are the last calibrated costs of each engine, by its entity.
    `stride`: of that many minutes, one was looked at interval by interval; `minutes_each`: of that many a
    block is made. `absent` says why something cannot be had from this source at all. `nodes` are the
    single nodes of a fleet, empty for one machine. `notes` say how it was read.
    """

    blocks: list[Block] = field(default_factory=list)
    roster: Roster = field(default_factory=Roster)
    costs: dict[str, CostModel] = field(default_factory=dict)
    start: int = 0
    end: int = 0
    seconds: float = 0.0
    intervals: int = 0
    stride: int = 1
    minutes_each: int = 1
    rule_versions: set[int] = field(default_factory=set)
    absent: Mapping[Absent, str] = field(default_factory=dict)
    nodes: tuple[NodeSums, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where it was read: a path or an address, the host's name, the zone of its times of day."""

    path: str = ""
    host: str = ""
    time_zone: str = "UTC"
