"""Measured kernel times, and what one engine step costs by them.

A table directory holds `dense.csv` (layer, tokens, time_us), `attention.csv` (prefill_chunk,
kv_prefill, n_decode, kv_decode, time_us) and `per_sequence.csv` (layer, sequences, time_us), as
LLMServingSim publishes them. A step's time is the sum of its kernels over all layers; attention is
interpolated between measured points.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

_ONCE = frozenset({"embedding", "final_layernorm"})
_TWICE = frozenset({"layernorm"})
_LAYERS = {"Llama-3.1-8B": 32, "Llama-3.1-70B": 80}
_DEFAULT_LAYERS = 32

Point = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine step computes: a prompt part, and one token for each decoding sequence.

    `prefill` are prompt tokens in this step and `prefill_context` how many of their sequences'
    tokens lie before them (mean); `decode_context` is the mean length of the decoding sequences.
    """

    prefill: int
    prefill_context: float
    decode: int
    decode_context: float


class KernelTables:
    """Seconds of an engine step by measured kernels."""

    def __init__(self, directory: Path) -> None:
        self.name = "/".join(directory.parts[-3:])
        self._layers = _LAYERS.get(directory.parts[-2], _DEFAULT_LAYERS)
        self._dense = _curves(directory / "dense.csv", "tokens")
        self._per_sequence = _curves(directory / "per_sequence.csv", "sequences")
        self._attention = _points(directory / "attention.csv")
        self._grids = tuple(sorted({point[axis] for point in self._attention}) for axis in range(4))
        self.seconds = lru_cache(maxsize=200_000)(self._seconds)

    def _seconds(self, step: Step) -> float:
        tokens = step.prefill + step.decode
        if tokens == 0:
            return 0.0
        layer = once = 0.0
        for name, curve in self._dense.items():
            time = _along(curve, tokens)
            if name in _ONCE:
                once += time
            else:
                layer += time * (2 if name in _TWICE else 1)
        sequences = step.decode + (1 if step.prefill else 0)
        once += sum(_along(curve, sequences) for curve in self._per_sequence.values())
        return (self._layers * (layer + self._attention_time(step)) + once) * 1e-6

    def _attention_time(self, step: Step) -> float:
        point = (float(step.prefill), step.prefill_context, float(step.decode), step.decode_context)
        if step.prefill and step.decode:
            mixed = self._interpolate(point)
            if mixed is not None:
                return mixed
        total = 0.0
        if step.prefill:
            total += self._interpolate((point[0], point[1], 0.0, 0.0)) or 0.0
        if step.decode:
            total += self._interpolate((0.0, 0.0, point[2], point[3])) or 0.0
        return total

    def _interpolate(self, point: Point) -> float | None:
        """Multilinear between the measured points around; None where a corner was not measured."""
        brackets = [self._bracket(axis, value) for axis, value in enumerate(point)]
        total = 0.0
        for corner in product(*brackets):
            weight = 1.0
            for _, part in corner:
                weight *= part
            if weight:
                key = tuple(position for position, _ in corner)
                time = self._attention.get((key[0], key[1], key[2], key[3]))
                if time is None:
                    return None
                total += weight * time
        return total

    def _bracket(self, axis: int, value: float) -> Sequence[tuple[float, float]]:
        grid = self._grids[axis]
        if value <= grid[0]:
            return ((grid[0], 1.0),)
        first = 1 if value < grid[1] else bisect_right(grid, value)
        if value < grid[1]:
            # Between "none" and the smallest measured amount: the smallest, since a kernel is launched.
            return ((grid[1], 1.0),)
        if first >= len(grid):
            return ((grid[-1], value / grid[-1]),)
        low, high = grid[first - 1], grid[first]
        part = (value - low) / (high - low)
        return ((low, 1.0 - part), (high, part))


def _curves(path: Path, axis: str) -> Mapping[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            curves.setdefault(row["layer"], []).append((float(row[axis]), float(row["time_us"])))
    for curve in curves.values():
        curve.sort()
    return curves


def _points(path: Path) -> dict[Point, float]:
    with path.open(newline="") as file:
        return {
            (float(r["prefill_chunk"]), float(r["kv_prefill"]), float(r["n_decode"]), float(r["kv_decode"])): float(
                r["time_us"]
            )
            for r in csv.DictReader(file)
        }


def _along(curve: list[tuple[float, float]], at: float) -> float:
    """Linear between points, proportional beyond the last one."""
    index = bisect_right(curve, (at, float("inf")))
    if index == 0:
        return curve[0][1]
    if index == len(curve):
        return curve[-1][1] * at / curve[-1][0]
    (x0, y0), (x1, y1) = curve[index - 1], curve[index]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
