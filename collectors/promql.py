"""Asking a Prometheus, or whatever speaks its HTTP API: Thanos, Mimir, VictoriaMetrics.

Instant and range queries are posted, so that long expressions need no long addresses. At most four
are in flight, however many threads ask. A server that says it has enough (429, 503) is left alone for
as long as it asks for, or longer each time. What it warns of (parts of the data missing) is kept with
the answer. Nothing of the credentials is ever part of a message.

httpx costs 0.1 s to import, so that happens with the first query.
"""

from __future__ import annotations

import math
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from collectors.engine.scrape import CONNECT_SECONDS, PageProblem, is_loopback, trust_of
from collectors.engine.scrape_problems import in_front, problem_of
from collectors.httpx_alone import load_httpx
from collectors.promql_answers import (
    SETTINGS,
    Cleaned,
    PromProblem,
    document,
    listed,
    number_of,
    samples_read,
    value_of,
    warnings_of,
)
from collectors.text import clean

if TYPE_CHECKING:
    import httpx

__all__ = ["IN_FLIGHT", "SIZE_CAP", "Labels", "Matrix", "PromClient", "PromProblem", "Vector"]

IN_FLIGHT = 4
SIZE_CAP = 48 << 20
"""Bytes of one answer, unpacked."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
"""Seconds of the first pause after 429 or 503 without Retry-After, and of the longest; each is twice the one before."""
_TOO_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Vector:
    """One number of each series at one moment. Series whose number is not finite are left out."""

    samples: tuple[tuple[Labels, float], ...]
    warnings: tuple[str, ...] = ()
    took: float = 0.0
    samples_read: int | None = None
    """Samples the server looked at, where it counts them."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Numbers of each series over time: (seconds since 1970, value), oldest first, only finite ones."""

    series: tuple[tuple[Labels, tuple[tuple[float, float], ...]], ...]
    warnings: tuple[str, ...] = ()
    took: float = 0.0
    samples_read: int | None = None


