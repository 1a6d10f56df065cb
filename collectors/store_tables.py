"""The tables of a recording, as SQL."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.store_schema import (
    HISTOGRAM_SUM_SCALE,
    LABEL_SCALE,
    PHASES,
    ROLLED,
    SHARES,
    SOURCES,
    Source,
    histogram_columns,
    means_table,
    quoted,
    stored_as,
)
from collectors.store_views import view_ddl


def ddl() -> Iterator[str]:
    """Every statement that makes an empty recording."""
    yield from _COMMON
    for source in SOURCES:
        yield _facts_table(source)
        yield _reading_table(source)
    for source in SOURCES:
        yield _means_table(source)
    yield _label_table()
    yield from view_ddl()


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
