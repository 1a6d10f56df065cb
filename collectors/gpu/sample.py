"""One round of GPU readings, as the rest of the program gets it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from collectors.gpu.peaks import PeakBook
from collectors.readings import GpuReading, field_specs
from collectors.text import clean

_NUMBERS = tuple(
    spec.name
    for spec in field_specs(GpuReading)
    if spec.kind in ("gauge", "amount") and spec.name not in ("index", "age_seconds")
)
_AMOUNTS = tuple(spec.name for spec in field_specs(GpuReading) if spec.kind == "amount")
_AVERAGES = (
    "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "occupancy_ratio", "compute_active_ratio",
    "throttle_power_ratio", "throttle_thermal_ratio", "throttle_hardware_ratio",
    "pcie_tx_bytes_per_second", "pcie_rx_bytes_per_second", "nvlink_tx_bytes_per_second", "nvlink_rx_bytes_per_second",
)  # fmt: skip
_SOURCES = ("gpm", "nvml")
_TABLE_ALONE = PeakBook()
_STATES = ("ok", "lost")
EARLY_SECONDS = 0.01
"""A sample taken so long before a moment is still of that moment: edges and the clock of the reader are not in step."""
_BY_INDEX = "index "
"""Stands with its number for the UUID of a GPU that never opened."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """The GPUs over the time since the sample before it that was handed out.

    `arrived`, `started` and `ended` are seconds of `time.monotonic()`: when the sample reached
    this process, and between which moments it was taken. The span that amounts and averages of a
    reading cover ends at its moment in `taken`; how long it is is its `window_seconds` (None in a
    first reading, which has no amounts).
    """

    arrived: float
    started: float
    ended: float
    readings: tuple[GpuReading, ...]
    processes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """UUIDs of the GPUs each process computes on, by pid as the host numbers it."""
    process_memory: Mapping[tuple[int, str], float] = field(default_factory=dict)
    """Device memory in bytes by (pid, GPU UUID), where the driver tells."""
    taken: Mapping[str, float] = field(default_factory=dict)
    """When each GPU's span ended, in seconds of `time.monotonic()`, by UUID; `started` where that is not told."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a GPU's figures are missing or not the best there could be: one line, with the remedy where
    there is one, by UUID, or by `index N` for a GPU that never opened."""


def sample_of(message: Mapping[str, Any], arrived: float, book: PeakBook = _TABLE_ALONE) -> GpuSample:
    """A sample from the reader's message. What does not belong in one is left out, never passed on.

    `book` gives the peaks.
    """
    xids = _xids(message.get("xids"))
    notes = _notes(message.get("notes"))
    rows = _dictionaries(message.get("gpus"))
    readings = [reading_of(values, xids, book, notes) for values in rows]
    readings += [_unopened(index, notes) for index in _indices(message.get("unopened"))]
    processes: dict[int, tuple[str, ...]] = {}
    memory: dict[tuple[int, str], float] = {}
    for entry in _lists(message.get("processes")):
        pid, uuid, used = entry if len(entry) == 3 else (None, None, None)
        if isinstance(pid, int) and isinstance(uuid, str):
            uuid = clean(uuid, 80)
            processes[pid] = (*processes.get(pid, ()), uuid)
            if (number := _number(used)) is not None:
                memory[pid, uuid] = number
    return GpuSample(
        arrived=arrived,
        started=_number(message.get("started")) or arrived,
        ended=_number(message.get("ended")) or arrived,
        readings=tuple(reading for reading in readings if reading is not None),
        processes=processes,
        process_memory=memory,
        taken=dict(_moments(rows)),
        notes=notes,
    )


def _notes(value: object) -> Mapping[str, str]:
    return (
        {clean(str(key), 80): clean(str(text), 240) for key, text in value.items()} if isinstance(value, dict) else {}
    )


def _moments(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    for values in rows:
        uuid, taken = values.get("uuid"), _number(values.get("taken"))
        if isinstance(uuid, str) and taken is not None:
            yield clean(uuid, 80), taken


def _indices(value: object) -> Iterable[int]:
    return [index for index in value if isinstance(index, int)] if isinstance(value, list) else ()


def _unopened(index: int, notes: Mapping[str, str]) -> GpuReading:
    """A GPU that NVML counts and that never opened, so that nobody knows its UUID."""
    uuid = f"{_BY_INDEX}{index}"
    return GpuReading(uuid=uuid, index=index, state="lost", note=notes.get(uuid))


def _xids(value: object) -> Mapping[str, str]:
    """The codes of error reports by the GPU's UUID, comma-separated, oldest first."""
    found: dict[str, str] = {}
    for entry in _lists(value):
        uuid, code = entry if len(entry) == 2 else (None, None)
        if isinstance(uuid, str) and isinstance(code, int) and not isinstance(code, bool) and 0 < code < 10_000:
            found[uuid] = f"{found[uuid]},{code}" if uuid in found else str(code)
    return found


