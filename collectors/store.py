"""Recording files: their names, who writes them, and how they are made and opened.

A recording is one SQLite file, or a directory of them named after the moment they begin
(`phasetop-20260501T031200Z.db`). store_schema.py has the tables.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from collectors.clock import NANO
from collectors.store_older import STEPS, Steps, present
from collectors.store_schema import APPLICATION_ID, SCHEMA_VERSION, SOURCES
from collectors.store_tables import ddl
from collectors.text import clean

LOCK_NAME = "phasetop.lock"
FILE_MODE = 0o640
BUSY_SECONDS = 5.0
"""How long a writer waits for another connection's transaction, such as a note being added."""

_NAME = re.compile(r"phasetop-\d{8}T\d{6}Z\.db")
_NAME_FORMAT = "phasetop-%Y%m%dT%H%M%SZ.db"
_SQLITE_NEEDED = (3, 37)  # STRICT tables
_TABLES = {"meta", "entity", "interval", "label", "verdict", *(source.name for source in SOURCES)}


class RecordingError(Exception):
    """A recording cannot be read or written. The message says what, where and what to do."""


class NotARecording(RecordingError):
    """There is no recording at this path."""


class DamagedRecording(RecordingError):
    """A recording, but torn, truncated or never finished."""


class TornRecording(DamagedRecording):
    """One of which something may still be read; the message says how."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}; `phasetop repair {path} -o saved.db` saves what can still be read")


class NewerRecording(RecordingError):
    """A recording whose tables a later version of phasetop has changed."""


class NoWriteAheadLog(RecordingError):
    """The file system refuses SQLite's write-ahead log, as network file systems do."""


def file_name(start_ns: int) -> str:
    """The name of a recording file whose first interval starts at `start_ns`."""
    return datetime.fromtimestamp(start_ns // NANO, UTC).strftime(_NAME_FORMAT)


def recording_files(directory: Path) -> list[Path]:
    """The recording files of a directory, oldest first. Raises OSError when it cannot be listed."""
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def create(path: Path, *, autocheckpoint_pages: int = 1000) -> sqlite3.Connection:
    """A new, empty recording file, opened for writing in WAL mode.

    The tables are made before the journal mode changes, so that a file killed at birth is either
    empty or complete. Raises NoWriteAheadLog, OSError (FileExistsError for an existing file) or
    sqlite3.Error.
    """
    _require_sqlite()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)  # whatever the umask: a group may read, others may not
    finally:
        os.close(descriptor)
    connection = open_writer(path)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("BEGIN")
        for statement in ddl():
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO field VALUES (?, ?, ?, ?, ?, ?)",
            (
                (source.name, spec.name, spec.kind, spec.unit, spec.scale, spec.help)
                for source in SOURCES
                for spec in (
                    *source.texts,
                    *source.steady_lists,
                    *source.steady,
                    *source.numbers,
                    *source.lists,
                    *source.histograms,
                )
            ),
        )
        connection.execute("COMMIT")
        use_write_ahead_log(connection, path, autocheckpoint_pages)
    except BaseException:
        connection.close()
        remove(path)
        raise
    return connection


def file_sizes(path: Path) -> list[tuple[Path, int]]:
    """The recording file and what SQLite keeps beside it, with their bytes."""
    found = []
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = path.with_name(path.name + suffix)
        with suppress(OSError):
            found.append((part, part.stat().st_size))
    return found


def remove(path: Path) -> None:
    """Unlinks a recording file and what SQLite keeps beside it, the file itself first."""
    for part, _ in file_sizes(path):
        part.unlink(missing_ok=True)


