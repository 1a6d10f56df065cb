"""Where something happened in a recording, and the way there and back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from collectors.model import Event
from collectors.replay_parts import Part, Parts
from collectors.store_find import Marks
from collectors.store_read import FileReader

_MOST_EVENTS = 10_000


class Landmarks:
    """Every way answers with the start of the interval to go to (wall-clock ns), never the one shown
    at the given moment; None when there is no further."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def next_phase_change(self, time_ns: int) -> int | None:
        return self._next_mark("phase_change", time_ns)

    def previous_phase_change(self, time_ns: int) -> int | None:
        return self._previous_mark("phase_change", time_ns)

    def next_gap(self, time_ns: int) -> int | None:
        here = self._start_at(time_ns)
        mark = self._next_mark("gap_start", time_ns)
        breaks = [start for start in self._breaks() if start > here]
        return min([*breaks, *([] if mark is None else [mark])], default=None)

    def previous_gap(self, time_ns: int) -> int | None:
        here = self._start_at(time_ns)
        mark = self._previous_mark("gap_start", time_ns)
        breaks = [start for start in self._breaks() if start < here]
        return max([*breaks, *([] if mark is None else [mark])], default=None)

    def next_event(self, time_ns: int) -> int | None:
        here = self._start_at(time_ns)
        after = self._next_start(here)
        if after is None:
            return None
        event = self._parts.ask(self._parts.after(after), lambda _, reader: reader.find.next_event(after))
        return None if event is None else self._start_at(event)

    def previous_event(self, time_ns: int) -> int | None:
        here = self._start_at(time_ns)
        event = self._parts.ask(self._parts.before(here), lambda _, reader: reader.find.previous_event(here))
        return None if event is None else self._start_at(event)

    def events(self, from_ns: int, to_ns: int) -> list[Event]:
        """What happened within [from, to), oldest first; ten thousand events at most."""
        found: list[Event] = []

        def collect(_: Part, reader: FileReader) -> None:
            found.extend(reader.events(from_ns, to_ns, _MOST_EVENTS - len(found)))

        self._parts.ask(list(self._parts.all), collect)
        return sorted(found, key=lambda event: event.time)

    def _next_mark(self, marks: Marks, time_ns: int) -> int | None:
        after = self._start_at(time_ns) + 1
        return self._parts.ask(self._parts.after(after), lambda _, reader: reader.find.next_mark(marks, after))

    def _previous_mark(self, marks: Marks, time_ns: int) -> int | None:
        before = self._start_at(time_ns)
        return self._parts.ask(self._parts.before(before), lambda _, reader: reader.find.previous_mark(marks, before))

    def _start_at(self, time_ns: int) -> int:
        """Start of the interval shown at a moment; the moment itself before the first."""
        found = self._parts.ask(self._parts.before(time_ns), lambda _, reader: reader.find.start_at(time_ns))
        return time_ns if found is None else found

    def _next_start(self, start_ns: int) -> int | None:
        return self._parts.ask(self._parts.after(start_ns), lambda _, reader: reader.find.start_after(start_ns))

    def _breaks(self) -> Iterator[int]:
        """Starts of files that do not go on where the one before ended."""
        for before, after in pairwise(self._parts.all):
            if after.extent.start != before.extent.end:
                yield after.extent.start
