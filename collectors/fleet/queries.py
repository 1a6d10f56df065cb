"""The PromQL of the fleet: a few expressions, each aggregated to the node on the server.

A figure is one number of each node (of each node and phase, bottleneck or state). Several figures
travel in one query, told apart by a label `figure` that is put on them there. Each has two forms: the
recording rule of `deploy/prometheus/phasetop.rules.yml`, used when the server has it, and the raw
expression.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from collectors.fleet.model import USUAL_QUANTILE
from collectors.promql_matcher import matcher

FIGURE = "figure"
RULE_WINDOW = 300.0
"""Seconds over which the recording rules take their rates."""

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Which series are the fleet's. `match` is the inside of a selector; `node` the labels that name a node."""

    match: str = 'job="phasetop"'
    node: tuple[str, ...] = ("instance",)
    window: float = RULE_WINDOW

    def __post_init__(self) -> None:
        if not all(_LABEL.fullmatch(label) for label in self.node) or not self.node:
            raise ValueError("a node is named by one label or more, such as instance")
        if "{" in self.match or "}" in self.match or not self.match.strip():
            raise ValueError('series are chosen by label matchers without braces, such as job="phasetop"')

    @property
    def by(self) -> str:
        return ", ".join(self.node)

    def of(self, key: Sequence[str]) -> Target:
        """One node alone, by the values of the labels that name it."""
        matchers = [matcher(label, value) for label, value in zip(self.node, key, strict=True)]
        return replace(self, match=", ".join([self.match, *matchers]))

    def series(self, name: str, *more: str) -> str:
        return f"{name}{{{', '.join([self.match, *more])}}}"

    def rate(self, name: str, *more: str, window: float | None = None) -> str:
        return f"rate({self.series(name, *more)}[{round(window or self.window)}s])"


@dataclass(frozen=True, slots=True)
class Figure:
    """`rule` is the recording rule that holds it (empty: none does), `raw` the expression without.

    `aggregate` brings either to one number for each node and value of `extra`; `limit` keeps small
    numbers off the wire.
    """

    name: str
    aggregate: str
    raw: str
    rule: str = ""
    extra: str = ""
    limit: str = ""
    matchers: tuple[str, ...] = ()

    def expression(self, target: Target, rules: Collection[str]) -> str:
        by = f"{target.by}, {self.extra}" if self.extra else target.by
        source = target.series(self.rule, *self.matchers) if self.uses(rules) else self.raw
        return f"{self.aggregate} by ({by}) ({source}){self.limit}"

    def uses(self, rules: Collection[str]) -> bool:
        return bool(self.rule) and self.rule in rules


def query_of(figures: Sequence[Figure], target: Target, rules: Collection[str]) -> str:
    """One query for all of them."""
    return _told_apart((one.name, one.expression(target, rules)) for one in figures)


def _told_apart(parts: Iterable[tuple[str, str]]) -> str:
    return " or ".join(f'label_replace({expression}, "{FIGURE}", "{name}", "", "")' for name, expression in parts)


def _ratio(target: Target, name: str, extra: str) -> str:
    rate = target.rate(name)
    by = f"{target.by}, {extra}"
    return (
        f"(sum by ({by}) ({rate}) / on ({target.by}) group_left () (sum by ({target.by}) ({rate}) > 0))"
    )  # fmt: skip


def _quantile(target: Target, latency: str, quantile: float) -> Figure:
    family = f"phasetop_engine_{latency}_seconds"
    rate = target.rate(f"{family}_bucket")
    return Figure(
        latency, "max", f"histogram_quantile({quantile}, sum by ({target.by}, le) ({rate})) >= 0",
        f"instance_quantile:{family}:histogram_quantile_rate5m", matchers=(f'quantile="{quantile}"',),
    )  # fmt: skip


def _gauge(target: Target, name: str, scope: str, field: str, aggregate: str, *, is_recorded: bool = True) -> Figure:
    family = f"phasetop_{scope}_{field}"
    return Figure(name, aggregate, target.series(family), f"instance:{family}:{aggregate}" if is_recorded else "")


def _phases(target: Target, scope: str) -> Figure:
    return Figure(
        f"{scope}_phase", "max", _ratio(target, f"phasetop_{scope}_phase_seconds_total", "phase"),
        f"instance_phase:phasetop_{scope}_phase:ratio_rate5m", extra="phase", limit=" > 0.001",
    )  # fmt: skip


_NOT_OK = 'state!="ok"'


