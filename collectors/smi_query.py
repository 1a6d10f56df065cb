"""What `nvidia-smi --query-gpu=... --format=csv -l 1` prints, saved in a file: rounds of readings of every GPU.

The first line names the columns as they were asked for, with their units in brackets unless `nounits` was asked
for too; each further line is one GPU at its own `timestamp` (local time, with milliseconds). GPUs are told apart by
`uuid`, `index` or `pci.bus_id`; a file without any of them is taken to be of one GPU, unless its times say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

from collectors.dmon import Column, DmonError, Figures, Round, Row, value_of
from collectors.gpu.page_rows import MIB
from collectors.gpu.pages import can_be
from collectors.round_clock import RoundClock
from collectors.text import clean

_COLUMNS: Mapping[str, Column] = {
    "utilization.gpu": Column("kernel_active_ratio", 0.01),
    "utilization.memory": Column("memory_active_ratio", 0.01),
    "memory.used": Column("memory_used_bytes", MIB),
    "memory.total": Column("memory_total_bytes", MIB),
    "power.draw": Column("power_watts"),
    "power.draw.average": Column("power_watts"),
    "power.draw.instant": Column("power_watts"),
    "power.limit": Column("power_limit_watts"),
    "enforced.power.limit": Column("power_limit_watts"),
    "temperature.gpu": Column("temperature_celsius"),
    "temperature.memory": Column("memory_temperature_celsius"),
    "clocks.sm": Column("sm_clock_hertz", 1e6),
    "clocks.current.sm": Column("sm_clock_hertz", 1e6),
    "clocks.mem": Column("memory_clock_hertz", 1e6),
    "clocks.current.memory": Column("memory_clock_hertz", 1e6),
    "clocks.max.sm": Column("sm_clock_max_hertz", 1e6),
    "clocks.max.mem": Column("memory_clock_max_hertz", 1e6),
    "clocks.max.memory": Column("memory_clock_max_hertz", 1e6),
    "ecc.errors.corrected.volatile.total": Column("ecc_corrected_errors"),
    "ecc.errors.uncorrected.volatile.total": Column("ecc_uncorrected_errors"),
    "pcie.link.gen.current": Column("pcie_link_generation"),
    "pcie.link.gen.gpucurrent": Column("pcie_link_generation"),
    "pcie.link.gen.max": Column("pcie_link_generation_max"),
    "pcie.link.width.current": Column("pcie_link_width"),
    "pcie.link.width.max": Column("pcie_link_width_max"),
}
_UUIDS = ("uuid", "gpu_uuid")
_INDEX = "index"
_BUS_IDS = ("pci.bus_id", "gpu_bus_id")
_NAMES = ("name", "gpu_name")
_TIME = "timestamp"
_TIME_FORMATS = ("%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S")
_NAME = re.compile(r"^[a-z][a-z0-9_.]*$")
_UNIT = re.compile(r"\s*\[[^\]]*\]$")
_TOGETHER_SECONDS = 0.1
"""Rows of one GPU are never so close: `nvidia-smi` loops no faster, and asks its GPUs right after one another."""


def header_of(line: str) -> tuple[str, ...]:
    """The columns that a line names; none when it is no such header."""
    names = tuple(_UNIT.sub("", cell.strip()) for cell in line.split(","))
    is_one = all(_NAME.match(name) for name in names) and any(name in _COLUMNS for name in names)
    return names if is_one else ()


def query_rounds(
    path: Path,
    open_file: Callable[[], TextIO],
    *,
    delay: float = 1.0,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[Round]:
    """The rounds of a file, in order of time. `delay` is the seconds between two where it has no `timestamp`.

    Raises:
        DmonError: there is no row under the header, or rows of several GPUs that cannot be told apart.
    """
    count, last = 0, None
    for rows in _rounds_of_rows(path, open_file, lambda message: None):
        count, last = count + 1, next(iter(rows.values())).time
    if not count:
        raise DmonError(f"{path}: no row of a GPU under the header")
    clock = RoundClock(path, count, last, delay)
    for rows in _rounds_of_rows(path, open_file, warn):
        yield Round(clock.next(next(iter(rows.values())).time), rows, "nvml")


def _rounds_of_rows(
    path: Path, open_file: Callable[[], TextIO], warn: Callable[[str], None]
) -> Iterator[dict[str, Row]]:
    """The rows of each round by UUID or what stands for it. A GPU that comes again begins the next round."""
    table = _Table()
    rows: dict[str, Row] = {}
    with open_file() as lines:
        for number, line in enumerate(lines, 1):
            try:
                found = table.row(line)
            except ValueError as problem:
                warn(f"{path}:{number}: not a row of nvidia-smi ({clean(str(problem))}); passed over")
                continue
            if found is None:
                continue
            uuid, row = found
            if uuid in rows:
                if not table.tells_gpus_apart and _is_same_round(rows[uuid], row):
                    raise DmonError(
                        f"{path}:{number}: rows of several GPUs that cannot be told apart;"
                        " ask for index or uuid too: --query-gpu=timestamp,index,..."
                    )
                yield rows
                rows = {}
            rows[uuid] = row
    if rows:
        yield rows


def _is_same_round(one: Row, other: Row) -> bool:
    return one.time is not None and other.time is not None and 0 <= other.time - one.time < _TOGETHER_SECONDS


@dataclass(slots=True)
class _Table:
    """What the last header said, and which GPUs have been seen."""

    names: tuple[str, ...] = ()
    seen: dict[str, int] = field(default_factory=dict)
    """The GPUs in order of appearance."""

    @property
    def tells_gpus_apart(self) -> bool:
        return any(name in self.names for name in (*_UUIDS, _INDEX, *_BUS_IDS))

    def row(self, line: str) -> tuple[str, Row] | None:
        """A row and whose it is; None for a header and an empty line. Raises ValueError."""
        if not line.strip():
            return None
        if header := header_of(line):
            self.names = header
            return None
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(self.names):
            raise ValueError(f"{len(cells)} values under {len(self.names)} columns")
        named = dict(zip(self.names, cells, strict=True))
        index = int(named[_INDEX]) if _INDEX in named else None
        key = _first(named, _UUIDS) or (None if index is None else f"index {index}") or _first(named, _BUS_IDS)
        uuid = clean(key or "index 0", 80)
        position = self.seen.setdefault(uuid, len(self.seen))
        name = _first(named, _NAMES)
        time = _time(named[_TIME]) if _TIME in named else None
        row = Row("GPU", position if index is None else index, time, _figures(named), {}, name and clean(name, 80))
        return uuid, row


def _first(named: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((named[name] for name in names if named.get(name)), None)


def _figures(named: Mapping[str, str]) -> Figures:
    figures: Figures = {}
    for name, text in named.items():
        column = _COLUMNS.get(name)
        value = value_of(text.split()[0], column.factor) if column is not None and text and text[0] != "[" else None
        if column is not None and value is not None and can_be(column.name, value):
            figures.setdefault(column.name, value)
    return figures


def _time(text: str) -> float:
    for form in _TIME_FORMATS:
        try:
            return datetime.strptime(text, form).timestamp()
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no time as nvidia-smi writes it")
