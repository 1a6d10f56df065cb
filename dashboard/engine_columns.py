"""The history of the selected engine in the columns of the time axis: its phases and its latencies.

A column that is full, and whose labels have settled, never changes: it is made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from collectors.histogram import Histogram
from collectors.model import EngineKey, engine_entity
from dashboard.tracks import Column, Tracks


class EngineColumns:
    """Made for one screen; what it keeps is of the engines that were asked for last."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._latencies: dict[tuple[str, int], Histogram | None] = {}
        self._phases: dict[int, Column] = {}

    def latency(
        self, tracks: Tracks, keys: Sequence[EngineKey], latency: str, columns: Sequence[Column], step: int
    ) -> list[Histogram | None]:
        """What those engines together observed in each column, where they observed anything."""
        self._begin(tracks, keys, step)
        bounds = tracks.latencies.bounds(keys, latency)
        found = []
        for column in columns:
            which = (latency, column.start)
            if which in self._latencies:
                histogram = self._latencies[which]
                if histogram is not None and histogram.bounds != bounds:
                    histogram = None  # of before the engine came back with other buckets
            else:
                first, last = _rows(tracks, column, step)
                histogram = tracks.latencies.merged(keys, latency, first, last)
                if _is_full(tracks, column, step):
                    self._latencies[which] = histogram
            found.append(histogram)
        return found

    def phases(self, tracks: Tracks, keys: Sequence[EngineKey], columns: Sequence[Column], step: int) -> list[Column]:
        """The columns with the phases of those engines, each with an equal say, in place of the host's."""
        self._begin(tracks, keys, step)
        return [self._phase(tracks, keys, column, step) for column in columns]

    def _phase(self, tracks: Tracks, keys: Sequence[EngineKey], column: Column, step: int) -> Column:
        known = self._phases.get(column.start)
        if known is not None:
            return known
        if column.first_sequence is None or not keys:
            return column
        first, _, seconds = tracks.part(column.start, column.start + step)
        entities = [engine_entity(key) for key in keys]
        total, settled = tracks.engine_phases.seconds(entities, first, seconds)
        parts = (total[0] / len(keys), total[1] / len(keys), total[2] / len(keys), total[3] / len(keys))
        own = (*parts, total[4] / len(keys))
        missing = max(0.0, sum(seconds) - sum(own))
        gap = column.gap + (missing if missing > 0.02 * sum(seconds) else 0.0)
        made = replace(column, seconds=own, gap=gap, provisional=not settled)
        if settled and _is_full(tracks, column, step):
            self._phases[column.start] = made
        return made

    def _begin(self, tracks: Tracks, keys: Sequence[EngineKey], step: int) -> None:
        """Forgets what was made of other engines, another history or another zoom."""
        wanted = (tracks, tuple(keys), step)
        if len(self._of) != len(wanted) or self._of[0] is not tracks or self._of[1:] != wanted[1:]:
            self._of = wanted
            self._latencies.clear()
            self._phases.clear()
        if len(self._phases) > _MOST_COLUMNS or len(self._latencies) > 4 * _MOST_COLUMNS:
            self._latencies.clear()
            self._phases.clear()


_MOST_COLUMNS = 2000


def _is_full(tracks: Tracks, column: Column, step: int) -> bool:
    return bool(len(tracks)) and column.start + step <= tracks.ends[-1]


def _rows(tracks: Tracks, column: Column, step: int) -> tuple[int, int]:
    """The rows whose latencies stand in a column: those with half their time or more in it.

    So each interval is in one column, unless it is longer than a column: then it is in all it covers.
    """
    first, shares, _ = tracks.part(column.start, column.start + step)
    mostly = [n for n, share in enumerate(shares) if share >= 0.5]
    if mostly:
        return first + mostly[0], first + mostly[-1] + 1
    return first, first + len(shares)


def quantiles_of(histograms: Sequence[Histogram | None], q: float) -> Iterator[float]:
    """The q-quantile of each column in seconds, NaN where nothing was observed."""
    for histogram in histograms:
        found = None if histogram is None else histogram.quantile(q)
        yield float("nan") if found is None else found
