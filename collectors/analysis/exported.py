"""A Prometheus as all sections of a report see it: what the exporters of some nodes told between two moments.

The stretch is cut into steps of equal length, a minute at least; each becomes a block of sums. Everything is
summed on the server, so that what travels depends on the number of steps, and of a fleet not on its nodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import floor
from statistics import median

from collectors.analysis.exported_blocks import Filler, Numbers, entity_of, sort_in
from collectors.analysis.exported_queries import (
    Kind,
    Question,
    Scope,
    descriptions,
    lag,
    nodes_seen,
    questions,
    rules,
    scrapes,
)
from collectors.analysis.read import Absent, Origin, Read
from collectors.analysis.roster import Roster
from collectors.analysis.settings import Settings
from collectors.analysis.study import Nothing, Study
from collectors.analysis.words import duration, percent
from collectors.clock import NANO
from collectors.fleet.queries import FIGURE, Target
from collectors.fleet.tables import natural, node_name
from collectors.promql import IN_FLIGHT, Matrix, PromClient, PromProblem

_BLOCKS, _LEAST_BLOCKS = 360, 24
_MINUTE = 60.0
_SAMPLES_A_STEP = 2.0
"""A step holds so many scrapes at least."""
_NODE_STEPS = 8000
"""Steps times nodes: beyond, a fleet's steps become longer."""
_CHUNK = 60
"""Steps asked for at once; fewer of many nodes."""
_LOOKS = 60
"""Moments at which is asked who is there."""
_LONGEST_LAG = 60.0
_LOOKBACK, _SCRAPES_BACK = 60.0, 2.5
"""Seconds, or times the scrape interval if that is longer, for which a sample stands."""
_TOO_MUCH = frozenset({"late", "query"})
"""What a server says that gives up on a query: it takes too long, or too many samples."""
_TRIES = 6
"""How often a server that asks to be left alone is asked again."""
ABSENT: Mapping[Absent, str] = {
    "costs": "calibrated costs are not exported",
    "doubt": "the stated error of a share is not exported",
    "resources": "the partition of time over resources is not exported",
}


class NoSuchNode(Exception):
    """No node of that name was there; the message names some that were."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which nodes, and from when to when (seconds since 1970); `node` names one as `phasetop fleet` does."""

    target: Target
    start: float
    end: float
    node: str | None = None


