"""One table of a recording as a Parquet file: columns with types, for pandas, DuckDB and the like.

Needs pyarrow, which is an extra. Rows are written in groups, so that memory does not depend on how
much is dumped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow
from pyarrow import parquet

from collectors.readings import EngineReading, GpuReading, HostReading, field_specs
from exporters.dump import TABLES, Ticks

_GROUP = 50_000
"""Rows in memory before they are written."""
_MOMENTS = {"start", "end", "time"}
_WHOLE = {"settled", "rule_version"}
_WORDS = {
    "phase", "confidence", "bottleneck", "entity", "evidence", "resource", "admission", "bottleneck_confidence",
    "why", "kind", "text", "source", "reason",
}  # fmt: skip
_READINGS = {"host": HostReading, "gpu": GpuReading, "engine": EngineReading}
_MICRO = 1_000_000


def dump_parquet(recording: Ticks, table: str, path: Path, start: int | None = None, end: int | None = None) -> int:
    """Writes one table with the columns of `dump_csv`; how many rows.

    Moments are timestamps in UTC, to the microsecond; numbers are in base units; what is missing is
    null. Raises ValueError for a table not in `TABLES`, OSError when the file cannot be written.
    """
    if table not in TABLES:
        raise ValueError(f'there is no table "{table}"; the tables are {", ".join(TABLES)}')
    heading, rows = TABLES[table]
    schema = pyarrow.schema([(name, _type(table, name)) for name in heading])
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(row for tick in recording.ticks(start, end) for row in rows(tick)):
            columns = [_column(name, values) for name, values in zip(heading, zip(*group, strict=True), strict=True)]
            writer.write_table(pyarrow.table(dict(zip(heading, columns, strict=True)), schema=schema))
            count += len(group)
    return count


def _groups(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    group: list[list[Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _column(name: str, values: tuple[Any, ...]) -> list[Any]:
    if name in _MOMENTS:
        return [None if value is None else round(value * _MICRO) for value in values]
    return list(values)


def _type(table: str, name: str) -> pyarrow.DataType:
    if name in _MOMENTS:
        return pyarrow.timestamp("us", tz="UTC")
    if (reading := _READINGS.get(table)) is not None:
        spec = next((spec for spec in field_specs(reading) if spec.name == name), None)
        if spec is not None:
            if spec.kind in ("text", "list"):
                return pyarrow.string()
            return pyarrow.int64() if get_type_hints(reading)[name] is int else pyarrow.float64()
        if name.endswith("_seconds_count"):
            return pyarrow.int64()
    if name in _WORDS:
        return pyarrow.string()
    return pyarrow.int64() if name in _WHOLE else pyarrow.float64()
