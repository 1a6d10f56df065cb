"""Leaving out GPU figures that are about another time than the interval they stand in.

An exporter's page repeats what it measured over, say, the last 30 s. Such figures are worth
showing, with their age; they say nothing of a phase that lasts a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from collectors.gpu.merge import page_fields
from collectors.gpu.page_table import PAGE_SOURCES
from collectors.model import Interval
from collectors.readings import GpuReading, field_specs

_LONGEST = 1.5
"""How much longer than the interval figures may reach, as a multiple of it: pages and intervals are not in step."""
_OLDEST = 2.0
"""How old they may be, as a multiple of what they cover or of the interval."""
_FIGURES = tuple(
    spec.name
    for spec in field_specs(GpuReading)
    if spec.unit in ("ratio", "watts") or (spec.unit == "bytes_per_second" and "_peak_" not in spec.name)
)


def timely(interval: Interval) -> Interval:
    """The interval with only what its GPUs did in it."""
    changes = {
        uuid: changed for uuid, gpu in interval.gpus.items() if (changed := _timely(gpu, interval.duration)) is not gpu
    }
    if not changes:
        return interval
    gpus: Mapping[str, GpuReading] = {**interval.gpus, **changes}
    return replace(interval, gpus=gpus)


def _timely(gpu: GpuReading, seconds: float) -> GpuReading:
    foreign = page_fields(gpu) if gpu.page_fields else _FIGURES if gpu.source in PAGE_SOURCES else ()
    if not foreign:
        return gpu
    window, age = gpu.activity_window_seconds, gpu.activity_age_seconds
    if (
        window is not None
        and age is not None
        and window <= _LONGEST * seconds
        and age <= _OLDEST * max(window, seconds)
    ):
        return gpu
    nothing: dict[str, Any] = {name: None for name in _FIGURES if name in foreign}
    return replace(gpu, **nothing)
