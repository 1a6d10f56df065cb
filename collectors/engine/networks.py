"""Network namespaces of other processes, seen from outside: whether they differ, their addresses, who listens there.

A container's engine listens in a network of its own. `/proc/PID/net` shows that network to anybody,
without entering it. Whether it can be reached from here is told by this network's own routes: only
addresses that are directly linked are taken, because the same address beyond a gateway is somebody
else's.

Sources: proc(5), network_namespaces(7), Linux net/ipv4/fib_trie.c.
"""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from collectors import procfs
from collectors.processes import Process

_CONTAINER_ID = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)
_SHOWN_DIGITS = 12
_LIMIT = 1 << 20


def network_of(proc: str, pid: int | str) -> int | None:
    """What tells one network namespace from another; None when it cannot be seen.

    Each namespace has files of its own under /proc/PID/net; their inodes take no rights to look at,
    as /proc/PID/ns/net does.
    """
    try:
        return os.stat(f"{proc}/{pid}/net/tcp").st_ino  # noqa: PTH116 (one a process)
    except OSError:
        return None


def is_elsewhere(proc: str, pid: int) -> bool:
    """Whether a process is in another network namespace than this one."""
    there, here = network_of(proc, pid), network_of(proc, "self")
    return there is not None and here is not None and there != here


def addresses_of(proc: str, pid: int) -> tuple[str, ...]:
    """The IPv4 addresses of a process's network namespace, without loopback."""
    found: dict[str, None] = {}
    address = ""
    for line in (procfs.read(f"{proc}/{pid}/net/fib_trie", _LIMIT) or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "|--":
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"] and not address.startswith("127."):
            found[address] = None
    return tuple(one for one in found if _is_address(one))


def is_linked(proc: str, address: str) -> bool:
    """Whether an IPv4 address is directly linked to this machine's network: no gateway in between."""
    wanted = int(ipaddress.IPv4Address(address))
    best = max(
        ((mask, gateway) for target, gateway, mask in _routes(proc) if wanted & mask == target),
        default=None,
        key=lambda route: route[0],
    )
    return best is not None and best[1] == 0


def _routes(proc: str) -> Iterator[tuple[int, int, int]]:
    """(target, gateway, mask) of each route that is up."""
    for line in (procfs.read(f"{proc}/net/route", _LIMIT) or "").splitlines()[1:]:
        fields = line.split()
        try:
            if len(fields) >= 8 and int(fields[3], 16) & 1:
                yield _host_order(fields[1]), _host_order(fields[2]), _host_order(fields[7])
        except ValueError:
            continue


def _host_order(word: str) -> int:
    """The file prints an address's four bytes as one number of the machine's own byte order."""
    return int(struct.unpack("!I", struct.pack("=I", int(word, 16)))[0])


def container_of(proc: str, pid: int | str) -> str | None:
    """The short id of the container a process runs in, as `docker ps` and `crictl ps` show it."""
    found = _CONTAINER_ID.search(procfs.read(f"{proc}/{pid}/cgroup") or "")
    return found[1][:_SHOWN_DIGITS] if found else None


@dataclass(frozen=True, slots=True)
class Published:
    """A container's port that Docker serves on this machine's own addresses."""

    host_port: int
    address: str
    port: int


def published_ports(processes: Mapping[int, Process]) -> tuple[Published, ...]:
    """What the `docker-proxy` processes say on their command lines that they forward."""
    found = []
    for process in processes.values():
        arguments = process.arguments
        if arguments[0].rpartition("/")[2] != "docker-proxy":
            continue
        options = {name.lstrip("-"): value for name, value in pairwise(arguments)}
        try:
            ports = int(options["host-port"]), int(options["container-port"])
        except (KeyError, ValueError):
            continue
        if options.get("proto", "tcp") == "tcp":
            found.append(Published(ports[0], options.get("container-ip", ""), ports[1]))
    return tuple(dict.fromkeys(found))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