def reading_of(
    values: Mapping[str, Any],
    xids: Mapping[str, str] = MappingProxyType({}),
    book: PeakBook = _TABLE_ALONE,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> GpuReading | None:
    """One GPU's reading with its peaks; None when it does not say which GPU it is of."""
    uuid, index, name = values.get("uuid"), values.get("index"), values.get("name")
    if not isinstance(uuid, str) or not uuid or not isinstance(index, int):
        return None
    state, source = values.get("state"), values.get("source")
    cleaned = clean(name, 80) if isinstance(name, str) else None
    peak = book.of(
        cleaned,
        _number(values.get("memory_clock_max_hertz")),
        _number(values.get("memory_bus_bits")),
        memory_share=_number(values.get("memory_share")),
        compute_share=_number(values.get("compute_share")),
    )
    known: dict[str, Any] = {}
    for field_name in _NUMBERS:
        value = values.get(field_name)
        is_plain = value is None or (type(value) is float and -math.inf < value < math.inf)  # as nearly all are
        known[field_name] = value if is_plain else _number(value)
    known["dram_peak_bytes_per_second"] = peak.dram
    known["tensor_peak_flops_per_second"] = peak.tensor
    return GpuReading(
        uuid=clean(uuid, 80),
        index=index,
        name=cleaned,
        state=state if state in _STATES else "lost",
        note=notes.get(clean(uuid, 80)),
        source=source if source in _SOURCES else None,
        peak_source=peak.source,
        parent=_text(values.get("parent"), 80),
        instance=_text(values.get("instance"), 20),
        recovery_action=_text(values.get("recovery_action"), 40),
        xid_codes=xids.get(uuid),
        **known,
    )


def joined(earlier: GpuSample, later: GpuSample) -> GpuSample:
    """Two consecutive samples as one: amounts added, averages weighted by their windows, the rest as it is later."""
    before = {reading.uuid: reading for reading in earlier.readings}
    return replace(
        later,
        readings=tuple(
            _joined_reading(before[reading.uuid], reading) if reading.uuid in before else reading
            for reading in later.readings
        ),
    )


def _joined_reading(earlier: GpuReading, later: GpuReading) -> GpuReading:
    changes: dict[str, Any] = {}
    if earlier.xid_codes:
        changes["xid_codes"] = ",".join(filter(None, (earlier.xid_codes, later.xid_codes)))
    first, second = earlier.window_seconds, later.window_seconds
    if not first or not second:
        return replace(later, **changes) if changes else later
    changes["window_seconds"] = first + second
    for name in _AMOUNTS:
        a, b = getattr(earlier, name), getattr(later, name)
        changes[name] = None if a is None or b is None else a + b
    for name in _AVERAGES:
        a, b = getattr(earlier, name), getattr(later, name)
        if a is not None and b is not None:
            changes[name] = (a * first + b * second) / (first + second)
        elif a is not None and earlier.source == later.source:  # or a source would be named that has no such figure
            changes[name] = a
    return replace(later, **changes)


def with_lost(sample: GpuSample, known: Mapping[str, GpuReading]) -> GpuSample:
    """The sample with a row for every GPU known from before that is not in it any more.

    A GPU instance whose GPU is well is not lost but unmade, and has no row.
    """
    present = {reading.uuid for reading in sample.readings}
    well = {reading.uuid for reading in sample.readings if reading.state == "ok"}
    lost = [
        GpuReading(
            uuid=uuid,
            index=reading.index,
            name=reading.name,
            state="lost",
            parent=reading.parent,
            instance=reading.instance,
            note=sample.notes.get(f"{_BY_INDEX}{reading.index}", "NVML does not show this GPU any more"),
        )
        for uuid, reading in known.items()
        if uuid not in present and reading.parent not in well and not uuid.startswith(_BY_INDEX)
    ]
    if not lost:
        return sample
    named = {f"{_BY_INDEX}{reading.index}" for reading in lost}
    return replace(sample, readings=(*(one for one in sample.readings if one.uuid not in named), *lost))


def opened(sample: GpuSample) -> bool:
    """Whether any GPU of the sample has ever been opened."""
    return any(not reading.uuid.startswith(_BY_INDEX) for reading in sample.readings)


def _text(value: object, limit: int) -> str | None:
    return clean(value, limit) if isinstance(value, str) else None


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has integers of any size
        return None
    return number if math.isfinite(number) else None


def _dictionaries(value: object) -> Sequence[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else ()


def _lists(value: object) -> Iterable[list[Any]]:
    return [entry for entry in value if isinstance(entry, list)] if isinstance(value, list) else ()
