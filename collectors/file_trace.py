"""What tells that a file was written anew or replaced, without reading it."""

from __future__ import annotations

from pathlib import Path

FileTrace = tuple[int, int, int, int]
"""Equal as long as the file is the same one and nobody wrote to it."""


def file_trace(path: Path) -> FileTrace:
    """The trace of a file now. Raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def trace_if_there(path: Path) -> FileTrace | None:
    """The same; None where there is no such file, or none that may be looked at."""
    try:
        return file_trace(path)
    except OSError:
        return None
