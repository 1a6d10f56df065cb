"""The intervals that the labeller gets to see of a simulated deployment.

`pages`: pages as the engines would publish them, through the product's own import, and GPU figures
0.3 s late. `no-steps` lacks the step counter, `no-busy` the GPUs, `neither` both. `exact` are the
true amounts of each interval, for diagnosis.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TextIO

from benchmarks.phasebench.deployment import Instance
from benchmarks.phasebench.pages import Publisher
from benchmarks.phasebench.simulator import Done
from benchmarks.phasebench.tables import Card
from collectors.importer import import_intervals
from collectors.model import EngineKey, Interval
from collectors.phase.rules import IDLE_BELOW, share_label
from collectors.readings import EngineReading, GpuReading, rounded

Inputs = Literal["pages", "exact", "no-steps", "no-busy", "neither"]
INPUTS: tuple[Inputs, ...] = ("pages", "exact", "no-steps", "no-busy", "neither")

GPU_LATE_SECONDS = 0.3
_EPOCH = 1_700_000_000
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Truth:
    """One interval of one engine: busy and prefill seconds, what was done, and KV cache use at its end."""

    seconds: float
    busy: float
    prefill: float
    prompt_tokens: float
    generated: float
    decode_steps: float
    first_tokens: float
    kv_usage: float

    @property
    def share(self) -> float | None:
        return self.prefill / self.busy if self.busy > IDLE_BELOW * self.seconds else None

    @property
    def label(self) -> str:
        return "idle" if self.share is None else share_label(self.share)


def truths(steps: Sequence[Done], interval: float, seconds: float) -> list[Truth]:
    """The simulation cut into intervals; a step that crosses an edge is divided in proportion."""
    count = int(seconds / interval)
    sums = [[0.0] * 7 for _ in range(count)]
    for step in steps:
        took = step.end - step.start
        decodes = 1.0 if step.decode else 0.0
        values = (took, step.prefill_seconds, step.prefill_tokens, step.decode, decodes)
        index = int(step.start / interval)
        while index < count and index * interval < step.end:
            part = min(step.end, (index + 1) * interval) - max(step.start, index * interval)
            for position, value in enumerate(values):
                sums[index][position] += value * part / took
            index += 1
        landed = min(int(step.end / interval), count - 1)
        sums[landed][5] += len(step.finished_prompts)
        sums[landed][6] = step.kv_usage
    return [Truth(interval, *row) for row in sums]


def intervals(
    instances: Sequence[Instance],
    true: Mapping[EngineKey, Sequence[Truth]],
    card: Card,
    interval: float,
    inputs: Inputs,
) -> Iterator[Interval]:
    """The intervals, numbered from 0."""
    if inputs == "exact":
        yield from _exact(instances, true, card, interval)
        return
    count = len(next(iter(true.values())))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pages.jsonl")
        with path.open("w") as file:
            _publish(file, instances, count, interval, with_steps=inputs in ("pages", "no-busy"))
        busy = {one.key: BusyTime(one.steps) for one in instances} if inputs in ("pages", "no-steps") else {}
        for index, one in enumerate(import_intervals([path], interval=interval)):
            begin = index * interval - GPU_LATE_SECONDS
            ratios = {key: time.between(begin, begin + interval) / interval for key, time in busy.items()}
            yield _with_gpus(replace(one, sequence=index), ratios, card, instances[0].limits.kv_tokens, interval)


def _publish(file: TextIO, instances: Sequence[Instance], count: int, interval: float, *, with_steps: bool) -> None:
    lives = [
        (one, process, Publisher(process.steps, one.limits.kv_tokens, one.index, one.takes_over, with_steps=with_steps))
        for one in instances
        for process in one.processes
    ]
    for index in range(count):
        at = (index + 1) * interval - 0.005
        pages: dict[str, str] = {one.endpoint: "" for one in instances}
        for one, process, publisher in lives:
            if process.begin <= at <= process.end:
                pages[one.endpoint] += publisher.page(at)
        for endpoint, text in pages.items():
            line = {"t": _EPOCH + at - 0.004, "dur": 0.004, "url": endpoint}
            file.write(json.dumps(line | ({"text": text} if text else {"error": "connection refused"})) + "\n")


def _with_gpus(
    one: Interval, ratios: Mapping[EngineKey, float], card: Card, kv_tokens: int, interval: float
) -> Interval:
    gpus: dict[str, GpuReading] = {}
    for number, ratio in enumerate(ratios.values()):
        for rank in range(card.count):
            uuid = f"GPU-{number}-{rank}"
            gpus[uuid] = rounded(
                GpuReading(
                    uuid=uuid,
                    index=len(gpus),
                    source="simulated",
                    window_seconds=interval,
                    kernel_active_ratio=ratio,
                    memory_used_bytes=card.memory_used(kv_tokens),
                    memory_total_bytes=card.memory,
                    tensor_peak_flops_per_second=card.peaks.tensor,
                    dram_peak_bytes_per_second=card.peaks.dram,
                )
            )
    owned = {key: _uuids(number, card) for number, key in enumerate(ratios)}
    engines = {key: replace(reading, gpus=owned.get(key, ())) for key, reading in one.engines.items()}
    return replace(one, gpus=gpus, engines=engines)


def _uuids(number: int, card: Card) -> tuple[str, ...]:
    return tuple(f"GPU-{number}-{rank}" for rank in range(card.count))


def _exact(
    instances: Sequence[Instance], true: Mapping[EngineKey, Sequence[Truth]], card: Card, interval: float
) -> Iterator[Interval]:
    for index in range(len(next(iter(true.values())))):
        start = _EPOCH * _SECOND + round(index * interval * _SECOND)
        readings = [_exact_reading(one, true[one.key][index], interval) for one in instances]
        bare = Interval(
            index,
            start,
            start + round(interval * _SECOND),
            interval,
            engines={reading.key: reading for reading in readings},
        )
        yield _with_gpus(
            bare,
            {one.key: true[one.key][index].busy / interval for one in instances},
            card,
            instances[0].limits.kv_tokens,
            interval,
        )


def _exact_reading(instance: Instance, one: Truth, interval: float) -> EngineReading:
    return EngineReading(
        endpoint=instance.endpoint,
        engine_index=instance.index,
        engine="vllm",
        window_seconds=interval,
        prompt_tokens_computed=one.prompt_tokens,
        generation_tokens=one.generated + one.first_tokens,
        first_tokens=one.first_tokens,
        decode_steps=one.decode_steps,
        requests_running=1.0 if one.busy else 0.0,
        kv_cache_usage_ratio=one.kv_usage,
        kv_cache_tokens=float(instance.limits.kv_tokens),
    )


class BusyTime:
    """Busy seconds between any two moments of a run."""

    def __init__(self, steps: Sequence[Done]) -> None:
        self._starts = [step.start for step in steps]
        self._steps = steps
        self._before = [0.0]
        for step in steps:
            self._before.append(self._before[-1] + step.end - step.start)

    def between(self, start: float, end: float) -> float:
        return max(0.0, self._until(end) - self._until(start))

    def _until(self, at: float) -> float:
        index = bisect_right(self._starts, at)
        if index == 0:
            return 0.0
        last = self._steps[index - 1]
        return self._before[index - 1] + min(at, last.end) - last.start
