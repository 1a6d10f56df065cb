"""What labelling one interval costs: 8 GPUs, 2 engines, at steady state.

    python -m benchmarks.labelling [--intervals 600]

The reference in the same run is `json.dumps` of the interval's readings, so that the ratio can be
compared between machines.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from statistics import median

from collectors.model import Interval
from collectors.phase.label import Labeller
from collectors.readings import EngineReading, GpuReading

_SECOND = 1_000_000_000
_GPUS, _ENGINES = 8, 2


def _gpu(index: int, chance: random.Random) -> GpuReading:
    return GpuReading(
        uuid=f"GPU-{index}",
        index=index,
        name="NVIDIA H100 80GB HBM3",
        source="gpm",
        window_seconds=1.0,
        sm_active_ratio=chance.random(),
        tensor_active_ratio=0.3 * chance.random(),
        dram_active_ratio=0.8 * chance.random(),
        kernel_active_ratio=0.9 + 0.1 * chance.random(),
        throttle_power_ratio=0.0,
        power_watts=400 + 200 * chance.random(),
    )


def _engine(index: int, sequence: int, chance: random.Random) -> EngineReading:
    prompt = float(chance.choice((0, 0, 900, 2400)))
    steps = float(chance.randrange(20, 60))
    return EngineReading(
        endpoint=f"http://127.0.0.1:{8000 + index}/metrics",
        engine_index="0",
        engine="vllm",
        window_seconds=1.0,
        prompt_tokens=prompt,
        prompt_tokens_computed=prompt,
        prompt_tokens_cached=0.0,
        generation_tokens=steps * 16,
        first_tokens=float(prompt > 0),
        steps=steps,
        requests_running=16.0,
        requests_waiting=0.0,
        kv_cache_usage_ratio=0.4,
        kv_cache_tokens=500_000.0,
        gpus=tuple(f"GPU-{gpu}" for gpu in range(index * 4, index * 4 + 4)),
    )


def wave(count: int, *, seed: int = 1) -> Iterator[Interval]:
    """`count` one-second intervals of 8 GPUs under 2 engines with mixed load."""
    chance = random.Random(seed)
    for sequence in range(1, count + 1):
        gpus = [_gpu(index, chance) for index in range(_GPUS)]
        engines = [_engine(index, sequence, chance) for index in range(_ENGINES)]
        yield Interval(
            sequence,
            sequence * _SECOND,
            (sequence + 1) * _SECOND,
            1.0,
            gpus={gpu.uuid: gpu for gpu in gpus},
            engines={engine.key: engine for engine in engines},
        )


def _milliseconds(work: Callable[[Interval], object], intervals: list[Interval]) -> list[float]:
    spent: list[float] = []
    for interval in intervals:
        begun = time.process_time_ns()
        work(interval)
        spent.append((time.process_time_ns() - begun) / 1e6)
    return spent


def _dumped(interval: Interval) -> str:
    gpus = [asdict(gpu) for gpu in interval.gpus.values()]
    return json.dumps([*gpus, *(asdict(engine) for engine in interval.engines.values())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=600)
    intervals = list(wave(parser.parse_args().intervals))
    labeller = Labeller()
    labelling: list[float] = []
    fits: list[float] = []
    for interval in intervals:
        labelling += _milliseconds(labeller.push, [interval])
        fits += _milliseconds(lambda _: labeller.catch_up(), [interval])
    reference = _milliseconds(_dumped, intervals)
    labelling, fits, reference = labelling[60:], fits[60:], reference[60:]
    for name, spent in (("labelling", labelling), ("json.dumps of the readings", reference)):
        ordered = sorted(spent)
        p99 = ordered[int(0.99 * len(ordered))]
        print(f"{name:28s} median {median(ordered):.3f} ms  p99 {p99:.3f} ms an interval (CPU)")
    many = [one for one in fits if one > 1.0]
    print(f"fits, after the tick         {len(many)} of more than a millisecond, {max(fits):.1f} ms at most (CPU)")
    print(f"ratio labelling / reference: {median(labelling) / median(reference):.2f}")


if __name__ == "__main__":
    main()
