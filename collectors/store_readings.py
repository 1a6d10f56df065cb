"""Reading one source's table of a recording file: rows back to readings.

Texts are cleaned again on the way in: a file may come from anywhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from collectors.histogram import Histogram
from collectors.readings import Reading
from collectors.store_find import one
from collectors.store_schema import HISTOGRAM_SUM_SCALE, Source, histogram_columns, quoted, unscaled
from collectors.text import clean

K = TypeVar("K")
T = TypeVar("T")

RANGE = "WHERE r.sequence BETWEEN ? AND ?"
"""Rows of some intervals, the last one included."""
TEXT_LIMIT = 4096
"""Characters of a text that are taken from a file."""
_LIST_LIMIT = 8192
_REMEMBERED = 4096


class Remembered(dict[K, T]):
    """What is looked up or decoded again and again, up to a few thousand at a time."""

    def __init__(self, load: Callable[[K], T]) -> None:
        super().__init__()
        self._load = load

    def __missing__(self, key: K) -> T:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[key] = self._load(key)
        return found


class SourceReader:
    """The columns one source's table has in this file, and the readings in its rows.

    A field that this file lacks is missing; a column that no field is known for is passed over.
    Scales are the file's own.
    """

    def __init__(self, connection: sqlite3.Connection, source: Source) -> None:
        self._source = source
        present = columns_of(connection, source.name)
        scales = dict(
            connection.execute("SELECT name, scale FROM field WHERE source = ? AND scale > 0", (source.name,))
        )
        numbers = [spec for spec in source.numbers if spec.name in present and spec.name in scales]
        self._numbers = tuple(spec.name for spec in numbers)
        self._histograms = tuple(
            spec.name for spec in source.histograms if present.issuperset(histogram_columns(spec.name))
        )
        self._lists = tuple(
            (spec.name, None if spec.unit == "text" else scales[spec.name])
            for spec in source.lists
            if spec.name in present and spec.name in scales
        )
        columns = ["r.sequence", "r.facts"]
        columns += [unscaled(spec.name, scales[spec.name], whole=spec.name in source.whole) for spec in numbers]
        columns += [f"r.{quoted(name)}" for name, _ in self._lists]
        for name in self._histograms:
            layout, counts, total = histogram_columns(name)
            columns += [f"r.{layout}", f"r.{counts}", f"r.{total} / {HISTOGRAM_SUM_SCALE}.0"]
        self._select = f"SELECT {', '.join(columns)} FROM {source.name} r {RANGE} ORDER BY r.sequence, r.entity"
        self._connection = connection
        self._facts = Remembered(self._load_facts)
        present = columns_of(connection, source.facts)
        self._texts = tuple(spec.name for spec in source.texts if spec.name in present)
        self._steady_lists = tuple(
            (spec.name, None if spec.unit == "text" else scales[spec.name])
            for spec in source.steady_lists
            if spec.name in present and spec.name in scales
        )
        steady = [spec for spec in source.steady if spec.name in present and spec.name in scales]
        self._steady = tuple(spec.name for spec in steady)
        columns = [f"f.{quoted(name)}" for name in (*self._texts, *(name for name, _ in self._steady_lists))]
        columns += [unscaled(spec.name, scales[spec.name], whole=False, row="f") for spec in steady]
        self._select_facts = f"SELECT {', '.join(columns)} FROM {source.facts} f WHERE f.id = ?"

    def _load_facts(self, number: int) -> dict[str, Any]:
        row = one(self._connection, self._select_facts, number)
        texts = len(self._texts)
        facts: dict[str, Any] = {name: cleaned(text) for name, text in zip(self._texts, row[:texts], strict=True)}
        if "gpus" in facts:
            facts["gpus"] = tuple(facts["gpus"].split(",")) if facts["gpus"] else ()
        for (name, scale), stored in zip(self._steady_lists, row[texts:], strict=False):
            facts[name] = _list(stored, scale)
        facts.update(zip(self._steady, row[texts + len(self._steady_lists) :], strict=True))
        return facts

    def rows(self, first: int, last: int, bounds: Remembered[int, tuple[float, ...]]) -> Iterator[tuple[int, Reading]]:
        """(sequence, reading) of a range of intervals."""
        numbers, count = self._numbers, 2 + len(self._numbers)
        make = self._source.reading
        for row in self._connection.execute(self._select, (first, last)).fetchall():
            values = dict(zip(numbers, row[2:count], strict=True))
            values.update(self._facts[row[1]])
            at = count
            for name, scale in self._lists:
                values[name] = _list(row[at], scale)
                at += 1
            for name in self._histograms:
                if row[at] is not None:
                    values[name] = _histogram(bounds[row[at]], row[at + 1], row[at + 2])
                at += 3
            yield row[0], make(**values)


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Which columns a table has in this file."""
    return {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def cleaned(text: str | None) -> str | None:
    """A text of the file, or none."""
    return None if text is None else clean(text, TEXT_LIMIT)


def _list(stored: str | None, scale: int | None) -> tuple[Any, ...] | None:
    """The items of a stored JSON array: texts where there is no scale."""
    if stored is None:
        return None
    items = json.loads(stored)[:_LIST_LIMIT]
    if scale is None:
        return tuple([None if item is None else clean(str(item)) for item in items])
    return tuple([None if item is None else int(item) / scale for item in items])


def _histogram(bounds: tuple[float, ...], stored: str, total: float) -> Histogram:
    counts = [0] * (len(bounds) + 1)
    for bucket, count in dict(json.loads(stored)).items():
        counts[int(bucket)] = int(count)
    return Histogram(bounds, tuple(counts), total)
