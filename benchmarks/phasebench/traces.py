"""Requests over time: recorded traces at a chosen rate, and made ones of known shape."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

Shape = Literal["one", "ranks", "split", "restart"]
"""Who serves: one engine, two data-parallel ranks, instances for prefill and decode, one that dies once."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it comes (seconds), its prompt, how much of it is cached, and its output, in tokens."""

    arrival: float
    prompt: int
    output: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Workload:
    """A named stream of requests, made anew for each seed, and who serves it.

    `kv_tokens` bounds the KV cache; None leaves what the card has.
    """

    name: str
    make: Callable[[float, int], list[Request]]
    shape: Shape = "one"
    kv_tokens: int | None = None


def _poisson(lengths: Sequence[tuple[int, int]], rate: float, seconds: float, seed: int) -> list[Request]:
    chance = random.Random(seed)
    at, requests = 0.0, []
    while (at := at + chance.expovariate(rate)) < seconds:
        prompt, output = lengths[chance.randrange(len(lengths))]
        requests.append(Request(at, max(1, prompt), max(1, output)))
    return requests


def _drawn(name: str, lengths: Sequence[tuple[int, int]], rate: float) -> Workload:
    return Workload(name, partial(_poisson, lengths, rate))


def _azure(path: Path) -> list[tuple[int, int]]:
    with path.open(newline="") as file:
        return [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]


def _sharegpt(path: Path) -> list[tuple[int, int]]:
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [(int(row["input_toks"]), int(row["output_toks"])) for row in rows]


def _prompt_heavy(seconds: float, seed: int) -> list[Request]:
    """Long prompts and short answers, as code completion has them."""
    chance = random.Random(seed)
    lengths = [(int(chance.lognormvariate(7.3, 0.8)), chance.randrange(8, 48)) for _ in range(2000)]
    return _poisson(lengths, 12.0, seconds, seed)


def _prefix_cached(lengths: Sequence[tuple[int, int]], seconds: float, seed: int) -> list[Request]:
    chance = random.Random(seed)
    made = _poisson(lengths, 4.0, seconds, seed)
    return [
        Request(one.arrival, one.prompt, one.output, int(one.prompt * chance.choice((0.0, 0.6, 0.9)))) for one in made
    ]


def _with_gaps(lengths: Sequence[tuple[int, int]], seconds: float, seed: int) -> list[Request]:
    """Load for half a minute, nothing for half a minute."""
    return [one for one in _poisson(lengths, 4.0, seconds, seed) if one.arrival % 60.0 < 30.0]


def workloads(data: Path) -> list[Workload]:
    """Every workload the data directory has the traces for."""
    found: list[Workload] = []
    for path in sorted((data / "azure_llm").glob("*.csv")):
        kind = path.stem.removeprefix("AzureLLMInferenceTrace_")
        lengths = _azure(path)
        rates = (1.0, 4.0) if kind == "conv" else (4.0, 12.0)
        found += [_drawn(f"azure-{kind}-{rate:g}", lengths, rate) for rate in rates]
        if kind == "conv":
            found.append(Workload("prefix-cached-4", partial(_prefix_cached, lengths)))
            found.append(Workload("idle-gaps-4", partial(_with_gaps, lengths)))
            found.append(Workload("two-ranks-8", partial(_poisson, lengths, 8.0), shape="ranks"))
            found.append(Workload("split-4", partial(_poisson, lengths, 4.0), shape="split"))
            found.append(Workload("restart-4", partial(_poisson, lengths, 4.0), shape="restart"))
    for path in sorted((data / "llmservingsim" / "bench").glob("*/*/requests.jsonl")):
        lengths = _sharegpt(path)
        found += [_drawn(f"sharegpt-{rate:g}", lengths, rate) for rate in (4.0, 10.0)]
        found.append(Workload("kv-limited-10", partial(_poisson, lengths, 10.0), kv_tokens=60_000))
        break
    found.append(Workload("prompt-heavy-12", _prompt_heavy))
    return found
