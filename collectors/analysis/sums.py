"""Adding figures that may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

K = TypeVar("K")


def plus(a: float | None, b: float | None) -> float | None:
    """The sum of what is known; None when neither is."""
    if a is None:
        return b
    return a if b is None else a + b


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None when nothing is."""
    result: float | None = None
    for value in values:
        result = plus(result, value)
    return result


def computed(told: float | None, prompts: float | None, cached: float | None) -> float | None:
    """Prompt tokens computed here, neither cached nor transferred ones: as told, else all prompts' but the cached."""
    if told is not None or prompts is None:
        return told
    return max(0.0, prompts - (cached or 0.0))


def merged(a: Mapping[K, float], b: Mapping[K, float]) -> dict[K, float]:
    """Sums by key, in the order in which keys came."""
    result = dict(a)
    for key, value in b.items():
        result[key] = result.get(key, 0.0) + value
    return result


def ratio(part: float | None, whole: float | None) -> float | None:
    """None where either is missing or the whole is nothing."""
    return None if part is None or not whole else part / whole
