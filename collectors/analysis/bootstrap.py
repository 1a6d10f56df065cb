"""How much a figure would vary, had other minutes been recorded: a block bootstrap.

Neighbouring intervals are not independent, so that whole blocks of at least a minute are drawn with
replacement (H. R. Künsch, The Jackknife and the Bootstrap for General Stationary Observations, 1989).
The draws are seeded: the same recording gives the same bounds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from collectors.analysis.blocks import Key

SEED = 1
DRAWS = 200
FEWEST = 10
"""With fewer blocks nothing is said."""

Sums = Mapping[Key, float]


def draws(
    blocks: Sequence[Sums], keys: Sequence[Key], *, count: int = DRAWS, seed: int = SEED
) -> list[dict[Key, float]]:
    """The sums, by key, of so many samples of the blocks. A key that is in no block of a sample is absent."""
    chance = random.Random(seed)
    rows = [[(index, value) for index, key in enumerate(keys) if (value := block.get(key)) is not None]
            for block in blocks]  # fmt: skip
    found: list[dict[Key, float]] = []
    for _ in range(count):
        sums: list[float | None] = [None] * len(keys)
        for row in chance.choices(rows, k=len(rows)):
            for index, value in row:
                before = sums[index]
                sums[index] = value if before is None else before + value
        found.append({key: value for key, value in zip(keys, sums, strict=True) if value is not None})
    return found


def bounds(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The central part of some values; None when there are too few of them."""
    if len(values) < DRAWS // 2:
        return None
    ordered = sorted(values)
    left = (1.0 - confidence) / 2 * (len(ordered) - 1)
    return _at(ordered, left), _at(ordered, len(ordered) - 1 - left)


def _at(ordered: Sequence[float], position: float) -> float:
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def interval(
    blocks: Sequence[Sums], keys: Sequence[Key], figure: Callable[[Sums], float | None]
) -> tuple[float, float] | None:
    """Bounds of 95 % of a figure of the sums; None with too few blocks to say."""
    if len(blocks) < FEWEST:
        return None
    values = [value for sums in draws(blocks, keys) if (value := figure(sums)) is not None]
    return bounds(values)
