"""Reading one metrics page over HTTP. The only module that knows httpx.

The page is asked for as Prometheus text 0.0.4, without following redirects, without proxies or
other settings from the environment, within a cap on size and on time. It is stamped when all of it
has arrived: some engines answer only after the batch they are in, with their state at that moment.

httpx costs 0.1 s to import, so that happens with the first page.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlsplit

from collectors.text import clean, masked

if TYPE_CHECKING:
    import httpx

SIZE_CAP = 8 << 20
"""Bytes of one page, unpacked. The largest known engine page is 0.1 MB."""
CONNECT_SECONDS = 3.0
_ACCEPT = "text/plain;version=0.0.4"
_KEEP_SECONDS = 90.0

ProblemState = Literal["blocked", "down"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it arrived. `arrived` is on the reader's clock in seconds; `took` from asking to then."""

    text: str
    arrived: float
    took: float


class PageProblem(Exception):
    """No page. The message is one clean line.

    `state` is "down" when nobody answers there, "blocked" when something does but gives no page;
    `status` is the HTTP status if there was one; `refused` says that nobody listens: whoever did
    has ended.
    """

    def __init__(self, state: ProblemState, reason: str, *, status: int | None = None, refused: bool = False) -> None:
        super().__init__(masked(reason, 160))
        self.state = state
        self.reason = str(self)
        self.status = status
        self.refused = refused


