"""An exporter's page, read over HTTP while a session runs, no more often than its figures change."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from collectors.clock import Clock
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.gpu.pages import GpuPage
from collectors.gpu.peaks import PeakBook
from collectors.model import Gap
from collectors.readings import GpuReading
from collectors.sources import Background, SourceStatus

_BACK_OFF_SECONDS = 30.0
_SHARE_OF_INTERVAL = 0.1
"""A page is read this much more often than it changes: how old a change is at most, as a share of its interval."""
_LONGEST_PAUSE_SECONDS = 3.0
_ABORT_GRACE_SECONDS = 3.0
_LATE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Arrival:
    text: str = ""
    arrived: float = 0.0
    problem: PageProblem | None = None


class PageReader:
    """One page. Everything but the request itself happens on the sampler's thread."""

    def __init__(
        self,
        fetcher: Fetcher,
        clock: Clock,
        *,
        min_interval: float = 1.0,
        timeout: float = 10.0,
        book: PeakBook | None = None,
    ) -> None:
        """`min_interval` and `timeout` are seconds; `book` gives the GPUs' peaks."""
        self.url = fetcher.url
        self.page = GpuPage(book)
        self._fetcher = fetcher
        self._clock = clock
        self._min_interval = min_interval
        self._timeout = timeout
        self._background: Background[_Arrival] = Background(f"gpu page {fetcher.url}", self._read)
        self._asked: float | None = None
        self._sampled: float | None = None
        self._not_before = float("-inf")
        self._failures = 0
        self._state = "stale"
        self._reason: str | None = "not read yet"

    @property
    def fails(self) -> bool:
        """Whether the last attempt brought no page."""
        return self._failures > 0

    def start(self, arrived: threading.Event) -> None:
        self._background.start(arrived)

    def stop(self) -> None:
        self._background.stop()
        self._fetcher.close()

    def request(self, edge: float) -> None:
        """Ask for the page unless that is under way, too soon, or fails of late."""
        if self._background.busy:
            if self._asked is not None and edge - self._asked > self._timeout + _ABORT_GRACE_SECONDS:
                self._fetcher.abort()
            return
        due = self._asked is None or edge - self._asked >= self._pause() * 0.98
        if due and edge >= self._not_before:
            self._asked = edge
            self._background.ask()

    def pending(self) -> bool:
        return self._background.busy

    def collect(self, edge: float) -> tuple[tuple[GpuReading, ...], Gap | None]:
        """The GPUs of the page as they are known at that moment, and why they are not if they are not."""
        arrival = self._background.take()
        if arrival is not None:
            self._judge(arrival, edge)
        elif self._background.failure is not None:
            self._state, self._reason = "blocked", f"its page could not be read: {self._background.failure}"
        readings = self.page.readings(edge, patience=2 * self._pause() + _LATE_SECONDS)
        return readings, Gap(self.url, self._reason) if self._reason else None

    def status(self) -> SourceStatus:
        state = self._state if self._reason else "ok"
        return SourceStatus(self.url, state, self._reason, "gpu", self._background.seconds, self._sampled)

    def _pause(self) -> float:
        known = self.page.interval or 0.0
        return max(self._min_interval, min(known * _SHARE_OF_INTERVAL, _LONGEST_PAUSE_SECONDS))

    def _read(self) -> _Arrival:
        try:
            page = self._fetcher.fetch()
        except PageProblem as problem:
            return _Arrival(problem=problem)
        return _Arrival(page.text, page.arrived)

    def _judge(self, arrival: _Arrival, edge: float) -> None:
        problem = arrival.problem
        if problem is None and not self.page.put(arrival.text, arrival.arrived):
            problem = PageProblem("blocked", "its page holds no metrics of a known GPU exporter")
        if problem is None:
            self._failures, self._not_before = 0, float("-inf")
            self._sampled = arrival.arrived
            self._state, self._reason = "ok", None
            return
        self._failures += 1
        self._not_before = edge + min(_BACK_OFF_SECONDS, 2.0 ** min(self._failures - 1, 10)) * 0.98
        self._state, self._reason = problem.state, problem.reason