@dataclass(frozen=True, slots=True)
class _Got:
    """An answer as it came, and when it was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    started: float


class PromClient:
    """One server. All methods may be called from any thread; each raises PromProblem and nothing else."""

    def __init__(
        self,
        url: str,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        verify: bool | Path = True,
        timeout: float = 10.0,
        lookback: float = 60.0,
        size_cap: int = SIZE_CAP,
        stats: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` is the server's, up to where /api/v1 begins. `timeout` is in seconds for a whole answer.

        `lookback` is how old a sample may be, in seconds, to count as the present one: where the
        server takes it per query, a node that fell silent is gone as soon. `headers` is asked for
        every query. `stats` asks the server to count the samples it looks at.
        """
        self.url = url.rstrip("/")
        self._headers = headers
        self._verify = verify if isinstance(verify, Path) else verify and not is_loopback(url)
        self._timeout = timeout
        self._lookback = lookback
        self._size_cap = size_cap
        self._stats = stats
        self._monotonic = monotonic
        self._jitter = jitter
        self._transport = transport
        self._slots = threading.BoundedSemaphore(IN_FLIGHT)
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._texts = Cleaned()
        self._reading = threading.Lock()  # one answer at a time: a screen beside it must get its turn
        self._closed = False
        self._refusals = 0
        self._refusal = ""
        self._not_before = 0.0
        self.queries = 0
        """Queries sent so far."""

    def query(self, expression: str, *, at: float | None = None, lookback: float | None = None) -> Vector:
        """The value of an expression now, or at a moment (seconds since 1970)."""
        form = {"query": expression, **self._window(lookback)}
        if at is not None:
            form["time"] = f"{at:.3f}"
        got = self._asked("query", form)
        with self._reading:
            return self._vector(got)

    def _vector(self, got: _Got) -> Vector:
        data, warnings, took = self._opened_answer(got)
        if data.get("resultType") == "scalar":
            result: list[Any] = [{"metric": {}, "value": data.get("result")}]
        else:
            result = listed(data, "vector")
        samples = []
        for one in result:
            value = value_of(one)
            if value is not None:
                samples.append((self._labels(one), value))
        return Vector(tuple(samples), warnings, took, samples_read(data))

    def query_range(
        self, expression: str, start: float, end: float, step: float, *, lookback: float | None = None
    ) -> Matrix:
        """The values of an expression at `start`, `start + step` and so on up to `end`, seconds since 1970."""
        form = {
            "query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}",
            "nocache": "1",  # VictoriaMetrics moves the moments asked for to whole steps otherwise
            **self._window(lookback),
        }  # fmt: skip
        got = self._asked("query_range", form)
        with self._reading:
            return self._matrix(got)

    def _matrix(self, got: _Got) -> Matrix:
        data, warnings, took = self._opened_answer(got)
        series = []
        for one in listed(data, "matrix"):
            if isinstance(one, dict) and isinstance(one.get("values"), list):
                points = (number_of(pair) for pair in one["values"])
                series.append((self._labels(one), tuple(point for point in points if point is not None)))
        return Matrix(tuple(series), warnings, took, samples_read(data))

    def close(self) -> None:
        """Drops the connections: queries in flight end soon, as problems. From any thread."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _labels(self, one: Mapping[str, Any]) -> Labels:
        known, metric = self._texts, one.get("metric")
        try:
            return {known[name]: known[value] for name, value in metric.items()} if isinstance(metric, dict) else {}
        except TypeError:
            raise PromProblem("answer", "answers with labels that are no texts") from None

    def _window(self, lookback: float | None) -> dict[str, str]:
        """Prometheus and Thanos call it lookback_delta, VictoriaMetrics max_lookback; each passes over the other."""
        seconds = f"{self._lookback if lookback is None else lookback:g}s"
        stats = {"stats": "all"} if self._stats else {}
        return {"lookback_delta": seconds, "max_lookback": seconds, "timeout": f"{self._timeout:g}s", **stats}

    def _asked(self, endpoint: str, form: Mapping[str, str]) -> _Got:
        self._mind_the_pause()
        with self._slots:
            self._mind_the_pause()  # one that waited for its turn must not go on where others were turned away
            started = self._monotonic()
            status, headers, body = self._posted(f"{self.url}/api/v1/{endpoint}", form, started + self._timeout)
        if status in _TOO_BUSY:
            raise self._turned_away(status, headers)
        return _Got(status, headers, body, started)

    def _opened_answer(self, got: _Got) -> tuple[dict[str, Any], tuple[str, ...], float]:
        found = document(got.body, got.status, got.headers, given=bool(self._headers()))
        with self._lock:
            self._refusals, self._not_before = 0, 0.0
        data = found.get("data")
        if not isinstance(data, dict):
            raise PromProblem("answer", "answers without data")
        return data, warnings_of(found), self._monotonic() - got.started

    def _mind_the_pause(self) -> None:
        wait = self._not_before - self._monotonic()
        if wait > 0:
            raise PromProblem("busy", f"{self._refusal}; next try in {math.ceil(wait)} s", wait=wait)

    def _turned_away(self, status: int, headers: Mapping[str, str]) -> PromProblem:
        told = headers.get("retry-after", "")
        with self._lock:
            self._refusals += 1
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self._refusals - 1, 10))
            wait *= 0.75 + 0.5 * self._jitter()
            if told.isascii() and told.isdecimal():
                wait = max(wait, min(float(told[:6]), _LONGEST_WAIT))
            self._not_before = self._monotonic() + wait
            front = in_front(headers)
            by = f" by {front}" if front else ""
            what = "too many queries" if status == HTTPStatus.TOO_MANY_REQUESTS else "not available"
            self._refusal = f"{what} ({status}{by})"
        return PromProblem("busy", f"{self._refusal}; next try in {math.ceil(wait)} s", wait=wait)

    def _posted(self, url: str, form: Mapping[str, str], deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        load_httpx()
        import httpx

        with self._told(url):
            client = self._opened()
            self.queries += 1
            try:
                return self._read(client, url, form, deadline)
            except httpx.RemoteProtocolError as error:
                if "without sending a response" not in str(error):
                    raise
                # The server closed an idle connection just as it was used again.
                return self._read(client, url, form, deadline)

    def _read(
        self, client: httpx.Client, url: str, form: Mapping[str, str], deadline: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        with client.stream("POST", url, data=dict(form), headers=dict(self._headers())) as response:
            try:
                body = self._body(response, deadline)
            finally:
                # Where the client was closed while this still connected, the connection is nobody's but ours.
                if self._closed and (stream := response.extensions.get("network_stream")) is not None:
                    stream.close()
            return response.status_code, response.headers, body

    @contextmanager
    def _told(self, url: str) -> Iterator[None]:
        """Turns whatever the client raises into a PromProblem."""
        import httpx

        try:
            yield
        except PromProblem:
            raise
        except PageProblem as problem:
            raise PromProblem("blocked", problem.reason) from problem
        except httpx.ReadTimeout as error:
            raise self._late() from error
        except Exception as error:  # whatever a foreign server makes the client raise costs this query only
            limit = min(CONNECT_SECONDS, self._timeout)
            known = problem_of(error, url, timeout=self._timeout, connect=limit, settings=SETTINGS)
            raise PromProblem("down" if known.state == "down" else "blocked", known.reason) from error

    def _late(self) -> PromProblem:
        return PromProblem("late", f"has not answered within {self._timeout:g} s")

    def _body(self, response: httpx.Response, deadline: float) -> bytes:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise PromProblem("answer", f"its answer is encoded as {clean(encoding, 20)}, which was not asked for")
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
        body = bytearray()
        for piece in cast("httpx.SyncByteStream", response.stream):
            body += unpack.decompress(piece, self._size_cap - len(body) + 1) if unpack is not None else piece
            if len(body) > self._size_cap:
                raise PromProblem("answer", f"its answer is larger than {self._size_cap / 1e6:.0f} MB")
            if self._monotonic() > deadline:
                raise self._late()
        return bytes(body)

    def _opened(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._closed:
                raise PromProblem("down", "not asked any more")
            if self._client is None:
                # Compressing costs the server; over loopback it buys nothing.
                encoding = "identity" if is_loopback(self.url) else "gzip"
                self._client = httpx.Client(
                    headers={"Accept": "application/json", "Accept-Encoding": encoding, "User-Agent": "phasetop"},
                    timeout=httpx.Timeout(self._timeout, connect=min(CONNECT_SECONDS, self._timeout)),
                    limits=httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT),
                    verify=trust_of(self.url, self._verify),
                    trust_env=False,
                    transport=self._transport,
                )
            return self._client
