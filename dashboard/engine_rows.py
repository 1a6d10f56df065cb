"""The rows of the engines' table: every engine, every rank, and the ranks of one page together.

What is sorted, filtered and selected is decided here, apart from any drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from collectors.histogram import Histogram, merge
from collectors.model import EngineKey
from collectors.readings import EngineReading, field_specs

_SUMMED_GAUGES = frozenset((
    "requests_running", "requests_waiting", "requests_waiting_capacity", "requests_waiting_deferred",
    "requests_waiting_transfer", "requests_paused", "requests_limit", "kv_cache_tokens",
))  # fmt: skip
"""Gauges of which the ranks have a part each; of other numbers the common value is taken, if there is one."""
_SPECS = field_specs(EngineReading)
_values = attrgetter(*(spec.name for spec in _SPECS))
_STATES = ("ok", "stale", "blocked", "down")
"""From the best to the worst: ranks together are as well as the worst of them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `reading` is the engine's own, or that of several ranks together; `ranks` is how many these are;
    `is_rank` says that the row is one rank of several on its page.
    """

    reading: EngineReading
    keys: tuple[EngineKey, ...]
    is_rank: bool = False

    @property
    def ranks(self) -> int:
        return len(self.keys)

    @property
    def name(self) -> EngineKey:
        """What selects the row."""
        return self.keys[0] if self.ranks == 1 else (self.keys[0][0], "*")


def together(readings: Sequence[EngineReading]) -> EngineReading:
    """All ranks of one page as one reading: amounts added, histograms merged, KV usage by capacity.

    What the ranks do not agree on, and cannot be added, is missing.
    """
    values: dict[str, Any] = {}
    for spec, column in zip(_SPECS, zip(*map(_values, readings), strict=True), strict=True):
        known = [value for value in column if value is not None]
        if spec.kind == "histogram":
            values[spec.name] = _merged(known)
        elif known and (spec.kind == "amount" or spec.name in _SUMMED_GAUGES):
            values[spec.name] = sum(known)
        elif known and all(value == known[0] for value in known):
            values[spec.name] = known[0]
    values["window_seconds"] = max((one.window_seconds for one in readings if one.window_seconds), default=None)
    values["kv_cache_usage_ratio"] = _kv_usage(readings)
    values["spec_acceptance_ratio"] = _acceptance(readings)
    values["state"] = max((one.state for one in readings), key=_badness)
    values["gpus"] = tuple(dict.fromkeys(gpu for one in readings for gpu in one.gpus))
    return EngineReading(**{**values, "endpoint": readings[0].endpoint, "engine_index": "*"})


def _badness(state: str) -> int:
    return _STATES.index(state) if state in _STATES else len(_STATES)


def _merged(known: list[Histogram]) -> Histogram | None:
    return merge(known) if known else None


def _kv_usage(readings: Sequence[EngineReading]) -> float | None:
    known = [one for one in readings if one.kv_cache_usage_ratio is not None]
    if not known:
        return None
    weights = [one.kv_cache_tokens or 0.0 for one in known]
    if not all(weights):
        weights = [1.0] * len(known)
    total = sum((one.kv_cache_usage_ratio or 0.0) * weight for one, weight in zip(known, weights, strict=True))
    return total / sum(weights)


def _acceptance(readings: Sequence[EngineReading]) -> float | None:
    drafted = sum(one.spec_draft_tokens or 0.0 for one in readings)
    if drafted:
        return min(1.0, sum(one.spec_accepted_tokens or 0.0 for one in readings) / drafted)
    known = [one.spec_acceptance_ratio for one in readings if one.spec_acceptance_ratio is not None]
    return sum(known) / len(known) if known else None


Key = Callable[[EngineReading], float | None]


def _rate(field: str) -> Key:
    def per_second(reading: EngineReading) -> float | None:
        amount: float | None = getattr(reading, field)
        return None if amount is None or not reading.window_seconds else amount / reading.window_seconds

    return per_second


ORDERS: Mapping[str, Key | str | None] = {
    "engine": None,
    "tokens in": _rate("prompt_tokens"),
    "tokens out": _rate("generation_tokens"),
    "running": lambda reading: reading.requests_running,
    "waiting": lambda reading: reading.requests_waiting,
    "KV cache": lambda reading: reading.kv_cache_usage_ratio,
    "TTFT p99": "ttft",
    "TPOT p99": "tpot",
}
"""What the table can be sorted by: a number of the reading, or a latency over the last minute, the largest first.

