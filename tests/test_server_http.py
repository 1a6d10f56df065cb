"""The metrics server over real sockets: what it answers, and what no client can do to it."""

from __future__ import annotations

import gzip
import os
import socket
import threading

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.exposition import OPENMETRICS_TYPE, TEXT_TYPE
from exporters.request import RequestError, accepts_gzip, names_loopback, parse_head, wants_openmetrics
from exporters.server import MetricsServer, ServerError, ServerOptions
from tests.patience import until
from tests.server_support import PAGE, Client, Served, get, serving

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3_TEXT_FIRST = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"


def test_an_ordinary_http_client_gets_the_page():
    with serving() as served, httpx.Client(base_url=served.address.url, trust_env=False) as client:
        answer = client.get("metrics")
        assert answer.status_code == 200
        assert answer.content == PAGE
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["content-type"] == TEXT_TYPE


def test_the_format_follows_the_accept_header():
    with serving() as served:
        assert get(served, "/metrics").headers["content-type"] == TEXT_TYPE
        assert get(served, "/metrics", f"Accept: {PROMETHEUS_2}").headers["content-type"] == OPENMETRICS_TYPE
        assert served.asked == [(False, False), (True, False)]


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3_TEXT_FIRST, False),
        ("", False),
        ("*/*", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; escaping=underscores; q=0.4, text/plain; q=0.5", False),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=high", False),
    ],
)
def test_openmetrics_is_served_to_who_prefers_its_first_version(accept, openmetrics):
    assert wants_openmetrics(accept) is openmetrics


@pytest.mark.parametrize(
    ("accept_encoding", "compressed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("", False), ("*", True), ("br", False),
     ("*, gzip;q=0", False)],
)  # fmt: skip
def test_the_page_is_compressed_for_who_accepts_gzip(accept_encoding, compressed):
    assert accepts_gzip(accept_encoding) is compressed


def test_a_compressed_page_says_so_and_is_the_same_page():
    with serving() as served:
        answer = get(served, "/metrics", "Accept-Encoding: gzip")
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == PAGE
        assert "Accept-Encoding" in answer.headers["vary"]


