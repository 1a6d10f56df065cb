"""What the screens show, apart from any terminal: where ticks come from, what is kept, what is looked at.

Nothing here paints. `History` keeps up to an hour of intervals in a few megabytes: flat arrays for
everything drawn as history, full ticks for the last minutes, packed ones before that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from collectors.model import HOST, Event, Label, Tick
from dashboard.tracks import Column, Tracks

if TYPE_CHECKING:
    from collectors.sources import SourceStatus

KEEP_SECONDS = 3600.0
MAX_ROWS = 14_400
RECENT_TICKS = 64
"""Full ticks kept as objects, about 50 kB each with 8 GPUs: the minute that panels look back over. Labels settle
within 10 s."""
PACKED_TICKS = 10
"""Ticks in one packed chunk: 0.6 kB each with 8 GPUs and 2 engines, unpacked in 0.7 ms each."""
ARCHIVE_BYTES = 3 << 20
_UNPACKED_CHUNKS = 8
_MAX_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Window:
    """Ticks of a recording, oldest first, and the interval now looked at.

    `reset`: the view jumped; forget what was shown before.
    """

    ticks: tuple[Tick, ...]
    at: int | None
    reset: bool = False


Delivery = Tick | Window
Deliver = Callable[[Delivery], None]


class Feed(Protocol):
    """Where ticks come from. `deliver` may be called from any thread, in order; it never blocks."""

    @property
    def live(self) -> bool:
        """Whether the newest interval is now. A recording being replayed is not live."""
        ...

    def start(self, deliver: Deliver) -> None:
        """Returns at once; whatever takes time happens on the feed's own threads."""
        ...

    def stop(self) -> None: ...

    def status(self) -> Sequence[SourceStatus]:
        """One line for each source that is not well, or that has something to say."""
        ...


@dataclass(frozen=True, slots=True)
class PlacedEvent:
    """An event, where it lies on the axis, and the interval it came with."""

    axis: int
    event: Event
    sequence: int


