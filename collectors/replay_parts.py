"""The files a recording consists of, in order, and which of them go on from one another."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from collectors.file_trace import FileTrace, trace_if_there
from collectors.model import RULE_VERSION
from collectors.store import DamagedRecording, RecordingError, is_being_written, reading, recording_files
from collectors.store_find import Extent
from collectors.store_read import LATEST, FileReader
from collectors.text import clean

T = TypeVar("T")
_Trace = tuple[FileTrace | None, ...]

_OPEN_FILES = 4
_GROWING = 2
"""A file's last labels are written while the next one has begun."""
_DESCRIPTION_LIMIT = 200


@dataclass(slots=True)
class Part:
    """One file. Its sequence numbers plus `offset` are the recording's.

    Parts of one run that follow each other without a break have the same `chain`, the number of the
    first of them.
    """

    path: Path
    run: str
    extent: Extent
    count: int
    settled: int
    last_event: int
    is_complete: bool
    host_name: str
    time_zone: str
    interval_seconds: float
    rule_version: int
    description: str
    offset: int = 0
    chain: int = 0

    @property
    def first(self) -> int:
        """The recording's number of the first interval."""
        return self.extent.first + self.offset

    @property
    def last(self) -> int:
        return self.extent.last + self.offset


class Parts:
    """A file, or the files of a directory as they come and go; a few of them are open at a time.

    In a directory a file that cannot be read is left out, and told in `problems`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.is_directory = path.is_dir()
        except OSError as problem:
            raise RecordingError(f"{path}: {problem.strerror}; check that you may read it") from problem
        self._readers: dict[Path, FileReader] = {}
        self._refused: dict[Path, tuple[_Trace, str]] = {}
        self.all: list[Part] = []
        self.refresh()

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for _, problem in self._refused.values())

    @property
    def is_live(self) -> bool:
        """True while a process writes to the last of the files."""
        if not self.all or self.all[-1].is_complete:
            return False
        if self.is_directory:
            return is_being_written(self._path)
        directory = self._path.parent
        return is_being_written(directory) and not any(
            other.name > self._path.name for other in self._files_of(directory)
        )

    def holding(self, sequence: int) -> Part | None:
        """The part with an interval, or the one before it where the interval is in none."""
        index = bisect_right(self.all, sequence, key=lambda part: part.first) - 1
        return self.all[index] if index >= 0 else None

    def chain(self, part: Part) -> list[Part]:
        return [one for one in self.all if one.chain == part.chain]

    def before(self, time_ns: int) -> list[Part]:
        """Parts that start at or before a moment, the latest first."""
        return [part for part in reversed(self.all) if part.extent.start <= time_ns]

    def after(self, time_ns: int) -> list[Part]:
        """Parts that end after a moment, the earliest first."""
        return [part for part in self.all if part.extent.end > time_ns]

    def ask(self, parts: Iterable[Part], find: Callable[[Part, FileReader], T | None]) -> T | None:
        """What the first of some parts has to answer.

        A part of a directory that cannot be read any more is left out from now on.
        """
        for part in parts:
            try:
                answer = find(part, self._reader(part.path))
            except RecordingError as problem:
                self._lose(part, problem)
                continue
            if answer is not None:
                return answer
        return None

    def _lose(self, part: Part, problem: RecordingError) -> None:
        others = [one for one in self.all if one is not part]
        if not self.is_directory or not others:
            raise problem
        self._close(part.path)
        self._refused[part.path] = (_trace(part.path), str(problem))
        self.all = others

    def close(self) -> None:
        for path in list(self._readers):
            self._close(path)

    def refresh(self) -> bool:
        """Looks for new and vanished files, and for what was written to the newest; True when there is any."""
        paths = self._list()
        changed = self._forget_vanished(set(paths))
        for part in [part for part in self.all[-_GROWING:] if not part.is_complete]:
            changed |= self._grow(part)
        known = {part.path for part in self.all}
        tried = [self._try(path) for path in paths if path not in known]
        new = [part for part in tried if part is not None]
        if new:
            self._add(new)
        return changed or bool(new)

    def _list(self) -> list[Path]:
        return self._files_of(self._path) if self.is_directory else [self._path]

    @staticmethod
    def _files_of(directory: Path) -> list[Path]:
        try:
            return recording_files(directory)
        except OSError as problem:
            raise RecordingError(f"{directory}: {problem.strerror}; check that you may read it") from problem

    def _forget_vanished(self, present: set[Path]) -> bool:
        """Files that were unlinked go, but for the last one: it is for reading to say that it is gone."""
        there = [part for part in self.all if part.path in present] or self.all[-1:]
        for part in self.all:
            if part not in there:
                self._close(part.path)
        changed = len(there) < len(self.all)
        self.all = there
        return changed

    def _add(self, new: list[Part]) -> None:
        kept = len(self.all)
        self.all = sorted([*self.all, *new], key=lambda part: part.extent.start)
        # Numbers that were handed out stay, unless a file turned up in between.
        self._number(kept if self.all[kept:] == new else 0)

    def _number(self, start: int) -> None:
        for index in range(start, len(self.all)):
            part = self.all[index]
            before = self.all[index - 1] if index else None
            part.chain = index if before is None else before.chain + 1
            if before is None:
                part.offset = 0
            elif part.run == before.run and part.extent.first > before.extent.last:
                part.offset = before.offset
                if part.extent.first == before.extent.last + 1:
                    part.chain = before.chain
            else:
                part.offset = max(0, before.last + 1 - part.extent.first)

    def _grow(self, part: Part) -> bool:
        find = self._reader(part.path).find
        extent = find.extent() or part.extent
        settled = find.settled_through() or -1
        last_event = find.last_event()
        if (extent, settled, last_event) == (part.extent, part.settled, part.last_event):
            return False
        part.count += find.count(part.extent.last, extent.last)
        part.extent, part.settled, part.last_event = extent, settled, last_event
        return True

    def _try(self, path: Path) -> Part | None:
        """The part, or None where there is none to be had: then it is tried again when the file changes."""
        trace = _trace(path)
        if path in self._refused and self._refused[path][0] == trace:
            return None
        try:
            part = self._describe(path)
        except RecordingError as problem:
            if not self.is_directory:
                raise
            self._close(path)
            self._refused[path] = (trace, str(problem))
            return None
        self._refused.pop(path, None)
        return part

    def _describe(self, path: Path) -> Part:
        reader = self._reader(path)
        meta, find = reader.meta, reader.find
        extent = find.extent()
        if extent is None:
            raise DamagedRecording(f"{path}: holds no interval yet; look again when recording has begun")
        with reading(path):
            seconds = float(meta["interval_seconds"])
            if not (0 <= extent.start <= extent.end < LATEST and 0 < seconds < math.inf):
                raise ValueError("its times are none")
            return Part(
                path=path,
                run=meta["run"],
                extent=extent,
                count=find.count(extent.first - 1, extent.last),
                settled=find.settled_through() or -1,
                last_event=find.last_event(),
                is_complete="complete" in meta,
                host_name=meta.get("host_name", ""),
                time_zone=meta.get("time_zone", "UTC"),
                interval_seconds=seconds,
                rule_version=int(meta.get("rule_version", RULE_VERSION)),
                description=clean(meta.get("description", ""), _DESCRIPTION_LIMIT),
            )

    def _reader(self, path: Path) -> FileReader:
        reader = self._readers.pop(path, None) or FileReader(path)
        self._readers[path] = reader  # last: the one used most recently
        if len(self._readers) > _OPEN_FILES:
            self._close(next(iter(self._readers)))
        return reader

    def _close(self, path: Path) -> None:
        reader = self._readers.pop(path, None)
        if reader is not None:
            reader.close()


def _trace(path: Path) -> _Trace:
    """Changes whenever the file or its log is written to."""
    return tuple(trace_if_there(part) for part in (path, path.with_name(path.name + "-wal")))