def study(
    client: PromClient,
    stretch: Stretch,
    settings: Settings,
    *,
    time_zone: str = "UTC",
    seen: Callable[[int], None] = lambda _: None,
    wall: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> Study:
    """Reads what the exporters told between two moments.

    `seen` is told how far it has come, in wall-clock ns. Raises Nothing where nothing was scraped, NoSuchNode, and
    PromProblem for a server that does not answer.
    """
    return _Reader(client, stretch, seen, wall, pause).study(settings, time_zone)


class _Reader:
    def __init__(
        self, client: PromClient, stretch: Stretch, seen: Callable[[int], None], wall: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:  # fmt: skip
        self._client = client
        self._stretch = stretch
        self._seen = seen
        self._wall = wall
        self._pause = pause
        self._warnings: dict[str, None] = {}
        self._lookback: float | None = None

    def study(self, settings: Settings, time_zone: str) -> Study:
        names = self._nodes()
        stretch, chosen = self._stretch, self._stretch.node
        if chosen is not None and chosen not in names:
            raise NoSuchNode(_unknown(chosen, names))
        if chosen is None and len(names) == 1:
            chosen = next(iter(names))
        if chosen is not None:
            stretch = self._stretch = replace(stretch, target=stretch.target.of(names[chosen]))
        scrape, behind = self._scrape_interval(), self._lag()
        self._lookback = max(_LOOKBACK, _SCRAPES_BACK * scrape)
        end = min(stretch.end, self._wall() - behind - scrape)
        step, count = steps_of(end - stretch.start, scrape, 1 if chosen is not None else len(names))
        scope = Scope(stretch.target, step, scrape, chosen is None)
        roster = self._roster(scope)
        filler = Filler(roster, scope)
        read = Read(roster=roster, absent=ABSENT)
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="promql") as pool:
            for first in range(0, count, self._chunk(len(names), scope)):
                last = min(count, first + self._chunk(len(names), scope))
                numbers = self._numbers(pool, scope, range(first, last), behind)
                for at, told in numbers.items():
                    begin, until = (round((stretch.start + n * step) * NANO) for n in (at, at + 1))
                    block = filler.block(begin, until, told)
                    if block is not None:
                        read.blocks.append(block)
                self._seen(round((stretch.start + last * step) * NANO))
        if not read.blocks:
            raise Nothing
        read.start, read.end = (round(one * NANO) for one in (stretch.start, stretch.start + count * step))
        read.seconds = sum(block.sums["seconds",] for block in read.blocks)
        read.intervals = len(read.blocks)
        read.rule_versions = self._rules()
        read.nodes = filler.nodes_told() if scope.is_fleet else ()
        read.notes = tuple(self._notes(read, scope, count))
        host = chosen if chosen is not None else f"{len(filler.nodes)} nodes"
        return Study(read, settings, (), Origin(self._client.url, host, time_zone))

    # Who is there, and how it is scraped.

    def _nodes(self) -> dict[str, tuple[str, ...]]:
        """The values of the labels that name each node, by its name."""
        target = self._stretch.target
        found: dict[str, tuple[str, ...]] = {}
        for labels, points in self._over(nodes_seen(target)).series:
            if points:
                found[node_name(labels, target)] = tuple(labels.get(one, "") for one in target.node)
        if not found:
            raise Nothing
        return found

    def _over(self, expression: str) -> Matrix:
        """An expression at some moments of the stretch."""
        stretch = self._stretch
        step = max(1.0, (stretch.end - stretch.start) / _LOOKS)
        return self._asked(expression, stretch.start + step, stretch.end, step)

    def _scrape_interval(self) -> float:
        """Seconds between two scrapes, of the node that is scraped most often."""
        window = min(300.0, max(10.0, self._stretch.end - self._stretch.start))
        counts = [
            value for _, points in self._over(scrapes(self._stretch.target, window)).series for _, value in points
        ]
        return max(0.25, round(window / median(counts), 2)) if counts else window

    def _lag(self) -> float:
        behind = [value for _, points in self._over(lag(self._stretch.target)).series for _, value in points]
        return min(_LONGEST_LAG, max(0.0, median(behind))) if behind else 0.0

    def _rules(self) -> set[int]:
        told = (labels.get("rule_version", "") for labels, _ in self._over(rules(self._stretch.target)).series)
        return {int(one) for one in told if one.isascii() and one.isdecimal()}

    def _roster(self, scope: Scope) -> Roster:
        roster = Roster(is_fleet=scope.is_fleet)
        told = {name: self._over(expression).series for name, expression in descriptions(scope).items()}
        kinds: tuple[Kind, ...] = ("gpu", "engine")
        for kind in kinds:
            facts: dict[str, dict[str, float]] = {}
            for labels, points in told[f"{kind}:facts"]:
                if points:
                    facts.setdefault(entity_of(kind, labels, scope), {})[labels.get(FIGURE, "")] = points[-1][1]
            infos = [(labels, points) for labels, points in told[f"{kind}:info"] if points]
            for labels, points in sorted(infos, key=lambda one: one[1][-1][0]):  # what is told last holds
                entity = entity_of(kind, labels, scope)
                many = round(max(value for _, value in points)) if scope.is_fleet else 1
                if kind == "gpu":
                    roster.learn_gpu(entity, {**labels, **facts.get(entity, {})})
                    roster.gpus[entity].count = many
                else:
                    roster.learn_engine(entity, {**labels, **facts.get(entity, {})})
                    roster.engines[entity].count = many
        return roster

    # The numbers of the steps.

    def _chunk(self, nodes: int, scope: Scope) -> int:
        return max(1, min(_CHUNK, _NODE_STEPS // 4 // nodes)) if scope.is_fleet else _CHUNK

    def _numbers(self, pool: ThreadPoolExecutor, scope: Scope, span: range, behind: float) -> Mapping[int, Numbers]:
        """Everything of some steps, by their number."""
        found: dict[int, Numbers] = {at: {} for at in span}

        def ask(question: Question) -> tuple[float, Matrix]:
            # Counters of settled time are complete so much later; others as soon as they are scraped.
            first = self._stretch.start + scope.step + (behind if question.is_settled else scope.scrape / 2)
            return first, self._asked(
                question.expression, first + span[0] * scope.step, first + span[-1] * scope.step, scope.step
            )

        for first, answer in pool.map(ask, questions(scope)):
            sort_in(found, answer.series, scope, first)
        return found

    def _asked(self, expression: str, start: float, end: float, step: float) -> Matrix:
        """Asks for half as much at once where that was too much for the server. Raises PromProblem."""
        try:
            return self._asked_at_once(expression, start, end, step)
        except PromProblem as problem:
            half = round((end - start) / step) // 2
            if problem.kind not in _TOO_MUCH or end - start < step / 2:
                raise
        first = self._asked(expression, start, start + half * step, step)
        rest = self._asked(expression, start + (half + 1) * step, end, step)
        return Matrix(first.series + rest.series)

    def _asked_at_once(self, expression: str, start: float, end: float, step: float) -> Matrix:
        """Asks again where the server wants to be left alone for a while. Raises PromProblem."""
        for left in reversed(range(_TRIES)):
            try:
                answer = self._client.query_range(expression, start, max(start, end), step, lookback=self._lookback)
            except PromProblem as problem:
                if problem.kind != "busy" or not left:
                    raise
                self._pause(max(1.0, problem.wait))
            else:
                self._warnings.update(dict.fromkeys(answer.warnings))
                return answer
        raise AssertionError("the last try returns or raises")

    def _notes(self, read: Read, scope: Scope, count: int) -> Iterable[str]:
        of = (read.end - read.start) / 1e9 * max(1, len(read.nodes))
        counted = sum(block.sums.get(("machine-seconds",), block.sums["seconds",]) for block in read.blocks)
        yield (
            f"From a Prometheus: {count} steps of {duration(scope.step)}, scraped every {duration(scope.scrape)};"
            f" {percent(min(1.0, counted / of))} of the{' node' * bool(read.nodes)} time was counted."
        )
        told = ", ".join(why.partition(" are not ")[0].partition(" is not ")[0] for why in ABSENT.values())
        yield f"Not exported, and so missing here: {told}."
        if scope.is_fleet:
            yield "GPUs are told by product, engines by model and role; --node tells one node by itself."
        for warning in self._warnings:
            yield f"The server warns: {warning}."


def steps_of(length: float, scrape: float, nodes: int) -> tuple[float, int]:
    """The length of a step in seconds, and how many there are in so many seconds."""
    if length < 1.0:
        return 1.0, 0
    most = max(_LEAST_BLOCKS, min(_BLOCKS, _NODE_STEPS // max(1, nodes)))
    count = min(most, max(1, int(length / max(_MINUTE, _SAMPLES_A_STEP * scrape))))
    return floor(length / count * 1000) / 1000, count


def _unknown(name: str, names: Iterable[str]) -> str:
    known = sorted(names, key=natural)
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return f"there was no node {name!r} in that time; there were {', '.join(known[:10])}{more}"
