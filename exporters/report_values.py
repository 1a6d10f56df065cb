"""The values of a report as people read them: three digits, a unit, and a dash for what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from collectors.analysis.figures import Cell, Figure, Unit

MISSING = "-"
_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_HOUR = 3600.0
_KILOWATT_HOURS_FROM = 3.6e5


@dataclass(frozen=True, slots=True)
class Style:
    """What values are written with: the currency, and the zone of times of day."""

    currency: str
    zone: tzinfo
    many_days: bool = False

    def time(self, seconds: float) -> str:
        form = "%d %b %H:%M" if self.many_days else "%H:%M:%S"
        return datetime.fromtimestamp(seconds, self.zone).strftime(form)

    def value(self, value: Cell, unit: Unit) -> str:
        """One value with its unit."""
        if value is None:
            return MISSING
        if isinstance(value, str):
            return value
        if unit == "ratio":
            return percent(value)
        if unit == "seconds":
            return seconds(value)
        if unit == "time":
            return self.time(value)
        if unit == "joules":
            return energy(value)
        if unit == "money":
            return f"{money(value)} {self.currency}"
        if unit == "money_per_million":
            return f"{money(value)} {self.currency}/M"
        if unit == "joules_per_token":
            return f"{digits(value * 1000)} mJ" if abs(value) < 0.9995 else f"{digits(value)} J"
        number, suffix = scaled(value), _SUFFIXES[unit]
        joined = number[-1].isalpha() and suffix in ("W", "Hz")
        return f"{number}{suffix}" if joined else f"{number} {suffix}".strip()

    def bounds(self, figure: Figure) -> str:
        """The bounds of the stated error, "" where there are none."""
        if figure.low is None or figure.high is None:
            return ""
        if figure.unit == "joules" and abs(figure.value or 0.0) >= _KILOWATT_HOURS_FROM:
            return f"{digits(figure.low / 3.6e6)} to {digits(figure.high / 3.6e6)} kWh"
        return f"{self.value(figure.low, figure.unit)} to {self.value(figure.high, figure.unit)}"


_SUFFIXES: dict[str, str] = {
    "tokens": "", "count": "", "tokens_per_joule": "tokens/J", "tokens_per_second": "tokens/s",
    "flops_per_byte": "flop/B", "watts": "W", "hertz": "Hz", "per_second": "/s", "text": "",
}  # fmt: skip


def digits(value: float) -> str:
    """Three significant digits, without an exponent where that is readable."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 99.95:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3g}" if size >= 1e-4 else f"{value:.1e}"


def scaled(value: float) -> str:
    """Three significant digits with a prefix by threes: "1.64 G"."""
    if float(value).is_integer() and abs(value) < 10_000:
        return f"{value:.0f}"
    for factor, prefix in _SI:
        if abs(value) >= 0.9995 * factor:
            return f"{digits(value / factor)} {prefix}"
    return digits(value)


def percent(ratio: float) -> str:
    value = ratio * 100
    if value and abs(value) < 0.095:
        return f"{value:.1g} %"
    return f"{value:.1f} %" if abs(value) < 99.95 else f"{value:.0f} %"


def seconds(value: float) -> str:
    """ "38.4 ms", "2.31 s", "12.5 min", "6.1 h"."""
    size = abs(value)
    if value == 0:
        return "0 s"
    if size < 0.9995:
        return f"{digits(value * 1e3)} ms" if size >= 0.9995e-3 else f"{digits(value * 1e6)} µs"
    if size < 99.95:
        return f"{digits(value)} s"
    if size < 99.95 * 60:
        return f"{digits(value / 60)} min"
    return f"{digits(value / _HOUR)} h"


def energy(joules: float) -> str:
    """Kilowatt-hours from a tenth of one on, joules below."""
    if abs(joules) >= _KILOWATT_HOURS_FROM:
        return f"{digits(joules / 3.6e6)} kWh"
    return f"{digits(joules / 1000)} kJ" if abs(joules) >= 1000 else f"{digits(joules)} J"


def money(value: float) -> str:
    """Two decimals, more for small change."""
    return f"{value:,.2f}" if abs(value) >= 0.995 or value == 0 else f"{value:.3g}"
