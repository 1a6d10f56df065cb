"""Engines as data-parallel ranks of one page, beside others, for the tests and pictures of the Engines screen."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from collectors.histogram import Histogram
from collectors.model import EngineKey, Interval, Label, Tick, engine_entity
from collectors.readings import EngineReading
from collectors.slo import Objective, Slo, SloBook

from .wave import Wave

URL = "http://127.0.0.1:8000/metrics"
LLAMACPP = "http://127.0.0.1:8080/metrics"
PROMISED = SloBook(Slo(ttft=Objective(0.4, 0.99), tpot=Objective(0.1, 0.99)))
ODD = 2


def ranked(tick: Tick, odd: int | None = ODD) -> Tick:
    """All engines of the tick as ranks of one page; the odd one has more to do, and is slower."""
    interval = tick.interval
    engines = {}
    moved: dict[str, str] = {}
    for n, reading in enumerate(interval.engines.values()):
        rank = replace(_told(reading), endpoint=URL, engine_index=str(n))
        if n == odd and rank.state == "ok":
            rank = _overloaded(rank)
        engines[rank.key] = rank
        moved[engine_entity(reading.key)] = engine_entity(rank.key)
    return _relabelled(replace(tick, interval=replace(interval, engines=engines)), moved)


def with_llamacpp(tick: Tick) -> Tick:
    """Another engine, which tells no latencies, no KV cache and no reasons."""
    other = EngineReading(
        endpoint=LLAMACPP, engine_index="0", engine="llamacpp", window_seconds=1.0, prompt_tokens=120.0,
        generation_tokens=31.0, requests_running=2.0, requests_waiting=0.0,
    )  # fmt: skip
    interval: Interval = tick.interval
    return replace(tick, interval=replace(interval, engines={**interval.engines, other.key: other}))


@lru_cache(maxsize=16)
def ticks(ranks: int = 4, seconds: int = 120, odd: int | None = ODD) -> tuple[Tick, ...]:
    """A page of several ranks, and llama.cpp beside it."""
    return tuple(with_llamacpp(ranked(tick, odd)) for tick in Wave(gpus=2, engines=ranks).ticks(seconds))


def _told(reading: EngineReading) -> EngineReading:
    """The reading with all that a page can tell."""
    if reading.state != "ok":
        return reading
    return replace(
        reading, dtype="bfloat16", kv_cache_dtype="fp8", max_length_tokens=131_072.0, tensor_parallel=2.0,
        requests_waiting_capacity=3.0, requests_waiting_deferred=1.0, requests_stopped=reading.requests_finished,
        requests_cut_off=0.0, requests_aborted=0.0, requests_failed=0.0, requests_rejected=0.0,
        spec_draft_tokens=100.0, spec_accepted_tokens=71.0, spec_acceptance_ratio=0.71,
    )  # fmt: skip


def _overloaded(reading: EngineReading) -> EngineReading:
    usage = reading.kv_cache_usage_ratio
    return replace(
        reading, requests_running=(reading.requests_running or 0.0) * 2, requests_waiting=11.0,
        requests_waiting_capacity=11.0, requests_waiting_deferred=0.0, preemptions=1.0, requests_failed=0.0,
        kv_cache_usage_ratio=None if usage is None else min(1.0, usage * 2.45),
        ttft=_slower(reading.ttft), tpot=_slower(reading.tpot), e2e=_slower(reading.e2e), queue=_slower(reading.queue),
    )  # fmt: skip


def _slower(histogram: Histogram | None, buckets: int = 2) -> Histogram | None:
    """Every observation some buckets higher."""
    if histogram is None:
        return None
    counts = [0] * len(histogram.counts)
    for n, count in enumerate(histogram.counts):
        counts[min(n + buckets, len(counts) - 1)] += count
    return replace(histogram, counts=tuple(counts))


def _relabelled(tick: Tick, moved: dict[str, str]) -> Tick:
    def renamed(label: Label) -> Label:
        return replace(label, entity=moved.get(label.entity, label.entity))

    labels = {moved.get(entity, entity): renamed(label) for entity, label in tick.labels.items()}
    events = tuple(replace(event, entity=moved.get(event.entity, event.entity)) for event in tick.events)
    return replace(tick, labels=labels, settled=tuple(renamed(label) for label in tick.settled), events=events)


def rank(n: int) -> EngineKey:
    return (URL, str(n))
