"""Answers of a Prometheus as the blocks of sums that every figure of a report is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from collectors.analysis.blocks import Block
from collectors.analysis.exported_queries import Kind, Scope
from collectors.analysis.moments import Moments
from collectors.analysis.queries import ENGINE_AMOUNTS, ENGINE_GAUGES, GPU_GAUGES, LATENCIES
from collectors.analysis.read import NodeSums
from collectors.analysis.roster import Roster
from collectors.analysis.sums import merged, plus
from collectors.fleet.queries import FIGURE
from collectors.fleet.tables import node_name
from collectors.model import BOTTLENECK_NAMES, HOST, PHASES, engine_entity, gpu_entity
from collectors.promql import Labels

OWNER_FROM = 0.9
"""Share of an engine's step that one bottleneck must have been named for to own what was observed in it."""
SEVERAL = "several"
"""Who owns what was observed in other steps."""

Numbers = dict[str, dict[str, dict[str, float]]]
"""Of one step: figure -> entity -> value of its own label ("" where it has none) -> number."""


def entity_of(kind: Kind, labels: Labels, scope: Scope) -> str:
    """An entity as recordings name it; of a fleet, a name for all of its kind."""
    if kind == "host":
        return node_name(labels, scope.target)
    if scope.is_fleet:
        told = " ".join(labels.get(name, "") for name in scope.labels(kind)).strip()
        return f"{kind}/{told}"
    if kind == "gpu":
        return gpu_entity(labels.get("uuid", ""))
    return engine_entity((labels.get("endpoint", ""), labels.get("engine_index", "")))


def kind_of(figure: str) -> Kind:
    """Of whom a figure is."""
    scope, _, _ = figure.partition(":")
    if scope in ("host", "node"):
        return "host"
    return "gpu" if scope == "gpu" or scope in GPU_GAUGES else "engine"


def sort_in(
    steps: Mapping[int, Numbers], series: Iterable[tuple[Labels, tuple[tuple[float, float], ...]]], scope: Scope,
    first: float,
) -> None:  # fmt: skip
    """Puts the numbers of an answer where they belong; `first` is the moment of step 0's end."""
    for labels, points in series:
        figure = labels.get(FIGURE, "")
        entity = entity_of(kind_of(figure), labels, scope)
        part = next((labels[name] for name in ("phase", "bottleneck", "le") if name in labels), "")
        for moment, value in points:
            numbers = steps.get(round((moment - first) / scope.step))
            if numbers is not None:
                numbers.setdefault(figure, {}).setdefault(entity, {})[part] = value


