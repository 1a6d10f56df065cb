"""How people write durations, sizes and addresses, here and in a file: read, and written back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_BYTES: Mapping[str, int] = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def parse_duration(text: str) -> float:
    """Seconds of "500ms", "1s", "1.5s", "10m", "2h" or "30d"."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a duration: write a number and a unit, such as 500ms, 1s, 10m or 2h')
    return float(match[1]) * _SECONDS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` turns back into `seconds`."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.12g}ms" if seconds < 1 else f"{seconds:.12g}s"


def parse_size(text: str) -> int:
    """Bytes of "500MB" (powers of ten) or "8GiB" (powers of two)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a size: write a number and a unit, such as 500MB or 8GiB')
    return round(float(match[1]) * _BYTES[match[2]])


def format_size(size: int) -> str:
    """The shortest text that `parse_size` turns back into `size`."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size >= _BYTES[unit] and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


class PageUrl(str):
    """A page's address, without the name and password it was given with: those are in `userinfo`, for nobody's eyes.

    Everything that shows, records or compares the address has them not.
    """

    __slots__ = ("userinfo",)
    userinfo: str | None
    """As written, still percent-encoded: NAME:PASSWORD."""

    def __new__(cls, address: str, userinfo: str | None = None) -> PageUrl:
        made = super().__new__(cls, address)
        made.userinfo = userinfo
        return made


_HIDDEN = "***"


def page_url(text: str) -> PageUrl:
    """A metrics page's full address: `HOST:PORT` becomes `http://HOST:PORT/metrics`.

    Raises ValueError when there is no host, or the scheme is not http or https. No message repeats a
    name and password that stand in the address.
    """
    shown = without_userinfo(text)
    if not text.isprintable() or " " in text:
        raise ValueError(f"{shown!r} is not a page address: it holds blanks or control characters")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host = parts.hostname
    except ValueError:
        raise ValueError(f'"{shown}" is not a page address: its brackets do not match') from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f'"{shown}" is not a page address: only http:// and https:// are read')
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f'"{shown}" has no valid port: it must be 1 to 65535') from None
    if not host or port == 0:
        raise ValueError(f'"{shown}" is not a page address: write HOST:PORT or http://HOST:PORT/metrics')
    userinfo, at, place = parts.netloc.rpartition("@")
    if userinfo == _HIDDEN:
        raise ValueError(f'"{shown}" holds {_HIDDEN} where its name and password were: write them again')
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    return PageUrl(urlunsplit((parts.scheme, place, path, parts.query, "")), userinfo if at else None)


def without_userinfo(text: str) -> str:
    """An address, well formed or not, with its name and password replaced by asterisks."""
    if "@" not in text:
        return text
    scheme, separator, _ = text.partition("://")
    return f"{scheme + separator if separator else ''}{_HIDDEN}@{text.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`ADDR:PORT`, an IPv6 address in square brackets; port 0 lets the system choose."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f'"{text}" is not an address: write ADDR:PORT, such as 127.0.0.1:19417 or [::1]:19417')
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f'"{text}" has no valid port: it must be 0 to 65535')
    return Address(host.strip("[]"), int(port))


def toml_text(text: str) -> str:
    """`text` as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def written_url(url: str) -> str:
    """The address as a file may show it: that it came with a name and password, and not which."""
    if getattr(url, "userinfo", None) is None:
        return url
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{_HIDDEN}@{rest}"


def inline_table(text: str, example: str) -> Any:
    """What TOML makes of `text`, a table in one line as environment variables hold it; `example` shows one."""
    import tomllib  # few have such a variable

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ValueError(f"must be an inline table, such as {example}") from None
