from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from collectors.clock import FakeClock
from collectors.engine.discover import Found
from collectors.engine.endpoint import Endpoint
from collectors.engine.endpoints import Endpoints, address_of
from collectors.engine.scrape import Fetcher
from collectors.sources import Harvest
from tests.making import vllm_page

URL = "http://127.0.0.1:8000/metrics"


class Pages:
    """Endpoints over pages that the test switches on and off; all answer at once."""

    def __init__(self, *, urls: tuple[str, ...] = (), add_found: bool = True) -> None:
        self.clock = FakeClock()
        self.up: dict[str, int] = {}
        self.arrived = threading.Event()
        self.endpoints = Endpoints(self.clock, self._make, urls=urls, add_found=add_found, keep_seconds=600.0)
        self.endpoints.start(self.arrived)

    def _make(self, url: str, engine: str | None) -> Endpoint:
        def serve(request: httpx.Request) -> httpx.Response:
            if url not in self.up:
                raise httpx.ConnectError("refused") from ConnectionRefusedError(111, "Connection refused")
            return httpx.Response(200, stream=httpx.ByteStream(vllm_page(generated=self.up[url]).encode()))

        fetcher = Fetcher(url, transport=httpx.MockTransport(serve), monotonic=self.clock.monotonic)
        return Endpoint(fetcher, self.clock, engine=engine)

    def edge(self, after: float = 1.0) -> Harvest:
        self.clock.advance(after)
        self.endpoints.request(self.clock.monotonic())
        while self.endpoints.pending():
            assert self.arrived.wait(30)
            self.arrived.clear()
        return self.endpoints.collect(self.clock.monotonic())

    def states(self, after: float = 1.0) -> dict[str, str]:
        return {reading.endpoint: reading.state for reading in self.edge(after).engines}


@pytest.fixture
def pages() -> Iterator[Pages]:
    made = Pages()
    yield made
    made.endpoints.stop()


def test_what_is_found_is_read_from_the_next_edge_on(pages: Pages) -> None:
    assert pages.edge() == Harvest()
    pages.up[URL] = 1
    pages.endpoints.update([Found(URL, "vllm", 10, frozenset({10, 11}))])
    harvest = pages.edge()
    assert [reading.state for reading in harvest.engines] == ["ok"]
    assert harvest.trees == {URL: frozenset({10, 11})}


def test_an_engine_that_ended_stays_down_for_a_while_and_then_goes(pages: Pages) -> None:
    pages.up[URL] = 1
    pages.endpoints.update([Found(URL, "vllm", 10)])
    pages.edge()
    del pages.up[URL]
    pages.endpoints.update([])
    assert pages.states() == {URL: "down"}
    pages.endpoints.update([])
    assert pages.states(after=500.0) == {URL: "down"}
    pages.endpoints.update([])
    assert pages.states(after=200.0) == {URL: "down"}
    pages.endpoints.update([])
    assert pages.states() == {}


def test_an_engine_that_comes_back_is_the_same_endpoint_with_a_new_count(pages: Pages) -> None:
    pages.up[URL] = 100
    pages.endpoints.update([Found(URL, "vllm", 10)])
    pages.edge()
    pages.up[URL] = 400
    pages.endpoints.update([Found(URL, "vllm", 99)])
    (reading,) = pages.edge().engines
    assert (reading.state, reading.generation_tokens) == ("ok", None)
    pages.up[URL] = 402
    (reading,) = pages.edge().engines
    assert reading.generation_tokens == 2.0


def test_a_page_that_answers_stays_though_nobody_is_seen_behind_it(pages: Pages) -> None:
    pages.up[URL] = 1
    pages.endpoints.update([Found(URL, "vllm", 10)])
    pages.edge()
    for _ in range(5):
        pages.endpoints.update([])
        assert pages.states(after=400.0) == {URL: "ok"}


def test_a_configured_page_is_never_dropped_and_learns_whose_processes_it_has() -> None:
    configured = "http://localhost:8000/metrics"
    pages = Pages(urls=(configured,), add_found=False)
    try:
        assert pages.states() == {configured: "down"}
        pages.endpoints.update(
            [Found(URL, "vllm", 10, frozenset({10})), Found("http://127.0.0.1:9/metrics", "vllm", 11)]
        )
        pages.up[configured] = 1
        harvest = pages.edge(after=20.0)
        assert [(reading.endpoint, reading.state) for reading in harvest.engines] == [(configured, "ok")]
        assert harvest.trees == {configured: frozenset({10})}
    finally:
        pages.endpoints.stop()


def test_one_dead_page_costs_the_others_nothing(pages: Pages) -> None:
    other = "http://127.0.0.1:8001/metrics"
    pages.up[other] = 1
    pages.endpoints.update([Found(URL, "vllm", 1), Found(other, "vllm", 2)])
    assert pages.states() == {URL: "down", other: "ok"}
    assert {line.source: line.state for line in pages.endpoints.status()} == {URL: "down", other: "ok"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://localhost:8000/metrics", "http://127.0.0.1:8000/metrics", True),
        ("http://[::1]:8000/metrics/", "http://127.0.0.1:8000/metrics", True),
        ("http://h/metrics", "http://h:80/metrics", True),
        ("http://h:8000/metrics", "http://127.0.0.1:8000/metrics", False),
        ("http://127.0.0.1:8000/metrics", "http://127.0.0.1:8000/prometheus/metrics", False),
    ],
)
def test_pages_are_told_apart_by_address(one: str, other: str, same: bool) -> None:
    assert (address_of(one) == address_of(other)) is same
