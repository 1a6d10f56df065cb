"""A made-up node for the demo: 8 GPUs, two engines of four, and three quarters of an hour of chat.

Step times are measured ones (phasebench's tables), requests are drawn, and what happens is a script: a
quiet night, chat load that grows, a batch of long prompts, answers so long that the KV cache is full, a
GPU that throttles for its heat, and an engine that is restarted. The engines' pages and a dcgm-exporter's
page are published once a second and read as `phasetop import` reads them; the host's readings (demo_host.py)
follow from the same steps.
"""

from __future__ import annotations

import json
import random
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.demo_host import Asked, Host, Process, processes, told_of
from benchmarks.phasebench.pages import Publisher
from benchmarks.phasebench.simulator import Done, Limits, simulate
from benchmarks.phasebench.tables import Card, StepTimes, find_tables
from benchmarks.phasebench.traces import Request
from collectors.importer import import_intervals
from collectors.model import HOST, EngineKey, Event, Interval
from collectors.readings import EngineReading

TABLE = "A100-vllm/opt-66b/tp4"
MODEL = "facebook/opt-66b"
SECONDS = 2700
START = 1_795_156_200
"""2026-11-20T06:30:00Z"""
GPUS = 8
_ENGINES = 2
_RANKS = GPUS // _ENGINES
_DCGM = "http://127.0.0.1:9400/metrics"

_BURST = (1230, 1400)
_LONG_ANSWERS = (1560, 1830)
_HOT = (2040, 2290)
_HOT_GPU = 5
_DOWN = (2400, 2445)
_LOADING = (2405, 2445)
"""Seconds in which the restarted engine reads its weights."""
_SLOWER = 1.45
NOTES = (
    (1229, "ticket summaries: nightly batch begins"),
    (2399, "engine on port 8000 restarted with 1.4.2"),
)

_IDLE_WATTS, _LIMIT_WATTS = 62.0, 400.0
_CLOCK, _HOT_CLOCK = 1410.0, 1005.0


def node(data: Path, seed: int = 7) -> Iterator[tuple[Interval, tuple[Event, ...]]]:
    """The intervals of the node, each with the notes of a person that fall into it."""
    tables = next(make() for name, make in find_tables(data) if name == TABLE)
    runs = _served(_requests(seed), tables)
    works, machine, chance = _Works(runs, tables.card), Host(seed), random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        pages = Path(directory, "pages.jsonl")
        with pages.open("w") as file:
            for line in _published(runs, works, tables.card, seed):
                file.write(json.dumps(line) + "\n")
        for interval in import_intervals([pages]):
            gpus = {uuid: replace(gpu, source="simulated") for uuid, gpu in interval.gpus.items()}
            second = interval.start // 10**9 - START
            notes = tuple(Event(interval.end - 1, "note", HOST, text) for at, text in NOTES if at == second)
            asked = [works.asked(engine, second + 1) for engine in range(_ENGINES)]
            running = [processes(engine, one, _RANKS, chance) for engine, one in enumerate(asked)]
            host = machine.reading(asked, running, interval.duration)
            yield replace(interval, host=host, gpus=gpus, engines=_owning(interval, running)), notes


def _owning(interval: Interval, running: Sequence[Sequence[Process]]) -> dict[EngineKey, EngineReading]:
    """The engines with their GPUs and processes, which pages do not tell."""
    engines = {}
    for key, engine in interval.engines.items():
        number = _engine_of(engine.endpoint)
        gpus = tuple(_uuid(_gpu(number, rank)) for rank in range(_RANKS))
        engines[key] = replace(engine, gpus=gpus, **told_of(running[number], engine.window_seconds))
    return engines


def _endpoint(engine: int) -> str:
    return f"http://127.0.0.1:{8000 + engine}/metrics"


def _engine_of(endpoint: str) -> int:
    return next(engine for engine in range(_ENGINES) if _endpoint(engine) == endpoint)


def _gpu(engine: int, rank: int) -> int:
    return engine * _RANKS + rank


def _uuid(gpu: int) -> str:
    return f"GPU-5110a7ed-0000-4000-8000-{gpu:012d}"


def _rate(at: float) -> float:
    """Chat requests a second of the whole node."""
    if at < 420:
        return 0.01
    if at < 1230:
        return 0.1 + 1.1 * (at - 420) / 810
    if at >= 2500:
        return 0.6
    return 1.2


