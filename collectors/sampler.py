"""One clock, whole intervals, and whatever the sources have for each of them.

Intervals lie between whole multiples of their length on the wall clock, so that those of several
machines coincide. At each edge every source is asked; the interval that ended there is handed on
as soon as all have answered, or at a deadline without those that have not. Where the clock steps,
the machine sleeps or the sampler itself is held up, intervals are left out and the next one says
why; none is ever made longer, cut short or invented to fill the hole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from collectors.clock import NANO, Clock, SystemClock, together
from collectors.events import CLOCK
from collectors.model import Gap, GpuProcess, Interval
from collectors.ownership import assign_gpus
from collectors.readings import EngineReading, GpuReading, HostReading, rounded
from collectors.sources import Harvest, Source, SourceStatus
from collectors.text import clean

T = TypeVar("T")

SAMPLER = "sampler"
"""The gap source of intervals that were missed because nobody could measure."""

_PATIENCE = 0.25
"""The share of an interval that is waited for late answers."""
_PATIENCE_LIMIT_SECONDS = 2.0
_LEAD_NS = 5_000_000
_FIRST_NAP_SECONDS = 0.004
_LONGEST_NAP_SECONDS = 0.064
_SHORTEST = 0.5
"""The share of an interval that must have passed since the last edge for the next to count."""
_STEP_TOLERANCE = 0.1
_STEP_TOLERANCE_LIMIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Edge:
    """A whole multiple of the interval as it passed: wall time in ns, and when that was in monotonic seconds."""

    wall: int
    monotonic: float
    asleep: float


class Sampler:
    """Runs in a thread of its own and calls `deliver` there, in order."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        interval: float,
        deliver: Callable[[Interval], None],
        clock: Clock | None = None,
        engine_gpus: Mapping[str, tuple[str, ...]] | None = None,
        patience: float | None = None,
    ) -> None:
        """`interval` is in seconds; `engine_gpus` are the configured GPUs of endpoints, by URL.

        `patience` is how many seconds late answers are waited for; by default a quarter of the
        interval, two seconds at most.
        """
        self._sources = tuple(sources)
        self._length = round(interval * NANO)
        if self._length <= 0:
            raise ValueError(f"an interval of {interval:g} s is not positive")
        self._deliver = deliver
        self._clock = clock or SystemClock()
        self._engine_gpus = engine_gpus or {}
        self._offset = 0
        self._stopping = threading.Event()
        self._arrived = threading.Event()
        self._thread: threading.Thread | None = None
        self._last: _Edge | None = None
        self._sequence = 0
        self._patience = min(interval * _PATIENCE, _PATIENCE_LIMIT_SECONDS) if patience is None else patience
        self._started = False
        self._failures: dict[str, str] = {}
        self._resumed: tuple[int, str] | None = None

    def start(self) -> None:
        """Begin in a new thread; returns at once."""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def continue_after(self, other: Sampler, reason: str) -> None:
        """Take the place of one that was stopped: sequence numbers go on, and `reason` says why time is missing."""
        self._sequence = other._sequence
        if other._last is not None:
            self._resumed = (other._last.wall, reason)

    def stop(self, timeout: float = 1.0) -> None:
        """End, and let the sources end. Waits `timeout` seconds at most for the interval in hand."""
        self._stopping.set()
        self._arrived.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        for source in self._sources:
            source.stop()

    def status(self) -> list[SourceStatus]:
        """One line for each source, and for each of its parts where it has several."""
        return [line for source in self._sources for line in source.status()]

    def start_sources(self) -> None:
        """Start the sources and have them take their first look. `start` does this in its thread."""
        if not self._started:
            self._started = True
            for source in self._sources:
                self._guard(source, partial(source.start, self._arrived))

    def warm_up(self, seconds: float) -> None:
        """Ask everything once and wait for the answers, `seconds` at most: connections stand after that."""
        self.start_sources()
        now = self._clock.monotonic()
        self._request(now)
        self._await(now + seconds)

    def align_to_now(self) -> None:
        """Have the first edge in a moment instead of at a whole multiple: for one interval, measured at once."""
        self._offset = (self._clock.wall_ns() + _LEAD_NS) % self._length

    def step(self) -> bool:
        """Wait for the next edge and hand on the interval that ends there; False when told to stop.

        The first edge only gives everything that is counted something to count from.
        """
        self.start_sources()
        edge = self._next_edge()
        if edge is None:
            return False
        self._request(edge.monotonic)
        self._await(edge.monotonic + self._patience)
        if self._stopping.is_set():
            return False
        harvests = [self._collect(source, edge) for source in self._sources]
        last, self._last = self._last, edge
        if last is not None:
            self._sequence += 1
            self._deliver(self._interval(last, edge, harvests))
        return True

    def _run(self) -> None:
        while self.step():
            pass

    # -- time

    def _next_edge(self) -> _Edge | None:
        clock, length, last = self._clock, self._length, self._last
        wall = clock.wall_ns()
        target = last.wall + length if last is not None else self._floor(wall) + length
        expected = last.monotonic + length / NANO if last is not None else float("-inf")
        while not self._stopping.is_set():
            wall, monotonic = together(clock.wall_ns, clock.monotonic)
            if target - wall > length:  # the clock stepped back: start over from what it says now
                target, expected = self._floor(wall) + length, float("-inf")
            if wall < target:
                clock.wait(monotonic + (target - wall) / NANO, self._stopping)
                continue
            edge = self._floor(wall)
            # When late, the edge was a little while ago; but a clock that stepped forward says nothing of that.
            passed = min(monotonic, max(monotonic - (wall - edge) / NANO, expected + (edge - target) / NANO))
            if last is None or passed - last.monotonic >= length / NANO * _SHORTEST:
                return _Edge(edge, passed, clock.asleep())
            # A step forward brought the next edge too soon after the last for anything to be measured in between.
            target, expected = edge + length, float("-inf")
        return None

    def _floor(self, wall: int) -> int:
        return wall - (wall - self._offset) % self._length

    # -- the sources

    def _request(self, edge: float) -> None:
        self._failures.clear()
        for source in self._sources:
            self._guard(source, partial(source.request, edge))

    def _await(self, deadline: float) -> None:
        """Wait for the sources, but not beyond the deadline."""
        nap = _FIRST_NAP_SECONDS
        while not self._stopping.is_set():
            self._arrived.clear()
            if not any(self._guard(source, source.pending) for source in self._sources):
                return
            now = self._clock.monotonic()
            if now >= deadline:
                return
            # Not every source can wake us, so we also look by ourselves, ever less often.
            self._clock.wait(min(deadline, now + nap), self._arrived)
            nap = min(nap * 2, _LONGEST_NAP_SECONDS)

    def _collect(self, source: Source, edge: _Edge) -> Harvest:
        harvest = self._guard(source, partial(source.collect, edge.monotonic)) or Harvest()
        failure = self._failures.get(source.name)
        return harvest if failure is None else replace(harvest, gaps=(*harvest.gaps, Gap(source.name, failure)))

    def _guard(self, source: Source, call: Callable[[], T]) -> T | None:
        """What the call gives. A source that raises fails alone, and is asked again at the next edge."""
        try:
            return call()
        except Exception as error:  # of any kind: the others must go on
            self._failures[source.name] = clean(f"failed: {type(error).__name__}: {error}")
            return None

    # -- the interval

    def _interval(self, last: _Edge, edge: _Edge, harvests: Sequence[Harvest]) -> Interval:
        gap = self._hole(last, edge)
        seconds = edge.monotonic - last.monotonic
        if edge.wall != last.wall + self._length:
            # What lies before this interval's start is not part of it.
            seconds = min(seconds, self._length / NANO)
        host, gpus, engines = self._readings(harvests)
        gaps = tuple(gap for harvest in harvests for gap in harvest.gaps)
        resumed, self._resumed = self._resumed, None
        if resumed is not None and (missing := (edge.wall - self._length - resumed[0]) / NANO) > 0:
            gaps = (Gap(SAMPLER, f"{missing:g} s were not measured: {resumed[1]}"), *gaps)
        return Interval(
            sequence=self._sequence,
            start=edge.wall - self._length,
            end=edge.wall,
            duration=round(seconds, 6),
            host=host,
            gpus={reading.uuid: reading for reading in gpus},
            engines={reading.key: reading for reading in engines},
            gaps=gaps if gap is None else (gap, *gaps),
            gpu_processes=_with_engines(harvests),
        )

    def _readings(
        self, harvests: Sequence[Harvest]
    ) -> tuple[HostReading | None, list[GpuReading], list[EngineReading]]:
        hosts = [harvest.host for harvest in harvests if harvest.host is not None]
        gpus = [rounded(reading) for harvest in harvests for reading in harvest.gpus]
        engines = assign_gpus(
            [reading for harvest in harvests for reading in harvest.engines],
            gpus,
            processes={pid: uuids for harvest in harvests for pid, uuids in harvest.processes.items()},
            trees={url: pids for harvest in harvests for url, pids in harvest.trees.items()},
            configured=self._engine_gpus,
        )
        return rounded(hosts[0]) if hosts else None, gpus, [rounded(reading) for reading in engines]

    def _hole(self, last: _Edge, edge: _Edge) -> Gap | None:
        """Why intervals are missing before this one, or why its wall time is not what passed."""
        slept = edge.asleep - last.asleep
        stepped = (edge.wall - last.wall) / NANO - (edge.monotonic - last.monotonic) - slept
        tolerance = min(self._length / NANO * _STEP_TOLERANCE, _STEP_TOLERANCE_LIMIT_SECONDS)
        if slept > tolerance:
            return Gap(CLOCK, f"the machine slept for {slept:.1f} s")
        if stepped > tolerance:
            return Gap(CLOCK, f"the clock stepped forward by {stepped:.1f} s")
        if stepped < -tolerance:
            return Gap(CLOCK, f"the clock stepped back by {-stepped:.1f} s")
        missed = (edge.wall - last.wall) // self._length - 1
        if missed > 0:
            plural = "s" if missed > 1 else ""
            return Gap(SAMPLER, f"{missed} interval{plural} missed: the machine gave this program no time")
        return None


def _with_engines(harvests: Sequence[Harvest]) -> Mapping[str, tuple[GpuProcess, ...]]:
    """The processes on each GPU, each with the page of the engine whose it is."""
    engines = {pid: url for harvest in harvests for url, pids in harvest.trees.items() for pid in pids}
    return {
        uuid: tuple(replace(process, engine=engines.get(process.pid)) for process in processes)
        for harvest in harvests
        for uuid, processes in harvest.gpu_processes.items()
    }
