"""From two pages of one engine to what happened between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from collectors.engine.catalog import ENGINES_BY_NAME, Alternative, Engine, Row, Selector, is_wanted, locate
from collectors.engine.page import PageMemo, Series, read_page
from collectors.histogram import Histogram
from collectors.readings import EngineReading, field_specs

_KINDS = {spec.name: spec.kind for spec in field_specs(EngineReading)}
_RATIOS = frozenset(spec.name for spec in field_specs(EngineReading) if spec.unit == "ratio")


def new_memo() -> PageMemo:
    """A memo that keeps every series some engine's table reads. One an endpoint."""
    return PageMemo(is_wanted)


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """What one page said about one engine: its totals and gauges at one moment.

    `arrived` is in seconds on the one clock of whoever reads the pages, taken when the whole page
    had arrived: an engine that blocks answers with its state at the end of the wait.
    """

    endpoint: str
    arrived: float
    engine: str
    engine_index: str
    model: str | None
    role: str | None
    values: Mapping[Series, float]

    @property
    def key(self) -> tuple[str, str]:
        return (self.endpoint, self.engine_index)


def snapshots(endpoint: str, text: str, arrived: float, memo: PageMemo) -> tuple[EngineSnapshot, ...]:
    """One snapshot for each engine and rank on a page; none when no known engine is there."""
    groups: dict[tuple[str, str], dict[Series, float]] = {}
    for series, value in read_page(text, memo):
        engine, _ = _located(series)
        index = series.labels.get(engine.index_label, "0") if engine.index_label else "0"
        groups.setdefault((engine.name, index), {})[series] = value
    return tuple(
        EngineSnapshot(endpoint, arrived, name, index, *_identity(ENGINES_BY_NAME[name], values), values)
        for (name, index), values in groups.items()
    )


def _located(series: Series) -> tuple[Engine, str]:
    found = locate(series.name)
    if found is None:  # the memo keeps only series that some table reads
        raise LookupError(f"{series.name} is in no engine's table")
    return found


def _identity(engine: Engine, values: Iterable[Series]) -> tuple[str | None, str | None]:
    model = role = None
    for series in values:
        if engine.model_label and model is None:
            model = series.labels.get(engine.model_label) or None
        if engine.role_label and role is None:
            role = (engine.roles or {}).get(series.labels.get(engine.role_label, ""))
        if (model or not engine.model_label) and (role or not engine.role_label):
            break
    return model, role


def engine_reading(
    previous: EngineSnapshot | None,
    current: EngineSnapshot | None,
    *,
    end: float,
    state: str = "ok",
    cpu_seconds: float | None = None,
    gpus: tuple[str, ...] = (),
) -> EngineReading:
    """What the engine did between two snapshots, as of `end` on the snapshots' clock.

    Without a new page (`current` is None or is `previous` again) everything measured is missing.
    A total that went down is a restart: that field is missing for this interval. A series that the
    earlier page lacked counts from 0.

    Raises:
        ValueError: neither snapshot is given, so there is nothing to name the engine by.
    """
    newest = current or previous
    if newest is None:
        raise ValueError("an engine reading needs at least one snapshot")
    fields: dict[str, Any] = {
        "endpoint": newest.endpoint,
        "engine_index": newest.engine_index,
        "engine": newest.engine,
        "model": newest.model,
        "role": newest.role,
        "state": state,
        "age_seconds": max(0.0, end - newest.arrived),
        "cpu_seconds": cpu_seconds,
        "gpus": gpus,
    }
    if current is None or current is previous:
        return EngineReading(**fields)
    if previous is not None:
        fields["window_seconds"] = current.arrived - previous.arrived
    page = _Page(current)
    before = _Page(previous) if previous is not None else None
    for row in ENGINES_BY_NAME[current.engine].rows:
        kind = _KINDS[row.field]
        if kind == "gauge":
            fields[row.field] = page.gauge(row)
        elif before is not None:
            fields[row.field] = page.amount(row, before) if kind == "amount" else page.histogram(row, before)
    return EngineReading(**fields)


