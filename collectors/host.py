"""The machine itself, once an interval: CPU, memory, pressure, network and disk.

Every amount is a difference of running totals kept here, so it covers exactly the time between two
samples; nobody else's reading of the same totals disturbs it. A piece that cannot be read is
missing alone. One sample costs well under a millisecond: no sensors, no process scan.

Pressure is the change of a PSI file's `total` over the change of the clock, not its moving
averages (Linux Documentation/accounting/psi.rst). Throttling is the share of the scheduler's
periods (100 ms by default) in which the group ran out of quota: `throttled_usec` adds up over
CPUs and can exceed the time that passed.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from collectors import cgroup, procfs
from collectors.clock import Clock
from collectors.cores import CoreTimes, core_ratios, core_times, numa_cpus
from collectors.network import Flows, Interfaces, Links, RdmaPorts, Totals, change, physical
from collectors.readings import HostReading
from collectors.text import clean

T = TypeVar("T")

_SWAP = re.compile(r"^Swap(Total|Free):\s+(\d+) kB$", re.MULTILINE)
_PRESSURES = ("cpu", "memory", "io")
_NOT_COUNTED = ("guest", "guest_nice")
"""Already inside user and nice."""


class System(Protocol):
    """The part of psutil that is used here; a test puts its own in place."""

    def cpu_count(self) -> int | None: ...
    def cpu_times(self, percpu: bool) -> Any: ...
    def virtual_memory(self) -> Any: ...
    def swap_memory(self) -> Any: ...
    def net_io_counters(self, pernic: bool, nowrap: bool) -> Any: ...
    def disk_io_counters(self, perdisk: bool, nowrap: bool) -> Any: ...
    def getloadavg(self) -> tuple[float, float, float]: ...


@dataclass(frozen=True, slots=True)
class _Cpu:
    """CPU seconds since boot, summed over the CPUs in question."""

    total: float
    idle: float
    iowait: float
    steal: float


@dataclass(frozen=True, slots=True)
class _Totals:
    """Everything that is counted up, at one moment."""

    at: float
    cpu: _Cpu | None
    group: cgroup.CpuCount | None
    cores: CoreTimes | None
    pressure: Mapping[str, tuple[int, int | None]]
    network: Totals | None
    rdma: Totals | None
    disk: Totals | None


class Host:
    """Samples the machine. Not for several threads at once."""

    def __init__(
        self,
        clock: Clock,
        *,
        system: System | None = None,
        root: str = "/",
        cpus: Callable[[], Collection[int]] = lambda: os.sched_getaffinity(0),
        name: str | None = None,
    ) -> None:
        if system is None:
            import psutil

            system = psutil
        self._clock = clock
        self._system = system
        self._root = root.rstrip("/")
        self._cpus = cpus
        self._machine_cpus = system.cpu_count() or 1
        self._name = clean(name or socket.gethostname())
        self._limits = cgroup.find_limits(root)
        self._pressure_files = {resource: self._pressure_file(resource) for resource in _PRESSURES}
        sys = f"{self._root}/sys"
        self._interfaces = Interfaces(lambda: system.net_io_counters(pernic=True, nowrap=False) or {}, sys)
        self._rdma = RdmaPorts(clock.monotonic, sys)
        self._links = Links(self._interfaces.speed, clock.monotonic)
        self._rdma_links = Links(self._rdma.speed, clock.monotonic)
        self._numa = numa_cpus(self._root)
        self._disks: dict[str, bool] = {}
        self._before: _Totals | None = None

    def sample(self) -> HostReading:
        """Gauges now, and what was counted since the sample before; the first has no amounts."""
        now = self._totals()
        before, self._before = self._before, now
        memory = _try(self._memory)
        swap = _try(self._swap)
        limits = self._limits
        load = _try(lambda: self._system.getloadavg()[0])
        fields: dict[str, Any] = {
            "cpu_cores": _try(self._cores),
            "load_1m": load,
            "memory_used_bytes": memory[0] if memory else None,
            "memory_total_bytes": memory[1] if memory else None,
            "swap_used_bytes": swap[0] if swap else None,
            "swap_total_bytes": swap[1] if swap else None,
            "cpu_quota_cores": limits.cores if limits is not None else None,
            "memory_limit_bytes": self._memory_limit(),
            "numa_cpus": self._numa,
        }
        if before is not None and now.at > before.at:
            fields |= self._amounts(before, now)
        return HostReading(name=self._name, **fields)

    def _totals(self) -> _Totals:
        return _Totals(
            at=self._clock.monotonic(),
            cpu=_try(self._cpu),
            group=cgroup.cpu_count(self._limits) if self._limits is not None and self._limits.cpu else None,
            cores=_try(lambda: core_times(self._root)),
            pressure={r: total for r, path in self._pressure_files.items() if (total := _pressure(path)) is not None},
            network=_try(self._interfaces.totals),
            rdma=_try(self._rdma.totals),
            disk=_try(self._disk),
        )

    def _amounts(self, before: _Totals, now: _Totals) -> dict[str, Any]:
        seconds = now.at - before.at
        network, rdma, disk = (
            change(before.network, now.network), change(before.rdma, now.rdma), change(before.disk, now.disk)
        )  # fmt: skip
        fields: dict[str, Any] = {
            "window_seconds": seconds,
            **_cpu_ratios(before.cpu, now.cpu),
            **self._group_ratios(before.group, now.group, seconds),
            "network_receive_bytes": network[0] if network else None,
            "network_transmit_bytes": network[1] if network else None,
            "rdma_receive_bytes": rdma[0] if rdma else None,
            "rdma_transmit_bytes": rdma[1] if rdma else None,
            "disk_read_bytes": disk[0] if disk else None,
            "disk_write_bytes": disk[1] if disk else None,
            "cpu_core_ratios": core_ratios(before.cores, now.cores),
            **_flow_fields("network_interface", self._links.flows(before.network, now.network)),
            **_flow_fields("rdma_port", self._rdma_links.flows(before.rdma, now.rdma)),
        }
        for resource in _PRESSURES:
            if resource in before.pressure and resource in now.pressure:
                earlier, later = before.pressure[resource], now.pressure[resource]
                fields[f"{resource}_pressure_ratio"] = _ratio((later[0] - earlier[0]) / 1e6, seconds)
                # Of a whole machine "full" is not defined for the CPU: the kernel writes 0 there.
                told = resource != "cpu" or self._pressure_files[resource] != self._machine_pressure_file(resource)
                if told and earlier[1] is not None and later[1] is not None:
                    fields[f"{resource}_pressure_full_ratio"] = _ratio((later[1] - earlier[1]) / 1e6, seconds)
        return fields

    def _cpu(self) -> _Cpu:
        # One line for all CPUs is much cheaper than one for each; they are needed only where some are not ours.
        mine = self._cpus()
        if len(mine) >= self._machine_cpus:
            return _summed([self._system.cpu_times(percpu=False)])
        each = self._system.cpu_times(percpu=True)
        return _summed([times for number, times in enumerate(each) if number in mine] or each)

    def _cores(self) -> float:
        cores = float(len(self._cpus()))
        quota = self._limits.cores if self._limits is not None else None
        return cores if quota is None else min(cores, quota)

    def _group_ratios(
        self, before: cgroup.CpuCount | None, now: cgroup.CpuCount | None, seconds: float
    ) -> dict[str, float | None]:
        """Under a quota: CPU time used of the quota, and periods throttled of all periods."""
        if before is None or now is None:
            return {}
        fields: dict[str, float | None] = {"cpu_ratio": None}
        if now.used_seconds is not None and before.used_seconds is not None:
            fields["cpu_ratio"] = _ratio(now.used_seconds - before.used_seconds, seconds * self._cores())
        if None not in (now.periods, before.periods, now.throttled, before.throttled):
            periods = (now.periods or 0) - (before.periods or 0)
            throttled = (now.throttled or 0) - (before.throttled or 0)
            # A group that did not run has no periods; nothing held it back either.
            fields["cpu_throttled_ratio"] = _ratio(throttled, periods) if periods else 0.0
        return fields

    def _memory(self) -> tuple[float, float]:
        """(used, total) bytes."""
        memory = self._system.virtual_memory()
        limit = self._limits.memory_limit if self._limits is not None else None
        if self._limits is not None and limit is not None and limit < memory.total:
            used = cgroup.memory_used(self._limits)
            if used is not None:
                return float(used), float(limit)
        return float(memory.total - memory.available), float(memory.total)

    def _swap(self) -> tuple[float, float]:
        """(used, total) bytes."""
        text = procfs.read(f"{self._root}/proc/meminfo")
        found = dict(_SWAP.findall(text)) if text is not None else {}
        if len(found) == 2:  # psutil also sums up the pages of every node that went in and out, at four times the cost
            total = 1024.0 * int(found["Total"])
            return total - 1024.0 * int(found["Free"]), total
        swap = self._system.swap_memory()
        return float(swap.used), float(swap.total)

    def _memory_limit(self) -> float | None:
        limit = self._limits.memory_limit if self._limits is not None else None
        return None if limit is None else float(limit)

    def _disk(self) -> Totals:
        """Whole physical disks: partitions and device-mapper volumes carry the same bytes again."""
        counters = self._system.disk_io_counters(perdisk=True, nowrap=False) or {}
        for name in counters.keys() - self._disks.keys():
            self._disks[name] = physical(f"{self._root}/sys/block", name)
        return {name: (c.read_bytes, c.write_bytes) for name, c in counters.items() if self._disks[name]}

    def _pressure_file(self, resource: str) -> str:
        own = cgroup.pressure_file(self._limits, resource) if self._limits is not None else None
        return own or self._machine_pressure_file(resource)

    def _machine_pressure_file(self, resource: str) -> str:
        return f"{self._root}/proc/pressure/{resource}"


def _summed(times: list[Any]) -> _Cpu:
    """Totals of some CPUs' times as psutil gives them."""

    def total(*names: str) -> float:
        return sum(getattr(one, name, 0.0) for one in times for name in names)

    counted = [name for name in times[0]._fields if name not in _NOT_COUNTED]
    return _Cpu(total(*counted), total("idle", "iowait"), total("iowait"), total("steal"))


