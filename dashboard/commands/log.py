"""What a daemon tells: one line when the state of something changes, as text or as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TextIO

from collectors.text import clean

if TYPE_CHECKING:
    from collectors.sources import SourceStatus

Level = Literal["info", "warning", "error"]
OURSELVES = "phasetop"
"""The source of what is said about this process itself."""

_PRIORITY: Mapping[Level, int] = {"info": 6, "warning": 4, "error": 3}
_LINE_LIMIT = 2000


class Log:
    """Lines on standard error. Safe to use from any thread: a line is one write.

    As text each line begins with its time and level; a terminal gets neither, and the journal of systemd
    the level as it wants it, with a time of its own.
    """

    def __init__(
        self,
        format: str = "text",
        *,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.time,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`format` is "text" or "json"; `now` gives seconds since 1970."""
        self.format = format
        self._stream = stream if stream is not None else sys.stderr
        self._now = now
        self._is_journal = _is_journal(self._stream, environment)
        self._is_terminal = self._stream.isatty()

    def info(self, source: str, message: str) -> None:
        self.line("info", source, message)

    def warning(self, source: str, message: str) -> None:
        self.line("warning", source, message)

    def error(self, source: str, message: str) -> None:
        self.line("error", source, message)

    def line(self, level: Level, source: str, message: str) -> None:
        """One line; what is longer than that is cut. A stream that is gone or full ends nobody."""
        text = self._written(level, clean(source, 200), clean(message, _LINE_LIMIT))
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    def _written(self, level: Level, source: str, message: str) -> str:
        if self.format == "json":
            entry = {"time": self._time(), "level": level, "source": source, "message": message}
            return json.dumps(entry, ensure_ascii=False)
        said = message if source == OURSELVES else f"{source}: {message}"
        if self._is_journal:
            return f"<{_PRIORITY[level]}>{said}"
        return said if self._is_terminal else f"{self._time()} {level:<7} {said}"

    def _time(self) -> str:
        now = self._now()
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether what is written goes straight to systemd's journal, as its variable tells."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@dataclass(slots=True)
class Narrator:
    """Tells a log when a source fails and when it is well again, and not every second in between.

    "stale" is not told: pages that take longer than an interval are so every other second. That all is
    well is told once of a page, since it says which ones were found.
    """

    statuses: Callable[[], Iterable[SourceStatus]]
    tell: Callable[[Level, str, str], None]
    _known: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        seen = {one.source: one for one in self.statuses()}
        for source, one in seen.items():
            before = self._known.get(source)
            is_to_come = one.collector is not None and one.sampled is None and one.state == "ok"
            if one.state in ("stale", before) or is_to_come:
                continue
            self._known[source] = one.state
            if one.state == "ok":
                if before is not None or _is_page(source):
                    self.tell("info", source, one.reason or ("ok" if before is not None else "is read"))
            else:
                self.tell("warning", source, one.reason or one.state)
        for source in self._known.keys() - seen.keys():
            if self._known.pop(source) != "ok" or _is_page(source):
                self.tell("info", source, "is no longer looked at" if _is_page(source) else "that is over")


def _is_page(source: str) -> bool:
    return "://" in source
