"""Numbers in sentences."""

from __future__ import annotations

from collectors.histogram import Histogram


def percent(ratio: float) -> str:
    """ "29 %", with a digit more below ten."""
    value = ratio * 100
    if 0 < value < 0.1:
        return "under 0.1 %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


def duration(seconds: float) -> str:
    """ "42 s", "12.5 min", "6.1 h"."""
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"


def quantile(histogram: Histogram, q: float) -> str:
    """ "2.31 s", or "over 80 s" where only that is known; "nothing" where nothing was observed."""
    value = histogram.quantile(q)
    if value is None:
        return "nothing"
    return f"over {latency(value)}" if histogram.is_beyond(q) else latency(value)


def latency(seconds: float) -> str:
    """ "84 ms", "2.31 s"."""
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{seconds * 1000:.3g} ms"
