"""What prefill does to the tokens of others: how much longer a token took because prompts were computed beside it.

Two ways. *By regression*: over intervals, weighted by tokens, the time per token y is explained by the
prefill seconds that fell on each decode step x and by the batch b, y = c0 + c1 x + c2 b; c1 times the mean
of x is what prefill added. *By accounting*: the mean of x itself, as the labels split each step (then c1 is
1). The two rest on different things (latencies, and labels with step counts), so that they check each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.analysis.blocks import Key
from collectors.analysis.bootstrap import Sums, interval
from collectors.analysis.moments import DELAY
from collectors.analysis.sums import total

_LEAST_WEIGHT = 200.0
"""Tokens below which nothing is regressed."""
_LEAST_VARIANCE = 1e-4
"""Of x, relative to its mean squared: below, everything happened at one amount of prefill."""


@dataclass(frozen=True, slots=True)
class Interference:
    """Seconds per token: `time_per_token` the mean, `added` what prefill added by regression, within `low` and
    `high` (95 %), `accounted` the same by accounting; `slope` is c1. None where it cannot be told."""

    time_per_token: float
    added: float | None
    low: float | None
    high: float | None
    slope: float | None
    accounted: float
    tokens: float


def delay_sums(sums: Sums, engines: Iterable[str]) -> dict[str, float] | None:
    """The moments of some engines together."""
    names = list(engines)
    told = {moment: total(sums.get(("delay", name, moment)) for name in names) for moment in DELAY}
    return {name: value for name, value in told.items() if value is not None} if told["w"] else None


def slope(moments: Mapping[str, float]) -> float | None:
    """c1 of the weighted least squares; the batch is left out where it did not vary."""
    w = moments["w"]
    if w < _LEAST_WEIGHT:
        return None
    x, b, y = moments["x"] / w, moments["b"] / w, moments["y"] / w
    xx, bb, xb = moments["xx"] / w - x * x, moments["bb"] / w - b * b, moments["xb"] / w - x * b
    xy, by = moments["xy"] / w - x * y, moments["by"] / w - b * y
    if xx <= _LEAST_VARIANCE * x * x or xx <= 0:
        return None
    determinant = xx * bb - xb * xb
    if bb <= 1e-6 * b * b or determinant <= 1e-3 * xx * bb:
        return xy / xx
    return (xy * bb - by * xb) / determinant


def _added(moments: Mapping[str, float] | None) -> float | None:
    if moments is None:
        return None
    found = slope(moments)
    return None if found is None else found * moments["x"] / moments["w"]


def interference(sums: Sums, engines: Sequence[str], blocks: Sequence[Sums]) -> Interference | None:
    """The interference on some engines; None where no time per token was observed beside step counts."""
    moments = delay_sums(sums, engines)
    if moments is None:
        return None
    keys: list[Key] = [("delay", name, moment) for name in engines for moment in DELAY]
    found = interval(blocks, keys, lambda drawn: _added(delay_sums(drawn, engines)))
    low, high = found or (None, None)
    w = moments["w"]
    return Interference(
        moments["y"] / w, _added(moments), low, high, slope(moments), moments["x"] / w, w
    )  # fmt: skip
