"""One workload through the product's own path, compared with the truth."""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Literal

from benchmarks.phasebench.pages import Publisher
from benchmarks.phasebench.simulator import Done, Limits
from collectors.importer import import_intervals
from collectors.model import Interval, Label, engine_entity
from collectors.phase.label import Labeller
from collectors.phase.rules import IDLE_BELOW, share_label
from collectors.readings import EngineReading, GpuReading, rounded

Inputs = Literal["pages", "exact", "no-steps", "no-busy", "neither"]
INPUTS: tuple[Inputs, ...] = ("pages", "exact", "no-steps", "no-busy", "neither")

WARM_UP_SECONDS = 120.0
GPU_LATE_SECONDS = 0.3
_EPOCH = 1_700_000_000
_GPU = "GPU-simulated"
_ENDPOINT = "http://simulated/metrics"
_SECOND = 1_000_000_000

# Spec-sheet roofline of the card the tables were measured on, for the baseline only.
_PARAMETERS, _PEAK_FLOPS, _PEAK_BYTES = 8.03e9, 504e12, 1.79e12


@dataclass(frozen=True, slots=True)
class Truth:
    """One interval of the simulation: busy and prefill seconds, and what was done, per interval."""

    seconds: float
    busy: float
    prefill: float
    prompt_tokens: float
    generated: float
    decode_steps: float
    first_tokens: float
    kv_seconds: float

    @property
    def share(self) -> float | None:
        return self.prefill / self.busy if self.busy > IDLE_BELOW * self.seconds else None

    @property
    def label(self) -> str:
        return "idle" if self.share is None else share_label(self.share)


@dataclass(frozen=True, slots=True)
class Row:
    """The score of one workload, interval and set of inputs. Shares and errors are ratios."""

    workload: str
    interval: float
    inputs: Inputs
    mae: float
    bias: float
    p95: float
    macro_f1: float
    mixed_accuracy: float | None
    coverage: float
    abstained: float
    delay_seconds: float | None
    intervals: int
    baselines: dict[str, float]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def truths(steps: Sequence[Done], interval: float, seconds: float) -> list[Truth]:
    """The simulation cut into intervals; a step that crosses an edge is divided in proportion."""
    count = int(seconds / interval)
    sums = [[0.0] * 7 for _ in range(count)]
    for step in steps:
        took = step.end - step.start
        values = (
            took,
            step.prefill_seconds,
            step.prefill_tokens,
            step.decode,
            1.0 if step.decode else 0.0,
            0.0,
            step.kv_usage * took,
        )
        index = int(step.start / interval)
        while index < count and index * interval < step.end:
            part = min(step.end, (index + 1) * interval) - max(step.start, index * interval)
            for position, value in enumerate(values):
                sums[index][position] += value * part / took
            index += 1
        landed = min(int(step.end / interval), count - 1)
        sums[landed][5] += len(step.finished_prompts)
    return [Truth(interval, *row) for row in sums]


def score(name: str, steps: Sequence[Done], limits: Limits, interval: float, seconds: float, inputs: Inputs) -> Row:
    """Labels the simulated run from the given inputs and scores the settled labels."""
    true = truths(steps, interval, seconds)
    labeller = Labeller()
    settled: dict[int, Label] = {}
    provisional: dict[int, Label] = {}
    entity = engine_entity((_ENDPOINT, "0"))
    for index, one in enumerate(_intervals(steps, true, limits, interval, inputs)):
        tick = labeller.push(replace(one, sequence=index))
        provisional[index] = tick.labels[entity]
        settled.update({label.sequence: label for label in tick.settled if label.entity == entity})
    settled.update({label.sequence: label for label in labeller.flush() if label.entity == entity})
    scored = range(int(WARM_UP_SECONDS / interval), len(true))
    return _row(name, interval, inputs, true, settled, provisional, scored)


def _intervals(
    steps: Sequence[Done], true: list[Truth], limits: Limits, interval: float, inputs: Inputs
) -> Iterator[Interval]:
    if inputs == "exact":
        yield from _exact(true, limits, interval)
        return
    with_steps = inputs in ("pages", "no-busy")
    with_gpu = inputs in ("pages", "no-steps")
    publisher = Publisher(steps, limits.kv_tokens, with_steps=with_steps)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pages.jsonl")
        with path.open("w") as file:
            for index in range(len(true)):
                at = (index + 1) * interval - 0.005
                line = {"t": _EPOCH + at - 0.004, "dur": 0.004, "text": publisher.page(at), "url": _ENDPOINT}
                file.write(json.dumps(line) + "\n")
        busy = _BusyTime(steps)
        for index, one in enumerate(import_intervals([path], interval=interval)):
            if not with_gpu:
                yield one
                continue
            late = busy.between(index * interval - GPU_LATE_SECONDS, (index + 1) * interval - GPU_LATE_SECONDS)
            gpu = rounded(
                GpuReading(uuid=_GPU, source="simulated", window_seconds=interval, kernel_active_ratio=late / interval)
            )
            engines = {key: replace(reading, gpus=(_GPU,)) for key, reading in one.engines.items()}
            yield replace(one, gpus={_GPU: gpu}, engines=engines)


