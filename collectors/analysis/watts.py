"""What each phase draws: energy follows seconds only where the phases draw alike, and they do not.

Least squares over intervals: the joules of an interval are the watts of prefill times its seconds of prefill,
and so on for decode and for the rest. A weak pull towards one power for all of busy time keeps the answer
there where the shares hardly vary; `is_told` says whether they did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.analysis.blocks import Key
from collectors.analysis.bootstrap import Sums, interval
from collectors.analysis.moments import POWER

_PULL = 0.002
"""Of the mean of the squares of busy seconds: the weight of the pull."""
_LEAST_CONTRAST = 0.02
_LEAST_SECONDS = 30.0
KEYS: tuple[Key, ...] = tuple(("power", name) for name in POWER)


@dataclass(frozen=True, slots=True)
class Watts:
    """Watts of all GPUs together in each phase, and the shares of all energy that prefill and decode took; `low`
    and `high` are 95 % bounds of prefill's."""

    prefill: float
    decode: float
    rest: float
    share: float
    decode_share: float
    low: float | None
    high: float | None

    @property
    def idle_share(self) -> float:
        """Of all energy: what neither prefill nor decode took."""
        return max(0.0, 1.0 - self.share - self.decode_share)


def watts(sums: Sums, blocks: Sequence[Sums]) -> Watts | None:
    """The power of each phase; None where energy was not counted or the phases cannot be told apart."""
    found = _solved(sums)
    if found is None:
        return None
    low, high = interval(blocks, KEYS, lambda drawn: energy_shares(drawn)[0]) or (None, None)
    prefill, decode = energy_shares(sums)
    return None if prefill is None or decode is None else Watts(*found, prefill, decode, low, high)


def energy_shares(sums: Sums) -> tuple[float | None, float | None]:
    """Prefill's and decode's shares of all energy; None where the phases cannot be told apart."""
    found = _solved(sums)
    if found is None:
        return None, None
    parts = [power * sums["power", name] for power, name in zip(found, "pdi", strict=True)]
    whole = sum(parts)
    return (parts[0] / whole, parts[1] / whole) if whole > 0 else (None, None)


def _solved(sums: Sums) -> tuple[float, float, float] | None:
    if any(key not in sums for key in KEYS):
        return None
    m = {name: sums["power", name] for name in POWER}
    if min(m["p"], m["d"]) < _LEAST_SECONDS or m["pp"] * m["dd"] - m["pd"] ** 2 < _LEAST_CONTRAST * m["pp"] * m["dd"]:
        return None
    mean = m["y"] / (m["p"] + m["d"] + m["i"])
    pull = _PULL * (m["pp"] + m["dd"] + m["ii"])
    a = [
        [m["pp"] + pull, m["pd"], m["pi"], m["py"] + pull * mean],
        [m["pd"], m["dd"] + pull, m["di"], m["dy"] + pull * mean],
        [m["pi"], m["di"], m["ii"] + pull, m["iy"] + pull * mean * 0.5],
    ]
    solved = _eliminated(a)
    if solved is None or min(solved) < 0:
        return None
    return solved


def _eliminated(a: list[list[float]]) -> tuple[float, float, float] | None:
    """Gauss with pivots, of three equations; None for none that can be solved."""
    size = len(a)
    for at in range(size):
        pivot = max(range(at, size), key=lambda row: abs(a[row][at]))
        if abs(a[pivot][at]) < 1e-12:
            return None
        a[at], a[pivot] = a[pivot], a[at]
        for row in range(size):
            if row != at:
                factor = a[row][at] / a[at][at]
                a[row] = [left - factor * right for left, right in zip(a[row], a[at], strict=True)]
    return a[0][3] / a[0][0], a[1][3] / a[1][1], a[2][3] / a[2][2]
