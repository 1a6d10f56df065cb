"""Is a known wave of SM, tensor and DRAM activity shown as it was, and how many calls of NVML does that take?

    python -m benchmarks.gpu_wave [--interval 1 --interval 0.25] [--seconds 20] [--json]

Eight GPUs of the stand-in for NVML (which a C compiler builds) run through prefill, decode and idle, each at another
phase, and are read as `phasetop` reads them: the child process, pynvml, the sampler with its wall-aligned edges. The
truth is the script's exact mean over the time that each reading says it covers (`window_seconds`, which ended
`age_seconds` before the interval did); that is what the limits hold for. Beside it stands the error against the
interval itself: where a machine has no free core samples are taken late, and a GPU that changes what it does in just
those milliseconds is seen doing so in the neighbouring interval. No reader can help that, as the hardware gives
averages between two samples and nothing in between. Errors are in points (hundredths). Shown too are the calls per GPU
and interval by symbol, and how many of them are of slow facts, every ten seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from collectors.gpu.feed import GpuFeed
from collectors.gpu.worker import GpuSource
from collectors.model import Interval
from collectors.sampler import Sampler
from tests.nvml_stub.build import NoCompiler, Stub, build

GPUS = 8
LIMITS = {1.0: 0.01, 0.25: 0.03}
"""Largest error allowed over a reading's own time, by interval in seconds."""
FIELDS = {"sm": "sm_active_ratio", "tensor": "tensor_active_ratio", "dram": "dram_active_ratio"}
Stage = tuple[float, Mapping[str, float]]
WAVE: tuple[Stage, ...] = (
    (2.3, {"sm": 0.96, "tensor": 0.61, "dram": 0.34}),
    (3.9, {"sm": 0.83, "tensor": 0.07, "dram": 0.72}),
    (1.1, {"sm": 0.0, "tensor": 0.0, "dram": 0.0}),
)
OFFSET = 0.7
"""Seconds by which each GPU is ahead of the one before it."""
PER_INTERVAL = (
    "nvmlGpmSampleGet", "nvmlGpmMetricsGet", "nvmlDeviceGetFieldValues", "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetCurrentClocksEventReasons",
)  # fmt: skip
"""What may be asked of each GPU in each interval; all else is a slow fact."""
_BATCH = "nvmlDeviceGetFieldValues"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some figures: their mean, what 95 of 100 are below, and the largest."""

    mean: float
    p95: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        ordered = sorted(values)
        return cls(statistics.fmean(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1])

    def __str__(self) -> str:
        return f"mean {self.mean:.2f}, p95 {self.p95:.2f}, largest {self.largest:.2f}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one reading against the truth, in points, and how late its sample was, in ms."""

    own_error: float
    interval_error: float
    lateness: float


@dataclass(frozen=True, slots=True)
class Result:
    """Errors in points, lateness in ms, and calls per GPU and interval."""

    interval: float
    readings: int
    error: Spread
    interval_error: Spread
    lateness: Spread
    calls: Mapping[str, float]

    @property
    def slow_calls(self) -> float:
        """Those of slow facts. One batch of field values is asked in each round; what is beyond that is health's."""
        beyond = self.calls.get(_BATCH, 0.0) - 1.0
        return sum(count for symbol, count in self.calls.items() if symbol not in PER_INTERVAL) + beyond

    @property
    def fast_calls(self) -> float:
        return sum(self.calls.values()) - self.slow_calls


def script() -> list[str]:
    stages = [f"stage {seconds} " + " ".join(f"{key}={value}" for key, value in what.items()) for seconds, what in WAVE]
    return [f"gpus {GPUS}", *stages, *(f"offset@{gpu} {OFFSET * gpu}" for gpu in range(GPUS))]


def true_mean(key: str, gpu: int, start: float, end: float) -> float:
    """The wave's mean over a span of the monotonic clock."""
    length = sum(seconds for seconds, _ in WAVE)
    at = (start + OFFSET * gpu) // length * length - OFFSET * gpu
    total = 0.0
    while at < end:
        for seconds, what in WAVE:
            total += what[key] * max(0.0, min(end, at + seconds) - max(start, at))
            at += seconds
    return total / (end - start)


