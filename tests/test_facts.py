"""What an engine's own server tells beside its page: its version, and what it was started with."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from collectors.clock import FakeClock
from collectors.engine.endpoint import Endpoint
from collectors.engine.facts import ANSWERS, FactsReader, engine_of_an_empty_page, read_facts, server_of
from collectors.engine.scrape import Fetcher
from collectors.readings import EngineReading, field_specs
from tests.making import vllm_page
from tests.patience import PATIENCE, until

PAGE = "http://127.0.0.1:8000/metrics"
MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "max_model_len": 8192}]}


class Server:
    """Answers some paths with JSON and every other with 404; remembers what was asked."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []

    def fetcher(self, url: str) -> Fetcher:
        return Fetcher(url, transport=httpx.MockTransport(self._serve))

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        answer = self.answers.get(request.url.path)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return httpx.Response(404)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return httpx.Response(200, stream=httpx.ByteStream(body))


def told(engine: str, answers: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    server = Server(answers)
    return dict(read_facts(engine, server_of(PAGE), server.fetcher)), server.asked


def test_vllm_tells_its_version_and_the_length_of_its_context() -> None:
    facts, asked = told("vllm", {"/version": {"version": "0.32.0"}, "/v1/models": MODELS})
    assert facts == {"version": "0.32.0", "model": "tiny", "max_length_tokens": 8192.0}
    assert asked == ["/version", "/v1/models"]


def test_sglang_is_asked_under_the_new_name_first_and_under_the_old_only_where_that_fails() -> None:
    info = {"version": "0.5.20", "dtype": "float32", "tp_size": 2, "context_length": None, "api_key": "secret"}
    facts, asked = told("sglang", {"/server_info": info, "/v1/models": MODELS})
    assert facts["version"] == "0.5.20"
    assert (facts["tensor_parallel"], facts["max_length_tokens"]) == (2.0, 8192.0)
    assert "secret" not in json.dumps(facts)
    assert asked[0] == "/server_info"
    facts, asked = told("sglang", {"/get_server_info": info})
    assert facts["version"] == "0.5.20"
    assert asked == ["/server_info", "/get_server_info", "/v1/models"]


def test_llama_cpp_tells_its_build_its_model_and_its_slots() -> None:
    props = {
        "build_info": "b6123-4227c9be",
        "model_alias": "tiny",
        "total_slots": 4,
        "default_generation_settings": {"n_ctx": 8192, "params": {}},
    }
    facts, _ = told("llamacpp", {"/props": props})
    assert facts == {
        "version": "b6123-4227c9be",
        "model": "tiny",
        "requests_limit": 4.0,
        "max_length_tokens": 8192.0,
    }


def test_tgi_tells_everything_at_one_address() -> None:
    info = {"model_id": "m", "model_dtype": "torch.bfloat16", "version": "3.3.7", "max_batch_total_tokens": 90000}
    facts, asked = told("tgi", {"/info": info})
    assert (facts["version"], facts["dtype"], facts["kv_cache_tokens"]) == ("3.3.7", "torch.bfloat16", 90000.0)
    assert asked == ["/info"]


def test_an_empty_page_is_of_the_engine_whose_server_tells_what_no_other_does() -> None:
    tgi = Server({"/info": {"model_id": "m", "max_total_tokens": 4096, "max_batch_total_tokens": 90000}})
    assert engine_of_an_empty_page(PAGE, tgi.fetcher) == "tgi"
    embedder = Server({"/info": {"model_id": "m", "max_batch_tokens": 16384, "max_input_length": 512}})
    assert engine_of_an_empty_page(PAGE, embedder.fetcher) is None
    assert engine_of_an_empty_page(PAGE, Server({}).fetcher) is None


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[" * 100_000, [], [1], "text", {"version": 7}, {"version": ""}, {"version": None}, {"data": []}],
)
def test_an_answer_of_another_shape_tells_nothing(answer: object) -> None:
    assert told("vllm", {"/version": answer, "/v1/models": answer})[0] == {}


@pytest.mark.parametrize("number", [-1, 0, True, "8192", float("inf"), 1e300, [8192]])
def test_a_number_that_is_none_is_missing(number: object) -> None:
    facts, _ = told("vllm", {"/v1/models": {"data": [{"id": "m", "max_model_len": number}]}})
    assert facts == {"model": "m"}


def test_a_server_that_does_not_answer_is_not_asked_a_second_time() -> None:
    facts, asked = told("vllm", {"/version": httpx.ReadTimeout("late")})
    assert (facts, asked) == ({}, ["/version"])


def test_names_from_a_server_are_cleaned() -> None:
    facts, _ = told("vllm", {"/version": {"version": "0.1\x1b[31m\n" + "x" * 900}})
    assert "\x1b" not in str(facts["version"])
    assert len(str(facts["version"])) <= 200


@pytest.mark.parametrize(
    ("page", "server"),
    [
        ("http://h:8000/metrics", "http://h:8000"),
        ("http://h:8000/metrics/", "http://h:8000"),
        ("http://h:8000/prometheus/metrics", "http://h:8000"),
        ("http://h:8000/v1/metrics", "http://h:8000"),
        ("https://h/team/llm/metrics?x=1", "https://h/team/llm"),
        ("http://h:8000/", "http://h:8000"),
    ],
)
def test_the_server_is_where_its_page_is(page: str, server: str) -> None:
    assert server_of(page) == server


def test_the_table_names_fields_of_a_reading_and_no_address_that_does_work() -> None:
    names = {spec.name for spec in field_specs(EngineReading)}
    answers = [answer for several in ANSWERS.values() for answer in several]
    assert {field for answer in answers for field, _ in answer.fields} <= names
    # SGLang's health check makes a token, and TensorRT-LLM's JSON metrics are emptied by who reads them.
    assert not {answer.path for answer in answers} & {"/health", "/health_generate", "/metrics", "/generate"}


class Played:
    """An endpoint of a server (vLLM unless told) that is asked for its facts, edge by edge on a fake clock."""

    def __init__(self, server: Server, page: bytes | None = None) -> None:
        self.clock, self.arrived, self.loading = FakeClock(), threading.Event(), False
        self.text = vllm_page().encode() if page is None else page
        self.facts = FactsReader(PAGE, server.fetcher, monotonic=self.clock.monotonic)
        page = Fetcher(PAGE, transport=httpx.MockTransport(self._page), monotonic=self.clock.monotonic)
        self.endpoint = Endpoint(page, self.clock, facts=self.facts)
        self.endpoint.start(self.arrived)

    def _page(self, request: httpx.Request) -> httpx.Response:
        if self.loading:
            return httpx.Response(503)
        return httpx.Response(200, stream=httpx.ByteStream(self.text))

    def edge(self, after: float = 1.0) -> EngineReading:
        self.clock.advance(after)
        self.endpoint.request(self.clock.monotonic())
        while self.endpoint.pending():
            assert self.arrived.wait(PATIENCE)
            self.arrived.clear()
        (reading,), _ = self.endpoint.collect(self.clock.monotonic())
        return reading


def test_a_page_that_is_empty_at_first_is_recognised_by_what_its_server_tells() -> None:
    server = Server({"/info": {"model_id": "m", "max_total_tokens": 4096, "max_batch_total_tokens": 90000}})
    played = Played(server, page=b"")
    try:
        until(lambda: played.edge().engine, "what the server tells, in a thread of its own")
        reading = played.edge()
        assert (reading.engine, reading.state, reading.model) == ("tgi", "ok", "m")
        assert reading.prompt_tokens is reading.requests_running is None
    finally:
        played.endpoint.stop()


def asked_for(version: str, played: Played, after: float = 0.001) -> EngineReading:
    """The reading once the version is there; it is asked for in a thread of its own."""
    played.edge(after + 1.0)
    until(lambda: played.facts.known.get("version") == version, f"version {version}")
    return played.edge(1.0)


def test_readings_hold_what_the_page_does_not_tell_and_a_new_process_is_asked_again() -> None:
    server = Server({"/version": {"version": "0.32.0"}, "/v1/models": {"data": [{"id": "other", "max_model_len": 8}]}})
    played = Played(server)
    reading = asked_for("0.32.0", played)
    assert (reading.model, reading.max_length_tokens) == ("tiny", 8.0)
    assert server.asked == ["/version", "/v1/models"]
    server.answers["/version"] = {"version": "0.33.0"}
    played.endpoint.restarted()
    asked_for("0.33.0", played)
    assert len(server.asked) == 4


def test_a_server_that_is_still_loading_is_not_asked() -> None:
    server = Server({"/version": {"version": "0.32.0"}, "/v1/models": MODELS})
    played = Played(server)
    played.loading = True
    for _ in range(3):
        played.edge(20.0)
    assert server.asked == []
    played.loading = False
    asked_for("0.32.0", played, 20.0)


def test_a_server_that_told_nothing_is_asked_again_later_and_not_for_ever() -> None:
    server = Server({})
    played = Played(server)
    for times in range(1, 4):
        played.edge(61.0)
        until(lambda: len(server.asked) == 2 * times, "the next round of questions")  # noqa: B023
    for _ in range(10):
        played.edge(61.0)
    assert server.asked == ["/version", "/v1/models"] * 3
