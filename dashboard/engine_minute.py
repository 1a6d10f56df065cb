"""The latencies of an engine up to the interval looked at, and whether they are as promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from collectors.histogram import Histogram
from collectors.model import EngineKey
from collectors.slo import Objective
from dashboard.engine_rows import Row
from dashboard.latency_rows import LATENCIES
from dashboard.rank_words import Balance, balance, standings
from dashboard.scene import QUANTILE_SECONDS, Scene
from dashboard.state import History
from dashboard.words import place_of

_FEWEST = 10
"""Observations that a rank's median needs to be compared with others'."""


def minute(scene: Scene, keys: Sequence[EngineKey], latency: str) -> Histogram | None:
    """What those engines together observed in the minute up to the interval looked at."""
    return minute_before(scene.history, None if scene.tick is None else scene.tick.interval.sequence, keys, latency)


def minute_before(history: History, sequence: int | None, keys: Sequence[EngineKey], latency: str) -> Histogram | None:
    """As `minute`, up to the interval of that number."""
    tracks = history.tracks
    row = None if sequence is None else tracks.row_of(sequence)
    if row is None:
        return None
    return tracks.latencies.merged(keys, latency, tracks.rows_before(row, QUANTILE_SECONDS), row + 1)


def tells_latencies(history: History, row: Row) -> bool:
    """Whether the page of that row has any latency in it, now or as far back as memory goes."""
    tracks = history.tracks
    return any(
        getattr(row.reading, latency) is not None or tracks.latencies.bounds(row.keys, latency) is not None
        for latency in LATENCIES
    )


def objective(scene: Scene, row: Row, latency: str) -> Objective | None:
    """What is promised of a latency of that row's model."""
    return scene.slo.of(row.reading.model).of(latency)


def is_broken(scene: Scene, row: Row, latency: str, observed: Histogram | None) -> bool:
    """Whether more is slower than was promised."""
    promised = objective(scene, row, latency)
    return promised is not None and promised.met(observed) is False


def rank_balance(scene: Scene, rows: Sequence[Row]) -> Balance | None:
    """The sentence about the ranks: of each page with several, and of replicas of one model on several pages."""
    said: Balance | None = None
    ticks = scene.recent(QUANTILE_SECONDS)

    def median_of(key: EngineKey, latency: str) -> float | None:
        observed = minute(scene, (key,), latency)
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