def _cpu_ratios(before: _Cpu | None, now: _Cpu | None) -> dict[str, float | None]:
    if before is None or now is None or now.total <= before.total:
        return {}
    total = now.total - before.total
    return {
        "cpu_ratio": _ratio(total - (now.idle - before.idle), total),
        "cpu_iowait_ratio": _ratio(now.iowait - before.iowait, total),
        "cpu_steal_ratio": _ratio(now.steal - before.steal, total),
    }


def _ratio(part: float, whole: float) -> float | None:
    """Between 0 and 1. The kernel's counters jitter by a tick, iowait even goes back at times."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def _pressure(path: str) -> tuple[int, int | None] | None:
    """Microseconds some task waited, and those all did, from a PSI file's two lines."""
    text = procfs.read(path, 512)
    if text is None or not text.startswith("some "):
        return None
    some, _, rest = text.partition("\n")
    total = some.rpartition("total=")[2]
    full = rest.partition("\n")[0].rpartition("total=")[2] if rest.startswith("full ") else ""
    return (int(total), int(full) if full.isdecimal() else None) if total.isdecimal() else None


def _flow_fields(name: str, flows: Flows | None) -> dict[str, Any]:
    if flows is None:
        return {}
    return {
        f"{name}s": flows.names,
        f"{name}_speeds": flows.speeds,
        f"{name}_receive_bytes": flows.received,
        f"{name}_transmit_bytes": flows.sent,
    }


def _try(read: Callable[[], T]) -> T | None:
    """What `read` gives; None where this machine or these rights do not let it be read."""
    try:
        return read()
    except (OSError, RuntimeError, NotImplementedError, AttributeError, KeyError, IndexError, ValueError):
        return None
