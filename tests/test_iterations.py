"""TensorRT-LLM's records of its steps, which are read only where the configuration says so."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import FakeClock
from collectors.engine.endpoint import Endpoint
from collectors.engine.iterations import IterationStats, IterationTotals
from collectors.engine.scrape import Fetcher
from collectors.model import Interval
from collectors.phase.label import Labeller
from collectors.readings import EngineReading
from tests.making import SECOND

PAGE = "http://127.0.0.1:8000/prometheus/metrics"
RECORDS = "http://127.0.0.1:8000/metrics"


def step(milliseconds: float, *, prompts: int = 0, generating: int = 0, tokens: int = 0) -> dict[str, Any]:
    batch = {"numContextRequests": prompts, "numGenRequests": generating, "numCtxTokens": tokens}
    return {"iter": 1, "iterLatencyMS": milliseconds, "inflightBatchingStats": batch}


def test_steps_are_told_apart_by_what_they_computed() -> None:
    totals = IterationTotals()
    totals.add([step(40, prompts=1, tokens=2048), step(10, generating=4), step(12, generating=4), step(9)])
    assert (totals.context_steps, totals.generation_steps, totals.context_tokens) == (1, 2, 2048)
    assert totals.prefill_seconds == pytest.approx(0.040)
    assert totals.decode_seconds == pytest.approx(0.022)


def test_of_a_step_that_does_both_decode_gets_what_a_step_without_prompts_takes() -> None:
    totals = IterationTotals()
    totals.add([step(10, generating=4), step(35, prompts=1, generating=4, tokens=512)])
    assert totals.decode_seconds == pytest.approx(0.020)
    assert totals.prefill_seconds == pytest.approx(0.025)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9000)), min_size=1))
def test_the_seconds_of_both_phases_add_up_to_those_of_all_steps(steps: list[tuple[float, int, int, int]]) -> None:
    totals = IterationTotals()
    totals.add([step(ms, prompts=prompts, generating=others, tokens=n) for ms, prompts, others, n in steps])
    busy = sum(ms for ms, prompts, others, _ in steps if prompts or others) / 1e3
    assert totals.prefill_seconds + totals.decode_seconds == pytest.approx(busy)
    assert min(totals.prefill_seconds, totals.decode_seconds) >= 0


@pytest.mark.parametrize(
    "answer", [None, {}, [], [1, "x", None, {}], [{"inflightBatchingStats": 3}], [step(float("nan"), generating=1)]]
)
def test_what_is_no_record_of_a_step_counts_no_time(answer: Any) -> None:
    totals = IterationTotals()
    totals.add(answer)
    assert totals.prefill_seconds + totals.decode_seconds == 0


class Server:
    """A trtllm-serve: a page that moves when a request ends, and records that a read takes away."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.works = True
        self.taken = 0

    def fetcher(self, url: str, clock: FakeClock) -> Fetcher:
        return Fetcher(url, transport=httpx.MockTransport(self._serve), monotonic=clock.monotonic)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/metrics":
            body = 'trtllm_generation_tokens_total{engine_type="trtllm",model_name="m"} 5\n'
            return httpx.Response(200, stream=httpx.ByteStream(body.encode()))
        if not self.works:
            return httpx.Response(503)
        self.taken += 1
        records, self.records = self.records, []
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(records).encode()))


class Played:
    def __init__(self, *, asks: bool = True) -> None:
        self.server, self.clock, self.arrived = Server(), FakeClock(), threading.Event()
        stats = IterationStats(self.server.fetcher(RECORDS, self.clock)) if asks else None
        self.endpoint = Endpoint(self.server.fetcher(PAGE, self.clock), self.clock, iterations=stats)
        self.endpoint.start(self.arrived)

    def edge(self, *records: dict[str, Any]) -> EngineReading:
        self.server.records += records
        self.clock.advance(1.0)
        self.endpoint.request(self.clock.monotonic())
        while self.endpoint.pending():
            assert self.arrived.wait(30)
            self.arrived.clear()
        (reading,), _ = self.endpoint.collect(self.clock.monotonic())
        return reading


def test_records_give_a_tensorrt_llm_server_seconds_and_a_phase() -> None:
    played = Played()
    played.edge()  # its page says what it is
    played.edge()
    got = played.edge(step(900, prompts=2, tokens=4000), step(50, generating=3))
    assert (got.prefill_seconds, got.decode_seconds) == (0.9, 0.05)
    assert (got.steps, got.decode_steps, got.prompt_tokens_computed) == (2, 1, 4000)
    interval = Interval(1, 0, SECOND, 1.0, engines={got.key: got})
    labeller = Labeller()
    labels = [*labeller.push(interval).settled, *labeller.flush()]
    (phase,) = [one.phase for one in labels if one.entity.startswith("engine/")]
    assert (phase.label, "engine-seconds" in phase.evidence) == ("prefill", True)


def test_records_that_could_not_be_read_are_missing_and_counted_once_they_can() -> None:
    played = Played()
    for _ in range(2):
        played.edge()
    assert played.edge(step(100, generating=1)).decode_seconds == 0.1
    played.server.works = False
    assert played.edge(step(100, generating=1)).decode_seconds is None
    played.server.works = True
    assert played.edge(step(100, generating=1)).decode_seconds == 0.2


def test_nobody_takes_records_unasked() -> None:
    played = Played(asks=False)
    for _ in range(3):
        got = played.edge(step(100, generating=1))
    assert (got.decode_seconds, played.server.taken) == (None, 0)