class History:
    """The intervals seen, newest last; settled labels replace provisional ones where they are kept."""

    def __init__(
        self,
        *,
        keep_seconds: float = KEEP_SECONDS,
        recent_ticks: int = RECENT_TICKS,
        archive_bytes: int = ARCHIVE_BYTES,
    ) -> None:
        self._recent_ticks = recent_ticks
        self._archive_bytes = archive_bytes
        self._keep_seconds = keep_seconds
        self.clear()

    def clear(self) -> None:
        self.tracks = Tracks(self._keep_seconds, MAX_ROWS)
        self._recent: OrderedDict[int, Tick] = OrderedDict()
        self._chunks: deque[tuple[int, int, bytes]] = deque()
        self._packed_bytes = 0
        self._unpacked: OrderedDict[int, dict[int, Tick]] = OrderedDict()
        self.events: deque[PlacedEvent] = deque(maxlen=_MAX_EVENTS)

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def packed_bytes(self) -> int:
        """What the packed ticks take in memory."""
        return self._packed_bytes

    @property
    def unpacked_ticks(self) -> int:
        """Ticks of packed chunks that are held unpacked, because they were looked at."""
        return sum(len(ticks) for ticks in self._unpacked.values())

    @property
    def newest(self) -> Tick | None:
        return next(reversed(self._recent.values()), None)

    def append(self, tick: Tick) -> bool:
        """Adds a tick and applies the labels that settled with it. False for one already there."""
        if self._recent and tick.interval.sequence <= next(reversed(self._recent)):
            return False
        end = self.tracks.append(tick)
        shift = end - tick.interval.end
        self._recent[tick.interval.sequence] = tick
        number = tick.interval.sequence
        self.events.extend(PlacedEvent(event.time + shift, event, number) for event in tick.events)
        self._settle(tick.settled)
        if len(self._recent) >= self._recent_ticks + PACKED_TICKS:
            self._pack_oldest()
        return True

    def add_event(self, event: Event) -> None:
        """One that came by another way than with its tick."""
        axis = event.time + self.tracks.shift_now()
        row = self.tracks.row_at(axis)
        if row is not None:
            self.events.append(PlacedEvent(axis, event, self.tracks.sequences[row]))

    def extend(self, ticks: Iterable[Tick]) -> None:
        for tick in ticks:
            self.append(tick)

    def tick(self, sequence: int) -> Tick | None:
        """The full readings of an interval; None where it is unknown or only its tracks are kept."""
        recent = self._recent.get(sequence)
        if recent is not None:
            return recent
        for first, last, packed in self._chunks:
            if first <= sequence <= last:
                return self._chunk(first, packed).get(sequence)
        return None

    def between(self, start: int, end: int) -> Iterator[Tick]:
        """The full ticks that start within [start, end), wall-clock ns, as of this moment; unpacked one by one."""
        packed, recent = [chunk for _, _, chunk in self._chunks], list(self._recent.values())

        def ticks() -> Iterator[Tick]:
            from dashboard.archive import unpack

            for chunk in packed:
                yield from unpack(chunk)
            yield from recent

        return (tick for tick in ticks() if start <= tick.interval.start < end)

    def before(self, sequence: int, seconds: float) -> list[Tick]:
        """The full ticks of the `seconds` up to and including that interval, oldest first.

        At most as many as are kept unpacked: with short intervals a minute is too much to unpack at
        every one of them.
        """
        row = self.tracks.row_of(sequence)
        if row is None:
            return []
        first = bisect_right(self.tracks.ends, self.tracks.ends[row] - round(seconds * 1e9))
        first = max(first, row + 1 - self._recent_ticks)
        ticks = (self.tick(number) for number in self.tracks.sequences[first : row + 1])
        return [tick for tick in ticks if tick is not None]

    def columns(self, end: int, step: int, count: int) -> list[Column]:
        return self.tracks.columns(end, step, count)

    def events_between(self, start: int, end: int) -> list[PlacedEvent]:
        """Events on the axis from `start` up to `end`, oldest first."""
        return [placed for placed in self.events if start <= placed.axis < end]

    def last_settled(self, sequence: int, *, entity: str = HOST, within: int = 16) -> Label | None:
        """The newest settled, known label at most `within` intervals before that one."""
        row = self.tracks.row_of(sequence)
        if row is None:
            return None
        for number in reversed(self.tracks.sequences[max(0, row - within) : row]):
            tick = self._recent.get(number)
            label = tick.labels.get(entity) if tick else None
            if label is not None and label.settled and label.phase.label != "unknown":
                return label
        return None

    def _settle(self, labels: Sequence[Label]) -> None:
        changed: dict[int, dict[str, Label]] = {}
        for label in labels:
            if label.entity == HOST or label.entity.startswith("engine/"):
                self.tracks.settle(label)
            changed.setdefault(label.sequence, {})[label.entity] = label
        for sequence, settled in changed.items():
            tick = self._recent.get(sequence)
            if tick is not None:
                self._recent[sequence] = replace(tick, labels={**tick.labels, **settled}, settled=())

    def _pack_oldest(self) -> None:
        from dashboard.archive import pack  # not before the first frame, nor for the first two minutes

        oldest = [self._recent.popitem(last=False)[1] for _ in range(PACKED_TICKS)]
        packed = pack(oldest)
        self._chunks.append((oldest[0].interval.sequence, oldest[-1].interval.sequence, packed))
        self._packed_bytes += len(packed)
        kept_from = self.tracks.sequences[0]
        while self._chunks and (self._packed_bytes > self._archive_bytes or self._chunks[0][1] < kept_from):
            first, _, dropped = self._chunks.popleft()
            self._packed_bytes -= len(dropped)
            self._unpacked.pop(first, None)

    def _chunk(self, first: int, packed: bytes) -> dict[int, Tick]:
        ticks = self._unpacked.get(first)
        if ticks is None:
            from dashboard.archive import unpack

            ticks = {tick.interval.sequence: tick for tick in unpack(packed)}
            self._unpacked[first] = ticks
            while len(self._unpacked) > _UNPACKED_CHUNKS:
                self._unpacked.popitem(last=False)
        else:
            self._unpacked.move_to_end(first)
        return ticks


