"""The parent's hold on one NVML reader process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from collectors.gpu.frames import Decoder, encode

_READ = 1 << 16
_CHILD = Path(__file__).with_name("child.py")


class Child(Protocol):
    """What the supervisor needs of a reader process. No method blocks."""

    @property
    def pid(self) -> int: ...

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is something to receive."""
        ...

    def send(self, message: dict[str, Any]) -> None:
        """Ask for something. A child that has ended is noticed in `receive`, not here."""
        ...

    def receive(self) -> list[dict[str, Any]] | None:
        """What has arrived, maybe nothing; None when nothing will any more. Raises FrameError."""
        ...

    def close(self) -> None:
        """End the conversation: a child that is not stuck leaves by itself."""
        ...

    def kill(self) -> None:
        """End it the hard way. A process in an uninterruptible wait goes on until that is over."""
        ...

    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        ...


class ReaderProcess:
    """A running `child.py`. Raises OSError when it cannot be started.

    The child runs isolated (no environment of Python's, no site, no current directory on its
    path) in a session of its own and without a terminal, so that Ctrl-C is not for it. The paths
    on which this process found its modules are handed over. It dies with the thread that
    started it.
    """

    def __init__(self, library: str | None = None) -> None:
        self._process = subprocess.Popen(  # ends with close() or kill(), and is reaped in exit_status()
            [sys.executable or "python3", *_flags(), str(_CHILD), str(os.getpid()), library or "", *_module_paths()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        self._decoder = Decoder()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin
        self._output = self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        os.set_blocking(self._output.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._output.fileno()

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._input.write(encode(message))

    def receive(self) -> list[dict[str, Any]] | None:
        messages: list[dict[str, Any]] = []
        while True:
            data = self._output.read(_READ)
            if data is None:
                return messages
            if not data:
                return messages or None
            messages += self._decoder.feed(data)

    def close(self) -> None:
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):
                pipe.close()

    def kill(self) -> None:
        self._process.kill()

    def exit_status(self) -> int | None:
        return self._process.poll()


def _flags() -> Sequence[str]:
    return ("-I", "-S", "-B") if sys.dont_write_bytecode else ("-I", "-S")


def _module_paths() -> Sequence[str]:
    """Where `collectors` lies, and everything that this process searches."""
    own = str(Path(__file__).resolve().parents[2])
    return (own, *(str(Path(path).resolve()) for path in sys.path if path != own))


def process_state(pid: int) -> str:
    """The kernel's letter for what a process does (D: in a wait that no signal ends); empty when unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return fields[0].decode("ascii", "replace") if fields else ""
