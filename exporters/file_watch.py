"""Noticing that files were written anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_Trace = tuple[int, int, int]


class FileWatch:
    """Tells whether any of some files changed since it was last asked, also by being replaced."""

    def __init__(self, paths: Iterable[Path | None]) -> None:
        self._paths = [path for path in paths if path is not None]
        self._traces = self._look()

    def changed(self) -> bool:
        before, self._traces = self._traces, self._look()
        return before != self._traces

    def _look(self) -> list[_Trace | None]:
        return [_trace(path) for path in self._paths]


def _trace(path: Path) -> _Trace | None:
    """None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
