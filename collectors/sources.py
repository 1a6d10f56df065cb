"""What the sampler asks at every edge: the machine, its GPUs, its engines, each in a thread of its own.

A source never makes the sampler wait: `request` asks, `pending` says whether the answer is still
out, `collect` hands over what has come, with a gap for what has not.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from collectors.clock import Clock
from collectors.model import HOST, Gap, GpuProcess
from collectors.readings import EngineReading, GpuReading, HostReading
from collectors.text import clean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How one source is doing: `state` is "ok" or one word for what is wrong, `reason` a line about it.

    Of what is sampled, `collector` says what kind it is; `seconds` is how long the last sample took
    and `sampled` when the last good one came, on the session's monotonic clock; None: not known.
    """

    source: str
    state: str
    reason: str | None = None
    collector: Literal["host", "gpu", "engine"] | None = field(default=None, compare=False)
    seconds: float | None = field(default=None, compare=False)
    sampled: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """What one source contributes to an interval.

    `processes` maps process ids to the UUIDs of the GPUs they use; `trees` maps endpoints to the
    process ids of their engines: together they tell whose GPU is whose. `gpu_processes` describes
    the processes on each GPU, by its UUID.
    """

    host: HostReading | None = None
    gpus: tuple[GpuReading, ...] = ()
    engines: tuple[EngineReading, ...] = ()
    processes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    trees: Mapping[str, frozenset[int]] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    gpu_processes: Mapping[str, tuple[GpuProcess, ...]] = field(default_factory=dict)


class Source(Protocol):
    """All times are the session clock's monotonic seconds. Only the sampler's thread calls these, but `status`."""

    @property
    def name(self) -> str: ...

    def start(self, arrived: threading.Event) -> None:
        """Begin. Set `arrived` whenever an answer is in."""

    def request(self, edge: float) -> None:
        """Ask for one sample; returns at once."""

    def pending(self) -> bool:
        """Whether waiting a little longer may bring what was asked for."""

    def collect(self, edge: float) -> Harvest:
        """What is there for the interval that ended at `edge`."""

    def status(self) -> Sequence[SourceStatus]: ...

    def stop(self) -> None:
        """End soon, and return at once even when something hangs."""


class Background(Generic[T]):
    """Calls `work` in a thread of its own each time it is asked to, and keeps the newest result."""

    def __init__(self, name: str, work: Callable[[], T]) -> None:
        self._name = name
        self._work = work
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._arrived: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._results: deque[T] = deque(maxlen=1)
        self._failure: str | None = None
        self._busy = False
        self._seconds: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long the last call took, be it in vain; None before the first."""
        return self._seconds

    @property
    def busy(self) -> bool:
        """Whether the last call is still under way."""
        return self._busy

    @property
    def failure(self) -> str | None:
        """Why the last call came to nothing, in one line; None when it did not."""
        return self._failure

    def start(self, arrived: threading.Event) -> None:
        self._arrived = arrived
        # A daemon: a call that hangs in the kernel must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Have `work` called, unless it is being called right now."""
        if not self._busy:
            self._busy = True
            self._asked.put(True)

    def take(self) -> T | None:
        """The newest result, once."""
        try:
            return self._results.pop()
        except IndexError:
            return None

    def stop(self) -> None:
        self._asked.put(False)

    def _run(self) -> None:
        while self._asked.get():
            began = time.perf_counter()
            try:
                self._results.append(self._work())
                self._failure = None
            except Exception as error:  # a source that fails says so, and is asked again next time
                self._failure = clean(f"{type(error).__name__}: {error}")
            self._seconds = time.perf_counter() - began
            self._busy = False
            if self._arrived is not None:
                self._arrived.set()


class HostSource:
    """The machine's readings. `sample` is called in a thread of its own, for the first time there too."""

    name = HOST

    def __init__(self, sample: Callable[[], HostReading], clock: Clock) -> None:
        self._background = Background("host", sample)
        self._clock = clock
        self._asked: float | None = None
        self._sampled: float | None = None
        self._problem: str | None = None

    def start(self, arrived: threading.Event) -> None:
        self._background.start(arrived)

    def request(self, edge: float) -> None:
        if not self._background.busy:
            self._asked = self._clock.monotonic()
            self._background.ask()

    def pending(self) -> bool:
        return self._background.busy

    def collect(self, edge: float) -> Harvest:
        reading = self._background.take()
        if reading is not None:
            self._sampled = self._asked
        self._problem = None if reading is not None else self._why()
        gaps = (Gap(HOST, self._problem),) if self._problem else ()
        return Harvest(host=reading, gaps=gaps)

    def status(self) -> Sequence[SourceStatus]:
        state = "stale" if self._problem else "ok"
        return (SourceStatus(HOST, state, self._problem, "host", self._background.seconds, self._sampled),)

    def stop(self) -> None:
        self._background.stop()

    def _why(self) -> str:
        if self._background.busy and self._asked is not None:
            return f"the kernel has not answered for {self._clock.monotonic() - self._asked:.1f} s"
        return self._background.failure or "not sampled in this interval"