class _Page:
    """A snapshot's values by the names the engine's table uses."""

    def __init__(self, snapshot: EngineSnapshot) -> None:
        self._values = snapshot.values
        self._by_name: dict[str, list[Series]] = {}
        for series in snapshot.values:
            self._by_name.setdefault(_located(series)[1], []).append(series)

    def gauge(self, row: Row) -> float | None:
        for alternative in row.alternatives:
            parts = [self._gauge_part(selector, row) for selector in alternative.selectors]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                value = sum(known) if alternative.operator == "+" else math.prod(known)
                return None if value < 0 or math.isinf(value) else value
        return None

    def _gauge_part(self, selector: Selector, row: Row) -> float | None:
        values = [value for series in self._matching(selector) if (value := self._read(series, selector)) is not None]
        if not values:
            return None
        return max(values) if row.combine == "max" else sum(values)

    def _read(self, series: Series, selector: Selector) -> float | None:
        if selector.info is None:
            return self._values[series]
        try:
            return float(series.labels[selector.info])
        except (KeyError, ValueError):
            return None

    def amount(self, row: Row, before: _Page) -> float | None:
        for alternative in row.alternatives:
            if all(self._has(selector) for selector in alternative.selectors):
                if row.zero_is_missing and not self._total(alternative):
                    return None
                if alternative.operator == "*":
                    return self._product_change(alternative, before)
                found = [series for selector in alternative.selectors for series in self._matching(selector)]
                return self._change(found, before)
        return None

    def _has(self, selector: Selector) -> bool:
        """Whether the page counts what the selector asks for, even where nothing was counted yet.

        A labelled counter's series appear one by one, each with its first event: when the family
        and its label are there and the value is not, the count is 0.
        """
        named = self._by_name.get(selector.name, ())
        return bool(named) if selector.label is None else any(selector.label in series.labels for series in named)

    def _total(self, alternative: Alternative) -> float:
        return sum(self._values[series] for selector in alternative.selectors for series in self._matching(selector))

    def _product_change(self, alternative: Alternative, before: _Page) -> float | None:
        if not all(before._matching(selector) for selector in alternative.selectors):
            return None
        now, then = (
            math.prod(
                sum(page._values[series] for series in page._matching(selector)) for selector in alternative.selectors
            )
            for page in (self, before)
        )
        # A product of printed values jitters in its last digit while nothing moves: only a real
        # step back, larger than the printing's rounding, is a restart.
        change = now - then
        if change < 0:
            return 0.0 if -change <= 1e-5 * max(now, then) else None
        return change if math.isfinite(change) else None

    def _change(self, series: Iterable[Series], before: _Page) -> float | None:
        total = 0.0
        for one in series:
            change = self._values[one] - before._values.get(one, 0.0)
            if change < 0 or not math.isfinite(change):
                return None
            total += change
        return total

    def histogram(self, row: Row, before: _Page) -> Histogram | None:
        for alternative in row.alternatives:
            name = alternative.selectors[0].name
            buckets = self._by_name.get(f"{name}_bucket")
            if buckets:
                return self._histogram(name, buckets, before)
        return None

    def _histogram(self, name: str, buckets: list[Series], before: _Page) -> Histogram | None:
        by_bound: dict[float, list[Series]] = {}
        for series in buckets:
            try:
                by_bound.setdefault(float(series.labels["le"]), []).append(series)
            except (KeyError, ValueError):
                return None
        bounds = sorted(by_bound)
        if not bounds or not math.isinf(bounds[-1]):
            return None
        cumulative = [self._change(by_bound[bound], before) for bound in bounds]
        total = self._change(self._by_name.get(f"{name}_sum", ()), before)
        counts: list[int] = []
        below = 0.0
        for reached in cumulative:
            if reached is None or reached < below:
                return None
            counts.append(round(reached - below))
            below = reached
        return Histogram(tuple(bounds[:-1]), tuple(counts), total) if total is not None else None

    def _matching(self, selector: Selector) -> list[Series]:
        named = self._by_name.get(selector.name, [])
        return named if selector.label is None else [series for series in named if selector.matches(series.labels)]
