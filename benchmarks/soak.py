"""A real Prometheus scrapes a real exporter while engines come and go: is everything it holds true?

    python -m benchmarks.soak --for 10m

Eight GPUs (the stand-in for NVML), four vLLM pages under a wave of load: one that stays, one that
ends and starts anew again and again, one whose server hangs now and then, and one that the
configuration names only from half-time on, when the exporter is told to read it anew. In the last
quarter a GPU reports an error and another is lost. Everything is on loopback.

At the end, as JSON: failed scrapes; the largest difference, over every pair of neighbouring scrapes, between what a
phase counter advanced and what the recording has for the intervals that settled in between; `rate()` beside the
recording's shares; what each query of the Grafana dashboards and each recording rule returns. Exits with 1 when a
scrape failed, a counter is off by more than a millisecond, a share by more than two points, or a query fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from benchmarks.prometheus_shares import Prometheus, running_prometheus, seconds
from benchmarks.vllm_page import DECODE_SECONDS, IDLE_SECONDS, PREFILL_SECONDS, Page
from collectors.model import HOST, engine_entity, gpu_entity
from collectors.phase.rules import phase_seconds
from collectors.replay import Recording

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
SCRAPE_SECONDS = 2
WAVE_SECONDS = PREFILL_SECONDS + DECODE_SECONDS + IDLE_SECONDS
GPUS = ([0, 1, 2, 3], [4, 5], [6, 7])
"""Of the engines that are there from the beginning."""
FAMILIES = ("host", "gpu", "engine")
SETTLED = "phasetop_settled_timestamp_seconds"
_WITHIN_SECONDS, _WITHIN_POINTS = 0.001, 2.0
_START_SECONDS = 30.0
_COUNTING_SECONDS = 25.0
"""Until GPUs, engines and a few settled intervals are on the page."""


class Server:
    """A page of an engine that can be ended, started anew at the same address, and made to hang."""

    def __init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None
        self._hanging = threading.Event()
        self._hanging.set()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    def start(self) -> None:
        # In step with what the stand-in for NVML shows on its GPUs.
        let_go, began = self._hanging, time.monotonic() // WAVE_SECONDS * WAVE_SECONDS
        self._ended = ended = threading.Event()

        class Handler(Page):
            def do_GET(self) -> None:
                let_go.wait()
                if ended.is_set():  # connections that were kept end with their server
                    self.close_connection = True
                    return
                self.began = began
                super().do_GET()

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        if self._server is not None:
            self._ended.set()
            self._server.shutdown()
            self._server.server_close()

    def hang(self, hangs: bool) -> None:
        (self._hanging.clear if hangs else self._hanging.set)()


def come_and_go(leaving: Server, hanging: Server, over: threading.Event) -> None:
    """One ends for ten seconds of every forty, the other hangs for eight of every thirty."""
    began, is_there, hangs = time.monotonic(), True, False
    while not over.wait(0.2):
        now = time.monotonic() - began
        if is_there != (now % 40 < 30):
            is_there = not is_there
            (leaving.start if is_there else leaving.end)()
        if hangs != (now % 30 >= 22):
            hangs = not hangs
            hanging.hang(hangs)


def stub(folder: Path) -> Mapping[str, str]:
    """Environment with the stand-in for NVML: eight GPUs."""
    command = [sys.executable, str(ROOT / "tests" / "nvml_stub" / "build.py"), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    script(folder, "gpus 8")
    return {"PHASETOP_NVML_STUB": str(folder / "control"), "LD_LIBRARY_PATH": str(folder)}


def script(folder: Path, *lines: str) -> None:
    """What the stand-in for NVML does from now on."""
    new = folder / "control.new"
    new.write_text("".join(f"{line}\n" for line in lines))
    new.rename(folder / "control")


def configuration(recording: Path, urls: Sequence[str]) -> str:
    return (
        f"[engine]\ndiscover = false\nurls = {json.dumps(list(urls))}\n[gpu]\ndiscover = false\n"
        f'[record]\ndirectory = "{recording}"\n[server]\nlisten = "127.0.0.1:0"\npod_labels = true\n[engine.gpus]\n'
        + "".join(f'"{url}" = {json.dumps(gpus)}\n' for url, gpus in zip(urls, GPUS, strict=False))
    )


@contextmanager
def exporting(folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running exporter, and the address of its page; what it logs goes to standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PHASETOP_")}
    phasetop = str(Path(sys.executable).with_name("phasetop"))
    command = [phasetop, "export", "--config", str(folder / "config.toml")]
    process = subprocess.Popen(command, env={**clean, **environment}, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    found: list[str] = []
    told = threading.Event()

    def read() -> None:
        for line in process.stderr or ():
            sys.stderr.write(line)
            if " serving " in line:
                found.append(line.split()[-1])
                told.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        if not told.wait(_START_SECONDS):
            sys.exit("the exporter does not serve; its messages are above")
        yield process, found[0]
    finally:
        process.terminate()
        began = time.monotonic()
        process.wait(30)
        print(f"the exporter ended within {time.monotonic() - began:.2f} s", file=sys.stderr)


Key = tuple[str, str, str]
"""Scope, entity, phase."""


def entity_of(scope: str, labels: Mapping[str, str]) -> str:
    if scope == "gpu":
        return gpu_entity(labels["uuid"])
    return engine_entity((labels["endpoint"], labels["engine_index"])) if scope == "engine" else HOST


def counters(prometheus: Prometheus, span: float, at: float) -> dict[Key, dict[float, float]]:
    """Every phase counter's samples, by the time of their scrape; ranks with several names are one."""
    found: dict[Key, dict[float, float]] = defaultdict(dict)
    for scope in FAMILIES:
        for labels, samples in prometheus.samples(f"phasetop_{scope}_phase_seconds_total[{span:.0f}s]", at):
            key = (scope, entity_of(scope, labels), labels["phase"])
            for when, value in samples:
                found[key][when] = found[key].get(when, 0.0) + value
    return found


