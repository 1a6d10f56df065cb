"""HTTP/1.1 requests as far as a page server needs them: heads only, no bodies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
_MAX_HEADERS = 100
_ONLY_ONCE = frozenset({"host", "content-length", "authorization"})


class RequestError(Exception):
    """A request that gets no page: the status to answer with, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """One request's head. Header names are in lower case; `path` is without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool

    @property
    def host(self) -> str | None:
        return self.headers.get("host")


def parse_head(head: bytes) -> Request:
    """The request whose head this is, without the empty line that ends it.

    Raises:
        RequestError: it is malformed, of another protocol version, or brings a body.
    """
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]):
        raise RequestError(400, "malformed request line")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if re.fullmatch(rb"HTTP/\d(\.\d)?", version):
            raise RequestError(505, "this server speaks HTTP/1.1")
        raise RequestError(400, "malformed request line")
    headers = _headers(lines[1:])
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise RequestError(413, "this server takes no request body")
    if version == b"HTTP/1.1" and "host" not in headers:
        raise RequestError(400, "the Host header is missing")
    path = _path(target, headers)
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    keep_alive = "keep-alive" in options if version == b"HTTP/1.0" else "close" not in options
    return Request(method.decode("ascii"), path, headers, keep_alive)


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > _MAX_HEADERS:
        raise RequestError(431, f"more than {_MAX_HEADERS} header fields")
    headers: dict[str, str] = {}
    for line in lines:
        name_bytes, colon, value_bytes = line.partition(b":")
        if not colon or not _NAME.fullmatch(name_bytes) or _FORBIDDEN_IN_VALUE.search(value_bytes):
            raise RequestError(400, "malformed header field")
        name = name_bytes.decode("ascii").lower()
        value = value_bytes.strip(b" \t").decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in _ONLY_ONCE:
            raise RequestError(400, f"more than one {name} header field")
        else:
            headers[name] += f", {value}"
    return headers


def _path(target: bytes, headers: dict[str, str]) -> str:
    """The path of the target; the authority of an absolute one takes the place of Host."""
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        raise RequestError(400, "malformed request target") from None
    absolute = _ABSOLUTE.fullmatch(text)
    if absolute:
        headers["host"] = absolute[1]
        text = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if not text.startswith("/"):
        raise RequestError(400, "malformed request target")
    return text.partition("?")[0]


@lru_cache(maxsize=64)
def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics 1.0 to the text format."""
    openmetrics, text = 0.0, 0.0
    for media_type, parameters, quality in _ranges(accept):
        if media_type == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif media_type in ("text/plain", "text/*") and parameters.get("version", "0.0.4") == "0.0.4":
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    named = {name: quality for name, _, quality in _ranges(accept_encoding)}
    return named.get("gzip", named.get("x-gzip", named.get("*", 0.0))) > 0


def _ranges(header: str) -> list[tuple[str, dict[str, str], float]]:
    """Each alternative of an Accept header: name, parameters and quality (1 unless told, 0 when malformed)."""
    found: list[tuple[str, dict[str, str], float]] = []
    for alternative in header.split(","):
        name, *rest = alternative.split(";")
        parameters = {
            key.strip().lower(): value.strip().strip('"') for key, _, value in (r.partition("=") for r in rest)
        }
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        found.append((name.strip().lower(), parameters, quality))
    return found


@lru_cache(maxsize=64)
def names_loopback(host: str) -> bool:
    """Whether a Host header names this machine by its loopback address or as localhost.

    A page in a browser can make any name of its own resolve to 127.0.0.1; its requests then carry
    that name here, and must not be answered.
    """
    name = host_name(host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """A Host header's name or address in lower case, without port and brackets; empty when malformed."""
    matched = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]@/\s]+))(?::\d{1,5})?", host)
    return (matched[1] or matched[2]).lower().rstrip(".") if matched else ""
