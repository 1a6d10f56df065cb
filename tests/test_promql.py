"""The Prometheus client against a server of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.engine.credentials import Credentials
from collectors.promql import IN_FLIGHT, PromClient, PromProblem
from collectors.promql_answers import document
from tests.patience import PATIENCE
from tests.prom_server import Answer, Asked, matrix, prom_server, vector


def client_of(url: str, **options: object) -> PromClient:
    return PromClient(url, **{"timeout": PATIENCE, "jitter": lambda: 0.5, **options})  # type: ignore[arg-type]


def problem_of(answer: Answer) -> PromProblem:
    with prom_server(lambda asked: answer) as server:
        client = client_of(server.url)
        with pytest.raises(PromProblem) as caught:
            client.query("up")
        client.close()
    return caught.value


def test_a_query_is_posted_with_its_moment_and_a_short_look_back() -> None:
    with prom_server(lambda asked: vector([({"instance": "a"}, 1), ({"instance": "b"}, "NaN")])) as server:
        client = client_of(server.url, lookback=60.0)
        found = client.query("up", at=100.5)
        client.close()
        assert found.samples == (({"instance": "a"}, 1.0),)
        (asked,) = server.asked
    assert asked["query"] == "up"
    assert asked["time"] == "100.500"
    assert asked["lookback_delta"] == asked["max_lookback"] == "60s"


def test_a_range_has_its_points_in_order_without_those_that_are_no_numbers() -> None:
    with prom_server(lambda asked: matrix([({"phase": "decode"}, [(10, 1), (20, "+Inf"), (30, 2)])])) as server:
        client = client_of(server.url)
        found = client.query_range("x", 10, 30, 10)
        client.close()
        assert found.series == (({"phase": "decode"}, ((10.0, 1.0), (30.0, 2.0))),)
        assert server.asked[0]["step"] == "10"


def test_at_most_four_queries_are_in_flight_however_many_threads_ask() -> None:
    busy = threading.Semaphore(0)

    def slow(asked: Asked) -> Answer:
        busy.acquire(timeout=0.05)
        return vector([])

    with prom_server(slow) as server:
        client = client_of(server.url)
        threads = [threading.Thread(target=client.query, args=("up",)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        client.close()
        assert len(server.asked) == 12
        assert 1 <= server.most_at_once <= IN_FLIGHT


def test_warnings_and_partial_data_stay_with_the_answer() -> None:
    with prom_server(lambda asked: vector([], warnings=["store gateway is gone\x1b[2J"], isPartial=True)) as server:
        client = client_of(server.url)
        found = client.query("up")
        client.close()
    assert found.warnings[0].startswith("store gateway is gone")
    assert "\x1b" not in found.warnings[0]
    assert "partial" in found.warnings[1]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(body=b"<html><body>Sign in</body></html>"), "answer", "HTML"),
        (Answer(body=b"\x00\x01"), "answer", "not JSON"),
        (Answer(body=b""), "answer", "nothing"),
        (Answer(document=[1]), "answer", "not Prometheus'"),
        (Answer(status=404, body=b"no"), "answer", "no Prometheus API"),
        (Answer(status=401, body=b"no"), "blocked", "asks for credentials"),
        (Answer(status=302, body=b"", headers={"Location": "/login"}), "blocked", "redirects"),
        (Answer(status=400, document={"status": "error", "errorType": "bad_data", "error": "parse"}), "query", "parse"),
        (Answer(status=503, document={"status": "error", "errorType": "timeout", "error": "x"}), "busy", "503"),
        (Answer(status=422, document={"status": "error", "errorType": "timeout", "error": "too long"}), "late", "long"),
        (Answer(document={"status": "success", "data": {"resultType": "matrix", "result": []}}), "answer", "no vector"),
        (Answer(document={"status": "success"}), "answer", "without data"),
    ],
)
def test_what_is_no_answer_is_named_in_one_line(answer: Answer, kind: str, words: str) -> None:
    problem = problem_of(answer)
    assert problem.kind == kind
    assert words in problem.reason
    assert "\n" not in problem.reason


def test_a_server_that_has_enough_is_left_alone_for_longer_each_time() -> None:
    now = [100.0]
    with prom_server(lambda asked: Answer(status=429, body=b"")) as server:
        client = client_of(server.url, monotonic=lambda: now[0])
        waits = []
        for _ in range(8):
            with pytest.raises(PromProblem) as caught:
                client.query("up")
            waits.append(caught.value.wait)
            with pytest.raises(PromProblem, match="; next try in"):
                client.query("up")
            now[0] += caught.value.wait
        assert len(server.asked) == 8, "nothing is sent during a pause"
        server.answer = lambda asked: vector([])
        client.query("up")
        server.answer = lambda asked: Answer(status=503, body=b"", headers={"Retry-After": "7"})
        with pytest.raises(PromProblem) as caught:
            client.query("up")
        client.close()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert caught.value.wait == 7


def test_credentials_are_sent_and_never_shown(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cr3t-token\n")
    with prom_server(lambda asked: Answer(status=403, body=b"s3cr3t-token is not welcome")) as server:
        client = client_of(server.url, headers=Credentials(token_file=token))
        with pytest.raises(PromProblem) as caught:
            client.query("up")
        client.close()
        sent: Mapping[str, str] = server.headers[0]
    assert sent["Authorization"] == "Bearer s3cr3t-token"
    assert "s3cr3t" not in caught.value.reason


def test_a_missing_token_file_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    with prom_server(lambda asked: vector([])) as server:
        client = client_of(server.url, headers=Credentials(token_file=tmp_path / "none"))
        with pytest.raises(PromProblem, match="none"):
            client.query("up")
        client.close()
        assert not server.asked


def test_an_answer_that_does_not_come_in_time_is_late() -> None:
    gate = threading.Event()

    def never(asked: Asked) -> Answer:
        gate.wait(PATIENCE)
        return vector([])

    with prom_server(never) as server:
        client = client_of(server.url, timeout=0.2)
        with pytest.raises(PromProblem) as caught:
            client.query("up")
        gate.set()
        client.close()
    assert caught.value.kind == "late"


def test_an_answer_over_the_cap_is_refused() -> None:
    with prom_server(lambda asked: vector([({"a": "x" * 150}, 1)] * 100)) as server:
        client = client_of(server.url, size_cap=2_000)
        with pytest.raises(PromProblem, match="larger"):
            client.query("up")
        client.close()


def test_nobody_there_is_down() -> None:
    with prom_server(lambda asked: vector([])) as server:
        url = server.url
    client = client_of(url)
    with pytest.raises(PromProblem) as caught:
        client.query("up")
    assert caught.value.kind == "down"
    client.close()
    with pytest.raises(PromProblem, match="not asked"):
        client.query("up")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(100, 599))
def test_any_answer_is_a_document_or_a_problem(body: bytes, status: int) -> None:
    said = ""
    try:
        assert document(body, status, {}, given=False)["status"] == "success"
    except PromProblem as problem:
        said = problem.reason
    assert said == "" or said.isprintable()