class Recorded:
    """Seconds by phase of the settled intervals of a recording, summed up to each interval's end."""

    def __init__(self, path: Path) -> None:
        ends: list[float] = []
        seconds: dict[tuple[str, str], list[float]] = {}
        with Recording(path) as recording:
            for tick in recording.ticks(recording.start, recording.end):
                ends.append(tick.interval.end / 1e9)
                for entity, label in tick.labels.items():
                    parts = phase_seconds(label.phase, tick.interval.duration) if label.settled else {}
                    for phase, part in parts.items():
                        column = seconds.setdefault((entity, phase), [])
                        column += [0.0] * (len(ends) - 1 - len(column)) + [part]
        self._ends = ends
        self._sums = {key: [0.0, *accumulate(column)] for key, column in seconds.items()}

    def between(self, entity: str, phase: str, begin: float, end: float) -> float:
        sums = self._sums.get((entity, phase), [0.0])
        first, last = (min(bisect_right(self._ends, when + 1e-6), len(sums) - 1) for when in (begin, end))
        return sums[last] - sums[first]


def largest_difference(
    found: Mapping[Key, Mapping[float, float]], settled: Mapping[float, float], recorded: Recorded
) -> dict[str, Any]:
    """Over every counter and every two neighbouring scrapes that both had it."""
    worst, where, pairs, moved = 0.0, None, 0, 0
    for (scope, entity, phase), samples in found.items():
        for before, after in pairwise(sorted(samples)):
            if before not in settled or after not in settled:
                continue
            advanced = samples[after] - samples[before]
            off = abs(advanced - recorded.between(entity, phase, settled[before], settled[after]))
            pairs += 1
            moved += advanced > 0
            if off > worst:
                worst, where = off, f"{scope} {entity} {phase} {settled[before]:.0f}..{settled[after]:.0f}"
    return {"pairs": pairs, "of_those_moved": moved, "largest_seconds": round(worst, 6), "where": where}


