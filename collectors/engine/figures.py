"""The figures of one page by the rows of its engine's table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.engine.catalog import Alternative, Engine, Moves, Row, Selector, locate
from collectors.engine.page import Series
from collectors.histogram import Histogram
from collectors.readings import EngineReading, field_specs
from collectors.text import clean

_RATIOS = frozenset(spec.name for spec in field_specs(EngineReading) if spec.unit == "ratio")
_UNSAID = frozenset({"", "None", "none", "undefined", "unknown"})
_ROUNDING = 1.01
"""A ratio this little above 1 is a full one, however the engine rounds; above that it is no ratio."""

# What NVIDIA's libraries write for "no value", as 32-bit, 64-bit and floating-point numbers.
_BLANKS = frozenset(
    float(base + kind) for base in (0x7FFF_FFF0, 0x7FFF_FFFF_FFFF_FFF0, 140_737_488_355_328) for kind in range(4)
)


@dataclass(frozen=True, slots=True)
class Layout:
    """A page's series of one rank by the names the engine's table uses. The same as long as the page has the same."""

    by_name: Mapping[str, Sequence[Series]]
    _buckets: dict[tuple[str, float], Buckets | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, engine: Engine, series: Iterable[Series]) -> Layout:
        by_name: dict[str, list[Series]] = {}
        for one in _first_replicas(engine, list(series)):
            for reader, name in locate(one.name):
                if reader is engine:
                    by_name.setdefault(name, []).append(one)
        return cls(by_name)

    def matching(self, selector: Selector) -> Sequence[Series]:
        named = self.by_name.get(selector.name, ())
        return named if selector.label is None else [one for one in named if selector.matches(one.labels)]

    def buckets(self, name: str, scale: float) -> Buckets | None:
        """The buckets of a histogram, which are read off their labels once; None unless the last holds everything."""
        key = (name, scale)
        if key not in self._buckets:
            by_bound = _by_bound(self.by_name[f"{name}_bucket"])
            self._buckets[key] = None if by_bound is None else Buckets.of(by_bound, scale)
        return self._buckets[key]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Finite upper bounds in seconds, ascending, and the series of each bucket, the endless one last."""

    bounds: tuple[float, ...]
    series: tuple[Sequence[Series], ...]
    singles: tuple[Series, ...] | None
    """The series, where each bucket has but one, as on most pages."""

    @classmethod
    def of(cls, by_bound: Sequence[tuple[float, Sequence[Series]]], scale: float) -> Buckets:
        bounds = tuple([bound if scale == 1.0 else bound * scale for bound, _ in by_bound[:-1]])
        series = tuple([series for _, series in by_bound])
        is_single = all(len(some) == 1 for some in series)
        return cls(bounds, series, tuple([some[0] for some in series]) if is_single else None)


def _first_replicas(engine: Engine, series: list[Series]) -> list[Series]:
    """Without the processes of a group that count what its first one counts."""
    processes = {one: process for one in series if (process := _process(one, engine.replica_labels)) is not None}
    if len(set(processes.values())) < 2:
        return series
    first = min(processes.values())
    return [one for one in series if processes.get(one, first) == first]


def _process(series: Series, labels: Sequence[str]) -> tuple[tuple[int, str], ...] | None:
    """The process of a group that a series is of, in an order of numbers; None when it is of no one's."""
    values = [series.labels.get(label, "") for label in labels]
    if not any(values):
        return None
    return tuple((int(value[:9]) if value.isascii() and value.isdecimal() else -1, value) for value in values)


