"""The phase ledger: where the seconds of some intervals went, by phase and by bottleneck.

A GPU-second is a second of one GPU. Busy time is split into prefill and decode by the interval's own
share, which is the *marginal* one: prefill is what an interval took beyond its decode steps alone
(`collectors.analysis.energy` has the other way to split it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.analysis.sums import merged
from collectors.model import HOST, PHASES, Interval, Label, gpu_entity
from collectors.phase.rules import phase_seconds


@dataclass(frozen=True, slots=True)
class Ledger:
    """Seconds over some intervals. Ledgers add up.

    `wall` is the machine's time by phase, `gpus` GPU-seconds by phase, `bottlenecks` the machine's
    time by the bottleneck named, `resources` the same as a partition: what each second was limited
    by, where that is known; of `inferred` seconds that partition follows from the phases alone, no
    hardware counter having told it. `seconds` is the length of the intervals, `intervals` their number.
    """

    seconds: float = 0.0
    intervals: int = 0
    wall: Mapping[str, float] = field(default_factory=dict)
    gpus: Mapping[str, float] = field(default_factory=dict)
    bottlenecks: Mapping[str, float] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    inferred: float = 0.0

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.seconds + other.seconds,
            self.intervals + other.intervals,
            merged(self.wall, other.wall),
            merged(self.gpus, other.gpus),
            merged(self.bottlenecks, other.bottlenecks),
            merged(self.resources, other.resources),
            self.inferred + other.inferred,
        )

    @property
    def busy(self) -> float:
        """Seconds in prefill or decode, of the machine."""
        return self.wall.get("prefill", 0.0) + self.wall.get("decode", 0.0)


def ledger_of(interval: Interval, labels: Mapping[str, Label]) -> Ledger:
    """The ledger of one interval. Without a label all of its time is unknown."""
    seconds = interval.duration
    host = labels.get(HOST)
    gpus: dict[str, float] = {}
    for uuid, gpu in interval.gpus.items():
        if not gpu.instances:  # of a divided GPU its instances are counted
            gpus = merged(gpus, entity_seconds(labels.get(gpu_entity(uuid)), seconds))
    judged = host.bottleneck if host is not None else None
    return Ledger(
        seconds=seconds,
        intervals=1,
        wall=entity_seconds(host, seconds),
        gpus=gpus,
        bottlenecks={judged.name if judged is not None else "unknown": seconds},
        resources={name: share * seconds for name, share in judged.shares.items()} if judged is not None else {},
        inferred=seconds if judged is not None and judged.shares and judged.confidence == "low" else 0.0,
    )


def entity_seconds(label: Label | None, seconds: float) -> dict[str, float]:
    """The seconds of one entity's interval by phase; they sum to `seconds`."""
    if label is None:
        return {**dict.fromkeys(PHASES, 0.0), "unknown": seconds}
    return phase_seconds(label.phase, seconds)
