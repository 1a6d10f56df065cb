"""Shares that a real Prometheus computes from a running exporter, beside a truth.

    python -m benchmarks.prometheus_shares http://127.0.0.1:19417/metrics --window 5m [--truth 0.30 | --recording PATH]

Starts Debian's `prometheus` in a directory of its own, scrapes the exporter once a second, waits
for the window to pass and prints, as JSON, each engine's `rate(phasetop_engine_phase_seconds_total
[window])` and the prefill share of its busy time. The truth is a share, or what the exporter
recorded meanwhile (`phasetop export --record PATH`): then the intervals that settled within the
window count. With `--within POINTS` it fails when an engine is further off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

_CONFIGURATION = """
global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
  evaluation_interval: 15s
rule_files: {rules}
scrape_configs:
  - job_name: phasetop
    metrics_path: {path}
    scheme: {scheme}
    static_configs:
      - targets: ["{target}"]
"""
PHASE_SECONDS = "phasetop_engine_phase_seconds_total"
SETTLED = "phasetop_settled_timestamp_seconds"
_SECONDS = {"s": 1, "m": 60, "h": 3600}
# Prometheus finds its targets after 5 s, and labels settle up to 10 s late.
_COUNTING_SECONDS = 60.0
_WRITTEN_SECONDS = 3.0
EngineKey = tuple[str, str]


class Prometheus:
    """A server of ours, asked through its HTTP API."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"
        self._client = httpx.Client(base_url=self.url, timeout=10.0, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if process.poll() is not None:
                sys.exit(f"prometheus ended at once with status {process.returncode}; its messages are above")
            with contextlib.suppress(httpx.TransportError):
                if self._client.get("/-/ready").status_code == 200:
                    return
            time.sleep(0.2)
        sys.exit("prometheus was not ready within 30 s")

    def wait_until_counting(self) -> None:
        """Until the exporter was scraped and its counters of settled time are there."""
        deadline = time.monotonic() + _COUNTING_SECONDS
        while time.monotonic() < deadline:
            if self.one(SETTLED, time.time()) is not None and self.query(PHASE_SECONDS, time.time()):
                return
            time.sleep(0.5)
        sys.exit(f"no engine's settled time was on the exporter's page within {_COUNTING_SECONDS:.0f} s")

    def query(self, expression: str, at: float) -> list[tuple[dict[str, str], float]]:
        """The instant vector of an expression: labels and values."""
        answer = self._client.post("/api/v1/query", data={"query": expression, "time": str(at)})
        answer.raise_for_status()
        return [(entry["metric"], float(entry["value"][1])) for entry in answer.json()["data"]["result"]]

    def samples(self, expression: str, at: float) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The series of a range selector: labels, and every sample as it was scraped, (time, value)."""
        answer = self._client.post("/api/v1/query", data={"query": expression, "time": str(at)})
        answer.raise_for_status()
        return [
            (entry["metric"], [(when, float(value)) for when, value in entry["values"]])
            for entry in answer.json()["data"]["result"]
        ]

    def one(self, expression: str, at: float) -> float | None:
        found = self.query(expression, at)
        return found[0][1] if found else None


@contextlib.contextmanager
def running_prometheus(
    exporter: str | None, data: Path | None = None, *, rules: Sequence[Path] = (), scrape_seconds: int = 1
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the exporter, or has the blocks in `data`; ended with the context.

    `rules` are files of rules to evaluate meanwhile.
    """
    command = shutil.which("prometheus")
    if command is None:
        sys.exit("prometheus is not installed (Debian: apt install prometheus)")
    url = urlsplit(exporter or "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="phasetop-prometheus-") as folder:
        configuration = Path(folder) / "prometheus.yml"
        configuration.write_text(
            _CONFIGURATION.format(
                path=url.path or "/metrics",
                scheme=url.scheme or "http",
                target=url.netloc,
                interval=scrape_seconds,
                rules=json.dumps([str(file) for file in rules]),
            )
            if exporter
            else "{}"
        )
        arguments = [
            f"--config.file={configuration}",
            f"--storage.tsdb.path={data or Path(folder, 'data')}",
            "--storage.tsdb.retention.time=50y",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
        with subprocess.Popen([command, *arguments], stdout=sys.stderr) as process:
            prometheus = Prometheus(address)
            try:
                prometheus.wait_until_ready(process)
                yield prometheus
            finally:
                prometheus.close()
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def engines_by_rate(prometheus: Prometheus, window: float, at: float) -> list[dict[str, Any]]:
    """Each engine with its rates by phase and its prefill share of busy time (None when never busy)."""
    rates: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for labels, rate in prometheus.query(f"rate({PHASE_SECONDS}[{window:.0f}s])", at):
        rates[labels["endpoint"], labels["engine"], labels["engine_index"]][labels["phase"]] = rate
    found = []
    for (endpoint, engine, index), by_phase in sorted(rates.items()):
        busy = by_phase["prefill"] + by_phase["decode"]
        found.append(
            {
                "endpoint": endpoint,
                "engine": engine,
                "engine_index": index,
                "seconds_per_second": {phase: round(rate, 4) for phase, rate in by_phase.items()},
                "prefill_share": round(by_phase["prefill"] / busy, 4) if busy > 0 else None,
            }
        )
    return found


def shares_of_dump(lines: Iterable[str], begin: float, end: float) -> dict[EngineKey, float | None]:
    """The prefill share of each engine's busy time over the settled intervals that end in (begin, end]."""
    prefill: dict[EngineKey, float] = defaultdict(float)
    busy: dict[EngineKey, float] = defaultdict(float)
    for line in lines:
        interval = json.loads(line)
        if not begin < interval["end"] <= end:
            continue
        for engine in interval["engines"]:
            phase = engine["phase"]
            key = (engine["endpoint"], engine["engine_index"])
            if phase and phase["settled"] and phase["prefill_share"] is not None:
                seconds = phase["busy_ratio"] * interval["duration"]
                busy[key] += seconds
                prefill[key] += seconds * phase["prefill_share"]
    return {key: prefill[key] / busy[key] if busy[key] else None for key in busy}


def compare(engines: list[dict[str, Any]], truths: dict[EngineKey, float | None] | float) -> float:
    """Write truth and difference in points beside each engine's share; the largest difference."""
    worst = 0.0
    for engine in engines:
        key = (engine["endpoint"], engine["engine_index"])
        truth = truths if isinstance(truths, float) else truths.get(key)
        share = engine["prefill_share"]
        engine["truth"] = None if truth is None else round(truth, 4)
        if truth is None or share is None:
            engine["difference_points"] = None
            worst = worst if truth is share else float("inf")
        else:
            engine["difference_points"] = round(100 * (share - truth), 2)
            worst = max(worst, 100 * abs(share - truth))
    return worst


def seconds(text: str) -> float:
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not matched:
        raise argparse.ArgumentTypeError(f"a time is written like 90s, 5m or 1h, not {text!r}")
    return float(matched[1]) * _SECONDS[matched[2] or "s"]


def shares_of_recording(path: str, begin: float, end: float) -> dict[EngineKey, float | None]:
    command = [str(Path(sys.executable).with_name("phasetop")), "dump", path, "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dump:
        return shares_of_dump(dump.stdout or [], begin, end)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prometheus_shares", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("exporter", help="URL of the exporter's metrics page")
    parser.add_argument("--window", type=seconds, default=300.0, help="what rate() covers (default 5m)")
    parser.add_argument("--truth", type=float, help="the prefill share of busy time that every engine should have")
    parser.add_argument("--recording", help="a recording of the same time to compare with")
    parser.add_argument("--within", type=float, help="fail when an engine is further off than these points")
    options = parser.parse_args()
    with running_prometheus(options.exporter) as prometheus:
        prometheus.wait_until_counting()
        time.sleep(options.window)
        now = time.time()
        window = f"{options.window:.0f}s"
        report: dict[str, Any] = {
            "window_seconds": options.window,
            "scrapes": prometheus.one(f"count_over_time(up[{window}])", now),
            "scrapes_failed": prometheus.one(f"sum_over_time((1 - up)[{window}:1s])", now),
            "settled_from": prometheus.one(SETTLED, now - options.window),
            "settled_to": prometheus.one(SETTLED, now),
            "engines": engines_by_rate(prometheus, options.window, now),
        }
    worst = 0.0
    if options.recording:
        time.sleep(_WRITTEN_SECONDS)
        truths = shares_of_recording(options.recording, report["settled_from"] or 0.0, report["settled_to"] or 0.0)
        worst = compare(report["engines"], truths)
    elif options.truth is not None:
        worst = compare(report["engines"], options.truth)
    print(json.dumps(report, indent=2))
    if options.within is not None and (worst > options.within or not report["engines"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
