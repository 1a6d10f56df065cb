"""Means over the columns of a coarse time axis, of the numbers that a recording sums up by the minute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from collectors.replay_parts import Part, Parts
from collectors.store_read import FileReader
from collectors.store_schema import MINUTE, ROLLED

Means = Mapping[str, Mapping[str, Sequence[float]]]
"""By entity and field: a number for each column, NaN where it is missing. Amounts are per second."""


class _Sums:
    """One field of one entity, column by column."""

    def __init__(self, columns: int) -> None:
        self._totals = [0.0] * columns
        self._seconds = [0.0] * columns

    def add(self, column: int, total: float, seconds: float) -> None:
        self._totals[column] += total
        self._seconds[column] += seconds

    def means(self) -> list[float]:
        return [
            total / seconds if seconds > 0.0 else math.nan
            for total, seconds in zip(self._totals, self._seconds, strict=True)
        ]


def means(parts: Parts, from_ns: int, step: int, columns: int) -> Means:
    """Of `columns` columns of `step` nanoseconds from a moment on.

    Raises ValueError unless the columns are whole minutes, and begin with one.
    """
    if columns < 1 or step < MINUTE or step % MINUTE or from_ns % MINUTE:
        raise ValueError(f"{columns} columns of {step} ns from {from_ns} are no whole minutes")
    to_ns = from_ns + columns * step
    found: dict[str, dict[str, _Sums]] = {}

    def add(source: str, entity: str, column: int, values: Sequence[Any]) -> None:
        fields = found.setdefault(entity, {})
        for name, total, seconds in zip(ROLLED[source], values[::2], values[1::2], strict=True):
            if isinstance(total, float) and isinstance(seconds, float) and math.isfinite(total):
                if name not in fields:
                    fields[name] = _Sums(columns)
                fields[name].add(column, total, seconds)

    def read(_: Part, reader: FileReader) -> None:
        for source in ROLLED:
            for entity, column, values in reader.find.means(source, from_ns, step, to_ns):
                add(source, entity, column, values)

    parts.ask([part for part in parts.all if part.extent.start < to_ns and part.extent.end > from_ns], read)
    return {entity: {name: sums.means() for name, sums in fields.items()} for entity, fields in found.items()}
