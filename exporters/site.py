"""What the server answers: the metrics page, health, a landing page, and who is refused."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from exporters.credentials import Credentials
from exporters.exposition import OPENMETRICS_TYPE, TEXT_TYPE
from exporters.failures import FailureLimit
from exporters.request import Request, accepts_gzip, host_name, names_loopback, wants_openmetrics

_PLAIN = "text/plain; charset=utf-8"
_LANDING = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>phasetop</title></head>
<body><h1>phasetop</h1><p>What the hardware's time goes into, prefill or decode, and what holds it back.</p>
<ul><li><a href="/metrics">Metrics</a> for Prometheus, in the text format or OpenMetrics</li>
<li><a href="/-/healthy">Healthy</a>: the process serves</li>
<li><a href="/-/ready">Ready</a>: the first interval was measured</li></ul></body></html>
"""
# Password derivations take memory and a core for tens of milliseconds each: one at a time, few in the queue.
_MAX_DERIVATIONS = 8


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body and the header fields beyond those every response has."""

    status: int
    body: bytes
    content_type: str = _PLAIN
    headers: tuple[tuple[str, str], ...] = ()


def refusal(status: int, reason: str, *headers: tuple[str, str]) -> Response:
    return Response(status, f"{status} {HTTPStatus(status).phrase}: {reason}\n".encode(), headers=headers)


class Site:
    """Routes requests. `page` gives a page by (openmetrics, gzip); it must be quick.

    With `only_local_names`, requests whose Host is neither a loopback name nor in `allowed_hosts`
    are refused. The health paths need no credentials: they tell nothing, and probes have none.
    """

    def __init__(
        self,
        page: Callable[[bool, bool], bytes],
        ready: Callable[[], bool],
        credentials: Credentials,
        warn: Callable[[str], None],
        *,
        only_local_names: bool,
        allowed_hosts: tuple[str, ...] = (),
    ) -> None:
        self._page = page
        self._ready = ready
        self._credentials = credentials
        self._warn = warn
        self._only_local_names = only_local_names
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._executor = ThreadPoolExecutor(1, "phasetop-credentials")
        self._deriving = 0
        self._failing = False
        self._failures = FailureLimit()

    def renew(self, credentials: Credentials) -> None:
        """Other credentials from now on."""
        self._credentials = credentials

    def answer(self, request: Request, peer: str) -> Response | asyncio.Task[Response]:
        """The response, or a task that has it after a password was derived. `peer` is the client's address."""
        host = request.host
        if self._only_local_names and host is not None and not self._is_ours(host):
            return refusal(403, "this server answers to localhost and loopback addresses only")
        if request.method not in ("GET", "HEAD"):
            return refusal(405, "only GET and HEAD are served", ("Allow", "GET, HEAD"))
        if request.path == "/-/healthy":
            return Response(200, b"healthy\n")
        if request.path == "/-/ready":
            return self._readiness()
        authorization = request.headers.get("authorization", "")
        verdict = self._credentials.quick_verdict(authorization)
        if verdict:
            return self._route(request)
        wait = self._failures.wait(peer, time.monotonic()) if authorization else 0.0
        if wait > 0:
            return refusal(429, "too many wrong credentials", ("Retry-After", str(math.ceil(wait))))
        if verdict is None:
            if self._deriving >= _MAX_DERIVATIONS:
                return refusal(503, "too many passwords are being checked", ("Retry-After", "1"))
            return asyncio.get_running_loop().create_task(self._derive(request, authorization, peer))
        return self._unauthorized(peer if authorization else None)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _is_ours(self, host: str) -> bool:
        return names_loopback(host) or host_name(host) in self._allowed_hosts

    async def _derive(self, request: Request, authorization: str, peer: str) -> Response:
        self._deriving += 1
        try:
            loop = asyncio.get_running_loop()
            verdict = await loop.run_in_executor(self._executor, self._credentials.verdict, authorization)
        finally:
            self._deriving -= 1
        return self._route(request) if verdict else self._unauthorized(peer)

    def _unauthorized(self, failed: str | None) -> Response:
        """`failed` is the peer that presented something wrong, None when nothing was presented."""
        if failed is not None:
            self._failures.failed(failed, time.monotonic())
        challenges = (("WWW-Authenticate", challenge) for challenge in self._credentials.challenges)
        return refusal(401, "credentials are required", *challenges)

    def _readiness(self) -> Response:
        if self._ready():
            return Response(200, b"ready\n")
        return refusal(503, "no interval was measured yet", ("Retry-After", "1"))

    def _route(self, request: Request) -> Response:
        if request.path == "/metrics":
            return self._metrics(request)
        if request.path == "/":
            return Response(200, _LANDING, "text/html; charset=utf-8")
        return refusal(404, "there is /metrics, /-/healthy, /-/ready and /")

    def _metrics(self, request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
        try:
            body = self._page(openmetrics, gzip)
        except Exception as problem:  # one bad page must not end the server
            if not self._failing:
                self._warn(f"the metrics page cannot be rendered: {problem!r}")
            self._failing = True
            return refusal(500, "the page cannot be rendered")
        self._failing = False
        headers = (("Vary", "Accept, Accept-Encoding"), *((("Content-Encoding", "gzip"),) if gzip else ()))
        return Response(200, body, OPENMETRICS_TYPE if openmetrics else TEXT_TYPE, headers)
