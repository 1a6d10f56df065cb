"""Measured times, and what one engine step costs by them.

A directory of kernel tables holds `dense.csv` (layer, tokens, time_us), `attention.csv`
(prefill_chunk, kv_prefill, n_decode, kv_decode, time_us), `per_sequence.csv` (layer, sequences,
time_us) and, for a mixture of experts, `moe.csv` (tokens, activated_experts, time_us), as
LLMServingSim publishes them. A step's time is the sum of its kernels over all layers; attention is
interpolated between measured points.

A DistServe profile holds, for each model and tensor parallelism, fits to whole steps: prefill
milliseconds = a + b * tokens + c * tokens^2, decode milliseconds = a + b * context tokens + c * batch.
"""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from collectors.gpu.peaks import Peaks, peaks

_ONCE = frozenset({"embedding", "final_layernorm"})
_TWICE = frozenset({"layernorm"})
_LAYERS = {
    "Llama-3.1-8B": 32, "Llama-3.1-70B": 80, "Llama-3.2-1B": 16, "Llama-3.2-3B": 28, "Qwen3-8B": 36, "Qwen3-14B": 40,
    "Qwen3-32B": 64, "Qwen3-30B-A3B": 48, "Mixtral-8x7B-v0.1": 32, "Phi-mini-MoE-instruct": 32,
}  # fmt: skip
"""Transformer blocks by the model's name; a longer name that begins with one of these has as many."""
_DEFAULT_LAYERS = 32
_EXPERTS = {"Qwen3-30B-A3B": (128, 8), "Mixtral-8x7B-v0.1": (8, 2), "Phi-mini-MoE-instruct": (16, 2)}
"""Experts of a layer, and how many of them a token visits."""
_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)B(?:-A(\d+(?:\.\d+)?)B)?", re.IGNORECASE)
_CARDS = {
    "RTXPRO6000": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96e9), "RTX4090": ("NVIDIA GeForce RTX 4090", 24e9),
    "RTX3090": ("NVIDIA GeForce RTX 3090", 24e9), "A6000": ("NVIDIA RTX A6000", 48e9), "L4": ("NVIDIA L4", 24e9),
    "L40S": ("NVIDIA L40S", 48e9), "A100": ("NVIDIA A100-SXM4-80GB", 80e9), "H100": ("NVIDIA H100 80GB HBM3", 80e9),
    "H200": ("NVIDIA H200", 141e9),
}  # fmt: skip
"""What a driver calls the cards that tables are named after, and their memory in bytes."""
_KV_BYTES = {
    "Llama-3.1-8B": 131072.0, "Llama-3.1-70B": 327680.0, "Llama-3.2-1B": 32768.0, "Llama-3.2-3B": 114688.0,
    "Qwen3-8B": 147456.0, "Qwen3-14B": 163840.0, "Qwen3-32B": 262144.0, "Qwen3-30B-A3B": 98304.0,
    "Mixtral-8x7B-v0.1": 131072.0, "opt-13b": 819200.0, "opt-66b": 2359296.0,
}  # fmt: skip
"""Bytes of a token in a 16-bit KV cache, by the model's layers and key-value heads."""

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


@dataclass(frozen=True, slots=True)
class Card:
    """What stands on the data sheets of one table's GPUs and model: for the baselines, and as NVML would tell.

    `parameters` are those a token visits and `weights` all of them; None where the name of the model does
    not tell. `count` is the tensor parallelism, `memory` the bytes of one GPU.
    """

    peaks: Peaks
    parameters: float | None = None
    count: int = 1
    memory: float | None = None
    kv_token_bytes: float | None = None

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV cache that 16-bit weights leave of nine tenths of the memory; half a million where unknown."""
        if self.memory is None or self.weights is None or self.kv_token_bytes is None:
            return 500_000
        room = 0.9 * self.memory * self.count - 2 * self.weights
        return max(20_000, int(room / self.kv_token_bytes))

    weights: float | None = None

    def memory_used(self, kv_tokens: int) -> float | None:
        """Bytes of one GPU's memory with 16-bit weights and so large a KV cache."""
        if self.weights is None or self.kv_token_bytes is None:
            return None
        return (2 * self.weights + kv_tokens * self.kv_token_bytes) / self.count


class StepTimes(Protocol):
    """Something that knows what an engine step costs."""

    @property
    def name(self) -> str: ...

    @property
    def card(self) -> Card: ...

    def seconds(self, step: Step) -> float: ...


def find_tables(data: Path) -> Iterator[tuple[str, Callable[[], StepTimes]]]:
    """Every table under a data directory by its name GPU/MODEL/tpN, to be read when it is called."""
    for path in sorted((data / "llmservingsim" / "perf").glob("**/tp*/attention.csv")):
        yield _table_name(path.parent), partial(KernelTables, path.parent)
    for path in sorted((data / "distserve").glob("*.json")):
        profile = json.loads(path.read_text())
        for model, by_parallelism in profile.items():
            for parallelism, fits in by_parallelism.items():
                # profiler-a100-80g.vllm.json: the card, and the engine that was profiled
                card, engine = path.stem.removeprefix("profiler-").split(".")
                name = f"{card.split('-')[0].upper()}-{engine}/{model.split('/')[-1]}/tp{parallelism}"
                yield name, partial(FittedSteps, name, fits)