@dataclass(slots=True)
class Filler:
    """Makes blocks of steps, in order of time; remembers the nodes and how often each counted."""

    roster: Roster
    scope: Scope
    nodes: dict[str, NodeSums] = field(default_factory=dict)
    _held: dict[str, dict[str, float]] = field(default_factory=dict)

    def block(self, start: int, end: int, numbers: Numbers) -> Block | None:
        """The sums of one step from `start` to `end` (wall-clock ns); None where nothing was counted in it."""
        block = Block(start, end)
        seconds = self._machine(block, numbers)
        if seconds <= 0:
            return None
        length = (end - start) / 1e9
        block.add(("seconds",), min(seconds, length) if self.scope.is_fleet else seconds)
        if self.scope.is_fleet:
            block.add(("machine-seconds",), seconds)
        block.add(("intervals",), 1.0)
        block.add(("detail",), seconds)
        self._gpus(block, numbers)
        for entity in {*numbers.get("engine:phase", {}), *numbers.get("generation_tokens", {})}:
            if entity not in self.roster.engines or self.roster.engines[entity].role != "router":
                self._engine(block, entity, numbers)
        return block

    def nodes_told(self) -> tuple[NodeSums, ...]:
        """The nodes, each with the bottleneck named for most of its time."""
        found = []
        for name, node in self.nodes.items():
            held = self._held.get(name, {})
            most = max(held, key=lambda one: held[one], default=None)
            found.append(
                NodeSums(node.name, node.seconds, node.phases, most, node.computed, node.generated, node.joules)
            )
        return tuple(found)

    def _machine(self, block: Block, numbers: Numbers) -> float:
        """The nodes' phases and bottlenecks; their seconds together."""
        whole = 0.0
        tokens, joules = numbers.get("node:tokens", {}), numbers.get("node:joules", {})
        for name, told in numbers.get("host:phase", {}).items():
            phases = {phase: told.get(phase, 0.0) for phase in PHASES}
            seconds = sum(phases.values())
            whole += seconds
            for phase, value in phases.items():
                block.add(("phase", HOST, phase), value)
            known = self.nodes.get(name, NodeSums(name, 0.0, {}))
            mine = tokens.get(name, {})
            self.nodes[name] = NodeSums(
                name, known.seconds + seconds, merged(known.phases, phases), None,
                plus(known.computed, mine.get("prefill")), plus(known.generated, mine.get("decode")),
                plus(known.joules, joules.get(name, {}).get("")),
            )  # fmt: skip
        for name, told in numbers.get("host:bottleneck", {}).items():
            held = self._held.setdefault(name, {})
            for bottleneck, value in _named(told):
                block.add(("bottleneck", bottleneck), value)
                held[bottleneck] = held.get(bottleneck, 0.0) + value
        return whole

    def _gpus(self, block: Block, numbers: Numbers) -> None:
        spent = dict.fromkeys(PHASES, 0.0)
        energy: float | None = None
        for entity, told in numbers.get("gpu:phase", {}).items():
            if entity in self.roster.gpus and self.roster.is_divided(entity):
                continue
            for phase in PHASES:
                block.add(("phase", entity, phase), told.get(phase, 0.0))
                spent[phase] += told.get(phase, 0.0)
            block.add(("gpu", entity, "seconds"), sum(told.get(phase, 0.0) for phase in PHASES))
            joules = numbers.get("gpu:joules", {}).get(entity)
            if joules is not None:
                for phase in PHASES:
                    block.add(("joules", entity, phase), joules.get(phase, 0.0))
                energy = plus(energy, sum(value for phase, value in joules.items() if phase != "unknown"))
        self._gauges(block, "gpu", GPU_GAUGES, numbers)
        whole = sum(spent.values())
        if whole <= 0:
            return
        # As seconds of the machine: what the GPUs do together, over the time of one.
        p, d, rest = (part / whole * block.sums["seconds",] for part in
                      (spent["prefill"], spent["decode"], spent["idle"] + spent["waiting"]))  # fmt: skip
        moments = Moments()
        moments.power(p, d, rest, energy)
        for resource, gauge in (("compute", "tensor_active_ratio"), ("memory-bandwidth", "dram_active_ratio")):
            mean = self._mean(block, gauge, numbers)
            moments.use(resource, p, d, None if mean is None else mean * block.sums["seconds",])
        moments.add_to(block)

    def _mean(self, block: Block, gauge: str, numbers: Numbers) -> float | None:
        """Of all GPUs."""
        names = numbers.get(f"{gauge}:sum", {})
        weight = sum(block.sums.get(("gpu", one, f"{gauge}:seconds"), 0.0) for one in names)
        return sum(block.sums.get(("gpu", one, gauge), 0.0) for one in names) / weight if weight else None

    def _gauges(self, block: Block, kind: Kind, names: Iterable[str], numbers: Numbers) -> None:
        for name in names:
            counts = numbers.get(f"{name}:count", {})
            for entity, told in numbers.get(f"{name}:sum", {}).items():
                if kind == "gpu" and entity in self.roster.gpus and self.roster.is_divided(entity):
                    continue
                weight = counts.get(entity, {}).get("", 0.0) * self.scope.scrape
                block.add((kind, entity, name), told.get("", 0.0) * self.scope.scrape)
                block.add((kind, entity, f"{name}:seconds"), weight)

    def _engine(self, block: Block, entity: str, numbers: Numbers) -> None:
        def one(figure: str) -> float | None:
            return numbers.get(figure, {}).get(entity, {}).get("")

        phases = numbers.get("engine:phase", {}).get(entity, {})
        p, d = phases.get("prefill", 0.0), phases.get("decode", 0.0)
        if phases:
            for phase in PHASES:
                block.add(("phase", entity, phase), phases.get(phase, 0.0))
            block.add(("engine", entity, "seconds"), sum(phases.get(phase, 0.0) for phase in PHASES))
            block.add(("engine", entity, "busy-prefill"), p)
            block.add(("engine", entity, "busy-decode"), d)
        amounts = {name: one(name) for name in ENGINE_AMOUNTS}
        for name, value in amounts.items():
            block.add(("engine", entity, name), value)
        for key, figure in (("kv-full-seconds", "kv:full"), ("waiting-seconds", "waiting:any")):
            value = one(figure)
            block.add(("engine", entity, key), None if value is None else value * self.scope.scrape)
        block.top(("kv", entity), one("kv:most"))
        block.top(("waiting", entity), one("waiting:most"))
        self._one_engines_gauges(block, entity, numbers)
        running, count = one("requests_running:sum"), one("requests_running:count")
        amounts["requests_running"] = running / count if running is not None and count else None
        moments = Moments()
        moments.engine(entity, p, d, amounts)
        owner = _owner(numbers.get("engine:bottleneck", {}).get(entity, {}))
        for name in LATENCIES:
            observed = self._latency(block, entity, name, owner, numbers)
            if name == "tpot" and observed and phases:
                moments.delay(entity, p, *observed, amounts)
        moments.add_to(block)

    def _one_engines_gauges(self, block: Block, entity: str, numbers: Numbers) -> None:
        mine = {figure: {entity: told[entity]} for figure, told in numbers.items() if entity in told}
        self._gauges(block, "engine", ENGINE_GAUGES, mine)

    def _latency(
        self, block: Block, entity: str, name: str, owner: str, numbers: Numbers
    ) -> tuple[float, float] | None:
        """Observations by bucket; how many there were and their seconds together."""
        reached = numbers.get(f"{name}:bucket", {}).get(entity, {})
        seconds = numbers.get(f"{name}:sum", {}).get(entity, {}).get("")
        if not reached or seconds is None:
            return None
        lower = below = 0.0
        for upper, value in sorted((_bound(le), value) for le, value in reached.items()):
            if value > below:
                block.add(("latency", entity, name, owner, lower, upper), value - below)
            lower, below = upper, max(below, value)
        block.add(("latency-sum", entity, name), seconds)
        return below, seconds


def _named(told: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Seconds by bottleneck: those there were, under names of ours."""
    return ((name, value) for name, value in told.items() if value > 0 and name in BOTTLENECK_NAMES)


def _owner(told: Mapping[str, float]) -> str:
    named = dict(_named(told))
    most = max(named, key=lambda one: named[one], default="unknown")
    return most if named.get(most, 0.0) >= OWNER_FROM * sum(named.values()) else SEVERAL


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
