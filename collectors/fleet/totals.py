"""What all nodes, or those of a group, come to: time, power, tokens, money, and what could be spared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.analysis.sums import ratio, total
from collectors.fleet.model import Node
from collectors.model import PHASES

BUSY_AT_MOST = 0.8
"""Busy share up to which a group may be filled when GPUs are taken from it: above, requests begin to queue."""
KV_AT_MOST = 0.9
_ROLES = ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over some nodes. `gpu_seconds` are GPU-seconds a second by phase, so GPUs.

    `cost_per_million` is for generated tokens, which bear all of it, in the currency of the price.
    `spare_gpus` are those that `spare` would do without; None where nothing tells.
    """

    nodes: int = 0
    there: int = 0
    gpus: int = 0
    gpu_seconds: Mapping[str, float] = field(default_factory=dict)
    watts: float | None = None
    prompt_rate: float | None = None
    generated_rate: float | None = None
    running: float | None = None
    waiting: float | None = None
    generated_per_joule: float | None = None
    cost_per_million: float | None = None
    spare_gpus: int | None = None

    def share(self, phase: str) -> float | None:
        """Of the GPU time that is known."""
        return ratio(self.gpu_seconds.get(phase, 0.0), sum(self.gpu_seconds.values()))


def totals_of(nodes: Iterable[Node], gpu_hour_price: float | None = None) -> Totals:
    everyone = list(nodes)
    there = [node for node in everyone if node.is_there]
    seconds = dict.fromkeys(PHASES, 0.0)
    for node in there:
        if node.phases is not None and node.gpus:
            for phase, share in zip(PHASES, node.phases, strict=True):
                seconds[phase] += share * (node.gpus - node.gpus_lost)
    watts = total(node.watts for node in there)
    generated = total(node.generated_rate for node in there)
    gpus = sum(node.gpus or 0 for node in there)
    cost = None
    if gpu_hour_price is not None and generated and gpus:
        cost = gpu_hour_price * gpus / 3600 / generated * 1e6
    return Totals(
        nodes=len(everyone), there=len(there), gpus=gpus, gpu_seconds=seconds if any(seconds.values()) else {},
        watts=watts, prompt_rate=total(node.prompt_rate for node in there), generated_rate=generated,
        running=total(node.running for node in there), waiting=total(node.waiting for node in there),
        generated_per_joule=ratio(generated, watts), cost_per_million=cost, spare_gpus=spare(there),
    )  # fmt: skip


def replicas(nodes: Iterable[Node]) -> dict[tuple[str, str], list[Node]]:
    """Nodes that serve the same model in the same role, by (model, role); nodes without a model are in none."""
    found: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        if node.is_there and node.models:
            found.setdefault((node.model, node.role), []).append(node)
    return found


def spare(nodes: Iterable[Node]) -> int | None:
    """GPUs that could be taken away, whole nodes at a time, with what is left no busier than BUSY_AT_MOST.

    Per model and role: as many nodes must stay as the busy GPU time, waiting time included, and the KV
    cache in use need, and one at least. A group in which requests wait spares nothing. None when the
    load of no node is known.
    """
    spared, is_known = 0, False
    for group in replicas(nodes).values():
        measured = [node for node in group if node.phases is not None and node.gpus]
        if not measured:
            continue
        is_known = True
        if any((node.waiting or 0) >= 1 for node in measured):
            continue
        loads = [sum(node.phases[i] for i in (0, 1, 3, 4)) for node in measured if node.phases is not None]
        caches = [node.kv_cache or 0.0 for node in measured]
        needed = max(1, math.ceil(sum(loads) / BUSY_AT_MOST - 1e-9), math.ceil(sum(caches) / KV_AT_MOST - 1e-9))
        smallest = sorted(node.gpus or 0 for node in measured)
        spared += sum(smallest[: max(0, len(measured) - needed)])
    return spared if is_known else None


