"""Looking at a fleet with the whole app, headless, and measuring what it costs: for `benchmarks.fleet`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from collectors.fleet.model import USUAL_QUANTILE, Snapshot
from collectors.fleet.prometheus import PrometheusFleet
from collectors.fleet.queries import RULE_WINDOW, Target
from collectors.fleet.watch import FleetState, FleetWatch
from collectors.promql import PromClient
from dashboard.fleet_app import FleetApp
from dashboard.fleet_board import FleetBoard
from dashboard.state import Feed

_INTERVAL = 5.0
_PULSE = 0.05


class _TimedFleet(PrometheusFleet):
    """Notes each look, the CPU time of the whole process while it went on, and that from one look to the next."""

    def __init__(self, url: str, *, rules: bool) -> None:
        # Rules take their rates over one window, and are passed over by whoever wants another.
        super().__init__(PromClient(url, stats=True), Target(window=RULE_WINDOW if rules else RULE_WINDOW + 1))
        self.looks: list[Snapshot] = []
        self.cpu: list[float] = []
        self.begun_at: list[float] = []

    def look(self, at: float | None = None, quantile: float = USUAL_QUANTILE) -> Snapshot:
        began = time.process_time()
        found = super().look(at, quantile)
        self.begun_at.append(began)
        self.cpu.append(time.process_time() - began)
        self.looks.append(found)
        return found


class _Bystander:
    """A process that does nothing but wake up every so often: how late it ever was is the machine's doing."""

    _PROGRAM = """
import select, sys, time
worst, last = 0.0, time.monotonic()
while not select.select([sys.stdin], [], [], %(pulse)s)[0]:
    now = time.monotonic()
    worst, last = max(worst, now - last - %(pulse)s), now
print(worst)
"""

    def __init__(self) -> None:
        program = self._PROGRAM % {"pulse": _PULSE}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def latest(self) -> float:
        told, _ = self._process.communicate("", timeout=60)
        return float(told)


@dataclass
class _Seen:
    """What the screen was told, how long it was ever held up, and the longest it ever computed without a pause."""

    began: float = field(default_factory=time.monotonic)
    full_after: float | None = None
    held_up: float = 0.0
    computed: float = 0.0

    def take(self, state: FleetState) -> None:
        if self.full_after is None and state.heat is not None and not state.is_filling:
            self.full_after = time.monotonic() - self.began


class _Measured(FleetApp):
    """Somebody scrolls while it works; enough looks, and it ends."""

    def __init__(self, source: _TimedFleet, looks: int, seen: _Seen) -> None:
        self._source, self._looks, self._seen = source, looks, seen
        self._last_pulse = self._last_computed = 0.0
        super().__init__(self._watched, FleetBoard(where="benchmark"), _no_node)

    def _watched(self, take: Callable[[FleetState], None]) -> FleetWatch:
        def deliver(state: FleetState) -> None:
            self._seen.take(state)
            take(state)

        return FleetWatch(self._source, deliver, interval=_INTERVAL)

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(_PULSE, self._pulse)
        self.set_interval(1.0, self._act)

    def _pulse(self) -> None:
        now, computed = time.monotonic(), time.thread_time()
        if self._last_pulse:
            self._seen.held_up = max(self._seen.held_up, now - self._last_pulse - _PULSE)
            self._seen.computed = max(self._seen.computed, computed - self._last_computed)
        self._last_pulse, self._last_computed = now, computed

    def _act(self) -> None:
        self.fleet_screen.action_page_by(1 if int(time.monotonic()) % 10 < 5 else -1)
        if len(self._source.looks) >= self._looks and not self.board.state.is_filling:
            self.exit()


def _no_node(name: str, at: float | None) -> Feed:
    raise RuntimeError("nothing is opened here")


def measure(url: str, looks: int, *, rules: bool) -> dict[str, Any]:
    """Figures of so many looks, the first one apart; times in seconds. This process's memory is the app's."""
    source, seen, bystander = _TimedFleet(url, rules=rules), _Seen(), _Bystander()
    _Measured(source, looks, seen).run(headless=True, size=(200, 50))
    first, *steady = source.looks
    turns = [later - earlier for earlier, later in zip(source.begun_at[1:], source.begun_at[2:], strict=False)]
    return {
        "looks": len(source.looks),
        "first_look_seconds": round(first.took, 3),
        "look_seconds": round(median(one.took for one in steady), 3),
        "worst_look_seconds": round(max(one.took for one in steady), 3),
        "look_cpu_seconds": round(median(source.cpu[1:]), 3),
        "turn_cpu_seconds": round(median(turns), 3),
        "heat_full_seconds": None if seen.full_after is None else round(seen.full_after, 2),
        "held_up_seconds": round(seen.held_up, 3),
        "bystander_held_up_seconds": round(bystander.latest(), 3),
        "screen_computed_seconds": round(seen.computed, 3),
        "pss_mb": round(_pss() / 1e6, 1),
        "queries": min(one.queries for one in steady),
        "samples_read": median(one.samples_read or 0 for one in steady),
        "nodes": len(steady[-1].nodes),
        "uses_rules": steady[-1].uses_rules,
        "problems": list(steady[-1].problems),
        "load": round(os.getloadavg()[0], 1),
    }


def _pss() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
