"""Who may record into a directory, and which of its files go when there are too many."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from collectors.store import (
    FILE_MODE,
    LOCK_NAME,
    RecordingError,
    file_sizes,
    leave_write_ahead_log,
    open_writer,
    recording_files,
    remove,
)
from collectors.store_schema import APPLICATION_ID

_DIRECTORY_MODE = 0o750
_LOCK_TRIES = 20
_LOCK_WAIT_SECONDS = 0.01


class AlreadyRecording(RecordingError):
    """Another process records into this directory."""


class DirectoryLock:
    """The right to record into a directory: an exclusive lock that ends with the process.

    Makes the directory when it is not there. Raises AlreadyRecording, or OSError when the
    directory or the lock file in it cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        self._descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            self._take(directory)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _take(self, directory: Path) -> None:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(_LOCK_WAIT_SECONDS)  # a reader that asks whether someone records holds it for a moment
        holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise AlreadyRecording(f"{directory}: {who} records here already; stop it or give another directory")

    def release(self) -> None:
        os.close(self._descriptor)


def free_bytes(directory: Path) -> tuple[int, int]:
    """Bytes a process of this user may still write there, and the size of the whole file system."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def tidy(directory: Path) -> None:
    """Finishes files that a killed writer left with a log beside them; the caller holds the lock.

    Their content is not touched. Their time of modification stays what it was, since retention
    goes by it. Files that were never begun are removed.
    """
    for path in recording_files(directory):
        with suppress(sqlite3.Error, OSError):
            before = path.stat()
            if before.st_size == 0:
                remove(path)
            elif path.with_name(path.name + "-wal").exists() and is_ours(path):
                _fold(path)
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _fold(path: Path) -> None:
    connection = open_writer(path)
    try:
        leave_write_ahead_log(connection)
    finally:
        connection.close()


def is_ours(path: Path) -> bool:
    """True when the file's header carries phasetop's application id. Raises OSError."""
    with path.open("rb") as file:
        header = file.read(72)
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


def sweep(directory: Path, *, keep: frozenset[Path], limit: int, age_cap_seconds: float, now: float) -> list[Path]:
    """Unlinks whole files, oldest first: those last written before the age cap, then until the rest
    fits into `limit` bytes. Files in `keep` count and stay. Returns what went.

    `now` is in epoch seconds. Raises OSError when the directory cannot be listed or a file not be
    unlinked. Nothing but finished recordings is ever unlinked.
    """
    sizes = {path: sum(size for _, size in file_sizes(path)) for path in recording_files(directory)}
    total = sum(sizes.values())
    gone = []
    for path, size in sizes.items():
        if path in keep or not is_ours(path):
            continue
        if total > limit or now - path.stat().st_mtime > age_cap_seconds:
            remove(path)
            total -= size
            gone.append(path)
    return gone
