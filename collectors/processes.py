"""Processes: whose child each is, what was started how, and the CPU time of a set of them.

Made to be cheap on a host with thousands of processes: what a process is gets read while it is
young and now and then, not at every look. Command lines stay inside this module and its callers
for recognising engines; they carry keys and must pass `masked()` before anybody sees them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from collectors import procfs

_YOUNG_LOOKS = 3
"""A process is looked at again this many times: between fork and exec it still has its parent's command line."""
_REREAD_EVERY = 24
"""Looks after which everything is read anew: programs rename themselves, and process ids come round."""
_ARGUMENTS_LIMIT = 1 << 15
_ENVIRONMENT_LIMIT = 1 << 18


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    arguments: tuple[str, ...]


class ProcessTable:
    """All processes, as of the last `refresh`."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._known: dict[int, Process] = {}
        self._looks: dict[int, int] = {}
        self._turn = 0

    def refresh(self) -> Mapping[int, Process]:
        """Look again. Kernel threads and processes that may not be read are left out."""
        self._turn += 1
        pids = {int(name) for name in procfs.names(self._proc) if name.isdecimal()}
        for gone in self._looks.keys() - pids:
            del self._looks[gone]
            self._known.pop(gone, None)
        for pid in pids:
            looks = self._looks.get(pid, 0)
            if looks < _YOUNG_LOOKS or (pid + self._turn) % _REREAD_EVERY == 0:
                self._looks[pid] = looks + 1
                self._read(pid)
        return self._known

    def _read(self, pid: int) -> None:
        process = read_process(self._proc, pid)
        if process is None:
            self._known.pop(pid, None)
        else:
            self._known[pid] = process


def read_process(proc: str, pid: int) -> Process | None:
    """None for a kernel thread, a zombie, and a process that is gone or hidden."""
    line = procfs.read(f"{proc}/{pid}/cmdline", _ARGUMENTS_LIMIT)
    status = _stat(proc, pid) if line else None
    if not line or status is None:
        return None
    # A program that renames itself leaves one string, padded with NULs or not ended by one.
    return Process(pid, int(status[1]), tuple(line.rstrip("\0").split("\0")))


def ancestors(processes: Mapping[int, Process], pid: int) -> frozenset[int]:
    """The processes this one descends from, as far as they are known, without itself.

    What is known of a process may be older than its id's present use, so parents can form a circle.
    """
    found: set[int] = set()
    process = processes.get(pid)
    while process is not None and process.parent not in found and process.parent != pid:
        found.add(process.parent)
        process = processes.get(process.parent)
    return frozenset(found)


def descendants(processes: Mapping[int, Process], root: int) -> frozenset[int]:
    """The process and everything it started, directly or not."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    left = [root]
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left.extend(children.get(pid, ()))
    return frozenset(found)


class CpuMeter:
    """CPU time of a set of processes between two looks.

    A process that appears counts from its first look on, one that ended up to its last: at most
    the time between two looks is lost.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._tick = os.sysconf("SC_CLK_TCK")
        self._before: dict[int, tuple[int, int]] = {}

    def seconds(self, pids: Iterable[int]) -> float | None:
        """Since the last look; None when none of them was seen both then and now.

        User and system time of all their threads, to the clock tick (10 ms).
        """
        now = {pid: total for pid in pids if (total := self._total(pid)) is not None}
        before, self._before = self._before, now
        shared = [pid for pid, (_, started) in now.items() if pid in before and before[pid][1] == started]
        if not shared:
            return None
        return sum(max(0, now[pid][0] - before[pid][0]) for pid in shared) / self._tick

    def _total(self, pid: int) -> tuple[int, int] | None:
        """(clock ticks used, clock tick it started in): the second tells a reused process id."""
        fields = _stat(self._proc, pid)
        return (int(fields[11]) + int(fields[12]), int(fields[19])) if fields is not None else None


def sockets_of(proc: str, pids: Collection[int]) -> frozenset[int] | None:
    """Inodes of the sockets these processes hold; None when not one of them lets itself be looked into."""
    inodes: set[int] = set()
    readable = False
    for pid in pids:
        folder = f"{proc}/{pid}/fd"
        for name in procfs.names(folder):
            readable = True
            try:
                target = os.readlink(f"{folder}/{name}")  # noqa: PTH115 (thousands of them)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return frozenset(inodes) if readable else None


def environment_of(proc: str, pid: int, names: Collection[str]) -> dict[str, str]:
    """Some variables a process was started with; none when that may not be read. The others never leave here."""
    found: dict[str, str] = {}
    for entry in (procfs.read(f"{proc}/{pid}/environ", _ENVIRONMENT_LIMIT) or "").split("\0") if names else ():
        name, equals, value = entry.partition("=")
        if equals and name in names:
            found[name] = value
    return found


def _stat(proc: str, pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the program's name, which may hold blanks and brackets."""
    text = procfs.read(f"{proc}/{pid}/stat", 4096)
    if text is None:
        return None
    fields = text.rpartition(") ")[2].split()
    return fields if len(fields) >= 20 else None
