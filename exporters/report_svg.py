"""Plots of a report as SVG inside HTML.

The drawing stretches with the page and strokes keep their width; axis labels are HTML beside it, so that
they stay readable at any width. Nothing is loaded and nothing runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from collectors.analysis.figures import Plot, Unit
from exporters.report_values import Style

WIDTH, HEIGHT = 1000, 220
COLOURS = {
    "prefill": "var(--prefill)", "decode": "var(--decode)", "idle": "var(--idle)", "waiting": "var(--waiting)",
    "unknown": "var(--unknown)", "compute": "#cc79a7", "memory-bandwidth": "var(--c1)", "kv-capacity": "#8b6fd6",
    "scheduler": "#a6761d", "host": "#009e73", "network": "#b5a300", "power": "#d55e00", "demand": "var(--idle)",
    "roof": "var(--waiting)",
}  # fmt: skip
"""Colours of phases and bottlenecks; a name that is none gets one of `_OTHERS`."""
_OTHERS = ("var(--c1)", "#d55e00", "#009e73", "#cc79a7", "#8b6fd6", "#a6761d")
_MOST_POINTS = 2000


def colour(name: str, index: int) -> str:
    return COLOURS.get(name, _OTHERS[index % len(_OTHERS)])


def plot_html(plot: Plot, style: Style) -> str:
    """One plot with its title, legend and axes; "" where there is nothing to draw."""
    if len(plot.x) < 2 or not any(value is not None for one in plot.series for value in one.values):
        return ""
    x = _Axis(plot.x, plot.x_unit, is_log=plot.log_x)
    if plot.kind == "bands":
        y = _Axis((0.0, 1.0), plot.y_unit)
        body = _bands(plot, x)
    else:
        values = [value for one in plot.series for value in one.values if value is not None]
        most = 1.0 if plot.y_unit == "ratio" else max(values)
        y = _Axis(values if plot.log_y else (0.0, most or 1.0), plot.y_unit, is_log=plot.log_y)
        body = _lines(plot, x, y) if plot.kind == "lines" else _points(plot, x, y)
    marks = "".join(_mark(x, at, told) for at, told in plot.marks if x.low <= at <= x.high)
    return (
        f'<figure class="plot"><figcaption>{escape(plot.title)}{_legend(plot)}</figcaption>'
        f'<div class="frame"><div class="y">{"".join(_y_labels(y, style))}</div>'
        f'<div class="area {plot.kind}"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(plot.title, quote=True)}">{"".join(_grid(y))}{"".join(body)}{marks}'
        f"{''.join(_tips(plot, x, style))}</svg></div>"
        f'<div class="x">{"".join(_x_labels(x, style))}</div></div>'
        f"{_titles(plot)}</figure>"
    )


class _Axis:
    """From values to positions between 0 and 1."""

    def __init__(self, values: Sequence[float], unit: Unit, *, is_log: bool = False) -> None:
        self.unit = unit
        self._is_log = is_log and min(values) > 0
        self.low, self.high = min(values), max(values)
        if self.high <= self.low:
            self.high = self.low + 1.0

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self._is_log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return (value - low) / (high - low)

    def ticks(self) -> list[float]:
        if self.unit == "time":
            return [self.low + (self.high - self.low) * part / 4 for part in range(5)]
        if self._is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [10.0**power for power in powers if self.low <= 10.0**power <= self.high]
            return found if len(found) >= 2 else [self.low, self.high]
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(step: float) -> float:
    """The step at or above that is 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= step * 0.999)


def _px(part: float) -> str:
    return f"{part * WIDTH:.1f}"


def _py(part: float) -> str:
    return f"{(1.0 - part) * HEIGHT:.1f}"


def _bands(plot: Plot, x: _Axis) -> Iterator[str]:
    """Stacked steps; a column without values stays open."""
    count = len(plot.x) - 1
    below = [0.0] * count
    for index, one in enumerate(plot.series):
        pieces: list[str] = []
        column = 0
        while column < count:
            if not one.values[column]:
                column += 1
                continue
            start = column
            while column < count and one.values[column]:
                column += 1
            tops = [(at, below[at] + (one.values[at] or 0.0)) for at in range(start, column)]
            path = [f"M{_px(x.at(plot.x[start]))} {_py(below[start])}"]
            for at, top in tops:
                path.append(f"L{_px(x.at(plot.x[at]))} {_py(top)}L{_px(x.at(plot.x[at + 1]))} {_py(top)}")
            path += [
                f"L{_px(x.at(plot.x[at + 1]))} {_py(below[at])}L{_px(x.at(plot.x[at]))} {_py(below[at])}"
                for at in range(column - 1, start - 1, -1)
            ]
            pieces.append("".join(path) + "Z")
        for at in range(count):
            below[at] = min(1.0, below[at] + (one.values[at] or 0.0))
        if pieces:
            yield f'<path d="{"".join(pieces)}" fill="{colour(one.name, index)}"/>'