def _requests(seed: int) -> list[list[Request]]:
    """The requests of each engine, by their arrival."""
    chance = random.Random(seed)
    shared: list[list[Request]] = [[] for _ in range(_ENGINES)]
    at = 0.0
    while (at := at + chance.expovariate(3.0)) < SECONDS:
        engine = 1 if _DOWN[0] - 2 <= at < _DOWN[1] else chance.randrange(_ENGINES)
        prompt, output = int(chance.lognormvariate(5.6, 0.7)), int(chance.lognormvariate(5.0, 0.6))
        if chance.random() < _rate(at) / 3.0:
            if _LONG_ANSWERS[0] <= at < _LONG_ANSWERS[1]:
                prompt, output = chance.randrange(500, 900), chance.randrange(700, 1100)
            shared[engine].append(Request(at, min(prompt, 1800), min(output, 200)))
            if _LONG_ANSWERS[0] <= at < _LONG_ANSWERS[1]:
                shared[engine][-1] = Request(at, prompt, output)
        if _BURST[0] <= at < _BURST[1] and chance.random() < 0.55:
            shared[engine].append(Request(at, chance.randrange(1300, 1950), chance.randrange(8, 40)))
    return shared


@dataclass(frozen=True, slots=True)
class _Run:
    """One life of an engine's process."""

    engine: int
    begin: float
    end: float
    steps: Sequence[Done]


def _served(requests: Sequence[Sequence[Request]], tables: StepTimes) -> list[_Run]:
    limits = Limits(kv_tokens=tables.card.kv_tokens, host_gap=0.002)

    def slowdown(at: float) -> float:
        return _SLOWER if _HOT[0] + 40 <= at < _HOT[1] else 1.0

    before = [step for step in simulate(requests[0], tables, limits, _DOWN[0]) if step.end <= _DOWN[0]]
    late = [replace(one, arrival=one.arrival - _DOWN[1]) for one in requests[0] if one.arrival >= _DOWN[1]]
    after = simulate(late, tables, limits, SECONDS - _DOWN[1])
    for step in after:
        step.start, step.end = step.start + _DOWN[1], step.end + _DOWN[1]
    other = simulate(requests[1], tables, limits, SECONDS, slowdown=slowdown)
    return [_Run(0, 0, _DOWN[0], before), _Run(0, _DOWN[1], SECONDS, after), _Run(1, 0, SECONDS, other)]


@dataclass(frozen=True, slots=True)
class _Work:
    """What an engine's steps did in one second: shares of it busy, of tensor and of DRAM peak, and amounts."""

    busy: float
    tensor: float
    dram: float
    prompts: float
    tokens: float
    requests: int


class _Works:
    """What the engines did, second by second."""

    def __init__(self, runs: Sequence[_Run], card: Card) -> None:
        self._card = card
        self._runs = [(run, [step.start for step in run.steps]) for run in runs]

    def of(self, engine: int, second: int) -> _Work:
        """In the second that ends then."""
        busy = flops = read = prompts = tokens = 0.0
        requests = 0
        per_gpu = 2 * (self._card.weights or 0.0) / _RANKS
        for run, starts in self._runs:
            if run.engine != engine:
                continue
            for step in run.steps[max(0, bisect_right(starts, second - 1) - 1) : bisect_right(starts, second)]:
                inside = min(step.end, second) - max(step.start, second - 1)
                if inside <= 0:
                    continue
                part = inside / (step.end - step.start)
                busy += inside
                flops += part * per_gpu * (step.prefill_tokens + step.decode)
                cache = step.kv_usage * self._card.kv_tokens * (self._card.kv_token_bytes or 0.0) / _RANKS
                read += part * (per_gpu + (cache if step.decode else 0.0))
                if step.end <= second:
                    prompts += sum(prompt for prompt, _, _ in step.finished_prompts)
                    tokens += step.decode + len(step.finished_prompts)
                    requests += len(step.finished_prompts)
        tensor, dram = self._card.peaks.tensor or 1.0, self._card.peaks.dram or 1.0
        shares = min(1.0, busy), min(0.9, flops / tensor), min(0.93, read / dram)
        return _Work(*shares, prompts, tokens, requests)

    def asked(self, engine: int, second: int) -> Asked:
        """What that asks of the host."""
        if engine == 0 and _DOWN[0] < second <= _DOWN[1]:
            begin, end = _LOADING
            has = (second - begin) / (end - begin + 1)
            weights = 2 * (self._card.weights or 0.0)
            return Asked(loading=max(0.0, has), read=weights / (end - begin) if has > 0 else 0.0)
        work = self.of(engine, second)
        return Asked(work.busy, work.prompts, work.tokens, work.requests)


