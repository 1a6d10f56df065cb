"""What `nvidia-smi dmon` and `dcgmi dmon` print, saved in a file: rounds of readings of every GPU.

Both print a line per GPU and round under a header that names the columns and comes again every so
often; `nvidia-smi` also as CSV. `sm` and `mem` of `nvidia-smi` are the shares of time in which some kernel ran
and memory was accessed, so they are kernel-active and memory-active here, as everywhere; SM and
DRAM activity are in its GPM columns, or in what `dcgmi` prints. Neither tells a GPU's UUID.

`nvidia-smi` gives the local time with `-o DT`, and without a date with `-o T`. Where there is no time the
rounds are taken to be one delay apart and to end when the file was last written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

from collectors.gpu.page_dcgm import DCGM
from collectors.gpu.page_rows import MIB
from collectors.gpu.pages import can_be
from collectors.round_clock import MIDNIGHT_SECONDS, RoundClock

_FIRST = ("gpu", "date", "time")
_NOTHING = frozenset({"-", "–", "n/a", "na", "[n/a]", ""})

Figures = dict[str, float]


class DmonError(ValueError):
    """The file is of neither program, or cannot be understood. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """Which field of GpuReading a column is, and the factor from its unit to the field's."""

    name: str
    factor: float = 1.0
    counted: bool = False
    """A total, of which the growth counts."""


