"""Questions to the sums of some blocks: by phase, by model, of all GPUs or all engines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from collectors.analysis.blocks import Block, Key
from collectors.analysis.energy import shapley
from collectors.analysis.moments import alone_cost
from collectors.analysis.resources import Moments, ResourceMix, Use
from collectors.analysis.roster import Engine, Roster
from collectors.analysis.sums import computed, plus, total
from collectors.analysis.watts import energy_shares
from collectors.histogram import Histogram
from collectors.model import HOST, PHASES

Buckets = dict[tuple[float, float], float]
"""Observations by bounds, in seconds."""


class Totals:
    """The sums of some blocks, and who is in them. `None` is what was not measured."""

    def __init__(self, block: Block, roster: Roster) -> None:
        self.block = block
        self.sums: Mapping[Key, float] = block.sums
        self.roster = roster

    @property
    def seconds(self) -> float:
        return self.sums.get(("seconds",), 0.0)

    @property
    def machine_seconds(self) -> float:
        """Seconds of the machine, which are those of the time; of a fleet, those of all nodes together."""
        return self.sums.get(("machine-seconds",), self.seconds)

    @cached_property
    def gpus(self) -> list[str]:
        """GPUs that were measured, without those that are divided."""
        return [entity for entity, gpu in self.roster.gpus.items() if not gpu.is_divided]

    @cached_property
    def engines(self) -> dict[str, Engine]:
        return {entity: engine for entity, engine in self.roster.engines.items() if engine.role != "router"}

    def phases(self, entities: Iterable[str]) -> dict[str, float]:
        """Seconds by phase, of some entities together."""
        names = list(entities)
        return {phase: sum(self.sums.get(("phase", name, phase), 0.0) for name in names) for phase in PHASES}

    @cached_property
    def wall(self) -> dict[str, float]:
        """The machine's seconds by phase."""
        return self.phases([HOST])

    @property
    def busy(self) -> float:
        return self.wall["prefill"] + self.wall["decode"]

    @cached_property
    def device_seconds(self) -> dict[str, float]:
        """GPU-seconds by phase; engine-seconds where there are no GPUs."""
        return self.phases(self.gpus or self.engines)

    def joules(self, phase: str, gpus: Iterable[str] | None = None) -> float | None:
        names = self.gpus if gpus is None else list(gpus)
        return total(self.sums.get(("joules", name, phase)) for name in names)

    @cached_property
    def drawn(self) -> dict[str, float] | None:
        """Joules in prefill and in decode of all GPUs: by what each phase draws where that can be told, else as the
        seconds are. None where no energy was counted."""
        joules = self.all_joules()
        if joules is None:
            return None
        prefill, decode = energy_shares(self.sums)
        if prefill is None or decode is None:
            return {phase: self.joules(phase) or 0.0 for phase in ("prefill", "decode")}
        known = joules - (self.joules("unknown") or 0.0)
        return {"prefill": known * prefill, "decode": known * decode}

    def all_joules(self, gpus: Iterable[str] | None = None) -> float | None:
        names = self.gpus if gpus is None else list(gpus)
        return total(self.joules(phase, names) for phase in PHASES)

    def engine(self, field: str, engines: Iterable[str] | None = None) -> float | None:
        """An amount, of some engines together; of all of them by default."""
        return total(self.sums.get(("engine", entity, field)) for entity in engines or self.engines)

    def computed(self, engines: Iterable[str] | None = None) -> float | None:
        """Prompt tokens computed here: neither cached nor transferred ones."""
        found: float | None = None
        for entity in engines or self.engines:
            own = (self.engine(f"prompt_tokens{which}", [entity]) for which in ("_computed", "", "_cached"))
            found = plus(found, computed(*own))
        return found

    def generated(self, engines: Iterable[str] | None = None) -> float | None:
        return self.engine("generation_tokens", engines)

    def mean(self, entity: str, gauge: str) -> float | None:
        """The mean of a gauge over the seconds in which it was measured."""
        for kind in ("gpu", "engine"):
            weight = self.sums.get((kind, entity, f"{gauge}:seconds"))
            if weight:
                return self.sums[kind, entity, gauge] / weight
        return None

    def mean_of(self, entities: Iterable[str], gauge: str) -> float | None:
        """The mean of the entities' means, each counted as often as there are of its kind."""
        found = self._means(entities, gauge)
        return sum(value * count for value, count in found) / sum(count for _, count in found) if found else None

    def sum_of(self, entities: Iterable[str], gauge: str) -> float | None:
        """The entities' means together."""
        found = self._means(entities, gauge)
        return sum(value * count for value, count in found) if found else None

    def _means(self, entities: Iterable[str], gauge: str) -> list[tuple[float, int]]:
        return [(value, self.count([one])) for one in entities if (value := self.mean(one, gauge)) is not None]

    def count(self, entities: Iterable[str]) -> int:
        """GPUs or engines that some entities stand for: of a fleet, one stands for all of its kind."""
        known = [self.roster.gpus.get(one) or self.roster.engines.get(one) for one in entities]
        return sum(1 if one is None else one.count for one in known)

    def most(self, *key: str) -> float | None:
        return self.block.most.get(key)

    # Prefill: marginal, and by Shapley's value.

    def alone(self, engines: Iterable[str]) -> float | None:
        """Busy seconds a prompt token takes with nothing decoded beside it; None where that was seldom seen."""
        names = list(engines)
        seconds, tokens, intervals = (
            total(self.sums.get(("alone", name, what)) for name in names) for what in ("seconds", "tokens", "intervals")
        )
        return alone_cost(seconds, tokens, intervals)

    def resident(self, engines: Iterable[str]) -> float | None:
        """KV tokens of a running request, mean."""
        tokens = running = 0.0
        for entity in engines:
            use, count = self.mean(entity, "kv_cache_usage_ratio"), self.mean(entity, "requests_running")
            size = self.roster.engines[entity].kv_tokens
            if use is None or not count or not size:
                continue
            tokens += use * size
            running += count
        return tokens / running if running else None

    def recomputed(self, engines: Iterable[str]) -> float:
        """Part of all prompt tokens computed that preempted requests had computed again, which no counter tells."""
        names = list(engines)
        again = (self.engine("preemptions", names) or 0.0) * (self.resident(names) or 0.0)
        return again / (again + (self.computed(names) or 0.0)) if again else 0.0

    def busy_split(self, engines: Iterable[str]) -> tuple[float, float] | None:
        """Seconds of prefill and of decode of some engines, marginal."""
        names = list(engines)
        prefill, decode = self.engine("busy-prefill", names), self.engine("busy-decode", names)
        return None if prefill is None or decode is None else (prefill, decode)

    def shapley_share(self, engines: Iterable[str]) -> float | None:
        """Prefill's share of busy time by Shapley's value; None where what prefill takes alone is not known."""
        names = list(engines)
        split, alone, tokens = self.busy_split(names), self.alone(names), self.computed(names)
        if split is None or alone is None or tokens is None or sum(split) <= 0:
            return None
        both = sum(split)
        return shapley(split[0], alone * tokens, both) / both

    def money_share(self) -> tuple[float, str] | None:
        """Prefill's share of the busy cost, and by which rule."""
        share = self.shapley_share(self.engines)
        if share is not None:
            return share, "Shapley"
        busy = self.device_seconds["prefill"] + self.device_seconds["decode"]
        return (self.device_seconds["prefill"] / busy, "marginal") if busy > 0 else None

    # Resources and latencies.

    def moments(self, resource: str, scale: float = 1.0) -> Moments | None:
        """The moments of a resource's use, with the use divided by `scale`."""
        told = {str(key[2]): value for key, value in self.sums.items() if key[:2] == ("use", resource)}
        if not told:
            return None
        return Moments(
            int(told["n"]), told["p"], told["d"], told["pp"], told["pd"], told["dd"],
            told["py"] / scale, told["dy"] / scale, told["pm"] / scale, told["dm"] / scale,
        )  # fmt: skip

    def use(self, resource: str, scale: float = 1.0) -> Use:
        """What a second of each phase uses, of `scale`."""
        moments = self.moments(resource, scale)
        return Use() if moments is None else ResourceMix({"compute": moments}).use("compute")

    def buckets(self, field: str, engines: Iterable[str] | None = None, bottleneck: str | None = None) -> Buckets:
        """Observations of a latency by bounds; of one bottleneck's intervals alone where it is given."""
        names = set(self.engines if engines is None else engines)
        found: Buckets = {}
        for key, value in self.sums.items():
            if key[0] == "latency" and key[2] == field and key[1] in names:
                if bottleneck is not None and key[3] != bottleneck:
                    continue
                bounds = (float(key[4]), float(key[5]))
                found[bounds] = found.get(bounds, 0.0) + value
        return found

    def held(self, field: str) -> set[str]:
        """Bottlenecks under which a latency was observed."""
        return {str(key[3]) for key in self.sums if key[0] == "latency" and key[2] == field}

    def histogram(self, field: str, engines: Iterable[str] | None = None) -> Histogram | None:
        """All observations of a latency. Of engines with different bounds, the union of the bounds."""
        names = list(self.engines if engines is None else engines)
        return histogram_of(
            self.buckets(field, names), total(self.sums.get(("latency-sum", name, field)) for name in names) or 0.0
        )


