"""Bytes through the physical network interfaces and the RDMA ports, as running totals.

Virtual interfaces (loopback, bridges, veth pairs, bonds) carry what a physical one carries again,
or what never leaves the machine, so they are not counted. RDMA passes the interfaces' counters by
and is counted at its ports. Inside a network namespace without a physical interface nothing is
reported.

Sources: Linux Documentation/ABI/stable/sysfs-class-infiniband (`port_rcv_data` and
`port_xmit_data` count 4-byte words; `rate` as in "400 Gb/sec (4X NDR)"), testing/sysfs-class-net
(`speed` in Mb/s).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from collectors import procfs
from collectors.text import clean

_WORD = 4
_RELIST_SECONDS = 30.0
_MOST_LINKS = 64
_MEGABIT, _GIGABIT = 1e6 / 8, 1e9 / 8

Totals = Mapping[str, tuple[int, int]]
"""Interface, port or disk -> (received or read, sent or written) bytes since it came up."""


class InterfaceCounters(Protocol):
    @property
    def bytes_recv(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...


def physical(folder: str, name: str) -> bool:
    """Whether an entry of /sys/class/net or /sys/block stands for a piece of hardware."""
    return Path(f"{folder}/{name}/device").exists()


class Interfaces:
    """Totals of the physical network interfaces."""

    def __init__(self, counters: Callable[[], Mapping[str, InterfaceCounters]], sys: str = "/sys") -> None:
        self._counters = counters
        self._folder = f"{sys}/class/net"
        self._physical: dict[str, bool] = {}

    def totals(self) -> Totals:
        counters = self._counters()
        for name in counters.keys() - self._physical.keys():
            self._physical[name] = physical(self._folder, name)
        for name in self._physical.keys() - counters.keys():
            del self._physical[name]
        return {name: (c.bytes_recv, c.bytes_sent) for name, c in counters.items() if self._physical[name]}

    def speed(self, name: str) -> float | None:
        """Bytes/s of an interface's link; None where it is down or does not tell."""
        megabits = procfs.number(f"{self._folder}/{name}/speed")
        return megabits * _MEGABIT if megabits is not None and megabits > 0 else None


@dataclass(frozen=True, slots=True)
class _Port:
    name: str
    received: str
    sent: str


class RdmaPorts:
    """Totals of the InfiniBand and RoCE ports."""

    def __init__(self, monotonic: Callable[[], float], sys: str = "/sys") -> None:
        self._monotonic = monotonic
        self._folder = f"{sys}/class/infiniband"
        self._ports: tuple[_Port, ...] = ()
        self._listed: float | None = None

    def totals(self) -> Totals:
        now = self._monotonic()
        if self._listed is None or now - self._listed >= _RELIST_SECONDS:
            self._ports, self._listed = self._list(), now
        found: dict[str, tuple[int, int]] = {}
        for port in self._ports:
            received, sent = procfs.number(port.received), procfs.number(port.sent)
            if received is not None and sent is not None:
                found[port.name] = (received * _WORD, sent * _WORD)
        return found

    def speed(self, name: str) -> float | None:
        """Bytes/s of a port's link."""
        device, _, port = name.partition("/")
        number, _, unit = (procfs.read(f"{self._folder}/{device}/ports/{port}/rate", 64) or "").partition(" ")
        try:
            return float(number) * _GIGABIT if unit.startswith("Gb/sec") and float(number) > 0 else None
        except ValueError:
            return None

    def _list(self) -> tuple[_Port, ...]:
        ports = []
        for device in sorted(procfs.names(self._folder)):
            for port in sorted(procfs.names(f"{self._folder}/{device}/ports")):
                counters = f"{self._folder}/{device}/ports/{port}/counters"
                ports.append(_Port(f"{device}/{port}", f"{counters}/port_rcv_data", f"{counters}/port_xmit_data"))
        return tuple(ports)


@dataclass(frozen=True, slots=True)
class Flows:
    """Several links side by side: their names, speeds in bytes/s, and bytes received and sent."""

    names: tuple[str, ...]
    speeds: tuple[float | None, ...]
    received: tuple[float | None, ...]
    sent: tuple[float | None, ...]


class Links:
    """What went over each link between two totals; link speeds are asked for now and then."""

    def __init__(self, speed: Callable[[str], float | None], monotonic: Callable[[], float]) -> None:
        self._speed = speed
        self._monotonic = monotonic
        self._speeds: dict[str, float | None] = {}
        self._asked: float | None = None

    def flows(self, before: Totals | None, now: Totals | None) -> Flows | None:
        """None where there is no link; bytes are None for one that was not there before or whose total went back."""
        if not now:
            return None
        names = tuple(sorted(now)[:_MOST_LINKS])
        moment = self._monotonic()
        if self._asked is None or moment - self._asked >= _RELIST_SECONDS or self._speeds.keys() != set(names):
            self._speeds, self._asked = {name: self._speed(name) for name in names}, moment
        received, sent = zip(*(_link_change((before or {}).get(name), now[name]) for name in names), strict=True)
        return Flows(tuple(clean(name) for name in names), tuple(self._speeds[name] for name in names), received, sent)


def _link_change(before: tuple[int, int] | None, now: tuple[int, int]) -> tuple[float | None, float | None]:
    if before is None:
        return None, None
    first, second = now[0] - before[0], now[1] - before[1]
    return (float(first), float(second)) if first >= 0 and second >= 0 else (None, None)


def change(before: Totals | None, now: Totals | None) -> tuple[float, float] | None:
    """Bytes between two totals; None without anything in both, or where a total went back.

    An interface that came up in between counts from its next reading on.
    """
    if before is None or now is None:
        return None
    first = second = 0
    shared = before.keys() & now.keys()
    for name in shared:
        a, b = now[name][0] - before[name][0], now[name][1] - before[name][1]
        if a < 0 or b < 0:
            return None
        first, second = first + a, second + b
    return (float(first), float(second)) if shared else None
