"""What the GPUs of this machine give, asked through the same process that reads them live."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from collectors.gpu.sample import GpuSample
from collectors.gpu.worker import GpuSource
from collectors.readings import GpuReading
from dashboard.doctor.finding import Finding

_PATIENCE_SECONDS = 10.0
"""Without persistence mode a driver takes seconds to start."""
_LOOK_SECONDS = 0.01
_BETWEEN_SECONDS = 0.25
"""GPM compares two samples, at least 100 ms apart."""
_DRIVER_PARAMETERS = Path("/proc/driver/nvidia/params")
_LIBRARY_REMEDY = "without NVIDIA GPUs nothing is missing; else install the driver, or give the container its libraries"


def examine(library: Path | None) -> Iterator[Finding]:
    """Ask NVML, for some seconds at most; `library` as in gpu.nvml_library."""
    source = GpuSource(library=None if library is None else str(library))
    source.start()
    try:
        sample = _second_sample(source)
        yield from findings(
            sample, source.status, source.driver_version, restricted=is_restricted() and os.geteuid() != 0
        )
    finally:
        source.stop()


def _second_sample(source: GpuSource) -> GpuSample | None:
    """The second sample, which has what a first one cannot have; None when there is trouble."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    first: GpuSample | None = None
    source.request()
    while time.monotonic() < deadline:
        sample = source.latest()
        if sample is not None and first is None:
            first = sample
            time.sleep(_BETWEEN_SECONDS)
            source.request()
        elif sample is not first:
            return sample
        elif source.status is not None and source.reader_pid is None:
            return None  # it has given up; with a reader alive, a slow driver may still be starting
        time.sleep(_LOOK_SECONDS)
    return first


def findings(
    sample: GpuSample | None, trouble: str | None, driver: str | None, *, restricted: bool
) -> Iterator[Finding]:
    """What a sample shows, or why there is none. `restricted`: the driver keeps profiling for administrators."""
    if trouble is not None or sample is None:
        remedy = _LIBRARY_REMEDY if trouble is not None and trouble.endswith("not found") else None
        yield Finding("gpu", "missing", trouble or f"NVML has not answered within {_PATIENCE_SECONDS:g} s", remedy)
        return
    yield Finding("gpu", "fine", f"NVIDIA driver {driver or 'of unknown version'}, {len(sample.readings)} GPUs")
    for reading in sample.readings:
        yield _gpu(reading, sample.notes.get(reading.uuid))
    for name, note in sample.notes.items():
        if name.startswith("index "):
            yield Finding("gpu", "missing", f"GPU {name.removeprefix('index ')}: {note}")
    if restricted and any(reading.source != "gpm" for reading in sample.readings):
        yield Finding(
            "gpu",
            "note",
            "the driver keeps profiling for administrators (RmProfilingAdminOnly: 1), which other tools may run into",
            "options nvidia NVreg_RestrictProfilingToAdminUsers=0 in /etc/modprobe.d, then reload the driver",
        )


def _gpu(reading: GpuReading, note: str | None) -> Finding:
    name = f"GPU {reading.index} {reading.name or 'of unknown name'}"
    if reading.state != "ok":
        return Finding("gpu", "missing", f"{name}: {reading.state}{f', {note}' if note else ''}")
    if reading.source == "gpm":
        return Finding("gpu", "fine", f"{name}: SM, tensor and DRAM activity from GPM{f'; {note}' if note else ''}")
    return Finding("gpu", "limited", f"{name}: kernel-active and memory-active only: {note or 'GPM gives nothing'}")


def is_restricted(parameters: Path = _DRIVER_PARAMETERS) -> bool:
    """Whether the loaded driver keeps profiling for administrators."""
    try:
        text = parameters.read_text()
    except OSError:
        return False
    return re.search(r"^RmProfilingAdminOnly:\s*1$", text, re.MULTILINE) is not None
