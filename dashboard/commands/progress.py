"""How far a command has come through a recording, in one line on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TextIO

from collectors.model import Tick

_EVERY_SECONDS = 0.2
_QUIET_SECONDS = 1.0
"""What ends sooner needs no bar."""
_WIDTH = 30


class Bar:
    """One line that says how far something has come. Says nothing where its output is no terminal.

    `start` and `end` are the wall-clock ns between which there is something to do; `out` is where
    the line goes.
    """

    def __init__(self, what: str, start: int, end: int, *, out: TextIO | None = None) -> None:
        self._what = what
        self._start = start
        self._span = max(1, end - start)
        self._out = sys.stderr if out is None else out
        self._began = time.monotonic()
        self._next = self._began + _QUIET_SECONDS
        self._is_shown = False
        self.watches = self._out.isatty()

    def see(self, reached: int) -> None:
        """Wall-clock ns reached."""
        now = time.monotonic()
        if not self.watches or now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        done = min(1.0, max(0.0, (reached - self._start) / self._span))
        left = (now - self._began) * (1 - done) / done if done > 0 else 0.0
        full = round(done * _WIDTH)
        bar = "#" * full + "." * (_WIDTH - full)
        self._out.write(f"\r{self._what} [{bar}] {100 * done:3.0f} %  {left:4.0f} s left ")
        self._out.flush()
        self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._is_shown = False


class Progress:
    """Watches ticks pass by, as a `Bar` tells."""

    def __init__(self, what: str, start: int, end: int, *, out: TextIO | None = None) -> None:
        self._bar = Bar(what, start, end, out=out)

    def __call__(self, ticks: Iterator[Tick]) -> Iterator[Tick]:
        if not self._bar.watches:
            yield from ticks
            return
        try:
            for tick in ticks:
                self._bar.see(tick.interval.end)
                yield tick
        finally:
            self._bar.clear()