def _table_name(directory: Path) -> str:
    """GPU/MODEL/tpN, without an organisation before the model or a number format after it."""
    parts = directory.parts[directory.parts.index("perf") + 1 :] if "perf" in directory.parts else directory.parts[-3:]
    gpu, *middle, parallelism = parts
    model = next((part for part in reversed(middle) if _BILLIONS.search(part) or "-" in part), middle[-1])
    return f"{gpu}/{model}/{parallelism}"


def _card(name: str) -> Card:
    gpu, model, parallelism = name.split("/")
    billions = _BILLIONS.search(model)
    every = float(billions.group(1)) * 1e9 if billions else None
    visited = float(billions.group(2)) * 1e9 if billions and billions.group(2) else every
    product, memory = _CARDS.get(gpu.removesuffix("-vllm").removesuffix("-distserve"), (None, None))
    count = int(parallelism.removeprefix("tp"))
    return Card(peaks(product), visited, count, memory, _of_model(_KV_BYTES, model), every)


def _of_model(table: Mapping[str, Any], model: str) -> Any:
    return next((value for known, value in table.items() if model.startswith(known)), None)


class FittedSteps:
    """Seconds of an engine step by fits to whole steps. A mixed step reads the weights once, not twice."""

    def __init__(self, name: str, fits: Mapping[str, Any]) -> None:
        self.name = name
        self.card = _card(name)
        self._prefill: Sequence[float] = fits["prefill"]
        self._small: Sequence[float] = fits["decoding_smallbs"]
        self._large: Sequence[float] = fits["decoding_largebs"]
        self._threshold: float = fits["decoding_large_small_bs_threshold"]

    def seconds(self, step: Step) -> float:
        prefill = decode = 0.0
        fixed = [self._prefill[0]] if step.prefill else []
        if step.prefill:
            tokens, before = step.prefill, step.prefill_context
            squares = tokens * (tokens + 2 * before)
            prefill = self._prefill[0] + self._prefill[1] * tokens + max(0.0, self._prefill[2]) * squares
        if step.decode:
            a, b, c = self._large if step.decode > self._threshold else self._small
            decode = a + b * step.decode * step.decode_context + c * step.decode
            fixed.append(a)
        return (prefill + decode - (min(fixed) if len(fixed) > 1 else 0.0)) * 1e-3


class KernelTables:
    """Seconds of an engine step by measured kernels."""

    def __init__(self, directory: Path) -> None:
        self.name = _table_name(directory)
        self.card = _card(self.name)
        model = self.name.split("/")[1]
        self._layers: int = _of_model(_LAYERS, model) or _DEFAULT_LAYERS
        self._experts: tuple[int, int] | None = _of_model(_EXPERTS, model)
        moe = directory / "moe.csv"
        self._moe = _expert_times(moe) if moe.exists() else {}
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
        layer += self._expert_time(tokens)
        sequences = step.decode + (1 if step.prefill else 0)
        once += sum(_along(curve, sequences) for curve in self._per_sequence.values())
        return (self._layers * (layer + self._attention_time(step)) + once) * 1e-6

    def _expert_time(self, tokens: int) -> float:
        """The experts of one layer, as many of them active as so many tokens visit on average."""
        if not self._moe:
            return 0.0
        most = max(max(curve)[0] for curve in self._moe.values())
        count, visited = self._experts or (int(most), 1)
        active = count * (1.0 - (1.0 - visited / count) ** tokens)
        sizes = sorted(self._moe)
        low = sizes[max(0, bisect_right(sizes, tokens) - 1)]
        high = sizes[min(len(sizes) - 1, bisect_right(sizes, tokens))]
        below, above = _along(self._moe[low], active), _along(self._moe[high], active)
        if low == high:
            return below * max(1.0, tokens / low)
        return below + (above - below) * (tokens - low) / (high - low)

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


def _expert_times(path: Path) -> dict[int, list[tuple[float, float]]]:
    """By tokens: microseconds by active experts, without expert parallelism."""
    times: dict[int, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.get("ep", "1") == "1":
                times.setdefault(int(row["tokens"]), []).append(
                    (float(row["activated_experts"]), float(row["time_us"]))
                )
    for curve in times.values():
        curve.sort()
    return times


def _points(path: Path) -> dict[Point, float]:
    """Attention by prompt part, its context, sequences and theirs; kernels of one step are added up."""
    points: dict[Point, float] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.get("decode_q_len", "1") in ("", "0", "1"):
                chunk, before = float(row["prefill_chunk"]), float(row["kv_prefill"])
                point = (chunk, before, float(row["n_decode"]), float(row["kv_decode"]))
                points[point] = points.get(point, 0.0) + float(row["time_us"])
    return points


def _along(curve: list[tuple[float, float]], at: float) -> float:
    """Linear between points, proportional beyond the last one."""
    index = bisect_right(curve, (at, float("inf")))
    if index == 0:
        return curve[0][1]
    if index == len(curve):
        return curve[-1][1] * at / curve[-1][0]
    (x0, y0), (x1, y1) = curve[index - 1], curve[index]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
