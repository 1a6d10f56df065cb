"""Latency histograms as amounts within an interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import inf


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations that fell into each bucket during one interval.

    `bounds` are the finite upper bounds in seconds, ascending; `counts` has one more entry, the
    last being the observations above every bound. Counts are per bucket, not cumulative. `sum`
    is in seconds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError(f"{len(self.bounds)} bounds need {len(self.bounds) + 1} counts, got {len(self.counts)}")

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Seconds, or None when nothing was observed."""
        count = self.count
        return self.sum / count if count else None

    @property
    def longest(self) -> float | None:
        """Seconds that the longest observation took at least; None when nothing was observed."""
        occupied = [index for index, count in enumerate(self.counts) if count]
        if not occupied:
            return None
        highest = occupied[-1]
        uppers = (*self.bounds, inf)
        others = sum(uppers[index] * self.counts[index] for index in occupied[:-1])
        if self.counts[highest] > 1:
            others += uppers[highest] * (self.counts[highest] - 1)
        return max(self.bounds[highest - 1] if highest else 0.0, self.sum - others, self.sum / self.count)

    def is_beyond(self, q: float) -> bool:
        """Whether the q-quantile lies above every bound: all that is known of it is that it is longer."""
        return bool(self.bounds) and sum(self.counts[:-1]) < q * self.count

    def quantile(self, q: float) -> float | None:
        """The q-quantile in seconds by linear interpolation within its bucket.

        The same rule as PromQL's `histogram_quantile`: the lowest bucket starts at 0, and a
        quantile in the overflow bucket is the highest finite bound. None when nothing was observed.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not {q}")
        total = self.count
        if total == 0:
            return None
        if not self.bounds:
            return self.mean
        rank = q * total
        below = 0
        for index, reached in enumerate(accumulate(self.counts)):
            if reached >= rank and reached > 0:
                if index == len(self.bounds):
                    return self.bounds[-1]
                lower = self.bounds[index - 1] if index else 0.0
                inside = self.counts[index]
                return lower + (self.bounds[index] - lower) * ((rank - below) / inside if inside else 1.0)
            below = reached
        return self.bounds[-1]


def merge(histograms: Iterable[Histogram]) -> Histogram | None:
    """One histogram of all observations; None when there is none or their bounds differ.

    Quantiles are taken after merging and never averaged. Histograms with different bounds cannot
    be merged without inventing observations, so that case is missing rather than approximate.
    """
    all_of_them = tuple(histograms)
    if not all_of_them:
        return None
    bounds = all_of_them[0].bounds
    if any(one.bounds is not bounds and one.bounds != bounds for one in all_of_them):
        return None
    counts = tuple(map(sum, zip(*(one.counts for one in all_of_them), strict=True)))
    return Histogram(bounds, counts, sum(one.sum for one in all_of_them))
