"""A person's notes in a recording: events that nobody measured, such as a deployment.

A note may be added while another process records into the same file: both are writers of one
SQLite database, and each transaction waits for the other's.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from collectors.model import HOST
from collectors.store import NotARecording, RecordingError, explained, open_reader, open_writer, recording_files
from collectors.text import clean

TEXT_LIMIT = 400


def add_note(path: Path, text: str, time_ns: int) -> Path:
    """Puts a note at `time_ns` (wall clock) into a recording file, or into the file of a directory that covers it.

    Returns the file. The text is cleaned, and cut to 400 characters. Raises RecordingError when
    there is no recording that had begun by then, or when it cannot be written.
    """
    for file in reversed(recording_files(path)) if path.is_dir() else [path]:
        with closing(open_reader(file)) as reader:
            found = reader.execute("SELECT max(sequence) FROM interval WHERE start_ns <= ?", (time_ns,)).fetchone()[0]
        if found is not None:
            _insert(file, found, time_ns, clean(text, TEXT_LIMIT))
            return file
    raise NotARecording(f"{path}: no recording had begun by then")


def _insert(file: Path, sequence: int, time_ns: int, text: str) -> None:
    try:
        with closing(open_writer(file)) as writer:
            writer.execute(
                "INSERT INTO event (sequence, time_ns, kind, entity, text) VALUES (?, ?, 'note', ?, ?)",
                (sequence, time_ns, HOST, text),
            )
    except sqlite3.OperationalError as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise RecordingError(f"{file}: cannot be written; check that you may write it and its directory") from error
        raise explained(error, file) from error
