from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.engine.scrape import PIECES_CAP, Fetcher, PageProblem, is_loopback
from tests.live_support import reply, serving

PAGE = b"vllm:generation_tokens_total 1.0\n"


def problem(fetcher: Fetcher) -> PageProblem:
    with pytest.raises(PageProblem) as raised:
        fetcher.fetch()
    fetcher.close()
    return raised.value


def text_of(url: str) -> str:
    with closing(Fetcher(url)) as fetcher:
        return fetcher.fetch().text


def encoded(body: bytes, encoding: str) -> Any:
    return lambda request: httpx.Response(200, stream=httpx.ByteStream(body), headers={"Content-Encoding": encoding})


def fetcher_of(handler: Any, url: str = "http://10.0.0.9:8000/metrics", **options: Any) -> Fetcher:
    return Fetcher(url, transport=httpx.MockTransport(handler), **options)


def test_a_page_is_asked_for_as_text_and_stamped_when_it_has_arrived() -> None:
    now = [100.0]
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        now[0] += 1.5
        return httpx.Response(200, stream=httpx.ByteStream(PAGE))

    page = fetcher_of(answer, monotonic=lambda: now[0]).fetch()
    assert page.text == PAGE.decode()
    assert (page.arrived, page.took) == (101.5, 1.5)
    headers = seen[0].headers
    assert headers["accept"] == "text/plain;version=0.0.4"
    assert headers["accept-encoding"] == "gzip"
    assert headers["user-agent"].startswith("phasetop")


def test_an_engine_on_this_machine_is_not_made_to_compress() -> None:
    with serving(reply(PAGE)) as server:
        text_of(server.url)
        assert server.requests[0][2]["accept-encoding"] == "identity"


def test_one_connection_serves_many_pages() -> None:
    with serving(reply(PAGE)) as server:
        fetcher = Fetcher(server.url)
        for _ in range(3):
            assert fetcher.fetch().text == PAGE.decode()
        fetcher.close()
        assert (len(server.requests), server.connections) == (3, 1)


def test_a_connection_closed_while_idle_is_opened_anew_without_a_word() -> None:
    def answer_and_hang_up(handler: Any) -> None:
        reply(PAGE)(handler)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    with serving(answer_and_hang_up) as server:
        fetcher = Fetcher(server.url)
        assert fetcher.fetch().text == fetcher.fetch().text == PAGE.decode()
        fetcher.close()
        assert server.connections == 2


def test_a_packed_page_is_unpacked() -> None:
    packed = gzip.compress(PAGE)
    fetcher = fetcher_of(encoded(packed, "gzip"))
    assert fetcher.fetch().text == PAGE.decode()


def test_a_page_that_unpacks_without_end_is_cut_off() -> None:
    bomb = gzip.compress(b"x" * 50_000_000)
    fetcher = fetcher_of(encoded(bomb, "gzip"), size_cap=1_000_000)
    found = problem(fetcher)
    assert (found.state, found.reason) == ("blocked", "its page is larger than 1 MB")


def test_a_damaged_packed_page_is_a_problem() -> None:
    fetcher = fetcher_of(encoded(b"no gzip", "gzip"))
    assert "gzip" in problem(fetcher).reason


def test_an_encoding_that_was_not_asked_for_is_a_problem() -> None:
    fetcher = fetcher_of(encoded(PAGE, "br"))
    assert "br" in problem(fetcher).reason


def test_a_huge_page_is_cut_off() -> None:
    with serving(reply(b"x" * 3_000_000)) as server:
        assert problem(Fetcher(server.url, size_cap=2_000_000)).reason == "its page is larger than 2 MB"


