"""The one clock of a session, and a stand-in that tests and replays turn by hand."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

NANO = 1_000_000_000
_ONE_MOMENT_SECONDS = 0.001
_TRIES = 8

T = TypeVar("T")


class Clock(Protocol):
    """Two times and a way to wait. Everything that measures or waits asks one of these."""

    def monotonic(self) -> float:
        """Seconds that never step; for durations, ages and deadlines."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 as the machine believes; may step either way."""

    def asleep(self) -> float:
        """Seconds the machine has been suspended since it booted; `monotonic` stands still meanwhile."""

    def wait(self, until: float, event: threading.Event) -> bool:
        """Wait until `event` is set or `monotonic()` reaches `until`; whether the event is set."""


def together(read: Callable[[], T], monotonic: Callable[[], float]) -> tuple[T, float]:
    """Another clock's time and the `monotonic` one of the same moment, which is never the later.

    Somebody held up between two readings would take the pause for a clock that stepped; so they are read again.
    """
    for _ in range(_TRIES):
        moment = monotonic()
        other = read()
        if monotonic() - moment <= _ONE_MOMENT_SECONDS:
            break
    return other, moment


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ns(self) -> int:
        return time.time_ns()

    def asleep(self) -> float:
        since_boot, awake = together(lambda: time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic)
        return since_boot - awake

    def wait(self, until: float, event: threading.Event) -> bool:
        return event.wait(max(0.0, until - time.monotonic()))


class FakeClock:
    """A clock that moves only when somebody waits on it or turns it. For one thread.

    What is scheduled with `at` happens while somebody waits past that moment, in order of time, so
    that a test plays a whole session without sleeping.
    """

    def __init__(self, *, monotonic: float = 1000.0, wall_ns: int = 1_700_000_000 * NANO) -> None:
        self._monotonic = monotonic
        self._wall_offset = wall_ns - round(monotonic * NANO)
        self._asleep = 0.0
        self._scheduled: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self._monotonic

    def wall_ns(self) -> int:
        return round(self._monotonic * NANO) + self._wall_offset

    def asleep(self) -> float:
        return self._asleep

    def wait(self, until: float, event: threading.Event) -> bool:
        while not event.is_set() and self._scheduled and self._scheduled[0][0] <= until:
            moment, _, action = heapq.heappop(self._scheduled)
            self._monotonic = max(self._monotonic, moment)
            action()
        if not event.is_set():
            self._monotonic = max(self._monotonic, until)
        return event.is_set()

    def at(self, monotonic: float, action: Callable[[], None]) -> None:
        """Have `action` happen at that moment, or at the next wait when it has passed."""
        heapq.heappush(self._scheduled, (monotonic, next(self._order), action))

    def advance(self, seconds: float) -> None:
        """Time passes without anybody waiting: the sampler was held up."""
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the machine's clock, forwards or backwards."""
        self._wall_offset += round(seconds * NANO)

    def sleep_machine(self, seconds: float) -> None:
        """The machine is suspended: the wall clock goes on, the monotonic one does not."""
        self._asleep += seconds
        self.step_wall(seconds)
