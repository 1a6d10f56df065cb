"""The fleet as a Prometheus tells it: one look a refresh, by half a dozen queries.

What cannot be had this time stands as it was, with its age told; the next look tries again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from collectors.fleet import queries
from collectors.fleet.heat import HeatMap, Span
from collectors.fleet.model import USUAL_QUANTILE, Snapshot
from collectors.fleet.queries import (
    RULE_WINDOW,
    Figure,
    Target,
    groups,
    identity,
    machine_phases,
    query_of,
    rules_present,
    scrapes_in_window,
    target_labels,
)
from collectors.fleet.tables import KNOWN_FOR, Identity, Numbers, identities, node_name, nodes_of, numbers_of
from collectors.promql import IN_FLIGHT, PromClient, PromProblem, Vector

_SELDOM = 60.0
"""Seconds between two questions for models, roles and labels."""
_RULES_AGAIN = 300.0
_RULE_LOOKBACK = 150.0
"""Rules are evaluated once a minute where nobody says otherwise: their samples may be so old."""
_USUAL_SCRAPE = 15.0
_STILL_COMING = 120.0
"""Seconds for which what has not been told yet may still be told."""
_MACHINES = "phases of machines"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is left of an answer: a fifth of what its labels take."""

    numbers: Numbers
    warnings: tuple[str, ...]
    samples_read: int | None


@dataclass(slots=True)
class _Kept:
    numbers: Numbers
    at: float


class PrometheusFleet:
    """Looks at the fleet again and again. `look` is for one thread; `close` for any."""

    def __init__(self, client: PromClient, target: Target, *, wall: Callable[[], float] = time.time) -> None:
        self.client = client
        self.target = target
        self._wall = wall
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="promql")
        self._kept: dict[str, _Kept] = {}
        self._identities: dict[str, Identity] = {}
        self._identified = self._rules_asked = -math.inf
        self._rules: frozenset[str] = frozenset()
        self._quantile = USUAL_QUANTILE
        self._asks_machines = False
        self._last_seen: dict[str, float] = {}
        self.scrape_interval = _USUAL_SCRAPE
        """Seconds between two scrapes, as seen."""

    has_past = True

    def heat(self, heat: HeatMap, span: Span) -> None:
        """Fills columns by one range query. Raises PromProblem.

        A new column of which nothing is known stays open: VictoriaMetrics tells nothing of the last half minute.
        """
        step = heat.step
        window = max(step, 2.5 * self.scrape_interval)
        found = self.client.query_range(
            queries.heat(self.target, window), (span.first + 1) * step, (span.last + 1) * step, step
        )
        columns: dict[int, dict[str, int]] = {index: {} for index in range(span.first, span.last + 1)}
        for labels, points in found.series:
            name = node_name(labels, self.target)
            for moment, number in points:
                column = columns.get(round(moment / step) - 1)
                if column is not None:
                    column[name] = max(0, min(99_999_999, round(number)))
        now = self._wall()
        for index, cells in columns.items():
            if cells or (index + 1) * step < now - _STILL_COMING:
                heat.put(index, cells)

    def key_of(self, name: str) -> tuple[str, ...]:
        """The values of the labels that name a node."""
        known = self._identities.get(name)
        return known.key if known is not None and known.key else (name,)

    def close(self) -> None:
        self.client.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self, at: float | None = None, quantile: float = USUAL_QUANTILE) -> Snapshot:
        """The fleet now, or at a moment (seconds since 1970), with latencies of a quantile.

        Raises PromProblem when nothing could be had and nothing is known from before, or, of a moment
        in the past, when anything could not be had.
        """
        began, asked = time.monotonic(), self.client.queries
        not_learnt = self._find_rules(at)
        nodes = self._nodes_asked(at)
        answers, failed = self._asked(at, quantile)
        not_learnt |= self._learn(nodes, at)
        read = [answer.samples_read for answer in answers.values()]
        warnings = tuple(dict.fromkeys(line for answer in answers.values() for line in answer.warnings))
        now = self._wall()
        kept = self._kept_for(quantile) if at is None else {}
        for name, answer in answers.items():
            kept[name] = _Kept(answer.numbers, now)
        if not self._asks_machines:
            kept.pop(_MACHINES, None)
        if failed and (at is not None or "health" not in kept):
            raise next(iter(failed.values()))
        problems = _told(failed, not_learnt, kept, now)
        numbers: Numbers = {}
        for one in kept.values():
            numbers.update(one.numbers)
        if at is None and "health" in answers:
            self._seen(numbers.get("up", {}).get("", {}), now)
        known = self._last_seen if at is None else {}
        return Snapshot(
            at=(kept["health"].at if at is None else at),
            nodes=nodes_of(numbers, self._identities, known, now),
            warnings=warnings,
            problems=problems,
            took=time.monotonic() - began,
            queries=self.client.queries - asked,
            samples_read=sum(one or 0 for one in read) if any(one is not None for one in read) else None,
            uses_rules=bool(self._rules),
            quantile=quantile,
        )

    def _kept_for(self, quantile: float) -> dict[str, _Kept]:
        """Another quantile's latencies are not this one's."""
        if quantile != self._quantile:
            self._quantile = quantile
            self._kept.pop("latencies", None)
        return self._kept

    def _seen(self, names: Collection[str], now: float) -> None:
        self._last_seen = {name: at for name, at in self._last_seen.items() if now - at < KNOWN_FOR}
        for name in names:
            self._last_seen[name] = now
            if name not in self._identities:
                self._identified = -math.inf  # a node that came since: who it is, is asked with the next look

    def _asked(self, at: float | None, quantile: float) -> tuple[dict[str, _Answer], dict[str, PromProblem]]:
        wanted = groups(self.target, quantile)
        if self._asks_machines:
            wanted[_MACHINES] = machine_phases(self.target)
        answers, failed = _gathered({name: self._submitted(figures, at) for name, figures in wanted.items()})
        if "health" in answers and "phases" in answers:
            self._asks_machines = _is_any_without_phases(answers["health"].numbers, answers["phases"].numbers)
        if self._asks_machines and _MACHINES not in wanted:
            more, not_had = _gathered({_MACHINES: self._submitted(machine_phases(self.target), at)})
            answers, failed = answers | more, failed | not_had
        return answers, failed

    def _submitted(self, figures: Sequence[Figure], at: float | None) -> Future[_Answer]:
        return self._pool.submit(self._one, figures, at)

    def _one(self, figures: Sequence[Figure], at: float | None) -> _Answer:
        """Rules are old by the time between two evaluations, so that a query which uses one looks back further."""
        rules = self._rules
        lookback = _RULE_LOOKBACK if any(one.uses(rules) for one in figures) else None
        vector = self.client.query(query_of(figures, self.target, rules), at=at, lookback=lookback)
        return _Answer(numbers_of(vector, self.target), vector.warnings, vector.samples_read)

    def _find_rules(self, at: float | None) -> dict[str, PromProblem]:
        """Which rules there are: asked seldom, and for every moment in the past, when they may not have been there."""
        now = time.monotonic()
        is_due = now - self._rules_asked >= _RULES_AGAIN or at is not None
        if is_due and self.target.window == RULE_WINDOW:
            try:
                present = self.client.query(rules_present(self.target), at=at, lookback=_RULE_LOOKBACK)
            except PromProblem as problem:
                return {"rules": problem}
            self._rules = frozenset(labels.get("__name__", "") for labels, _ in present.samples)
            self._rules_asked = now if at is None else -math.inf
        return {}

    def _nodes_asked(self, at: float | None) -> dict[str, Future[Vector]]:
        """What changes seldom: what the nodes are, and how often they are scraped."""
        if at is None and time.monotonic() - self._identified < _SELDOM:
            return {}
        ask = self._pool.submit
        return {
            "models and roles": ask(
                self.client.query, identity(self.target, self._rules), at=at, lookback=_RULE_LOOKBACK
            ),
            "labels": ask(self.client.query, target_labels(self.target), at=at),
            "scrapes": ask(self.client.query, scrapes_in_window(self.target), at=at),
        }  # fmt: skip

    def _learn(self, asked: dict[str, Future[Vector]], at: float | None) -> dict[str, PromProblem]:
        answers, failed = _gathered(asked)
        if "models and roles" in answers and "labels" in answers:
            self._identities = identities(answers["models and roles"].samples, answers["labels"].samples, self.target)
            self._identified = time.monotonic() if at is None else -math.inf
        scrapes = [value for _, value in answers["scrapes"].samples] if "scrapes" in answers else []
        if scrapes and scrapes[0] >= 1:
            self.scrape_interval = max(1.0, RULE_WINDOW / scrapes[0])
        return failed


