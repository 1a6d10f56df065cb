"""A directory of recording files being written: when a new one begins, and when old ones go."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collectors.model import Interval, Label, Tick
from collectors.phase.label import phase_seconds
from collectors.store import RecordingError, file_name
from collectors.store_schema import MINUTE
from collectors.text import clean
from exporters.recording_file import Origin, RecordingFile, Run
from exporters.retention import DirectoryLock, free_bytes, sweep, tidy

MIN_BYTE_CAP = 2**20
_DAY = 24 * 60 * MINUTE
_FILES_PER_CAP = 8
_RESERVE_BYTES = 256 * 2**20
_RESERVE_PART = 20
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What recording may use of the disk.

    `byte_cap` holds for all files of the directory together, and a file has an eighth of it at most.
    `age_cap_seconds` counts from a file's last interval. Below `reserve_bytes` of free space nothing
    is written (None: 256 MiB, or a twentieth of a small disk): a guest does not fill the disk.
    """

    byte_cap: int
    age_cap_seconds: float
    reserve_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.byte_cap < MIN_BYTE_CAP:
            raise ValueError(f"a byte cap of {self.byte_cap} is too small for a recording; the least is {MIN_BYTE_CAP}")

    @property
    def file_cap(self) -> int:
        return self.byte_cap // _FILES_PER_CAP


