"""Who listens where on this machine.

The kernel is asked over netlink for listening sockets alone: /proc/net/tcp makes it walk its table
of every connection, milliseconds even on a quiet host. Where netlink gives nothing (some sandboxes)
the file is read after all.

Sources: sock_diag(7), Linux include/uapi/linux/inet_diag.h, proc_net_tcp.rst.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from collectors import procfs

_LISTEN = 10
_FILE_LIMIT = 16 << 20
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI48x")
_INODE_OFFSET = 68
_MESSAGE_SIZE = 72
_ATTRIBUTE = struct.Struct("=HH")
_SKV6ONLY = 11
_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket. `address` is as bound: 0.0.0.0 and :: mean every address.

    `v6_only`: a socket bound to :: that takes no IPv4, as asyncio makes them; the files do not tell.
    """

    address: str
    port: int
    inode: int
    v6_only: bool = field(default=False, compare=False)

    @property
    def is_everywhere(self) -> bool:
        return self.address in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address == "::1"

    @property
    def host(self) -> str:
        """What to connect to from here, ready for a URL."""
        if self.is_everywhere:
            return "[::1]" if self.v6_only else "127.0.0.1"
        return f"[{self.address}]" if ":" in self.address else self.address


def listeners() -> tuple[Listener, ...]:
    """All listening TCP sockets of this network namespace, IPv4 first. Whose they are takes no rights to see."""
    try:
        return (*_from_kernel(socket.AF_INET), *_from_kernel(socket.AF_INET6))
    except (OSError, struct.error):
        return listeners_in_files()


def listeners_in_files(proc: str = "/proc") -> tuple[Listener, ...]:
    """The same from /proc/net/tcp and tcp6."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in (procfs.read(f"{proc}/net/{name}", _FILE_LIMIT) or "").splitlines()[1:]:
            listener = _from_line(line)
            if listener is not None:
                found.append(listener)
    return tuple(found)


def _from_kernel(family: int) -> Iterator[Listener]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_SECONDS)
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
        while True:
            for kind, message in _messages(kernel.recv(1 << 16)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not list sockets over netlink")
                yield _from_message(message)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            raise OSError("a netlink message shorter than its header")
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + 3) & ~3


def _from_message(message: bytes) -> Listener:
    """One `struct inet_diag_msg`: family, state, timer, retransmits, ports, addresses, ..., inode."""
    (port,) = struct.unpack_from("!H", message, 4)
    (inode,) = struct.unpack_from("=I", message, _INODE_OFFSET)
    if message[0] == socket.AF_INET:
        return Listener(_text(message[8:12]), port, inode)
    return Listener(_text(message[8:24]), port, inode, _is_v6_only(message))


def _is_v6_only(message: bytes) -> bool:
    """From the attributes after the message; kernels before 4.3 do not say."""
    position = _MESSAGE_SIZE
    while position + _ATTRIBUTE.size < len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if kind == _SKV6ONLY:
            return message[position + _ATTRIBUTE.size] != 0
        position += (max(length, _ATTRIBUTE.size) + 3) & ~3
    return False


def _from_line(line: str) -> Listener | None:
    fields = line.split(None, 10)
    if len(fields) < 10 or fields[3] != f"{_LISTEN:02X}":
        return None
    address, _, port = fields[1].partition(":")
    try:
        return Listener(_text(_network_order(bytes.fromhex(address))), int(port, 16), int(fields[9]))
    except ValueError:
        return None


def _network_order(raw: bytes) -> bytes:
    """The file prints an address as 32-bit words in the machine's own byte order."""
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))


def _text(raw: bytes) -> str:
    address = ipaddress.ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
