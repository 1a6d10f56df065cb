"""NVML's readings and those of exporters' pages as one row per GPU: for each field the better source.

NVML measures in step with our intervals, so what it gives is kept; a page adds what NVML does not
give. Every row names where its figures come from: `source` where activity does, and `page_fields`
each field that is a page's in a row that is else NVML's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from collectors.readings import GpuReading, field_specs

ACTIVITY = ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "occupancy_ratio")
_ADDED = tuple(
    spec.name
    for spec in field_specs(GpuReading)
    # Amounts are of the page's own window; peaks and ages go with whoever gave the rest.
    if spec.kind == "gauge"
    and not spec.name.endswith("_seconds")
    and "_peak_" not in spec.name
    and spec.name not in ("index", "instances")
)
_STUCK_AFTER = 3


def merged(nvml: Sequence[GpuReading], pages: Iterable[GpuReading]) -> tuple[GpuReading, ...]:
    """NVML's rows with what pages add, then the GPUs only pages know."""
    rows = {reading.uuid: reading for reading in nvml}
    instances = {(row.parent, row.instance): row.uuid for row in nvml if row.parent is not None}
    by_index = {f"index {row.index}": row.uuid for row in nvml if row.parent is None}
    for page in pages:
        found = (
            instances.get((page.parent, page.instance)) if page.parent is not None else by_index.get(page.uuid)
        ) or page.uuid
        rows[found] = _joined(rows[found], page) if found in rows else page
    return tuple(rows.values())


def _joined(row: GpuReading, page: GpuReading) -> GpuReading:
    if row.state != "ok" or page.state != "ok":
        return row
    # Where GPM works, a figure it leaves out in one round is not to be taken from half a minute ago.
    skipped = (*ACTIVITY, "compute_active_ratio") if row.source == "gpm" else ()
    names = [
        name
        for name in _ADDED
        if name not in skipped and getattr(row, name) is None and getattr(page, name) is not None
    ]
    if not names:
        return row
    return replace(
        row,
        source=page.source if any(name in ACTIVITY for name in names) else row.source,
        page_fields=f"{page.source}: {', '.join(names)}",
        activity_window_seconds=page.activity_window_seconds,
        activity_age_seconds=page.activity_age_seconds,
        **{name: getattr(page, name) for name in names},
    )


def page_fields(reading: GpuReading) -> frozenset[str]:
    """The fields of a merged row that are a page's; of a page's own row none is listed."""
    names = (reading.page_fields or "").partition(": ")[2]
    return frozenset(names.split(", ")) if names else frozenset()


class StuckProfiling:
    """Sees profiling figures that stay at 0 while kernels run: DCGM does so after some faults, until restarted."""

    def __init__(self) -> None:
        self._zeros: dict[str, int] = {}
        self._ages: dict[str, float] = {}

    def without(self, pages: Sequence[GpuReading], nvml: Sequence[GpuReading]) -> tuple[list[GpuReading], bool]:
        """The pages' rows without figures that are stuck, and whether any are."""
        busy = {row.uuid: row.kernel_active_ratio for row in nvml}
        kept = [self._judged(page, busy.get(page.uuid, page.kernel_active_ratio)) for page in pages]
        return kept, any(new is not old for new, old in zip(kept, pages, strict=True))

    def _judged(self, page: GpuReading, busy: float | None) -> GpuReading:
        figures = [value for name in ACTIVITY if (value := getattr(page, name)) is not None]
        age = page.activity_age_seconds or 0.0
        is_new = age < self._ages.get(page.uuid, float("inf"))
        self._ages[page.uuid] = age
        if not figures or any(figures) or busy is None or busy <= 0.5:
            self._zeros[page.uuid] = 0
        elif is_new:
            self._zeros[page.uuid] = self._zeros.get(page.uuid, 0) + 1
        if self._zeros[page.uuid] <= _STUCK_AFTER:
            return page
        nothing: dict[str, Any] = dict.fromkeys(ACTIVITY)
        return replace(page, **nothing)
