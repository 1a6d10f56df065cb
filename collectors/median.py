"""Mean and median, without the decimals, fractions and random numbers that `statistics` loads for them."""

from __future__ import annotations

from collections.abc import Iterable


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two. Raises ValueError when there is none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no median of nothing")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not missing; None when all are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
