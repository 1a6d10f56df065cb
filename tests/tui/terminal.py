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

from rich.cells import cell_len

_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-?]*)([ -/]*[@-~])|[\]PX^_].*?(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])", re.DOTALL
)
PATIENCE = 40.0


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
            time.sleep(0.05)  # until the size is set
            os.execvpe(command[0], list(command), dict(environment))
        self.resize(*size)

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
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

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

    def until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> float:
        """Reads until the condition holds; the seconds it took. Raises AssertionError when it never does."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < patience, f"not within {patience} s:\n{self.text}\n{self.output[-300:]!r}"
            self.read(0.05)
        return time.monotonic() - begun

    def shows(self, wanted: str, patience: float = PATIENCE) -> float:
        return self.until(lambda: wanted in self.text, patience)

    def read(self, seconds: float) -> None:
        begun = time.monotonic()
        while (left := begun + seconds - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                return
            try:
                part = os.read(self._master, 65536 if self._rate is None else max(1, int(self._rate / 20)))
            except OSError:
                part = b""
            if not part:
                time.sleep(min(left, 0.02))
                return
            self._take(part)
            if self._rate is not None:
                time.sleep(len(part) / self._rate)

    def ends(self, patience: float = PATIENCE) -> int:
        """The exit code, when it has ended."""
        deadline = time.monotonic() + patience
        while self._status is None:
            assert time.monotonic() < deadline, f"it goes on:\n{self.text}"
            self.read(0.05)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._status = os.waitstatus_to_exitcode(status)
        self.read(0.05)
        return self._status

    def _take(self, part: bytes) -> None:
        self.output += part
        text = self._rest + self._decode(part)
        cut = text.rfind("\x1b")
        whole = cut < 0 or _SEQUENCE.match(text, cut) is not None
        self._rest = "" if whole else text[cut:]
        at = 0
        for match in _SEQUENCE.finditer(text if whole else text[:cut]):
            self._print(text[at : match.start()])
            at = match.end()
            self._obey(match[1] or "", match[2] or "")
        self._print(text[at : len(text) if whole else cut])

    def _obey(self, parameters: str, final: str) -> None:
        if final in ("H", "f"):
            row, _, column = parameters.partition(";")
            self._y, self._x = int(row or 1) - 1, int(column or 1) - 1
        elif final == "J":
            self.cells.clear()
        elif final == "n" and parameters == "6" and self._answers:
            self.press(f"\x1b[{self._y + 1};{self._x + 1}R")

    def _print(self, text: str) -> None:
        for character in text:
            if character == "\r":
                self._x = 0
            elif character == "\n":
                self._y += 1
            elif character >= " ":
                self.cells[self._x, self._y] = character
                self._x += cell_len(character)
                self.widest = max(self.widest, self._x)
