"""What a configured value may look like: one small class per kind of value.

A kind turns what a file, the environment or a flag says into the value the program uses, says in
words what it accepts, and writes a value back the way a file would hold it. It raises ValueError
with the reason and nothing else; who asked (which file, which line, which flag) is added by
`dashboard.config`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be a text in quotes, not {_shown(raw)}")
    return raw


def _shown(raw: object) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    return f'"{without_userinfo(raw)}"' if isinstance(raw, str) else str(raw)


class Kind:
    """One kind of value. `allowed` says in words what is accepted."""

    allowed: str

    def read(self, raw: Any, base: Path) -> Any:
        """The value of `raw` as TOML gives it; relative paths are taken from `base`."""
        raise NotImplementedError

    def from_environment(self, text: str) -> Any:
        """What TOML would have given for `text`, which stands in an environment variable."""
        return text

    def toml(self, value: Any) -> str:
        """`value` the way a configuration file would hold it."""
        return toml_text(str(value))


class Flag(Kind):
    allowed = "true or false"

    def read(self, raw: Any, base: Path) -> bool:
        if not isinstance(raw, bool):
            raise ValueError(f"must be true or false, not {_shown(raw)}")
        return raw

    def from_environment(self, text: str) -> Any:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)

    def toml(self, value: Any) -> str:
        return "true" if value else "false"


class OneOf(Kind):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.allowed = " or ".join(f'"{word}"' for word in words)

    def read(self, raw: Any, base: Path) -> str:
        if raw not in self.words:
            raise ValueError(f"must be {self.allowed}, not {_shown(raw)}")
        return str(raw)


class _Range(Kind):
    """A number between two bounds, both included; the subclasses say how it is written."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.allowed = f"{self.written(minimum)} to {self.written(maximum)}"

    def written(self, value: Any) -> str:
        raise NotImplementedError

    def within(self, value: float, raw: Any) -> Any:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{_shown(raw)} is out of range: it must be {self.allowed}")
        return value

    def toml(self, value: Any) -> str:
        return toml_text(self.written(value))


class Whole(_Range):
    def written(self, value: Any) -> str:
        return str(value)

    def read(self, raw: Any, base: Path) -> Any:
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise ValueError(f"must be a whole number, not {_shown(raw)}")
        return self.within(raw, raw)

    def from_environment(self, text: str) -> Any:
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text

    def toml(self, value: Any) -> str:
        return str(value)


class Duration(_Range):
    """Held as seconds."""

    def written(self, value: Any) -> str:
        return format_duration(value)

    def read(self, raw: Any, base: Path) -> Any:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            raise ValueError(f'{raw} has no unit: write "{raw}s" for seconds, or another of ms, m, h, d')
        return self.within(parse_duration(_text(raw)), raw)


class Limit(Duration):
    """Held as seconds, or None where there is no limit."""

    def __init__(self, minimum: float, maximum: float) -> None:
        super().__init__(minimum, maximum)
        self.allowed = f'{self.allowed}, or "" for none'

    def read(self, raw: Any, base: Path) -> Any:
        return None if raw == "" else super().read(raw, base)

    def toml(self, value: Any) -> str:
        return '""' if value is None else super().toml(value)


