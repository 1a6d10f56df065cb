from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from collectors.clock import FakeClock
from collectors.engine.endpoint import Endpoint
from collectors.engine.scrape import Fetcher
from collectors.model import Gap
from collectors.readings import EngineReading
from tests.live_support import plant_process
from tests.making import vllm_page

URL = "http://127.0.0.1:8000/metrics"
Answer = Callable[[httpx.Request], httpx.Response]


def page(**counts: int) -> Answer:
    return lambda request: httpx.Response(200, stream=httpx.ByteStream(vllm_page(**counts).encode()))


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused") from ConnectionRefusedError(111, "Connection refused")


def status(code: int) -> Answer:
    return lambda request: httpx.Response(code)


class Played:
    """An endpoint whose server answers as the test says, asked edge by edge on a fake clock."""

    def __init__(self, *, min_interval: float = 1.0, engine: str | None = None, proc: str = "/proc") -> None:
        self.clock = FakeClock()
        self.answer: Answer = page()
        self.asked = 0
        self.arrived = threading.Event()
        fetcher = Fetcher(URL, transport=httpx.MockTransport(self._serve), monotonic=self.clock.monotonic)
        self.endpoint = Endpoint(fetcher, self.clock, min_interval=min_interval, engine=engine, proc=proc)
        self.endpoint.start(self.arrived)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return self.answer(request)

    def edge(self, answer: Answer | None = None, *, after: float = 1.0) -> tuple[list[EngineReading], Gap | None]:
        self.answer = answer or self.answer
        self.clock.advance(after)
        self.request()
        while self.endpoint.pending():
            assert self.arrived.wait(30)
            self.arrived.clear()
        return self.endpoint.collect(self.clock.monotonic())

    def request(self) -> None:
        self.endpoint.request(self.clock.monotonic())


@pytest.fixture
def played() -> Iterator[Played]:
    with playing() as one:
        yield one


@contextmanager
def playing(**options: object) -> Iterator[Played]:
    one = Played(**options)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        one.endpoint.stop()


def test_the_first_page_gives_gauges_and_the_second_amounts(played: Played) -> None:
    (first,), gap = played.edge(page(generated=5, running=2))
    assert (first.state, first.requests_running, first.generation_tokens, gap) == ("ok", 2.0, None, None)
    (second,), gap = played.edge(page(generated=12))
    assert (second.generation_tokens, second.window_seconds, gap) == (7.0, 1.0, None)


def test_between_two_reads_that_are_to_be_apart_the_page_is_stale_and_that_is_no_gap() -> None:
    with playing(min_interval=1.0) as played:
        played.edge(page(generated=1))
        for _ in range(3):
            (reading,), gap = played.edge(after=0.25)
            assert (reading.state, reading.generation_tokens, gap) == ("stale", None, None)
        (reading,), gap = played.edge(page(generated=9), after=0.25)
        assert (played.asked, reading.state, reading.generation_tokens, gap) == (2, "ok", 8.0, None)


def test_an_edge_a_hair_early_is_still_a_whole_interval_on(played: Played) -> None:
    played.edge(page(generated=1))
    (reading,), _ = played.edge(after=0.9995)
    assert reading.state == "ok"


def test_a_late_page_is_waited_for_once_and_nothing_it_counted_is_lost(played: Played) -> None:
    played.edge(page(generated=10))
    begun, let_go = threading.Event(), threading.Event()

    def late(request: httpx.Request) -> httpx.Response:
        begun.set()
        assert let_go.wait(30)
        return page(generated=50)(request)

    played.answer = late
    for waited, state in ((0.0, "stale"), (1.0, "blocked"), (2.0, "blocked")):
        played.clock.advance(1.0)
        played.request()
        (reading,), gap = played.endpoint.collect(played.clock.monotonic())
        assert (reading.state, reading.generation_tokens) == (state, None)
        assert gap == Gap(URL, f"has not answered for {waited:.1f} s")
    assert begun.wait(30)
    assert played.asked == 2
    let_go.set()
    (reading,), gap = played.edge(page(generated=60))
    assert (reading.state, gap) == ("ok", None)
    assert reading.generation_tokens in (40.0, 50.0)  # the late page, or the one asked for after it
    assert reading.window_seconds is not None
    assert reading.window_seconds >= 3.0


