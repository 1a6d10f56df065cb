"""A person's note in a recording, also in one that another process is writing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from collectors.model import HOST, Event
from collectors.store import NotARecording, RecordingError, explained, open_reader, open_writer, recording_files
from collectors.text import clean

_NOTE_LIMIT = 400


def add_note(path: Path, text: str, time_ns: int) -> Event:
    """Writes a note at a moment (wall-clock ns) into a recording, a file or a directory; gives the event.

    It goes with the interval of that moment. Raises RecordingError when there is none, or when this
    user may not write to the file; ValueError when the text is empty.
    """
    event = Event(time_ns, "note", HOST, clean(text.strip(), _NOTE_LIMIT))
    if not event.text:
        raise ValueError("a note needs a text")
    for file in _files(path):
        open_reader(file).close()  # is it a recording that this version may write to?
        try:
            if _insert(file, event):
                return event
        except sqlite3.OperationalError as problem:
            if (getattr(problem, "sqlite_errorcode", None) or 0) & 0xFF == sqlite3.SQLITE_READONLY:
                raise RecordingError(f"{file}: this user may not write to it") from problem
            raise explained(problem, file) from problem
    raise RecordingError(f"{path}: nothing was recorded yet at that moment; give a later one")


def _files(path: Path) -> list[Path]:
    """The files of a recording, the newest first."""
    try:
        files = recording_files(path) if path.is_dir() else [path]
    except OSError as problem:
        raise RecordingError(f"{path}: {problem.strerror}; check that you may read it") from problem
    if not files:
        raise NotARecording(f"{path}: no recording in this directory yet")
    return files[::-1]


def _insert(file: Path, event: Event) -> bool:
    """False when the file begins after the event."""
    connection = open_writer(file)
    try:
        cursor = connection.execute(
            "INSERT INTO event (sequence, time_ns, kind, entity, text) SELECT sequence, ?, ?, ?, ? FROM interval"
            " WHERE start_ns <= ? ORDER BY start_ns DESC, sequence DESC LIMIT 1",
            (event.time, event.kind, event.entity, event.text, event.time),
        )
        return cursor.rowcount == 1
    finally:
        connection.close()
