"""A recording as one line of ticks, whether it is a file, a directory of them, or still being written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

from collectors.landmarks import Landmarks
from collectors.means import Means, means
from collectors.model import HOST, Event, Interval, Phase, Tick
from collectors.relabel import LabellerFactory, labeller
from collectors.replay_labels import LabelMaker
from collectors.replay_parts import Part, Parts
from collectors.store import NotARecording, RecordingError
from collectors.store_read import FileReader, PhaseRow, Stored
from collectors.strip import StripColumn, strip
from collectors.timezone import zone_of

__all__ = ["Recording", "RecordingError", "StripColumn"]

_CHUNK = 64
_STRIP_TAIL = 64
"""So many of the last intervals are labelled for a strip when their labels are not stored yet."""
_FOREVER = 2**63 - 1


class Recording:
    """Reads a recording. Memory does not depend on its length.

    With `relabel` every label is made anew by this version's rules, from the nearest checkpoint
    before it; otherwise labels are the stored ones, and only intervals that have none yet (the last
    ten seconds of a writer that was killed, or is still at it) are labelled on reading. Navigation
    by phase and strips go by the stored labels in either case.

    Sequence numbers are the recorded ones, moved up where another run of the recorder began them
    anew, so that they rise throughout a directory. In a directory, files that cannot be read are
    left out and told in `problems`. It may be used from several threads.

    Any method raises RecordingError when what it needs cannot be read.
    """

    def __init__(self, path: Path, *, relabel: bool = False, labeller_factory: LabellerFactory = labeller) -> None:
        self.path = path
        self._relabel = relabel
        self._lock = threading.RLock()
        self._parts = Parts(path)
        self._labels = LabelMaker(self._parts, labeller_factory, everywhere=relabel)
        self._landmarks = Landmarks(self._parts)
        if not self._parts.all:
            self.close()
            raise NotARecording("; ".join(self.problems) or f"{path}: no recording in this directory yet")
        self._live = self._parts.is_live

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._parts.close()

    def refresh(self) -> bool:
        """Sees what was committed since; True when there is something new (intervals, labels, events, files)."""
        with self._lock:
            changed = self._parts.refresh()
            was_live, self._live = self._live, self._parts.is_live
            return changed or was_live != self._live

    @property
    def problems(self) -> tuple[str, ...]:
        """Files of the directory that cannot be read, and why, each in one line."""
        return self._parts.problems

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files it consists of, in order of time."""
        with self._lock:
            return tuple(part.path for part in self._parts.all)

    @property
    def live(self) -> bool:
        """True when some process was writing to the recording at the last `refresh`."""
        return self._live

    @property
    def start(self) -> int:
        """Wall-clock ns at which the first interval starts."""
        return self._parts.all[0].extent.start

    @property
    def end(self) -> int:
        """Wall-clock ns at which the latest interval ends."""
        return max(part.extent.end for part in self._parts.all)

    @property
    def first_sequence(self) -> int:
        return self._parts.all[0].first

    @property
    def last_sequence(self) -> int:
        return self._parts.all[-1].last

    @property
    def interval_length(self) -> float:
        """Nominal seconds of an interval, of the newest file."""
        return self._parts.all[-1].interval_seconds

    @property
    def host_name(self) -> str:
        return self._parts.all[-1].host_name

    @property
    def zone(self) -> tzinfo:
        """The time zone of the machine that recorded."""
        return zone_of(self._parts.all[-1].time_zone)

    @property
    def time_zone(self) -> str:
        """The name of that zone, as `collectors.timezone` takes it."""
        return self._parts.all[-1].time_zone

    @property
    def description(self) -> str:
        """What the figures are of, where they are not simply those of the machine that is named; may be empty."""
        return self._parts.all[-1].description

    @property
    def rule_versions(self) -> frozenset[int]:
        """Versions of the rules that made the stored labels."""
        return frozenset(part.rule_version for part in self._parts.all)

    def __len__(self) -> int:
        return sum(part.count for part in self._parts.all)

    # Ticks.

    def tick(self, sequence: int) -> Tick | None:
        """The interval of that number."""
        with self._lock:
            part = self._parts.holding(sequence)
            return None if part is None else self._parts.ask([part], self._reads(sequence))

    def tick_at(self, time_ns: int) -> Tick | None:
        """The latest interval that starts at or before a moment; None before the recording's start."""

        def find(part: Part, reader: FileReader) -> Tick | None:
            return self._read(part, reader, reader.find.at(time_ns))

        with self._lock:
            return self._parts.ask(self._parts.before(time_ns), find)

    def next(self, sequence: int) -> Tick | None:
        """The interval after that one; None at the end."""

        def find(part: Part, reader: FileReader) -> Tick | None:
            return self._read(part, reader, reader.find.next(sequence - part.offset))

        with self._lock:
            return self._parts.ask([part for part in self._parts.all if part.last > sequence], find)

    def previous(self, sequence: int) -> Tick | None:
        """The interval before that one; None at the start."""

        def find(part: Part, reader: FileReader) -> Tick | None:
            return self._read(part, reader, reader.find.previous(sequence - part.offset))

        with self._lock:
            return self._parts.ask([part for part in reversed(self._parts.all) if part.first < sequence], find)

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]:
        """The intervals that start within [from, to), in order, a few at a time in memory."""
        begin, until = max(0, from_ns or 0), _FOREVER if to_ns is None else min(to_ns, _FOREVER)
        for part in list(self._parts.all):
            yield from self._part_ticks(part, begin, until)

    def _part_ticks(self, part: Part, begin: int, until: int) -> Iterator[Tick]:
        with self._lock:
            span = self._parts.ask([part], lambda _, reader: reader.find.span(begin, until))
        at, last = span or (0, -1)
        while at <= last:
            with self._lock:
                chunk = self._parts.ask([part], self._chunk(at, last)) or []
                # A clock that stepped back puts others between those asked for.
                ticks = [self._tick(part, stored) for stored in chunk if begin <= stored.interval.start < until]
            if not chunk:
                return
            at = chunk[-1].interval.sequence + 1
            yield from ticks

    @staticmethod
    def _chunk(at: int, last: int) -> Callable[[Part, FileReader], list[Stored] | None]:
        def find(_: Part, reader: FileReader) -> list[Stored] | None:
            first = reader.find.next(at - 1)
            return None if first is None else reader.read(first, min(first + _CHUNK - 1, last))

        return find

    def _reads(self, sequence: int) -> Callable[[Part, FileReader], Tick | None]:
        return lambda part, reader: self._read(part, reader, sequence - part.offset)

    def _read(self, part: Part, reader: FileReader, number: int | None) -> Tick | None:
        """The interval of the part's own number."""
        found = [] if number is None else reader.read(number, number)
        return self._tick(part, found[0]) if found else None

    def _tick(self, part: Part, stored: Stored) -> Tick:
        interval, labels = stored.interval, stored.labels
        if self._relabel or not labels:
            labels = self._labels.labels(part, interval.sequence, is_live=self._live)
        if part.offset:
            sequence = interval.sequence + part.offset
            interval = replace(interval, sequence=sequence)
            labels = {entity: replace(label, sequence=sequence) for entity, label in labels.items()}
        return Tick(
            interval, labels, tuple(label for label in labels.values() if label.settled), stored.events, stored.costs
        )

    def runs(self) -> list[tuple[int, int]]:
        """First and last sequence number of each stretch that one run of the recorder wrote without a break."""
        with self._lock:
            chains: dict[int, tuple[int, int]] = {}
            for part in self._parts.all:
                first, _ = chains.get(part.chain, (part.first, part.last))
                chains[part.chain] = (first, part.last)
            return list(chains.values())

    def learned_before(self, sequence: int) -> tuple[int, dict[str, Any] | None]:
        """What this version's estimator had learned shortly before an interval.

        Gives the number of the interval to go on from, and the state to begin with; that of a new
        estimator (None) is to begin at the start of the run.
        """
        with self._lock:
            part = self._parts.holding(sequence)
            if part is None:
                return self.first_sequence, None
            return self._labels.learned_before(part, sequence)

    def intervals(self, first: int, last: int) -> Iterator[Interval]:
        """The intervals between two sequence numbers, both included, without labels; a few at a time in memory."""
        at = first
        while at <= last:
            found = [one for one in self._intervals_after(at - 1) if one.sequence <= last]
            if not found:
                return
            yield from found
            at = found[-1].sequence + 1

    def _intervals_after(self, sequence: int) -> list[Interval]:
        def find(part: Part, reader: FileReader) -> list[Interval] | None:
            first = reader.find.next(sequence - part.offset)
            if first is None:
                return None
            found = reader.intervals(first, first + _CHUNK - 1)
            return [replace(one, sequence=one.sequence + part.offset) for one in found]

        with self._lock:
            return self._parts.ask([part for part in self._parts.all if part.last > sequence], find) or []

    # Finding one's way. Each answers with the start of the interval to go to, in wall-clock ns.

    def next_phase_change(self, time_ns: int) -> int | None:
        """The next interval at which the host's settled label becomes another."""
        with self._lock:
            return self._landmarks.next_phase_change(time_ns)

    def previous_phase_change(self, time_ns: int) -> int | None:
        with self._lock:
            return self._landmarks.previous_phase_change(time_ns)

    def next_gap(self, time_ns: int) -> int | None:
        """The next interval before which time is missing, or from which on a source is."""
        with self._lock:
            return self._landmarks.next_gap(time_ns)

    def previous_gap(self, time_ns: int) -> int | None:
        with self._lock:
            return self._landmarks.previous_gap(time_ns)

    def next_event(self, time_ns: int) -> int | None:
        """The next interval, after the one of that moment, in which something happened, or after which while
        nothing was recorded."""
        with self._lock:
            return self._landmarks.next_event(time_ns)

    def previous_event(self, time_ns: int) -> int | None:
        with self._lock:
            return self._landmarks.previous_event(time_ns)

    def events(self, from_ns: int, to_ns: int) -> list[Event]:
        """What happened within [from, to), oldest first; ten thousand events at most."""
        with self._lock:
            return self._landmarks.events(from_ns, to_ns)

    def strip(self, from_ns: int, to_ns: int, columns: int, *, entity: str = HOST) -> list[StripColumn]:
        """Phase seconds of an entity in equal columns between two moments.

        Columns of a minute and more are made of the one-minute roll-ups, finer ones of the labels.
        """
        with self._lock:
            return strip(self._parts, from_ns, to_ns, columns, entity, lambda part, row: self._late(part, row, entity))

    def means(self, from_ns: int, step: int, columns: int) -> Means:
        """Means of the numbers that are summed up by the minute, in columns of `step` nanoseconds from a moment on.

        Columns are whole minutes (ValueError). Those of a file that keeps no means, and the last minute of one that is
        still being written, are missing.
        """
        with self._lock:
            return means(self._parts, from_ns, step, columns)

    def _late(self, part: Part, row: PhaseRow, entity: str) -> Phase | None:
        """The phase of one of the last intervals, whose labels are not stored yet."""
        if row.sequence <= part.extent.last - _STRIP_TAIL:
            return None
        label = self._labels.labels(part, row.sequence, is_live=self._live).get(entity)
        return None if label is None else label.phase