def histogram_of(buckets: Buckets, seconds: float) -> Histogram | None:
    """Buckets as a histogram; where bounds overlap a bucket counts at its upper bound."""
    uppers = sorted({upper for _, upper in buckets if upper != float("inf")} | {lower for lower, _ in buckets} - {0.0})
    if not buckets:
        return None
    counts = [0.0] * (len(uppers) + 1)
    places = {upper: index for index, upper in enumerate(uppers)}
    for (_, upper), count in buckets.items():
        counts[places.get(upper, len(uppers))] += count
    return Histogram(tuple(uppers), tuple(round(count) for count in counts), seconds)


def surely_within(buckets: Buckets, limit: float) -> tuple[float, float]:
    """Observations that took at most `limit` seconds, wherever they lie within their buckets: at least, and at most."""
    least = sum(count for (_, upper), count in buckets.items() if upper <= limit)
    return least, sum(count for (lower, _), count in buckets.items() if lower < limit)


def within(buckets: Buckets, limit: float) -> float:
    """Observations of at most `limit` seconds, linear within a bucket; those above all bounds took longer."""
    found = 0.0
    for (lower, upper), count in buckets.items():
        if upper <= limit:
            found += count
        elif lower < limit and upper != float("inf"):
            found += count * (limit - lower) / (upper - lower)
    return found
