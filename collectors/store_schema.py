"""How the fields of the readings are spread over the tables of a recording, and in which units.

One STRICT table per source holds its numbers as integers in scaled base units, keyed
(sequence, entity). Texts, and numbers that stay for hours, stand once per distinct combination in a
facts table that the rows point to. Views put names, times and base units back together for whoever
reads the file with plain SQL. docs/recording-format.md explains all of it to outsiders;
`store_tables.py` and `store_views.py` are the SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_type_hints

from collectors.model import BOTTLENECK_NAMES
from collectors.readings import EngineReading, FieldSpec, GpuReading, HostReading, Reading, field_specs

APPLICATION_ID = 0x50485450
"""The file's application_id: "PHTP"."""

SCHEMA_VERSION = 1
"""The file's user_version. Raised when a reader of the version before could misread a file; a field
added to a reading is only a column that older files lack, and raises nothing."""

MINUTE = 60_000_000_000
"""Nanoseconds that one row of a roll-up stands for."""

PHASES = ("prefill", "decode", "idle", "waiting", "unknown")
"""What the seconds of a roll-up are split into."""

SHARES: tuple[tuple[str, str], ...] = tuple((name, "share_" + name.replace("-", "_")) for name in BOTTLENECK_NAMES)
"""Each bottleneck name and the column of its share."""


LABEL_RATIOS = ("prefill_share", "busy_ratio", "error", "unknown_ratio")
LABEL_SCALE = 10_000
"""Stored integers per unit of a label's ratios, which the labeller rounds to four decimals."""


_STEADY = {
    "cpu_cores", "memory_total_bytes", "power_limit_watts", "temperature_limit_celsius",
    "memory_temperature_limit_celsius", "sm_clock_max_hertz", "memory_clock_hertz", "memory_clock_max_hertz",
    "ecc_corrected_errors", "ecc_uncorrected_errors",
    "remapped_rows_corrected", "remapped_rows_uncorrected", "row_remap_pending", "row_remap_failed",
    "pcie_link_generation", "pcie_link_generation_max", "pcie_link_width", "pcie_link_width_max", "persistence_mode",
    "instances", "activity_window_seconds", "dram_peak_bytes_per_second", "tensor_peak_flops_per_second",
    "requests_limit", "kv_cache_tokens", "kv_block_tokens", "max_length_tokens", "tensor_parallel", "pipeline_parallel",
    "lora_limit", "cpu_quota_cores", "memory_limit_bytes", "swap_total_bytes", "numa_cpus", "network_interfaces",
    "network_interface_speeds", "rdma_ports", "rdma_port_speeds",
}  # fmt: skip
"""Numbers and lists that go with the texts, since they rarely change. Any value is stored right either way."""


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of reading, and how its fields are spread over its tables."""

    name: str
    reading: type[Reading]
    texts: tuple[FieldSpec, ...]
    steady: tuple[FieldSpec, ...]
    numbers: tuple[FieldSpec, ...]
    histograms: tuple[FieldSpec, ...]
    lists: tuple[FieldSpec, ...]
    steady_lists: tuple[FieldSpec, ...]
    whole: frozenset[str]
    """Number fields that are int in the reading, not float."""

    @property
    def facts(self) -> str:
        return f"{self.name}_facts"

    @property
    def view(self) -> str:
        return f"{self.name}_readings"


def _source(name: str, reading: type[Reading]) -> Source:
    specs = field_specs(reading)
    hints = get_type_hints(reading)
    numbers = [spec for spec in specs if spec.kind in ("gauge", "amount")]
    return Source(
        name=name,
        reading=reading,
        texts=tuple(spec for spec in specs if spec.kind == "text"),
        steady=tuple(spec for spec in numbers if spec.name in _STEADY),
        numbers=tuple(spec for spec in numbers if spec.name not in _STEADY),
        histograms=tuple(spec for spec in specs if spec.kind == "histogram"),
        lists=tuple(spec for spec in specs if spec.kind == "list" and spec.name not in _STEADY),
        steady_lists=tuple(spec for spec in specs if spec.kind == "list" and spec.name in _STEADY),
        whole=frozenset(spec.name for spec in specs if hints[spec.name] is int),
    )


SOURCES: tuple[Source, ...] = (
    _source("host", HostReading),
    _source("gpu", GpuReading),
    _source("engine", EngineReading),
)

ROLLED: Mapping[str, tuple[str, ...]] = {
    "host": (
        "cpu_ratio", "cpu_throttled_ratio", "memory_used_bytes", "swap_used_bytes", "cpu_pressure_ratio",
        "memory_pressure_ratio", "memory_pressure_full_ratio", "io_pressure_ratio", "io_pressure_full_ratio",
        "network_receive_bytes", "network_transmit_bytes", "rdma_receive_bytes", "rdma_transmit_bytes",
        "disk_read_bytes", "disk_write_bytes",
    ),
    "gpu": (
        "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "dram_peak_bytes_per_second",
        "kernel_active_ratio", "memory_active_ratio", "power_watts", "memory_used_bytes", "sm_clock_hertz",
        "temperature_celsius",
    ),
    "engine": (
        "requests_running", "requests_waiting", "kv_cache_usage_ratio", "prompt_tokens", "generation_tokens",
        "requests_finished", "preemptions",
    ),
}  # fmt: skip
"""The number fields of each source of which every minute's mean is kept, for long spans."""

HISTOGRAM_SUM_SCALE = 1_000_000
"""Histogram sums are stored in microseconds."""


def histogram_columns(field: str) -> tuple[str, str, str]:
    """The columns of one histogram in its source's table: layout, counts and sum."""
    return f"{field}_layout", f"{field}_counts", f"{field}_sum"


def quoted(name: str) -> str:
    """The name as an SQL identifier; a field may well be called like a keyword, as `index` is."""
    return f'"{name}"'


def unscaled(name: str, scale: int, *, whole: bool, row: str = "r") -> str:
    """SQL that gives a stored number of a row in base units.

    The division is the same IEEE one that `rounded` makes, so that what is read back equals what
    was written to the bit.
    """
    column = f"{row}.{quoted(name)}"
    if whole:
        return column
    return f"CAST({column} AS REAL)" if scale == 1 else f"{column} / {scale}.0"


def means_table(source: str) -> str:
    """The table of a source's means by minute."""
    return f"{source}_minute"


def stored_as(spec: FieldSpec) -> str:
    """Unit and scale of a stored integer, as in "ratio x 10000"; of each one in a list's JSON array."""
    unit = spec.unit.replace("_per_second", "/s")
    scaled = unit if spec.scale == 1 else f"{unit} x {spec.scale}"
    return f"JSON array of {scaled}" if spec.kind == "list" else scaled
