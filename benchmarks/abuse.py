"""A good scraper beside clients that abuse the exporter's server: is it served every time?

    python -m benchmarks.abuse [--seconds 4]

Three servers on loopback, each in a process of its own: plain HTTP, TLS with passwords, TLS with
client certificates. Beside each kind of abuse, from another process, a scraper that keeps to the
rules asks for the page ten times a second, on a new connection each time. Prints a row for each, and exits with 1
when a scrape of the good one failed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.scrape import count_samples, ticks
from exporters.credentials import ScryptHash
from exporters.prometheus import PrometheusSink
from exporters.server import MetricsServer, ServerOptions

EVERY_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
"""Prometheus gives a scrape up after ten."""
PASSWORD = "a good password"
ATTACKER = "127.0.0.2"
"""Where abuse comes from, so that what is counted by address is not counted against the good scraper."""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_MEGABYTE = b"x" * (1 << 20)


class Folder:
    """Certificates and passwords for one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        self._certificate("authority")
        signed = ("-CA", self.cert("authority"), "-CAkey", self.key("authority"))
        leaf = ("-addext", "basicConstraints=critical,CA:FALSE")
        self._certificate("server", *signed, *leaf, "-addext", "subjectAltName=IP:127.0.0.1")
        self._certificate("client", *signed, *leaf)
        self._certificate("stranger")
        self._openssl(
            "req", "-new", *_KEY, "-subj", "/CN=expired", "-keyout", self.key("expired"), "-out", self.request
        )
        self._openssl("x509", "-req", "-in", self.request, *signed, "-days", "-1", "-out", self.cert("expired"))
        self.users.write_text(f"prometheus:{ScryptHash.of(PASSWORD)}\n")

    def _certificate(self, name: str, *more: str | Path) -> None:
        files = ("-keyout", self.key(name), "-out", self.cert(name))
        self._openssl("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "2", *files, *more)

    def _openssl(self, *arguments: str | Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            sys.exit("openssl is not installed (Debian: apt install openssl)")
        subprocess.run([openssl, *arguments], check=True, capture_output=True)

    @property
    def request(self) -> Path:
        return self.path / "request.csr"

    @property
    def users(self) -> Path:
        return self.path / "users"

    def cert(self, name: str) -> Path:
        return self.path / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.path / f"{name}.key"

    def options(self, kind: str) -> ServerOptions:
        is_tls = kind != "http"
        return ServerOptions(
            port=0,
            tls_cert=self.cert("server") if is_tls else None,
            tls_key=self.key("server") if is_tls else None,
            basic_auth_file=self.users if kind == "password" else None,
            client_ca=self.cert("authority") if kind == "certificate" else None,
        )

    def context(self, kind: str, client: str = "client") -> ssl.SSLContext | None:
        if kind == "http":
            return None
        context = ssl.create_default_context(cafile=self.cert("authority"))
        if kind == "certificate":
            context.load_cert_chain(self.cert(client), self.key(client))
        return context


def request(password: str = PASSWORD) -> bytes:
    credentials = base64.b64encode(f"prometheus:{password}".encode()).decode()
    return (
        f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\r\n"
    ).encode()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Abuse:
    """What one client does, over and over, and how many of them there are."""

    name: str
    server: str
    clients: int
    once: Callable[[Attack], Awaitable[None]]


@dataclass
class Attack:
    """Where to, and how many times something was done to it."""

    folder: Folder
    server: str
    port: int
    done: int = 0

    async def connect(self, context: ssl.SSLContext | None = None) -> Connection:
        self.done += 1
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, local_addr=(ATTACKER, 0), limit=1 << 22
        )


async def silent(attack: Attack) -> None:
    """Connects and never says a word."""
    reader, writer = await attack.connect()
    try:
        await reader.read()
    finally:
        writer.close()


async def slow(attack: Attack) -> None:
    """Sends its request a byte every tenth of a second."""
    _, writer = await attack.connect(attack.folder.context(attack.server))
    try:
        for byte in request():
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.1)
    finally:
        writer.close()


async def churning(attack: Attack) -> None:
    """Connects and hangs up, as fast as it goes."""
    _, writer = await attack.connect()
    writer.close()
    await writer.wait_closed()


async def malformed(attack: Attack) -> None:
    for head in (
        b"\x16\x03\x01\x02\x00\x01\x00", b"GET /metrics HTTP/9.9\r\n\r\n", b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 500, b"A" * 200,
    ):  # fmt: skip
        reader, writer = await attack.connect()
        writer.write(head)
        writer.write_eof()
        await reader.read()
        writer.close()


async def large(attack: Attack) -> None:
    """Ten megabytes of headers."""
    _, writer = await attack.connect()
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ")
    try:
        for _ in range(10):
            writer.write(_MEGABYTE)
            await writer.drain()
    finally:
        writer.close()


async def deaf(attack: Attack) -> None:
    """Asks for the page a thousand times and reads none."""
    _, writer = await attack.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        writer.write(request().replace(b"close", b"keep-alive") * 1000)
        await asyncio.sleep(3.0)
    finally:
        writer.close()


async def half_handshake(attack: Attack) -> None:
    """Begins a TLS handshake and stops."""
    reader, writer = await attack.connect()
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    writer.write(hello.read())
    try:
        await reader.read()
    finally:
        writer.close()


async def guessing(attack: Attack) -> None:
    reader, writer = await attack.connect(attack.folder.context(attack.server))
    writer.write(request(f"guess {attack.done}"))
    await reader.read()
    writer.close()


async def expired(attack: Attack) -> None:
    reader, writer = await attack.connect(attack.folder.context(attack.server, "expired"))
    writer.write(request())
    await reader.read()  # the server's refusal comes with the first read
    writer.close()