def open_writer(path: Path) -> sqlite3.Connection:
    """An existing file, opened for writing; every transaction is begun and committed by hand."""
    connection = sqlite3.connect(_uri(path, "mode=rw"), uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA cache_size = -512")
    return connection


def use_write_ahead_log(connection: sqlite3.Connection, path: Path, autocheckpoint_pages: int = 1000) -> None:
    """Turns the write-ahead log on; raises NoWriteAheadLog where the file system does not have it."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise NoWriteAheadLog(
            f"{path.parent}: this file system does not support SQLite's write-ahead log (network file systems do not);"
            " record to a local disk"
        )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {autocheckpoint_pages}")
    connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")


def leave_write_ahead_log(connection: sqlite3.Connection) -> bool:
    """Folds the log into the file, which then opens read-only anywhere.

    False when a reader is in the way: the file is complete all the same, and whoever records next
    into the directory tidies it.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA busy_timeout = 0")
        return bool(connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete")
    except sqlite3.OperationalError:
        return False


def open_reader(path: Path, *, damaged: bool = False, older: Steps = STEPS) -> sqlite3.Connection:
    """The file, read-only; a file that another process is writing may be read at the same time.

    With `damaged` a file that is shorter than it says is opened all the same; what is missing then
    fails where it is asked for. A file of an earlier layout looks like one of today's, by the steps in
    `older`. Raises NotARecording, DamagedRecording, NewerRecording, or RecordingError for what is no longer read.
    """
    _require_sqlite()
    try:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "no such file" if not path.exists() else "not a regular file"
            raise NotARecording(f"{path}: {what}; give a recording file ({file_name(0)}) or a directory of them")
        size = path.stat().st_size
    except OSError as problem:
        raise RecordingError(f"{path}: {problem.strerror}; check that you may read it") from problem
    if size == 0:
        raise DamagedRecording(f"{path}: empty; its writer was killed before the first interval, it can be deleted")
    with reading(path):
        connection = _connect(path, damaged)
        try:
            _check(connection, path, older)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(path: Path, damaged: bool) -> sqlite3.Connection:
    try:
        return _read_only(path, "mode=ro", damaged)
    except sqlite3.OperationalError:
        # Left in WAL mode by its writer, and no log beside it can be made here: nothing is missing
        # from the file itself unless there is a log.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size > 0:
            raise
        return _read_only(path, "mode=ro&immutable=1", damaged)


def _read_only(path: Path, options: str, damaged: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        _uri(path, options), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 64 * 2**20)
        connection.execute("PRAGMA query_only = ON")
        if damaged:
            # Besides what it is named after, it keeps SQLite from refusing a file shorter than its header says.
            connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA cache_size = -1024")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, older: Steps) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise NotARecording(f"{path}: an SQLite file of another application; give a file that phasetop recorded")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise NewerRecording(
            f"{path}: recorded in format {version}, and this phasetop reads up to {SCHEMA_VERSION};"
            " install the phasetop that recorded it, or a later one"
        )
    views: set[str] = set()
    if version < SCHEMA_VERSION:
        if not present(connection, version, steps=older):
            raise RecordingError(
                f"{path}: recorded in format {version}, which this phasetop does not read;"
                " install the phasetop that recorded it"
            )
        views = {name for (name,) in connection.execute("SELECT name FROM temp.sqlite_schema WHERE type = 'view'")}
    # STRICT, so that no column holds another type than the code reading it expects.
    tables = {
        name for (name,) in connection.execute("SELECT name FROM pragma_table_list WHERE type = 'table' AND strict")
    }
    if not tables | views >= _TABLES:
        missing = ", ".join(sorted(_TABLES - tables - views))
        raise DamagedRecording(f"{path}: its tables are not complete (no {missing}); it cannot be read")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, said as what, where and what to do."""
    try:
        yield
    except sqlite3.Error as problem:
        raise explained(problem, path) from problem
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as problem:
        raise TornRecording(path, f"holds values that make no sense ({clean(str(problem))})") from problem


def explained(problem: sqlite3.Error, path: Path) -> RecordingError:
    """The error of reading `path` as a RecordingError."""
    code = (getattr(problem, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return NotARecording(f"{path}: not an SQLite file; give a file that phasetop recorded")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY):
        return RecordingError(f"{path}: cannot be opened; check that you may read it and the files beside it")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RecordingError(f"{path}: locked by another program for more than {BUSY_SECONDS:g} s; try again")
    return TornRecording(path, f"damaged or cut short ({clean(str(problem))})")


def _require_sqlite() -> None:
    if sqlite3.sqlite_version_info < _SQLITE_NEEDED:
        needed = ".".join(map(str, _SQLITE_NEEDED))
        raise RecordingError(
            f"this Python's SQLite is {sqlite3.sqlite_version}, and recordings need {needed} or later;"
            " use a Python that is built with a newer one"
        )


def is_being_written(directory: Path) -> bool:
    """True while some process records into the directory.

    A writer holds an exclusive lock on the lock file; trying a shared one tells, and is given back
    at once (a writer that starts in that moment tries again).
    """
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{options}"