class RecordingDirectory:
    """Writes ticks to the file they belong into. All of it is used from one thread.

    A file is left for the next one at UTC midnight, at an eighth of the byte cap, when a new run
    begins (sequence numbers fall), when intervals become longer or shorter, or when somebody
    unlinked it. It stays open until the labels of its last intervals have settled, so that every
    file holds the labels of its own intervals.

    Any method may raise sqlite3.Error, OSError or RecordingError; then `abandon` gives up what is
    open, and the next `write` begins with the directory anew. Raises AlreadyRecording when another
    process records here.
    """

    def __init__(self, directory: Path, origin: Origin, limits: Limits) -> None:
        self.directory = directory
        self._origin = replace(origin, part=-1)
        self._limits = limits
        self._run = Run()
        self._lock: DirectoryLock | None = None
        self._file: RecordingFile | None = None
        self._settling: RecordingFile | None = None
        self._swept_minute: int | None = None

    def limit(self, limits: Limits) -> None:
        """Other limits, from the next tick on. From any thread."""
        self._limits = limits
        self._swept_minute = None

    def open(self) -> None:
        """Takes the right to record here, and finishes what a killed writer left unfinished."""
        if self._lock is None:
            self._lock = DirectoryLock(self.directory)
            tidy(self.directory)

    def write(
        self,
        tick: Tick,
        labels: tuple[Label, ...],
        checkpoint: Mapping[str, Any] | None,
        beginning: Mapping[str, Any] | None = None,
    ) -> None:
        """One tick; `labels` are the settled ones, of whichever interval.

        `checkpoint` is the labeller's state after it, `beginning` the one before it, where that matters.
        """
        self.open()
        self._require_space()
        if beginning is not None and self._file is None:
            self._run.checkpoint = beginning
        file = self._file_for(tick.interval)
        self._keep_caps(file, tick.interval)
        self._settle_earlier(labels, tick.interval.duration)
        file.write(replace(tick, settled=labels), checkpoint=checkpoint)

    def settle(self, labels: tuple[Label, ...]) -> None:
        """Labels that settled without a further interval."""
        self._settle_earlier(labels, 0.0)
        if self._file is not None:
            self._file.settle(labels)

    def close(self) -> None:
        """Finishes the files and lets the directory go."""
        try:
            self._close_files()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Lets go of everything after an error; what was committed stays."""
        for file in (self._settling, self._file):
            if file is not None:
                file.abandon()
        self._file = self._settling = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _close_files(self) -> None:
        if self._settling is not None:
            self._settling.close()
            self._settling = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _require_space(self) -> None:
        free, size = free_bytes(self.directory)
        reserve = self._limits.reserve_bytes
        if reserve is None:
            reserve = min(_RESERVE_BYTES, size // _RESERVE_PART)
        if free < reserve:
            raise RecordingError(
                f"{self.directory}: {free / 2**20:.0f} MiB left on this disk, and {reserve / 2**20:.0f} MiB"
                " are kept for others; free some"
            )

    def _file_for(self, interval: Interval) -> RecordingFile:
        file = self._file
        if file is not None and file.last_sequence is not None and interval.sequence <= file.last_sequence:
            self._close_files()
            self._begin_run()
        elif file is not None and self._is_over(file, interval):
            if self._settling is not None:
                self._settling.close()
            self._settling, self._file = file, None
        if self._file is None:
            self._file = self._open_file(interval)
        return self._file

    def _begin_run(self) -> None:
        self._origin = replace(self._origin, run=uuid.uuid4().hex, part=-1)
        self._run = Run()

    def _is_over(self, file: RecordingFile, interval: Interval) -> bool:
        is_another_day = interval.start // _DAY != file.first_start // _DAY
        is_of_another_length = interval.end - interval.start != file.interval_length
        size = file.bytes
        return is_another_day or is_of_another_length or size == 0 or size >= self._limits.file_cap

    def _open_file(self, interval: Interval) -> RecordingFile:
        self._origin = replace(self._origin, part=self._origin.part + 1)
        start = interval.start
        while (path := self.directory / file_name(start)).exists():
            start += 1_000_000_000
        return RecordingFile(
            path,
            self._origin,
            interval,
            phase_seconds=phase_seconds,
            run=self._run,
            autocheckpoint_pages=max(32, min(1000, self._limits.file_cap // 4 // _PAGE)),
        )

    def _settle_earlier(self, labels: tuple[Label, ...], elapsed: float) -> None:
        """Labels of the file before this one, which is finished when no more can come."""
        if self._settling is None:
            return
        self._settling.settle(labels, elapsed=elapsed)
        if not self._settling.awaits_labels:
            self._settling.close()
            self._settling = None

    def _keep_caps(self, file: RecordingFile, interval: Interval) -> None:
        """For a new file and once a minute, old files make room for all that this one may grow to."""
        minute = interval.end // MINUTE
        if minute == self._swept_minute and file.intervals > 0:
            return
        self._swept_minute = minute
        growth = max(0, self._limits.file_cap - file.bytes)
        sweep(
            self.directory,
            keep=frozenset(kept.path for kept in (file, self._settling) if kept is not None),
            limit=self._limits.byte_cap - growth,
            age_cap_seconds=self._limits.age_cap_seconds,
            now=time.time(),
        )


_SQLITE_REASONS: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the directory or its file is read-only",
    sqlite3.SQLITE_CANTOPEN: "no file can be made there; check that this user may write",
    sqlite3.SQLITE_PERM: "this user may not write there",
    sqlite3.SQLITE_BUSY: "another program keeps the file locked",
    sqlite3.SQLITE_CORRUPT: "the file was changed by another program",
    sqlite3.SQLITE_NOTADB: "the file was changed by another program",
}
_OWN_FAULT = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


def is_curable(problem: Exception) -> bool:
    """True for troubles of the disk, which may pass; False when it is the tick that cannot be written."""
    return isinstance(problem, (sqlite3.Error, OSError, RecordingError)) and not isinstance(problem, _OWN_FAULT)


def why_not(problem: Exception, directory: Path) -> str:
    """Why nothing can be written there, in one line."""
    if isinstance(problem, RecordingError):
        return str(problem)
    if isinstance(problem, OSError):
        return f"{directory}: {problem.strerror or clean(str(problem))}"
    if isinstance(problem, sqlite3.Error):
        code = getattr(problem, "sqlite_errorcode", None) or 0
        name = getattr(problem, "sqlite_errorname", None) or type(problem).__name__
        return f"{directory}: {_SQLITE_REASONS.get(code & 0xFF) or f'{clean(str(problem))} ({name})'}"
    return f"{directory}: {type(problem).__name__}: {clean(str(problem))}"