class Figures:
    """One rank's page: gauges by themselves, amounts against the page before."""

    def __init__(self, engine: Engine, values: Mapping[Series, float], layout: Layout) -> None:
        self._engine = engine
        self._values = values
        self._layout = layout

    def usage(self) -> float | None:
        """The KV-cache usage the page states, believed or not."""
        row = next((row for row in self._engine.rows if row.field == "kv_cache_usage_ratio"), None)
        return self.gauge(row) if row is not None else None

    def gauge(self, row: Row) -> float | None:
        """The first alternative whose samples have a value; negative, endless and blank ones have none."""
        for alternative in row.alternatives:
            parts = [self._gauge_part(selector, row) for selector in alternative.selectors]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                value = (math.prod(known) if alternative.operator == "*" else sum(known)) * alternative.scale
                return None if row.zero_is_missing and not value else _plausible(row.field, value)
        return None

    def _gauge_part(self, selector: Selector, row: Row) -> float | None:
        matching = self._layout.matching(selector)
        if selector.counts_items:
            return self._items(matching, selector)
        values = [value for series in matching if (value := self._read(series, selector)) is not None]
        if not values:
            return None
        return max(values) if row.combine == "max" else sum(values)

    def _read(self, series: Series, selector: Selector) -> float | None:
        if selector.info is None:
            value = self._values[series]
        else:
            try:
                value = float(series.labels[selector.info])
            except (KeyError, ValueError):
                return None
        return value if math.isfinite(value) and value >= 0 and value not in _BLANKS else None

    def _items(self, matching: Sequence[Series], selector: Selector) -> float | None:
        newest = max(matching, key=self._values.__getitem__, default=None)
        listed = newest.labels.get(selector.info or "") if newest is not None else None
        return None if listed is None else float(len([item for item in listed.split(",") if item.strip()]))

    def text(self, row: Row) -> str | None:
        """The first label that says something."""
        for alternative in row.alternatives:
            for selector in alternative.selectors:
                for series in self._layout.matching(selector):
                    value = series.labels.get(selector.info or "", "")
                    if value not in _UNSAID:
                        return clean(value)
        return None

    def amount(self, row: Row, before: Figures) -> tuple[float | None, Moves | None]:
        """What was counted since the page before, and when it moves."""
        for alternative in row.alternatives:
            if all(self._counts(selector) for selector in alternative.selectors):
                if row.zero_is_missing and not self._total(alternative):
                    return None, None
                value = self._amount(alternative, before)
                return None if value is None else value * alternative.scale, alternative.moves
        return None, None

    def _amount(self, alternative: Alternative, before: Figures) -> float | None:
        if alternative.operator == "*":
            return self._product_change(alternative, before)
        changes = [self._change(self._layout.matching(selector), before) for selector in alternative.selectors]
        known = [change for change in changes if change is not None]
        if len(known) < len(changes):
            return None
        if alternative.operator == "+":
            return sum(known)
        return max(0.0, known[0] - sum(known[1:]))

    def _counts(self, selector: Selector) -> bool:
        """Whether the page counts what the selector asks for, even where nothing was counted yet.

        A labelled counter's series appear one by one, each with its first event: when the family
        and its label are there and the value is not, the count is 0.
        """
        named = self._layout.by_name.get(selector.name, ())
        if selector.label is None or selector.how == "!=":
            return bool(named)
        return any(selector.label in series.labels for series in named)

    def _total(self, alternative: Alternative) -> float:
        matching = (series for selector in alternative.selectors for series in self._layout.matching(selector))
        return sum(self._values[series] for series in matching)

    def _product_change(self, alternative: Alternative, before: Figures) -> float | None:
        if not all(before._layout.matching(selector) for selector in alternative.selectors):
            return None
        now, then = (
            math.prod(
                sum(page._values[series] for series in page._layout.matching(selector))
                for selector in alternative.selectors
            )
            for page in (self, before)
        )
        # A product of printed values jitters in its last digit while nothing moves: only a real
        # step back, larger than the printing's rounding, is a restart.
        change = now - then
        if change < 0:
            return 0.0 if -change <= 1e-5 * max(now, then) else None
        return change if math.isfinite(change) else None

    def _change(self, series: Iterable[Series], before: Figures) -> float | None:
        total = 0.0
        values, earlier = self._values, before._values
        for one in series:
            change = values[one] - earlier.get(one, 0.0)
            if change < 0 or not math.isfinite(change):
                return None
            total += change
        return total

    def histogram(self, row: Row, before: Figures) -> Histogram | None:
        """Observations since the page before, in seconds."""
        for alternative in row.alternatives:
            name = alternative.selectors[0].name
            if self._layout.by_name.get(f"{name}_bucket"):
                return self._histogram(name, before, alternative.scale)
        return None

    def _histogram(self, name: str, before: Figures, scale: float) -> Histogram | None:
        total = self._change(self._layout.by_name.get(f"{name}_sum", ()), before)
        buckets = self._layout.buckets(name, scale)
        if total is None or buckets is None:
            return None
        values, earlier = self._values, before._values
        changes: Iterable[float | None]
        if buckets.singles is not None:
            changes = [values[one] - earlier.get(one, 0.0) for one in buckets.singles]
        else:
            changes = [self._change(series, before) for series in buckets.series]
        counts: list[int] = []
        below = 0.0
        for reached in changes:
            if reached is None or not below <= reached < math.inf:
                return None
            counts.append(round(reached - below))
            below = reached
        return Histogram(buckets.bounds, tuple(counts), total * scale)


def _by_bound(buckets: Iterable[Series]) -> list[tuple[float, list[Series]]] | None:
    """The buckets of a family by upper bound, ascending; None unless the last one holds everything."""
    by_bound: dict[float, list[Series]] = {}
    for series in buckets:
        try:
            by_bound.setdefault(float(series.labels["le"]), []).append(series)
        except (KeyError, ValueError):
            return None
    ordered = sorted(by_bound.items())
    return ordered if ordered and ordered[-1][0] == math.inf else None


def _plausible(field: str, value: float) -> float | None:
    if field not in _RATIOS or value <= 1.0:
        return value
    return 1.0 if value <= _ROUNDING else None