@dataclass(frozen=True, slots=True)
class Balance:
    """A disaggregated deployment of a model: GPUs on each side, and as many as would be equally busy on both."""

    model: str
    prefill_gpus: int
    decode_gpus: int
    prefill_busy: float
    decode_busy: float
    best_prefill_gpus: int

    @property
    def best_decode_gpus(self) -> int:
        return self.prefill_gpus + self.decode_gpus - self.best_prefill_gpus

    @property
    def is_good(self) -> bool:
        """Whether another division would move less than a tenth of the GPUs."""
        moved = abs(self.best_prefill_gpus - self.prefill_gpus)
        return moved <= max(1, 0.1 * (self.prefill_gpus + self.decode_gpus))


def balances(nodes: Sequence[Node]) -> tuple[Balance, ...]:
    """Of each model that has nodes for prefill alone and nodes for decode alone."""
    by_model: dict[str, dict[str, list[Node]]] = {}
    for (model, role), group in replicas(nodes).items():
        if role in _ROLES:
            by_model.setdefault(model, {})[role] = [node for node in group if node.phases is not None and node.gpus]
    found = []
    for model, sides in sorted(by_model.items()):
        prefill, decode = (_side(sides.get(role, ())) for role in _ROLES)
        if prefill[0] and decode[0] and prefill[1] + decode[1] > 0.05 * (prefill[0] + decode[0]):
            gpus = prefill[0] + decode[0]
            best = min(gpus - 1, max(1, round(gpus * prefill[1] / (prefill[1] + decode[1]))))
            found.append(
                Balance(model, prefill[0], decode[0], prefill[1] / prefill[0], decode[1] / decode[0], best)
            )  # fmt: skip
    return tuple(found)


def _side(nodes: Iterable[Node]) -> tuple[int, float]:
    """(GPUs, of which busy)."""
    gpus, busy = 0, 0.0
    for node in nodes:
        gpus += node.gpus or 0
        busy += (node.busy or 0.0) * (node.gpus or 0)
    return gpus, busy


def combined(name: str, nodes: Sequence[Node]) -> Node:
    """A group as one row: sums of what adds up, means of shares by GPUs, the worst of latencies and caches."""
    there = [node for node in nodes if node.is_there]

    def mean(value: Callable[[Node], float | None]) -> float | None:
        known = [(one, node.gpus or 1) for node in there if (one := value(node)) is not None]
        weight = sum(gpus for _, gpus in known)
        return sum(one * gpus for one, gpus in known) / weight if weight else None

    def worst(value: Callable[[Node], float | None]) -> float | None:
        return max((one for node in there if (one := value(node)) is not None), default=None)

    shares = [mean(lambda node, i=i: None if node.phases is None else node.phases[i]) for i in range(len(PHASES))]  # type: ignore[misc]
    bottlenecks: dict[str, float] = {}
    for node in there:
        for what, share in node.bottlenecks.items():
            bottlenecks[what] = bottlenecks.get(what, 0.0) + share / len(there)
    sums = totals_of(nodes)
    return Node(
        name=name, health="ok" if len(there) == len(nodes) else "degraded",
        phases=tuple(one or 0.0 for one in shares) if shares[0] is not None else None,  # type: ignore[arg-type]
        bottlenecks=bottlenecks, gpus=sums.gpus or None, gpus_lost=sum(node.gpus_lost for node in nodes),
        sm=mean(lambda node: node.sm), dram=mean(lambda node: node.dram),
        watts=sums.watts, clock=mean(lambda node: node.clock),
        prompt_rate=sums.prompt_rate, generated_rate=sums.generated_rate, running=sums.running, waiting=sums.waiting,
        kv_cache=worst(lambda node: node.kv_cache), ttft=worst(lambda node: node.ttft),
        tpot=worst(lambda node: node.tpot), models=tuple(sorted({one for node in nodes for one in node.models})),
        roles=tuple(sorted({one for node in nodes for one in node.roles})),
    )  # fmt: skip
