"""Nodes by time: what the time of each column went into, four bytes a cell.

A column is one step of time, aligned to whole steps since 1970, so that a full one never changes and is
asked for once. Only whole columns are asked for.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

STEPS = (5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 86_400.0)
_NOTHING = 0xFFFFFFFF
_MOST_COLUMNS = 1200
_MOST_LATE = 8
"""Columns that may still be on their way."""

Cell = int
"""Percents of prefill, decode, waiting and unknown, two digits each; `MISSING` where nothing is known."""
MISSING: Cell = _NOTHING


class HeatMap:
    """Written by one thread; read by any."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.version = 0
        """Changes whenever a cell does."""
        self._numbers: dict[str, int] = {}
        self._columns: dict[int, array[int]] = {}

    @property
    def nbytes(self) -> int:
        return sum(len(column) * column.itemsize for column in self._columns.values())

    def put(self, index: int, cells: Mapping[str, Cell]) -> None:
        """A whole column. Nodes that are not in it have nothing there."""
        for name in cells:
            self._numbers.setdefault(name, len(self._numbers))
        column = array("I", [_NOTHING]) * len(self._numbers)
        for name, cell in cells.items():
            column[self._numbers[name]] = cell
        self._columns[index] = column
        self.version += 1
        while len(self._columns) > _MOST_COLUMNS:
            del self._columns[min(self._columns)]

    def has(self, index: int) -> bool:
        return index in self._columns

    def row(self, name: str, first: int, count: int) -> list[Cell]:
        """`count` cells from column `first` on."""
        number = self._numbers.get(name)
        if number is None:
            return [_NOTHING] * count
        columns = self._columns
        return [
            column[number] if (column := columns.get(index)) is not None and number < len(column) else _NOTHING
            for index in range(first, first + count)
        ]

    def newest(self, last: int) -> int:
        """The last column that is known up to `last`, where it is one of a few; else `last`."""
        return next((index for index in range(last, last - _MOST_LATE - 1, -1) if self.has(index)), last)


def last_column(moment: float, step: float) -> int:
    """The last column that is whole at a moment (seconds since 1970): it covers (index * step, (index + 1) * step]."""
    return math.floor(moment / step) - 1


@dataclass(frozen=True, slots=True)
class Span:
    """Columns `first` to `last`, both included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def missing(heat: HeatMap, last: int, count: int, at_once: int) -> list[Span]:
    """What has to be asked for, the newest first, at most `at_once` columns together."""
    spans: list[Span] = []
    run: list[int] = []
    for index in range(last, last - count, -1):
        if not heat.has(index):
            run.append(index)
        if run and (heat.has(index) or len(run) == at_once):
            spans.append(Span(run[-1], run[0]))
            run = []
    if run:
        spans.append(Span(run[-1], run[0]))
    return spans


def step_for(scrape_interval: float) -> float:
    """The finest step in which every column has a scrape of its own."""
    return next((step for step in STEPS if step >= scrape_interval * 0.99), STEPS[-1])


def packed(prefill: float, decode: float, waiting: float, unknown: float) -> Cell:
    """A cell of shares of time, as `queries.heat` has the server make it."""
    cell = 0
    for share in (prefill, decode, waiting, unknown):
        cell = cell * 100 + max(0, min(99, math.floor(99.9 * min(1.0, share))))
    return cell


def mean_cells(rows: Iterable[Sequence[Cell]]) -> list[Cell]:
    """The mean of several rows, column by column: how a group looks."""
    found = []
    for column in zip(*rows, strict=True):
        known = [cell for cell in column if cell != _NOTHING]
        if not known:
            found.append(_NOTHING)
            continue
        cell = 0
        for power in (1_000_000, 10_000, 100, 1):
            cell = cell * 100 + sum(one // power % 100 for one in known) // len(known)
        found.append(cell)
    return found
