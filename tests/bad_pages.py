"""Servers whose metrics pages are bad in every way one can think of, each with what is to be said about it.

`python -m tests.bad_pages` serves them all and prints the flags that point phasetop at them.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.live_support import Behaviour, reply, serving
from tests.making import vllm_page

PAGE = vllm_page(generated=5, running=1).encode() + b"\n"
HOSTILE_MODEL = '[red]x[/red] "q" \\\\ \x1b[2J\x1b]0;owned\x07\u202e\u200b'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Bad:
    """`says` is to stand in the line about it; None: the page is read all the same."""

    behaviour: Behaviour
    says: str | None
    state: str = "blocked"


def raw(answer: bytes) -> Behaviour:
    """Exactly these bytes, and the connection is closed."""

    def answer_and_close(handler: Any) -> None:
        handler.wfile.write(answer)
        handler.wfile.flush()
        raise ConnectionAbortedError

    return answer_and_close


def endless(start: bytes, piece: bytes, pause: float = 0.0) -> Behaviour:
    """Goes on for ever, or until whoever reads has had enough."""

    def pour(handler: Any) -> None:
        handler.wfile.write(start)
        while not handler.server.small.released.is_set():
            handler.wfile.write(piece)
            handler.wfile.flush()
            if pause:
                time.sleep(pause)

    return pour


def silent(handler: Any) -> None:
    handler.server.small.released.wait(60)


def slashed(handler: Any) -> None:
    """As frameworks with a page mounted below /metrics/ do."""
    path = handler.server.small.requests[-1][1]
    at_home = (
        reply(PAGE)
        if path.endswith("/")
        else reply(b"", status="307 Temporary Redirect", headers={"Location": f"{path}/"})
    )
    at_home(handler)


def circle(handler: Any) -> None:
    path = handler.server.small.requests[-1][1]
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    reply(b"", status="302 Found", headers={"Location": other})(handler)


def _typed(kind: str, body: bytes = PAGE) -> Behaviour:
    return reply(body, headers={"Content-Type": kind})


def _packed(body: bytes, encoding: str = "gzip") -> Behaviour:
    return reply(body, headers={"Content-Encoding": encoding})


def _label(value: str) -> bytes:
    return vllm_page(model=value.replace('"', '\\"').replace("\n", "\\n")).encode()


_BINARY = bytes(random.Random(7).randrange(256) for _ in range(20_000))
_BOMB = gzip.compress(b"a 1\n" * 12_500_000, 9)
_MANY_LINES = b"".join(b'a{n="%d"} 1\n' % number for number in range(60_000))
_MANY_RANKS = "\n".join(vllm_page(engine=str(rank)) for rank in range(2_000)).encode()
_STATUS = "503 Service Unavailable"

BAD_PAGES: Mapping[str, Bad] = {
    "empty": Bad(reply(b""), "its page is empty: nothing has been counted yet"),
    "only comments": Bad(reply(b"# HELP a b\n# TYPE a counter\n"), "its page is empty"),
    "50 MB": Bad(reply(b"a 1\n" * 12_500_000), "larger than 4 MB"),
    "endless": Bad(endless(_HEAD + b"\r\n", b"a 1\n" * 10_000), "larger than 4 MB"),
    "endless line": Bad(endless(_HEAD + b"\r\n", b"a" * 40_000), "larger than 4 MB"),
    "endless small chunks": Bad(endless(_CHUNKED, b"1\r\na\r\n" * 2_000), "its page "),
    "many lines": Bad(reply(_MANY_LINES), "its page has 60,000 lines; more than 50,000 are not read"),
    "many ranks": Bad(reply(_MANY_RANKS), "its page tells of 2,000 engines or ranks"),
    "binary": Bad(reply(_BINARY), "answers with binary data"),
    "UTF-16": Bad(reply(PAGE.decode().encode("utf-16")), "answers with binary data"),
    "silent": Bad(silent, " 1 s"),
    "slow drip": Bad(endless(_HEAD + b"\r\n", b"a", 0.01), "its page had not arrived after"),
    "dripping headers": Bad(endless(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n", 0.01), "its page had not arrived after"),
    "endless headers": Bad(endless(b"HTTP/1.1 200 OK\r\n", b"X-Flood: 1\r\n" * 500), "its headers have no end"),
    "one endless header": Bad(endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 10_000), "its headers have no end"),
    "endless 100 Continue": Bad(
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), "its page had not arrived after"
    ),
    "HTML": Bad(_typed("text/html", b"<!DOCTYPE html><html><script>alert(1)</script></html>"), "answers with HTML"),
    "HTML called text": Bad(reply(b"\n  <html>"), "answers with HTML"),
    "JSON": Bad(_typed("application/json", b'[{"iter": 1, "iterLatencyMS": 2.0}]'), "answers with JSON"),
    "500": Bad(reply(b"Traceback", status="500 Internal Server Error"), "answers with HTTP 500"),
    "401": Bad(reply(b"", status="401 Unauthorized"), "present, blocked (401)"),
    "403": Bad(reply(b"", status="403 Forbidden"), "present, blocked (403)"),
    "404": Bad(reply(b"", status="404 Not Found"), "no metrics page there (404)"),
    "503 by nginx": Bad(reply(b"<html>", status=_STATUS, headers={"Server": "nginx/1.25"}), "nginx is in front"),
    "redirect loop": Bad(circle, "redirects in a circle"),
    "redirect to itself": Bad(
        reply(b"", status="302 Found", headers={"Location": "/metrics"}), "redirects in a circle"
    ),
    "redirect away": Bad(
        reply(b"", status="302 Found", headers={"Location": "http://u:secret@10.1.2.3/login?ticket=hidden"}),
        "redirects to http://10.1.2.3/login; redirects are not followed",
    ),
    "gzip bomb": Bad(_packed(_BOMB), "larger than 4 MB"),
    "damaged gzip": Bad(_packed(b"\x1f\x8b\x08 no"), "does not unpack as gzip"),
    "brotli": Bad(_packed(b"??", "br"), "encoded as br"),
    "hostile encoding": Bad(_packed(b"??", "\x1b[31mx"), "its page is encoded as"),
    "breaks off": Bad(raw(_HEAD + b"Content-Length: 99999\r\n\r\n" + PAGE), "breaks off in the middle"),
    "negative length": Bad(raw(_HEAD + b"Content-Length: -1\r\n\r\n" + PAGE), "does not answer in HTTP"),
    "two lengths": Bad(
        raw(_HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n" + PAGE), "does not answer in HTTP"
    ),
    "bad chunks": Bad(raw(_CHUNKED + b"zz\r\nnonsense\r\n"), "a bad chunk"),
    "chunks break off": Bad(raw(_CHUNKED + b"ffff\r\nvllm:"), "breaks off in the middle"),
    "HTTP/0.9": Bad(raw(PAGE), "without an answer in HTTP"),
    "garbage": Bad(raw(b"\x00\xff\xfe\x1b[2J garbage\r\n\r\n"), "does not answer in HTTP"),
    "a TLS server": Bad(raw(b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n"), "speaks TLS: name it with https://"),
    "hangs up": Bad(raw(b""), "closes the connection without an answer in HTTP"),
    "a router": Bad(reply(b"litellm_in_flight_requests 1\n"), "LiteLLM's proxy, a router, not an engine"),
    "a stranger": Bad(reply(b'node_load1 0.5\nnode_cpu{mode="[red]"} 1\n'), "node_exporter's"),
    "no statistics": Bad(reply(b"python_info 1\nprocess_open_fds 3\n"), "--disable-log-stats"),
    "prose": Bad(reply(b"Active connections: 291\nserver accepts handled requests\n"), "no metrics of a known engine"),
    # Read all the same: nothing is wrong with the figures.
    "wrong type": Bad(_typed("text/html"), None, "ok"),
    "no type": Bad(raw(b"HTTP/1.0 200 OK\r\n\r\n" + PAGE), None, "ok"),
    "a slash too few": Bad(slashed, None, "ok"),
    "wrapped in JSON": Bad(_typed("application/json", json.dumps(PAGE.decode()).encode()), None, "ok"),
    "CRLF": Bad(reply(PAGE.replace(b"\n", b"\r\n")), None, "ok"),
    "twice the same": Bad(reply(PAGE + PAGE), None, "ok"),
    "hostile labels": Bad(reply(_label(HOSTILE_MODEL)), None, "ok"),
    "an endless model": Bad(reply(_label("m" * 200_000) + b"\n" + PAGE), None, "ok"),
    "not UTF-8": Bad(reply(PAGE + b'x{a="\xff\xfe"} 1\n'), None, "ok"),
}


def serve_all(use: Callable[[Mapping[str, str]], None]) -> None:
    """Serve every one on a port of its own, and call `use` with their addresses by name."""
    with ExitStack() as stack:
        use({name: stack.enter_context(serving(bad.behaviour)).url for name, bad in BAD_PAGES.items()})


def main() -> None:
    def wait(urls: Mapping[str, str]) -> None:
        print(" ".join(f"--engine {url}" for url in urls.values()), flush=True)
        for name, url in urls.items():
            print(f"{url}  {name}", flush=True)
        while True:
            time.sleep(60)

    serve_all(wait)


if __name__ == "__main__":
    main()