def measure(interval: float, seconds: float, directory: Path) -> Result:
    """Raises NoCompiler."""
    stub = Stub(build(directory), directory)
    os.environ.update(stub.environment)
    stub.script(*script())
    taken: list[Interval] = []
    sampler = Sampler([GpuFeed(GpuSource(library=str(stub.library)))], interval=interval, deliver=taken.append)
    to_monotonic = time.monotonic() - time.time()
    sampler.start()
    try:
        while not any(len(one.gpus) == GPUS for one in taken):
            time.sleep(0.05)
        begin, before = len(taken), stub.calls()
        time.sleep(seconds)
        after = stub.calls()
    finally:
        sampler.stop()
    compared = list(_compared(taken[begin + 1 :], to_monotonic))
    made = {symbol: count - before.get(symbol, 0) for symbol, count in after.items()}
    # A round takes one sample of each GPU, so the samples count the rounds; GPUs share what is asked of the machine.
    calls = {symbol: count / made["nvmlGpmSampleGet"] for symbol, count in made.items()}
    return Result(
        interval,
        len(compared) // len(FIELDS),
        Spread.of([one.own_error for one in compared]),
        Spread.of([one.interval_error for one in compared]),
        Spread.of([one.lateness for one in compared]),
        {symbol: rate for symbol, rate in sorted(calls.items(), key=lambda item: -item[1]) if rate > 0},
    )


def _compared(intervals: Sequence[Interval], to_monotonic: float) -> Iterator[Comparison]:
    """Each figure in each interval of each GPU. One that is missing is as wrong as can be."""
    for one in intervals:
        start, end = one.start / 1e9 + to_monotonic, one.end / 1e9 + to_monotonic
        for uuid, gpu in one.gpus.items():
            late = -(gpu.age_seconds or 0.0)
            covered = gpu.window_seconds or one.duration
            for key, name in FIELDS.items():
                value, number = getattr(gpu, name), int(uuid[-12:], 16)
                if value is None:
                    yield Comparison(100.0, 100.0, 1e3 * late)
                    continue
                own = true_mean(key, number, end + late - covered, end + late)
                yield Comparison(
                    100 * abs(value - own), 100 * abs(value - true_mean(key, number, start, end)), 1e3 * late
                )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interval", type=float, action="append", help="seconds; repeatable (default 1 and 0.25)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (default 20)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: list[Result] = []
    try:
        for interval in options.interval or sorted(LIMITS, reverse=True):
            with tempfile.TemporaryDirectory(prefix="phasetop-wave-") as directory:
                results.append(measure(interval, options.seconds, Path(directory)))
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([figures(one) for one in results]))
    else:
        print(f"load average {os.getloadavg()[0]:.2f} on {len(os.sched_getaffinity(0))} cores")
        for one in results:
            print("\n".join(lines(one)))
    return 0 if all(one.error.largest <= 100 * LIMITS.get(one.interval, 1.0) for one in results) else 1


def figures(one: Result) -> dict[str, object]:
    return {
        "interval": one.interval, "readings": one.readings, "error": asdict(one.error),
        "interval_error": asdict(one.interval_error), "lateness_milliseconds": asdict(one.lateness),
        "fast_calls": one.fast_calls, "slow_calls": one.slow_calls, "calls": dict(one.calls),
    }  # fmt: skip


def lines(one: Result) -> list[str]:
    limit = LIMITS.get(one.interval)
    bound = "" if limit is None else f" (limit {100 * limit:g})"
    head = [
        f"{one.interval:g} s, {one.readings} readings: error over their own time {one.error} points{bound}",
        f"  against the interval {one.interval_error} points; samples late by {one.lateness} ms",
        f"  calls per GPU and interval {one.fast_calls:.2f}, and {one.slow_calls:.2f} for slow facts",
    ]
    return [*head, *(f"  {symbol:46}{rate:6.2f}" for symbol, rate in one.calls.items())]


if __name__ == "__main__":
    sys.exit(main())