def groups(target: Target, quantile: float = USUAL_QUANTILE) -> dict[str, tuple[Figure, ...]]:
    """Name of a query -> its figures, in the order of their weight on the screen. `quantile` is that of latencies."""
    clock, clock_max = (target.series(f"phasetop_gpu_sm_clock_{name}") for name in ("hertz", "max_hertz"))
    clocks = f"avg by ({target.by}) ({clock}) / avg by ({target.by}) ({clock_max})"
    return {
        "health": (
            Figure("up", "max", target.series("up")),
            Figure("settled_age", "max", f"time() - {target.series('phasetop_settled_timestamp_seconds')}",
                   limit=" > 30"),
            Figure("gpus", "sum", target.series("phasetop_gpu_state", _NOT_OK), "instance_state:phasetop_gpu_state:sum",
                   extra="state", limit=" > 0", matchers=(_NOT_OK,)),
            Figure("engines_down", "sum", target.series("phasetop_engine_state", 'state="down"'),
                   "instance_state:phasetop_engine_state:sum", extra="state", limit=" > 0",
                   matchers=('state="down"',)),
        ),
        "phases": (_phases(target, "gpu"),),
        "bottlenecks": (
            Figure("bottleneck", "max", _ratio(target, "phasetop_host_bottleneck_seconds_total", "bottleneck"),
                   "instance_bottleneck:phasetop_host_bottleneck:ratio_rate5m", extra="bottleneck", limit=" > 0.005"),
        ),
        "engines": (
            Figure("tokens", "sum", target.rate("phasetop_engine_phase_tokens_total"),
                   "instance_phase:phasetop_engine_phase_tokens:rate5m", extra="phase"),
            _gauge(target, "running", "engine", "requests_running", "sum"),
            _gauge(target, "waiting", "engine", "requests_waiting", "sum"),
            _gauge(target, "kv_cache", "engine", "kv_cache_usage_ratio", "max"),
        ),
        "GPUs": (
            _gauge(target, "sm", "gpu", "sm_active_ratio", "avg"),
            _gauge(target, "dram", "gpu", "dram_active_ratio", "avg"),
            _gauge(target, "watts", "gpu", "power_watts", "sum"),
            Figure("clock", "avg", clocks, "instance:phasetop_gpu_sm_clock_hertz:ratio_of_max"),
        ),
        "latencies": (_quantile(target, "ttft", quantile), _quantile(target, "tpot", quantile)),
    }  # fmt: skip


def machine_phases(target: Target) -> tuple[Figure, ...]:
    """Of nodes of which no GPU tells any: asked where there are such."""
    return (_phases(target, "host"),)


def identity(target: Target, rules: Collection[str]) -> str:
    """What each node is: models and roles of its engines, products and number of its GPUs. Asked seldom."""
    count = Figure("gpus", "sum", target.series("phasetop_gpu_state"), "instance_state:phasetop_gpu_state:sum")
    parts = {
        "engine": f"group by ({target.by}, model, role, engine) ({target.series('phasetop_engine_info')})",
        "gpu": f"group by ({target.by}, name) ({target.series('phasetop_gpu_info')})",
        "gpus": count.expression(target, rules),
    }
    return _told_apart(parts.items())


def target_labels(target: Target) -> str:
    """Each node's own labels, and whether it is scraped."""
    return target.series("up")


def scrapes_in_window(target: Target) -> str:
    """How often nodes are scraped: samples in the rules' window."""
    return f"max(count_over_time({target.series('up')}[{round(RULE_WINDOW)}s]))"


def rule_names(target: Target) -> frozenset[str]:
    """The rules that would be used."""
    asked = [*groups(target).values(), machine_phases(target)]
    return frozenset(one.rule for figures in asked for one in figures if one.rule)


def rules_present(target: Target) -> str:
    names = "|".join(sorted(rule_names(target)))
    return f'group by (__name__) ({{__name__=~"{names}", {target.match}}})'


HEAT_PHASES = ("prefill", "decode", "waiting", "unknown")
"""The phases of which a heat-map number tells the percents; what is left is idle."""


def heat(target: Target, step: float) -> str:
    """All phases of a node's column in one number: percents of prefill, decode, waiting and unknown, two digits each.

    One number instead of five is a fifth of the bytes. It comes from the machine's own counters, of
    which each node has one of each phase, so that a column's shares are exact whatever its length.
    """
    parts = []
    for power, phase in zip((6, 4, 2, 0), HEAT_PHASES, strict=True):
        rate = target.rate("phasetop_host_phase_seconds_total", f'phase="{phase}"', window=step)
        share = f"floor(99.9 * clamp_max(sum by ({target.by}) ({rate}), 1))"
        parts.append(f"{share} * 1e{power}" if power else share)
    return f" + on ({target.by}) ".join(parts)
