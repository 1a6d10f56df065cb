"""Scraping the metrics page of 8 GPUs and 2 engines, beside prometheus_client's own server.

    python -m benchmarks.scrape [--seconds 2] [--json] [--nvitop-exporter PATH]

Each server runs in a process of its own, pinned to one core, and the client on another. Both
serve the same number of samples; ours gets a tick a second meanwhile, as in life. `new connection`
opens one for each scrape; prometheus_client's server ends every connection anyway. `a core` is how
many scrapes a second one core would serve, from the CPU time the server used, which other work on
the machine does not change as it does the times. With
`--nvitop-exporter` that one is measured in the same run, on the stand-in for NVML with as many
GPUs, and the ratios are printed. Ends within 30 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from collectors.histogram import Histogram
from collectors.model import BOTTLENECK_NAMES, HOST, Bottleneck, Interval, Label, Phase, Tick, engine_entity, gpu_entity
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs
from exporters.prometheus import PrometheusSink
from exporters.server import MetricsServer, ServerOptions

GPUS, ENGINES = 8, 2
# vLLM's bounds of the time to first token, in seconds.
BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
          160.0, 640.0, 2560.0)  # fmt: skip
SECOND = 1_000_000_000
ENCODINGS = ("gzip", "identity")
CORES = sorted(os.sched_getaffinity(0))


@dataclass
class Row:
    """One server, one way of asking. Times are milliseconds."""

    server: str
    encoding: str
    connection: str
    scrapes: int
    p50: float
    p99: float
    slowest: float
    scrapes_per_second: float
    cpu: float
    scrapes_per_second_of_a_core: float
    bytes: int


def full_reading(reading: type[Reading], chance: random.Random, **identity: Any) -> Any:
    """A reading in which every field has a value, with as many digits as real ones have."""
    values: dict[str, Any] = {}
    for spec in field_specs(reading):
        if spec.kind in ("gauge", "amount"):
            values[spec.name] = round(chance.uniform(0, 1e6 / spec.scale) * spec.scale) / spec.scale
        elif spec.kind == "histogram":
            values[spec.name] = Histogram(BOUNDS, tuple(chance.randrange(9) for _ in (*BOUNDS, 0)), chance.random() * 9)
        elif spec.name != "gpus":
            values[spec.name] = spec.name
    return reading(**{**values, **identity})


def ticks(seed: int = 1) -> Iterator[Tick]:
    """Intervals in which everything is measured, every label settled at once."""
    chance = random.Random(seed)
    sequence = 0
    while True:
        sequence += 1
        gpus = [full_reading(GpuReading, chance, uuid=f"GPU-{i:032d}", index=i, state="ok") for i in range(GPUS)]
        engines = [
            full_reading(
                EngineReading, chance, endpoint=f"http://127.0.0.1:{8000 + i}/metrics", engine_index="0", state="ok",
                gpus=tuple(gpu.uuid for gpu in gpus[i::ENGINES]),
            )
            for i in range(ENGINES)
        ]  # fmt: skip
        interval = Interval(
            sequence, (sequence - 1) * SECOND, sequence * SECOND, 1.0, full_reading(HostReading, chance),
            {gpu.uuid: gpu for gpu in gpus}, {engine.key: engine for engine in engines},
        )  # fmt: skip
        phase = Phase("mixed", True, chance.random(), chance.random(), 0.02, "high", ("decode-deficit",))
        bottleneck = Bottleneck(name=chance.choice(BOTTLENECK_NAMES))
        names = (HOST, *map(gpu_entity, interval.gpus), *map(engine_entity, interval.engines))
        labels = {name: Label(sequence, name, phase, bottleneck) for name in names}
        yield Tick(interval, labels, tuple(labels.values()))


def count_samples(page: bytes) -> int:
    return sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))


def serve_ours() -> None:
    sink = PrometheusSink(version="benchmark")
    source = ticks()
    sink.put(next(source))
    server = MetricsServer(sink.page, sink.ready, ServerOptions(port=0))
    print(server.start_in_thread().port, count_samples(sink.page(False, False)), flush=True)
    while True:
        time.sleep(1.0)
        sink.put(next(source))


def serve_prometheus_client(samples: int) -> None:
    from prometheus_client import CollectorRegistry, Gauge, start_http_server

    registry = CollectorRegistry()
    # As many samples in families as ours has: about ten to a family, two labels each.
    chance = random.Random(1)
    for number in range(samples):
        if number % 10 == 0:
            family = Gauge(f"phasetop_gpu_field_{number}_ratio", "A field.", ["gpu", "uuid"], registry=registry)
        family.labels(str(number % 10), f"GPU-{number:032d}").set(round(chance.random(), 4))
    server, _ = start_http_server(0, "127.0.0.1", registry)
    print(server.server_port, samples, flush=True)
    time.sleep(60)


def measure(
    server: str, arguments: list[str], seconds: float, encodings: list[tuple[str, str]]
) -> tuple[int, list[Row]]:
    """The samples the server has, and a row for each encoding and way of connecting."""
    command = [sys.executable, "-m", "benchmarks.scrape", "--serve", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port, samples = map(int, process.stdout.readline().split())
            watched = psutil.Process(process.pid)
            rows = [_row(server, watched, port, seconds, encoding, kept) for encoding, kept in encodings]
        finally:
            process.terminate()
    return samples, rows


def measure_nvitop(path: str, seconds: float) -> list[Row]:
    """nvitop-exporter, which serves only plain pages, each on a new connection."""
    with (
        tempfile.TemporaryDirectory(prefix="phasetop-scrape-") as folder,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        build = Path(__file__).parent.parent / "tests" / "nvml_stub" / "build.py"
        subprocess.run([sys.executable, str(build), folder], check=True, stdout=subprocess.DEVNULL)
        Path(folder, "control").write_text(f"gpus {GPUS}\n")
        port = free.getsockname()[1]
        free.close()
        environment = {**os.environ, "LD_LIBRARY_PATH": folder, "PHASETOP_NVML_STUB": f"{folder}/control"}
        command = [path, "--bind-address", "127.0.0.1", "--port", str(port), "--interval", "1"]
        with subprocess.Popen(command, env=environment, stdout=sys.stderr) as process:
            try:
                pin(1, process.pid)
                _await_port(port)
                time.sleep(3.0)  # until each GPU has been read
                watched = psutil.Process(process.pid)
                return [_row("nvitop-exporter", watched, port, seconds, encoding, "new") for encoding in ENCODINGS]
            finally:
                process.terminate()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    sys.exit("nvitop-exporter does not serve; its messages are above")


def _row(server: str, process: psutil.Process, port: int, seconds: float, encoding: str, connection: str) -> Row:
    request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\n\r\n".encode()
    client = None
    times: list[float] = []
    size = 0
    for _ in range(20):  # not measured
        client = client if client and connection == "kept" else socket.create_connection(("127.0.0.1", port))
        size = scrape(client, request)
    before = sum(process.cpu_times()[:2])
    began = now = time.perf_counter()
    while now - began < seconds:
        if connection != "kept" or client is None:
            client = socket.create_connection(("127.0.0.1", port))
        scrape(client, request)
        if connection != "kept":
            client.close()
        times.append(-now + (now := time.perf_counter()))
    cpu = (sum(process.cpu_times()[:2]) - before) / len(times)
    times.sort()
    p50, p99, slowest = (1000 * times[int(q * (len(times) - 1))] for q in (0.5, 0.99, 1.0))
    rate = len(times) / (now - began)
    return Row(server, encoding, connection, len(times), p50, p99, slowest, rate, 1000 * cpu, 1 / cpu, size)


def scrape(client: socket.socket, request: bytes) -> int:
    """Ask and read one whole response; its body's size. A body without a length ends with the connection."""
    client.sendall(request)
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        part = client.recv(1 << 20)
        if not part:
            raise ConnectionError("the server ended the connection before its response")
        received += part
    head = bytes(received[:end]).lower()
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) if b"content-length" in head else None
    size = len(received) - end - 4
    while length is None or size < length:
        part = client.recv(1 << 20)
        if not part:
            break
        size += len(part)
    return size