@dataclass(slots=True)
class View:
    """Which interval is looked at, and where the right edge of the time axis lies.

    Live, both follow the newest interval. Paused, both stay while data keeps arriving. Inspecting,
    the cursor is on an interval and the edge stays until the cursor leaves the visible columns.
    """

    history: History = field(default_factory=History)
    edge: int | None = None
    """Sequence at the right edge; None follows the newest."""
    cursor: int | None = None
    step: int | None = None
    """Nanoseconds in one column; None is the usual step."""

    @property
    def following(self) -> bool:
        return self.edge is None

    def toggle_pause(self) -> None:
        if self.edge is not None:
            self.follow()
        elif len(self.history):
            self.edge = self.history.tracks.sequences[-1]

    def follow(self) -> None:
        self.edge = self.cursor = None

    def shown(self) -> int | None:
        """Sequence of the interval whose values the panels show."""
        if self.cursor is not None:
            return self.cursor
        if self.edge is not None:
            return self.edge
        return self.history.tracks.sequences[-1] if len(self.history) else None

    def end(self) -> int | None:
        """The right edge of the time axis, in its nanoseconds; None before the first interval."""
        tracks = self.history.tracks
        if not len(tracks):
            return None
        row = None if self.edge is None else tracks.row_of(self.edge)
        if row is None:
            return tracks.ends[-1] if self.edge is None else tracks.ends[0]
        return tracks.ends[row]

    def move(self, intervals: int, visible: int) -> None:
        """Moves the cursor by that many intervals; `visible` is the width of the axis in nanoseconds."""
        if len(self.history):
            row = self._row() + intervals
            self._put(min(max(row, 0), len(self.history) - 1), visible)

    def move_time(self, seconds: float, visible: int) -> None:
        """Moves the cursor by at least one interval, by about that many seconds."""
        tracks = self.history.tracks
        if not len(tracks):
            return
        row = self._row()
        target = tracks.row_at(tracks.ends[row] + round(seconds * 1e9))
        step = 1 if seconds > 0 else -1
        if target is None or (target - row) * step < 1:
            target = row + step
        self._put(min(max(target, 0), len(tracks) - 1), visible)

    def point(self, axis_ns: int, visible: int) -> None:
        """Puts the cursor on the interval of a moment of the axis, the nearest there is."""
        row = self.history.tracks.row_at(axis_ns)
        if row is not None:
            self._put(row, visible)

    def pan(self, nanoseconds: int, visible: int) -> None:
        """Moves the window; the cursor stays on its interval as long as that is in the window."""
        tracks, end = self.history.tracks, self.end()
        if end is None:
            return
        oldest = min(tracks.start() + visible, tracks.ends[-1])
        row = tracks.row_at(min(max(end + nanoseconds, oldest), tracks.ends[-1])) or 0
        newest = row == len(tracks) - 1
        self.edge = None if newest and self.cursor is None else tracks.sequences[row]
        if self.cursor is not None:
            last = tracks.ends[row]
            here = tracks.ends[self._row()]
            kept = tracks.row_at(min(max(here, last - visible + 1), last))
            self.cursor = tracks.sequences[row if kept is None else kept]

    def zoom(self, step: int, columns: int) -> None:
        """Another step for each of the columns; the interval under the cursor stays where it is."""
        end, before = self.end(), self.step
        self.step = step
        if end is None or self.cursor is None or not before:
            return
        tracks = self.history.tracks
        here = tracks.ends[self._row()]
        row = tracks.row_at(min(here + (end - here) * step // before, tracks.ends[-1]))
        self.edge = tracks.sequences[self._row() if row is None else row]
        self._put(self._row(), step * columns)

    def put(self, sequence: int, visible: int) -> None:
        """Puts the cursor on an interval."""
        row = self.history.tracks.row_of(sequence)
        if row is not None:
            self._put(row, visible)

    def _row(self) -> int:
        shown = self.shown()
        row = None if shown is None else self.history.tracks.row_of(shown)
        return 0 if row is None else row

    def _put(self, row: int, visible: int) -> None:
        tracks = self.history.tracks
        if self.edge is None:
            self.edge = tracks.sequences[-1]
        self.cursor = tracks.sequences[row]
        end = self.end() or tracks.ends[-1]
        here = tracks.ends[row]
        if here > end:
            self.edge = self.cursor
        elif here <= end - visible:
            # Scroll so that the cursor is a quarter in from the left, without passing the newest.
            edge = tracks.row_at(min(here + visible * 3 // 4, tracks.ends[-1]))
            self.edge = tracks.sequences[row if edge is None else edge]

    def behind(self) -> int:
        """Intervals that have arrived since the right edge was held."""
        row = None if self.edge is None else self.history.tracks.row_of(self.edge)
        return 0 if row is None else len(self.history) - 1 - row
