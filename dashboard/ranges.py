"""What went on between two moments, A and B: summed up in the background, however long that is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from collectors.analysis.tally import Tally, tally_of
from collectors.histogram import merge
from collectors.model import Tick
from collectors.text import clean

if TYPE_CHECKING:
    from collectors.histogram import Histogram

_BATCH = 64
LATENCIES: Mapping[str, str] = {
    "ttft": "first token", "tpot": "per token", "queue": "in queue", "e2e": "whole request",
}  # fmt: skip
"""Fields of an engine's reading, and what to call them."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of the intervals from `start` to `end` (wall-clock ns) that have been looked at so far."""

    start: int
    end: int
    reached: int
    tally: Tally = field(default_factory=Tally)
    latencies: Mapping[str, Histogram] = field(default_factory=dict)
    events: int = 0
    complete: bool = False
    problem: str | None = None

    def plus(self, ticks: Sequence[Tick]) -> Summary:
        tally = sum((tally_of(tick.interval, tick.labels) for tick in ticks), Tally())
        latencies = dict(self.latencies)
        for name in LATENCIES:
            found = [
                histogram
                for tick in ticks
                for engine in tick.interval.engines.values()
                if (histogram := getattr(engine, name)) is not None
            ]
            merged = merge([*([latencies[name]] if name in latencies else []), *found])
            if merged is not None:
                latencies[name] = merged
        events = sum(event.kind != "phase-change" for tick in ticks for event in tick.events)
        return replace(
            self,
            reached=ticks[-1].interval.end,
            tally=self.tally + tally,
            latencies=latencies,
            events=self.events + events,
        )


class RangeSum:
    """Adds up on a thread of its own; `summary` is what it has so far. `close` ends it early."""

    def __init__(self, start: int, end: int, ticks: Iterator[Tick]) -> None:
        self.summary = Summary(start, end, start)
        self._ticks = ticks
        self._is_closed = False

    def start(self) -> None:
        threading.Thread(target=self.run, name="range", daemon=True).start()

    def run(self) -> None:
        try:
            for batch in _batches(self._ticks):
                if self._is_closed:
                    return
                self.summary = self.summary.plus(batch)
            self.summary = replace(self.summary, complete=True)
        except Exception as problem:  # a recording that cannot be read says so on the screen
            self.summary = replace(self.summary, problem=clean(str(problem)))

    def close(self) -> None:
        self._is_closed = True


def _batches(ticks: Iterator[Tick]) -> Iterator[list[Tick]]:
    batch: list[Tick] = []
    for tick in ticks:
        batch.append(tick)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
