"""Stand-ins at the edges of live measurement: folders like /proc and /sys, a psutil, a small HTTP server."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from collectors.model import Tick
from tests.patience import until

CpuTimes = namedtuple("CpuTimes", "user nice system idle iowait irq softirq steal guest guest_nice")


def plant(root: Path, files: Mapping[str, str]) -> str:
    """Write a tree of small files; the root as text, as the collectors take it."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def plant_process(
    proc: Path, pid: int, arguments: list[str], *, parent: int = 1, ticks: int = 0, started: int = 100
) -> None:
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "0", *["0"] * 6, str(started), "0"]
    plant(
        proc,
        {
            f"{pid}/cmdline": "".join(f"{argument}\0" for argument in arguments),
            f"{pid}/stat": f"{pid} (a (strange) name) {' '.join(fields)}",
        },
    )


def plant_socket(proc: Path, pid: int, inode: int, descriptor: int = 3) -> None:
    folder = proc / str(pid) / "fd"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(descriptor)).symlink_to(f"socket:[{inode}]")


class FakeSystem:
    """psutil's part in the host's readings, with counters that a test moves."""

    def __init__(self) -> None:
        self.cpu = [CpuTimes(*[0.0] * 10), CpuTimes(*[0.0] * 10)]
        self.memory = SimpleNamespace(total=100, available=40)
        self.interfaces: dict[str, Any] = {}
        self.disks: dict[str, Any] = {}

    def cpu_count(self) -> int:
        return len(self.cpu)

    def cpu_times(self, percpu: bool) -> Any:
        return self.cpu if percpu else CpuTimes(*[sum(column) for column in zip(*self.cpu, strict=True)])

    def virtual_memory(self) -> Any:
        return self.memory

    def swap_memory(self) -> Any:
        return SimpleNamespace(used=7, total=70)

    def net_io_counters(self, pernic: bool, nowrap: bool) -> Any:
        return dict(self.interfaces)

    def disk_io_counters(self, perdisk: bool, nowrap: bool) -> Any:
        return dict(self.disks)

    def getloadavg(self) -> tuple[float, float, float]:
        return (0.5, 0.4, 0.3)


Behaviour = Callable[[Any], None]
"""Gets the connection's request handler after the request's head has been read, and answers as it likes."""


def reply(
    body: bytes, *, status: str = "200 OK", headers: Mapping[str, str] | None = None, before: bytes = b""
) -> Behaviour:
    lines = {"Content-Type": "text/plain; version=0.0.4", "Content-Length": str(len(body)), **(headers or {})}
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"

    def answer(handler: Any) -> None:
        handler.wfile.write(before + head.encode() + (b"" if handler.method == "HEAD" else body))

    return answer


class SmallServer:
    """An HTTP server on loopback that answers each request by `behaviour`, and notes what was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        self.released = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/metrics"

    port = 0


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        small: SmallServer = self.server.small  # type: ignore[attr-defined]
        small.connections += 1
        while line := self.rfile.readline(4096).decode():
            self.method, self.path, _ = line.split(" ")
            headers = {}
            while (header := self.rfile.readline(4096).decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            small.requests.append((self.method, self.path, headers))
            try:
                small.behaviour(self)
                self.wfile.flush()
            except (ConnectionError, ValueError):
                return


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what many of the tests are about."""


@contextmanager
def serving(behaviour: Behaviour, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[SmallServer]:
    small = SmallServer(behaviour)
    with _Server(("127.0.0.1", port), _Handler) as server:
        if tls is not None:
            # The handshake comes with the first read, in the connection's own thread.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.small = small  # type: ignore[attr-defined]
        small.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield small
        finally:
            small.released.set()
            server.shutdown()
            thread.join()


def whole(measure: Callable[[], Tick | None], *, gaps: int = 0) -> Tick:
    """An interval with no gap but those expected: a busy machine may give too little time for the first."""
    found: list[Tick] = []

    def is_whole() -> bool:
        tick = measure()
        found.extend([tick] if tick is not None else [])
        return tick is not None and len(tick.interval.gaps) == gaps

    until(is_whole, lambda: [tick.interval.gaps for tick in found])
    return found[-1]
