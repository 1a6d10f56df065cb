"""The tables of a recording, derived from the fields of the readings.

One STRICT table per source holds its numbers as integers in scaled base units, keyed
(sequence, entity). Texts, and numbers that stay for hours, stand once per distinct combination in a
facts table that the rows point to. Views put names, times and base units back together for whoever
reads the file with plain SQL. docs/recording-format.md explains all of it to outsiders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_type_hints

from collectors.model import BOTTLENECK_NAMES, WHY_SEPARATOR
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


def ddl() -> Iterator[str]:
    """Every statement that makes an empty recording."""
    yield from _COMMON
    for source in SOURCES:
        yield _facts_table(source)
        yield _reading_table(source)
    for source in SOURCES:
        yield _means_table(source)
    yield _label_table()
    for source in SOURCES:
        yield _reading_view(source)
    yield _label_view()
    yield _latencies_view()
    yield from _VIEWS


def _facts_table(source: Source) -> str:
    columns = [f"  {quoted(spec.name)} TEXT -- {spec.help}" for spec in source.texts]
    columns += [f"  {quoted(spec.name)} TEXT -- {stored_as(spec)}: {spec.help}" for spec in source.steady_lists]
    columns += [f"  {quoted(spec.name)} INTEGER -- {stored_as(spec)}: {spec.help}" for spec in source.steady]
    return _table(source.facts, ["  id INTEGER PRIMARY KEY", *columns])


def _reading_table(source: Source) -> str:
    columns = [
        "  sequence INTEGER NOT NULL -- the interval",
        "  entity INTEGER NOT NULL -- entity.id",
        f"  facts INTEGER NOT NULL -- {source.facts}.id",
        *(f"  {quoted(spec.name)} INTEGER -- {stored_as(spec)}: {spec.help}" for spec in source.numbers),
        *(f"  {quoted(spec.name)} TEXT -- {stored_as(spec)}: {spec.help}" for spec in source.lists),
    ]
    for spec in source.histograms:
        layout, counts, total = histogram_columns(spec.name)
        columns += [
            f"  {layout} INTEGER -- histogram_bound.layout of {spec.help}",
            f"  {counts} TEXT -- JSON object: observations by bucket, of the buckets that have any",
            f"  {total} INTEGER -- seconds x {HISTOGRAM_SUM_SCALE}, of all observations together",
        ]
    return _table(source.name, [*columns, "  PRIMARY KEY (sequence, entity)"], without_rowid=True)


def means_table(source: str) -> str:
    """The table of a source's means by minute."""
    return f"{source}_minute"


def _means_table(source: Source) -> str:
    specs = {spec.name: spec for spec in (*source.numbers, *source.steady)}
    columns = [
        "  entity INTEGER NOT NULL -- entity.id",
        "  start_ns INTEGER NOT NULL -- a whole UTC minute; an interval counts where it starts",
        "  seconds REAL NOT NULL -- of the minute, with a reading of this entity",
    ]
    for name in ROLLED[source.name]:
        unit = specs[name].unit.replace("_per_second", "/s")
        per_second = "/s" if specs[name].kind == "amount" else ""
        columns.append(f"  {quoted(name)} REAL -- {unit}{per_second}, mean over the minute: {specs[name].help}")
    return _table(means_table(source.name), [*columns, "  PRIMARY KEY (entity, start_ns)"], without_rowid=True)


def stored_as(spec: FieldSpec) -> str:
    """Unit and scale of a stored integer, as in "ratio x 10000"; of each one in a list's JSON array."""
    unit = spec.unit.replace("_per_second", "/s")
    scaled = unit if spec.scale == 1 else f"{unit} x {spec.scale}"
    return f"JSON array of {scaled}" if spec.kind == "list" else scaled


def _table(name: str, lines: list[str], *, without_rowid: bool = False) -> str:
    """CREATE TABLE whose columns keep their explanations, for whoever asks sqlite3 for `.schema`."""
    body = []
    for index, line in enumerate(lines):
        column, dash, comment = line.partition(" --")
        body.append(column + ("," if index < len(lines) - 1 else "") + dash + comment)
    return f"CREATE TABLE {name} (\n" + "\n".join(body) + "\n) STRICT" + (", WITHOUT ROWID" if without_rowid else "")