def test_an_engine_that_ended_is_down_and_counts_anew_when_it_is_back(played: Played) -> None:
    played.edge(page(generated=100))
    (reading,), gap = played.edge(refused)
    assert (reading.state, reading.engine, gap) == ("down", "vllm", Gap(URL, "connection refused"))
    (reading,), gap = played.edge(page(generated=400), after=2.0)
    assert (reading.state, reading.generation_tokens, reading.window_seconds) == ("ok", None, None)
    (reading,), _ = played.edge(page(generated=401))
    assert reading.generation_tokens == 1.0


def test_a_page_that_keeps_failing_is_asked_ever_less_often_but_every_ten_seconds(played: Played) -> None:
    played.edge(refused)
    tries = []
    for second in range(2, 60):
        before = played.asked
        (reading,), _ = played.edge()
        assert reading.state == "down"
        if played.asked > before:
            tries.append(second)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[:3] == [2, 4, 8]
    assert set(pauses[3:]) == {10}


def test_a_page_that_reading_may_empty_is_asked_again_after_ten_minutes(played: Played) -> None:
    played.edge(lambda request: httpx.Response(200, stream=httpx.ByteStream(b'[{"iter": 1}]')))
    for _ in range(60):
        played.edge(after=9.8)
    assert played.asked == 1
    played.edge(after=9.8)
    assert played.asked == 2


def test_another_process_behind_the_page_is_a_new_count_and_is_asked_at_once(played: Played) -> None:
    played.edge(page(generated=100))
    for _ in range(6):
        played.edge(status(503))
    asked = played.asked
    played.endpoint.restarted()
    (reading,), _ = played.edge(page(generated=300))
    assert (played.asked, reading.state, reading.generation_tokens) == (asked + 1, "ok", None)


def test_a_restart_that_the_page_showed_costs_no_second_interval_when_the_process_is_seen(played: Played) -> None:
    played.edge(page(generated=100))
    played.edge(refused)
    played.edge(page(generated=10), after=2.0)
    played.endpoint.restarted()
    (reading,), _ = played.edge(page(generated=14))
    assert reading.generation_tokens == 4.0
    played.endpoint.restarted()
    (reading,), _ = played.edge(page(generated=20))
    assert reading.generation_tokens is None


def test_pages_a_minute_apart_are_not_compared(played: Played) -> None:
    played.edge(page(generated=100))
    (reading,), _ = played.edge(page(generated=300), after=61.0)
    assert (reading.state, reading.generation_tokens) == ("ok", None)


def test_a_page_of_nobody_known_is_blocked_under_the_name_it_was_found_by() -> None:
    with playing(engine="tgi") as played:
        (reading,), gap = played.edge(
            lambda request: httpx.Response(200, stream=httpx.ByteStream(b"go_goroutines 1\n"))
        )
        assert (reading.state, reading.engine, reading.engine_index) == ("blocked", "tgi", "0")
        assert gap == Gap(URL, "its page holds no metrics of a known engine")


def empty(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(b""))


def tgi_page(tokens: int) -> Answer:
    text = f"tgi_request_input_length_sum {tokens}\ntgi_request_input_length_count 1\ntgi_queue_size 2\n"
    return lambda request: httpx.Response(200, stream=httpx.ByteStream(text.encode()))


def test_an_engine_whose_page_is_empty_at_first_is_well_and_its_first_request_counts() -> None:
    with playing(engine="tgi") as played:
        (reading,), gap = played.edge(empty)
        assert (reading.state, reading.engine, reading.prompt_tokens, gap) == ("ok", "tgi", None, None)
        (reading,), _ = played.edge(empty)
        assert (reading.state, reading.window_seconds, reading.prompt_tokens) == ("ok", 1.0, None)
        (reading,), _ = played.edge(tgi_page(700))
        assert (reading.prompt_tokens, reading.requests_waiting) == (700.0, 2.0)
        played.edge(refused)
        played.edge(empty, after=2.0)
        (reading,), _ = played.edge(tgi_page(30))
        assert reading.prompt_tokens == 30.0