def is_loopback(url: str) -> bool:
    """Whether an address names this machine by its loopback."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")


class Fetcher:
    """One page's reader: one connection, kept open. `fetch` is for one thread; `abort` and `close` for any."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        size_cap: int = SIZE_CAP,
        headers: Callable[[], Mapping[str, str]] = dict,
        verify: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` is in seconds for the whole page; `headers` is asked once a connection."""
        self.url = url
        self._timeout = timeout
        self._size_cap = size_cap
        self._headers = headers
        self._verify = verify and not is_loopback(url)
        self._monotonic = monotonic
        self._given = transport
        self._connection: _Connection | None = None
        self._answered = 0
        self._closed = False

    def fetch(self) -> Page:
        """The page. Raises PageProblem when there is none, and nothing else."""
        import httpx

        reused = self._answered > 0
        try:
            try:
                return self._once()
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                self.abort()
                if not reused:
                    raise
                # The server closed an idle connection just as it was used again: not a fault of the page.
                return self._once()
        except PageProblem:
            raise
        except Exception as error:  # whatever a foreign server makes the client raise costs this page only
            self.abort()
            raise _problem(error, self._timeout) from error

    def looks_like_a_page(self) -> bool:
        """Whether HEAD is answered with Prometheus text.

        Asked before the first GET of a page nobody is known to serve: some engines' `/metrics` is
        JSON that a read empties, or runs a request. Their frameworks refuse HEAD unseen.
        """
        try:
            connection = self._open()
            response = connection.transport.handle_request(connection.request("HEAD", self.url))
            response.close()
        except Exception:  # as in fetch
            self.abort()
            return False
        kind = response.headers.get("content-type", "")
        return response.status_code == HTTPStatus.OK and kind.startswith(("text/plain", "application/openmetrics-text"))

    def abort(self) -> None:
        """Drop the connection; a `fetch` that hangs on it ends soon. The next one connects anew."""
        connection, self._connection = self._connection, None
        self._answered = 0
        if connection is not None:
            connection.transport.close()

    def close(self) -> None:
        """Drop the connection for good."""
        self._closed = True
        self.abort()

    def _once(self) -> Page:
        started = self._monotonic()
        connection = self._open()
        response = connection.transport.handle_request(connection.get)
        try:
            _check(response)
            text = self._body(response, started + self._timeout)
        finally:
            response.close()
        arrived = self._monotonic()
        self._answered += 1
        return Page(_prometheus_text(text), arrived, arrived - started)

    def _body(self, response: httpx.Response, deadline: float) -> str:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding not in ("identity", "gzip"):
            raise PageProblem("blocked", f"its page is encoded as {encoding}, which was not asked for")
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
        parts: list[bytes] = []
        size = 0
        for chunk in cast("httpx.SyncByteStream", response.stream):  # as it arrives, still encoded
            # One byte over the cap is unpacked at most, whatever the chunk claims to hold.
            part = unpack.decompress(chunk, self._size_cap - size + 1) if unpack is not None else chunk
            parts.append(part)
            size += len(part)
            if size > self._size_cap:
                raise PageProblem("blocked", f"its page is larger than {self._size_cap / 1e6:.0f} MB")
            if self._monotonic() > deadline:
                raise PageProblem("blocked", f"its page had not arrived after {self._timeout:g} s")
        return b"".join(parts).decode("utf-8", "replace")

    def _open(self) -> _Connection:
        if self._closed:
            raise PageProblem("down", "not read any more")
        if self._connection is None:
            # Compressing costs the engine's own thread milliseconds; over loopback it buys nothing.
            encoding = "identity" if is_loopback(self.url) else "gzip"
            headers = {"Accept": _ACCEPT, "Accept-Encoding": encoding, "User-Agent": "phasetop", **self._headers()}
            self._connection = _Connection(self._given or self._new_transport(), self.url, headers, self._timeout)
        return self._connection

    def _new_transport(self) -> httpx.BaseTransport:
        import httpx

        return httpx.HTTPTransport(
            # Loading the authorities costs 50 ms and 2 MB: only where a certificate can come up.
            verify=self._verify and self.url.startswith("https:"),
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEP_SECONDS),
        )


class _Connection:
    """httpx without its client: no redirects, cookies, proxies or logging, and a third less work for a page."""

    def __init__(self, transport: httpx.BaseTransport, url: str, headers: Mapping[str, str], timeout: float) -> None:
        import httpx

        self.transport = transport
        self._headers = headers
        self._extensions = {"timeout": httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)).as_dict()}
        self.get = self.request("GET", url)

    def request(self, method: str, url: str) -> httpx.Request:
        import httpx

        return httpx.Request(method, url, headers=self._headers, extensions=self._extensions)


def _check(response: httpx.Response) -> None:
    status = response.status_code
    if status == HTTPStatus.OK:
        return
    if response.has_redirect_location:
        where = clean(response.headers.get("location", ""), 80)
        raise PageProblem("blocked", f"redirects to {where}; redirects are not followed", status=status)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise PageProblem("blocked", f"present, blocked ({status}): it asks for credentials", status=status)
    if status == HTTPStatus.NOT_FOUND:
        raise PageProblem("blocked", "has no metrics page there (404)", status=status)
    raise PageProblem("blocked", f"answers with HTTP {status}", status=status)


def _prometheus_text(text: str) -> str:
    """The page, where a server wrapped it into a JSON string (llama.cpp did in November 2025)."""
    start = text[:64].lstrip()
    if start.startswith('"'):
        try:
            inner = json.loads(text)
        except ValueError:
            inner = None
        if isinstance(inner, str):
            return inner
    if start.startswith(("{", "[", "<")):
        kind = "HTML" if start.startswith("<") else "JSON"
        raise PageProblem("blocked", f"answers with {kind}, not with a metrics page")
    return text


def _problem(error: Exception, timeout: float) -> PageProblem:
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return PageProblem("down", f"cannot be reached: no answer within {min(CONNECT_SECONDS, timeout):g} s")
    if isinstance(error, httpx.TimeoutException):
        return PageProblem("blocked", f"has not answered for {timeout:g} s")
    if isinstance(error, httpx.ConnectError):
        return _connect_problem(error)
    if isinstance(error, httpx.ReadError | httpx.WriteError):
        return PageProblem("down", "closed the connection")
    if isinstance(error, httpx.RemoteProtocolError):
        return PageProblem("blocked", f"does not answer in HTTP: {error}")
    if isinstance(error, zlib.error):
        return PageProblem("blocked", "its page does not unpack as gzip")
    if isinstance(error, OSError):  # the headers' token file
        return PageProblem("blocked", f"{error.filename or 'a file'} cannot be read: {error.strerror}")
    return PageProblem("blocked", f"cannot be read: {type(error).__name__}: {error}")


def _connect_problem(error: httpx.ConnectError) -> PageProblem:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ConnectionRefusedError):
        return PageProblem("down", "connection refused", refused=True)
    text = (cause.strerror if isinstance(cause, OSError) else None) or str(error)
    if "CERTIFICATE" in text or "SSL" in text:
        return PageProblem("blocked", f"TLS fails: {text}")
    return PageProblem("down", f"cannot be reached: {text}")