_COMMON = (
    _table("meta", ["  key TEXT PRIMARY KEY", "  value TEXT NOT NULL"], without_rowid=True),
    _table(
        "field",
        [
            "  source TEXT NOT NULL -- the table the field is a column of",
            "  name TEXT NOT NULL",
            "  kind TEXT NOT NULL -- gauge, amount, text or histogram",
            "  unit TEXT NOT NULL -- base unit",
            "  scale INTEGER NOT NULL -- stored integer per base unit",
            "  help TEXT NOT NULL",
            "  PRIMARY KEY (source, name)",
        ],
        without_rowid=True,
    ),
    _table(
        "entity", ["  id INTEGER PRIMARY KEY", "  name TEXT NOT NULL UNIQUE -- host, gpu/UUID or engine/ENDPOINT#INDEX"]
    ),
    _table(
        "interval",
        [
            "  sequence INTEGER PRIMARY KEY -- rises by one; never repeats within a run",
            "  start_ns INTEGER NOT NULL -- wall clock, nanoseconds since 1970",
            "  end_ns INTEGER NOT NULL",
            "  seconds REAL NOT NULL -- length by the monotonic clock",
        ],
    ),
    "CREATE INDEX interval_start ON interval (start_ns)",
    _table(
        "histogram_bound",
        [
            "  layout INTEGER NOT NULL",
            "  bucket INTEGER NOT NULL",
            "  upper REAL -- seconds; NULL: no upper bound",
            "  field TEXT NOT NULL -- the histogram's field: ttft, tpot, ...",
            "  PRIMARY KEY (layout, bucket)",
        ],
        without_rowid=True,
    ),
    _table(
        "verdict",
        [
            "  id INTEGER PRIMARY KEY",
            "  phase TEXT NOT NULL -- prefill, decode, mixed, idle, waiting or unknown",
            "  confidence TEXT NOT NULL -- of the phase: high, medium or low",
            "  evidence TEXT NOT NULL -- comma-separated",
            "  rule_version INTEGER NOT NULL -- of the rules that made the label",
            "  bottleneck TEXT NOT NULL -- the headline name",
            "  resource TEXT NOT NULL -- the largest claim on the wall time",
            "  admission TEXT -- what keeps requests waiting",
            "  bottleneck_confidence TEXT NOT NULL",
        ],
    ),
    _table("phrase", ["  id INTEGER PRIMARY KEY", "  text TEXT NOT NULL -- part of an explanation, or an advice"]),
    _table("gap_cause", ["  id INTEGER PRIMARY KEY", "  source TEXT NOT NULL", "  reason TEXT NOT NULL"]),
    _table(
        "gap",
        [
            "  sequence INTEGER NOT NULL",
            "  position INTEGER NOT NULL",
            "  cause INTEGER NOT NULL -- gap_cause.id",
            "  PRIMARY KEY (sequence, position)",
        ],
        without_rowid=True,
    ),
    _table(
        "gap_start",
        [
            "  start_ns INTEGER NOT NULL -- start of the first interval after a hole, or with a source missing",
            "  sequence INTEGER NOT NULL",
            "  what TEXT NOT NULL -- the source that went missing, or time",
            "  PRIMARY KEY (start_ns, sequence)",
        ],
        without_rowid=True,
    ),
    _table(
        "phase_change",
        [
            "  start_ns INTEGER NOT NULL -- start of the first interval with the new label",
            "  sequence INTEGER NOT NULL",
            "  before TEXT NOT NULL -- settled label of the host",
            "  after TEXT NOT NULL",
            "  PRIMARY KEY (start_ns, sequence)",
        ],
        without_rowid=True,
    ),
    _table(
        "event",
        [
            "  id INTEGER PRIMARY KEY",
            "  sequence INTEGER NOT NULL -- the interval it was told with",
            "  time_ns INTEGER NOT NULL",
            "  kind TEXT NOT NULL",
            "  entity TEXT NOT NULL -- as in entity.name",
            "  text TEXT NOT NULL",
        ],
    ),
    "CREATE INDEX event_time ON event (time_ns)",
    "CREATE INDEX event_sequence ON event (sequence)",
    _table(
        "checkpoint",
        [
            "  sequence INTEGER PRIMARY KEY -- the first interval the estimator had not settled yet",
            "  rule_version INTEGER NOT NULL",
            "  base INTEGER -- the checkpoint that state is the difference to; NULL: state is whole",
            "  state BLOB NOT NULL -- JSON, deflated (zlib)",
        ],
    ),
    _table(
        "coefficients",
        [
            "  sequence INTEGER NOT NULL -- valid from this interval on",
            "  name TEXT NOT NULL -- what they were fitted for",
            "  value TEXT NOT NULL -- JSON",
            "  PRIMARY KEY (sequence, name)",
        ],
        without_rowid=True,
    ),
    _table(
        "minute",
        [
            "  entity INTEGER NOT NULL -- entity.id",
            "  start_ns INTEGER NOT NULL -- a whole UTC minute; an interval counts where it starts",
            *(f"  {phase}_seconds REAL NOT NULL" for phase in PHASES),
            "  gap_seconds REAL NOT NULL -- of the minute, without an interval of this entity",
            "  PRIMARY KEY (entity, start_ns)",
        ],
        without_rowid=True,
    ),
)


