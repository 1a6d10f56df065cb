"""How far the terminal is behind: over a slow line frames are skipped, keys never are.

What has been written may lie in the buffers of a connection for long. So after a frame the terminal is
asked where its cursor is; the answer says that all before has arrived, and the next frame may go out.
A terminal that does not answer is not waited for.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

QUESTION = "\x1b[6n"
"""Report the cursor's position: every terminal with a cursor answers, multiplexers too."""
FIRST_PATIENCE = 2.0
"""Seconds to wait for the first answer of all: perhaps there will never be one."""
PATIENCE = 15.0
"""Seconds to wait for one from a terminal that answers: a whole large screen at 2 kB/s."""


class Pace:
    """Counts questions and answers. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: float | None = None
        self._answers = False
        self._is_silent = False

    def ask(self) -> bool:
        """Whether to ask now, after a frame; a question stands until it is answered."""
        if self._is_silent or self._asked is not None:
            return False
        self._asked = self._clock()
        return True

    def answered(self) -> None:
        self._asked = None
        self._answers = True
        self._is_silent = False

    @property
    def is_open(self) -> bool:
        """Whether a frame is still on its way to the terminal."""
        if self._asked is None:
            return False
        if self._clock() - self._asked < (PATIENCE if self._answers else FIRST_PATIENCE):
            return True
        self._asked = None
        self._is_silent = not self._answers
        return False


def takes_more(descriptor: int | None) -> bool:
    """Whether writing to it would not block."""
    if descriptor is None:
        return True
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):
        return True
