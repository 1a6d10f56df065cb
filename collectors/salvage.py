"""What can still be read of a recording file that is torn, cut short or scribbled on.

A damaged page takes with it the rows it held, of one table. So intervals are read a few at a time,
and where that fails fewer at a time, down to single ones; those that cannot be read whole are lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from collectors.store import DamagedRecording, RecordingError, TornRecording
from collectors.store_read import FileReader, Stored

_CHUNK = 64
_SMALLEST_ROWS = 64
"""No interval takes fewer bytes in a file than this, which bounds how many there can be."""
_MISSES = 100_000
"""After so many numbers without an interval that can be read, there is none further on."""


class Saved(NamedTuple):
    """One interval that could be read, and the newest state of the estimator before it that could."""

    stored: Stored
    checkpoint: Mapping[str, Any] | None


class Salvage:
    """Reads a damaged file from start to end. After that, `lost` says how many intervals it could not.

    Raises RecordingError when the file is none of ours, or damaged where it says what it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        try:
            self._reader = FileReader(path, damaged=True)
        except TornRecording as problem:
            raise DamagedRecording(f"{path}: too little of it is whole; nothing can be saved from it") from problem
        self.meta = self._reader.meta
        if "run" not in self.meta:
            self._reader.close()
            raise DamagedRecording(f"{path}: damaged where it says what it is; nothing can be saved from it")

    def close(self) -> None:
        self._reader.close()

    def intervals(self) -> Iterator[Saved]:
        """The intervals that can be read whole, in order; labels are missing where those were lost."""
        first, limit = self._bounds()
        unread: list[int] = []
        for stored in self._read_all(first, limit, unread):
            number = stored.interval.sequence
            # Numbers behind the last interval are not counted: nobody knows that there were any.
            self.lost += sum(one < number for one in unread)
            unread[:] = [one for one in unread if one >= number]
            yield Saved(stored, self._checkpoint(number))

    def _bounds(self) -> tuple[int, int]:
        """The first sequence number there may be, and one that there cannot be."""
        first = 0
        for find in (self._first, self._first_label):
            try:
                found = find()
            except RecordingError:
                continue
            if found is not None:
                first = found
                break
        return first, first + self.path.stat().st_size // _SMALLEST_ROWS + 1

    def _first(self) -> int | None:
        return self._reader.find.next(-1)

    def _first_label(self) -> int | None:
        return self._reader.find.first_settled()

    def _read_all(self, first: int, limit: int, unread: list[int]) -> Iterator[Stored]:
        misses = 0
        at = first
        while at < limit and misses < _MISSES:
            numbers = self._numbers(at, at + _CHUNK - 1, unread)
            misses = 0 if numbers else misses + _CHUNK
            if numbers:
                yield from self._read(numbers[0], numbers[-1], unread)
            at += _CHUNK

    def _numbers(self, first: int, last: int, unread: list[int]) -> list[int]:
        """The intervals of a range that are known to have been there; those that cannot be told go to `unread`."""
        try:
            return self._reader.find.numbers(first, last)
        except RecordingError:
            if first == last:
                unread.append(first)
                return []
        middle = (first + last) // 2
        return [*self._numbers(first, middle, unread), *self._numbers(middle + 1, last, unread)]

    def _read(self, first: int, last: int, unread: list[int]) -> Iterator[Stored]:
        """What can be read of a range; the numbers of those that cannot go to `unread`."""
        try:
            yield from self._reader.read(first, last)
            return
        except RecordingError:
            pass
        if first == last:
            try:  # labels can be made anew, readings cannot
                yield from (Stored(interval=one, labels={}, events=()) for one in self._reader.intervals(first, last))
            except RecordingError:
                if first not in unread:
                    unread.append(first)
            return
        middle = (first + last) // 2
        yield from self._read(first, middle, unread)
        yield from self._read(middle + 1, last, unread)

    def _checkpoint(self, sequence: int) -> Mapping[str, Any] | None:
        """The state of a checkpoint that stands at this very interval."""
        try:
            found = self._reader.find.checkpoint(sequence)
        except RecordingError:
            return None
        return found[2] if found is not None and found[0] == sequence else None
