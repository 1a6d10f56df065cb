"""What the advice predicts, against a simulation in which the lever is really moved.

    python -m benchmarks.bottlenecks.levers [--data DIR] [--seconds 300] [--seed 1]

An engine is simulated step by step on measured kernel times: under a load that rises for two and a
half minutes, then under more requests than it can take. Its pages go through import and labelling,
which calibrate the costs; the costs predict time per output token and tokens per second with one
limit changed. Then the simulation is run with that limit. Both are means over the crowded part.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from benchmarks.phasebench.inputs import truths
from benchmarks.phasebench.pages import Publisher
from benchmarks.phasebench.simulator import Done, Limits, simulate
from benchmarks.phasebench.tables import KernelTables
from benchmarks.phasebench.traces import Request
from collectors.bottleneck.predict import Load, chunk_step, effect, load_of, tpot
from collectors.importer import import_intervals
from collectors.model import Interval
from collectors.phase.calibrate import CostModel
from collectors.phase.label import Labeller
from collectors.readings import EngineReading, GpuReading

_CROWDED, _WARM_UP = 150.0, 180.0
_RATES = (0.3, 0.6, 1.0, 1.5, 2.0, 2.5)
"""Requests a second while the load rises, in steps of 25 s."""
_GPU, _PAGE = "GPU-simulated", "http://simulated/metrics"

Simulation = Callable[[Limits], list[Done]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A simulated run after its warm-up: seconds per output token, tokens per second, sequences at once."""

    tpot: float
    rate: float
    batch: float

    @classmethod
    def of(cls, steps: Sequence[Done], gap: float) -> Measured:
        part = [step for step in steps if step.start >= _WARM_UP and step.decode]
        tokens = sum(step.decode for step in part)
        seconds = sum(step.end - step.start + gap for step in steps if step.start >= _WARM_UP)
        took = sum(step.decode * (step.end - step.start + gap) for step in part)
        return cls(took / tokens, tokens / seconds, tokens / len(part))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One lever: what was predicted and what the simulation did. Seconds, ratios."""

    lever: str
    now: float
    predicted: float
    simulated: float
    predicted_gain: float | None = None
    simulated_gain: float | None = None

    @property
    def error(self) -> float:
        """Relative error of the predicted time."""
        return self.predicted / self.simulated - 1.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What the product had learned at the end of a run: costs, and the loads of its intervals."""

    costs: CostModel
    loads: Sequence[Load]

    @property
    def mean(self) -> Load:
        return Load(*(fmean(getattr(load, name) for load in self.loads) for name in Load.__dataclass_fields__))


def crowd(lengths: Sequence[tuple[int, int]], count: int, seed: int) -> list[Request]:
    """A rising load, then more requests at once than an engine can take."""
    chance = random.Random(seed)
    at, requests = 0.0, []
    while (at := at + chance.expovariate(_RATES[int(at / _CROWDED * len(_RATES))])) < _CROWDED:
        requests.append(Request(at, *chance.choice(lengths)))
    return [*requests, *(Request(_CROWDED, *chance.choice(lengths)) for _ in range(count))]


def observe(steps: Sequence[Done], limits: Limits, seconds: float) -> Observed:
    """A simulated run through pages, import and labelling."""
    labeller = Labeller()
    loads: list[Load] = []
    costs = CostModel()
    for interval in _intervals(steps, limits, seconds):
        labeller.push(interval)
        found = labeller.costs()
        for key, reading in interval.engines.items():
            costs = found.get(key, costs)
            load = load_of(reading, costs, 1.0 - (interval.gpus[_GPU].kernel_active_ratio or 0.0))
            if load is not None and interval.sequence >= _WARM_UP:
                loads.append(load)
    if not loads:
        raise ValueError("the run is too short for the costs to be learned")
    return Observed(costs, [replace(load, prompts=costs.prompts_per_token) for load in loads])


def _intervals(steps: Sequence[Done], limits: Limits, seconds: float) -> Iterator[Interval]:
    publisher = Publisher(steps, limits.kv_tokens)
    busy = [round(min(1.0, one.busy), 4) for one in truths(steps, 1.0, seconds)]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pages.jsonl"
        with path.open("w") as file:
            for second in range(int(seconds) + 1):
                page = {"t": 1_700_000_000 + second, "dur": 0.001, "text": publisher.page(second), "url": _PAGE}
                file.write(json.dumps(page) + "\n")
        for index, one in enumerate(import_intervals([path], interval=1.0)):
            if index >= len(busy):
                return
            gpu = GpuReading(uuid=_GPU, source="simulated", window_seconds=1.0, kernel_active_ratio=busy[index])
            engines = {key: _placed(reading) for key, reading in one.engines.items()}
            yield replace(one, gpus={_GPU: gpu}, engines=engines)


