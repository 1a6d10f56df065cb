"""One metrics page over time: read in a thread of its own, turned into readings at each edge.

The page is asked for at an edge and used by whichever interval it has arrived for; the next is
asked for only when it has. So a server that answers late (llama.cpp behind a batch) costs one
waiting thread, its page is never thrown away, and no amount is lost: each reading goes back to the
page used before, and says in `window_seconds` how far.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from collectors.clock import Clock
from collectors.engine.catalog import EMPTY_AT_FIRST
from collectors.engine.facts import FactsReader, can_only_be
from collectors.engine.iterations import IterationStats
from collectors.engine.reading import EngineSnapshot, empty_snapshot, engine_reading, new_memo, snapshots
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.engine.strangers import described
from collectors.model import Gap
from collectors.processes import CpuMeter
from collectors.readings import EngineReading, changed
from collectors.sources import Background, SourceStatus
from collectors.threads import ProcessLoad, ThreadMeter

_BACK_OFF_SECONDS = 10.0
"""The longest pause between two tries of a page that fails; it begins at one second and doubles."""
_PAUSE_SECONDS = 60.0
"""Pages further apart than this are not compared: the time between them is nobody's interval."""
_FINAL_SECONDS = 600.0
"""Until a page is asked again of which asking soon can do harm and cannot help."""
RANKS_LIMIT = 256
"""Engines and ranks on one page. Each is a row on every screen and in every recording."""
_NO_PAGE = (HTTPStatus.NOT_FOUND, HTTPStatus.NOT_IMPLEMENTED)
_ABORT_GRACE_SECONDS = 3.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Arrival:
    """What the last finished attempt brought: snapshots, or a problem. `empty_at` is when an empty page had come."""

    found: tuple[EngineSnapshot, ...] = ()
    problem: PageProblem | None = None
    empty_at: float | None = None


