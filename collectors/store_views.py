"""The views of a recording: what is stored as scaled integers and numbers of rows, as people ask for it."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.model import WHY_SEPARATOR
from collectors.readings import FieldSpec
from collectors.store_schema import (
    HISTOGRAM_SUM_SCALE,
    LABEL_RATIOS,
    LABEL_SCALE,
    PHASES,
    SHARES,
    SOURCES,
    Source,
    histogram_columns,
    quoted,
    unscaled,
)


def view_ddl() -> Iterator[str]:
    """Every statement that makes a view; their tables must be there."""
    for source in SOURCES:
        yield _reading_view(source)
    yield _label_view()
    yield _latencies_view()
    yield from _VIEWS


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
