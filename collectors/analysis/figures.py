"""What a report consists of: figures with what they rest on, tables and plots, in sections.

Plain data: the exporters turn it into text, JSON or a page. A figure without a value says what was
missing; nothing is computed from what was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from collectors.model import Confidence

SCHEMA = 1
"""Raised when a field of a report or of a difference is renamed or means something else."""

Unit = Literal[
    "seconds", "joules", "ratio", "tokens", "count", "money", "money_per_million", "tokens_per_joule",
    "joules_per_token", "tokens_per_second", "flops_per_byte", "watts", "hertz", "text", "time", "per_second",
]  # fmt: skip
Cell = str | float | None
Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: in the base unit, with the bounds of its stated error where there is one.

    `low` and `high` bound one standard deviation or, where `note` says so, 95 % of a bootstrap. `missing`
    says why there is no value, or what part of the time the value does not cover.
    """

    key: str
    title: str
    value: float | None
    unit: Unit
    evidence: str = ""
    confidence: Confidence | None = None
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    unit: Unit = "text"


@dataclass(frozen=True, slots=True)
class Table:
    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Values over the plot's x; `name` is a phase or a bottleneck where it is one, and coloured by it."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """`bands`: shares stacked over time. `lines`: values over x. `points`: one mark for each x."""

    key: str
    title: str
    kind: Literal["bands", "lines", "points"]
    x: tuple[float, ...]
    series: tuple[Series, ...]
    x_unit: Unit = "time"
    y_unit: Unit = "ratio"
    x_title: str = ""
    y_title: str = ""
    log_x: bool = False
    log_y: bool = False
    marks: tuple[tuple[float, str], ...] = ()
    """Values of x that a line marks, each with what it is."""


@dataclass(frozen=True, slots=True)
class Section:
    key: str
    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """What was read: times in seconds since 1970, lengths in seconds."""

    path: str
    host: str
    time_zone: str
    start: float
    end: float
    seconds: float
    intervals: int
    rule_versions: tuple[int, ...]
    machines: tuple[str, ...] = ()
    """GPUs and engines in words."""
    notes: tuple[str, ...] = ()
    """How it was read, where that matters to what the figures say."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report. `settings` are the prices and promises it was computed with, in words."""

    source: Source
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    settings: tuple[tuple[str, str], ...]
    schema: int = SCHEMA
    kind: str = "report"

    def figure(self, key: str) -> Figure:
        """The figure of that key. Raises KeyError where there is none."""
        for section in self.sections:
            for figure in section.figures:
                if figure.key == key:
                    return figure
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in two recordings. `low` and `high` bound 95 % of the difference b - a; None where not told.

    `is_more_than_noise` is None where the recordings are too short to tell.
    """

    key: str
    title: str
    unit: Unit
    a: float | None
    b: float | None
    low: float | None = None
    high: float | None = None
    is_more_than_noise: bool | None = None
    better: Direction | None = None

    @property
    def difference(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def relative(self) -> float | None:
        """The difference, relative to a."""
        difference = self.difference
        return None if difference is None or not self.a else difference / abs(self.a)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two recordings side by side. `fingerprint` are the calibrated costs of engines both have."""

    a: Source
    b: Source
    summary: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Change, ...]], ...]
    fingerprint: tuple[tuple[str, tuple[Change, ...]], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())
    schema: int = SCHEMA
    kind: str = "diff"