def test_a_page_in_too_many_pieces_is_given_up() -> None:
    class Crumbs(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"] * (PIECES_CAP + 2))

    found = problem(fetcher_of(lambda request: httpx.Response(200, stream=Crumbs())))
    assert found.reason == "its page comes in more than 100,000 pieces"


def test_a_page_without_an_announced_end_is_cut_off() -> None:
    def pour(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            handler.wfile.write(b"x" * 65536)

    with serving(pour) as server:
        assert "larger" in problem(Fetcher(server.url, size_cap=1_000_000)).reason


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_page_that_asks_for_credentials_is_present_but_blocked(status: str) -> None:
    with serving(reply(b"", status=status)) as server:
        found = problem(Fetcher(server.url))
    assert found.state == "blocked"
    assert found.status == int(status[:3])
    assert f"present, blocked ({status[:3]})" in found.reason


def test_a_token_is_sent_and_read_anew_with_each_connection(tmp_path: Path) -> None:
    tokens = iter(["old", "new"])
    with serving(reply(PAGE)) as server:
        fetcher = Fetcher(server.url, headers=lambda: {"Authorization": f"Bearer {next(tokens)}"})
        fetcher.fetch()
        fetcher.abort()
        fetcher.fetch()
        fetcher.close()
        assert [headers["authorization"] for _, _, headers in server.requests] == ["Bearer old", "Bearer new"]


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    def headers() -> dict[str, str]:
        return {"Authorization": (tmp_path / "none").read_text()}

    found = problem(Fetcher("http://127.0.0.1:9/metrics", headers=headers))
    assert found.state == "blocked"
    assert "none cannot be read: No such file" in found.reason


def test_a_redirect_is_not_followed() -> None:
    with serving(reply(b"", status="302 Found", headers={"Location": "http://127.0.0.1:1/elsewhere"})) as server:
        found = problem(Fetcher(server.url))
        assert len(server.requests) == 1
    assert "redirects to http://127.0.0.1:1/elsewhere" in found.reason


def test_json_is_not_asked_for_again_soon() -> None:
    with serving(reply(b'[{"iter": 1}]')) as server:
        found = problem(Fetcher(server.url))
    assert found.final
    assert "/prometheus/metrics" in found.reason


@pytest.mark.parametrize("status", ["404 Not Found", "501 Not Implemented", "503 Service Unavailable"])
def test_other_answers_name_their_status(status: str) -> None:
    with serving(reply(b"{}", status=status)) as server:
        found = problem(Fetcher(server.url))
    assert (found.state, found.status) == ("blocked", int(status[:3]))
    assert status[:3] in found.reason


def test_nobody_listening_is_down_and_refused() -> None:
    with serving(reply(PAGE)) as server:
        url = server.url
    found = problem(Fetcher(url))
    assert (found.state, found.refused, found.reason) == ("down", True, "connection refused")


def test_a_name_nobody_knows_is_down() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no such name") from socket.gaierror(-2, "Name or service not known")

    found = problem(fetcher_of(answer, "http://nobody.example/metrics"))
    assert (found.state, found.refused) == ("down", False)
    assert found.reason == "the name nobody.example is not known here: Name or service not known"


def test_a_host_that_does_not_answer_the_connection_is_down() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("")

    found = problem(fetcher_of(answer))
    assert (found.state, found.reason) == ("down", "cannot be reached: no answer within 3 s")


def test_a_certificate_that_does_not_verify_is_said_so() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("failed") from ssl.SSLCertVerificationError(1, "self-signed certificate")

    found = problem(fetcher_of(answer, "https://10.0.0.9/metrics"))
    assert found.state == "blocked"
    assert found.reason.startswith("TLS fails")


def test_a_server_that_never_answers_is_blocked() -> None:
    def hang(handler: Any) -> None:
        handler.server.small.released.wait(30)

    with serving(hang) as server:
        found = problem(Fetcher(server.url, timeout=0.1))
        server.released.set()
    assert (found.state, found.reason) == ("blocked", "has not answered for 0.1 s")


def test_a_page_that_drips_in_is_given_up_when_its_time_is_over() -> None:
    now = [0.0]

    def drip(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            now[0] += 1.0
            handler.wfile.write(b"x")
            handler.wfile.flush()

    with serving(drip) as server:
        found = problem(Fetcher(server.url, timeout=5.0, monotonic=lambda: now[0]))
    assert found.reason == "its page had not arrived after 5 s"


def test_a_read_that_hangs_ends_when_it_is_aborted_from_another_thread() -> None:
    asked = threading.Event()

    def drip_headers(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        asked.set()
        while not handler.server.small.released.wait(0.01):
            handler.wfile.write(b"X-Drip: 1\r\n")

    with serving(drip_headers) as server:
        fetcher = Fetcher(server.url, timeout=30.0)
        found: list[PageProblem] = []
        thread = threading.Thread(target=lambda: found.append(problem(fetcher)))
        thread.start()
        assert asked.wait(30)
        fetcher.close()
        thread.join(30)
    assert len(found) == 1


@pytest.mark.parametrize(
    "answer", [b"\x00\xff garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"]
)
def test_what_is_not_http_is_a_problem_in_one_line(answer: bytes) -> None:
    def blurt(handler: Any) -> None:
        handler.wfile.write(answer)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    with serving(blurt) as server:
        found = problem(Fetcher(server.url))
    assert found.reason.isprintable()
    assert found.state in ("blocked", "down")


def test_bytes_that_are_not_utf8_do_not_cost_the_page() -> None:
    with serving(reply(PAGE + b'x{a="\xff"} 1\n')) as server:
        assert text_of(server.url).startswith(PAGE.decode())


def test_a_page_wrapped_into_a_json_string_is_unwrapped() -> None:
    with serving(reply(json.dumps(PAGE.decode()).encode())) as server:
        assert text_of(server.url) == PAGE.decode()


@pytest.mark.parametrize(("body", "kind"), [(b'[{"iter": 1}]', "JSON"), (b'{"a": 1}', "JSON"), (b"<html>", "HTML")])
def test_what_is_no_metrics_page_is_named(body: bytes, kind: str) -> None:
    with serving(reply(body)) as server:
        assert kind in problem(Fetcher(server.url)).reason


def test_a_foreign_error_text_is_cleaned_and_its_secrets_masked() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("\x1b[31mboom api_key=hunter2")

    reason = problem(fetcher_of(answer)).reason
    assert reason.isprintable()
    assert "hunter2" not in reason


@pytest.mark.parametrize(
    ("status", "kind", "is_page"),
    [
        ("200 OK", "text/plain; version=0.0.4", True),
        ("200 OK", "application/openmetrics-text; version=1.0.0", True),
        ("200 OK", "application/json", False),
        ("405 Method Not Allowed", "text/plain", False),
    ],
)
def test_head_tells_a_page_from_a_read_that_would_change_something(status: str, kind: str, is_page: bool) -> None:
    with (
        serving(reply(PAGE, status=status, headers={"Content-Type": kind})) as server,
        closing(Fetcher(server.url)) as fetcher,
    ):
        assert fetcher.looks_like_a_page() is is_page
        assert [method for method, _, _ in server.requests] == ["HEAD"]


def test_nobody_listening_is_told_apart_from_what_is_no_page() -> None:
    with serving(reply(PAGE)) as server:
        url = server.url
    with pytest.raises(PageProblem, match="connection refused"):
        Fetcher(url).looks_like_a_page()


def test_settings_from_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving(reply(PAGE)) as server:
        assert text_of(server.url) == PAGE.decode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/metrics", True),
        ("http://127.3.2.1/", True),
        ("http://localhost:1/", True),
        ("http://[::1]:1/", True),
        ("http://10.0.0.1/", False),
        ("http://localhost.example.org/", False),
    ],
)
def test_loopback_is_told_by_the_address(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_httpx_is_not_loaded_before_the_first_page() -> None:
    code = (
        "import sys; from collectors.engine.scrape import Fetcher; Fetcher('http://127.0.0.1:9/metrics');"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
