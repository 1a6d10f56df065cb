"""Each CPU of the machine: how busy it was, and which NUMA node it belongs to.

The lines of /proc/stat are numbered as the kernel numbers its CPUs and skip those that are offline.
Guest time lies within user time, so it is not added again (Linux Documentation/filesystems/proc.rst).
"""

from __future__ import annotations

from collections.abc import Mapping

from collectors import procfs

_LIMIT = 1 << 20
_MOST = 8192

CoreTimes = Mapping[int, tuple[int, int]]
"""CPU number -> (clock ticks not idle, clock ticks) since boot."""


def core_times(root: str) -> CoreTimes | None:
    """The totals of every CPU that is online; None where /proc/stat does not tell."""
    text = procfs.read(f"{root}/proc/stat", _LIMIT)
    if text is None:
        return None
    found: dict[int, tuple[int, int]] = {}
    for line in text.splitlines()[1:]:  # the first is their sum
        if not line.startswith("cpu"):
            break
        name, *fields = line.split()
        try:
            ticks = [int(field) for field in fields[:8]]
            found[int(name[3:])] = sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        except (ValueError, IndexError):
            return None
    return found or None


def core_ratios(before: CoreTimes | None, now: CoreTimes | None) -> tuple[float | None, ...] | None:
    """Time not idle of each CPU by its number, None for one that was offline at either moment."""
    if before is None or now is None:
        return None
    ratios: list[float | None] = [None] * min(_MOST, max(now) + 1)
    for number, (busy, total) in now.items():
        was = before.get(number)
        if was is None or number >= _MOST or total <= was[1]:
            continue
        # The kernel's counters jitter by a tick, and iowait even goes back at times.
        ratios[number] = min(1.0, max(0.0, (busy - was[0]) / (total - was[1])))
    return tuple(ratios)


def numa_cpus(root: str) -> tuple[str, ...] | None:
    """The CPUs of each NUMA node in the kernel's own notation ("0-27,56-83"); memory-only nodes are left out."""
    folder = f"{root}/sys/devices/system/node"
    nodes = sorted(int(name[4:]) for name in procfs.names(folder) if name[:4] == "node" and name[4:].isdecimal())
    lists = [(procfs.read(f"{folder}/node{number}/cpulist", 4096) or "").strip() for number in nodes]
    return tuple(cpus for cpus in lists if cpus) or None


def cpu_numbers(cpulist: str) -> tuple[int, ...]:
    """The numbers of a list as the kernel writes it; empty for one that makes no sense."""
    numbers: list[int] = []
    for part in cpulist.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            return ()
        until = min(int(last or first), _MOST)
        numbers.extend(range(int(first), until + 1))
    return tuple(numbers)
