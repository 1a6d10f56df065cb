"""The GPUs of this machine, for a program that must never wait for a driver.

    source = GpuSource()
    source.start()
    source.request()            # at the edge of an interval
    sample = source.latest()    # the newest one, or None; source.status says why there is none

NVML runs in a process of its own (`child.py`). This module only speaks to that process, through a
thread that waits on pipes with deadlines: no method here blocks or raises, and nothing of NVML is
loaded in this process.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Sequence

from collectors.gpu.driver import driver_fingerprint
from collectors.gpu.peaks import PeakBook
from collectors.gpu.process import Child, ReaderProcess
from collectors.gpu.sample import EARLY_SECONDS, GpuSample, joined, opened, sample_of, with_lost
from collectors.gpu.supervisor import DEADLINES, Deadlines, Message, Supervisor
from collectors.readings import GpuReading
from collectors.text import clean

_LEAVE_SECONDS = 0.2
_STOP_SECONDS = 0.6


class _Wish:
    """One request, told from others by being itself. `edge` as in `GpuSource.request`."""

    __slots__ = ("edge",)

    def __init__(self, edge: float | None) -> None:
        self.edge = edge


class GpuSource:
    """All GPUs that NVML shows. Safe to use from any thread.

    `library` is the file to use as libnvidia-ml.so.1 where the dynamic loader does not find it. `book` gives the peaks.
    """

    def __init__(
        self, *, library: str | None = None, deadlines: Deadlines = DEADLINES, book: PeakBook | None = None
    ) -> None:
        self._book = book or PeakBook()
        self._supervisor = Supervisor(
            lambda: ReaderProcess(library), lambda: driver_fingerprint(library), deadlines=deadlines
        )
        self._lock = threading.Lock()
        self._latest: GpuSample | None = None
        self._handed_out = False
        self._known: dict[str, GpuReading] = {}
        self._wish: _Wish | None = None
        self._ahead: float | None = None
        self._is_asked = False
        self._stopping = False
        self._failure: str | None = None
        self._arrived: threading.Event | None = None
        self._wake_read, self._wake_write = -1, -1
        self._thread: threading.Thread | None = None

    def start(self, arrived: threading.Event | None = None) -> None:
        """Begin to start the reader; returns at once. Starting twice is starting once.

        `arrived` is set whenever a sample has come or the reader has met with trouble; the last one given counts.
        """
        with self._lock:
            self._arrived = arrived
            if self._thread is not None or self._stopping:
                return
            self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._thread = threading.Thread(target=self._run, name="gpu-source", daemon=True)
        self._thread.start()

    def request(self, edge: float | None = None, next_at: float | None = None) -> None:
        """Ask for one sample; dropped when one is outstanding, kept when the reader is starting.

        In seconds of `time.monotonic()`: `edge` is the moment it is to be of, so that one taken since then is
        enough; `next_at` is when the next one will be asked for, where that is known: that one is
        taken at its moment whatever this process is busy with then.
        """
        with self._lock:
            self._wish, self._ahead = _Wish(edge), next_at
        self._wake()

    def latest(self) -> GpuSample | None:
        """The newest sample, or None before the first one.

        It covers the time since the sample before it that this method returned: samples that
        nobody fetched are joined into the next one, so that no energy or activity goes missing.
        """
        with self._lock:
            self._handed_out = True
            return self._latest

    @property
    def status(self) -> str | None:
        """None when NVML works, else why not, in one line. Never the fault of one GPU alone."""
        if (trouble := self._failure or self._supervisor.status) is not None:
            return trouble
        sample = self._latest
        if sample is not None and not opened(sample):
            reasons = sorted(set(sample.notes.values()))
            return f"no GPU could be opened: {reasons[0]}" if reasons else "NVML works but counts no GPU"
        return None

    @property
    def driver_version(self) -> str | None:
        """The NVIDIA driver's version while the reader works."""
        return self._supervisor.driver_version

    @property
    def reader_pid(self) -> int | None:
        """The process that talks to NVML, while there is one."""
        child = self._supervisor.listening_to
        return child.pid if child is not None else None

    def stop(self) -> None:
        """End the reader. Returns within 0.6 s also when NVML hangs; the source cannot be started again."""
        with self._lock:
            self._stopping = True
            thread = self._thread
        self._wake()
        if thread is not None:
            thread.join(_STOP_SECONDS)

    # -- the thread

    def _wake(self) -> None:
        with contextlib.suppress(OSError), self._lock:
            if self._wake_write >= 0:
                os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        trouble = None
        try:
            while not self._stopping:
                came = self._step(wanted=False)
                came |= self._grant()
                self._look_ahead()
                before, trouble = trouble, self._supervisor.status
                if self._arrived is not None and (came or trouble != before):
                    self._arrived.set()
                self._wait()
        except Exception as error:  # GPUs are missing then, and the rest of the program goes on
            self._failure = clean(f"reading GPUs has failed: {type(error).__name__}: {error}", 200)
        finally:
            self._let_go(self._supervisor.end())
            with self._lock:
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_read = self._wake_write = -1

    def _step(self, *, wanted: bool) -> bool:
        """Whether a sample came."""
        samples, self._is_asked = self._supervisor.step(wanted)
        for message in samples:
            self._take(message)
        return bool(samples)

    def _grant(self) -> bool:
        """Ask for what is wished, unless it is here already. Whether a sample came meanwhile."""
        wish, latest, came = self._wish, self._latest, False
        if wish is None:
            return False
        is_here = wish.edge is not None and latest is not None and latest.started >= wish.edge - EARLY_SECONDS
        if not is_here:
            came = self._step(wanted=True)
        if is_here or self._is_asked:
            with self._lock:
                self._wish = None if self._wish is wish else self._wish
        return came

    def _look_ahead(self) -> None:
        ahead = self._ahead
        if ahead is not None and self._wish is None and self._supervisor.ask_ahead(ahead):
            with self._lock:
                self._ahead = None if self._ahead is ahead else self._ahead

    def _wait(self) -> None:
        """Until the child speaks, somebody wants something, or a deadline passes."""
        seconds = self._supervisor.seconds_to_wait()
        watched = select.poll()
        watched.register(self._wake_read, select.POLLIN)
        child = self._supervisor.listening_to
        if child is not None:
            watched.register(child.fileno(), select.POLLIN)
        watched.poll(None if seconds is None else seconds * 1000.0)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass

    def _take(self, message: Message) -> None:
        sample = sample_of(message, time.monotonic(), self._book)
        self._known.update((reading.uuid, reading) for reading in sample.readings)
        sample = with_lost(sample, self._known)
        with self._lock:
            if self._latest is not None and not self._handed_out:
                sample = joined(self._latest, sample)
            self._latest, self._handed_out = sample, False

    def _let_go(self, children: Sequence[Child]) -> None:
        """End the readers at once: they hold nothing but open files, and one that hangs would not leave by itself."""
        for child in children:
            child.kill()
        _all_ended(children)


def _all_ended(children: Sequence[Child]) -> None:
    """Give them a moment to end, and reap them."""
    deadline = time.monotonic() + _LEAVE_SECONDS
    while any(child.exit_status() is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.005)