def _exact(true: list[Truth], limits: Limits, interval: float) -> Iterator[Interval]:
    for index, one in enumerate(true):
        reading = EngineReading(
            endpoint=_ENDPOINT,
            engine_index="0",
            engine="vllm",
            window_seconds=interval,
            prompt_tokens_computed=one.prompt_tokens,
            generation_tokens=one.generated + one.first_tokens,
            first_tokens=one.first_tokens,
            kv_cache_usage_ratio=one.kv_seconds / one.busy if one.busy else 0.0,
            kv_cache_tokens=float(limits.kv_tokens),
            decode_steps=one.decode_steps,
            requests_running=1.0 if one.busy else 0.0,
            gpus=(_GPU,),
        )
        gpu = GpuReading(uuid=_GPU, source="simulated", kernel_active_ratio=one.busy / interval)
        start = _EPOCH * _SECOND + round(index * interval * _SECOND)
        end = start + round(interval * _SECOND)
        yield Interval(index, start, end, interval, gpus={_GPU: gpu}, engines={reading.key: reading})


class _BusyTime:
    """Busy seconds between any two moments of a run."""

    def __init__(self, steps: Sequence[Done]) -> None:
        self._starts = [step.start for step in steps]
        self._steps = steps
        self._before = [0.0]
        for step in steps:
            self._before.append(self._before[-1] + step.end - step.start)

    def _until(self, at: float) -> float:
        index = bisect_right(self._starts, at)
        if index == 0:
            return 0.0
        last = self._steps[index - 1]
        return self._before[index - 1] + min(at, last.end) - last.start

    def between(self, start: float, end: float) -> float:
        return self._until(max(0.0, end)) - self._until(max(0.0, start))


def _row(
    name: str,
    interval: float,
    inputs: Inputs,
    true: list[Truth],
    settled: dict[int, Label],
    provisional: dict[int, Label],
    scored: range,
) -> Row:
    errors: list[float] = []
    covered = abstained = asked = mixed = mixed_right = 0
    confusion: Counter[tuple[str, str]] = Counter()
    for index in scored:
        label = settled[index].phase
        confusion[true[index].label, label.label] += 1
        share = true[index].share
        if share is None:
            continue
        asked += 1
        if 0.3 <= share <= 0.7:
            mixed += 1
            mixed_right += label.label == true[index].label
        if label.prefill_share is None:
            abstained += 1
            continue
        errors.append(label.prefill_share - share)
        covered += abs(errors[-1]) <= (label.error or 0.0)
    magnitudes = sorted(abs(error) for error in errors) or [1.0]
    return Row(
        name,
        interval,
        inputs,
        round(fmean(magnitudes), 4),
        round(fmean(errors or [1.0]), 4),
        round(magnitudes[int(0.95 * (len(magnitudes) - 1))], 4),
        round(_macro_f1(confusion), 4),
        round(mixed_right / mixed, 4) if mixed >= 20 else None,
        round(covered / max(1, len(errors)), 4),
        round(abstained / max(1, asked), 4),
        _delay(true, provisional, interval),
        asked,
        _baselines(true, scored),
    )


def _macro_f1(confusion: Counter[tuple[str, str]]) -> float:
    """Mean F1 over the labels that truly occur at least a hundredth of the time."""
    total = confusion.total()
    scores: list[float] = []
    for label in {truth for truth, _ in confusion}:
        support = sum(count for (truth, _), count in confusion.items() if truth == label)
        if support < 0.01 * total:
            continue
        right = confusion[label, label]
        said = sum(count for (_, given), count in confusion.items() if given == label)
        scores.append(2 * right / (support + said) if support + said else 0.0)
    return fmean(scores) if scores else 0.0


def _delay(true: list[Truth], provisional: dict[int, Label], interval: float) -> float | None:
    """Mean seconds from a lasting change of the true label until the provisional label shows it."""
    hold = max(1, round(5.0 / interval))
    delays: list[float] = []
    for index in range(max(hold, int(WARM_UP_SECONDS / interval)), len(true) - hold):
        before = {one.label for one in true[index - hold : index]}
        after = {one.label for one in true[index : index + hold]}
        if len(before) == len(after) == 1 and before != after:
            wanted = after.pop()
            late = next((n for n in range(4 * hold) if _says(provisional.get(index + n), wanted)), 4 * hold)
            delays.append((late + 1) * interval)
    return round(fmean(delays), 2) if delays else None


def _says(label: Label | None, wanted: str) -> bool:
    return label is not None and label.phase.label == wanted


def _baselines(true: list[Truth], scored: range) -> dict[str, float]:
    rows = [true[index] for index in scored if true[index].share is not None]
    shares = [row.share or 0.0 for row in rows]
    constant = median(shares) if shares else 0.0
    token = [row.prompt_tokens / max(1.0, row.prompt_tokens + row.generated) for row in rows]
    roofline = [_roofline(row) for row in rows]

    def mae(guesses: Sequence[float]) -> float:
        return round(fmean(abs(guess - share) for guess, share in zip(guesses, shares, strict=True)), 4)

    if not rows:
        return {}
    return {"constant": mae([constant] * len(rows)), "token_share": mae(token), "roofline": mae(roofline)}


def _roofline(row: Truth) -> float:
    prefill = 2 * _PARAMETERS * row.prompt_tokens / (0.5 * _PEAK_FLOPS)
    decode = row.decode_steps * 2 * _PARAMETERS / (0.6 * _PEAK_BYTES)
    return prefill / (prefill + decode) if prefill + decode else 0.0
