"""Service-level objectives: the latency that is promised, and the moment it is broken.

A promise is kept by a service, not by one of its processes: the data-parallel ranks of one page
and model are merged before any quantile is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from collectors.analysis.words import latency as in_words
from collectors.clock import NANO
from collectors.histogram import Histogram, merge
from collectors.model import Event, Interval, engine_entity
from collectors.readings import EngineReading

WINDOW_SECONDS = 60.0
"""Objectives are judged over this much time: single intervals see too few requests."""
FEWEST = 10
"""With fewer observations in that time nothing is said about an objective."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The `quantile` of a latency is to be at most `seconds`."""

    seconds: float
    quantile: float

    @property
    def name(self) -> str:
        """The quantile as people write it: "p99", "p99.9"."""
        return f"p{self.quantile * 100:.10g}"

    def met(self, observed: Histogram | None) -> bool | None:
        """Whether it is met; None with too few observations to say."""
        if observed is None or observed.count < FEWEST:
            return None
        reached = observed.quantile(self.quantile)
        return None if reached is None else reached <= self.seconds


@dataclass(frozen=True, slots=True)
class Slo:
    """What is promised of one model; None where nothing is."""

    ttft: Objective | None = None
    tpot: Objective | None = None

    def of(self, latency: str) -> Objective | None:
        """The objective of a latency by its field's name; None where none can be set."""
        return self.ttft if latency == "ttft" else self.tpot if latency == "tpot" else None


@dataclass(frozen=True, slots=True)
class SloBook:
    """The objectives of all models: `common` for those that have none of their own."""

    common: Slo = field(default_factory=Slo)
    models: Mapping[str, Slo] = field(default_factory=dict)

    def of(self, model: str | None) -> Slo:
        return self.models.get(model or "", self.common)


LATENCIES: tuple[tuple[str, str], ...] = (("ttft", "TTFT"), ("tpot", "TPOT"))
"""The latencies an objective can be set for: the field of the reading, and what people call it."""

_Service = tuple[str, str | None, str]
"""(endpoint, model, latency)."""


class SloWatch:
    """Finds the moments at which an objective is no longer met.

    Feed it every interval, in order. It is told once, and again only after the objective has been
    met for a whole window: a quantile that sways around its limit is one event and not twenty.
    """

    def __init__(self, book: SloBook) -> None:
        self._book = book
        self._windows: dict[_Service, _Window] = {}

    def push(self, interval: Interval) -> tuple[Event, ...]:
        return tuple(self._events(interval))

    def _events(self, interval: Interval) -> Iterator[Event]:
        services: dict[tuple[str, str | None], list[EngineReading]] = {}
        for reading in interval.engines.values():
            services.setdefault((reading.endpoint, reading.model), []).append(reading)
        for (endpoint, model), ranks in services.items():
            slo = self._book.of(model)
            for latency, name in LATENCIES:
                objective = slo.of(latency)
                if objective is None:
                    continue
                window = self._windows.setdefault((endpoint, model, latency), _Window())
                window.add(interval.end, [seen for rank in ranks if (seen := getattr(rank, latency)) is not None])
                reached = window.broken(interval.end, objective)
                if reached is not None:
                    told = f"SLO breached: {name} {objective.name} {in_words(reached)}"
                    text = f"{told} over {in_words(objective.seconds)}, {ranks[0].engine or 'engine'} at {endpoint}"
                    yield Event(interval.end, "slo-breach", engine_entity(ranks[0].key), text)
        self._forget(interval.end)

    def _forget(self, now: int) -> None:
        """Services that have not been there for a window are gone."""
        for service in [key for key, window in self._windows.items() if window.last < now - WINDOW_SECONDS * NANO]:
            del self._windows[service]


class _Window:
    """The observations of one latency of one service over the last minute."""

    def __init__(self) -> None:
        self.last = 0
        self._seen: deque[tuple[int, Histogram]] = deque()
        self._totals: list[int] = []
        self._broken_until = 0
        """The objective has to be met until then before a breach is told again."""

    def add(self, end: int, ranks: list[Histogram]) -> None:
        self.last = end
        observed = merge(ranks)
        if observed is not None and any(observed.counts):
            if self._seen and self._seen[-1][1].bounds != observed.bounds:
                self._seen.clear()
            if not self._seen:
                self._totals = [0] * len(observed.counts)
            self._seen.append((end, observed))
            self._totals = [total + count for total, count in zip(self._totals, observed.counts, strict=True)]
        while self._seen and self._seen[0][0] <= end - WINDOW_SECONDS * NANO:
            _, gone = self._seen.popleft()
            self._totals = [total - count for total, count in zip(self._totals, gone.counts, strict=True)]

    def broken(self, now: int, objective: Objective) -> float | None:
        """The quantile reached, when the objective is broken now and has not been for a window."""
        observed = Histogram(self._seen[-1][1].bounds, tuple(self._totals), 0.0) if self._seen else None
        if observed is None or objective.met(observed) is not False:
            return None
        is_new = now > self._broken_until
        self._broken_until = now + round(WINDOW_SECONDS * NANO)
        return observed.quantile(objective.quantile) if is_new else None
