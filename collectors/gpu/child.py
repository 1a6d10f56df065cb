"""The process that talks to NVML, so that nothing else has to wait for a driver.

    python -I -S child.py PARENT_PID LIBRARY PATH...

`LIBRARY` may be empty; the paths are where to find `collectors` and `pynvml`. Frames come on
standard input and leave on standard output (`frames.py`):

    parent:  {"id": 7}                                    one round, please
             {"id": 8, "at": 4711.25}                     one at that moment of the monotonic clock
    child:   {"kind": "ready", "driver": "580.65.06"}     once, when NVML works
             {"kind": "beat"}                             still moving, at most one a second
             {"kind": "sample", "id": 7, "gpus": ...}     the round (NvmlReader.sample)
             {"kind": "gone", "code": 12, "reason": ...}  the last one: NVML does not work

It ends when its input ends, when NVML is gone, or with its parent, whatever it is waiting for.
NVML is not shut down on the way out: that call has been seen to hang and to crash, and the
kernel closes what is open.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # the module typing would cost this process half a megabyte
if TYPE_CHECKING:
    from typing import Any

PROCESS_NAME = b"phasetop-nvml"
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_BEAT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_READ = 65536


def main(arguments: list[str]) -> int:
    """Serve rounds until the input ends. Returns the exit status."""
    parent, library, *paths = arguments
    _leave_with(int(parent))
    sys.path.extend(path for path in paths if path not in sys.path)
    output = _private_output()
    from collectors.gpu.frames import FrameError
    from collectors.gpu.nvml import NvmlGone
    from collectors.gpu.punctual import ask_for_short_turns

    ask_for_short_turns()
    link = _Link(output)
    try:
        _serve(link, library or None)
    except NvmlGone as end:
        link.send({"kind": "gone", "code": end.code, "reason": end.reason})
    except (BrokenPipeError, FrameError):
        return 1
    return 0


def _serve(link: _Link, library: str | None) -> None:
    from collectors.gpu.gpm import SPACING
    from collectors.gpu.nvml import load
    from collectors.gpu.reader import NvmlReader
    from collectors.gpu.xid import XidWatch

    nvml = load(library)
    watch = XidWatch(nvml)
    reader = NvmlReader(nvml, beat=link.beat, opened=watch.add)
    watch.start()
    done = time.monotonic()
    link.send({"kind": "ready", "driver": reader.driver_version})
    while (request := link.receive()) is not None:
        if not link.wait(max(done + SPACING, _moment(request)) - time.monotonic()):
            return
        started = time.monotonic()
        sample = reader.sample()
        done = time.monotonic()
        frame = {"kind": "sample", "id": request.get("id"), "started": started, "ended": done, "xids": watch.take()}
        link.send({**frame, **sample})


def _moment(request: dict[str, Any]) -> float:
    at = request.get("at")
    return min(at, time.monotonic() + _LONGEST_WAIT_SECONDS) if isinstance(at, float) else 0.0


class _Link:
    """Frames in on standard input, frames out on a descriptor that only this module knows."""

    def __init__(self, output: int) -> None:
        from collectors.gpu.frames import Decoder, encode

        self._encode = encode
        self._decoder = Decoder()
        self._waiting: list[dict[str, Any]] = []
        self._output = output
        self._sent = time.monotonic()

    def send(self, message: dict[str, Any]) -> None:
        data = self._encode(message)
        while data:
            data = data[os.write(self._output, data) :]
        self._sent = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._sent >= _BEAT_SECONDS:
            self.send({"kind": "beat"})

    def wait(self, seconds: float) -> bool:
        """Do nothing for so long; False at once when the parent has closed its end."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([0], [], [], left)[0]:
                data = os.read(0, _READ)
                if not data:
                    return False
                self._waiting += self._decoder.feed(data)
        return True

    def receive(self) -> dict[str, Any] | None:
        """The next request; None when the parent has closed its end."""
        while not self._waiting:
            data = os.read(0, _READ)
            if not data:
                return None
            self._waiting = self._decoder.feed(data)
        return self._waiting.pop(0)


def _leave_with(parent: int) -> None:
    """Die when the parent does, also while a call hangs in the driver's library."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    libc.prctl(_PR_SET_NAME, PROCESS_NAME, 0, 0, 0)
    if os.getppid() != parent:  # it went before the signal was asked for
        os._exit(0)


def _private_output() -> int:
    """Keep the pipe to the parent apart from descriptor 1, which a library may print to."""
    output = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return output


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # no destructors: the library's may wait for a driver