def _lines(plot: Plot, x: _Axis, y: _Axis) -> Iterator[str]:
    for index, one in enumerate(plot.series):
        path, is_down = [], False
        for at, value in zip(plot.x, one.values, strict=False):
            if value is None:
                is_down = False
                continue
            path.append(f"{'L' if is_down else 'M'}{_px(x.at(at))} {_py(y.at(value))}")
            is_down = True
        if len(path) == 1:
            yield f'<path class="dot big" d="{path[0]}h0" stroke="{colour(one.name, index)}"/>'
            continue
        yield f'<path class="line" d="{"".join(path)}" stroke="{colour(one.name, index)}"/>'


def _points(plot: Plot, x: _Axis, y: _Axis) -> Iterator[str]:
    """Round dots, which a stretched circle would not be: lines of no length with round ends."""
    for index, one in enumerate(plot.series):
        pairs = [(at, value) for at, value in zip(plot.x, one.values, strict=False) if value is not None]
        step = max(1, len(pairs) // _MOST_POINTS)
        path = "".join(f"M{_px(x.at(at))} {_py(y.at(value))}h0" for at, value in pairs[::step])
        yield f'<path class="dot" d="{path}" stroke="{colour(one.name, index)}"/>'


def _mark(x: _Axis, at: float, told: str) -> str:
    place = _px(x.at(at))
    return (
        f'<path class="mark" d="M{place} 0V{HEIGHT}"><title>{escape(told)}</title></path>'
    )  # fmt: skip


def _grid(y: _Axis) -> Iterator[str]:
    for tick in y.ticks():
        yield f'<path class="grid" d="M0 {_py(y.at(tick))}H{WIDTH}"/>'


def _tips(plot: Plot, x: _Axis, style: Style) -> Iterator[str]:
    """What the pointer over a column of time tells."""
    if plot.x_unit != "time":
        return
    for at in range(len(plot.x) - 1):
        told = [
            f"{one.name} {style.value(one.values[at], plot.y_unit)}" for one in plot.series if one.values[at]
        ]  # fmt: skip
        left, right = x.at(plot.x[at]), x.at(plot.x[at + 1])
        words = escape(f"{style.time(plot.x[at])}: {', '.join(told) or 'nothing known'}")
        yield (
            f'<rect class="tip" x="{_px(left)}" width="{_px(right - left)}" height="{HEIGHT}">'
            f"<title>{words}</title></rect>"
        )  # fmt: skip


def _legend(plot: Plot) -> str:
    shown = [(index, one) for index, one in enumerate(plot.series) if any(one.values)]
    return "".join(
        f'<span class="key"><i style="background:{colour(one.name, index)}"></i>{escape(one.name)}</span>'
        for index, one in shown
    )


def _labels(ticks: Sequence[float], place: Callable[[float], float], axis: str, told: Callable[[float], str]) -> str:
    """Labels at their ticks; those at an end stay inside of it."""
    parts = []
    for tick in ticks:
        at = place(tick)
        side = ' class="l"' if at < 0.05 else ' class="r"' if at > 0.95 else ""
        parts.append(f'<span{side} style="{axis}:{at * 100:.1f}%">{escape(told(tick))}</span>')
    return "".join(parts)


def _y_labels(y: _Axis, style: Style) -> Iterator[str]:
    yield _labels(y.ticks(), y.at, "bottom", lambda tick: _short(style.value(tick, y.unit)))


def _x_labels(x: _Axis, style: Style) -> Iterator[str]:
    yield _labels(x.ticks(), x.at, "left", lambda tick: _short(style.value(tick, x.unit)))


def _short(text: str) -> str:
    """Without decimals that say nothing: "25.0 %" is "25 %"."""
    number, _, unit = text.partition(" ")
    if number.replace(".", "", 1).isdigit() and "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {unit}".strip()


def _titles(plot: Plot) -> str:
    told = [part for part in (plot.y_title, f"over {plot.x_title}" if plot.x_title else "") if part]
    marked = "; ".join(f"line: {words}" for _, words in plot.marks)
    parts = [" ".join(told), marked]
    return f'<p class="small">{escape("; ".join(part for part in parts if part))}</p>' if any(parts) else ""
