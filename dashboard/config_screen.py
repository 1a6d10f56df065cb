"""A kind of configured value that only the screens have: keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dashboard.config_values import Kind
from dashboard.notation import inline_table, toml_text


class KeysPerAction(Kind):
    """Held as a tuple of keys per name of what they do. Whether the names and keys exist, the screens know."""

    allowed = "name = a key, or a list of keys"

    def read(self, raw: Any, base: Path) -> Mapping[str, tuple[str, ...]]:
        if not isinstance(raw, dict):
            raise ValueError("must be a table with the names of what keys do")
        return {name: self._keys(name, value) for name, value in _flat(raw)}

    def _keys(self, name: str, value: Any) -> tuple[str, ...]:
        keys = [value] if isinstance(value, str) else value
        if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key for key in keys):
            raise ValueError(f"{toml_text(name)} must be a key in quotes, or a list of them")
        return tuple(keys)

    def from_environment(self, text: str) -> Any:
        return inline_table(text, '{ "view.toggle" = "x" }')

    def toml(self, value: Any) -> str:
        inner = ", ".join(f"{toml_text(name)} = [{', '.join(map(toml_text, keys))}]" for name, keys in value.items())
        return f"{{ {inner} }}" if inner else "{}"


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """TOML takes an unquoted `view.toggle` for a table in a table."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
