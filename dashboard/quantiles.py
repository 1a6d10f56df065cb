"""Latency quantiles over many intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.histogram import Histogram, merge
from collectors.model import EngineKey, Tick


@dataclass(frozen=True, slots=True)
class Quantiles:
    """p50 and p99 in seconds, None where nothing was observed."""

    p50: float | None = None
    p99: float | None = None


def quantiles(ticks: Sequence[Tick], key: EngineKey, name: str) -> Quantiles:
    """p50 and p99 of one latency over those ticks: buckets are added, quantiles never averaged.

    Nothing where the bounds changed on the way: such observations cannot be added.
    """
    observed: list[Histogram] = []
    for tick in ticks:
        engine = tick.interval.engines.get(key)
        histogram: Histogram | None = None if engine is None else getattr(engine, name)
        if histogram is not None and any(histogram.counts):
            observed.append(histogram)
    total = merge(observed)
    return Quantiles() if total is None else Quantiles(total.quantile(0.5), total.quantile(0.99))