def _is_any_without_phases(health: Numbers, phases: Numbers) -> bool:
    """Whether a node is scraped of which no GPU tells its time."""
    told = set().union(*phases.get("gpu_phase", {}).values())
    return any(up > 0.5 and name not in told for name, up in health.get("up", {}).get("", {}).items())


def _gathered(waiting: dict[str, Future[T]]) -> tuple[dict[str, T], dict[str, PromProblem]]:
    answers: dict[str, T] = {}
    failed: dict[str, PromProblem] = {}
    for name, future in waiting.items():
        try:
            answers[name] = future.result()
        except PromProblem as problem:
            failed[name] = problem
    return answers, failed


def _told(
    failed: Mapping[str, PromProblem], not_learnt: Mapping[str, PromProblem], kept: Mapping[str, _Kept], now: float
) -> tuple[str, ...]:
    """A line for each reason, with what it keeps from being seen and how old what stands there is."""
    by_reason: dict[str, list[str]] = {}
    for name, problem in (*failed.items(), *not_learnt.items()):
        by_reason.setdefault(problem.reason, []).append(name)
    lines = []
    for reason, names in by_reason.items():
        ages = [now - kept[name].at for name in names if name in kept]
        what = "everything" if len(ages) == len(kept) > 1 else ", ".join(names)
        is_missing = not ages and any(name in failed for name in names)
        shown = f"; shown as {max(ages):.0f} s ago" if ages else "; not shown" if is_missing else ""
        lines.append(f"{what}: {reason}{shown}")
    return tuple(lines)
