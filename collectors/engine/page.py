"""Reading a Prometheus text page quickly, and only the families that are wanted.

A page of a serving engine has some 500 lines of which only the numbers change from one reading to
the next. So the part of a line before its value is parsed once and remembered; afterwards a line
costs one dictionary look-up and one `float`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from collectors.text import clean

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|(?=\}))')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_MEMO_LIMIT = 20_000
_LABEL_VALUE_LIMIT = 200

Number = float


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series of a page: sample name and labels. Compared by identity; a memo makes each once."""

    name: str
    labels: Mapping[str, str]

    def __repr__(self) -> str:
        inside = ",".join(f'{k}="{v}"' for k, v in self.labels.items())
        return f"{self.name}{{{inside}}}" if inside else self.name


@dataclass(slots=True)
class PageMemo:
    """What is remembered of one endpoint's page from one reading to the next.

    `wanted` decides by sample name whether a series is kept at all.
    """

    wanted: Callable[[str], bool]
    _by_key: dict[str, Series | None] = field(default_factory=dict)
    _by_identity: dict[tuple[str, tuple[tuple[str, str], ...]], Series] = field(default_factory=dict)

    def series(self, key: str) -> Series | None:
        """The series of a line's part before its value; None when unwanted or not a series."""
        parsed = _parse_key(key)
        series = self._intern(*parsed) if parsed and self.wanted(parsed[0]) else None
        if len(self._by_key) >= _MEMO_LIMIT:
            # A page whose lines never repeat (time stamps in labels, say) must not grow us without end.
            self._by_key.clear()
        self._by_key[key] = series
        return series

    def _intern(self, name: str, labels: dict[str, str]) -> Series:
        identity = (name, tuple(labels.items()))
        series = self._by_identity.get(identity)
        if series is None:
            if len(self._by_identity) >= _MEMO_LIMIT:
                self._by_identity.clear()
            series = self._by_identity[identity] = Series(name, MappingProxyType(labels))
        return series


def read_page(text: str, memo: PageMemo) -> list[tuple[Series, Number]]:
    """The wanted samples of a page in its own order; NaN is left out, since it means "no value".

    Accepts Prometheus text and OpenMetrics, with or without time stamps and exemplars. A line that
    is no sample is passed over: one damaged line must not cost the rest of the page.
    """
    known = memo._by_key
    samples: list[tuple[Series, Number]] = []
    append = samples.append
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        try:
            series = known[key]
        except KeyError:
            if not line or line[0] == "#":
                continue
            stripped = _split(line)
            if stripped is None:
                continue
            key, value = stripped
            series = known[key] if key in known else memo.series(key)
        if series is None:
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        if number == number:
            append((series, number))
    return samples


def _split(line: str) -> tuple[str, str] | None:
    """A sample line's key and value text, whatever follows the value; None when it is no sample."""
    name = _NAME.match(line)
    if name is None:
        return None
    end = name.end()
    if end < len(line) and line[end] == "{":
        closing = _labels_end(line, end + 1)
        if closing is None:
            return None
        end = closing
    words = line[end:].split()
    return (line[:end], words[0]) if words else None


def _labels_end(line: str, position: int) -> int | None:
    while position < len(line) and line[position] != "}":
        label = _LABEL.match(line, position)
        if label is None:
            return None
        position = label.end()
    return position + 1 if position < len(line) else None


def _parse_key(key: str) -> tuple[str, dict[str, str]] | None:
    name = _NAME.match(key)
    if name is None:
        return None
    labels: dict[str, str] = {}
    position = name.end()
    if position < len(key):
        if key[position] != "{":
            return None
        position += 1
        while (label := _LABEL.match(key, position)) is not None:
            labels[label[1]] = clean(_unescape(label[2]), _LABEL_VALUE_LIMIT)
            position = label.end()
        if key[position:] != "}":
            return None
    return name[0], labels


def _unescape(value: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), value) if "\\" in value else value
