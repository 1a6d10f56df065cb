"""What only a real NVIDIA GPU can answer: rights, the cost of calls, and whether known work reads back as it is.

    python -m benchmarks.gpu_hardware [--gpu 0] [--seconds 5] [--json]

It has not been run on a GPU yet: against the stand-in for NVML it was seen to run, no more. It takes the GPU for itself
for about a minute, so not one that serves. What it answers:

- rights: does GPM work for this user (run it as root and as another), and does the driver restrict profiling;
- calls: microseconds of each call that phasetop makes, median and 99th percentile;
- pace: how many figures of GPM are there, are 0 and are missing, by the time between two samples;
- idle: what GPM says of the GPU before any work;
- copy: a copy within device memory, whose bytes are known, against `dram_active_ratio` of the peak, and
  memory-active beside it at several loads;
- product: a BF16 matrix product, whose operations are known, against `tensor_active_ratio` of the peak;
- pcie: whether the byte counters exist, as numbers of how many bits, and whether they go round.

Copy, product and pcie need torch with CUDA, or cupy, in the environment. What is missing is said.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

from collectors.gpu import fieldvalues as fv
from collectors.gpu.fieldvalues import FieldBatch
from collectors.gpu.gpm import Gpm
from collectors.gpu.limits import memory_of
from collectors.gpu.nvml import Funnel, GpuLost, NvmlGone, load
from collectors.gpu.peaks import Peaks, peaks
from dashboard.doctor.gpus import is_restricted

_CALLS = 200
_PACES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_PAIRS = 20
_COPY_BYTES = 1 << 30
_ORDER = 8192
_LOADS = (0.25, 0.5, 0.75, 1.0)
_SLICE_SECONDS = 0.05
_TOLERANCE = 0.05
Answers = dict[str, Any]


@dataclass(slots=True)
class Gpu:
    """One GPU and what asks it."""

    nvml: Any
    handle: Any
    funnel: Funnel
    gpm: Gpm
    peaks: Peaks

    @classmethod
    def open(cls, index: int, library: str | None) -> Gpu:
        """Raises NvmlGone or GpuLost."""
        nvml = load(library)
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        funnel = Funnel(nvml, time.monotonic, lambda: None)
        clock = funnel.ask("nvmlDeviceGetMaxClockInfo", handle, 2)
        bits = funnel.ask("nvmlDeviceGetMemoryBusWidth", handle)
        known = peaks(funnel.ask("nvmlDeviceGetName", handle), None if clock is None else clock * 1e6, bits)
        return cls(nvml, handle, funnel, Gpm(funnel), known)

    def averages(self, seconds: float) -> Mapping[str, float]:
        """GPM's figures of the next so many seconds; empty without GPM."""
        self.gpm.poll(self.handle)
        time.sleep(seconds)
        return self.gpm.poll(self.handle)

    def memory_active(self) -> float | None:
        rates = self.funnel.ask("nvmlDeviceGetUtilizationRates", self.handle)
        return None if rates is None else rates.memory / 100


