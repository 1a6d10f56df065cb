"""Which engines should be loaded alike, and whether they are; and whether an engine tells latencies at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from collectors.model import EngineKey
from dashboard.engine_rows import Row
from dashboard.latency_rows import LATENCIES
from dashboard.rank_words import Balance, balance, standings
from dashboard.scene import QUANTILE_SECONDS, Scene
from dashboard.state import History
from dashboard.words import place_of

_FEWEST = 10
"""Observations that a rank's median needs to be compared with others'."""


def tells_latencies(history: History, row: Row) -> bool:
    """Whether the page of that row has any latency in it, now or as far back as memory goes."""
    tracks = history.tracks
    return any(
        getattr(row.reading, latency) is not None or tracks.latencies.bounds(row.keys, latency) is not None
        for latency in LATENCIES
    )


def rank_balance(scene: Scene, rows: Sequence[Row]) -> Balance | None:
    """The sentence about the ranks: of each page with several, and of replicas of one model on several pages."""
    said: Balance | None = None
    ticks = scene.recent(QUANTILE_SECONDS)

    def median_of(key: EngineKey, latency: str) -> float | None:
        observed = scene.observed((key,), latency)
        return None if observed is None or observed.count < _FEWEST else observed.quantile(0.5)

    for keys, names, what in _peers(rows):
        found = balance(standings(ticks, keys, median_of), names, what)
        if found is not None and found.odd is not None:
            return found
        said = said or found
    return said


def _peers(rows: Sequence[Row]) -> Iterator[tuple[list[EngineKey], dict[EngineKey, str], str]]:
    """Engines that should be loaded alike, what each is called, and what all are."""
    ranks: dict[str, list[Row]] = {}
    replicas: dict[tuple[str | None, str | None, str | None], list[Row]] = {}
    for row in rows:
        if row.is_rank:
            ranks.setdefault(row.reading.endpoint, []).append(row)
        elif row.ranks == 1 and row.reading.model is not None:
            replicas.setdefault((row.reading.engine, row.reading.model, row.reading.role), []).append(row)
    for endpoint, members in ranks.items():
        where = f" of {place_of(endpoint)}" if len(ranks) > 1 else ""
        names = {row.name: f"rank {row.reading.engine_index}{where}" for row in members}
        yield list(names), names, f"ranks{where}"
    for members in replicas.values():
        if len(members) > 1:
            names = {row.name: place_of(row.reading.endpoint) for row in members}
            yield list(names), names, "engines of one model"
