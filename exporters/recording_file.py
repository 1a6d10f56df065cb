"""One recording file being written: intervals at once, labels when they settle, each in transactions."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.clock import NANO
from collectors.model import HOST, RULE_VERSION, Interval, Label, PhaseLabel, Tick
from collectors.store import create, leave_write_ahead_log, remove
from collectors.store_schema import ROLLED, means_table
from exporters.checkpoints import CheckpointWriter
from exporters.minute_means import MinuteMeans
from exporters.minute_means import Row as MeansRow
from exporters.recording_rows import RowWriter, sound
from exporters.rollups import PhaseSeconds, RollUps
from exporters.rollups import Row as MinuteRow

_ADD_MINUTE = (
    "INSERT INTO minute VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (entity, start_ns) DO UPDATE SET "
    + ", ".join(
        f"{column} = {column} + excluded.{column}"
        for column in (
            "prefill_seconds", "decode_seconds", "idle_seconds", "waiting_seconds", "unknown_seconds", "gap_seconds",
        )
    )
)  # fmt: skip
_ADD_MEANS = {
    source: f"INSERT OR IGNORE INTO {means_table(source)} VALUES ({', '.join('?' * (3 + len(names)))})"
    for source, names in ROLLED.items()
}
"""Where the clock stepped back into a minute that is there, that stands."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file says about where it comes from. `run` names one run of the recorder, whose files
    are numbered by `part` from 0."""

    host_name: str
    time_zone: str
    run: str
    part: int = 0
    phasetop_version: str = ""
    rule_version: int = RULE_VERSION
    """Of the rules that make its labels."""
    description: str = ""
    """What the figures are of, in a few words, where that is not simply the machine that is named."""


@dataclass(slots=True)
class Run:
    """What goes on from one file of a run to the next. The file being written keeps it up to date."""

    previous_end: int | None = None
    missing: frozenset[str] = frozenset()
    """Sources that the previous interval lacked."""
    host_phase: PhaseLabel | None = None
    """The host's newest settled label."""
    checkpoint: Mapping[str, Any] | None = None


