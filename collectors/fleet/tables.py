"""From answers to nodes: numbers by figure and node, and the snapshot made of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from collectors.fleet.model import Node, Shares, health_of
from collectors.fleet.queries import FIGURE, Target
from collectors.model import PHASES
from collectors.promql import Labels, Vector

Numbers = dict[str, dict[str, dict[str, float]]]
"""Figure -> value of its own label ("" where it has none) -> node -> number."""

KNOWN_FOR = 900.0
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
    gpu_count: int | None = None
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
    for labels, value in told:
        one = found.setdefault(sys.intern(node_name(labels, target)), Identity())
        figure = labels.get(FIGURE)
        if figure == "gpus":
            one.gpu_count = round(value)
        elif figure == "gpu":
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
    gone = {name for name, seen in last_seen.items() if name not in names and at - seen < KNOWN_FOR}
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


_SINGLE = ("up", "settled_age", "sm", "dram", "watts", "clock", "running", "waiting", "kv_cache", "ttft", "tpot")


class _Reader:
    """A thousand nodes are read at every look: what is the same for all of them is looked up once."""

    def __init__(self, numbers: Numbers, known: Mapping[str, Identity]) -> None:
        self._known = known
        self._one = {figure: numbers.get(figure, {}).get("", {}) for figure in _SINGLE}
        tokens = numbers.get("tokens", {})
        self._prompt, self._generated = tokens.get("prefill", {}), tokens.get("decode", {})
        self._lost = numbers.get("gpus", {}).get("lost", {})
        self._engines_down = numbers.get("engines_down", {}).get("down", {})
        self._bottlenecks = numbers.get("bottleneck", {})
        self._phases = [
            [numbers.get(figure, {}).get(phase, {}) for phase in PHASES] for figure in ("gpu_phase", "host_phase")
        ]

    def node(self, name: str) -> Node:
        known, one = self._known.get(name) or Identity(), self._one
        lost, down = round(self._lost.get(name, 0)), round(self._engines_down.get(name, 0))
        age = one["settled_age"].get(name)
        health = health_of(one["up"].get(name), age, lost, down)
        if health == "down":
            return Node(name=name, health=health, labels=known.labels, models=known.models, roles=known.roles,
                        gpu_names=known.gpus, engine_names=known.engines)  # fmt: skip
        return Node(
            name=name, health=health, labels=known.labels, settled_age=age, phases=self._shares(name),
            bottlenecks={what: by_node[name] for what, by_node in self._bottlenecks.items() if name in by_node},
            gpus=known.gpu_count, gpus_lost=lost, engines_down=down,
            sm=one["sm"].get(name), dram=one["dram"].get(name), watts=one["watts"].get(name),
            clock=one["clock"].get(name), prompt_rate=self._prompt.get(name), generated_rate=self._generated.get(name),
            running=one["running"].get(name), waiting=one["waiting"].get(name), kv_cache=one["kv_cache"].get(name),
            ttft=one["ttft"].get(name), tpot=one["tpot"].get(name),
            models=known.models, roles=known.roles, engine_names=known.engines, gpu_names=known.gpus,
        )  # fmt: skip

    def _shares(self, name: str) -> Shares | None:
        """Of its GPUs, else of the machine; shares too small to be sent are 0, and all add up to 1."""
        for figure in self._phases:
            prefill, decode, idle, waiting, unknown = (by_node.get(name, 0.0) for by_node in figure)
            total = prefill + decode + idle + waiting + unknown
            if total > 0:
                return (prefill / total, decode / total, idle / total, waiting / total, unknown / total)
        return None
