"""Numbers, times and names as the screens show them: fixed width, so that nothing jitters.

A missing value is a dash, never 0. Functions say how wide their result is; values too large for
their width are cut to the nearest thing that fits rather than pushed out of their column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from collectors.clock import NANO

NANOSECONDS = NANO
GIB = 1 << 30
MISSING = "-"

_PREFIXES: tuple[str, ...] = ("", "k", "M", "G", "T", "P", "E")
_SMALLEST_KEPT = 0.8
"""A prefix is kept until the value falls below this many of it; it is raised at 1,000."""


def percent(ratio: float | None, width: int = 3) -> str:
    """A ratio as whole percents without the sign, right-aligned: " 58", "100", "  -".

    Only a width below 3 can be exceeded, by 100 and more.
    """
    if ratio is None or not math.isfinite(ratio):
        return MISSING.rjust(width)
    return str(round(min(max(ratio, -0.99), 9.99) * 100)).rjust(width)


def whole(value: float | None, width: int) -> str:
    """A whole number, right-aligned; one too wide is shown with a prefix ("12k") or as a power ("1e9")."""
    if value is None or not math.isfinite(value):
        return MISSING.rjust(width)
    text = str(round(value))
    if len(text) > width:
        text = _shortened(value, width)
    return text.rjust(width)[:width]


def _shortened(value: float, width: int) -> str:
    """As many digits as fit before the prefix; a digit too few is cut, never the prefix."""
    for power, prefix in enumerate(_PREFIXES[1:], start=1):
        if not 1 <= abs(value) / 1000**power < 999.5:
            continue
        for decimals in (2, 1, 0):
            text = f"{value / 1000**power:.{decimals}f}{prefix}"
            if len(text) <= width:
                return text
    text = f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return text if len(text) <= width else "…"


def scaled(value: float | None, previous: str | None = None) -> tuple[str, str]:
    """Three significant digits and a prefix by threes, five characters wide, and that prefix.

    `previous` is the prefix this number had last time. It is kept as long as the number can be
    read with it, so that a value around 1,000 does not flip between "990 " and "1.01k".
    """
    if value is None or not math.isfinite(value):
        return f"{MISSING:>4} ", previous or ""
    size = abs(value)
    exponent = 0
    while exponent < len(_PREFIXES) - 1 and _digits(size / 1000**exponent) >= 1000:
        exponent += 1
    if previous in _PREFIXES:
        kept = _PREFIXES.index(previous)
        if kept == exponent + 1 and size / 1000**kept >= _SMALLEST_KEPT:
            exponent = kept
    prefix = _PREFIXES[exponent]
    return f"{_three(value / 1000**exponent):>4}{prefix or ' '}", prefix


def _digits(value: float) -> float:
    """The value as it reads after rounding to three digits: 999.6 reads 1000."""
    return round(value, 2) if value < 10 else round(value, 1) if value < 100 else round(value)


def _three(value: float) -> str:
    """Three significant digits in at most four characters, without an exponent."""
    size = _digits(abs(value))
    for decimals in (2 if size < 10 else 1 if size < 100 else 0, 1, 0):
        text = f"{value:.{decimals}f}" if value else "0"
        if len(text) <= 4:
            return text
    return text


class Units:
    """Remembers the prefix each number had, by name, so that units do not flip back and forth."""

    def __init__(self) -> None:
        self._prefixes: dict[str, str] = {}

    def __call__(self, name: str, value: float | None) -> str:
        """`value` in five characters: "8.10k", " 980 "."""
        text, prefix = scaled(value, self._prefixes.get(name))
        if value is not None:
            self._prefixes[name] = prefix
        return text

    def parted(self, name: str, value: float | None) -> tuple[str, str]:
        """`value` in four characters, and its prefix, to stand before a unit: ("2.48", "T")."""
        text = self(name, value)
        return text[:4], text[4:].strip()


def gibibytes(value: float | None, width: int = 3) -> str:
    """Bytes as GiB: whole from 10 up, one decimal below."""
    if value is None:
        return MISSING.rjust(width)
    size = value / GIB
    text = f"{size:.1f}" if size < 9.95 else f"{size:.0f}"
    return text.rjust(width) if len(text) <= width else whole(size, width)


def latency(seconds: float | None) -> str:
    """Seconds in seven characters with their unit: "0.21 s ", " 24 ms ", "1.4 ms ", "  -    "."""
    if seconds is None or not math.isfinite(seconds):
        return "   -   "
    if seconds < 0.0995:
        number = seconds * 1000
        return f"{f'{number:.1f}' if number < 9.95 else f'{number:.0f}':>4} ms"
    number_text = f"{seconds:.2f}" if seconds < 9.995 else f"{seconds:.1f}" if seconds < 99.95 else f"{seconds:.0f}"
    return f"{number_text[:4]:>4} s "


def duration(seconds: float) -> str:
    """A length of time in words a person would use: "38 s", "4 min", "2 min 30 s", "1 h 5 min"."""
    whole_seconds = round(seconds)
    if whole_seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds > 0 else "0 s"
    if whole_seconds < 60:
        return f"{whole_seconds} s"
    minutes, rest = divmod(whole_seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{round(whole_seconds / 60)} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def interval_length(seconds: float) -> str:
    """The sampling interval: "1 s", "500 ms", "2.5 s"."""
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    return f"{seconds:g} s" if seconds < 60 else duration(seconds)


def clock(time_ns: int, zone: tzinfo = UTC) -> str:
    """The time of day, eight characters: "12:04:31"."""
    return _moment(time_ns, zone).strftime("%H:%M:%S")


def moment(time_ns: int, zone: tzinfo = UTC) -> str:
    """The day and the time, where several days are seen: "20 Nov 12:04"."""
    return _moment(time_ns, zone).strftime("%d %b %H:%M")


def date(time_ns: int, zone: tzinfo = UTC) -> str:
    return _moment(time_ns, zone).strftime("%Y-%m-%d")


def zone_name(time_ns: int, zone: tzinfo = UTC) -> str:
    """The zone's abbreviation at that moment: "UTC", "CET"."""
    return _moment(time_ns, zone).strftime("%Z")


def _moment(time_ns: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(time_ns // NANOSECONDS, zone)


def short_gpu(name: str) -> str:
    """A product name without the maker and the words every card has: "H100 80GB HBM3"."""
    for maker in ("NVIDIA ", "Tesla ", "AMD Instinct ", "Intel "):
        name = name.removeprefix(maker)
    return name


def counted(names: Mapping[str, int]) -> str:
    """How many of each: "8 × H100", "4 × A100, 4 × L4"."""
    return ", ".join(f"{number} × {name}" for name, number in names.items())


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 5 × 10^n that is at least `value`: the top of an axis that seldom moves."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1.0, 2.0, 5.0, 10.0):
        if step * power >= value:
            return step * power
    return 10.0 * power
