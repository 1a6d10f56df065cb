"""Kinds of configured values that are about pages and servers, and tables with something for each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dashboard.config_values import FilePath, Kind, Limit, Names, shown, text_of
from dashboard.notation import PageUrl, inline_table, page_url, toml_text, written_url


class PageUrls(Names):
    """Held as a tuple of full addresses, without repeats."""

    allowed = "a list of HOST:PORT or http(s) addresses"

    def entry(self, text: str) -> str:
        return page_url(text)

    def toml(self, value: Any) -> str:
        return f"[{', '.join(toml_text(written_url(url)) for url in value)}]"


class _PerPage(Kind):
    """A table whose keys are page addresses; the subclasses say what stands under a key."""

    def read(self, raw: Any, base: Path) -> Mapping[str, Any]:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a table with page addresses as its keys, not {shown(raw)}")
        return {page_url(address): self.entry(entry, base) for address, entry in raw.items()}

    def entry(self, raw: Any, base: Path) -> Any:
        raise NotImplementedError

    def from_environment(self, text: str) -> Any:
        return inline_table(text, '{ "http://127.0.0.1:8000/metrics" = ... }')

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
        name = text_of(raw)
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
                raise ValueError(f"{shown(gpu)} is neither an index (0, 1, ...) nor a UUID (GPU-..., MIG-...)")
        return tuple(str(gpu) for gpu in raw)

    def entry_toml(self, entry: Any) -> str:
        return f"[{', '.join(gpu if gpu.isdigit() else toml_text(gpu) for gpu in entry)}]"


class PeaksPerName(Kind):
    """Held as bytes/s and flop/s (or None) per device name."""

    allowed = "device name = { dram_bytes_per_second, tensor_flops_per_second }, either or both"
    _KEYS = ("dram_bytes_per_second", "tensor_flops_per_second")

    def read(self, raw: Any, base: Path) -> Mapping[str, tuple[float | None, float | None]]:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a table with device names as its keys, not {shown(raw)}")
        return {name: self._entry(name, entry) for name, entry in raw.items()}

    def _entry(self, name: str, raw: object) -> tuple[float | None, float | None]:
        if not isinstance(raw, dict) or not raw or not raw.keys() <= set(self._KEYS):
            raise ValueError(f"{toml_text(name)} must hold {self._KEYS[0]}, {self._KEYS[1]} or both, and nothing else")
        for key, value in raw.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e20:
                raise ValueError(f"{key} of {toml_text(name)} must be a number above 0 such as 3.35e12")
        return raw.get(self._KEYS[0]), raw.get(self._KEYS[1])

    def from_environment(self, text: str) -> Any:
        return inline_table(text, '{ "NVIDIA H20" = { dram_bytes_per_second = 4e12 } }')

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
            raise ValueError(f"must be a table with model names as its keys, not {shown(raw)}")
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
        return inline_table(text, '{ "llama-3.1-8b" = { tpot = "50ms" } }')

    def toml(self, value: Any) -> str:
        inner = ", ".join(f"{toml_text(model)} = {self._entry_toml(limits)}" for model, limits in value.items())
        return f"{{ {inner} }}" if inner else "{}"

    def _entry_toml(self, limits: Mapping[str, float | None]) -> str:
        return f"{{ {', '.join(f'{name} = {self._LIMITS[name].toml(limit)}' for name, limit in limits.items())} }}"


class ServerUrl(Kind):
    """A server's address up to its API, or None; a name and a password in it are kept apart, as in `PageUrl`."""

    allowed = 'an http(s) address, or "" for none'

    def read(self, raw: Any, base: Path) -> PageUrl | None:
        text = text_of(raw)
        if not text:
            return None
        found = page_url(text)
        path = urlsplit(text if "://" in text else f"http://{text}").path.rstrip("/")
        parts = urlsplit(found)
        return PageUrl(urlunsplit((parts.scheme, parts.netloc, path, "", "")), found.userinfo)

    def toml(self, value: Any) -> str:
        return toml_text("" if value is None else written_url(value))


class Variable(Kind):
    """The name of an environment variable, or None."""

    allowed = 'the name of an environment variable, or "" for none'

    def read(self, raw: Any, base: Path) -> str | None:
        return VariablePerPage().entry(raw, base) if text_of(raw) else None

    def toml(self, value: Any) -> str:
        return toml_text(value or "")
