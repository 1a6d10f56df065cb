"""Noticing that files were written anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from collectors.file_trace import FileTrace, trace_if_there


class FileWatch:
    """Tells whether any of some files changed since it was last asked, also by being replaced."""

    def __init__(self, paths: Iterable[Path | None]) -> None:
        self._paths = [path for path in paths if path is not None]
        self._traces = self._look()

    def changed(self) -> bool:
        before, self._traces = self._traces, self._look()
        return before != self._traces

    def _look(self) -> list[FileTrace | None]:
        return [trace_if_there(path) for path in self._paths]