def in_process(rounds: int = 100) -> dict[str, float]:
    """Milliseconds of taking in a tick and of rendering each kind of page, the median of some rounds."""
    sink = PrometheusSink(version="benchmark")
    source = ticks()
    found: dict[str, list[float]] = {"tick": [], "text": [], "gzip of it": [], "openmetrics": []}
    for _ in range(rounds):
        tick = next(source)
        steps: dict[str, Callable[[], object]] = {
            "tick": partial(sink.put, tick),
            "text": partial(sink.page, False, False),
            "gzip of it": partial(sink.page, False, True),
            "openmetrics": partial(sink.page, True, False),
        }
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            found[name].append(1000 * (time.perf_counter() - began))
    return {name: sorted(times)[len(times) // 2] for name, times in found.items()}


def pin(core: int, process: int = 0) -> None:
    """Keep a process, by default this one, on one of the machine's cores."""
    os.sched_setaffinity(process, {CORES[core % len(CORES)]})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each row is measured (default 2)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--nvitop-exporter", metavar="PATH", help="measure this nvitop-exporter beside")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        pin(1)
        kind, *samples = options.serve
        serve_ours() if kind == "phasetop" else serve_prometheus_client(int(samples[0]))
    pin(0)
    rendering = in_process()
    every_way = [("gzip", "kept"), ("gzip", "new"), ("identity", "kept"), ("identity", "new")]
    samples, rows = measure("phasetop", ["phasetop"], options.seconds, every_way)
    encodings = [("gzip", "new"), ("identity", "new")]
    rows += measure("prometheus_client", ["prometheus_client", str(samples)], options.seconds, encodings)[1]
    if options.nvitop_exporter:
        rows += measure_nvitop(options.nvitop_exporter, options.seconds)
    if options.json:
        print(json.dumps({"samples": samples, "in_process_ms": rendering, "rows": [asdict(row) for row in rows]}))
        return
    print(f"{samples} samples ({GPUS} GPUs, {ENGINES} engines)")
    print("in process, ms: " + ", ".join(f"{name} {value:.2f}" for name, value in rendering.items()))
    columns = ("p50 ms", "p99 ms", "max ms", "scrapes/s", "cpu ms", "a core", "bytes")
    print(f"{'server':18}{'encoding':>10}{'connection':>12}" + "".join(f"{column:>11}" for column in columns))
    for row in rows:
        times = f"{row.p50:11.2f}{row.p99:11.2f}{row.slowest:11.2f}{row.scrapes_per_second:11.0f}"
        cost = f"{row.cpu:11.2f}{row.scrapes_per_second_of_a_core:11.0f}{row.bytes:11}"
        print(f"{row.server:18}{row.encoding:>10}{row.connection:>12}{times}{cost}")
    for encoding in ENCODINGS if options.nvitop_exporter else ():
        print(f"{encoding}, new connection: {_ratio(rows, encoding)}")


def _ratio(rows: list[Row], encoding: str) -> str:
    """How ours compares with nvitop-exporter."""
    ours, theirs = (
        next(row for row in rows if (row.server, row.encoding, row.connection) == (server, encoding, "new"))
        for server in ("phasetop", "nvitop-exporter")
    )
    rate = ours.scrapes_per_second / theirs.scrapes_per_second
    times = f"p50 {theirs.p50 / ours.p50:.1f}, p99 {theirs.p99 / ours.p99:.1f}, scrapes/s {rate:.1f}"
    return f"{times}, CPU time of a scrape {theirs.cpu / ours.cpu:.1f} times as good as nvitop-exporter"


if __name__ == "__main__":
    main()
