"""The figures that follow from sums alone: one table, for reports and for differences.

Each is a function of the totals of some blocks, so that a bootstrap can compute it from any sample of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from collectors.analysis.figures import Direction, Unit
from collectors.analysis.settings import Settings
from collectors.analysis.sums import plus, ratio, total
from collectors.analysis.totals import Totals, within
from collectors.model import BOTTLENECK_NAMES

Compute = Callable[[Totals, Settings], float | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """`better` is the direction that is good for everybody; None where it depends."""

    key: str
    group: str
    title: str
    unit: Unit
    compute: Compute
    better: Direction | None = None


def prefill_share(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.wall["prefill"], totals.busy)


def busy_ratio(totals: Totals, settings: Settings) -> float | None:
    known = sum(totals.wall.values()) - totals.wall["unknown"]
    return ratio(totals.busy, known)


def unknown_ratio(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.wall["unknown"], sum(totals.wall.values()))


def tokens_in(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.computed(), totals.seconds)


def tokens_out(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.generated(), totals.seconds)


def tokens_per_joule(totals: Totals, settings: Settings) -> float | None:
    return ratio(plus(totals.computed(), totals.generated()), totals.all_joules())


def joules_per_prompt_token(totals: Totals, settings: Settings) -> float | None:
    return None if totals.drawn is None else ratio(totals.drawn["prefill"], totals.computed())


def joules_per_generated_token(totals: Totals, settings: Settings) -> float | None:
    return None if totals.drawn is None else ratio(totals.drawn["decode"], totals.generated())


def mean_watts(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.all_joules(), totals.seconds)


def total_money(totals: Totals, settings: Settings) -> float | None:
    """Of all GPU time, idle too. There is none without GPUs."""
    seconds = sum(totals.sums.get(("gpu", gpu, "seconds"), 0.0) for gpu in totals.gpus)
    return settings.prices.money(seconds, totals.all_joules()) if seconds else None


def _money_per_million(totals: Totals, settings: Settings, share: float | None, tokens: float | None) -> float | None:
    money = total_money(totals, settings)
    if money is None or share is None or not tokens:
        return None
    return money * share / tokens * 1e6


def money_in(totals: Totals, settings: Settings) -> float | None:
    share = totals.money_share()
    return _money_per_million(totals, settings, None if share is None else share[0], totals.computed())


def money_out(totals: Totals, settings: Settings) -> float | None:
    share = totals.money_share()
    return _money_per_million(totals, settings, None if share is None else 1.0 - share[0], totals.generated())


def cached_ratio(totals: Totals, settings: Settings) -> float | None:
    cached = totals.engine("prompt_tokens_cached")
    if cached is None:
        return ratio(totals.engine("prefix_cache_hits"), totals.engine("prefix_cache_queries"))
    return ratio(cached, plus(cached, totals.computed()))


def batch(totals: Totals, settings: Settings) -> float | None:
    """Generated tokens a step."""
    steps = totals.engine("decode_steps") or totals.engine("steps")
    return ratio(totals.generated(), steps)


def kv_mean(totals: Totals, settings: Settings) -> float | None:
    return totals.mean_of(totals.engines, "kv_cache_usage_ratio")


def kv_full_ratio(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.engine("kv-full-seconds"), totals.engine("seconds"))


def preemptions(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.engine("preemptions"), totals.seconds)


def waiting_ratio(totals: Totals, settings: Settings) -> float | None:
    return ratio(totals.engine("waiting-seconds"), totals.engine("seconds"))


def _quantile(field: str, q: float) -> Compute:
    def compute(totals: Totals, settings: Settings) -> float | None:
        histogram = totals.histogram(field)
        return None if histogram is None else histogram.quantile(q)

    return compute


def _mean(field: str) -> Compute:
    def compute(totals: Totals, settings: Settings) -> float | None:
        observed = sum(totals.buckets(field).values())
        seconds = total(totals.sums.get(("latency-sum", name, field)) for name in totals.engines)
        return ratio(seconds, observed)

    return compute


def slo_met(field: str) -> Compute:
    """Share of the observations within what is promised of their model."""

    def compute(totals: Totals, settings: Settings) -> float | None:
        met = seen = 0.0
        for title, engines in totals.roster.models().items():
            objective = settings.promises.of(title).of(field)
            if objective is None:
                continue
            buckets = totals.buckets(field, engines)
            seen += sum(buckets.values())
            met += within(buckets, objective.seconds)
        return met / seen if seen else None

    return compute


def _use(resource: str, phase: str) -> Compute:
    def compute(totals: Totals, settings: Settings) -> float | None:
        use = totals.use(resource)
        return use.prefill if phase == "prefill" else use.decode

    return compute


def _resource(name: str) -> Compute:
    def compute(totals: Totals, settings: Settings) -> float | None:
        known = sum(value for key, value in totals.sums.items() if key[0] == "resource")
        return totals.sums.get(("resource", name), 0.0) / known if known else None

    return compute


def _clock(totals: Totals, settings: Settings) -> float | None:
    found = []
    for entity in totals.gpus:
        clock, most = totals.mean(entity, "sm_clock_hertz"), totals.roster.gpus[entity].clock_max
        if clock is not None and most:
            found.append(clock / most)
    return sum(found) / len(found) if found else None


MEASURES: tuple[Measure, ...] = (
    Measure("prefill_share", "time", "prefill, of busy time", "ratio", prefill_share),
    Measure("busy_ratio", "time", "busy, of known time", "ratio", busy_ratio),
    Measure("unknown_ratio", "time", "unknown, of all time", "ratio", unknown_ratio),
    Measure("tokens_in", "work", "prompt tokens computed per second", "tokens_per_second", tokens_in),
    Measure("tokens_out", "work", "tokens generated per second", "tokens_per_second", tokens_out),
    Measure("batch", "work", "tokens a step (batch)", "count", batch),
    Measure("cached_ratio", "work", "prompt tokens from the prefix cache", "ratio", cached_ratio, "up"),
    Measure("mean_watts", "energy", "power of all GPUs", "watts", mean_watts, "down"),
    Measure("tokens_per_joule", "energy", "tokens per joule", "tokens_per_joule", tokens_per_joule, "up"),
    Measure("joules_per_prompt_token", "energy", "joules a prompt token (prefill)", "joules_per_token",
            joules_per_prompt_token, "down"),
    Measure("joules_per_generated_token", "energy", "joules a generated token (decode)", "joules_per_token",
            joules_per_generated_token, "down"),
    Measure("money_in", "money", "cost of a million prompt tokens", "money_per_million", money_in, "down"),
    Measure("money_out", "money", "cost of a million generated tokens", "money_per_million", money_out, "down"),
    Measure("ttft_mean", "latency", "time to first token, mean", "seconds", _mean("ttft"), "down"),
    Measure("ttft_p50", "latency", "time to first token, median", "seconds", _quantile("ttft", 0.5), "down"),
    Measure("ttft_p99", "latency", "time to first token, p99", "seconds", _quantile("ttft", 0.99), "down"),
    Measure("tpot_mean", "latency", "time per output token, mean", "seconds", _mean("tpot"), "down"),
    Measure("tpot_p50", "latency", "time per output token, median", "seconds", _quantile("tpot", 0.5), "down"),
    Measure("tpot_p99", "latency", "time per output token, p99", "seconds", _quantile("tpot", 0.99), "down"),
    Measure("ttft_met", "latency", "first tokens within the SLO", "ratio", slo_met("ttft"), "up"),
    Measure("tpot_met", "latency", "output tokens within the SLO", "ratio", slo_met("tpot"), "up"),
    Measure("tensor_prefill", "hardware", "tensor activity in prefill", "ratio", _use("compute", "prefill")),
    Measure("tensor_decode", "hardware", "tensor activity in decode", "ratio", _use("compute", "decode")),
    Measure("dram_prefill", "hardware", "DRAM activity in prefill", "ratio", _use("memory-bandwidth", "prefill")),
    Measure("dram_decode", "hardware", "DRAM activity in decode", "ratio", _use("memory-bandwidth", "decode")),
    Measure("clock_ratio", "hardware", "SM clock, of its maximum", "ratio", _clock),
    Measure("kv_mean", "capacity", "KV cache in use, mean", "ratio", kv_mean),
    Measure("kv_full_ratio", "capacity", "time with a full KV cache", "ratio", kv_full_ratio, "down"),
    Measure("waiting_ratio", "capacity", "time in which requests waited", "ratio", waiting_ratio, "down"),
    Measure("preemptions", "capacity", "preemptions per second", "per_second", preemptions, "down"),
    *(
        Measure(f"limited_by_{name.replace('-', '_')}", "limited by", f"limited by {name}", "ratio", _resource(name))
        for name in BOTTLENECK_NAMES
        if name not in ("kv-capacity", "scheduler")
    ),
)  # fmt: skip
BY_KEY = {measure.key: measure for measure in MEASURES}
