"""Faults of the GPU driver, switched on and off under the real commands: is the truth told, and how soon is all well?

    python -m benchmarks.gpu_faults [--fault NAME]... [--json]

`phasetop live` runs on a terminal (tmux, 120x40), `phasetop export` serves its page, and `phasetop once
--json` is run during each fault; all read four GPUs of the stand-in for NVML (which a C compiler builds).
A fault is on until the terminal and the page tell of it, and a while longer. The table has the seconds
until they told, what `once` said, whether the GPUs without the fault went on, and the seconds from the
fault's end until terminal and page were well again (15 at most). A fault for ever, with `q` pressed in the
midst of it, is ended by the key within a second. Takes five minutes or so.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.dashboard import free_port
from benchmarks.gpu_fault_table import (
    FAULTS,
    GPUS,
    OLD_DRIVER,
    STEADY,
    Fault,
    Series,
    gpu_line,
    is_well,
    line_is_well,
    row_of,
    value,
)
from tests.nvml_stub.build import NoCompiler, Stub, build

RECOVERY_SECONDS = 15.0
QUIT_SECONDS = 1.0
_PATIENCE_SECONDS = 45.0
_LOOK_SECONDS = 0.25
_LINGER_SECONDS = 4.0


@dataclass(slots=True)
class Row:
    """What came of one fault. Seconds; None where it never came."""

    fault: str
    screen_told: float | None = None
    page_told: float | None = None
    once: str = ""
    others: str = ""
    screen_well: float | None = None
    page_well: float | None = None
    quit: float | None = None

    @property
    def passes(self) -> bool:
        if self.quit is not None:
            return self.quit < QUIT_SECONDS
        well = (self.screen_well, self.page_well)
        return (
            None not in (self.screen_told, self.page_told)
            and self.once == "tells"
            and self.others != "stopped"
            and all(seconds is not None and seconds <= RECOVERY_SECONDS for seconds in well)
        )


class Terminal:
    """`phasetop live` in a tmux of its own."""

    def __init__(self, socket: str, environment: Mapping[str, str], phasetop: str) -> None:
        self._socket = socket
        self._environment = environment
        command = " ".join(shlex.quote(word) for word in (phasetop, "live"))
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "-s", "phasetop", command)

    def text(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", "phasetop")

    def quit(self) -> float:
        """Press `q`; seconds until the program has ended."""
        begun = time.monotonic()
        self._tmux("send-keys", "-t", "phasetop", "q")
        while "phasetop" in self._tmux("list-sessions", "-F", "#{session_name}"):
            if time.monotonic() - begun > _PATIENCE_SECONDS:
                break
            time.sleep(0.01)
        return time.monotonic() - begun

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], env=self._environment, capture_output=True, text=True, check=False
        )
        return done.stdout


class Session:
    """The three commands on one library."""

    def __init__(self, closing: ExitStack, scratch: Path, library: Path, phasetop: str) -> None:
        self.stub = Stub(library, scratch)
        self.stub.script(*STEADY)
        self._phasetop = phasetop
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._environment = {
            "LANG": "C.UTF-8", "TERM": "xterm-256color", **kept, **self.stub.environment,
            "PHASETOP_GPU_NVML_LIBRARY": str(library), "PHASETOP_GPU_DISCOVER": "no", "PHASETOP_ENGINE_DISCOVER": "no",
            "XDG_CONFIG_HOME": str(scratch), "XDG_STATE_HOME": str(scratch),
        }  # fmt: skip
        self._port = free_port()
        exporter = subprocess.Popen(
            [phasetop, "export", "--listen", f"127.0.0.1:{self._port}"],
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        closing.callback(exporter.wait)
        closing.callback(exporter.terminate)
        self._socket = str(scratch / "tmux")
        self.terminal = self.on_a_terminal()
        closing.callback(self.terminal.close)  # its server, and with it whatever terminal there is then

    def on_a_terminal(self) -> Terminal:
        return Terminal(self._socket, self._environment, self._phasetop)

    def page(self) -> Series:
        """The exporter's page: value by name and labels. Empty while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as response:
                text = response.read().decode()
        except OSError:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(number) for name, _, number in lines}

    def once(self) -> dict[str, Any]:
        """What `once --json` prints; empty when it fails."""
        done = subprocess.run(
            [self._phasetop, "once", "--json"], env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            print(done.stderr[-600:], file=sys.stderr)
            return {}
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def all_well(self) -> tuple[bool, bool]:
        """On the terminal, on the page."""
        text, page = self.terminal.text(), self.page()
        return (
            all(line_is_well(gpu_line(text, index)) for index in range(GPUS)),
            all(is_well(page, index) for index in range(GPUS)),
        )


def _until(*truths: Callable[[], bool], patience: float = _PATIENCE_SECONDS) -> list[float | None]:
    """Seconds until each was true for the first time."""
    begun = time.monotonic()
    seen: list[float | None] = [None] * len(truths)
    while None in seen and time.monotonic() - begun < patience:
        for position, truth in enumerate(truths):
            if seen[position] is None and truth():
                seen[position] = time.monotonic() - begun
        time.sleep(_LOOK_SECONDS)
    return seen


def endure(session: Session, fault: Fault) -> Row:
    """Switch a fault on, look, switch it off, and look until all is well."""
    row = Row(fault.name)
    session.stub.script(*STEADY, *fault.lines)
    row.screen_told, row.page_told = _until(
        lambda: fault.screen(session.terminal.text()), lambda: fault.page(session.page())
    )
    document = session.once()
    row.once = "failed" if "gpus" not in document else "tells" if fault.once(document) else "does not tell"
    if fault.others_go_on:
        page = session.page()
        others = range(1, GPUS)
        going = all(is_well(page, index) and row_of(document, index).get("power_watts") == 500.0 for index in others)
        row.others = "go on" if going else "stopped"
    time.sleep(_LINGER_SECONDS)
    session.stub.script(*STEADY)
    row.screen_well, row.page_well = _until(lambda: session.all_well()[0], lambda: session.all_well()[1])
    return row


def quit_while_it_hangs(session: Session, seconds_before: float) -> Row:
    """`q` in the midst of calls that never return."""
    session.stub.script(*STEADY, "hang *")
    time.sleep(seconds_before)
    row = Row(f"q after {seconds_before:g} s of hanging", quit=session.terminal.quit())
    session.stub.script(*STEADY)
    session.terminal = session.on_a_terminal()
    _until(lambda: session.all_well()[0])
    return row


def old_driver(closing: ExitStack, scratch: Path, phasetop: str) -> Row:
    """A library that lacks what came since R510: there is nothing to recover from.

    Its memory figures count what the driver reserves as used.
    """
    scratch.mkdir()
    session = Session(closing, scratch, build(scratch, without=OLD_DRIVER), phasetop)
    row = Row("old driver's symbols", others="-", screen_well=0.0, page_well=0.0)
    row.screen_told, row.page_told = _until(
        lambda: all("67 /80" in gpu_line(session.terminal.text(), index) for index in range(GPUS)),
        lambda: all(
            value(session.page(), "kernel_active_ratio", index) == 1.0
            and value(session.page(), "dram_active_ratio", index) is None
            and round(value(session.page(), "power_watts", index) or 0.0) == 500
            and value(session.page(), "temperature_celsius", index) == 60.0
            for index in range(GPUS)
        ),
    )
    gpus = session.once()["gpus"]
    told = all((gpu["source"], gpu["state"], gpu["dram_active_ratio"]) == ("nvml", "ok", None) for gpu in gpus)
    row.once = "tells" if told and all("no GPM" in gpu["note"] for gpu in gpus) else "does not tell"
    return row


def matrix(phasetop: str, names: Sequence[str]) -> Iterator[Row]:
    """All of it, one row after another. Raises NoCompiler."""
    with tempfile.TemporaryDirectory(prefix="phasetop-faults-") as directory, ExitStack() as closing:
        scratch = Path(directory)
        session = Session(closing, scratch, build(scratch), phasetop)
        begin = _until(lambda: session.all_well()[0], lambda: session.all_well()[1])
        if None in begin:
            raise RuntimeError("not well before any fault:\n" + session.terminal.text())
        work: list[tuple[str, Callable[[], Row]]] = [(one.name, partial(endure, session, one)) for one in FAULTS]
        work += [("q", partial(quit_while_it_hangs, session, seconds)) for seconds in (1.0, 9.0)]
        work.append(("old", partial(old_driver, closing, scratch / "old", phasetop)))
        for name, piece in work:
            if not names or any(wanted in name for wanted in names):
                yield piece()


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"


def _line(row: Row) -> str:
    verdict = "" if row.passes else "  FAILS"
    if row.quit is not None:
        return f"{row.fault:26}{'ended after':>12}{row.quit:8.2f} s{verdict}"
    told = f"{_seconds(row.screen_told):>12}{_seconds(row.page_told):>8}"
    well = f"{_seconds(row.screen_well):>12}{_seconds(row.page_well):>8}"
    return f"{row.fault:26}{told}  {row.once:14}{row.others or '-':10}{well}{verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phasetop", default=str(Path(sys.executable).with_name("phasetop")), help="the program")
    parser.add_argument("--fault", action="append", default=[], help="only faults with this in their name; repeatable")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("tmux") is None:
        print("tmux is needed for the terminal", file=sys.stderr)
        return 1
    heading = f"{'fault':26}{'told: screen':>12}{'page':>8}  {'once':14}{'others':10}{'well: screen':>12}{'page':>8}"
    if not options.json:
        print(heading)
    rows: list[Row] = []
    try:
        for row in matrix(options.phasetop, options.fault):
            rows.append(row)
            if not options.json:
                print(_line(row), flush=True)
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([{**asdict(row), "passes": row.passes} for row in rows]))
    return 0 if all(row.passes for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
