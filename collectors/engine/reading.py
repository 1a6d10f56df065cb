"""From two pages of one engine to what happened between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from collectors.engine.catalog import ENGINES_BY_NAME, LATE, WITHIN_INTERVAL, is_wanted
from collectors.engine.facts import Facts
from collectors.engine.figures import Figures, Layout
from collectors.engine.livetokens import ESTIMATE, LLAMACPP, LiveTokens
from collectors.engine.page import PageMemo, Series, read_page
from collectors.engine.ranks import Rank, identity, ranks
from collectors.readings import EngineReading, field_specs

_KINDS = {spec.name: spec.kind for spec in field_specs(EngineReading)}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one rank's figures are among a page's samples, and what their labels tell of it."""

    rank: Rank
    series: tuple[Series, ...]
    positions: tuple[int, ...]
    layout: Layout
    model: str | None
    role: str | None

    def values(self, numbers: Sequence[float]) -> dict[Series, float]:
        if len(self.positions) == len(numbers):
            return dict(zip(self.series, numbers, strict=True))
        return {one: numbers[position] for one, position in zip(self.series, self.positions, strict=True)}


@dataclass(slots=True)
class EngineMemo(PageMemo):
    """What is remembered of an endpoint's page: its series, and what they are to whom.

    `graded` holds the ranks whose KV-cache gauge has been seen between empty and full. One that
    only ever is 0 or 1 is no measure of how full the cache is.
    """

    series_of_page: tuple[Series, ...] = ()
    places: tuple[_Place, ...] = ()
    graded: set[Rank] = field(default_factory=set)
    live: LiveTokens = field(default_factory=LiveTokens)


def new_memo() -> EngineMemo:
    """A memo that keeps every series some engine's table reads. One an endpoint."""
    return EngineMemo(is_wanted)


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """What one page said about one engine: its totals and gauges at one moment.

    `arrived` is in seconds on the one clock of whoever reads the pages, taken when the whole page
    had arrived: an engine that blocks answers with its state at the end of the wait. `layout` is
    `values`' series by the names of the engine's table.
    """

    endpoint: str
    arrived: float
    engine: str
    engine_index: str
    model: str | None
    role: str | None
    values: Mapping[Series, float]
    layout: Layout
    kv_is_graded: bool = True
    is_comparable: bool = True
    """False once whoever served the page has ended: what comes after is another count."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.endpoint, self.engine_index)


def snapshots(endpoint: str, text: str, arrived: float, memo: EngineMemo) -> tuple[EngineSnapshot, ...]:
    """One snapshot for each engine and rank on a page; none when no known engine is there."""
    samples = read_page(text, memo)
    if samples and samples[0][0].name.startswith(LLAMACPP) and (total := memo.live.total(samples)) is not None:
        samples.append((ESTIMATE, total))
    series = tuple([one for one, _ in samples])
    if series != memo.series_of_page:
        memo.series_of_page, memo.places = series, tuple(_places(series))
    numbers = [number for _, number in samples]
    found: list[EngineSnapshot] = []
    for place in memo.places:
        values = place.values(numbers)
        name, index = place.rank
        usage = Figures(ENGINES_BY_NAME[name], values, place.layout).usage()
        if usage is not None and 0.0 < usage < 1.0:
            memo.graded.add(place.rank)
        is_graded = place.rank in memo.graded
        found.append(
            EngineSnapshot(endpoint, arrived, name, index, place.model, place.role, values, place.layout, is_graded)
        )
    return tuple(found)


def empty_snapshot(endpoint: str, engine: str, arrived: float) -> EngineSnapshot:
    """What an empty page says of an engine that is known by other means: all that it counts begins at 0."""
    return EngineSnapshot(endpoint, arrived, engine, "0", None, None, {}, Layout.of(ENGINES_BY_NAME[engine], ()))


def _places(series: Sequence[Series]) -> Iterator[_Place]:
    for (name, index), positions in ranks(series).items():
        engine = ENGINES_BY_NAME[name]
        own = tuple(series[position] for position in positions)
        layout = Layout.of(engine, dict.fromkeys(own))  # a series that stands there twice counts once
        yield _Place((name, index), own, tuple(positions), layout, *identity(engine, own))


def engine_reading(
    previous: EngineSnapshot | None,
    current: EngineSnapshot | None,
    *,
    end: float,
    state: str = "ok",
    cpu_seconds: float | None = None,
    gpus: tuple[str, ...] = (),
    facts: Facts = MappingProxyType({}),
) -> EngineReading:
    """What the engine did between two snapshots, as of `end` on the snapshots' clock.

    Without a new page (`current` is None or is `previous` again) everything measured is missing.
    A total that went down is a restart: that field is missing for this interval. A series that the
    earlier page lacked counts from 0. `facts` fill fields that the page does not tell.

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
        return EngineReading(**_with(facts, fields))
    if previous is not None:
        fields["window_seconds"] = current.arrived - previous.arrived
    fields.update(_figures(current, previous if previous is not None and previous.engine == current.engine else None))
    return EngineReading(**_with(facts, fields))


def _with(facts: Facts, fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, **{name: value for name, value in facts.items() if fields.get(name) is None}}


def _figures(current: EngineSnapshot, previous: EngineSnapshot | None) -> dict[str, Any]:
    engine = ENGINES_BY_NAME[current.engine]
    page = Figures(engine, current.values, current.layout)
    before = Figures(engine, previous.values, previous.layout) if previous is not None else None
    found: dict[str, Any] = {}
    late: list[str] = []
    for row in engine.rows:
        kind = _KINDS[row.field]
        if kind == "gauge":
            found[row.field] = page.gauge(row)
        elif kind == "text":
            if (text := page.text(row)) is not None:
                found[row.field] = text
        elif before is not None:
            if kind == "histogram":
                found[row.field] = page.histogram(row, before)
                continue
            value, moves = page.amount(row, before)
            found[row.field] = value
            if value is not None and moves in LATE and row.field in WITHIN_INTERVAL:
                late.append(row.field)
    found["late_fields"] = ",".join(late) or None
    found["kv_cache_usage_ratio"] = _believed_usage(found, current.kv_is_graded)
    if drafted := found.get("spec_draft_tokens"):
        found["spec_acceptance_ratio"] = min(1.0, (found.get("spec_accepted_tokens") or 0.0) / drafted)
    return found


def _believed_usage(found: Mapping[str, Any], is_graded: bool) -> float | None:
    """The KV-cache usage, unless its gauge has only ever been 0 or 1 and says so while requests run."""
    usage: float | None = found.get("kv_cache_usage_ratio")
    if is_graded or (usage == 0.0 and not found.get("requests_running")):
        return usage
    return None
