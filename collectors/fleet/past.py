"""One node's past in a Prometheus, to be looked at like a recording: whole intervals of the scrape's length.

Everything is read by range queries, an hour's quarter at a time, as counters at the edges of the intervals;
what lies between two edges is their difference. It reads when it is asked, on the asker's thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, tzinfo

from collectors.clock import NANO
from collectors.fleet.happenings import Happenings
from collectors.fleet.moments import SELECTOR, Moment, Place, is_same_page, place_of, tick_of
from collectors.fleet.queries import Target
from collectors.model import HOST, PHASES, Event, Tick
from collectors.promql import Labels, PromClient, PromProblem
from collectors.slo import SloBook
from collectors.strip import StripColumn

_CHUNK = 40
"""Intervals read at once: 300 series make 12,000 points."""
_EARLIER = 3
"""Intervals before those, in which what lasts (throttling, a full cache, a phase) may have begun."""
_KEPT_CHUNKS = 8
_LAG = 12.0
_FURTHEST = 30 * 86_400.0
_COARSE, _FINE = 3 * 3600.0, 60.0
_FAR = 24
"""Chunks looked through for a change of phase, an event, or an interval after a gap."""


class NodePast:
    """Implements what replay needs of a recording. Raises PromProblem where it reads and cannot."""

    live = True
    description = ""

    def __init__(
        self,
        client: PromClient,
        target: Target,
        key: tuple[str, ...],
        *,
        name: str,
        step: float,
        at: float,
        zone: tzinfo = UTC,
        book: SloBook | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`key` are the values of the labels that name the node; `step` is the length of an interval in seconds.

        `book` are the objectives whose breach is an event.
        """
        self._client = client
        self._match = target.of(key).match
        self._step = max(1, round(step))
        self._book = book
        self._wall = wall
        self.host_name = name
        self.zone = zone
        self._end = self._last_edge()
        self._start = min(self._end, round(at)) - 86_400
        self._is_start_known = False
        self._chunks: OrderedDict[int, dict[int, Tick]] = OrderedDict()
        self.problems: tuple[str, ...] = ()

    @property
    def interval_length(self) -> float:
        return float(self._step)

    @property
    def start(self) -> int:
        return self._start // self._step * self._step * NANO

    @property
    def end(self) -> int:
        return self._end * NANO

    @property
    def first_sequence(self) -> int:
        return self._start // self._step

    @property
    def last_sequence(self) -> int:
        return self._end // self._step - 1

    def close(self) -> None:
        self._client.close()

    def refresh(self) -> bool:
        before, self._end = self._end, self._last_edge()
        return self._end != before

    def tick(self, sequence: int) -> Tick | None:
        if not self.first_sequence <= sequence <= self.last_sequence:
            return None
        chunk = sequence // _CHUNK
        known = self._chunks.get(chunk)
        if known is None or (chunk == self.last_sequence // _CHUNK and sequence not in known):
            known = self._read(chunk)
        self._chunks.move_to_end(chunk)
        return known.get(sequence)

    def tick_at(self, time_ns: int) -> Tick | None:
        """The latest interval that starts at or before a moment."""
        self._find_start()
        sequence = min(time_ns // NANO // self._step, self.last_sequence)
        return self.tick(sequence) or self._nearest(sequence, -1)

    def next(self, sequence: int) -> Tick | None:
        return self._nearest(sequence, 1)

    def previous(self, sequence: int) -> Tick | None:
        return self._nearest(sequence, -1)

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]:
        first = self.first_sequence if from_ns is None else max(self.first_sequence, from_ns // NANO // self._step)
        last = self.last_sequence if to_ns is None else min(self.last_sequence, (to_ns - 1) // NANO // self._step)
        for sequence in range(first, last + 1):
            tick = self.tick(sequence)
            if tick is not None:
                yield tick

    def next_phase_change(self, time_ns: int) -> int | None:
        return self._find(time_ns, 1, self._is_change)

    def previous_phase_change(self, time_ns: int) -> int | None:
        return self._find(time_ns, -1, self._is_change)

    def next_gap(self, time_ns: int) -> int | None:
        return self._find(time_ns, 1, self._is_after_gap)

    def previous_gap(self, time_ns: int) -> int | None:
        return self._find(time_ns, -1, self._is_after_gap)

    def next_event(self, time_ns: int) -> int | None:
        return self._find(time_ns, 1, _is_loud)

    def previous_event(self, time_ns: int) -> int | None:
        return self._find(time_ns, -1, _is_loud)

    def events(self, from_ns: int, to_ns: int) -> list[Event]:
        """Those of what has been read so far, and is still kept."""
        ticks = (tick for _, chunk in sorted(self._chunks.items()) for tick in chunk.values())
        return [event for tick in ticks for event in tick.events if from_ns <= event.time < to_ns]

    def strip(self, from_ns: int, to_ns: int, columns: int) -> list[StripColumn]:
        """The node's phases over any stretch, one point a column."""
        self._find_start()
        width = (to_ns - from_ns) / NANO / columns
        window = max(width, 2.5 * self._step)
        query = f"sum by (phase) (rate(phasetop_host_phase_seconds_total{{{self._match}}}[{round(window)}s]))"
        start = from_ns / NANO
        found = self._client.query_range(query, start + width, start + width * (columns + 0.01), width)
        seconds = [dict.fromkeys(PHASES, 0.0) for _ in range(columns)]
        for labels, points in found.series:
            for moment, share in points:
                column = round((moment - start) / width) - 1
                if 0 <= column < columns and labels.get("phase") in seconds[column]:
                    seconds[column][labels["phase"]] = share * width
        edges = [from_ns + (to_ns - from_ns) * n // columns for n in range(columns + 1)]
        return [
            StripColumn(edges[n], edges[n + 1], **one, gap=max(0.0, width - sum(one.values())))
            for n, one in enumerate(seconds)
        ]

    def _last_edge(self) -> int:
        return int(self._wall() - _LAG) // self._step * self._step

    def _find_start(self) -> None:
        """Since when there is anything, asked once."""
        if self._is_start_known:
            return
        self._is_start_known = True
        now = self._wall()
        try:
            first = self._first_since(now - _FURTHEST, now, _COARSE)
            if first is not None:
                first = self._first_since(first - _COARSE, first, _FINE) or first
        except PromProblem as problem:
            self.problems = (problem.reason,)  # the day before is looked at all the same
            return
        if first is not None:
            self._start = min(int(first - _FINE), self._end - self._step)

    def _first_since(self, start: float, end: float, step: float) -> float | None:
        """The end of the first step in which anything was scraped."""
        query = f"count_over_time(phasetop_settled_timestamp_seconds{{{self._match}}}[{round(step)}s])"
        found = self._client.query_range(query, start, end + step, step)
        return min((points[0][0] for _, points in found.series if points), default=None)

    def _read(self, chunk: int) -> dict[int, Tick]:
        step, first = self._step, chunk * _CHUNK
        last = min(first + _CHUNK - 1, self.last_sequence)
        query = f'{{__name__=~"{SELECTOR}", {self._match}}}'
        try:
            found = self._client.query_range(query, (first - _EARLIER) * step, (last + 1) * step, step)
        except PromProblem as problem:
            self.problems = (problem.reason,)
            raise
        self.problems = found.warnings
        moments: dict[int, Moment] = {}
        for labels, points in found.series:
            place = place_of(labels.get("__name__", ""), labels)
            if place is not None:
                _spread(place, labels, points, step, moments)
        known = self._chunks[chunk] = dict(self._made(moments, first, last))
        while len(self._chunks) > _KEPT_CHUNKS:
            self._chunks.popitem(last=False)
        return known

    def _made(self, moments: Mapping[int, Moment], first: int, last: int) -> Iterator[tuple[int, Tick]]:
        """The intervals of a stretch by their number. One in which no page came is part of the next one."""
        step, happenings = self._step, Happenings(self._book)
        base: tuple[int, Moment] | None = None
        for edge in range(first - _EARLIER, last + 2):
            now = moments.get(edge)
            if now and base is not None:
                begins, before = base
                if is_same_page(before, now):
                    continue
                tick = tick_of(
                    before, now, sequence=edge - 1, start=begins * step * NANO, end=edge * step * NANO,
                    seconds=float((edge - begins) * step), name=self.host_name,
                )  # fmt: skip
                events = happenings.push(tick)
                if edge > first:
                    yield edge - 1, replace(tick, events=events)
            base = (edge, now) if now else None

    def _nearest(self, sequence: int, direction: int) -> Tick | None:
        for _ in range(_FAR * _CHUNK):
            sequence += direction
            if not self.first_sequence <= sequence <= self.last_sequence:
                return None
            tick = self.tick(sequence)
            if tick is not None:
                return tick
        return None

    def _find(self, time_ns: int, direction: int, is_it: Callable[[Tick], bool]) -> int | None:
        """The start of the nearest such interval, and never of the one at that moment."""
        sequence = time_ns // NANO // self._step
        for _ in range(_FAR * _CHUNK):
            sequence += direction
            if not self.first_sequence < sequence <= self.last_sequence:
                return None
            here = self.tick(sequence)
            if here is not None and is_it(here):
                return here.interval.start
        return None

    def _is_change(self, here: Tick) -> bool:
        """Whether the node's label became another one with it."""
        before = self.tick(here.interval.sequence - 1)
        return before is not None and _label(here) != _label(before)

    def _is_after_gap(self, here: Tick) -> bool:
        return self.tick(here.interval.sequence - 1) is None


def _is_loud(tick: Tick) -> bool:
    """Changes of phase are found by themselves."""
    return any(event.kind != "phase-change" for event in tick.events)


def _label(tick: Tick) -> str:
    return tick.labels[HOST].phase.label


def _spread(
    place: Place, labels: Labels, points: tuple[tuple[float, float], ...], step: int, moments: dict[int, Moment]
) -> None:
    for moment, value in points:
        moments.setdefault(round(moment / step), Moment()).put(place, labels, value)
