"""Programs under measurement: in a terminal of their own or without one, with all their processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

COLUMNS, ROWS = 120, 40
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\)|[ -/]*[0-~])", re.DOTALL)
_FRAME_CHARACTERS = 200
"""Visible characters that make a frame: more than a title or a message, fewer than any dashboard."""
_QUIET_SECONDS = 0.01
"""A frame is whole when nothing has come after it for so long."""
_LEAVE_SECONDS = 3.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program takes while it runs. `cpu` is the share of one core, `pss` bytes, `output` bytes a second."""

    cpu: float
    pss: int
    output: float
    processes: int
    threads: int


class Watched:
    """A running program; on a terminal of 120x40 unless told otherwise."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, terminal: bool = True) -> None:
        self._screen: int | None = None
        self._drawn = 0
        self._begun = time.perf_counter()
        if not terminal:
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=null)
            return
        self._screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._begun = time.perf_counter()
        self._process = subprocess.Popen(
            command, env=environment, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        os.set_blocking(self._screen, False)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it, by a signal, then by force."""
        self._process.send_signal(signal.SIGTERM)
        deadline = time.perf_counter() + _LEAVE_SECONDS
        while self._process.poll() is None and time.perf_counter() < deadline:
            self._read(0.02)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._screen is not None:
            os.close(self._screen)

    def first_frame(self, patience: float = 15.0) -> float:
        """Seconds from the start to the end of the first whole frame. Raises RuntimeError when there is none."""
        text, complete = "", None
        while time.perf_counter() - self._begun < patience:
            part = self._read(_QUIET_SECONDS)
            if part:
                text += part.decode("utf-8", "replace")
                visible = sum(not character.isspace() for character in _ESCAPES.sub("", text))
                complete = time.perf_counter() - self._begun if visible >= _FRAME_CHARACTERS else None
            elif complete is not None:
                return complete
            elif self._process.poll() is not None:
                break
        raise RuntimeError(f"it drew no frame; all it wrote: {_ESCAPES.sub('', text)[-400:]!r}")

    def steady(self, seconds: float) -> Cost:
        """What it costs from now on for so long. What it draws is read all the time, as a terminal does."""
        cpu, drawn, begun = self._cpu(), self._drawn, time.perf_counter()
        self.idle(seconds)
        passed = time.perf_counter() - begun
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended by itself with status {self._process.returncode}")
        pids = list(self._pids())
        return Cost(
            cpu=(self._cpu() - cpu) / passed,
            pss=sum(map(_pss, pids)),
            output=(self._drawn - drawn) / passed,
            processes=len(pids),
            threads=sum(len(_tasks(pid)) for pid in pids),
        )

    def idle(self, seconds: float) -> None:
        """Let it run."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._read(min(left, 0.5))

    def _read(self, seconds: float) -> bytes:
        if self._screen is None:
            time.sleep(seconds)
            return b""
        part = b""
        if select.select([self._screen], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # it has closed its end
                part = os.read(self._screen, 1 << 16)
        if not part and self._process.poll() is not None:
            time.sleep(min(seconds, 0.01))
        self._drawn += len(part)
        return part

    def _cpu(self) -> float:
        """CPU seconds of all its processes, those that have ended and been reaped among them."""
        return sum(_cpu(pid) for pid in self._pids())

    def _pids(self) -> Iterator[int]:
        waiting = [self._process.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for task in _tasks(pid):
                with contextlib.suppress(OSError):
                    waiting += map(int, (task / "children").read_text().split())


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
