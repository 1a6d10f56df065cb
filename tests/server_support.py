"""A served page on loopback and a raw client, for the tests of the metrics server."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporters.server import BoundAddress, MetricsServer, ServerOptions
from tests.patience import PATIENCE

PAGE = b"# HELP up Whether it is.\n# TYPE up gauge\nup 1\n" * 20


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A running server with what it was asked for, what it warned of and what it told."""

    address: BoundAddress
    warnings: list[str]
    asked: list[tuple[bool, bool]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(*, ready: bool = True, page: Any = None, **options: Any) -> Iterator[Served]:
    """A server in its own thread, on a free port of 127.0.0.1 unless told otherwise."""
    asked: list[tuple[bool, bool]] = []

    def default_page(openmetrics: bool, compressed: bool) -> bytes:
        asked.append((openmetrics, compressed))
        return gzip.compress(PAGE) if compressed else PAGE

    warnings: list[str] = []
    chosen = ServerOptions(**{"port": 0, **options})
    told: list[str] = []
    server = MetricsServer(page or default_page, lambda: ready, chosen, warn=warnings.append, inform=told.append)
    address = server.start_in_thread()
    try:
        yield Served(address, warnings, asked, told)
    finally:
        server.stop()


class Client:
    """One connection that sends bytes as they are and reads whole responses."""

    def __init__(self, address: BoundAddress, context: ssl.SSLContext | None = None, timeout: float = PATIENCE) -> None:
        plain = socket.create_connection((address.host, address.port), timeout)
        self.socket = context.wrap_socket(plain, server_hostname="localhost") if context else plain
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str = "/metrics", *headers: str, method: str = "GET", host: str = "localhost") -> Answer:
        lines = (f"{method} {path} HTTP/1.1", f"Host: {host}", *headers)
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        return self.answer(with_body=method != "HEAD")

    def answer(self, *, with_body: bool = True) -> Answer:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers["content-length"]) if with_body else 0
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(int(status.split()[1]), headers, body)

    def is_ended(self) -> bool:
        """Waits for the server to end the connection."""
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(65536):
                pass
        return True

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server ended the connection")
        self._received += data


def get(served: Served, path: str = "/metrics", *headers: str, **options: Any) -> Answer:
    """One request on a connection of its own."""
    with Client(served.address, options.pop("context", None)) as client:
        return client.get(path, *headers, **options)


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, a server for localhost and a client it signed, and a stranger's."""

    folder: Path

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def client_context(self, name: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.cert("authority"))
        if name:
            context.load_cert_chain(self.cert(name), self.key(name))
        return context


def make_certificates(folder: Path) -> Certificates:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed (Debian: apt install openssl)")
    made = Certificates(folder)

    def request(name: str, *arguments: str) -> None:
        files = ["-keyout", made.key(name), "-out", made.cert(name)]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = [openssl, "req", "-x509", *kind, "-subj", f"/CN={name}", *files, *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    request("authority")
    request("stranger")
    signed = ("-CA", str(made.cert("authority")), "-CAkey", str(made.key("authority")))
    plain = ("-addext", "basicConstraints=critical,CA:FALSE")
    request("server", *signed, *plain, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    request("client", *signed, *plain)
    return made
