"""What a report asks a Prometheus: expressions that give one number for each entity and step.

What counters counted within a step is the difference of their last values at its edges, so that steps add up
to the whole exactly, also where a series comes and goes. Where a counter began anew, or had no value yet (an
engine that was not there before), it is `increase`, which follows resets. Of a fleet all is `increase`, over a
step and a scrape interval so that it sees all of the step: what a series tells that was away for a minute may be
lost, and the server has a quarter of the work.

Of a single node each GPU and each engine is told by itself. Of a fleet they are told by kind: GPUs by their
product, engines by engine, model and role, brought together on the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from collectors.analysis.queries import ENGINE_AMOUNTS, ENGINE_GAUGES, GPU_GAUGES, KV_FULL, LATENCIES
from collectors.fleet.queries import FIGURE, Target

Kind = Literal["host", "gpu", "engine"]
_LAST_VALUE = 900.0
"""Seconds after which a counter's last value is not taken for its present one any more."""
SETTLED = "phasetop_settled_timestamp_seconds"
GPU_FACTS = (
    "power_limit_watts", "sm_clock_max_hertz", "memory_total_bytes", "dram_peak_bytes_per_second",
    "tensor_peak_flops_per_second", "instances",
)  # fmt: skip
ENGINE_FACTS = ("kv_cache_tokens", "requests_limit")


@dataclass(frozen=True, slots=True)
class Question:
    """One query: several figures at once, told apart by the label `figure`. `is_settled` are counters that advance
    with settled labels, and so are complete some seconds later than others."""

    name: str
    expression: str
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose series are asked for, in steps of so many seconds, `scrape` seconds being between two scrapes."""

    target: Target
    step: float
    scrape: float
    is_fleet: bool

    @property
    def window(self) -> float:
        """A step and the sample before it: what `increase` needs to see all of the step."""
        return self.step + self.scrape

    def labels(self, kind: Kind) -> tuple[str, ...]:
        """The labels that tell the entities of a kind apart."""
        if kind == "host":
            return ()
        if kind == "gpu":
            return ("name",) if self.is_fleet else ("uuid",)
        return ("engine", "model", "role") if self.is_fleet else ("endpoint", "engine_index")

    def summed(self, kind: Kind, expression: str, *more: str, by: str = "sum") -> str:
        """An expression over all series of a kind, brought to one number for each entity and value of `more`."""
        if self.is_fleet and kind != "host":
            expression = f"{expression} * {self._described(kind)}"
        return f"{by} by ({', '.join((*self.labels(kind), *more))}) ({expression})"

    def _described(self, kind: Kind) -> str:
        """Puts the labels of the info series on: of two descriptions within the step, one."""
        own = ("uuid",) if kind == "gpu" else ("endpoint", "engine_index")
        key = ", ".join((*self.target.node, *own))
        told = [name for name in self.labels(kind) if name != "engine"]
        info = f"max_over_time({self.target.series(f'phasetop_{kind}_info')}[{_seconds(self.window)}])"
        one = f"topk by ({key}) (1, max by ({key}, {', '.join(told)}) ({info}))"
        return f"on ({key}) group_left ({', '.join(told)}) {one}"

    def counted(self, name: str) -> str:
        """What a counter counted within the step; of a fleet by `increase` alone, which reads a sample but once."""
        series = self.target.series(name)
        grown = f"increase({series}[{_seconds(self.window)}]) * {self.step / self.window:.9g}"
        if self.is_fleet:
            return f"({grown})"
        back = max(self.step, _LAST_VALUE)
        last = f"last_over_time({series}[{_seconds(back)}]"
        difference = f"({last}) - {last} offset {_seconds(self.step)}))"
        steady = f"{difference} unless (resets({series}[{_seconds(back + self.step)}]) > 0)"
        return f"({steady} or {grown})"

    def gauge(self, kind: Kind, field: str) -> str:
        """A gauge's samples; of partitioned GPUs those of their instances alone."""
        series = self.target.series(f"phasetop_{kind}_{field}")
        if kind != "gpu" or not self.is_fleet:
            return series
        divided = f"{self.target.series('phasetop_gpu_instances')} > 0"
        return f"({series} unless on ({self.target.by}, uuid) ({divided}))"

    def over(self, function: str, kind: Kind, field: str, *, condition: str = "") -> str:
        """A function over the step's samples of a gauge."""
        series, step = self.gauge(kind, field), _seconds(self.step)
        if condition or series.startswith("("):
            return f"{function}(({series}{condition})[{step}:{_seconds(self.scrape)}])"
        return f"{function}({series}[{step}])"


def _seconds(value: float) -> str:
    return f"{round(value * 1000)}ms"


def joined(parts: Mapping[str, str]) -> str:
    """Several expressions as one query."""
    return " or ".join(f'label_replace({told}, "{FIGURE}", "{name}", "", "")' for name, told in parts.items())


