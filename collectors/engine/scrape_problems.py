"""Why a page could not be had, each in one clean line that says what to do where somebody can."""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

from collectors.engine.credentials import CredentialProblem
from collectors.text import clean, masked

ProblemState = Literal["blocked", "down"]

_REASON_LIMIT = 160
_IN_FRONT = (
    "nginx",
    "openresty",
    "apache",
    "caddy",
    "haproxy",
    "envoy",
    "istio-envoy",
    "traefik",
    "cloudflare",
    "awselb",
)
_BEHIND = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_TLS_RECORD = r"\x15\x03"
"""How a TLS server's complaint about plain text begins, in the words of an error message."""

# OpenSSL's verification results, X509_V_ERR_* in openssl/x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_OTHER_NAME = (62, 64)


class Settings(NamedTuple):
    """Where people say what a page asks for, in the words of a message."""

    credentials: str
    authorities: str


ENGINE_SETTINGS = Settings("name its token's file in [engine.token_files]", "[engine.ca_files]")


class PageProblem(Exception):
    """No page. The message is one clean line.

    `state` is "down" when nobody answers there, "blocked" when something does but gives no page;
    `status` is the HTTP status if there was one; `refused` says that nobody listens: whoever did
    has ended; `final` that to ask again soon could do harm and cannot help.
    """

    def __init__(
        self,
        state: ProblemState,
        reason: str,
        *,
        status: int | None = None,
        refused: bool = False,
        final: bool = False,
    ) -> None:
        super().__init__(masked(reason, _REASON_LIMIT))
        self.state = state
        self.reason = str(self)
        self.status = status
        self.refused = refused
        self.final = final


def refusal(
    status: int, headers: Mapping[str, str], asked: str, *, credentials: bool, settings: Settings = ENGINE_SETTINGS
) -> PageProblem:
    """An answer that is no page. `credentials`: whether some were sent along."""
    location = headers.get("location")
    if 300 <= status < 400 and location is not None:
        return PageProblem("blocked", _redirect(location, asked), status=status)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        what = (
            "it refuses what it is given as credentials"
            if credentials
            else f"it asks for credentials; {settings.credentials}"
        )
        return PageProblem("blocked", f"present, blocked ({status}): {what}", status=status)
    front = in_front(headers)
    if front and status in _BEHIND:
        text = f"answers with HTTP {status}: {front} is in front, and the engine behind it does not answer"
        return PageProblem("blocked", text, status=status)
    by = f" by {front}" if front else ""
    if status == HTTPStatus.NOT_FOUND:
        return PageProblem("blocked", f"has no metrics page there (404{by})", status=status)
    return PageProblem("blocked", f"answers with HTTP {status}{by}", status=status)


def _redirect(location: str, asked: str) -> str:
    target = urljoin(asked, location)
    parts = urlsplit(target)
    shown = clean(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 80)  # a query may hold a ticket
    if target.rstrip("/") == asked.rstrip("/"):
        return f"redirects in a circle, to {shown}"
    return f"redirects to {shown}; redirects are not followed: name the page's own address"


def in_front(headers: Mapping[str, str]) -> str | None:
    """The proxy that answered, where it says so."""
    server = headers.get("server", "").lower()
    return next((name for name in _IN_FRONT if server.startswith(name)), None)


def problem_of(
    error: Exception, url: str, *, timeout: float, connect: float, settings: Settings = ENGINE_SETTINGS
) -> PageProblem:
    """What an exception of the client means. `timeout` and `connect` are the limits in seconds."""
    import httpx

    if isinstance(error, CredentialProblem):
        return PageProblem("blocked", str(error))
    if isinstance(error, httpx.ConnectTimeout):
        return PageProblem("down", f"cannot be reached: no answer within {connect:g} s")
    if isinstance(error, httpx.TimeoutException):
        return PageProblem("blocked", f"has not answered for {timeout:g} s")
    if isinstance(error, httpx.ConnectError):
        return _unconnected(error, url, settings.authorities)
    if isinstance(error, httpx.ReadError | httpx.WriteError):
        return PageProblem("down", "closed the connection")
    if isinstance(error, httpx.RemoteProtocolError):
        return PageProblem("blocked", _not_http(str(error), url))
    if isinstance(error, zlib.error):
        return PageProblem("blocked", "its page does not unpack as gzip")
    if isinstance(error, OSError):  # a file with credentials or authorities
        return PageProblem("blocked", f"{error.filename or 'a file'} cannot be read: {error.strerror}")
    return PageProblem("blocked", f"cannot be read: {type(error).__name__}: {error}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _unconnected(error: Exception, url: str, authorities: str) -> PageProblem:
    for cause in _causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return PageProblem("down", "connection refused", refused=True)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return PageProblem("blocked", _distrusted(cause, url, authorities))
        if isinstance(cause, ssl.SSLError):
            return PageProblem("blocked", _no_tls(cause))
        if isinstance(cause, socket.gaierror):
            host = clean(urlsplit(url).hostname or "", 60)
            return PageProblem("down", f"the name {host} is not known here: {cause.strerror}")
        if isinstance(cause, OSError):
            return PageProblem("down", f"cannot be reached: {cause.strerror or cause}")
    return PageProblem("down", f"cannot be reached: {error}")


def _distrusted(error: ssl.SSLCertVerificationError, url: str, authorities: str) -> str:
    code = getattr(error, "verify_code", None)
    if code == _EXPIRED:
        return "TLS fails: its certificate has expired"
    if code == _NOT_YET_VALID:
        return "TLS fails: its certificate is not valid yet, or this machine's clock is behind"
    if code in _OTHER_NAME:
        host = clean(urlsplit(url).hostname or "", 60)
        return f"TLS fails: its certificate is not for {host}; name it by the name in the certificate"
    if code in _UNKNOWN_AUTHORITY:
        return f"TLS fails: no known authority signed its certificate; name the authority's file in {authorities}"
    return f"TLS fails: {getattr(error, 'verify_message', None) or error}"


def _no_tls(error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return "TLS fails: what listens there does not speak TLS; name it with http://"
    if error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return "TLS fails: the connection was closed at once; if it does not speak TLS, name it with http://"
    return f"TLS fails: {error.reason or error}"


def _not_http(message: str, url: str) -> str:
    if "without sending a response" in message:
        plain = url.startswith("http:")
        return "closes the connection without an answer in HTTP" + (
            "; if it speaks TLS, name it with https://" if plain else ""
        )
    if "complete message body" in message or "without sending complete" in message:
        return "breaks off in the middle of its page"
    if "chunk" in message:
        return "its page is damaged on the way: a bad chunk"
    if "too long" in message:
        return "does not answer in HTTP: its headers have no end"
    if _TLS_RECORD in message:
        return "speaks TLS: name it with https://"
    if "illegal status line" in message:  # and what it says instead, which is nothing for a screen
        return "does not answer in HTTP: what it says begins with no status line"
    return f"does not answer in HTTP: {message}"