class Endpoint:
    """One engine's page. Everything but the reading itself happens on the sampler's thread."""

    def __init__(
        self,
        fetcher: Fetcher,
        clock: Clock,
        *,
        min_interval: float = 1.0,
        timeout: float = 10.0,
        engine: str | None = None,
        facts: FactsReader | None = None,
        iterations: IterationStats | None = None,
        proc: str = "/proc",
    ) -> None:
        """`engine` is what it looks like, until its page says; `min_interval` and `timeout` are seconds.

        `facts` asks the engine's server what the page does not tell, `iterations` what TensorRT-LLM did in each step;
        None: it is not asked.
        """
        self.url = fetcher.url
        self.pids: frozenset[int] = frozenset()
        self.engine = engine
        self.switch: str | None = None
        """The flag that would give the engine its page, where it has none."""
        self._fetcher = fetcher
        self._clock = clock
        self._min_interval = min_interval
        self._timeout = timeout
        self._memo = new_memo()
        self._facts = facts
        self._iterations = iterations
        self._keeps_iterations = False
        self._cpu = CpuMeter(proc)
        self._threads = ThreadMeter(proc)
        self._background: Background[_Arrival] = Background(f"engine {self.url}", self._read)
        self._used: dict[Key, EngineSnapshot] = {}
        self._empty_at: float | None = None
        """When the last page had arrived, if it was empty."""
        self._asked: float | None = None
        self._sampled: float | None = None
        self._failures = 0
        self._not_before = float("-inf")
        self._new_process = False
        self._has_ended = False
        """Whether the page was seen to end since the process behind it was last seen to change."""
        self._state = "stale"
        self._reason: str | None = "not read yet"
        self._problem: PageProblem | None = None

    @property
    def fails(self) -> bool:
        """Whether the last attempt that ended brought no page."""
        return self._failures > 0

    def start(self, arrived: threading.Event) -> None:
        self._background.start(arrived)

    def stop(self) -> None:
        self._background.stop()
        self._fetcher.close()
        if self._iterations is not None:
            self._iterations.close()

    def restarted(self) -> None:
        """Another process serves the page now: its totals are compared with nothing, and it is asked at once."""
        self._new_process = True

    def request(self, edge: float) -> None:
        """Ask for the page, unless it is still being read, was read too recently, or fails of late."""
        if self._background.busy:
            if self._asked is not None and edge - self._asked > self._timeout + _ABORT_GRACE_SECONDS:
                self._fetcher.abort()  # a server that keeps dripping bytes gets round every time-out of the client
            return
        # Edges follow the wall clock: one a hair early by the monotonic clock is still a whole interval on.
        if self._new_process:
            self._new_process = False
            self._not_before = float("-inf")
            if not self._has_ended:
                self._forget_totals()
            self._has_ended = False
        due = self._asked is None or edge - self._asked >= self._min_interval * 0.98
        if due and edge >= self._not_before:
            self._asked = edge
            self._background.ask()

    def pending(self) -> bool:
        return self._background.busy

    def collect(self, edge: float) -> tuple[list[EngineReading], Gap | None]:
        """The readings of all ranks on the page, and why they are not whole if they are not."""
        found = self._take(edge)
        fresh = {snapshot.key: snapshot for snapshot in found}
        self._judge(bool(fresh), edge)
        keys = list(fresh or self._used)
        cpu = self._cpu.seconds(self.pids) if self.pids else None
        # Ranks of one page share their processes: whose time it was cannot be told.
        cpu = cpu if len(keys) <= 1 else None
        readings = [self._reading(key, fresh.get(key), edge, cpu) for key in keys] or [self._nameless(cpu)]
        loads = self._threads.busiest(self.pids, edge) if self.pids else ()
        if loads:
            readings[0] = changed(readings[0], _process_fields(loads))
        if fresh:
            self._used = fresh
        return readings, Gap(self.url, self._reason) if self._reason else None

    def status(self) -> SourceStatus:
        state = self._state if self._reason else "ok"
        return SourceStatus(self.url, state, self._reason, "engine", self._background.seconds, self._sampled)

    def _read(self) -> _Arrival:
        try:
            page = self._fetcher.fetch()
        except PageProblem as problem:
            return _Arrival(problem=problem)
        text = page.text
        if self._iterations is not None and self._keeps_iterations:
            text = f"{text}\n{self._iterations.page()}"
        found = snapshots(self.url, text, page.arrived, self._memo)
        self._keeps_iterations = any(one.engine == "trtllm" for one in found)
        if not found:
            empty_at = None if page.text.strip() else page.arrived
            return _Arrival(problem=PageProblem("blocked", described(page.text)), empty_at=empty_at)
        if len(found) > RANKS_LIMIT:
            self._memo = new_memo()
            reason = f"its page tells of {len(found):,} engines or ranks; more than {RANKS_LIMIT} are not read"
            return _Arrival(problem=PageProblem("blocked", reason, final=True))
        return _Arrival(found)

    def _forget_totals(self) -> None:
        if self._facts is not None:
            self._facts.forget()
        self._empty_at = None
        self._used = {key: replace(snapshot, is_comparable=False) for key, snapshot in self._used.items()}

    def _take(self, edge: float) -> tuple[EngineSnapshot, ...]:
        arrival = self._background.take()
        if arrival is None:
            return ()
        arrival = self._after_an_empty_page(arrival)
        self._problem = arrival.problem
        if arrival.problem is None:
            self._sampled = max(one.arrived for one in arrival.found)
            self._failures = 0
            self._not_before = float("-inf")
            self._forget(arrival.found)
        else:
            self._back_off(arrival.problem, edge)
        return arrival.found

    def _after_an_empty_page(self, arrival: _Arrival) -> _Arrival:
        """Some engines' pages are empty until their first request: what they count afterwards counts from 0."""
        if arrival.empty_at is not None:
            self._empty_at = arrival.empty_at
            engine = self._engine_of_an_empty_page()
            return arrival if engine is None else _Arrival((empty_snapshot(self.url, engine, arrival.empty_at),))
        if arrival.found and self._empty_at is not None:
            for one in arrival.found:
                if one.engine in EMPTY_AT_FIRST and one.key not in self._used:
                    self._used[one.key] = empty_snapshot(self.url, one.engine, self._empty_at)
            self._empty_at = None
        return arrival

    def _engine_of_an_empty_page(self) -> str | None:
        """Which engine it is, by its processes or by what its server tells; None while that is not known."""
        known = {self.engine, *[snapshot.engine for snapshot in self._used.values()]} - {None}
        for engine in EMPTY_AT_FIRST:
            if engine in known:
                return engine
            if not known and self._facts is not None:
                self._facts.ask(engine)
                if can_only_be(engine, self._facts.known):
                    return engine
        return None

    def _back_off(self, problem: PageProblem, edge: float) -> None:
        self._failures += 1
        pause = min(_BACK_OFF_SECONDS, 2.0 ** min(self._failures - 1, 10))
        self._not_before = edge + (_FINAL_SECONDS if problem.final else pause) * 0.98
        if problem.refused:
            # Whoever served the page has ended; what comes after is another engine's count.
            self._has_ended = True
            self._forget_totals()

    def _forget(self, found: Iterable[EngineSnapshot]) -> None:
        for snapshot in found:
            before = self._used.get(snapshot.key)
            if before is not None and snapshot.arrived - before.arrived > _PAUSE_SECONDS:
                del self._used[snapshot.key]

    def _judge(self, fresh: bool, edge: float) -> None:
        if fresh:
            self._state, self._reason = "ok", None
        elif self._background.busy and self._asked is not None and self._problem is None:
            waited = self._clock.monotonic() - self._asked
            late = waited < max(1.0, self._min_interval)
            self._state, self._reason = "stale" if late else "blocked", f"has not answered for {waited:.1f} s"
        elif self._problem is not None:
            self._state, self._reason = self._problem.state, self._explained(self._problem)
        elif self._background.failure is not None:
            self._state, self._reason = "blocked", f"its page could not be read: {self._background.failure}"
        else:
            # As configured: pages are further apart than intervals. Nothing is missing that was to be there.
            self._state, self._reason = "stale", None

    def _explained(self, problem: PageProblem) -> str:
        if self.switch is not None and problem.status in _NO_PAGE:
            return f"serves no metrics; start it with {self.switch}"
        return problem.reason

    def _reading(self, key: Key, fresh: EngineSnapshot | None, edge: float, cpu: float | None) -> EngineReading:
        previous = self._used.get(key)
        comparable = previous if previous is not None and previous.is_comparable else None
        if self._facts is not None and fresh is not None:
            self._facts.ask(fresh.engine)
        facts = self._facts.known if self._facts is not None else {}
        if fresh is not None:
            return engine_reading(comparable, fresh, end=edge, cpu_seconds=cpu, facts=facts)
        return engine_reading(previous, None, end=edge, state=self._state, cpu_seconds=cpu, facts=facts)

    def _nameless(self, cpu: float | None) -> EngineReading:
        return EngineReading(
            endpoint=self.url, engine_index="0", engine=self.engine, state=self._state, cpu_seconds=cpu
        )


def _process_fields(loads: Sequence[ProcessLoad]) -> dict[str, object]:
    """The processes that the ranks of a page share; they stand with its first rank."""
    return {
        "processes": tuple(load.name for load in loads),
        "process_ids": tuple(float(load.pid) for load in loads),
        "process_cores": tuple(load.cores for load in loads),
        "process_threads": tuple(load.thread for load in loads),
        "process_thread_ratios": tuple(load.thread_ratio for load in loads),
    }
