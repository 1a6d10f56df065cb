"""What phasetop costs the machine it watches, beside others in the same run.

    python -m benchmarks.dashboard [--tui NAME=COMMAND] [--exporter NAME=COMMAND] [--once NAME=COMMAND]

On two cores, with 8 GPUs of the stand-in for NVML (which a C compiler builds) and the 60 kB page of
one vLLM, both under the same wave of prefill, decode and idle:

- first paint: from the start of the process to the end of the first whole frame on a terminal of
  120x40, the median of 7 starts, the programs taking turns;
- steady: CPU time of all its processes as a share of one core, their PSS, and bytes to the terminal;
- an exporter, scraped every 15 s: CPU and PSS;
- once: one measurement printed as JSON; seconds beside its window of 1 s, the median of 7;
- pace: milliseconds that a fixed piece of work took right before and after; figures taken at
  different paces are not comparable.

Others are given by their commands, in which {page} and {server} stand for the address of vLLM's
page and of its server, and {port} for a free port; for instance:

    --tui 'vllmstat=vllmstat -u {server}' --tui 'nvitop=nvitop -m full'
    --exporter 'nvitop-exporter=nvitop-exporter --port {port}'
    --once 'vllmstat=vllmstat --once --json -u {server}'

Takes three to five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.watched import Watched
from tests.nvml_stub.build import build

GPUS = 8
WINDOW_SECONDS = 1.0
SCRAPE_SECONDS = 15.0
PACE = "pace ms"
OURS = "phasetop"
BUDGETS = {
    "tui": {"first paint s": 0.40, "cpu %": 2.0, "pss MB": 56.0, "kB/s": 6.0},
    "exporter": {"cpu %": 1.0, "pss MB": 42.0},
    "once": {"s beside the window": 0.35},
}


@dataclass(frozen=True, slots=True)
class Program:
    """Something to measure."""

    name: str
    command: str


@dataclass(slots=True)
class Row:
    """What was measured of one program; what failed has a reason instead."""

    kind: str
    name: str
    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What all programs find: a page, GPUs, and an environment."""

    server: str
    environment: Mapping[str, str]

    def command(self, program: Program, port: int = 0) -> list[str]:
        places = {"{page}": f"{self.server}/metrics", "{server}": self.server, "{port}": str(port)}
        words = shlex.split(program.command)
        for place, value in places.items():
            words = [word.replace(place, value) for word in words]
        return words


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Builds and starts it all. Raises NoCompiler."""
    with ExitStack() as closing:
        scratch = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="phasetop-benchmark-")))
        build(scratch)
        control = scratch / "control"
        control.write_text(f"gpus {GPUS}\n")
        process = closing.enter_context(
            subprocess.Popen([sys.executable, "-m", "benchmarks.vllm_page"], stdout=subprocess.PIPE, text=True)
        )
        closing.callback(process.terminate)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE")}
        environment = {
            "LANG": "C.UTF-8", **kept, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40",
            "LD_LIBRARY_PATH": str(scratch), "PHASETOP_NVML_STUB": str(control),
            "XDG_CONFIG_HOME": str(scratch), "XDG_STATE_HOME": str(scratch),
        }  # fmt: skip
        yield Bench(f"http://127.0.0.1:{port}", environment)


def first_paints(programs: Sequence[Program], bench: Bench, rounds: int) -> Iterator[Row]:
    """One row each. The programs take turns, so that a busy moment of the machine hits them all."""
    spent: dict[str, list[float]] = {program.name: [] for program in programs}
    failures: dict[str, str] = {}
    for _ in range(rounds + 1):
        for program in programs:
            if program.name not in failures:
                try:
                    with Watched(bench.command(program), bench.environment) as watched:
                        spent[program.name].append(watched.first_frame())
                except (RuntimeError, OSError) as error:
                    failures[program.name] = str(error)
    for program in programs:
        row = Row("tui", program.name, failure=failures.get(program.name))
        if row.failure is None:
            row.figures["first paint s"] = median(spent[program.name][1:])  # the first one compiles
        yield row


def steady(program: Program, bench: Bench, settle: float, seconds: float) -> dict[str, float]:
    """Figures of a program on a terminal."""
    with Watched(bench.command(program), bench.environment) as watched:
        watched.first_frame()
        watched.idle(settle)
        cost = watched.steady(seconds)
    return {"cpu %": 100 * cost.cpu, "pss MB": cost.pss / 1e6, "kB/s": cost.output / 1e3, "threads": cost.threads}


def exporting(program: Program, bench: Bench, settle: float) -> dict[str, float]:
    """Figures of an exporter over two scrape intervals."""
    port = free_port()
    with Watched(bench.command(program, port), bench.environment, terminal=False) as watched:
        watched.idle(settle)
        size = _scrape(port)
        first = watched.steady(SCRAPE_SECONDS)
        _scrape(port)
        cost = watched.steady(SCRAPE_SECONDS)
        _scrape(port)
    return {
        "cpu %": 50 * (first.cpu + cost.cpu), "pss MB": cost.pss / 1e6, "page kB": size / 1e3, "threads": cost.threads
    }  # fmt: skip


def onces(program: Program, bench: Bench, rounds: int) -> dict[str, float]:
    """Figures of a command that measures once and prints JSON."""
    spent: list[float] = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        done = subprocess.run(bench.command(program), env=bench.environment, capture_output=True, check=False)
        spent.append(time.perf_counter() - begun)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace")[-400:])
        json.loads(done.stdout)
    return {"s beside the window": median(spent[1:]) - WINDOW_SECONDS}


def pace() -> float:
    """Milliseconds for a fixed piece of work: how fast the machine is just now. Shared ones vary twofold."""

    def once() -> float:
        begun = time.process_time()
        sum(number * number for number in range(100_000))
        return 1000 * (time.process_time() - begun)

    return median(once() for _ in range(21))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scrape(port: int) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return len(response.read())


def _measured(kind: str, program: Program, work: Callable[[], dict[str, float]]) -> Row:
    before = pace()
    try:
        return Row(kind, program.name, {**work(), PACE: (before + pace()) / 2})
    except (RuntimeError, OSError, ValueError) as error:
        return Row(kind, program.name, failure=str(error))


def measure(options: argparse.Namespace, bench: Bench) -> Iterator[Row]:
    """All rows, ours first of each kind."""
    ours = shlex.quote(options.phasetop)
    tuis = [Program(OURS, f"{ours} --engine {{page}}"), *options.tui]
    for row, program in zip(first_paints(tuis, bench, options.rounds), tuis, strict=True):
        if row.failure is None:
            more = _measured("tui", program, partial(steady, program, bench, options.settle, options.seconds))
            row.figures |= more.figures
            row.failure = more.failure
        yield row
    exporter = Program(OURS, f"{ours} export --listen 127.0.0.1:{{port}} --engine {{page}}")
    for program in (exporter, *options.exporter):
        yield _measured("exporter", program, partial(exporting, program, bench, options.settle))
    once = Program(OURS, f"{ours} once --json --window {WINDOW_SECONDS:g}s --engine {{page}}")
    for program in (once, *options.once):
        yield _measured("once", program, partial(onces, program, bench, options.rounds))


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """A table for each kind: the figures, and phasetop's divided by each other program's."""
    for kind, budgets in BUDGETS.items():
        of_kind = [row for row in rows if row.kind == kind]
        ours = next(row for row in of_kind if row.name == OURS)
        columns = list(dict.fromkeys(name for row in of_kind for name in row.figures))
        yield f"{kind:24}" + "".join(f"{column:>22}" for column in columns)
        yield f"  {'budget':22}" + "".join(f"{_budget(budgets.get(column)):>22}" for column in columns)
        for row in of_kind:
            if row.failure is not None:
                yield f"  {row.name:22}failed: {row.failure}"
                continue
            cells = (_cell(row, ours, column) for column in columns)
            yield f"  {row.name:22}" + "".join(f"{cell:>22}" for cell in cells)


def _budget(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(row: Row, ours: Row, column: str) -> str:
    value = row.figures.get(column)
    if value is None:
        return "-"
    mine = ours.figures.get(column)
    compared = row is not ours and mine is not None and value > 0 and column != PACE
    ratio = f" ({(mine or 0.0) / value:.2f}x)" if compared else ""
    return f"{value:.2f}{ratio}"


def _program(text: str) -> Program:
    name, _, command = text.partition("=")
    if not command:
        raise argparse.ArgumentTypeError("NAME=COMMAND is meant")
    return Program(name, command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phasetop", default=str(Path(sys.executable).with_name("phasetop")), help="the program")
    for kind, meaning in (("tui", "on a terminal"), ("exporter", "scraped"), ("once", "run to its end")):
        parser.add_argument(
            f"--{kind}", metavar="NAME=COMMAND", type=_program, action="append", default=[],
            help=f"another program to compare with, {meaning}; repeatable",
        )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="starts of each program (default 7)")
    parser.add_argument("--settle", type=float, default=5.0, help="before a steady measurement, seconds (default 5)")
    parser.add_argument("--seconds", type=float, default=21.0, help="of a steady measurement (default 21)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    load = os.getloadavg()[0]
    with bench() as ready:
        rows = list(measure(options, ready))
    if options.json:
        print(json.dumps({"load": load, "rows": [asdict(row) for row in rows]}))
        return
    print(f"{GPUS} GPUs, one vLLM page; load average at the start {load:.2f}")
    print("\n".join(lines(rows)))


if __name__ == "__main__":
    main()
