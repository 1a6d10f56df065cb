"""Is a known wave of SM, tensor and DRAM activity shown as it was, and how many calls of NVML does that take?

    python -m benchmarks.gpu_wave [--interval 1 --interval 0.25] [--seconds 20] [--json]

Eight GPUs of the stand-in for NVML (which a C compiler builds) run through prefill, decode and idle, each at another
phase, and are read as `phasetop` reads them: the child process, pynvml, the sampler with its wall-aligned
edges. The truth is the script's exact mean over each interval. Shown are the errors in points (hundredths), the calls
per GPU and interval by symbol, and how many of them are of slow facts, every ten seconds. A machine without
a free core takes the samples late, which shows here as error.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.gpu.feed import GpuFeed
from collectors.gpu.worker import GpuSource
from collectors.model import Interval
from collectors.sampler import Sampler
from tests.nvml_stub.build import NoCompiler, Stub, build

GPUS = 8
LIMITS = {1.0: 0.01, 0.25: 0.03}
"""Largest error allowed, by interval in seconds."""
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
class Result:
    """Errors in points, and calls per GPU and interval."""

    interval: float
    readings: int
    mean_error: float
    p95_error: float
    max_error: float
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
    errors = list(_errors(taken[begin + 1 :], to_monotonic))
    made = {symbol: count - before.get(symbol, 0) for symbol, count in after.items()}
    # A round takes one sample of each GPU, so the samples count the rounds; GPUs share what is asked of the machine.
    calls = {symbol: count / made["nvmlGpmSampleGet"] for symbol, count in made.items()}
    ordered = sorted(errors)
    return Result(
        interval,
        len(errors) // len(FIELDS),
        100 * statistics.fmean(errors),
        100 * ordered[int(0.95 * (len(ordered) - 1))],
        100 * ordered[-1],
        {symbol: rate for symbol, rate in sorted(calls.items(), key=lambda item: -item[1]) if rate > 0},
    )


def _errors(intervals: Sequence[Interval], to_monotonic: float) -> list[float]:
    """Of each figure in each interval of each GPU, against the truth over just that interval."""
    found: list[float] = []
    for one in intervals:
        start, end = one.start / 1e9 + to_monotonic, one.end / 1e9 + to_monotonic
        for uuid, gpu in one.gpus.items():
            for key, name in FIELDS.items():
                value = getattr(gpu, name)
                number = int(uuid[-12:], 16)
                found.append(1.0 if value is None else abs(value - true_mean(key, number, start, end)))
    return found


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
    return 0 if all(one.max_error <= 100 * LIMITS.get(one.interval, 1.0) for one in results) else 1


def figures(one: Result) -> dict[str, object]:
    return {
        "interval": one.interval, "readings": one.readings, "mean_error": one.mean_error, "p95_error": one.p95_error,
        "max_error": one.max_error, "fast_calls": one.fast_calls, "slow_calls": one.slow_calls,
        "calls": dict(one.calls),
    }  # fmt: skip


def lines(one: Result) -> list[str]:
    limit = LIMITS.get(one.interval)
    bound = "" if limit is None else f" (limit {100 * limit:g})"
    head = (
        f"{one.interval:g} s, {one.readings} readings: error mean {one.mean_error:.2f}, p95 {one.p95_error:.2f},"
        f" largest {one.max_error:.2f} points{bound}; calls per GPU and interval {one.fast_calls:.2f},"
        f" and {one.slow_calls:.2f} for slow facts"
    )
    return [head, *(f"  {symbol:46}{rate:6.2f}" for symbol, rate in one.calls.items())]


if __name__ == "__main__":
    sys.exit(main())
