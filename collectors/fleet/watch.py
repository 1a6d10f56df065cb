"""Looking at the fleet again and again, on a thread of its own.

What the screen wants to see (a moment, the columns of the heat map) is set from any thread; what was
found is handed over whole, and never changed afterwards. When nothing can be had, the last look stays,
with its age and the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from collectors.clock import NANO, Clock, SystemClock
from collectors.fleet.heat import STEPS, HeatMap, Span, last_column, missing, step_for
from collectors.fleet.model import USUAL_QUANTILE, Snapshot
from collectors.fleet.outliers import Finding, findings
from collectors.promql import PromProblem
from collectors.text import masked

_AT_ONCE = 30
"""Columns of the heat map in one query."""
_LAG = 12.0
"""Seconds after which the counters of an interval are complete."""
_REST = 0.05
MAP_PROBLEM = "heat map: "
"""How a problem begins that keeps the map alone from being filled."""


class FleetSource(Protocol):
    """Where looks come from. `look` and `heat` are for one thread."""

    @property
    def scrape_interval(self) -> float: ...

    @property
    def has_past(self) -> bool:
        """Whether moments before the first look can be looked at."""
        ...

    def look(self, at: float | None = None, quantile: float = USUAL_QUANTILE) -> Snapshot:
        """All nodes now or at a moment (seconds since 1970), with latencies of that quantile."""
        ...

    def heat(self, heat: HeatMap, span: Span) -> None:
        """Fills columns that are missing, as far as they can be had."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the screen shows: a moment (seconds since 1970, None for now), and the columns up to it.

    `step` 0 is the finest that makes sense; `columns` 0 is no heat map. `quantile` is that of latencies.
    """

    at: float | None = None
    step: float = 0.0
    columns: int = 0
    quantile: float = USUAL_QUANTILE

    @property
    def look(self) -> tuple[float | None, float]:
        """What a look depends on."""
        return self.at, self.quantile


@dataclass(frozen=True, slots=True)
class FleetState:
    """What is known. `problem` says why there is nothing newer; `failing_since` (wall seconds) since when."""

    snapshot: Snapshot | None = None
    findings: tuple[Finding, ...] = ()
    heat: HeatMap | None = None
    last_column: int | None = None
    is_filling: bool = False
    problem: str | None = None
    failing_since: float | None = None
    wanted: Wanted = Wanted()


class FleetWatch:
    """Delivers a state after every look, and while the heat map fills."""

    def __init__(
        self,
        source: FleetSource,
        deliver: Callable[[FleetState], None],
        *,
        interval: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.source = source
        self._deliver = deliver
        self._interval = interval
        self._clock = clock or SystemClock()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._wanted = Wanted()
        self._shown: Wanted | None = None
        self._state = FleetState()
        self._heat: HeatMap | None = None
        self._due = 0.0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns in well under a second, whatever the server does."""
        self._stopped = True
        self._wake.set()
        self.source.close()
        if self._thread is not None:
            self._thread.join(0.5)

    def want(self, wanted: Wanted) -> None:
        with self._lock:
            if wanted == self._wanted:
                return
            self._wanted = wanted
        self._wake.set()

    def refresh(self) -> None:
        """Looks again at once."""
        self._due = 0.0
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            until = self.turn()
            self._clock.wait(until, self._wake)
            self._wake.clear()

    def turn(self) -> float:
        """Does what is due; returns when (clock seconds) to come again."""
        with self._lock:
            wanted = self._wanted
        now = self._clock.monotonic()
        moved = self._shown is None or wanted.look != self._shown.look
        if moved or (wanted.at is None and now >= self._due):
            self._due = now + self._interval
            self._look(wanted)
        self._shown = wanted
        if wanted.columns and not self._stopped:
            self._fill(wanted)
        if self._stopped or (wanted.at is not None and self._state.problem is None):
            return self._clock.monotonic() + 3600.0
        if wanted.at is not None:
            self._shown = None  # what could not be had is tried again
            return self._clock.monotonic() + self._interval
        return max(self._due, self._clock.monotonic() + _REST)

    def _look(self, wanted: Wanted) -> None:
        try:
            snapshot = self.source.look(wanted.at, wanted.quantile)
        except PromProblem as problem:
            self._fail(problem.reason, wanted)
        except Exception as error:  # an answer nobody thought of costs this look, not the screen
            self._fail(masked(f"{type(error).__name__}: {error}", 160), wanted)
        else:
            told = findings(snapshot.nodes, snapshot.quantile)
            failing = self._state.failing_since or self._wall() if snapshot.problems else None
            self._change(
                snapshot=snapshot, findings=told, problem=None, failing_since=failing, wanted=wanted
            )  # fmt: skip

    def _fail(self, reason: str, wanted: Wanted) -> None:
        if self._stopped:
            return
        self._change(problem=reason, failing_since=self._state.failing_since or self._wall(), wanted=wanted)

    def _fill(self, wanted: Wanted) -> None:
        finest = step_for(self.source.scrape_interval)
        step = wanted.step if wanted.step >= finest else finest
        heat = self._heat
        if heat is None or heat.step != step:
            heat = self._heat = HeatMap(step)
        moment = wanted.at if wanted.at is not None else self._wall() - _LAG
        last = last_column(moment, step)
        spans = missing(heat, last, wanted.columns, _AT_ONCE)
        known: dict[str, object] = {"heat": heat, "wanted": wanted}
        for number, span in enumerate(spans):
            if self._stopped or self._wanted != wanted:
                return
            if wanted.at is None and number and self._clock.monotonic() >= self._due:
                break  # the table first; the rest of the columns after it
            try:
                self.source.heat(heat, span)
            except PromProblem as problem:
                if not self._stopped:
                    newest = heat.newest(last)
                    self._change(**known, last_column=newest, is_filling=True, problem=MAP_PROBLEM + problem.reason)
                return
            self._change(**known, last_column=heat.newest(last), is_filling=number + 1 < len(spans))
        if not spans:
            self._change(**known, last_column=last, is_filling=False)

    def _wall(self) -> float:
        return self._clock.wall_ns() / NANO

    def _change(self, **changes: object) -> None:
        state = replace(self._state, **changes)  # type: ignore[arg-type]
        if state != self._state or "heat" in changes:
            self._state = state
            self._deliver(state)


def neighbour(steps: Sequence[float], step: float, direction: int) -> float:
    """The next finer (1) or coarser (-1) step; the same at the end."""
    if direction > 0:
        return max((one for one in steps if one < step), default=step)
    return min((one for one in steps if one > step), default=step)


def zoomed(step: float, direction: int, finest: float) -> float:
    """The step after zooming."""
    return max(finest, neighbour(STEPS, step, direction))