class Work:
    """Known work on a GPU, by torch or by cupy. `copy` and `multiply` begin it and `wait` waits for its end."""

    def __init__(self, index: int) -> None:
        """Raises ImportError where neither is there, RuntimeError where they see no GPU."""
        try:
            torch = import_module("torch")
        except ImportError:
            self._with_cupy(import_module("cupy"), index)
            return
        device = torch.device("cuda", index)
        source = torch.zeros(_COPY_BYTES, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        a = torch.randn(_ORDER, _ORDER, dtype=torch.bfloat16, device=device)
        host = torch.zeros(_COPY_BYTES // 4, dtype=torch.uint8).pin_memory()
        self.copy: Callable[[], Any] = lambda: target.copy_(source)
        self.multiply: Callable[[], Any] = lambda: a @ a
        self.upload: Callable[[], Any] = lambda: target[: len(host)].copy_(host, non_blocking=True)
        self.wait: Callable[[], Any] = lambda: torch.cuda.synchronize(device)

    def _with_cupy(self, cupy: Any, index: int) -> None:
        cupy.cuda.Device(index).use()
        source = cupy.zeros(_COPY_BYTES, dtype=cupy.uint8)
        target = cupy.empty_like(source)
        a = cupy.random.rand(_ORDER, _ORDER, dtype=cupy.float32).astype(cupy.float16)
        host = import_module("numpy").zeros(_COPY_BYTES // 4, dtype="u1")
        self.copy = lambda: cupy.copyto(target, source)
        self.multiply = lambda: cupy.matmul(a, a)
        self.upload = lambda: target[: len(host)].set(host)
        self.wait = lambda: cupy.cuda.Device(index).synchronize()


def rights(gpu: Gpu) -> Answers:
    works = bool(gpu.averages(0.5))
    return {
        "root": os.geteuid() == 0, "driver_restricts_profiling": is_restricted(), "gpm_works": works,
        "reason": gpu.gpm.reason, "driver": str(gpu.nvml.nvmlSystemGetDriverVersion()),
    }  # fmt: skip


def calls(gpu: Gpu) -> Answers:
    batch = FieldBatch(gpu.funnel)
    ask, handle = gpu.funnel.ask, gpu.handle
    asked: Mapping[str, Callable[[], object]] = {
        "GpmSampleGet and GpmMetricsGet": lambda: gpu.gpm.poll(handle),
        "GetFieldValues, one batch": lambda: batch.read(handle, fv.ALWAYS),
        "GetUtilizationRates": lambda: ask("nvmlDeviceGetUtilizationRates", handle),
        "GetMemoryInfo": lambda: memory_of(gpu.funnel, handle),
        "GetClockInfo": lambda: ask("nvmlDeviceGetClockInfo", handle, 1),
        "GetTemperatureV": lambda: ask("nvmlDeviceGetTemperatureV", handle, 0),
        "GetCurrentClocksEventReasons": lambda: ask("nvmlDeviceGetCurrentClocksEventReasons", handle),
        "GetComputeRunningProcesses": lambda: ask("nvmlDeviceGetComputeRunningProcesses", handle),
    }
    return {name: _microseconds(call, pause=0.1 if "Gpm" in name else 0.0) for name, call in asked.items()}


def _microseconds(call: Callable[[], object], pause: float) -> Answers:
    spent: list[float] = []
    for _ in range(_CALLS if not pause else _CALLS // 4):
        time.sleep(pause)
        begun = time.perf_counter()
        call()
        spent.append(1e6 * (time.perf_counter() - begun))
    return {"median": statistics.median(spent), "p99": sorted(spent)[int(0.99 * (len(spent) - 1))]}


def paces(gpu: Gpu) -> Iterator[Answers]:
    """Straight at NVML: phasetop itself leaves 100 ms between two samples."""
    nvml = gpu.nvml
    metrics = (2, 10, 20)
    try:
        older, newer = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        for pause in _PACES:
            seen = {"seconds": pause, "values": 0, "zeros": 0, "missing": 0}
            nvml.nvmlGpmSampleGet(gpu.handle, older)
            for _ in range(_PAIRS):
                time.sleep(pause)
                nvml.nvmlGpmSampleGet(gpu.handle, newer)
                request = nvml.c_nvmlGpmMetricsGet_t()
                request.version, request.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, len(metrics)
                request.sample1, request.sample2 = older, newer
                for position, metric in enumerate(metrics):
                    request.metrics[position].metricId = metric
                nvml.nvmlGpmMetricsGet(request)
                for position in range(len(metrics)):
                    one = request.metrics[position]
                    is_number = one.nvmlReturn == 0 and one.value == one.value
                    seen["missing" if not is_number else "zeros" if one.value == 0 else "values"] += 1
                older, newer = newer, older
            yield seen
    except nvml.NVMLError as error:
        yield {"refused": str(error)}


def repeated(work: Callable[[], Any], wait: Callable[[], Any], seconds: float, share: float = 1.0) -> float:
    """Do it over and over, for a share of the time; how often a second."""
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        until = time.perf_counter() + _SLICE_SECONDS * share
        while time.perf_counter() < until:
            work()
            wait()
            count += 1
        time.sleep(_SLICE_SECONDS * (1 - share))
    return count / (time.perf_counter() - begun)


def known_work(gpu: Gpu, work: Work, seconds: float) -> Answers:
    """Each against its truth. A copy reads and writes every byte; a product is two operations an element and step."""
    found: Answers = {"copy": []}
    for share in _LOADS:
        gpu.gpm.poll(gpu.handle)
        rate = repeated(work.copy, work.wait, seconds, share) * 2 * _COPY_BYTES
        figures = gpu.gpm.poll(gpu.handle)
        found["copy"].append(
            {"load": share, "memory_active": gpu.memory_active(), **_judged(rate, gpu.peaks.dram, figures, "dram")}
        )
    gpu.gpm.poll(gpu.handle)
    rate = repeated(work.multiply, work.wait, seconds) * 2 * _ORDER**3
    found["product"] = _judged(rate, gpu.peaks.tensor, gpu.gpm.poll(gpu.handle), "tensor")
    return found


def _judged(rate: float, peak: float | None, figures: Mapping[str, float], which: str) -> Answers:
    truth = None if peak is None else rate / peak
    told = figures.get(f"{which}_active_ratio")
    agrees = None if truth is None or told is None else abs(truth - told) <= _TOLERANCE
    return {"rate": rate, "of_peak": truth, "told": told, "agrees": agrees}


def pcie(gpu: Gpu, work: Work, seconds: float) -> Answers:
    batch = FieldBatch(gpu.funnel)
    fields = (fv.PCIE_TX_BYTES, fv.PCIE_RX_BYTES)
    values = [batch.read(gpu.handle, fields)]
    begun, sent = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        work.upload()
        work.wait()
        sent += _COPY_BYTES // 4
        values.append(batch.read(gpu.handle, fields))
    received = [one[fv.PCIE_RX_BYTES] for one in values if fv.PCIE_RX_BYTES in one]
    return {
        "exists": bool(received), "is_64_bits": batch.is_wide(fv.PCIE_RX_BYTES), "sent_bytes": sent,
        "grew_by": received[-1] - received[0] if received else None,
        "times_round": sum(later < earlier for earlier, later in pairwise(received)),
    }  # fmt: skip


def answers(index: int, seconds: float, library: str | None) -> Answers:
    """All of it. Raises NvmlGone or GpuLost."""
    gpu = Gpu.open(index, library)
    found: Answers = {"name": gpu.funnel.ask("nvmlDeviceGetName", gpu.handle), "rights": rights(gpu)}
    found["calls_microseconds"] = calls(gpu)
    found["pace"] = list(paces(gpu))
    found["idle"] = dict(gpu.averages(seconds))
    try:
        work = Work(index)
        work.copy()
        work.multiply()
        work.wait()
    except Exception as error:  # without CUDA each library fails in its own way
        found["work"] = f"not done: {type(error).__name__}: {error}; it takes torch with CUDA, or cupy"
        return found
    found["work"] = known_work(gpu, work, seconds)
    found["pcie"] = pcie(gpu, work, seconds)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", type=int, default=0, help="its index (default 0)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default 5)")
    parser.add_argument("--library", help="libnvidia-ml.so.1, where the loader does not find it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = answers(options.gpu, options.seconds, options.library)
    except NvmlGone as end:
        print(f"no GPU to ask: {end.reason}", file=sys.stderr)
        return 1
    except GpuLost as lost:
        print(f"GPU {options.gpu} is lost (NVML code {lost.code})", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