def _published(runs: Sequence[_Run], works: _Works, card: Card, seed: int) -> Iterator[dict[str, object]]:
    """The lines of the import file: both engines' pages and the exporter's, once a second."""
    publishers = [(run, Publisher(run.steps, card.kv_tokens)) for run in runs]
    exporter = _Exporter(works, card, seed)
    for second in range(1, SECONDS + 1):
        at = second - 0.005
        for engine in range(_ENGINES):
            page = next(
                (one.page(at) for run, one in publishers if run.engine == engine and run.begin <= at <= run.end), None
            )
            line: dict[str, object] = {"t": START + at - 0.004, "dur": 0.004, "url": _endpoint(engine)}
            said = {"error": "connection refused"} if page is None else {"text": page.replace("simulated", MODEL)}
            yield line | said
        yield {"t": START + at - 0.003, "dur": 0.003, "url": _DCGM, "text": exporter.page(second)}


class _Exporter:
    """What a dcgm-exporter would show of the GPUs, from the steps that ran on them."""

    def __init__(self, works: _Works, card: Card, seed: int) -> None:
        self._works = works
        self._card = card
        self._chance = random.Random(seed)
        self._joules = [0.0] * GPUS
        self._heat = [41.0 + gpu % 4 for gpu in range(GPUS)]
        self._throttled = [0.0] * GPUS

    def page(self, second: int) -> str:
        """Of the second that ends then."""
        lines = ["# HELP DCGM_FI_DEV_THERMAL_VIOLATION Throttling duration due to thermal constraints (in ns)."]
        for engine in range(_ENGINES):
            work = self._works.of(engine, second)
            for rank in range(_RANKS):
                gpu = _gpu(engine, rank)
                labels = f'gpu="{gpu}",UUID="{_uuid(gpu)}",modelName="NVIDIA A100-SXM4-80GB"'
                lines += [f"DCGM_FI_{name}{{{labels}}} {value}" for name, value in self._figures(gpu, work, second)]
        return "\n".join(lines) + "\n"

    def _figures(self, gpu: int, work: _Work, second: int) -> Iterator[tuple[str, object]]:
        shares = (work.busy, work.tensor, work.dram)
        busy, tensor, dram = (value * self._chance.uniform(0.985, 1.0) for value in shares)
        is_hot = gpu == _HOT_GPU and _HOT[0] <= second < _HOT[1]
        watts = min(_LIMIT_WATTS, _IDLE_WATTS + busy * 55 + tensor * 420 + dram * 190)
        warmest = 31.0 + 0.125 * watts + gpu % 4 + (45.0 if is_hot else 0.0)
        self._heat[gpu] += (min(93.0, warmest) - self._heat[gpu]) * (0.05 if is_hot else 0.03)
        is_throttled = is_hot and second >= _HOT[0] + 40 and busy > 0
        self._throttled[gpu] += 0.82e9 * busy if is_throttled else 0.0
        self._joules[gpu] += watts * (0.72 if is_throttled else 1.0)
        used = self._card.memory_used(self._card.kv_tokens) or 0.0
        yield "PROF_SM_ACTIVE", round(busy * 0.93, 3)
        yield "PROF_PIPE_TENSOR_ACTIVE", round(tensor, 3)
        yield "PROF_DRAM_ACTIVE", round(dram, 3)
        yield "PROF_GR_ENGINE_ACTIVE", round(busy, 3)
        yield "DEV_GPU_UTIL", round(busy * 100)
        yield "DEV_FB_USED", round(used / 2**20)
        yield "DEV_FB_FREE", round(((self._card.memory or 0.0) - used) / 2**20)
        yield "DEV_POWER_USAGE", round(watts * (0.72 if is_throttled else 1.0))
        yield "DEV_ENFORCED_POWER_LIMIT", round(_LIMIT_WATTS)
        yield "DEV_TOTAL_ENERGY_CONSUMPTION", round(self._joules[gpu] * 1e3)
        yield "DEV_GPU_TEMP", round(self._heat[gpu])
        yield "DEV_SLOWDOWN_TEMP", 92
        yield "DEV_SM_CLOCK", _HOT_CLOCK if is_throttled else _CLOCK
        yield "DEV_MAX_SM_CLOCK", _CLOCK
        yield "DEV_THERMAL_VIOLATION", round(self._throttled[gpu])
