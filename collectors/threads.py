"""The busiest processes of an engine, and the busiest thread of each.

A thread at 100 % of a core is where to look when the GPU waits for the host; it proves nothing
alone, since engines' scheduler threads spin. Processes of an engine may have hundreds of threads,
so all of one process are looked at only now and then, in turn; between times only those that were
the busiest are read. Times are those of /proc/PID/stat, to the clock tick (10 ms).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from collectors import procfs
from collectors.text import clean

MOST_PROCESSES = 6
_KEPT_THREADS = 3
_SCAN_EVERY = 5
"""Looks between two full looks at some process's threads."""
_MOST_THREADS = 1024


@dataclass(frozen=True, slots=True)
class ProcessLoad:
    """One process between two looks. `cores` is CPU time per time; `thread` its busiest thread's name."""

    pid: int
    name: str
    cores: float
    thread: str | None = None
    thread_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    """A process or a thread as of one look; `started` tells a reused id."""

    name: str
    ticks: int
    started: int


@dataclass(slots=True)
class _Threads:
    """What is known of one process's threads: all as of the last full look, the busiest as of the last look."""

    started: int
    scanned: dict[int, _Task] = field(default_factory=dict)
    watched: dict[int, _Task] = field(default_factory=dict)


class ThreadMeter:
    """CPU time of processes and their threads between two looks."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._tick = os.sysconf("SC_CLK_TCK")
        self._processes: dict[int, _Task] = {}
        self._threads: dict[int, _Threads] = {}
        self._at: float | None = None
        self._looks = 0

    def busiest(self, pids: Iterable[int], now: float) -> tuple[ProcessLoad, ...]:
        """The processes that took CPU time since the last look, the busiest first; `now` is monotonic seconds.

        Empty at the first look.
        """
        before, self._processes = self._processes, self._look(pids)
        seconds, self._at = (now - self._at if self._at is not None else 0.0), now
        if seconds <= 0:
            return ()
        cores = {
            pid: (task.ticks - before[pid].ticks) / self._tick / seconds
            for pid, task in self._processes.items()
            if pid in before and before[pid].started == task.started
        }
        chosen = sorted(cores, key=lambda pid: (-cores[pid], pid))[:MOST_PROCESSES]
        busiest = self._busiest_threads(chosen, seconds)
        return tuple(
            ProcessLoad(pid, self._processes[pid].name, max(0.0, cores[pid]), *busiest.get(pid, (None, None)))
            for pid in chosen
        )

    def _look(self, pids: Iterable[int]) -> dict[int, _Task]:
        return {pid: task for pid in pids if (task := _task(f"{self._proc}/{pid}/stat")) is not None}

    def _busiest_threads(self, pids: Collection[int], seconds: float) -> dict[int, tuple[str, float]]:
        self._looks += 1
        for gone in self._threads.keys() - self._processes.keys():
            del self._threads[gone]
        turn = self._looks // _SCAN_EVERY % max(1, len(pids)) if self._looks % _SCAN_EVERY == 0 else -1
        found: dict[int, tuple[str, float]] = {}
        for number, pid in enumerate(pids):
            started = self._processes[pid].started
            threads = self._threads.get(pid)
            if threads is None or threads.started != started:
                threads = self._threads[pid] = _Threads(started)
                self._scan(pid, threads)
                continue
            best = self._watch(pid, threads, seconds)
            if best is not None:
                found[pid] = best
            if number == turn:
                self._scan(pid, threads)
        return found

    def _watch(self, pid: int, threads: _Threads, seconds: float) -> tuple[str, float] | None:
        """The busiest of the watched threads since the last look."""
        best: tuple[str, float] | None = None
        now: dict[int, _Task] = {}
        for tid, before in threads.watched.items():
            task = _task(f"{self._proc}/{pid}/task/{tid}/stat")
            if task is None or task.started != before.started:
                continue
            now[tid] = task
            ratio = min(1.0, max(0, task.ticks - before.ticks) / self._tick / seconds)
            if best is None or ratio > best[1]:
                best = (task.name, ratio)
        threads.watched = now
        return best

    def _scan(self, pid: int, threads: _Threads) -> None:
        """Looks at all threads, and watches those that took most since the last time, or ever."""
        folder = f"{self._proc}/{pid}/task"
        tids = [int(name) for name in procfs.names(folder)[:_MOST_THREADS] if name.isdecimal()]
        now = {tid: task for tid in tids if (task := _task(f"{folder}/{tid}/stat")) is not None}

        def spent(tid: int) -> int:
            before = threads.scanned.get(tid)
            return now[tid].ticks - (before.ticks if before is not None else 0)

        chosen = sorted(now, key=lambda tid: (-spent(tid), tid))[:_KEPT_THREADS]
        threads.scanned = now
        # Those watched already keep their totals of this look, so that no time is counted twice.
        threads.watched = {tid: threads.watched.get(tid, now[tid]) for tid in chosen}


def _task(path: str) -> _Task | None:
    text = procfs.read(path, 4096)
    if text is None:
        return None
    head, _, rest = text.rpartition(") ")
    fields = rest.split()
    if len(fields) < 20:
        return None
    return _Task(clean(head.partition("(")[2]), int(fields[11]) + int(fields[12]), int(fields[19]))