async def stranger(attack: Attack) -> None:
    reader, writer = await attack.connect(attack.folder.context(attack.server, "stranger"))
    writer.write(request())
    await reader.read()
    writer.close()


ABUSES = (
    Abuse("nobody", "http", 0, silent),
    Abuse("1,000 silent connections", "http", 1000, silent),
    Abuse("200 slow clients", "http", 200, slow),
    Abuse("connecting and hanging up", "http", 20, churning),
    Abuse("malformed requests", "http", 20, malformed),
    Abuse("10 MB of headers", "http", 8, large),
    Abuse("1,000 requests, no answer read", "http", 20, deaf),
    Abuse("nobody", "password", 0, silent),
    Abuse("200 silent TLS clients", "password", 200, silent),
    Abuse("200 half handshakes", "password", 200, half_handshake),
    Abuse("200 slow TLS clients", "password", 200, slow),
    Abuse("wrong passwords", "password", 20, guessing),
    Abuse("nobody", "certificate", 0, silent),
    Abuse("expired certificates", "certificate", 20, expired),
    Abuse("a stranger's certificates", "certificate", 20, stranger),
)


async def attack_for(abuse: Abuse, folder: Folder, port: int, seconds: float) -> int:
    """How often a client connected."""
    attack = Attack(folder, abuse.server, port)

    async def client() -> None:
        while True:
            with contextlib.suppress(OSError, ssl.SSLError, EOFError, ValueError):
                await abuse.once(attack)
            await asyncio.sleep(0.01)

    clients = [asyncio.create_task(client()) for _ in range(abuse.clients)]
    await asyncio.sleep(seconds)
    for one in clients:
        one.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return attack.done


@dataclass
class Served:
    """How the good scraper fared."""

    good: int
    failures: list[str]
    seconds: list[float]


async def scrape_for(folder: Folder, kind: str, port: int, samples: int, seconds: float) -> Served:
    served = Served(0, [], [])
    began = time.monotonic()
    context = folder.context(kind)
    while time.monotonic() - began < seconds:
        asked = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(request())
                head, _, page = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
            if b" 200 " not in head.split(b"\r\n")[0] or count_samples(page) != samples:
                raise ValueError(head.split(b"\r\n")[0].decode() or "no answer")
            served.good += 1
        except (OSError, ValueError) as problem:  # a time-out is an OSError
            served.failures.append(f"{type(problem).__name__} {problem}")
        served.seconds.append(time.perf_counter() - asked)
        await asyncio.sleep(EVERY_SECONDS)
    return served


def serve(kind: str, folder: Folder) -> None:
    """Prints its port and the samples of its page, and serves until it is ended."""
    sink = PrometheusSink(version="benchmark")
    source = ticks()
    sink.put(next(source))
    server = MetricsServer(sink.page, sink.ready, folder.options(kind), warn=lambda _: None, inform=lambda _: None)
    print(server.start_in_thread().port, count_samples(sink.page(False, False)), flush=True)
    while True:
        time.sleep(1.0)
        sink.put(next(source))


def run(abuse: Abuse, number: int, folder: Folder, port: int, samples: int, seconds: float, server: int) -> bool:
    """One row; whether the good scraper was served every time."""
    asyncio.run(scrape_for(folder, abuse.server, port, samples, 0.3))  # its password is known from then on
    command = [sys.executable, "-m", "benchmarks.abuse", "--attack", str(number), "--port", str(port)]
    watched = psutil.Process(server)
    before = sum(watched.cpu_times()[:2])
    with subprocess.Popen(
        [*command, "--folder", str(folder.path), "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
    ) as attacker:
        time.sleep(1.0)  # it is loading
        served = asyncio.run(scrape_for(folder, abuse.server, port, samples, seconds))
        attacks = int(attacker.communicate()[0])
    cpu = sum(watched.cpu_times()[:2]) - before
    times = sorted(served.seconds)
    p50, worst = (1000 * times[int(q * (len(times) - 1))] for q in (0.5, 1.0))
    memory = watched.memory_full_info().pss / 2**20
    told = "" if not served.failures else f"  {served.failures[0]}"
    print(
        f"{abuse.server:<12}{abuse.name:<32}{attacks:>9,}{served.good:>7}{len(served.failures):>7}{p50:>9.1f}{worst:>9.1f}"
        f"{100 * cpu / (seconds + 1):>7.0f}{memory:>8.0f}{told}",
        flush=True,
    )
    return not served.failures


def compare(seconds: float) -> bool:
    titles = f"{'attempts':>9}{'served':>7}{'failed':>7}{'p50 ms':>9}{'worst':>9}{'CPU %':>7}{'PSS MB':>8}"
    print(f"{'server':<12}{'beside':<32}{titles}")
    good = True
    with tempfile.TemporaryDirectory(prefix="phasetop-abuse-") as name:
        folder = Folder(Path(name))
        folder.make()
        for kind in ("http", "password", "certificate"):
            command = [sys.executable, "-m", "benchmarks.abuse", "--serve", kind, "--folder", name]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                try:
                    port, samples = map(int, (process.stdout.readline() if process.stdout else "").split())
                    for number, abuse in enumerate(ABUSES):
                        if abuse.server == kind:
                            good &= run(abuse, number, folder, port, samples, seconds, process.pid)
                finally:
                    process.terminate()
    return good


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each kind of abuse lasts")
    for hidden in ("--serve", "--attack", "--port", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        serve(options.serve, Folder(Path(options.folder)))
    elif options.attack:
        abuse, folder = ABUSES[int(options.attack)], Folder(Path(options.folder))
        print(asyncio.run(attack_for(abuse, folder, int(options.port), options.seconds)))
    else:
        sys.exit(0 if compare(options.seconds) else 1)


if __name__ == "__main__":
    main()