_SMI: Mapping[str, Column] = {
    "pwr": Column("power_watts"),
    "gtemp": Column("temperature_celsius"),
    "mtemp": Column("memory_temperature_celsius"),
    "sm": Column("kernel_active_ratio", 0.01),
    "mem": Column("memory_active_ratio", 0.01),
    "mclk": Column("memory_clock_hertz", 1e6),
    "pclk": Column("sm_clock_hertz", 1e6),
    "pviol": Column("throttle_power_ratio", 0.01),
    "tviol": Column("throttle_thermal_ratio"),
    "fb": Column("memory_used_bytes", MIB),
    "sbecc": Column("ecc_corrected_errors"),
    "dbecc": Column("ecc_uncorrected_errors"),
    "rxpci": Column("pcie_rx_bytes_per_second", 1e6),
    "txpci": Column("pcie_tx_bytes_per_second", 1e6),
    "gract": Column("compute_active_ratio", 0.01),
    "smutil": Column("sm_active_ratio", 0.01),
    "smocc": Column("occupancy_ratio", 0.01),
    "mmaact": Column("tensor_active_ratio", 0.01),
    "dramutil": Column("dram_active_ratio", 0.01),
}
_SMI_GPM = frozenset({"sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "occupancy_ratio"})
_DCGMI: Mapping[str, Column] = {
    "gract": Column("compute_active_ratio"),
    "smact": Column("sm_active_ratio"),
    "smocc": Column("occupancy_ratio"),
    "tenso": Column("tensor_active_ratio"),
    "drama": Column("dram_active_ratio"),
    "pcitx": Column("pcie_tx_bytes_per_second"),
    "pcirx": Column("pcie_rx_bytes_per_second"),
    "nvltx": Column("nvlink_tx_bytes_per_second"),
    "nvlrx": Column("nvlink_rx_bytes_per_second"),
    "gputl": Column("kernel_active_ratio", 0.01),
    "mcutl": Column("memory_active_ratio", 0.01),
    "power": Column("power_watts"),
    "pmlmt": Column("power_limit_watts"),
    "totec": Column("energy_joules", 1e-3, counted=True),
    "tmptr": Column("temperature_celsius"),
    "mmtmp": Column("memory_temperature_celsius"),
    "smclk": Column("sm_clock_hertz", 1e6),
    "mmclk": Column("memory_clock_hertz", 1e6),
    "fbusd": Column("memory_used_bytes", MIB),
    "fbttl": Column("memory_total_bytes", MIB),
}
_DCGM_IDS: Mapping[str, str] = {
    "100": "smclk", "101": "mmclk", "140": "mmtmp", "150": "tmptr", "155": "power", "156": "totec", "203": "gputl",
    "204": "mcutl", "250": "fbttl", "252": "fbusd", "1001": "gract", "1002": "smact", "1003": "smocc", "1004": "tenso",
    "1005": "drama", "1009": "pcitx", "1010": "pcirx", "1011": "nvltx", "1012": "nvlrx",
}  # fmt: skip
_ENTITY = re.compile(r"^\s*(GPU(?:-I|-CI)?)[\s:]+(\d{1,5})\s+(.*)$")


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `time` is seconds of the day or since 1970, or None; `figures` in the fields' own units."""

    entity: str
    index: int
    time: float | None
    figures: Figures
    totals: Figures
    name: str | None = None
    """The product's, where it is told."""


@dataclass(frozen=True, slots=True)
class Round:
    """The GPUs at one moment, in epoch seconds, by their UUID or what stands for it."""

    time: float
    rows: Mapping[str, Row]
    source: str


@dataclass(slots=True)
class _Layout:
    """What the last header said."""

    is_dcgmi: bool = False
    names: tuple[str, ...] = ()
    sources: set[str] = field(default_factory=set)

    def take_header(self, line: str) -> bool:
        """Whether the line names the columns."""
        lower = tuple(_words(line.lower()))
        if lower[:1] == ("entity",):
            self.is_dcgmi, self.names = True, tuple(_DCGM_IDS.get(name, name) for name in lower[1:])
        elif lower and lower[0] in _FIRST and "gpu" in lower[:3] and _SMI.keys() & set(lower):
            # With a `pid` it is `nvidia-smi pmon`: shares of processes, which are no GPU's.
            self.is_dcgmi, self.names = False, () if "pid" in lower else lower
        else:
            return False
        return True

    def row(self, line: str) -> Row | None:
        """The row of a line; None where it is of something else. Raises ValueError."""
        if self.is_dcgmi:
            found = _ENTITY.match(line)
            if found is None:
                return None
            return self._row(found[1], found[2], dict(zip(self.names, found[3].split(), strict=False)), _DCGMI)
        cells = [cell.strip() for cell in line.split(",")] if "," in line else line.split()
        if len(cells) != len(self.names):
            raise ValueError(f"{len(cells)} values under {len(self.names)} columns")
        named = dict(zip(self.names, cells, strict=True))
        return self._row("GPU", named["gpu"], named, _SMI)

    def _row(self, entity: str, index: str, cells: Mapping[str, str], columns: Mapping[str, Column]) -> Row:
        figures: Figures = {}
        totals: Figures = {}
        for name, text in cells.items():
            column = columns.get("dramutil" if columns is _SMI and name.startswith("dram") else name)
            value = None if column is None else value_of(text, column.factor)
            if column is not None and value is not None:
                if column.counted:
                    totals[column.name] = value
                elif can_be(column.name, value):
                    figures[column.name] = value
        self.sources.add("dcgm" if columns is _DCGMI else "gpm" if _SMI_GPM & figures.keys() else "nvml")
        return Row(entity, int(index), _time(cells.get("date"), cells.get("time")), figures, totals)

    @property
    def source(self) -> str:
        """The best that any line so far has had."""
        return next(source for source in ("dcgm", "gpm", "nvml") if source in self.sources)


def is_dmon(first_line: str) -> bool:
    """Whether a file that begins with this line is of one of the two."""
    return _Layout().take_header(first_line)


def rounds(
    path: Path,
    open_file: Callable[[], TextIO],
    *,
    delay: float = 1.0,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[Round]:
    """The rounds of a file, in order of time. The file is read twice: where it begins is known from its end.

    Raises:
        DmonError: there is no row of a GPU under a header in it.
    """
    count, nights = 0, 0
    last: float | None = None
    entities: set[str] = set()
    for rows, _ in _rows_by_round(path, open_file, lambda message: None):
        count += 1
        time = rows[0].time
        if time is not None and last is not None and last - time > MIDNIGHT_SECONDS:
            nights += 1
        last = time if time is not None else last
        entities.update(row.entity for row in rows)
    if not count:
        raise DmonError(f"{path}: no row of a GPU under a header; save the output of `dmon` with its headers")
    chosen = "GPU" if "GPU" in entities else "GPU-I"
    clock = RoundClock(path, count, last, delay, nights=nights)
    for rows, source in _rows_by_round(path, open_file, warn):
        at = clock.next(rows[0].time)
        named = {_uuid(row): row for row in rows if row.entity == chosen}
        if named:
            yield Round(at, named, source)


def _rows_by_round(
    path: Path, open_file: Callable[[], TextIO], warn: Callable[[str], None]
) -> Iterator[tuple[list[Row], str]]:
    layout, rows = _Layout(), list[Row]()
    seen: set[tuple[str, int]] = set()
    with open_file() as lines:
        for number, line in enumerate(lines, 1):
            row = _row_of(layout, line, f"{path}:{number}", warn)
            if row is None:
                continue
            if (row.entity, row.index) in seen or (rows and row.time != rows[0].time):
                yield rows, layout.source
                rows, seen = [], set()
            rows.append(row)
            seen.add((row.entity, row.index))
    if rows:
        yield rows, layout.source


def _row_of(layout: _Layout, line: str, where: str, warn: Callable[[str], None]) -> Row | None:
    stripped = line.strip()
    if not stripped or layout.take_header(stripped) or stripped.startswith("#") or not layout.names:
        return None
    if {"id", "idx"} & set(_words(stripped.lower())[:3]):  # the units below a header that has lost its #
        return None
    try:
        return layout.row(stripped)
    except ValueError as problem:
        warn(f"{where}: not a row of dmon ({problem}); passed over")
        return None


def _words(line: str) -> list[str]:
    return line.strip().lstrip("#").replace(",", " ").split()


def value_of(text: str, factor: float) -> float | None:
    """A cell's number, None where it says that there is none. Raises ValueError."""
    if text.lower() in _NOTHING:
        return None
    number = float(text)
    return None if DCGM.is_blank(number) else number * factor


def _time(date: str | None, time: str | None) -> float | None:
    """Epoch seconds with a date (this machine's time zone); seconds of the day without one."""
    if time is None:
        return None
    of_day = datetime.strptime(time, "%H:%M:%S")
    if date is None:
        return float(of_day.hour * 3600 + of_day.minute * 60 + of_day.second)
    return datetime.strptime(f"{date} {time}", "%Y%m%d %H:%M:%S").timestamp()


def _uuid(row: Row) -> str:
    return f"index {row.index}" if row.entity == "GPU" else f"instance {row.index}"


def mean(rows: Iterable[Figures]) -> Figures:
    """Of each figure the mean of the rows that have it."""
    gathered: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            gathered.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in gathered.items()}
