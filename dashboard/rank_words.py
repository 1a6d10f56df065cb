"""Which rank is out of step with its peers, in a sentence.

A rank is compared with the median of the others, over the last minute: one that is far above would
hide itself in a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from collectors.median import median
from collectors.model import EngineKey, Tick
from collectors.readings import EngineReading
from dashboard.format import latency as seconds_in_words
from dashboard.format import percent

MUCH_MORE = 1.5
"""Load this many times the median of the peers is named; its inverse too."""
_FEWEST_REQUESTS = 2.0
"""Ranks that differ by less than that in requests differ by chance."""
_KV_POINTS = 0.20
SLOWER = 1.3
"""A median latency this many times that of the peers is named."""

Latencies = Callable[[EngineKey, str], float | None]
"""The median of a latency of one engine over the minute, None where too little was observed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One rank over the minute: mean requests there (running and waiting), mean KV usage, median latencies."""

    key: EngineKey
    load: float | None
    kv: float | None
    ttft: float | None
    tpot: float | None


@dataclass(frozen=True, slots=True)
class Balance:
    """What is to be said about the ranks. `odd` is the one that is out of step."""

    text: str
    odd: EngineKey | None = None


def standings(ticks: Sequence[Tick], keys: Sequence[EngineKey], latencies: Latencies) -> list[Standing]:
    """How each of those ranks has fared over those ticks."""
    return [_standing(ticks, key, latencies) for key in keys]


def _standing(ticks: Sequence[Tick], key: EngineKey, latencies: Latencies) -> Standing:
    seen = [reading for tick in ticks if (reading := tick.interval.engines.get(key)) is not None]
    return Standing(
        key,
        load=_mean([_load(reading) for reading in seen]),
        kv=_mean([reading.kv_cache_usage_ratio for reading in seen]),
        ttft=latencies(key, "ttft"),
        tpot=latencies(key, "tpot"),
    )


def _load(reading: EngineReading) -> float | None:
    if reading.requests_running is None:
        return None
    return reading.requests_running + (reading.requests_waiting or 0.0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def balance(ranks: Sequence[Standing], names: Mapping[EngineKey, str], what: str = "ranks") -> Balance | None:
    """The rank that differs most, or that none does; None when there are no two to compare.

    `names` are what each is called in the sentence ("rank 3"), `what` all of them together.
    """
    if len(ranks) < 2:
        return None
    for find in (_by_load, _by_kv, _by_latency):
        found = find(ranks)
        if found is not None:
            rank, words = found
            told = ", ".join(_evidence(rank, ranks))
            return Balance(f"{names[rank.key]} {words}" + (f": {told}" if told else ""), rank.key)
    ranges = ", ".join(_ranges(ranks))
    return Balance(f"the {len(ranks)} {what} are in balance: {ranges}") if ranges else None


def _peers(rank: Standing, ranks: Sequence[Standing], what: str) -> float | None:
    """The median of the others."""
    known = [value for one in ranks if one is not rank and (value := getattr(one, what)) is not None]
    return median(known) if known else None


_Found = tuple[Standing, str] | None


def _by_load(ranks: Sequence[Standing]) -> _Found:
    best: tuple[float, Standing, str] | None = None
    for rank in ranks:
        others = _peers(rank, ranks, "load")
        if rank.load is None or others is None or abs(rank.load - others) < _FEWEST_REQUESTS:
            continue
        low, high = sorted((max(rank.load, 0.1), max(others, 0.1)))
        if high / low >= MUCH_MORE and (best is None or high / low > best[0]):
            best = (high / low, rank, _compared(rank.load, others))
    # Of two ranks both differ from the other by as much: the one with more is the one to look at.
    if best is not None and len(ranks) == 2:
        rank = max(ranks, key=lambda one: one.load or 0.0)
        return rank, _compared(rank.load or 0.0, _peers(rank, ranks, "load") or 0.0)
    return None if best is None else best[1:]


def _compared(load: float, others: float) -> str:
    if load > others:
        times = load / others if others > 0 else 99.0
        return f"carries {times:.1f} times the load of its peers" if times < 10 else "carries nearly all of the load"
    return f"carries {round((1 - load / others) * 100)} % less than its peers"


def _by_kv(ranks: Sequence[Standing]) -> _Found:
    differences = [
        (rank.kv - others, rank)
        for rank in ranks
        if rank.kv is not None and (others := _peers(rank, ranks, "kv")) is not None
    ]
    if not differences:
        return None
    difference, rank = max(differences, key=lambda one: (abs(one[0]), one[0]))
    if abs(difference) < _KV_POINTS:
        return None
    return rank, f"has its KV cache {'fuller' if difference > 0 else 'emptier'} than its peers"


def _by_latency(ranks: Sequence[Standing]) -> _Found:
    for what, name in (("tpot", "per token"), ("ttft", "to the first token")):
        ratios = [
            (value / others, rank)
            for rank in ranks
            if (value := getattr(rank, what)) is not None and (others := _peers(rank, ranks, what))
        ]
        ratio, slowest = max(ratios, key=lambda one: one[0], default=(0.0, None))
        if slowest is not None and ratio >= SLOWER:
            return slowest, f"takes {ratio:.1f} times as long {name} as its peers"
    return None


def _evidence(rank: Standing, ranks: Sequence[Standing]) -> list[str]:
    """The figures of a rank against the median of its peers."""
    told: list[str] = []
    for what, name, said in (
        ("load", "requests", _count), ("kv", "KV", _percent), ("tpot", "TPOT", _seconds), ("ttft", "TTFT", _seconds),
    ):  # fmt: skip
        value, others = getattr(rank, what), _peers(rank, ranks, what)
        if value is not None and others is not None:
            told.append(f"{name} {said(value)} ({'' if told else 'the others '}{said(others)})")
    return told[:3]


def _ranges(ranks: Sequence[Standing]) -> list[str]:
    told: list[str] = []
    for what, name, said in (("load", "requests", _count), ("kv", "KV", _percent)):
        known = [value for one in ranks if (value := getattr(one, what)) is not None]
        if len(known) == len(ranks):
            low, high = said(min(known)), said(max(known))
            told.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    return told


def _count(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _percent(value: float) -> str:
    return f"{percent(value).strip()} %"


def _seconds(value: float) -> str:
    return seconds_in_words(value).strip()
