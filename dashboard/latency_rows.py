"""The latencies of engines as history: the buckets of every interval, in flat arrays.

Of each histogram only the buckets are kept that something fell into, with how much: an interval of
a busy engine is some ten numbers. An hour of four latencies at 1 Hz is about 200 kB an engine.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from collectors.histogram import Histogram
from collectors.model import EngineKey, Tick

LATENCIES: tuple[str, ...] = ("ttft", "tpot", "queue", "e2e")
"""The fields of EngineReading that are kept."""

_MOST_BUCKETS = 512
"""A histogram with more of them is not kept: no engine has as many."""
_MOST_ENTRIES = 200_000
"""Of one latency of one engine; past it the older half goes. An hour at four intervals a second is 80,000."""
_MOST_COUNT = 0xFFFFFFFF
_MOST_MERGED = 1000


class _Rows:
    """One latency of one engine: for every row the buckets that are not empty, and their counts."""

    def __init__(self, bounds: tuple[float, ...], rows: int) -> None:
        self.bounds = bounds
        self.ends = array("I", bytes(4 * rows))
        """How many entries there are up to the end of each row."""
        self.buckets = array("H")
        self.counts = array("I")
        self.lowest, self.highest = len(bounds), 0
        """The buckets between which everything lies that was ever seen: the heat map does not jump."""

    def append(self, histogram: Histogram | None) -> None:
        if histogram is not None and len(histogram.counts) <= _MOST_BUCKETS:
            if histogram.bounds is not self.bounds and histogram.bounds != self.bounds:
                self._begin_anew(histogram.bounds)
            for bucket, count in enumerate(histogram.counts):
                if count > 0:
                    self.buckets.append(bucket)
                    self.counts.append(min(count, _MOST_COUNT))
                    self.lowest, self.highest = min(self.lowest, bucket), max(self.highest, bucket)
        self.ends.append(len(self.buckets))
        if len(self.buckets) > _MOST_ENTRIES:
            self._drop(_MOST_ENTRIES // 2)

    def add_to(self, totals: list[int], first: int, last: int) -> None:
        """Adds what the rows `first` up to `last` hold to the counts of each bucket."""
        low, high = self.ends[first - 1] if first > 0 else 0, self.ends[last - 1] if last > 0 else 0
        for bucket, count in zip(self.buckets[low:high], self.counts[low:high], strict=True):
            totals[bucket] += count

    def trim(self, rows: int) -> None:
        """Forgets the oldest rows."""
        if rows > 0:
            self._drop(self.ends[rows - 1])
            del self.ends[:rows]

    @property
    def nbytes(self) -> int:
        return sum(len(one) * one.itemsize for one in (self.ends, self.buckets, self.counts))

    def _begin_anew(self, bounds: tuple[float, ...]) -> None:
        """An engine came back with other buckets: what it counted before cannot be added to them."""
        self._drop(len(self.buckets))
        self.bounds = bounds
        self.lowest, self.highest = len(bounds), 0

    def _drop(self, entries: int) -> None:
        del self.buckets[:entries], self.counts[:entries]
        self.ends = array("I", [max(0, end - entries) for end in self.ends])


class LatencyRows:
    """The rows of `dashboard.tracks.Tracks`, for each latency of each engine that tells it."""

    def __init__(self) -> None:
        self._rows = 0
        self._kept: dict[tuple[EngineKey, str], _Rows] = {}
        self._merged: dict[tuple[tuple[EngineKey, ...], str, int, int], Histogram | None] = {}
        """What was asked for since the last row: several panels ask for the same minute."""

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in self._kept.values())

    def append(self, tick: Tick) -> None:
        """Adds a row for every latency there is."""
        self._merged.clear()
        engines = tick.interval.engines
        for key, reading in engines.items():
            for latency in LATENCIES:
                histogram: Histogram | None = getattr(reading, latency)
                if histogram is not None and (key, latency) not in self._kept:
                    self._kept[key, latency] = _Rows(histogram.bounds, self._rows)
        for (key, latency), rows in self._kept.items():
            rows.append(getattr(engines[key], latency) if key in engines else None)
        self._rows += 1

    def trim(self, rows: int) -> None:
        """Forgets the oldest rows, and latencies of which nothing is left."""
        self._merged.clear()
        self._rows -= rows
        for which, kept in list(self._kept.items()):
            kept.trim(rows)
            if not kept.buckets:
                del self._kept[which]

    def bounds(self, keys: Iterable[EngineKey], latency: str) -> tuple[float, ...] | None:
        """The bounds in which those engines tell a latency; None where none does, or they differ."""
        found = {kept.bounds for key in keys if (kept := self._kept.get((key, latency))) is not None}
        return found.pop() if len(found) == 1 else None

    def span(self, keys: Iterable[EngineKey], latency: str) -> tuple[int, int] | None:
        """The lowest and the highest bucket that those engines ever filled; None where they filled none."""
        found = [kept for key in keys if (kept := self._kept.get((key, latency))) is not None and kept.buckets]
        return (min(one.lowest for one in found), max(one.highest for one in found)) if found else None

    def merged(self, keys: Sequence[EngineKey], latency: str, first: int, last: int) -> Histogram | None:
        """All observations of those engines in the rows `first` up to `last`, its `sum` unknown (0).

        None where nothing was observed, or where the engines' bounds differ: such observations
        cannot be added.
        """
        which = (tuple(keys), latency, first, last)
        if which not in self._merged:
            if len(self._merged) > _MOST_MERGED:
                self._merged.clear()
            self._merged[which] = self._merge(keys, latency, first, last)
        return self._merged[which]

    def _merge(self, keys: Sequence[EngineKey], latency: str, first: int, last: int) -> Histogram | None:
        bounds = self.bounds(keys, latency)
        if bounds is None or first >= last:
            return None
        totals = [0] * (len(bounds) + 1)
        for key in keys:
            kept = self._kept.get((key, latency))
            if kept is not None:
                kept.add_to(totals, first, last)
        return Histogram(bounds, tuple(totals), 0.0) if any(totals) else None