def _placed(reading: EngineReading) -> EngineReading:
    return replace(reading, gpus=(_GPU,))


def outcomes(
    tables: KernelTables, lengths: Sequence[tuple[int, int]], seconds: float, seed: int, levers: Sequence[str] = ("",)
) -> Iterator[Outcome]:
    """Every lever whose name begins with one of `levers`, one after the other."""
    requests = crowd(lengths, 40 * int(seconds), seed)

    def run(limits: Limits) -> list[Done]:
        return simulate(requests, tables, limits, seconds)

    moves: list[tuple[str, Limits, Limits, float, float | None]] = [
        (f"batch {few} → {many}", Limits(sequences=few), Limits(sequences=many), many / few, None)
        for few, many in ((23, 46), (32, 64), (64, 128))
    ]
    tight, slow = Limits(sequences=256, kv_tokens=24_000), Limits(sequences=32, host_gap=0.006)
    moves.append(("KV cache 24k → 48k tokens", tight, replace(tight, kv_tokens=48_000), 2.0, None))
    moves.append(("host gap 6 → 0 ms", slow, replace(slow, host_gap=0.0), 1.0, 0.0))
    for name, before, after, scale, gap in moves:
        if name.startswith(tuple(levers)):
            yield _moved(name, before, after, run, seconds, scale=scale, gap=gap)
    if "prefill chunk".startswith(tuple(levers)):
        yield from _chunks(Limits(sequences=32), run, seconds)


def _moved(
    name: str, before: Limits, after: Limits, run: Simulation, seconds: float, *, scale: float, gap: float | None = None
) -> Outcome:
    steps = run(before)
    seen = observe(steps, before, seconds)
    load = seen.mean
    changed = load.scaled(scale)
    if gap is not None:
        changed = replace(changed, gap=gap)
    predicted = effect(load, changed, seen.costs)
    now, then = Measured.of(steps, before.host_gap), Measured.of(run(after), after.host_gap)
    return Outcome(
        name, predicted.tpot_before, predicted.tpot_after, then.tpot, predicted.gain, then.rate / now.rate - 1.0
    )


def _chunks(before: Limits, run: Simulation, seconds: float) -> Iterator[Outcome]:
    """The longest kind of step: a whole chunk of prompt beside the decoding sequences."""
    seen = observe(run(before), before, seconds)
    for chunk in (512, 1024):
        steps = run(replace(before, batch_tokens=chunk))
        full = [step for step in steps if step.start >= _WARM_UP and step.prefill_tokens >= 0.9 * (chunk - step.decode)]
        prompt = fmean(step.prefill_tokens for step in full)
        yield Outcome(
            f"prefill chunk 2048 → {chunk}: a full step",
            tpot(seen.mean, seen.costs),
            chunk_step(seen.mean, seen.costs, prompt),
            fmean(step.end - step.start for step in full),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    data = args.data or Path(os.environ.get("PHASETOP_TEST_DATA", "../shared")) / "data"
    tables = KernelTables(next(path.parent for path in sorted(data.rglob("attention.csv"))))
    rows = next(iter(sorted(data.rglob("requests.jsonl")))).read_text().splitlines()
    lengths = [(int(row["input_toks"]), int(row["output_toks"])) for row in map(json.loads, rows)]
    print(f"kernels {tables.name}, seed {args.seed}")
    print("| lever | ms now | ms predicted | ms simulated | error | tokens/s predicted | tokens/s simulated |")
    print("|---|---|---|---|---|---|---|")
    for one in outcomes(tables, lengths, args.seconds, args.seed):
        gains = (one.predicted_gain, one.simulated_gain)
        predicted, simulated = ("-" if gain is None else f"{gain * 100:+.0f} %" for gain in gains)
        print(
            f"| {one.lever} | {one.now * 1e3:.1f} | {one.predicted * 1e3:.1f} | {one.simulated * 1e3:.1f} | "
            f"{one.error * 100:+.1f} % | {predicted} | {simulated} |"
        )


if __name__ == "__main__":
    main()
