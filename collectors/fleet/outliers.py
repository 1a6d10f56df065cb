"""Nodes that differ from their peers, by the median and the median deviation, and the sentences about them.

Peers serve the same model in the same role on the same GPUs. A node stands out when it is further from
their median than `_DEVIATIONS` robust standard deviations (1.4826 times the median absolute deviation,
which is the standard deviation of normally distributed figures) *and* further than a difference that
matters at all: peers that agree to the digit would make anything an outlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from collectors.fleet.model import USUAL_QUANTILE, Node
from collectors.fleet.totals import replicas
from collectors.median import median

_DEVIATIONS = 5.0
_ROBUST = 1.4826
_FEWEST_PEERS = 4
_UNEVEN = 2.0
"""The busiest replica has so many times the requests of the median one."""
_FEWEST_REQUESTS = 8.0
_NAMED = 3

Weight = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about a node (about several: the first of them), and how much it matters."""

    node: str
    text: str
    weight: Weight = "warning"
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class _Measure:
    """`least` is the smallest difference that matters, in the figure's unit, or relative to the median."""

    name: str
    value: Callable[[Node], float | None]
    least: float
    shown: Callable[[float], str]
    relative: bool = False
    bad: Literal["high", "low", "both"] = "both"
    is_latency: bool = False


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


_MEASURES = (
    _Measure("SM clock of its highest", lambda node: node.clock, 0.05, _percent, bad="low"),
    _Measure("TPOT", lambda node: node.tpot, 0.25, _milliseconds, relative=True, bad="high", is_latency=True),
    _Measure("host-bound time", lambda node: node.host_bound, 0.15, _percent, bad="high"),
    _Measure("prefill share", lambda node: node.prefill_share, 0.15, _percent),
    _Measure("busy time", lambda node: node.busy, 0.25, _percent),
)


def findings(nodes: Sequence[Node], quantile: float = USUAL_QUANTILE) -> tuple[Finding, ...]:
    """All that stands out, the worst first. `quantile` is that of the nodes' latencies."""
    found = [*_unwell(nodes), *_uneven(nodes)]
    for peers in _peers(nodes).values():
        for measure in _MEASURES:
            name = f"{measure.name} p{quantile * 100:.0f}" if measure.is_latency else measure.name
            found += _apart(peers, measure, name)
    return tuple(sorted(found, key=lambda one: (one.weight != "critical", -one.score)))


def _unwell(nodes: Iterable[Node]) -> list[Finding]:
    by_health: dict[str, list[Node]] = {}
    for node in nodes:
        if node.health != "ok":
            by_health.setdefault(node.health, []).append(node)
    found = []
    for health, one, several in (
        ("down", "is not scraped", "are not scraped"),
        ("gone", "is no target any more", "are no targets any more"),
        ("stale", "measures nothing", "measure nothing"),
    ):
        unwell = by_health.get(health, [])
        if unwell:
            text = f"{named(unwell)} {several if len(unwell) > 1 else one}"
            weight: Weight = "critical" if health == "down" else "warning"
            found.append(Finding(unwell[0].name, text, weight, 1000.0 + len(unwell)))
    for node in by_health.get("degraded", []):
        parts = []
        if node.gpus_lost:
            parts.append(f"{node.gpus_lost} of {node.gpus} GPUs lost")
        if node.engines_down:
            parts.append(f"{node.engines_down} engine{'s' if node.engines_down > 1 else ''} out of reach")
        found.append(Finding(node.name, f"{node.name}: {', '.join(parts)}", "critical", 900.0 + node.gpus_lost))
    return found


def named(nodes: Sequence[Node]) -> str:
    """ "a", "a and b", "a, b, c and 12 more"."""
    names = [node.name for node in nodes[:_NAMED]]
    if len(nodes) > _NAMED:
        return f"{', '.join(names)} and {len(nodes) - _NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _peers(nodes: Iterable[Node]) -> dict[tuple[str, str, tuple[str, ...]], list[Node]]:
    found: dict[tuple[str, str, tuple[str, ...]], list[Node]] = {}
    for node in nodes:
        if node.is_there and node.models:
            found.setdefault((node.model, node.role, node.gpu_names), []).append(node)
    return found


def _apart(peers: Sequence[Node], measure: _Measure, name: str) -> list[Finding]:
    known = [(node, value) for node in peers if (value := measure.value(node)) is not None]
    if len(known) <= _FEWEST_PEERS:
        return []
    middle = median(value for _, value in known)
    spread = _ROBUST * median(abs(value - middle) for _, value in known)
    least = measure.least * abs(middle) if measure.relative else measure.least
    limit = max(_DEVIATIONS * spread, least)
    found = []
    for node, value in known:
        difference = value - middle
        if (measure.bad == "low" and difference > 0) or (measure.bad == "high" and difference < 0):
            continue
        if abs(difference) > limit > 0:
            text = (
                f"{node.name}: {name} {measure.shown(value)}, "
                f"its {len(known) - 1} peers {measure.shown(middle)} (median)"
            )  # fmt: skip
            found.append(Finding(node.name, text, "warning", abs(difference) / limit))
    return found


def _uneven(nodes: Iterable[Node]) -> list[Finding]:
    """Replicas of a model of which one has many times the requests of the others."""
    found = []
    for (model, _), group in replicas(nodes).items():
        loads = [(node, (node.running or 0.0) + (node.waiting or 0.0)) for node in group if node.running is not None]
        if len(loads) < 2:
            continue
        middle = median(load for _, load in loads)
        node, most = max(loads, key=lambda pair: pair[1])
        if most >= _FEWEST_REQUESTS and most > _UNEVEN * max(middle, 1.0):
            text = f"{model}: {node.name} has {most:.0f} requests, its {len(loads)} replicas {middle:.0f} (median)"
            found.append(Finding(node.name, text, "warning", most / (_UNEVEN * max(middle, 1.0))))
    return found