def test_a_connection_serves_many_requests_and_pipelined_ones_in_order():
    with serving() as served, Client(served.address) as client:
        for _ in range(3):
            assert client.get().body == PAGE
        client.send(
            b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        assert client.answer().body == b"healthy\n"
        assert client.answer().status == 404


def test_a_request_in_single_bytes_is_served():
    with serving() as served, Client(served.address) as client:
        for byte in b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n":
            client.send(bytes([byte]))
        assert client.answer().body == PAGE


def test_http_1_0_is_served_and_the_connection_ends():
    with serving() as served, Client(served.address) as client:
        client.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.answer().body == PAGE
        assert client.is_ended()


def test_a_client_that_asks_for_it_has_its_connection_ended():
    with serving() as served, Client(served.address) as client:
        answer = client.get("/metrics", "Connection: close")
        assert answer.headers["connection"] == "close"
        assert client.is_ended()


def test_head_has_the_headers_of_get_and_no_body():
    with serving() as served, Client(served.address) as client:
        answer = client.get(method="HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(PAGE)))
        assert client.get().body == PAGE


def test_readiness_waits_for_the_first_interval():
    with serving(ready=False) as served:
        answer = get(served, "/-/ready")
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert get(served, "/-/healthy").status == 200
        assert get(served, "/metrics").status == 200
    with serving(ready=True) as served:
        assert get(served, "/-/ready").status == 200


def test_the_landing_page_links_to_what_there_is():
    with serving() as served:
        answer = get(served, "/?query=ignored")
        assert answer.headers["content-type"].startswith("text/html")
        assert b'href="/metrics"' in answer.body


@pytest.mark.parametrize("path", ["/metrics/", "/config", "/debug/pprof", "/-/quit", "/../etc/passwd", "/%2e%2e/"])
def test_nothing_else_is_served(path):
    with serving() as served:
        assert get(served, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused_and_no_origin_is_ever_allowed(method):
    with serving() as served:
        answer = get(served, "/metrics", "Origin: http://evil.example", method=method)
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD"
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nA: b\nc: d\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nSpace : x\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"Host: localhost\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\nLong: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_a_request_against_the_rules_is_refused_and_its_connection_ended(request_head, status):
    with serving() as served, Client(served.address) as client:
        client.send(request_head)
        assert client.answer().status == status
        assert client.is_ended()


def test_ten_megabytes_of_headers_are_cut_off():
    def send_headers(client: Client) -> None:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(1000):
            client.send(b"A: " + b"x" * 10_000 + b"\r\n")
        assert client.answer().status == 431
        raise ConnectionError

    with serving() as served, Client(served.address) as client:
        with pytest.raises(ConnectionError):
            send_headers(client)
        assert get(served).status == 200


@given(
    st.binary(max_size=200) | st.from_regex(rb"[A-Z]{1,4} [ -~]{0,20} HTTP/[01].[01](\r\n[ -~]{0,20})*", fullmatch=True)
)
def test_any_bytes_are_a_request_or_an_error_of_the_client(head):
    status, path = None, None
    try:
        path = parse_head(head).path
    except RequestError as error:
        status = error.status
    assert path is None or path.startswith("/")
    assert status is None or status in (400, 413, 431, 505)


@pytest.mark.parametrize("host", ["localhost", "localhost:19417", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "LOCALHOST."])
def test_a_loopback_server_answers_to_its_own_names(host):
    assert names_loopback(host)
    with serving() as served:
        assert get(served, host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:19417", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "",
     "localhost@evil.example", "localhost:80:80", "[::1", "0.0.0.0"],
)  # fmt: skip
def test_a_loopback_server_refuses_foreign_names_so_that_dns_rebinding_gets_nothing(host):
    with serving() as served:
        answer = get(served, host=host)
        assert answer.status == 403
        assert PAGE not in answer.body
        assert served.asked == []


def test_an_absolute_target_is_judged_by_its_own_host():
    with serving() as served:
        assert get(served, "http://127.0.0.1/metrics", host="evil.example").status == 200
        assert get(served, "http://evil.example/metrics", host="localhost").status == 403


def test_further_host_names_can_be_allowed():
    with serving(allowed_hosts=("metrics.internal",)) as served:
        assert get(served, host="Metrics.internal:443").status == 200
        assert get(served, host="other.internal").status == 403


def is_served(served: Served) -> bool:
    """Whether somebody who is quick enough gets the page."""
    try:
        return get(served).status == 200
    except ConnectionError:
        return False


def is_cut_off(client: Client) -> bool:
    """Whether the server has ended a connection from which nothing is read."""
    try:
        client.send(b"\r\n")
    except ConnectionError:
        return True
    return False


def test_a_silent_client_is_sent_away_and_holds_up_nobody():
    with serving(request_seconds=0.5) as served, Client(served.address) as silent:
        until(lambda: is_served(served), "an answer to somebody else")
        assert silent.is_ended()


def test_a_client_that_dribbles_its_request_is_told_and_sent_away():
    with serving(request_seconds=0.5) as served, Client(served.address) as slow:
        slow.send(b"GET /metrics HTTP/1.1\r\n")
        stop = threading.Event()

        def dribble() -> None:
            while not stop.wait(0.05):
                try:
                    slow.send(b"A: b\r\n")
                except OSError:
                    return

        dribbler = threading.Thread(target=dribble)
        dribbler.start()
        try:
            until(lambda: is_served(served), "an answer to somebody else")
            assert slow.answer().status == 408
        finally:
            stop.set()
            dribbler.join()


def test_an_idle_connection_is_ended_after_a_while():
    with serving(idle_seconds=0.5) as served, Client(served.address) as client:
        assert client.get().status == 200
        assert client.is_ended()


def test_a_client_that_does_not_read_its_answer_is_cut_off():
    large = b"x" * 30_000_000
    with serving(page=lambda *_: large, write_seconds=0.5) as served, Client(served.address) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert get(served, "/-/healthy").status == 200
        until(lambda: is_cut_off(client), "the end of the connection")
        with pytest.raises(ConnectionError):
            client.answer()


def test_a_client_that_takes_no_answers_cannot_fill_the_memory_with_requests():
    large = b"x" * 10_000_000
    with serving(page=lambda *_: large) as served, Client(served.address, timeout=1.0) as client:
        requests = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_500_000
        with pytest.raises(TimeoutError):
            client.send(requests)
        assert get(served, "/-/healthy").status == 200


def test_over_the_limit_the_connection_longest_without_a_request_goes():
    with serving(max_connections=3) as served:
        clients = [Client(served.address) for _ in range(3)]
        for client in clients:
            assert client.get().status == 200
        assert clients[0].get().status == 200
        assert get(served).status == 200
        assert clients[1].is_ended()
        assert clients[0].get().status == 200
        for client in clients:
            client.socket.close()


def test_a_scraper_is_served_beside_hundreds_of_silent_connections():
    with serving(max_connections=16) as served:
        silent = [Client(served.address) for _ in range(300)]
        assert all(get(served).status == 200 for _ in range(20))
        for client in silent:
            client.socket.close()


def test_a_page_that_fails_is_a_500_and_is_warned_of_once():
    failing = [True]

    def page(openmetrics: bool, compressed: bool) -> bytes:
        if failing[0]:
            raise KeyError("secret detail")
        return PAGE

    with serving(page=page) as served:
        answers = [get(served) for _ in range(3)]
        assert {answer.status for answer in answers} == {500}
        assert b"secret" not in answers[0].body
        assert len(served.warnings) == 1
        failing[0] = False
        assert get(served).status == 200


def test_a_port_in_use_is_named_with_the_remedy():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port}: the port is in use.*--listen"):
            MetricsServer(lambda *_: b"", lambda: True, ServerOptions(port=port)).bind()


@pytest.mark.parametrize(
    ("host", "port", "remedy"),
    [
        ("192.0.2.1", 0, "no such address"),
        ("no-such-host.invalid", 0, "address of this machine"),
        ("::1", 70_000, "port"),
    ],
)
def test_an_address_that_cannot_be_had_is_named_with_the_remedy(host, port, remedy):
    with pytest.raises(ServerError, match=remedy):
        MetricsServer(lambda *_: b"", lambda: True, ServerOptions(host=host, port=port)).bind()


def test_a_server_can_be_stopped_twice_and_before_it_served():
    server = MetricsServer(lambda *_: b"", lambda: True, ServerOptions(port=0))
    address = server.bind()
    server.stop()
    server.stop()
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the platform
        socket.create_connection((address.host, address.port), 1.0)


def test_stopping_ends_connections_and_frees_the_port():
    with serving() as served:
        client = Client(served.address)
        assert client.get().status == 200
    assert client.is_ended()
    client.socket.close()
    with serving(port=served.address.port) as again:
        assert get(again).status == 200


async def test_the_server_is_the_main_loop_until_it_is_stopped():
    server = MetricsServer(lambda *_: PAGE, lambda: True, ServerOptions(port=0))
    address = server.bind()

    def scrape_and_stop() -> None:
        with Client(address) as client:
            seen.append(client.get().body)
        server.stop()

    seen: list[bytes] = []
    scraper = threading.Thread(target=scrape_and_stop)
    scraper.start()
    await server.serve()
    scraper.join()
    assert seen == [PAGE]


def test_no_descriptor_is_left_behind():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with serving(max_connections=2) as served:
            for _ in range(4):
                get(served)
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, "the end of its descriptors")  # noqa: PTH208
