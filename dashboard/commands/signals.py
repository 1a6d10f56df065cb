"""Signals as something that a main thread waits for."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from types import FrameType

Asked = Literal["stop", "reload"]
_STOP, _HANGUP = b"s", b"h"


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into something a main thread can wait for.

    The second signal of a kind that stops ends the process at once. A signal that was ignored when we
    started (`nohup`, a background job) stays ignored. A handler must not touch a lock the main
    thread may hold, so it writes to a pipe.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        """With `reloads` SIGHUP asks for the configuration to be read anew, unless our terminal has gone away."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._reloads = reloads
        self._had_terminal = has_terminal()
        self._is_stopped = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def wait(self, seconds: float | None = None) -> Asked | None:
        """Wait for a signal, for at most `seconds`, and say what it asks for. Once stopped, always stopped."""
        if self._is_stopped or not select.select([self._read], [], [], seconds)[0]:
            return "stop" if self._is_stopped else None
        came = os.read(self._read, 512)
        self._is_stopped = _STOP in came or not self._reloads or (self._had_terminal and not has_terminal())
        return "stop" if self._is_stopped else "reload"

    def _note(self, number: int, frame: FrameType | None) -> None:
        hangs_up = number == signal.SIGHUP and self._reloads
        if not hangs_up:
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(BlockingIOError):  # thousands wait to be seen: one more says nothing new
            os.write(self._write, _HANGUP if hangs_up else _STOP)


def has_terminal() -> bool:
    """Whether this process has a terminal that somebody may be sitting at."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
