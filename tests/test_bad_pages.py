"""Every bad page over the path that a session reads pages by: a real server, the fetcher, the endpoint."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from collectors.clock import FakeClock
from collectors.engine.endpoint import Endpoint
from collectors.engine.endpoints import find_page
from collectors.engine.scrape import Fetcher
from collectors.model import Gap
from collectors.readings import EngineReading
from collectors.sources import SourceStatus
from dashboard.config import Config
from tests.bad_pages import BAD_PAGES
from tests.live_support import serving
from tests.patience import PATIENCE, until

SILENCE = 1.0
"""Seconds until a page of which nothing comes is given up."""
NEVER_END = frozenset({"silent", "slow drip", "dripping headers", "endless small chunks", "endless 100 Continue"})


class Read:
    """What came of reading one page, edge by edge, until it came to something."""

    def __init__(self, url: str, *, timeout: float, ends: bool) -> None:
        self.clock = FakeClock()
        self.arrived = threading.Event()
        fetcher = Fetcher(url, timeout=timeout, monotonic=self.clock.monotonic)
        self.endpoint = Endpoint(fetcher, self.clock, timeout=timeout)
        self.endpoint.start(self.arrived)
        self._ends, self._step = ends, 1.0 if ends else timeout

    def once(self) -> tuple[list[EngineReading], Gap | None, SourceStatus]:
        self._ask()

        def has_come() -> bool:
            if self.endpoint.pending() and not self._ends:
                self._ask()  # edges go by
                self.arrived.wait(0.1)
            return not self.endpoint.pending()

        until(has_come, "an answer, or that there is none")
        readings, gap = self.endpoint.collect(self.clock.monotonic())
        return readings, gap, self.endpoint.status()

    def _ask(self) -> None:
        self.arrived.clear()
        self.clock.advance(self._step)
        self.endpoint.request(self.clock.monotonic())


@contextmanager
def reading(name: str) -> Iterator[Read]:
    with serving(BAD_PAGES[name].behaviour) as server:
        read = Read(server.url, timeout=SILENCE if name == "silent" else PATIENCE, ends=name not in NEVER_END)
        try:
            yield read
        finally:
            server.released.set()
            read.endpoint.stop()


@pytest.mark.parametrize("name", BAD_PAGES)
def test_a_bad_page_gives_one_clear_line_and_a_page_that_is_only_odd_is_read(name: str) -> None:
    bad = BAD_PAGES[name]
    with reading(name) as read:
        readings, gap, status = read.once()
        assert [one.state for one in readings] == [bad.state]
        if bad.says is None:
            assert (gap, status.state) == (None, "ok")
            assert readings[0].engine == "vllm"
            return
        assert gap is not None
        assert bad.says in gap.reason
        assert gap.reason.isprintable()
        assert len(gap.reason) <= 160
        assert "***" not in gap.reason
        assert "secret" not in gap.reason
        assert "hidden" not in gap.reason
        assert (status.state, status.reason) == (bad.state, gap.reason)
        assert readings[0].requests_running is None


def test_foreign_labels_arrive_without_escapes_and_with_their_markup_as_text() -> None:
    with reading("hostile labels") as read:
        ((one,), _, _) = read.once()
        assert one.model is not None
        assert one.model.isprintable()
        assert one.model.startswith('[red]x[/red] "q"')
        assert "\x1b" not in one.model
        assert "\u202e" not in one.model


@pytest.mark.parametrize("name", ["twice the same", "a slash too few", "CRLF"])
def test_a_page_that_is_only_odd_is_counted_right(name: str) -> None:
    with reading(name) as read:
        read.once()
        ((one,), _, _) = read.once()
        assert (one.requests_running, one.generation_tokens) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["silent", "dripping headers", "endless", "endless small chunks", "redirect loop"])
def test_looking_for_engines_gets_past_a_bad_page(name: str) -> None:
    with serving(BAD_PAGES[name].behaviour) as server:
        assert find_page(server.base, ("/metrics", "/prometheus/metrics")) is None


@pytest.mark.parametrize("name", ["endless", "50 MB", "gzip bomb", "endless line", "endless headers"])
def test_memory_stays_bounded_whatever_a_page_sends(name: str) -> None:
    code = (
        "import resource, sys, httpx\n"
        "from collectors.engine.scrape import Fetcher, PageProblem\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in range(3):\n"
        "    try:\n"
        "        Fetcher(sys.argv[1]).fetch()\n"
        "    except PageProblem:\n"
        "        pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    with serving(BAD_PAGES[name].behaviour) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.url], capture_output=True, text=True, timeout=2 * PATIENCE, check=True
        )
    assert int(done.stdout) < 48 * 1024


def test_all_of_them_at_once_cost_a_session_nothing_but_their_lines() -> None:
    from tests.bad_session import measured

    urls, ticks, lines = measured(Config())
    assert any(tick.interval.host is not None for tick in ticks)
    assert all(line.reason is None or line.reason.isprintable() for line in lines)
    states: dict[str, set[str]] = {}
    for tick in ticks:
        for reading in tick.interval.engines.values():
            states.setdefault(reading.endpoint, set()).add(reading.state)
    for name, bad in BAD_PAGES.items():
        assert ("ok" in states[urls[name]]) is (bad.says is None), name