class RecordingFile:
    """A new file, written by one thread. Its first interval decides the nominal interval length.

    Raises sqlite3.Error, OSError or RecordingError from any method when the file cannot be written;
    what was committed before stays readable, and the file is given up with `abandon`.
    """

    def __init__(
        self,
        path: Path,
        origin: Origin,
        first: Interval,
        *,
        phase_seconds: PhaseSeconds,
        run: Run | None = None,
        autocheckpoint_pages: int = 1000,
    ) -> None:
        self.path = path
        self._log = path.with_name(path.name + "-wal")
        self.intervals = 0
        self.first_start = first.start
        self.interval_length = first.end - first.start
        self.last_sequence: int | None = None
        self._run = run or Run()
        self._roll_ups = RollUps(phase_seconds)
        self._means = MinuteMeans()
        self._connection = create(path, autocheckpoint_pages=autocheckpoint_pages)
        self._rows = RowWriter(self._connection)
        self._checkpoints = CheckpointWriter(self._connection)
        try:
            self._begin()
            self._write_origin(origin, first)
            if self._run.checkpoint is not None:
                self._checkpoints.put(self._run.checkpoint)
            self._connection.execute("COMMIT")
        except BaseException:
            self.abandon()
            raise

    def _begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def _write_origin(self, origin: Origin, first: Interval) -> None:
        facts = {
            "host_name": sound(origin.host_name),
            "time_zone": origin.time_zone,
            "run": origin.run,
            "part": str(origin.part),
            "interval_seconds": repr((first.end - first.start) / NANO),
            "rule_version": str(origin.rule_version),
            "phasetop_version": origin.phasetop_version,
            "python_version": platform.python_version(),
            "sqlite_version": sqlite3.sqlite_version,
        }
        if origin.description:
            facts["description"] = sound(origin.description)
        self._connection.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
        self._rows.entity(HOST)  # the first, as it is everywhere

    def write(self, tick: Tick, *, checkpoint: Mapping[str, Any] | None = None) -> None:
        """One interval with its gaps and events, and those of its settled labels that are this file's.

        `checkpoint` is the labeller's state after this tick. Values that no column can hold are
        stored as missing rather than losing the interval.
        """
        try:
            self._transaction(tick, checkpoint, careful=False)
        except (ValueError, OverflowError):
            self._connection.execute("ROLLBACK")
            self._rows.forget()
            self._transaction(tick, checkpoint, careful=True)

    def _transaction(self, tick: Tick, checkpoint: Mapping[str, Any] | None, *, careful: bool) -> None:
        interval = tick.interval
        labels = [label for label in tick.settled if label.sequence == interval.sequence or self._expects(label)]
        self._begin()
        self._rows.interval(interval, careful)
        self._rows.events(interval.sequence, tick.events, careful)
        self._rows.labels(labels, careful)
        # Foreign values are in. What follows changes this object too, so it must not run twice.
        self._note_gaps(interval)
        self._roll_ups.interval(interval, self._run.previous_end)
        self._count(labels)
        self._put_minutes(self._roll_ups.complete())
        self._means.interval(interval)
        self._put_means(self._means.complete())
        if checkpoint is not None:
            self._checkpoints.put(checkpoint)
            self._run.checkpoint = checkpoint
        self._connection.execute("COMMIT")
        self._run.previous_end = interval.end
        self.last_sequence = interval.sequence
        self.intervals += 1

    def settle(self, labels: Iterable[Label], *, elapsed: float = 0.0) -> None:
        """Labels of this file's intervals that settled after its last interval was written.

        `elapsed` seconds have been recorded elsewhere since. Labels of other files are passed over.
        """
        mine = [label for label in labels if self._expects(label)]
        self._begin()
        self._rows.labels(mine, careful=True)
        self._count(mine)
        self._roll_ups.elapse(elapsed)
        self._connection.execute("COMMIT")

    def _expects(self, label: Label) -> bool:
        return label.settled and self._roll_ups.expects(label)

    @property
    def awaits_labels(self) -> bool:
        """True while labels of intervals in this file may still settle."""
        return self._roll_ups.is_waiting

    def _count(self, labels: Iterable[Label]) -> None:
        for label in labels:
            if label.entity == HOST:
                self._note_phase(label)
            self._roll_ups.label(label)

    def _note_phase(self, label: Label) -> None:
        before, self._run.host_phase = self._run.host_phase, label.phase.label
        if before is not None and before != label.phase.label:
            row = (self._roll_ups.start_of(label), label.sequence, before, label.phase.label)
            self._connection.execute("INSERT OR IGNORE INTO phase_change VALUES (?, ?, ?, ?)", row)

    def _note_gaps(self, interval: Interval) -> None:
        """A gap starts where time is missing before the interval, or a source that was there goes missing."""
        missing = frozenset(gap.source for gap in interval.gaps)
        begun = sorted(missing - self._run.missing)
        if self._run.previous_end not in (None, interval.start):
            begun.insert(0, "time")
        self._run.missing = missing
        if begun:
            row = (interval.start, interval.sequence, sound(", ".join(begun)))
            self._connection.execute("INSERT OR IGNORE INTO gap_start VALUES (?, ?, ?)", row)

    def _put_minutes(self, rows: Iterable[MinuteRow]) -> None:
        for name, *rest in rows:
            self._connection.execute(_ADD_MINUTE, (self._rows.entity(name), *rest))

    def _put_means(self, rows: Iterable[MeansRow]) -> None:
        for source, name, row in rows:
            self._connection.execute(_ADD_MEANS[source], (self._rows.entity(sound(name)), *row))

    @property
    def bytes(self) -> int:
        """Size on disk, with the log; 0 when somebody unlinked the file."""
        try:
            return self.path.stat().st_size + self._log.stat().st_size
        except OSError:
            return 0

    def close(self) -> bool:
        """Writes what was still summed up and folds the log into the file, which is complete then.

        False when a reader holds the file open: it stays in WAL mode, with nothing missing.
        """
        self._begin()
        self._put_minutes(self._roll_ups.rest())
        self._put_means(self._means.rest())
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('complete', '1')")
        self._connection.execute("COMMIT")
        folded = leave_write_ahead_log(self._connection)
        self._connection.close()
        return folded

    def abandon(self) -> None:
        """Gives the file up after an error: what was committed stays; a file without any interval goes."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        with suppress(sqlite3.Error):
            self._connection.close()
        if self.intervals == 0:
            remove(self.path)