def _label_table() -> str:
    return _table(
        "label",
        [
            "  sequence INTEGER NOT NULL -- the interval",
            "  entity INTEGER NOT NULL -- entity.id",
            "  verdict INTEGER NOT NULL -- verdict.id",
            "  why TEXT NOT NULL -- JSON array of phrase.id: the explanation's parts, joined by ' · '",
            "  advice TEXT NOT NULL -- JSON array of phrase.id",
            f"  prefill_share INTEGER -- ratio x {LABEL_SCALE}: of busy time",
            f"  busy_ratio INTEGER -- ratio x {LABEL_SCALE}: of wall time",
            f"  error INTEGER -- ratio x {LABEL_SCALE}: stated error of prefill_share",
            f"  unknown_ratio INTEGER -- ratio x {LABEL_SCALE}: of wall time, that nothing explains",
            *(
                f"  {column} INTEGER -- ratio x {LABEL_SCALE}: of wall time, limited by {name}"
                for name, column in SHARES
            ),
            "  PRIMARY KEY (sequence, entity)",
        ],
        without_rowid=True,
    )


def _reading_view(source: Source) -> str:
    columns = ["i.sequence", "i.start_ns", "i.end_ns", "i.seconds", "e.name AS entity"]
    columns += [f"f.{quoted(spec.name)}" for spec in source.texts]
    for row, specs in (("f", source.steady_lists), ("r", source.lists)):
        columns += [f"{_unscaled_list(spec, row)} AS {quoted(spec.name)}" for spec in specs]
    for row, specs in (("f", source.steady), ("r", source.numbers)):
        columns += [
            f"{unscaled(spec.name, spec.scale, whole=spec.name in source.whole, row=row)} AS {quoted(spec.name)}"
            for spec in specs
        ]
    for spec in source.histograms:
        _, counts, total = histogram_columns(spec.name)
        columns += [
            f"(SELECT sum(value) FROM json_each(r.{counts})) AS {spec.name}_seconds_count",
            f"r.{total} / {HISTOGRAM_SUM_SCALE}.0 AS {spec.name}_seconds_sum",
        ]
    return (
        f"CREATE VIEW {source.view} AS SELECT\n  " + ",\n  ".join(columns) + f"\nFROM {source.name} r"
        f" JOIN interval i ON i.sequence = r.sequence JOIN entity e ON e.id = r.entity"
        f" JOIN {source.facts} f ON f.id = r.facts"
    )


def _unscaled_list(spec: FieldSpec, row: str) -> str:
    """SQL that gives a stored list in base units, as a JSON array."""
    column = f"{row}.{quoted(spec.name)}"
    if spec.scale == 1 or spec.unit == "text":
        return column
    items = f"SELECT json_group_array(value / {spec.scale}.0) FROM (SELECT value FROM json_each({column}) ORDER BY key)"
    return f"CASE WHEN {column} IS NOT NULL THEN ({items}) END"


def _label_view() -> str:
    shares = "".join(f", l.{column} / {LABEL_SCALE}.0 AS {column}" for _, column in SHARES)
    ratios = ", ".join(f"l.{column} / {LABEL_SCALE}.0 AS {column}" for column in LABEL_RATIOS)
    return (
        "CREATE VIEW labels AS SELECT i.sequence, i.start_ns, i.end_ns, i.seconds, e.name AS entity, v.phase,"
        f" {ratios}, v.confidence, v.evidence, v.rule_version,"
        f" v.bottleneck, v.resource, v.admission, v.bottleneck_confidence{shares},"
        f" {_spelled('l.why')} AS why, {_spelled('l.advice')} AS advice"
        "\nFROM label l JOIN interval i ON i.sequence = l.sequence JOIN entity e ON e.id = l.entity"
        " JOIN verdict v ON v.id = l.verdict"
    )


def _spelled(phrases: str) -> str:
    """SQL that joins the phrases of a JSON array of their numbers."""
    return (
        f"(SELECT group_concat(text, '{WHY_SEPARATOR}') FROM (SELECT p.text FROM json_each({phrases}) j"
        " JOIN phrase p ON p.id = j.value ORDER BY j.key))"
    )


def _latencies_view() -> str:
    """Every bucket of every histogram as a row."""
    selects = []
    for source in SOURCES:
        for spec in source.histograms:
            layout, counts, _ = histogram_columns(spec.name)
            selects.append(
                "SELECT i.sequence, i.start_ns, e.name AS entity, b.field, b.bucket, b.upper, j.value AS count"
                f"\nFROM {source.name} r, json_each(r.{counts}) j JOIN interval i ON i.sequence = r.sequence"
                f" JOIN entity e ON e.id = r.entity JOIN histogram_bound b ON b.layout = r.{layout}"
                " AND b.bucket = CAST(j.key AS INTEGER)"
            )
    return "CREATE VIEW latencies AS " + "\nUNION ALL ".join(selects)


_VIEWS = (
    "CREATE VIEW gaps AS SELECT i.sequence, i.start_ns, i.end_ns, c.source, c.reason"
    "\nFROM gap g JOIN interval i ON i.sequence = g.sequence JOIN gap_cause c ON c.id = g.cause",
    "CREATE VIEW minutes AS SELECT e.name AS entity, m.start_ns,"
    + "".join(f" m.{phase}_seconds," for phase in PHASES)
    + " m.gap_seconds\nFROM minute m JOIN entity e ON e.id = m.entity",
)