def test_the_first_request_counts_too_when_the_first_page_with_something_on_it_tells_whose_it_is(
    played: Played,
) -> None:
    (reading,), gap = played.edge(empty)
    assert (reading.state, reading.engine) == ("blocked", None)
    assert gap == Gap(URL, "its page is empty: nothing has been counted yet")
    (reading,), _ = played.edge(tgi_page(700), after=3.0)
    assert (reading.engine, reading.prompt_tokens, reading.window_seconds) == ("tgi", 700.0, 3.0)


def test_an_empty_page_of_an_engine_that_always_has_something_on_it_counts_nothing(played: Played) -> None:
    played.edge(empty)
    (reading,), _ = played.edge(page(generated=300), after=3.0)
    assert (reading.engine, reading.generation_tokens) == ("vllm", None)


@pytest.mark.parametrize("code", [404, 501])
def test_an_engine_without_a_page_says_which_flag_gives_it_one(code: int) -> None:
    with playing(engine="sglang") as played:
        played.endpoint.switch = "--enable-metrics"
        _, gap = played.edge(status(code))
        assert gap == Gap(URL, "serves no metrics; start it with --enable-metrics")


def test_ranks_on_one_page_are_readings_of_their_own_and_one_that_goes_is_gone(played: Played) -> None:
    both = vllm_page(generated=1, engine="0") + "\n" + vllm_page(generated=2, engine="1")
    readings, _ = played.edge(lambda request: httpx.Response(200, stream=httpx.ByteStream(both.encode())))
    assert [reading.engine_index for reading in readings] == ["0", "1"]
    readings, _ = played.edge(page(generated=3))
    assert [(reading.engine_index, reading.generation_tokens) for reading in readings] == [("0", 2.0)]
    readings, _ = played.edge(status(503))
    assert [reading.engine_index for reading in readings] == ["0"]


def test_cpu_time_of_its_processes_goes_on_while_the_page_is_missing(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    with playing(proc=str(tmp_path)) as played:
        played.endpoint.pids = frozenset({5})
        plant_process(tmp_path, 5, ["vllm"], ticks=0)
        (reading,), _ = played.edge(page())
        assert reading.cpu_seconds is None
        plant_process(tmp_path, 5, ["vllm"], ticks=ticks // 2)
        (reading,), _ = played.edge(status(503))
        assert (reading.state, reading.cpu_seconds) == ("blocked", 0.5)


def test_the_time_of_processes_that_several_ranks_share_is_nobodys(tmp_path: Path) -> None:
    both = vllm_page(engine="0") + "\n" + vllm_page(engine="1")
    with playing(proc=str(tmp_path)) as played:
        played.endpoint.pids = frozenset({5})
        plant_process(tmp_path, 5, ["vllm"])
        played.answer = lambda request: httpx.Response(200, stream=httpx.ByteStream(both.encode()))
        played.edge()
        readings, _ = played.edge()
        assert [reading.cpu_seconds for reading in readings] == [None, None]


def test_a_server_that_drips_for_ever_is_hung_up_on(played: Played) -> None:
    begun, hung_up = threading.Event(), threading.Event()

    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            begun.set()
            assert hung_up.wait(30)
            raise httpx.ReadError("closed")

        def close(self) -> None:
            hung_up.set()

    class Transport(httpx.MockTransport):
        def close(self) -> None:
            hung_up.set()

    fetcher = Fetcher(URL, transport=Transport(lambda request: httpx.Response(200, stream=Dripping())))
    endpoint = Endpoint(fetcher, played.clock, timeout=10.0)
    endpoint.start(played.arrived)
    try:
        endpoint.request(0.0)
        assert begun.wait(30)
        endpoint.request(12.0)
        assert not hung_up.is_set()
        endpoint.request(14.0)
        assert hung_up.wait(30)
        assert played.arrived.wait(30)
        _, gap = endpoint.collect(14.0)
        assert gap == Gap(URL, "its page had not arrived after 10 s")
    finally:
        endpoint.stop()
