"""Reading a Prometheus text page quickly, and only the families that are wanted.

A page of a serving engine has some 500 lines of which only the numbers change from one reading to
the next. So the part of a line before its value is parsed once and remembered; afterwards a line
costs one dictionary look-up and one `float`.

A page that grows or lies costs a bounded time and a bounded memory: so many characters, new lines
and labels are looked at, and what is beyond is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from collectors.text import clean

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*(?:,|(?=\}))')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_LABEL_VALUE_LIMIT = 200

PAGE_LIMIT = 16 << 20
"""Characters of a page that are read; the largest known engine page has 0.12 million."""
LINE_LIMIT = 8_192
"""Characters of a line up to its value; the longest known has 1,200."""
LABEL_LIMIT = 64
"""Labels of a series; the most known are 40."""
NEW_LINES_LIMIT = 50_000
"""Lines never seen before that one reading looks at, and series that are remembered."""
_VALUE_LIMIT = 200
REMEMBERED_LIMIT = 8 << 20
"""Characters of lines that are remembered."""

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
    _remembered: int = 0

    def series(self, key: str) -> Series | None:
        """The series of a line's part before its value; None when unwanted or not a series."""
        parsed = _parse_key(key)
        series = self._intern(*parsed) if parsed and self.wanted(parsed[0]) else None
        self.remember(key, series)
        return series

    def remember(self, key: str, series: Series | None) -> None:
        if len(self._by_key) >= NEW_LINES_LIMIT or self._remembered >= REMEMBERED_LIMIT:
            # A page whose lines never repeat (time stamps in labels, say) must not grow us without end.
            self._by_key.clear()
            self._remembered = 0
        self._by_key[key] = series
        self._remembered += len(key)

    def forget_all_but(self, samples: Iterable[tuple[Series, Number]]) -> None:
        """Drop series that a page has no more, once there are very many.

        Those still there keep their identity: a total is compared with the one before by it.
        """
        if len(self._by_identity) > NEW_LINES_LIMIT:
            self._by_identity = {(one.name, tuple(one.labels.items())): one for one, _ in samples}
            self._by_key.clear()
            self._remembered = 0

    def _intern(self, name: str, labels: dict[str, str]) -> Series:
        identity = (name, tuple(labels.items()))
        series = self._by_identity.get(identity)
        if series is None:
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
    new_lines = 0
    for line in text[:PAGE_LIMIT].split("\n"):
        key, _, value = line.rpartition(" ")
        if key in known:
            series = known[key]
        else:
            new_lines += 1
            if new_lines > NEW_LINES_LIMIT:
                continue
            found = _first_seen(line, key, value, memo)
            if found is None:
                continue
            series, value = found
        if series is None:
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        if number == number:
            append((series, number))
    memo.forget_all_but(samples)
    return samples


def _first_seen(line: str, key: str, value: str, memo: PageMemo) -> tuple[Series | None, str] | None:
    """(series, value text) of a line whose beginning is not remembered; None when it is no sample."""
    if line.startswith("#"):
        if len(key) <= LINE_LIMIT:
            memo.remember(key, None)
        return None
    split = _split(line)
    if split is None:
        return None
    key, value = split
    return (memo._by_key[key] if key in memo._by_key else memo.series(key)), value


def _split(line: str) -> tuple[str, str] | None:
    """A sample line's key and value text, whatever follows the value; None when it is no sample."""
    line = line[: LINE_LIMIT + _VALUE_LIMIT]
    name = _NAME.match(line)
    if name is None:
        return None
    end = name.end()
    if end < len(line) and line[end] == "{":
        closing = _labels_end(line, end + 1)
        if closing is None:
            return None
        end = closing
    if end > LINE_LIMIT:
        return None
    words = line[end : end + _VALUE_LIMIT].split(maxsplit=1)
    return (line[:end], words[0]) if words else None


def _labels_end(line: str, position: int) -> int | None:
    for _ in range(LABEL_LIMIT + 1):
        if position >= len(line) or position > LINE_LIMIT:
            return None
        if line[position] == "}":
            return position + 1
        label = _LABEL.match(line, position)
        if label is None:
            return None
        position = label.end()
    return None


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