def shares(
    prometheus: Prometheus, recorded: Recorded, window: float, at: float, settled: Mapping[float, float]
) -> list[dict[str, Any]]:
    """Each entity's share of prefill of its busy time by `rate()` and by the recording, in the same window."""
    times = sorted(settled)
    begin = settled[next(when for when in times if when >= at - window)]
    end = settled[times[-1]]
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for scope in FAMILIES:
        for labels, rate in prometheus.query(f"rate(phasetop_{scope}_phase_seconds_total[{window:.0f}s])", at):
            phases = found[scope, entity_of(scope, labels)]
            phases[labels["phase"]] = phases.get(labels["phase"], 0.0) + rate
    rows = []
    for (_scope, entity), rates in sorted(found.items()):
        truth = {phase: recorded.between(entity, phase, begin, end) for phase in rates}
        busy, busy_truth = rates["prefill"] + rates["decode"], truth["prefill"] + truth["decode"]
        if busy <= 0 or busy_truth <= 0:
            continue
        share, true_share = rates["prefill"] / busy, truth["prefill"] / busy_truth
        points = round(100 * (share - true_share), 2)
        rows.append({"entity": entity, "share": round(share, 4), "recording": round(true_share, 4), "points": points})
    return rows


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Title and query of every panel of the Grafana dashboards, with their variables as "all"."""
    filled = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*", "$gpu": ".*", "$price": "2.5"}
    for file in sorted((DEPLOY / "grafana").glob("*.json")):
        made = json.loads(file.read_text())
        for panel in made["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for name, value in filled.items():
                    query = query.replace(name, value)
                yield f"{made['uid']}: {panel['title']} {target['refId']}", query


def answered(prometheus: Prometheus, queries: Iterable[tuple[str, str]], at: float) -> dict[str, Any]:
    """How many queries return something, which return nothing, and which fail."""
    count, empty, failed = 0, [], []
    for title, query in queries:
        count += 1
        try:
            if not prometheus.query(query, at):
                empty.append(title)
        except OSError as problem:
            failed.append(f"{title}: {problem}")
        except Exception as problem:  # whatever the HTTP client calls it
            failed.append(f"{title}: {problem}")
    return {"asked": count, "without_data": empty, "failed": failed}


def recording_rules() -> list[tuple[str, str]]:
    names = re.findall(r"- record: (\S+)", (DEPLOY / "prometheus" / "phasetop.rules.yml").read_text())
    return [(name, name) for name in dict.fromkeys(names)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--for", dest="length", type=seconds, default=600.0, help="how long to scrape (default 10m)")
    length: float = parser.parse_args().length
    with tempfile.TemporaryDirectory(prefix="phasetop-soak-") as name:
        report = soak(Path(name), length)
    print(json.dumps(report, indent=2))
    off = max((abs(row["points"]) for row in report["shares"]), default=float("inf"))
    broken = (
        report["scrapes_failed"] or report["counters"]["largest_seconds"] > _WITHIN_SECONDS or off > _WITHIN_POINTS
        or report["dashboards"]["failed"] or report["rules"]["failed"]
    )  # fmt: skip
    sys.exit(1 if broken else 0)


def soak(folder: Path, length: float) -> dict[str, Any]:
    steady, leaving, hanging, late = servers = [Server() for _ in range(4)]
    urls = [steady.url, leaving.url, hanging.url]
    (folder / "config.toml").write_text(configuration(folder / "recording", urls))
    over = threading.Event()
    moving = threading.Thread(target=come_and_go, args=(leaving, hanging, over), daemon=True)
    rules = tuple((DEPLOY / "prometheus" / f"phasetop.{kind}.yml") for kind in ("rules", "alerts"))
    with (
        exporting(folder, stub(folder / "nvml")) as (process, page),
        running_prometheus(page, rules=rules, scrape_seconds=SCRAPE_SECONDS) as prometheus,
    ):
        time.sleep(_COUNTING_SECONDS)
        began = time.time()
        moving.start()
        time.sleep(length / 2)
        (folder / "config.toml").write_text(configuration(folder / "recording", [*urls, late.url]))
        process.send_signal(signal.SIGHUP)
        time.sleep(length / 4)
        script(folder / "nvml", "gpus 8", "xid@3 31 1", "fail@5 * 15")  # a GPU falls off its bus
        time.sleep(length / 4)
        at = time.time()
        report = asked(prometheus, at - began, at)
        over.set()
        time.sleep(3.0)
        recorded = Recorded(folder / "recording")
        settled = dict(next(iter(prometheus.samples(f"{SETTLED}[{at - began:.0f}s]", at)))[1])
        report["counters"] = largest_difference(counters(prometheus, at - began, at), settled, recorded)
        window = min(300.0, length * 0.9)
        report |= {"window_seconds": window, "shares": shares(prometheus, recorded, window, at, settled)}
    for server in servers:
        server.hang(False)
        with suppress(OSError):
            server.end()
    return report


def asked(prometheus: Prometheus, span: float, at: float) -> dict[str, Any]:
    """What Prometheus itself says about its scrapes, and what the queries that are shipped return."""
    window = f"[{span:.0f}s]"
    first: Callable[[str], float | None] = lambda query: prometheus.one(query, at)  # noqa: E731
    return {
        "seconds": round(span),
        "scrapes": first(f"count_over_time(up{window})"),
        "scrapes_failed": (first(f"count_over_time(up{window})") or 0) - (first(f"sum_over_time(up{window})") or 0),
        "samples_a_scrape": first("scrape_samples_scraped"),
        "slowest_scrape_seconds": first(f"max_over_time(scrape_duration_seconds{window})"),
        "gpus_lost": first('count(phasetop_gpu_state{state="lost"} == 1)'),
        "engines_seen_down": first(f'count(max_over_time(phasetop_engine_state{{state="down"}}{window}) == 1)'),
        "engines_seen": first(f"count(count by (endpoint) (last_over_time(phasetop_engine_state{window})))"),
        "alerts": sorted({labels["alertname"] for labels, _ in prometheus.query("ALERTS", at)}),
        "rules": answered(prometheus, recording_rules(), at),
        "dashboards": answered(prometheus, dashboard_queries(), at),
    }


if __name__ == "__main__":
    main()
