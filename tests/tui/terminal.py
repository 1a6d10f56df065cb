"""A terminal under the test's thumb: a pty of a size and a TERM, what stands on it, and how fast it reads."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.cells import cell_len

from tests.patience import PATIENCE

_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-?]*)([ -/]*[@-~])|[\]PX^_].*?(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])", re.DOTALL
)
_NUMBERS = re.compile(r"\d*(?:;\d*)*")
_MOVES = {"A": (0, -1), "B": (0, 1), "C": (1, 0), "D": (-1, 0)}
SILENCE = 0.5
"""Seconds without a byte after which nothing more is expected."""


def _set_size(terminal: int, width: int, height: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


class Terminal:
    """Runs a command. `rate` is how many bytes a second it reads, None all at once."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
        *,
        rate: float | None = None,
        answers: bool = True,
    ) -> None:
        self.width, self.height = size
        self.output = b""
        self.cells: dict[tuple[int, int], str] = {}
        self.widest = 0
        self._rate, self._answers = rate, answers
        self._x = self._y = 0
        self._rest = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._status: int | None = None
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            _set_size(0, *size)
            os.execvpe(command[0], list(command), dict(environment))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self._master)

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        _set_size(self._master, width, height)

    @property
    def modes(self) -> list[Any]:
        """What the terminal does with input and output by itself, as whoever runs on it has set it."""
        return termios.tcgetattr(self._master)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def text(self) -> str:
        """What stands on the screen."""
        rows = []
        for y in range(self.height):
            columns = {x: text for (x, row), text in self.cells.items() if row == y}
            rows.append("".join(columns.get(x, " ") for x in range(max(columns, default=-1) + 1)))
        return "\n".join(rows)

    def until(self, condition: Callable[[], bool]) -> None:
        """Reads until the condition holds. Raises AssertionError when it never does."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.read(0.05)
            if time.monotonic() > deadline and not condition():
                raise AssertionError(f"not within {PATIENCE:g} s:\n{self.text}\n{self.output[-300:]!r}")

    def shows(self, wanted: str) -> None:
        self.until(lambda: wanted in self.text)

    def read(self, seconds: float) -> bool:
        """Take what comes within so many seconds; whether anything did."""
        begun, took = time.monotonic(), False
        while (left := begun + seconds - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                break
            try:
                part = os.read(self._master, 65536 if self._rate is None else max(1, int(self._rate / 20)))
            except OSError:
                part = b""
            if not part:
                time.sleep(min(left, 0.02))
                break
            took = True
            self._take(part)
            if self._rate is not None:
                time.sleep(len(part) / self._rate)
        return took

    def ends(self) -> int:
        """The exit code, when it has ended."""
        self.until(self._has_ended)
        while self.read(SILENCE):
            pass
        assert self._status is not None
        return self._status

    def _has_ended(self) -> bool:
        done, status = os.waitpid(self.pid, os.WNOHANG) if self._status is None else (0, 0)
        if done:
            self._status = os.waitstatus_to_exitcode(status)
        return self._status is not None

    def _take(self, part: bytes) -> None:
        self.output += part
        text = self._rest + self._decode(part)
        at, self._rest = 0, ""
        while (begins := text.find("\x1b", at)) >= 0:
            self._print(text[at:begins])
            match = _SEQUENCE.match(text, begins)
            if match is not None:
                at = match.end()
                self._obey(match[1] or "", match[2] or "")
            elif 0 <= (at := text.find("\x1b", begins + 1)) < len(text) - 1:
                continue  # broken off: the system drops what a process that is stopped was writing
            else:
                self._rest = text[begins:]  # the next part goes on with it
                return
        self._print(text[at:])

    def _obey(self, parameters: str, final: str) -> None:
        numbers = [int(part or 0) for part in parameters.split(";")] if _NUMBERS.fullmatch(parameters) else [0]
        first = max(1, numbers[0])
        if final in ("H", "f"):
            self._y, self._x = first - 1, max(1, *numbers[1:2], 1) - 1
        elif final in _MOVES:
            across, down = _MOVES[final]
            self._x, self._y = max(0, self._x + across * first), max(0, self._y + down * first)
        elif final in ("G", "`"):
            self._x = first - 1
        elif final == "d":
            self._y = first - 1
        elif final in ("J", "K"):
            self._erase(numbers[0], whole_lines=final == "J")
        elif final == "n" and numbers[0] == 6 and self._answers:
            self.press(f"\x1b[{self._y + 1};{self._x + 1}R")

    def _erase(self, what: int, *, whole_lines: bool) -> None:
        """From the cursor to the end (0), from the beginning to the cursor (1) or all, of the screen or of the line."""
        here = (self._y, self._x)

        def goes(y: int, x: int) -> bool:
            is_in_reach = whole_lines or y == self._y
            return is_in_reach and (what > 1 or ((y, x) >= here if what == 0 else (y, x) <= here))

        self.cells = {(x, y): text for (x, y), text in self.cells.items() if not goes(y, x)}

    def _print(self, text: str) -> None:
        for character in text:
            if character == "\b":
                self._x = max(0, self._x - 1)
            elif character == "\r":
                self._x = 0
            elif character == "\n":
                self._y += 1
            elif character >= " ":
                self.cells[self._x, self._y] = character
                self._x += cell_len(character)
                self.widest = max(self.widest, self._x)
