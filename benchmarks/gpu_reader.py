"""What reading GPUs costs this machine: CPU per tick and memory, in the reader process and in its parent.

    python -m benchmarks.gpu_reader [--gpus 8] [--interval 1] [--ticks 30] [--json]

The GPUs are those of the stand-in NVML in `tests/nvml_stub`, whose calls return at once: this is
the program's own cost. A real driver adds its own, which is time waited for rather than CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from collectors.gpu.worker import GpuSource
from tests.nvml_stub.build import NoCompiler, Stub, build


def cpu_seconds(pid: int) -> float:
    """On-CPU time of a process's main thread, to the nanosecond where /proc/PID/stat counts 10 ms."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory_kilobytes(pid: int) -> Mapping[str, int]:
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {name.rstrip(":"): int(value) for name, value, *_ in fields}


def measure(gpus: int, interval: float, ticks: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        stub = Stub(build(Path(directory)), Path(directory))
        os.environ.update(stub.environment)
        stub.script(f"gpus {gpus}", *(f"offset@{gpu} {0.7 * gpu}" for gpu in range(gpus)))
        source = GpuSource(library=str(stub.library))
        begin = time.monotonic()
        source.start()
        while source.driver_version is None:
            time.sleep(0.001)
        ready = time.monotonic() - begin
        pid = source.reader_pid
        assert pid is not None
        try:
            return {"ready_seconds": ready, **_run(source, pid, interval, ticks, stub, gpus)}
        finally:
            source.stop()


def _run(source: GpuSource, pid: int, interval: float, ticks: int, stub: Stub, gpus: int) -> Mapping[str, float]:
    _tick(source, interval)
    _tick(source, interval)
    calls, child, parent = sum(stub.calls().values()), cpu_seconds(pid), time.process_time()
    latencies = [_tick(source, interval) for _ in range(ticks)]
    memory = memory_kilobytes(pid)
    return {
        "gpus": gpus,
        "interval_seconds": interval,
        "ticks": ticks,
        "reader_cpu_ms_per_tick": (cpu_seconds(pid) - child) / ticks * 1e3,
        "parent_cpu_ms_per_tick": (time.process_time() - parent) / ticks * 1e3,
        "answer_ms_median": statistics.median(latencies) * 1e3,
        "answer_ms_max": max(latencies) * 1e3,
        "nvml_calls_per_gpu_and_tick": (sum(stub.calls().values()) - calls) / ticks / gpus,
        "reader_pss_kilobytes": memory["Pss"],
        "reader_private_kilobytes": memory["Private_Clean"] + memory["Private_Dirty"],
    }


def _tick(source: GpuSource, interval: float) -> float:
    """Seconds from the request to the sample's arrival."""
    begin = time.monotonic()
    source.request()
    time.sleep(interval)
    sample = source.latest()
    assert sample is not None
    return sample.arrived - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--ticks", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        result = measure(arguments.gpus, arguments.interval, arguments.ticks)
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:30} {value:10.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
