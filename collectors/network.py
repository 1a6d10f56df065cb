"""Bytes through the physical network interfaces and the RDMA ports, as running totals.

Virtual interfaces (loopback, bridges, veth pairs, bonds) carry what a physical one carries again,
or what never leaves the machine, so they are not counted. RDMA passes the interfaces' counters by
and is counted at its ports. Inside a network namespace without a physical interface nothing is
reported.

Sources: Linux Documentation/ABI/stable/sysfs-class-infiniband (`port_rcv_data` and
`port_xmit_data` count 4-byte words), testing/sysfs-class-net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from collectors import procfs

_WORD = 4
_RELIST_SECONDS = 30.0

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

    def _list(self) -> tuple[_Port, ...]:
        ports = []
        for device in sorted(procfs.names(self._folder)):
            for port in sorted(procfs.names(f"{self._folder}/{device}/ports")):
                counters = f"{self._folder}/{device}/ports/{port}/counters"
                ports.append(_Port(f"{device}/{port}", f"{counters}/port_rcv_data", f"{counters}/port_xmit_data"))
        return tuple(ports)


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
