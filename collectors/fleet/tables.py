"""From answers to nodes: numbers by figure and node, and the snapshot made of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from collectors.fleet.model import PHASES, Node, Shares, health_of
from collectors.fleet.queries import FIGURE, Target
from collectors.promql import Labels, Vector

Numbers = dict[str, dict[str, dict[str, float]]]
"""Figure -> value of its own label ("" where it has none) -> node -> number."""

_KNOWN_FOR = 900.0
"""Seconds for which a node that is no target any more keeps its row."""
_MOST_LABELS = 24
_USUAL_PORT = ":19417"


def node_name(labels: Labels, target: Target) -> str:
    """How a node is called: its labels' values in the order of `target.node`, without the port all exporters have."""
    return "/".join(labels.get(one, "").removesuffix(_USUAL_PORT) for one in target.node)


def numbers_of(vector: Vector, target: Target) -> Numbers:
    """An answer of one of `queries.groups`, by figure."""
    found: Numbers = {}
    names: dict[str, str] = {}
    only = target.node[0] if len(target.node) == 1 else None
    for labels, value in vector.samples:
        extra = labels.get("phase") or labels.get("bottleneck") or labels.get("state") or ""
        if only is None:
            name = node_name(labels, target)
        else:
            called = labels.get(only, "")
            name = names.get(called) or names.setdefault(called, sys.intern(node_name(labels, target)))
        found.setdefault(labels.get(FIGURE, ""), {}).setdefault(extra, {})[name] = value
    return found


@dataclass(slots=True)
class Identity:
    """What changes seldom of a node."""

    key: tuple[str, ...] = ()
    """The values of the labels that name it."""
    models: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def identities(told: Iterable[tuple[Labels, float]], targets: Iterable[tuple[Labels, float]], target: Target) -> dict[
    str, Identity
]:  # fmt: skip
    """From the answers to `queries.identity` and `queries.target_labels`."""
    found: dict[str, Identity] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def with_one(known: tuple[str, ...], value: str | None) -> tuple[str, ...]:
        if not value or value in known:
            return known
        more = tuple(sorted((*known, sys.intern(value))))
        return shared.setdefault(more, more)  # a thousand nodes serve a handful of models

    for labels, _ in targets:
        one = found.setdefault(sys.intern(node_name(labels, target)), Identity())
        one.key = tuple(labels.get(name, "") for name in target.node)
        names = [name for name in labels if name not in ("__name__", "job", *target.node)][:_MOST_LABELS]
        one.labels = {sys.intern(name): sys.intern(labels[name]) for name in names}
    for labels, _ in told:
        one = found.setdefault(sys.intern(node_name(labels, target)), Identity())
        if labels.get(FIGURE) == "gpu":
            one.gpus = with_one(one.gpus, labels.get("name"))
        else:
            one.models = with_one(one.models, labels.get("model"))
            one.roles = with_one(one.roles, labels.get("role"))
            one.engines = with_one(one.engines, labels.get("engine"))
    return found


def nodes_of(
    numbers: Numbers, known: Mapping[str, Identity], last_seen: Mapping[str, float], at: float
) -> tuple[Node, ...]:
    """All nodes that are targets now, and those that were a short time ago (`last_seen`, seconds), by name.

    A node that is down or gone has no figures: rates over some minutes would still show its past as
    if it were now.
    """
    names = set(numbers.get("up", {}).get("", {}))
    gone = {name for name, seen in last_seen.items() if name not in names and at - seen < _KNOWN_FOR}
    reader = _Reader(numbers, known)
    nodes = [reader.node(name) for name in names]
    nodes += [Node(name=name, health="gone", labels=known.get(name, Identity()).labels) for name in gone]
    return tuple(sorted(nodes, key=lambda node: natural(node.name)))


@lru_cache(maxsize=8192)
def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """For sorting: "node-9" before "node-10"."""
    parts: list[tuple[int, int | str]] = []
    digits = letters = ""
    for c in name:
        if c.isascii() and c.isdigit():
            if letters:
                parts.append((1, letters))
                letters = ""
            digits += c
        else:
            if digits:
                parts.append((0, int(digits)))
                digits = ""
            letters += c
    if digits:
        parts.append((0, int(digits)))
    if letters:
        parts.append((1, letters))
    return tuple(parts)


class _Reader:
    def __init__(self, numbers: Numbers, known: Mapping[str, Identity]) -> None:
        self._numbers = numbers
        self._known = known

    def one(self, figure: str, name: str, extra: str = "") -> float | None:
        return self._numbers.get(figure, {}).get(extra, {}).get(name)

    def by_extra(self, figure: str, name: str) -> dict[str, float]:
        found = self._numbers.get(figure, {})
        return {extra: by_node[name] for extra, by_node in found.items() if name in by_node}

    def node(self, name: str) -> Node:
        known = self._known.get(name) or Identity()
        gpus = self.by_extra("gpus", name)
        lost, down = round(gpus.get("lost", 0)), round(self.one("engines_down", name, "down") or 0)
        age = self.one("settled_age", name)
        health = health_of(self.one("up", name), age, lost, down)
        if health == "down":
            return Node(name=name, health=health, labels=known.labels, models=known.models, roles=known.roles,
                        gpu_names=known.gpus, engine_names=known.engines)  # fmt: skip
        return Node(
            name=name, health=health, labels=known.labels, settled_age=age, phases=self._phases(name),
            bottlenecks=self.by_extra("bottleneck", name),
            gpus=round(sum(gpus.values())) if gpus else None, gpus_lost=lost,
            engines_down=down, sm=self.one("sm", name), dram=self.one("dram", name),
            watts=self.one("watts", name), clock=self.one("clock", name),
            prompt_rate=self.one("tokens", name, "prefill"), generated_rate=self.one("tokens", name, "decode"),
            running=self.one("running", name), waiting=self.one("waiting", name), kv_cache=self.one("kv_cache", name),
            ttft=self.one("ttft", name), tpot=self.one("tpot", name),
            models=known.models, roles=known.roles, engine_names=known.engines, gpu_names=known.gpus,
        )  # fmt: skip

    def _phases(self, name: str) -> Shares | None:
        """Of its GPUs, else of the machine; shares too small to be sent are 0, and all add up to 1."""
        found = self.by_extra("phase", name)
        total = sum(found.get(phase, 0.0) for phase in PHASES)
        if total <= 0:
            return None
        shares = [found.get(phase, 0.0) / total for phase in PHASES]
        return (shares[0], shares[1], shares[2], shares[3], shares[4])
