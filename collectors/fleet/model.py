"""The vocabulary of the fleet: nodes, and one look at all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Health = Literal["ok", "degraded", "stale", "down", "gone"]
"""degraded: a GPU is lost or an engine is out of reach; stale: the page is served and its counters stand still;
down: not scraped; gone: not among the targets any more."""

STALE_SECONDS = 120.0
"""A settled interval older than this, with the page still served, means that nothing is measured."""

QUANTILES = (0.5, 0.95, 0.99)
"""Of latencies: those that the recording rules hold."""
USUAL_QUANTILE = 0.95

Shares = tuple[float, float, float, float, float]
"""Parts of the time in the order of PHASES; they add up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node's figures. What is not known is None; a node that is down has none but its name and labels.

    `phases` are shares of its GPUs' time, of the machine's where no GPU is read. Rates are per
    second; `ttft` and `tpot` are in seconds, of the quantile that the snapshot tells; `clock` is the
    mean SM clock as a share of the highest; `bottlenecks` are shares of time; `settled_age` is how many
    seconds ago the last interval settled. `kv_cache` is the fullest of its engines.
    """

    name: str
    health: Health = "ok"
    labels: Mapping[str, str] = field(default_factory=dict)
    settled_age: float | None = None
    phases: Shares | None = None
    bottlenecks: Mapping[str, float] = field(default_factory=dict)
    gpus: int | None = None
    gpus_lost: int = 0
    engines_down: int = 0
    sm: float | None = None
    dram: float | None = None
    watts: float | None = None
    clock: float | None = None
    prompt_rate: float | None = None
    generated_rate: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    models: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    engine_names: tuple[str, ...] = ()
    gpu_names: tuple[str, ...] = ()

    @property
    def busy(self) -> float | None:
        return None if self.phases is None else self.phases[0] + self.phases[1]

    @property
    def prefill_share(self) -> float | None:
        """Of the busy time; None where there was next to none."""
        busy = self.busy
        return None if self.phases is None or busy is None or busy < 0.01 else self.phases[0] / busy

    @property
    def bottleneck(self) -> str | None:
        """What held the largest part of its time."""
        return max(self.bottlenecks, key=lambda name: self.bottlenecks[name]) if self.bottlenecks else None

    @property
    def host_bound(self) -> float | None:
        return self.bottlenecks.get("host", 0.0) if self.bottlenecks else None

    @property
    def model(self) -> str:
        return ", ".join(self.models)

    @property
    def role(self) -> str:
        return ", ".join(self.roles)

    @property
    def is_there(self) -> bool:
        """Whether its figures say anything about now."""
        return self.health in ("ok", "degraded")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the fleet. `at` is wall-clock seconds; `nodes` are in the order of their names.

    `problems` are what could not be had, a line each, with the age of what stands there instead.
    """

    at: float
    nodes: tuple[Node, ...]
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    took: float = 0.0
    queries: int = 0
    samples_read: int | None = None
    uses_rules: bool = False
    quantile: float = USUAL_QUANTILE
    """Of `ttft` and `tpot`."""


def health_of(up: float | None, settled_age: float | None, gpus_lost: int, engines_down: int) -> Health:
    """What a node's own signs say; `up` is 1 when its page was scraped."""
    if up is not None and up < 0.5:
        return "down"
    if settled_age is not None and settled_age > STALE_SECONDS:
        return "stale"
    return "degraded" if gpus_lost or engines_down else "ok"
