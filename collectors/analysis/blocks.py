"""Sums over stretches of time that add up: what every figure of a report is computed from.

A block is one minute of a recording, or a few minutes after each other. Everything in it is a sum, so
that blocks can be added in any order, and drawn again and again with replacement to tell how much a
figure varies (`collectors.analysis.bootstrap`). A key that is absent was
not measured; it is never 0 for want of a measurement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Key = tuple[str | float, ...]
"""What is summed: a name, then what it is of (an entity, a phase, a field). `KEYS` lists the names."""

KEYS: Mapping[str, str] = {
    "seconds": "seconds recorded",
    "machine-seconds": "seconds of all nodes together, where there are several",
    "intervals": "intervals recorded",
    "unlabelled": "seconds of intervals that have no label yet",
    "phase": "(entity, phase): seconds by the settled labels",
    "bottleneck": "(name): seconds of the machine under a headline",
    "resource": "(name): seconds of the machine limited by it, a partition",
    "admission": "(name): seconds of the machine in which it kept requests out",
    "doubt": "stated error of the machine's prefill seconds",
    "inferred": "seconds whose partition follows from the phases alone",
    "joules": "(GPU, phase): energy by the settled labels",
    "joules-error": "(GPU): energy times the stated error of its split",
    "gpu": "(GPU, field): seconds-weighted sums of gauges",
    "engine": "(engine, field): amounts, and seconds-weighted sums of gauges",
    "latency": "(engine, field, bottleneck, lower bound, upper bound): observations",
    "latency-sum": "(engine, field): seconds of all observations together",
    "use": "(resource, moment): moments of a resource's use over the seconds of prefill and decode",
    "power": "(moment): moments of the energy of all GPUs over the seconds of prefill, decode and the rest",
    "delay": "(engine, moment): moments of the time per token over prefill beside decode and the batch",
    "alone": "(engine, what): seconds and tokens of intervals that were prefill alone",
    "detail": "seconds of the intervals that were looked at one by one",
}


@dataclass(slots=True)
class Block:
    """A stretch of time from `start` to `end` (wall-clock ns): sums, and the largest values of gauges."""

    start: int
    end: int
    sums: dict[Key, float] = field(default_factory=dict)
    most: dict[Key, float] = field(default_factory=dict)

    def add(self, key: Key, value: float | None) -> None:
        """Adds what was measured; nothing where it was not."""
        if value is not None:
            self.sums[key] = self.sums.get(key, 0.0) + value

    def add_all(self, kind: Key, names: Sequence[str], values: Iterable[float]) -> None:
        """Adds values to the sums of a kind, by their names."""
        sums = self.sums
        for name, value in zip(names, values, strict=True):
            key = (*kind, name)
            sums[key] = sums.get(key, 0.0) + value

    def top(self, key: Key, value: float | None) -> None:
        """Keeps the largest value."""
        if value is not None and value > self.most.get(key, float("-inf")):
            self.most[key] = value

    def take(self, other: Block) -> None:
        """Adds all of another block."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        for key, value in other.sums.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        for key, value in other.most.items():
            self.top(key, value)


def total(blocks: Iterable[Block]) -> Block:
    """All blocks as one; without any, an empty one at time 0."""
    result: Block | None = None
    for block in blocks:
        if result is None:
            result = Block(block.start, block.end)
        result.take(block)
    return result or Block(0, 0)
