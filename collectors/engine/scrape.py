"""Reading one metrics page over HTTP. The only module that knows httpx beside `collectors.promql`.

The page is asked for as Prometheus text 0.0.4, without following redirects (but for the slash at the
end that some frameworks insist on), without proxies or other settings from the environment, within
caps on size, lines, pieces and time. It is stamped when all of it has arrived: some engines answer
only after the batch they are in, with their state at that moment.

httpx costs 0.1 s to import, so that happens with the first page.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit

from collectors.engine.scrape_problems import ENGINE_SETTINGS, PageProblem, Settings, problem_of, refusal
from collectors.httpx_alone import load_httpx

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = [
    "CONNECT_SECONDS", "LINES_CAP", "PIECES_CAP", "SIZE_CAP", "Fetcher", "Page", "PageProblem", "is_loopback",
    "trust_of",
]  # fmt: skip

SIZE_CAP = 4 << 20
"""Bytes of one page, unpacked. The largest known engine page is 0.12 MB; a node of Ray adds its engines' pages up."""
PIECES_CAP = 100_000
"""Parts in which a page may arrive: each costs time. A server that sends it line by line makes some thousands."""
LINES_CAP = 50_000
"""Lines of one page. A vLLM engine's has 600, and each of its data-parallel ranks as many again."""
CONNECT_SECONDS = 3.0
_ACCEPT = "text/plain;version=0.0.4"
_KEEP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it arrived. `arrived` is on the reader's clock in seconds; `took` from asking to then."""

    text: str
    arrived: float
    took: float


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
        verify: bool | Path = True,
        settings: Settings = ENGINE_SETTINGS,
        monotonic: Callable[[], float] = time.monotonic,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` is in seconds for the whole page; `headers` is asked for every page.

        `verify` names a file with the authorities to trust instead of the system's. A page on this
        machine's loopback needs no certificate that anybody signed, unless there is such a file.
        `settings` are what a problem tells people to look at.
        """
        self.url = url
        self._at = url
        self._timeout = timeout
        self._size_cap = size_cap
        self._headers = headers
        self._verify = verify if isinstance(verify, Path) else verify and not is_loopback(url)
        self._settings = settings
        self._monotonic = monotonic
        self._given = transport
        self._connection: _Connection | None = None
        self._answered = 0
        self._closed = False
        self._is_late = False

    @property
    def verifies(self) -> bool | Path:
        """Whether whose certificate it is gets verified, and by which file where it is not the system's."""
        return self._verify

    def fetch(self) -> Page:
        """The page. Raises PageProblem when there is none, and nothing else."""
        return self._fetched(_prometheus_text)

    def fetch_json(self) -> Any:
        """What a JSON document at this address holds. Raises PageProblem when there is none, and nothing else."""
        text = self._fetched(str).text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PageProblem("blocked", "answers with something that is not JSON") from error

    def _fetched(self, checked: Callable[[str], str]) -> Page:
        load_httpx()
        import httpx

        reused = self._answered > 0
        self._is_late = False
        try:
            try:
                return self._once(checked)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                self._drop()
                if not reused or self._is_late:
                    raise
                # The server closed an idle connection just as it was used again: not a fault of the page.
                return self._once(checked)
        except PageProblem:
            raise
        except Exception as error:  # whatever a foreign server makes the client raise costs this page only
            self._drop()
            raise self._problem(error) from error

    def looks_like_a_page(self) -> bool:
        """Whether HEAD is answered with Prometheus text. Raises PageProblem when it is not answered at all.

        Asked before the first GET of a page nobody is known to serve: some engines' `/metrics` is
        JSON that a read empties, or runs a request. Their frameworks refuse HEAD unseen.
        """
        self._is_late = False
        try:
            response = self._asked("HEAD")
            response.close()
        except PageProblem:
            raise
        except Exception as error:  # as in fetch
            self._drop()
            raise self._problem(error) from error
        kind = response.headers.get("content-type", "")
        return response.status_code == HTTPStatus.OK and kind.startswith(("text/plain", "application/openmetrics-text"))

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Have whatever is asked for in here end in time, whatever the server does. For a page that is read once."""
        timer = threading.Timer(seconds, self.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Drop the connection: a `fetch` that hangs on it ends soon, as late. The next one connects anew."""
        self._is_late = True
        self._drop()

    def close(self) -> None:
        """Drop the connection for good."""
        self._closed = True
        self.abort()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._answered = 0
        if connection is not None:
            connection.transport.close()

    def _problem(self, error: Exception) -> PageProblem:
        if self._is_late:
            return self._too_late()
        limit = min(CONNECT_SECONDS, self._timeout)
        return problem_of(error, self._at, timeout=self._timeout, connect=limit, settings=self._settings)

    def _too_late(self) -> PageProblem:
        return PageProblem("blocked", f"its page had not arrived after {self._timeout:g} s")

    def _too_large(self) -> PageProblem:
        return PageProblem("blocked", f"its page is larger than {self._size_cap / 1e6:.0f} MB", final=True)

    def _once(self, checked: Callable[[str], str]) -> Page:
        started = self._monotonic()
        response = self._asked("GET")
        try:
            if response.status_code != HTTPStatus.OK:
                given = self._connection is not None and bool(self._connection.given)
                raise refusal(
                    response.status_code, response.headers, self._at, credentials=given, settings=self._settings
                )  # fmt: skip
            text = self._body(response, started + self._timeout)
        finally:
            response.close()
        arrived = self._monotonic()
        self._answered += 1
        return Page(checked(text), arrived, arrived - started)

    def _asked(self, method: str) -> httpx.Response:
        """The answer, its body unread. A redirect that only adds or drops the slash at the end is followed, once."""
        response = self._open().send(method)
        other = _differs_by_slash(response, self._at) if self._at == self.url else None
        if other is None:
            return response
        response.close()
        self._at = other
        return self._open().send(method)

    def _body(self, response: httpx.Response, deadline: float) -> str:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise PageProblem("blocked", f"its page is encoded as {encoding}, which was not asked for")
        announced = response.headers.get("content-length", "")
        if announced.isascii() and announced.isdecimal() and int(announced[:20]) > self._size_cap:
            raise self._too_large()
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
        page = bytearray()
        pieces = cast("httpx.SyncByteStream", response.stream)  # as it arrives, still encoded
        for number, piece in enumerate(pieces):
            # One byte over the cap is unpacked at most, whatever the piece claims to hold.
            page += unpack.decompress(piece, self._size_cap - len(page) + 1) if unpack is not None else piece
            if len(page) > self._size_cap:
                raise self._too_large()
            if self._monotonic() > deadline:
                raise self._too_late()
            if number > PIECES_CAP:
                raise PageProblem("blocked", f"its page comes in more than {PIECES_CAP:,} pieces", final=True)
        return page.decode("utf-8", "replace")

    def _open(self) -> _Connection:
        if self._closed:
            raise PageProblem("down", "not read any more")
        given = self._headers()
        connection = self._connection
        if connection is None or connection.given != given or connection.url != self._at:
            # Compressing costs the engine's own thread milliseconds; over loopback it buys nothing.
            encoding = "identity" if is_loopback(self.url) else "gzip"
            headers = {"Accept": _ACCEPT, "Accept-Encoding": encoding, "User-Agent": "phasetop", **given}
            transport = connection.transport if connection is not None else self._given or self._new_transport()
            connection = _Connection(transport, self._at, headers, self._timeout, given)
            self._connection = connection
        return connection

    def _new_transport(self) -> httpx.BaseTransport:
        load_httpx()
        import httpx

        return httpx.HTTPTransport(
            verify=trust_of(self.url, self._verify),
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEP_SECONDS),
        )


def trust_of(url: str, verify: bool | Path) -> bool | ssl.SSLContext:
    """Whose certificates count. Loading the authorities costs 50 ms and 2 MB: only where one can come up.

    Raises PageProblem when the file of authorities holds none, OSError when it cannot be read.
    """
    if not verify or not url.startswith("https:"):
        return False
    import ssl

    if isinstance(verify, Path):
        try:
            return ssl.create_default_context(cadata=verify.read_text(encoding="ascii", errors="replace"))
        except ssl.SSLError:
            raise PageProblem("blocked", f"{verify} holds no certificates in PEM") from None
    return _usual_authorities()


@lru_cache(maxsize=1)
def _usual_authorities() -> ssl.SSLContext:
    """Loaded once: many pages may want them."""
    import ssl

    import certifi

    context = ssl.create_default_context()  # the system's, to which a company's own may have been added
    context.load_verify_locations(certifi.where())
    return context


class _Connection:
    """httpx without its client: no redirects, cookies, proxies or logging, and a third less work for a page."""

    def __init__(
        self,
        transport: httpx.BaseTransport,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        given: Mapping[str, str],
    ) -> None:
        """`given` are those of the headers that the page's credentials ask for."""
        import httpx

        self.transport = transport
        self.url = url
        self.given = given
        self._headers = headers
        self._extensions = {"timeout": httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)).as_dict()}
        self._get = self._request("GET")

    def send(self, method: str) -> httpx.Response:
        return self.transport.handle_request(self._get if method == "GET" else self._request(method))

    def _request(self, method: str) -> httpx.Request:
        import httpx

        return httpx.Request(method, self.url, headers=self._headers, extensions=self._extensions)


def _differs_by_slash(response: httpx.Response, asked: str) -> str | None:
    """Where a redirect leads that only adds or drops the slash at the end of the address that was asked."""
    location = response.headers.get("location") if 300 <= response.status_code < 400 else None
    if location is None:
        return None
    target = urljoin(asked, location)
    return target if target != asked and target.rstrip("/") == asked.rstrip("/") else None


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
    if start.startswith("<"):
        raise PageProblem("blocked", "answers with HTML, not with a metrics page")
    if start.startswith(("{", "[")):
        # TensorRT-LLM's is emptied by each read, and others may want those figures.
        reason = "answers with JSON, not with a metrics page; TensorRT-LLM's is at /prometheus/metrics"
        raise PageProblem("blocked", reason, final=True)
    if "\0" in text or text.count("\ufffd") > max(16, len(text) // 10):
        raise PageProblem("blocked", "answers with binary data, not with a metrics page")
    if (lines := text.count("\n")) > LINES_CAP:
        reason = f"its page has {lines:,} lines; more than {LINES_CAP:,} are not read"
        raise PageProblem("blocked", reason, final=True)
    return text
