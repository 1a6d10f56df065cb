"""Finding one's way in one recording file: by number, by time, by what happened.

Everything here answers with numbers, times and sums, and touches a handful of rows.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from collectors.model import HOST, PHASES
from collectors.patch import patched
from collectors.store import reading
from collectors.store_schema import MINUTE, ROLLED, means_table, quoted
from collectors.text import clean

_STATE_LIMIT = 64 * 2**20
_TEXT_LIMIT = 4096

Marks = Literal["phase_change", "gap_start"]
"""The tables of moments to jump to."""

PhaseSeconds = tuple[float, ...]
"""Seconds of each of `PHASES`, in that order."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a file covers: sequence numbers and wall-clock nanoseconds, all inclusive of first and last."""

    first: int
    last: int
    start: int
    end: int


class Finder:
    """The queries of one open file. Raises RecordingError when what it holds makes no sense."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def extent(self) -> Extent | None:
        """None when no interval has been committed yet."""
        with reading(self._path):
            # One statement, so that a writer beside commits nothing in between. The clock may have stepped
            # back, so the latest moment need not be the last interval's.
            row = self._connection.execute(
                "SELECT (SELECT sequence FROM interval ORDER BY sequence LIMIT 1),"
                " (SELECT sequence FROM interval ORDER BY sequence DESC LIMIT 1),"
                " (SELECT min(start_ns) FROM interval),"
                " (SELECT max(end_ns) FROM (SELECT end_ns FROM interval ORDER BY start_ns DESC LIMIT 1))"
            ).fetchone()
        return None if row[0] is None else Extent(*row)

    def count(self, after: int, through: int) -> int:
        """Intervals with a sequence number above `after` and not above `through`."""
        return self._maybe("SELECT count(*) FROM interval WHERE sequence > ? AND sequence <= ?", after, through) or 0

    def at(self, time_ns: int) -> int | None:
        """Sequence number of the latest interval that starts at or before a moment."""
        return self._maybe(
            "SELECT sequence FROM interval WHERE start_ns <= ? ORDER BY start_ns DESC, sequence DESC LIMIT 1", time_ns
        )

    def start_at(self, time_ns: int) -> int | None:
        """Start of the latest interval that starts at or before a moment."""
        return self._maybe("SELECT max(start_ns) FROM interval WHERE start_ns <= ?", time_ns)

    def start_after(self, time_ns: int) -> int | None:
        """Start of the earliest interval that starts after a moment."""
        return self._maybe("SELECT min(start_ns) FROM interval WHERE start_ns > ?", time_ns)

    def numbers(self, first: int, last: int) -> list[int]:
        """Sequence numbers of the intervals of a range of them."""
        query = "SELECT sequence FROM interval WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
        with reading(self._path):
            return [row[0] for row in self._connection.execute(query, (first, last))]

    def span(self, from_ns: int, to_ns: int) -> tuple[int, int] | None:
        """First and last sequence number of the intervals that start within [from, to)."""
        query = "SELECT min(sequence), max(sequence) FROM interval WHERE start_ns >= ? AND start_ns < ?"
        with reading(self._path):
            row = self._connection.execute(query, (from_ns, to_ns)).fetchone()
        return None if row[0] is None else (row[0], row[1])

    def next(self, sequence: int) -> int | None:
        return self._maybe("SELECT sequence FROM interval WHERE sequence > ? ORDER BY sequence LIMIT 1", sequence)

    def previous(self, sequence: int) -> int | None:
        return self._maybe("SELECT sequence FROM interval WHERE sequence < ? ORDER BY sequence DESC LIMIT 1", sequence)

    def settled_through(self) -> int | None:
        """The last interval whose labels are stored. Intervals settle in order, all entities at once."""
        return self._maybe("SELECT sequence FROM label ORDER BY sequence DESC LIMIT 1")

    def first_settled(self) -> int | None:
        """The first interval whose labels are stored."""
        return self._maybe("SELECT sequence FROM label ORDER BY sequence LIMIT 1")

    def last_event(self) -> int:
        """A number that rises with every event."""
        return self._maybe("SELECT max(id) FROM event") or 0

    def next_mark(self, table: Marks, time_ns: int) -> int | None:
        """Start of the first interval at or after a moment that `phase_change` or `gap_start` names."""
        return self._maybe(f"SELECT start_ns FROM {table} WHERE start_ns >= ? ORDER BY start_ns LIMIT 1", time_ns)

    def previous_mark(self, table: Marks, time_ns: int) -> int | None:
        """Start of the last interval before a moment that `phase_change` or `gap_start` names."""
        return self._maybe(f"SELECT start_ns FROM {table} WHERE start_ns < ? ORDER BY start_ns DESC LIMIT 1", time_ns)

    def next_event(self, time_ns: int) -> int | None:
        return self._maybe("SELECT time_ns FROM event WHERE time_ns >= ? ORDER BY time_ns LIMIT 1", time_ns)

    def previous_event(self, time_ns: int) -> int | None:
        return self._maybe("SELECT time_ns FROM event WHERE time_ns < ? ORDER BY time_ns DESC LIMIT 1", time_ns)

    def rolled_through(self) -> int | None:
        """End of the last minute that has been summed up, in wall-clock nanoseconds."""
        query = "SELECT start_ns FROM minute WHERE entity = ? ORDER BY start_ns DESC LIMIT 1"
        host = self.number_of(HOST)
        last = None if host is None else self._maybe(query, host)
        return None if last is None else last + MINUTE

    def minutes(self, entity: str, from_ns: int, to_ns: int) -> Iterator[tuple[int, PhaseSeconds]]:
        """(start, seconds by phase) of an entity's roll-ups that start within [from, to)."""
        sums = ", ".join(f"{phase}_seconds" for phase in PHASES)
        query = f"SELECT start_ns, {sums} FROM minute WHERE entity = ? AND start_ns >= ? AND start_ns < ?"
        with reading(self._path):
            rows = self._connection.execute(query, (self.number_of(entity), from_ns, to_ns)).fetchall()
        for row in rows:
            yield row[0], row[1:]

    def means(self, source: str, from_ns: int, step: int, to_ns: int) -> Iterator[tuple[str, int, tuple[Any, ...]]]:
        """(entity, column, sums) over columns of `step` from `from_ns` up to `to_ns`; all of them are whole minutes.

        The sums are two for each of the source's `ROLLED` fields: of value by seconds, and of the seconds in which
        it is known. Columns without a reading are left out, and so are recordings that keep no means.
        """
        table = means_table(source)
        with reading(self._path):
            known = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
            if not known:
                return
            sums = ", ".join(_sums(name) if name in known else "NULL, NULL" for name in ROLLED[source])
            query = (
                f"SELECT e.name, (m.start_ns - ?) / ? AS at, {sums} FROM entity e CROSS JOIN {table} m"
                " ON m.entity = e.id AND m.start_ns >= ? AND m.start_ns < ? GROUP BY e.id, at"
            )
            rows = self._connection.execute(query, (from_ns, step, from_ns, to_ns)).fetchall()
        for name, at, *values in rows:
            if isinstance(name, str) and isinstance(at, int) and 0 <= at < (to_ns - from_ns) // step:
                yield clean(name, _TEXT_LIMIT), at, tuple(values)

    def checkpoint(self, sequence: int) -> tuple[int, int, dict[str, Any]] | None:
        """(sequence, rule version, state) of the newest checkpoint at or before an interval."""
        with reading(self._path):
            row = self._connection.execute(
                "SELECT sequence, rule_version FROM checkpoint WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1",
                (sequence,),
            ).fetchone()
            return None if row is None else (row[0], row[1], self._state(row[0]))

    def _state(self, sequence: int) -> dict[str, Any]:
        """A checkpoint's state: the whole one before it, and the differences since."""
        patches = []
        while True:
            base, blob = one(self._connection, "SELECT base, state FROM checkpoint WHERE sequence = ?", sequence)
            value = json.loads(_inflated(blob))
            if base is None:
                break
            if base >= sequence:
                raise ValueError("a checkpoint builds on a later one")
            patches.append(value)
            sequence = base
        for patch in reversed(patches):
            value = patched(value, patch)
        if not isinstance(value, dict):
            raise ValueError("a checkpoint is no JSON object")
        return value

    def number_of(self, entity: str) -> int | None:
        row = self._connection.execute("SELECT id FROM entity WHERE name = ?", (entity,)).fetchone()
        return None if row is None else int(row[0])

    def _maybe(self, query: str, *values: int) -> int | None:
        with reading(self._path):
            row = self._connection.execute(query, values).fetchone()
        return None if row is None or row[0] is None else int(row[0])


def _sums(name: str) -> str:
    column = f"m.{quoted(name)}"
    return f"sum({column} * m.seconds), sum(m.seconds) FILTER (WHERE {column} IS NOT NULL)"


def one(connection: sqlite3.Connection, query: str, number: int) -> tuple[Any, ...]:
    """The row with that number, which another row points to. Raises LookupError when it is not there."""
    row: tuple[Any, ...] | None = connection.execute(query, (number,)).fetchone()
    if row is None:
        raise LookupError("a row points to another that is not there")
    return row


def _inflated(blob: bytes) -> bytes:
    """The deflated text, up to a size that no state has. Raises ValueError when it is none."""
    try:
        return zlib.decompressobj().decompress(blob, _STATE_LIMIT)
    except zlib.error as problem:
        raise ValueError(str(problem)) from problem