class Quantile(_Range):
    """Held as a share of 1."""

    def written(self, value: Any) -> str:
        return f"{value:g}"

    def read(self, raw: Any, base: Path) -> float:
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise ValueError(f"must be a number such as 0.99, not {_shown(raw)}")
        return float(self.within(raw, raw))

    def from_environment(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    def toml(self, value: Any) -> str:
        return repr(value)


class Number(_Range):
    """A plain number of a unit that the key's explanation names."""

    def written(self, value: Any) -> str:
        return f"{value:g}"

    def read(self, raw: Any, base: Path) -> float:
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise ValueError(f"must be a number such as {self.written(self.minimum or 1)}, not {_shown(raw)}")
        return float(self.within(raw, raw))

    def from_environment(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    def toml(self, value: Any) -> str:
        return f"{value:.12g}"


class Currency(Kind):
    """Held as three capital letters or a short sign."""

    allowed = "a currency's code or sign, of 1 to 4 characters"

    def read(self, raw: Any, base: Path) -> str:
        text = _text(raw)
        if not 1 <= len(text) <= 4 or not text.isprintable() or any(one.isspace() or one.isdigit() for one in text):
            raise ValueError(f"{_shown(raw)} is no currency: write {self.allowed}, such as USD or €")
        return text


class Size(_Range):
    """Held as bytes."""

    def written(self, value: Any) -> str:
        return format_size(value)

    def read(self, raw: Any, base: Path) -> Any:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            raise ValueError(f'{raw} has no unit: write a size such as "500MB" or "8GiB"')
        return self.within(parse_size(_text(raw)), raw)


class FilePath(Kind):
    """A file or a directory; the empty text is None. Existence is not checked here."""

    allowed = 'a path, or "" for none'

    def read(self, raw: Any, base: Path) -> Path | None:
        text = _text(raw)
        return base / Path(text).expanduser() if text else None

    def toml(self, value: Any) -> str:
        return toml_text("" if value is None else str(value))


class ListenAddress(Kind):
    allowed = "ADDR:PORT"

    def read(self, raw: Any, base: Path) -> Address:
        return parse_address(_text(raw))


class Names(Kind):
    """Held as a tuple of host names, without repeats."""

    allowed = "a list of host names"

    def read(self, raw: Any, base: Path) -> tuple[str, ...]:
        if not isinstance(raw, list):
            raise ValueError(f"must be {self.allowed}, not {_shown(raw)}")
        return tuple(dict.fromkeys(self.entry(_text(entry)) for entry in raw))

    def entry(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", text):
            raise ValueError(f'"{text}" is not a host name')
        return text

    def from_environment(self, text: str) -> Any:
        return [entry.strip() for entry in text.split(",") if entry.strip()]

    def toml(self, value: Any) -> str:
        return f"[{', '.join(toml_text(entry) for entry in value)}]"


class PageUrls(Names):
    """Held as a tuple of full addresses, without repeats."""

    allowed = "a list of HOST:PORT or http(s) addresses"

    def entry(self, text: str) -> str:
        return page_url(text)

    def toml(self, value: Any) -> str:
        return f"[{', '.join(toml_text(_written(url)) for url in value)}]"


def _written(url: str) -> str:
    """The address as a file may show it: that it came with a name and password, and not which."""
    if getattr(url, "userinfo", None) is None:
        return url
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{_HIDDEN}@{rest}"


class _PerPage(Kind):
    """A table whose keys are page addresses; the subclasses say what stands under a key."""

    def read(self, raw: Any, base: Path) -> Mapping[str, Any]:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a table with page addresses as its keys, not {_shown(raw)}")
        return {page_url(address): self.entry(entry, base) for address, entry in raw.items()}

    def entry(self, raw: Any, base: Path) -> Any:
        raise NotImplementedError

    def from_environment(self, text: str) -> Any:
        import tomllib

        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            raise ValueError('must be an inline table, such as { "http://127.0.0.1:8000/metrics" = ... }') from None

    def toml(self, value: Any) -> str:
        inner = ", ".join(f"{toml_text(address)} = {self.entry_toml(entry)}" for address, entry in value.items())
        return f"{{ {inner} }}" if inner else "{}"

    def entry_toml(self, entry: Any) -> str:
        return toml_text(str(entry))


class PathPerPage(_PerPage):
    allowed = "page address = path"

    def entry(self, raw: Any, base: Path) -> Path:
        path = FilePath().read(raw, base)
        if path is None:
            raise ValueError("a path must not be empty here")
        return path


class VariablePerPage(_PerPage):
    """Held as the name of an environment variable per page."""

    allowed = "page address = name of an environment variable"

    def entry(self, raw: Any, base: Path) -> str:
        name = _text(raw)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # Whoever put the token itself here must not find it in an error message.
            raise ValueError("must be the name of an environment variable: letters, digits and underscores")
        return name


class GpusPerPage(_PerPage):
    """Held as a tuple of NVML indices (as text) and UUIDs per page."""

    allowed = "page address = list of GPU indices or UUIDs"

    def entry(self, raw: Any, base: Path) -> tuple[str, ...]:
        if not isinstance(raw, list) or not raw:
            raise ValueError("must be a list of GPU indices or UUIDs")
        for gpu in raw:
            is_index = isinstance(gpu, int) and not isinstance(gpu, bool) and gpu >= 0
            if not is_index and not (isinstance(gpu, str) and gpu.startswith(("GPU-", "MIG-"))):
                raise ValueError(f"{_shown(gpu)} is neither an index (0, 1, ...) nor a UUID (GPU-..., MIG-...)")
        return tuple(str(gpu) for gpu in raw)

    def entry_toml(self, entry: Any) -> str:
        return f"[{', '.join(gpu if gpu.isdigit() else toml_text(gpu) for gpu in entry)}]"


class PeaksPerName(Kind):
    """Held as bytes/s and flop/s (or None) per device name."""

    allowed = "device name = { dram_bytes_per_second, tensor_flops_per_second }, either or both"
    _KEYS = ("dram_bytes_per_second", "tensor_flops_per_second")

    def read(self, raw: Any, base: Path) -> Mapping[str, tuple[float | None, float | None]]:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a table with device names as its keys, not {_shown(raw)}")
        return {name: self._entry(name, entry) for name, entry in raw.items()}

    def _entry(self, name: str, raw: object) -> tuple[float | None, float | None]:
        if not isinstance(raw, dict) or not raw or not raw.keys() <= set(self._KEYS):
            raise ValueError(f"{toml_text(name)} must hold {self._KEYS[0]}, {self._KEYS[1]} or both, and nothing else")
        for key, value in raw.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e20:
                raise ValueError(f"{key} of {toml_text(name)} must be a number above 0 such as 3.35e12")
        return raw.get(self._KEYS[0]), raw.get(self._KEYS[1])

    def from_environment(self, text: str) -> Any:
        import tomllib

        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            raise ValueError(
                'must be an inline table, such as { "NVIDIA H20" = { dram_bytes_per_second = 4e12 } }'
            ) from None

    def toml(self, value: Any) -> str:
        inner = ", ".join(f"{toml_text(name)} = {self._entry_toml(entry)}" for name, entry in value.items())
        return f"{{ {inner} }}" if inner else "{}"

    def _entry_toml(self, entry: tuple[float | None, float | None]) -> str:
        given = zip(self._KEYS, entry, strict=True)
        return f"{{ {', '.join(f'{key} = {value!r}' for key, value in given if value is not None)} }}"


class LatenciesPerModel(Kind):
    """Held as seconds (None where there is no limit) by "ttft" and "tpot", per model name; only what is given."""

    allowed = 'model name = { ttft, tpot }, either or both, each a duration or "" for none'
    _LIMITS: Mapping[str, Limit] = {"ttft": Limit(0.001, 3600.0), "tpot": Limit(0.0001, 60.0)}

    def read(self, raw: Any, base: Path) -> Mapping[str, Mapping[str, float | None]]:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a table with model names as its keys, not {_shown(raw)}")
        return {model: self._entry(model, entry, base) for model, entry in raw.items()}

    def _entry(self, model: str, raw: object, base: Path) -> Mapping[str, float | None]:
        if not isinstance(raw, dict) or not raw or not raw.keys() <= self._LIMITS.keys():
            raise ValueError(f"{toml_text(model)} must hold ttft, tpot or both, and nothing else")
        limits = {}
        for name, value in raw.items():
            try:
                limits[name] = self._LIMITS[name].read(value, base)
            except ValueError as error:
                raise ValueError(f"{name} of {toml_text(model)}: {error}") from None
        return limits

    def from_environment(self, text: str) -> Any:
        import tomllib

        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            raise ValueError('must be an inline table, such as { "llama-3.1-8b" = { tpot = "50ms" } }') from None

    def toml(self, value: Any) -> str:
        inner = ", ".join(f"{toml_text(model)} = {self._entry_toml(limits)}" for model, limits in value.items())
        return f"{{ {inner} }}" if inner else "{}"

    def _entry_toml(self, limits: Mapping[str, float | None]) -> str:
        return f"{{ {', '.join(f'{name} = {self._LIMITS[name].toml(limit)}' for name, limit in limits.items())} }}"


class ServerUrl(Kind):
    """A server's address up to its API, or None; a name and a password in it are kept apart, as in `PageUrl`."""

    allowed = 'an http(s) address, or "" for none'

    def read(self, raw: Any, base: Path) -> PageUrl | None:
        text = _text(raw)
        if not text:
            return None
        found = page_url(text)
        path = urlsplit(text if "://" in text else f"http://{text}").path.rstrip("/")
        parts = urlsplit(found)
        return PageUrl(urlunsplit((parts.scheme, parts.netloc, path, "", "")), found.userinfo)

    def toml(self, value: Any) -> str:
        return toml_text("" if value is None else _written(value))


class Variable(Kind):
    """The name of an environment variable, or None."""

    allowed = 'the name of an environment variable, or "" for none'

    def read(self, raw: Any, base: Path) -> str | None:
        return VariablePerPage().entry(raw, base) if _text(raw) else None

    def toml(self, value: Any) -> str:
        return toml_text(value or "")


class LabelMatch(Kind):
    """The inside of a PromQL selector."""

    allowed = 'label matchers such as job="phasetop"'

    def read(self, raw: Any, base: Path) -> str:
        text = _text(raw).strip()
        if not text or "{" in text or "}" in text:
            raise ValueError(f"must be {self.allowed}, without braces, not {_shown(raw)}")
        return text


class LabelNames(Names):
    """Held as a tuple of one label name or more."""

    allowed = "a list of label names"

    def read(self, raw: Any, base: Path) -> tuple[str, ...]:
        found = super().read(raw, base)
        if not found:
            raise ValueError("must name one label at least, such as instance")
        return found

    def entry(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
            raise ValueError(f'"{text}" is not a label name')
        return text


class Price(Kind):
    """Held as money per unit, or None where it is not known."""

    allowed = 'a number from 0 up, or "" where it is not known'

    def read(self, raw: Any, base: Path) -> float | None:
        if raw == "":
            return None
        if isinstance(raw, str):
            try:
                raw = float(raw)
            except ValueError:
                raise ValueError(f"must be {self.allowed}, not {_shown(raw)}") from None
        if not isinstance(raw, int | float) or isinstance(raw, bool) or not 0 <= raw < 1e9:
            raise ValueError(f"must be {self.allowed}, not {_shown(raw)}")
        return float(raw)

    def toml(self, value: Any) -> str:
        return '""' if value is None else repr(value)