"engine" is by endpoint and rank.
"""

Minute = Callable[[Sequence[EngineKey], str], Histogram | None]
"""What engines observed of a latency in the last minute."""


def rows_of(
    engines: Iterable[EngineReading], order: str = "engine", wanted: str = "", minute: Minute = lambda keys, name: None
) -> list[Row]:
    """The rows of the table, in their order. `wanted` is what the shown engines' names must contain.

    Ranks follow the row of all of them together; pages are sorted by what all their ranks make.
    """
    pages: dict[str, list[EngineReading]] = {}
    for reading in engines:
        if matches(reading, wanted):
            pages.setdefault(reading.endpoint, []).append(reading)
    below: dict[EngineKey, list[Row]] = {}
    heads = []
    for ranks in pages.values():
        members = [Row(one, (one.key,), is_rank=len(ranks) > 1) for one in ranks]
        if len(ranks) > 1:
            keys = tuple(sorted((one.key for one in ranks), key=_by_rank))
            heads.append(Row(together(ranks), keys))
            below[heads[-1].name] = _sorted(members, order, minute)
        else:
            heads += members
    return [row for head in _sorted(heads, order, minute) for row in (head, *below.get(head.name, ()))]


def _sorted(rows: Sequence[Row], order: str, minute: Minute) -> list[Row]:
    by_name = sorted(rows, key=lambda row: (row.reading.endpoint, *_by_rank(row.name)))
    key = ORDERS[order]
    if key is None:
        return by_name

    def descending(row: Row) -> tuple[bool, float]:
        if isinstance(key, str):
            observed = minute(row.keys, key)
            value = None if observed is None else observed.quantile(0.99)
        else:
            value = key(row.reading) if key is not None else None
        return (value is None, -(value or 0.0))

    return sorted(by_name, key=descending)


def _by_rank(key: EngineKey) -> tuple[int, str]:
    """2 before 10, names after numbers."""
    index = key[1]
    return (int(index), index) if index.isascii() and index.isdigit() and len(index) < 10 else (1 << 40, index)


def matches(reading: EngineReading, wanted: str) -> bool:
    """Whether every word of `wanted` is in the engine's name, model, endpoint, role or state."""
    parts = (reading.engine, reading.model, reading.endpoint, reading.engine_index, reading.role, reading.state)
    text = " ".join(part for part in parts if part).casefold()
    return all(word in text for word in wanted.casefold().split())


@dataclass(slots=True)
class Choice:
    """What is chosen on the screen: the row, the latency, the order and the filter."""

    selected: EngineKey | None = None
    latency: str = "ttft"
    order: str = "engine"
    wanted: str = ""
    minute: Minute = lambda keys, name: None
    """Of the interval looked at; the screen puts it here."""
    _made: tuple[object, str, str, list[Row]] | None = None

    def rows(self, engines: Mapping[EngineKey, EngineReading]) -> list[Row]:
        """The rows of one interval's engines; all panels of a frame ask for the same."""
        made = self._made
        if made is None or made[0] is not engines or made[1:3] != (self.order, self.wanted):
            rows = rows_of(engines.values(), self.order, self.wanted, self.minute)
            made = self._made = (engines, self.order, self.wanted, rows)
        return made[3]

    def row(self, rows: Sequence[Row]) -> Row | None:
        """The selected row; the first one where the selected one is not there."""
        return next((row for row in rows if row.name == self.selected), rows[0] if rows else None)

    def move(self, rows: Sequence[Row], by: int) -> None:
        """Selects a row further down, or up; stops at the ends."""
        here = self.row(rows)
        if here is not None:
            self.selected = rows[min(len(rows) - 1, max(0, rows.index(here) + by))].name

    def next_order(self) -> None:
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
