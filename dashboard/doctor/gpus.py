"""What the GPUs of this machine give, asked through the same process that reads them live."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from collectors.gpu.merge import ACTIVITY, merged, page_fields
from collectors.gpu.page_table import EXPORTERS, PAGE_SOURCES
from collectors.gpu.sample import GpuSample
from collectors.gpu.worker import GpuSource
from collectors.readings import GpuReading
from dashboard.config import Config
from dashboard.doctor.finding import Finding, Level
from dashboard.doctor.gpu_pages import look
from dashboard.doctor.gpu_pages import page_findings as findings_of_pages
from dashboard.nvml import nvml_reader

_PATIENCE_SECONDS = 10.0
"""Without persistence mode a driver takes seconds to start."""
_LOOK_SECONDS = 0.01
_BETWEEN_SECONDS = 0.25
"""GPM compares two samples, at least 100 ms apart."""
_DRIVER_PARAMETERS = Path("/proc/driver/nvidia/params")
_EXPORTER_REMEDY = (
    "run dcgm-exporter with its profiling fields and --collect-interval 1000; it is found by itself"
    " (GeForce cards before the 50 series have none)"
)
_ACTIVITY_WORDS: Mapping[str, str] = {
    "sm_active_ratio": "SM activity",
    "tensor_active_ratio": "tensor activity",
    "dram_active_ratio": "DRAM activity",
    "occupancy_ratio": "occupancy",
}
_LIBRARY_REMEDY = "without NVIDIA GPUs nothing is missing; else install the driver, or give the container its libraries"


def examine(config: Config) -> Iterator[Finding]:
    """Ask NVML and the exporters' pages, for some seconds at most."""
    pages = look(config)
    yield from findings_of_pages(pages)
    on_pages = [reading for seen in pages for reading in seen.readings]
    source = nvml_reader(config)
    if source is None:
        yield Finding("gpu", "note", "NVML is not read: gpu.enabled is false")
        yield from _each(merged((), on_pages), {})
        return
    source.start()
    try:
        sample = _second_sample(source)
        restricted = is_restricted() and os.geteuid() != 0
        yield from findings(sample, source.status, source.driver_version, restricted=restricted, on_pages=on_pages)
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
    sample: GpuSample | None,
    trouble: str | None,
    driver: str | None,
    *,
    restricted: bool,
    on_pages: Sequence[GpuReading] = (),
) -> Iterator[Finding]:
    """What a sample shows, or why there is none.

    `restricted`: the driver keeps profiling for administrators. `on_pages` is what exporters' pages
    show of the same or other GPUs.
    """
    if trouble is not None or sample is None:
        is_absent = trouble is not None and trouble.endswith("not found")
        reason = trouble or f"NVML has not answered within {_PATIENCE_SECONDS:g} s"
        level: Level = "note" if is_absent and on_pages else "missing"
        yield Finding("gpu", level, reason, _LIBRARY_REMEDY if is_absent and not on_pages else None)
        yield from _each(merged((), on_pages), {})
        return
    gpus = sum(1 for reading in sample.readings if reading.parent is None and not reading.uuid.startswith("index "))
    yield Finding("gpu", "fine", f"NVIDIA driver {driver or 'of unknown version'}, {gpus} GPUs")
    yield from _each(merged(sample.readings, on_pages), sample.notes)
    shown = {reading.uuid for reading in sample.readings}
    for name, note in sample.notes.items():
        if name.startswith("index ") and name not in shown:
            yield Finding("gpu", "missing", f"GPU {name.removeprefix('index ')}: {note}")
    if restricted and any(reading.source != "gpm" for reading in sample.readings):
        yield Finding(
            "gpu",
            "note",
            "the driver keeps profiling for administrators (RmProfilingAdminOnly: 1), which other tools may run into",
            "options nvidia NVreg_RestrictProfilingToAdminUsers=0 in /etc/modprobe.d, then reload the driver",
        )


def _each(readings: Sequence[GpuReading], notes: Mapping[str, str]) -> Iterator[Finding]:
    """Which source each GPU has, why not a better one, and the remedy."""
    for reading in readings:
        note = notes.get(reading.uuid)
        name = f"GPU {reading.index} {reading.name or 'of unknown name'}"
        if reading.state != "ok":
            yield Finding("gpu", "missing", f"{name}: {reading.state}{f', {note}' if note else ''}")
        elif reading.instances:
            parts = f"{reading.instances:.0f} instance{'' if reading.instances == 1 else 's'}"
            yield Finding("gpu", "fine", f"{name}: divided (MIG) into {parts}, below")
        elif reading.source == "gpm":
            why = f"; {note}" if note else ""
            yield Finding("gpu", "fine", f"{name}: SM, tensor and DRAM activity from GPM{why}")
        elif reading.source in PAGE_SOURCES:
            yield _from_a_page(reading, name, note)
        else:
            reason = note or "GPM gives nothing"
            remedy = _EXPORTER_REMEDY if "has no GPM" in reason else None
            if remedy and "this driver" in reason:
                remedy = f"a newer driver where the GPU is of Hopper or newer; else {remedy}"
            yield Finding("gpu", "limited", f"{name}: kernel-active and memory-active only: {reason}", remedy)
        if reading.recovery_action not in (None, "none"):
            yield Finding("gpu", "limited", f"{name}: the driver asks for {reading.recovery_action}")


def _from_a_page(reading: GpuReading, name: str, note: str | None) -> Finding:
    title = next(exporter.title for exporter in EXPORTERS if exporter.source == reading.source)
    figures = page_fields(reading) or {field for field in ACTIVITY if getattr(reading, field) is not None}
    words = [_ACTIVITY_WORDS[field] for field in ACTIVITY if field in figures]
    why = f"; {note}" if note else ""
    if not {"tensor_active_ratio", "dram_active_ratio"} <= figures:
        have = ", ".join(words) or "no more than how long it was busy"
        return Finding("gpu", "limited", f"{name}: {have} from {title}{why}")
    return Finding("gpu", "fine", f"{name}: {', '.join(words)} from {title}{why}")


def is_restricted(parameters: Path = _DRIVER_PARAMETERS) -> bool:
    """Whether the loaded driver keeps profiling for administrators."""
    try:
        text = parameters.read_text()
    except OSError:
        return False
    return re.search(r"^RmProfilingAdminOnly:\s*1$", text, re.MULTILINE) is not None
