"""Who listens where on this machine, from /proc/net/tcp and tcp6."""

from __future__ import annotations

import ipaddress
import socket
import sys
from dataclasses import dataclass

from collectors import procfs

_LISTEN = "0A"
_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket. `address` is as bound: 0.0.0.0 and :: mean every address."""

    address: str
    port: int
    inode: int

    @property
    def host(self) -> str:
        """What to connect to from here, ready for a URL."""
        if self.address in ("0.0.0.0", "::"):
            # A socket bound to :: takes IPv4 too, unless it was told not to, which few are.
            return "127.0.0.1"
        return f"[{self.address}]" if ":" in self.address else self.address


def listeners(proc: str = "/proc") -> tuple[Listener, ...]:
    """All listening TCP sockets of this network namespace, IPv4 first."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in (procfs.read(f"{proc}/net/{name}", _LIMIT) or "").splitlines()[1:]:
            listener = _listener(line)
            if listener is not None:
                found.append(listener)
    return tuple(found)


def _listener(line: str) -> Listener | None:
    fields = line.split()
    if len(fields) < 10 or fields[3] != _LISTEN:
        return None
    address, _, port = fields[1].partition(":")
    try:
        return Listener(_address(address), int(port, 16), int(fields[9]))
    except (ValueError, OSError):
        return None


def _address(text: str) -> str:
    """The kernel prints an address as 32-bit words in the machine's own byte order."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)