def questions(scope: Scope) -> tuple[Question, ...]:
    """All that is asked of every step."""
    found = [
        Question("time", joined(_time(scope)), is_settled=True),
        Question("GPU time", joined(_splits(scope, "gpu", joules="phase_joules")), is_settled=True),
        Question("engine time", joined(_splits(scope, "engine")), is_settled=True),
        Question("engine counters", joined({name: _amount(scope, name) for name in ENGINE_AMOUNTS})),
        Question("engine gauges", joined({**_gauges(scope, "engine", ENGINE_GAUGES), **_limits(scope)})),
        Question("GPU gauges", joined(_gauges(scope, "gpu", GPU_GAUGES))),
    ]
    for name in LATENCIES:
        family = f"phasetop_engine_{name}_seconds"
        parts = {
            f"{name}:bucket": scope.summed("engine", scope.counted(f"{family}_bucket"), "le"),
            f"{name}:sum": scope.summed("engine", scope.counted(f"{family}_sum")),
        }
        found.append(Question(f"latency {name}", joined(parts)))
    return tuple(found)


def _time(scope: Scope) -> dict[str, str]:
    """The machine's phases and bottlenecks, node by node, and what each did."""
    node = scope.target.node
    told = {
        "host:phase": scope.summed("host", scope.counted("phasetop_host_phase_seconds_total"), *node, "phase"),
        "host:bottleneck": scope.summed(
            "host", scope.counted("phasetop_host_bottleneck_seconds_total"), *node, "bottleneck"
        ),
    }
    if scope.is_fleet:
        tokens, joules = (
            scope.counted(f"phasetop_{name}_total") for name in ("engine_phase_tokens", "gpu_phase_joules")
        )
        told["node:tokens"] = scope.summed("host", tokens, *node, "phase")
        told["node:joules"] = scope.summed("host", joules, *node)
    return told


def _splits(scope: Scope, kind: Kind, joules: str = "") -> dict[str, str]:
    told = {
        f"{kind}:{split}": scope.summed(kind, scope.counted(f"phasetop_{kind}_{split}_seconds_total"), split)
        for split in ("phase", "bottleneck")
    }
    if joules:
        told[f"{kind}:joules"] = scope.summed(kind, scope.counted(f"phasetop_{kind}_{joules}_total"), "phase")
    return told


def _amount(scope: Scope, name: str) -> str:
    return scope.summed("engine", scope.counted(f"phasetop_engine_{name}_total"))


def _gauges(scope: Scope, kind: Kind, names: Sequence[str]) -> dict[str, str]:
    """The sum of a gauge's samples in the step, and how many there are."""
    told = {}
    for name in names:
        told[f"{name}:sum"] = scope.summed(kind, scope.over("sum_over_time", kind, name))
        told[f"{name}:count"] = scope.summed(kind, scope.over("count_over_time", kind, name))
    return told


def _limits(scope: Scope) -> dict[str, str]:
    """How full the KV cache was at most and how often it was full; how many waited and how often any did."""
    return {
        "kv:most": scope.summed("engine", scope.over("max_over_time", "engine", "kv_cache_usage_ratio"), by="max"),
        "kv:full": scope.summed(
            "engine", scope.over("sum_over_time", "engine", "kv_cache_usage_ratio", condition=f" >= bool {KV_FULL}")
        ),
        "waiting:most": scope.summed("engine", scope.over("max_over_time", "engine", "requests_waiting"), by="max"),
        "waiting:any": scope.summed(
            "engine", scope.over("sum_over_time", "engine", "requests_waiting", condition=" > bool 0")
        ),
    }


# Asked for once, at a few moments.


def nodes_seen(target: Target) -> str:
    return f"count by ({target.by}) ({target.series(SETTLED)})"


def scrapes(target: Target, window: float) -> str:
    """Samples within so many seconds; a sample at both ends would be one too many."""
    return f"max(count_over_time({target.series(SETTLED)}[{_seconds(window - 0.001)}]))"


def lag(target: Target) -> str:
    """How many seconds the settled counters are behind."""
    return f"quantile(0.5, time() - {target.series(SETTLED)})"


def rules(target: Target) -> str:
    """The versions of the rules that labelled."""
    return f"count by (rule_version) ({target.series('phasetop_build_info')})"


def descriptions(scope: Scope) -> dict[str, str]:
    """What the entities are: info series and steady gauges, and how many of a kind there are."""
    target = scope.target
    told: dict[str, str] = {}
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (("gpu", GPU_FACTS), ("engine", ENGINE_FACTS))
    for kind, facts in kinds:
        whole = scope.gauge(kind, "info")
        told[f"{kind}:info"] = f"sum by ({', '.join(scope.labels(kind))}) ({whole})" if scope.is_fleet else whole
        parts = {
            name: scope.summed(kind, target.series(f"phasetop_{kind}_{name}"), by="avg" if scope.is_fleet else "max")
            for name in facts
        }
        told[f"{kind}:facts"] = joined(parts)
    return told
