"""The roofline: recent intervals by how much they compute a byte, and how fast, under what the GPU can do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.style import Style

from collectors.analysis.roofline import Point, Roof, point_of, reached, roof_of
from dashboard.format import percent, scaled
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.tallies import Tallies
from dashboard.widgets.braille import Dots
from dashboard.widgets.line import Line, wrap
from dashboard.widgets.panel import Drawing, Panel

_MOST_POINTS = 900
_LEFT = 7
"""Columns of the scale at the left."""
_RATE, _INTENSITY = "FLOP/s", "FLOP/B"
_LETTERS = {"prefill": "p", "decode": "d", "mixed": "m", "unknown": "?"}
_ORDER = ("prefill", "decode", "mixed", "unknown")
_SOURCES = {
    "engine": "by the engine's own estimate of operations and bytes",
    "activity": "tensor and DRAM activity x peak: an upper bound",
}
_MISSING = (
    "not measured: it takes tensor and DRAM activity (GPM on Hopper and newer, or a dcgm-exporter), or an engine that"
    " estimates its operations and bytes (vLLM: --enable-mfu-metrics)"
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """A logarithmic scale from `low` to `high` over a number of dots."""

    low: float
    high: float
    dots: int

    def at(self, value: float) -> int:
        """The dot of a value, which may lie beyond the ends."""
        span = math.log10(self.high) - math.log10(self.low)
        return round((math.log10(value) - math.log10(self.low)) / span * (self.dots - 1))

    def value(self, dot: int) -> float:
        span = math.log10(self.high) - math.log10(self.low)
        return float(10 ** (math.log10(self.low) + span * dot / max(1, self.dots - 1)))


class RooflinePanel(Panel):
    """Draws the points of the visible stretch; the interval looked at is told in numbers."""

    def __init__(self, name: str, tallies: Tallies) -> None:
        super().__init__(name)
        self._tallies = tallies

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Roofline", palette.dim)
        if scene.tick is None:
            return Drawing(title)
        roof = roof_of(scene.tick.interval.gpus.values())
        points = [point for point in self._tallies.visible(scene).points[-_MOST_POINTS:] if _drawable(point)]
        right = Line()
        if roof.ridge is not None and roof.compute is not None:
            if width >= 54:
                right.add(f"{roof.compute / 1e12:.0f}", palette.text).add(" TFLOP/s   ", palette.dim)
            right.add("ridge ", palette.dim).add(f"{roof.ridge:.0f}", palette.text).add(" FLOP/B", palette.dim)
        if not points:
            lines = [Line().foreign(part, palette.dim, width) for part in wrap(_MISSING, width)]
            return Drawing(title, right, lines[:height])
        words = _words(scene, roof, points, width) if height >= 9 else []
        lines = _plot(palette, roof, points, width, height - len(words))
        return Drawing(title, right, [*lines, *words])


def _drawable(point: Point) -> bool:
    return 0 < point.intensity < math.inf and 0 < point.rate < math.inf


def _words(scene: Scene, roof: Roof, points: Sequence[Point], width: int) -> list[Line]:
    """The interval looked at in numbers, and where the figures come from."""
    palette = scene.palette
    lines = []
    tick = scene.tick
    point = point_of(tick.interval, tick.labels) if tick is not None else None
    line = Line()
    if point is None:
        line.add("this interval was not busy, or not measured", palette.dim)
    else:
        rate, prefix = scene.units.parted("roofline/rate", point.rate)
        line.add(f"{_short(point.intensity):>5}", palette.bright).add(" FLOP/B  ", palette.dim)
        line.add(rate, palette.bright).add(f" {prefix}FLOP/s", palette.dim)
        share = reached(point, roof)
        if share is not None:
            line.add(f"  {percent(share)}", palette.bright).add(" % of attainable", palette.dim)
    lines.append(line.cut(width))
    source = Line().foreign(_SOURCES[points[-1].source], palette.faint, width, palette.glyphs.ellipsis)
    return [*lines, source]


def _short(value: float) -> str:
    return scaled(value)[0].strip()


def _scales(roof: Roof, points: Sequence[Point], width: int, height: int) -> tuple[_Scale, _Scale]:
    """Round ends around the points and the ridge, so that the axes seldom move."""
    xs, ys = [point.intensity for point in points], [point.rate for point in points]
    if roof.ridge is not None and roof.compute is not None:
        xs += [roof.ridge / 8, roof.ridge * 8]
        ys += [roof.compute / 8, roof.compute * 1.6]
    return _Scale(_below(min(xs)), _above(max(xs)), width), _Scale(_below(min(ys)), _above(max(ys)), height)


def _below(value: float) -> float:
    """The largest of 1, 2, 5 x 10^n under a value, so that a point never lies on the edge."""
    power = 10.0 ** math.floor(math.log10(value))
    return max((step * power for step in (1.0, 2.0, 5.0) if step * power < value), default=power / 2)


def _above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (2.0, 5.0, 10.0, 20.0) if step * power > value)


def _plot(palette: Palette, roof: Roof, points: Sequence[Point], width: int, height: int) -> list[Line]:
    columns, rows = width - _LEFT, height - 1
    if columns < 8 or rows < 2:
        return []
    x_scale, y_scale = _scales(roof, points, columns * 2, rows * 4)
    roof_dots = Dots(columns, rows)
    _draw_roof(roof_dots, roof, x_scale, y_scale)
    phases = {phase: Dots(columns, rows) for phase in _ORDER}
    for point in points:
        dots = phases[point.phase if point.phase in phases else "unknown"]
        dots.put(x_scale.at(point.intensity), rows * 4 - 1 - y_scale.at(point.rate))
    cells = _cells(palette, roof_dots, phases)
    cells |= _marks(palette, points, x_scale, y_scale, rows)
    lines = []
    for row in range(rows):
        line = Line().add(_tick(y_scale, row, rows) if row else f"{_RATE:<{_LEFT}}", palette.faint)
        for column in sorted(column for column, at in cells if at == row):
            line.to(_LEFT + column, palette.base).add(*cells[column, row])
        lines.append(line)
    return [*lines, _x_axis(palette, x_scale, columns)]


def _draw_roof(dots: Dots, roof: Roof, x_scale: _Scale, y_scale: _Scale) -> None:
    """The slope and the ceiling, without holes where the slope is steeper than a dot."""
    before: int | None = None
    for x in range(x_scale.dots):
        attainable = roof.attainable(x_scale.value(x))
        if attainable is None:
            return
        y = y_scale.dots - 1 - y_scale.at(attainable)
        for between in range(min(y, before if before is not None else y), max(y, before or y) + 1):
            dots.put(x, between)
        before = y


def _cells(palette: Palette, roof: Dots, phases: Mapping[str, Dots]) -> dict[tuple[int, int], tuple[str, Style]]:
    """What stands in each cell that is not blank: the roof, and over it the phase that has most dots there."""
    plain = palette.ascii or palette.mode == "mono"
    cells = {
        at: ("." if palette.ascii else chr(0x2800 + bits), palette.faint) for at, bits in roof.cells.items()
    }  # fmt: skip
    most: dict[tuple[int, int], int] = {}
    for phase in _ORDER:
        for at, bits in phases[phase].cells.items():
            if bits.bit_count() > most.get(at, 0):
                most[at] = bits.bit_count()
                cells[at] = (_LETTERS[phase] if plain else chr(0x2800 + bits), palette.phase(phase))
    return cells


def _marks(
    palette: Palette, points: Sequence[Point], x_scale: _Scale, y_scale: _Scale, rows: int
) -> dict[tuple[int, int], tuple[str, Style]]:
    """The middle of each phase's points (of their logarithms) has the phase's letter."""
    marks: dict[tuple[int, int], tuple[str, Style]] = {}
    for phase in ("mixed", "decode", "prefill"):
        some = [point for point in points if point.phase == phase]
        if not some:
            continue
        x = sum(math.log10(point.intensity) for point in some) / len(some)
        y = sum(math.log10(point.rate) for point in some) / len(some)
        column = x_scale.at(10**x) // 2
        row = (rows * 4 - 1 - y_scale.at(10**y)) // 4
        marks[column, row] = (_LETTERS[phase].upper(), palette.strong + palette.phase(phase))
    return marks


def _tick(scale: _Scale, row: int, rows: int) -> str:
    """The decade that begins in a row, at its left."""
    top, bottom = scale.value((rows - row) * 4), scale.value((rows - row - 1) * 4)
    decade = 10 ** math.floor(math.log10(top))
    text = _decade(decade) if bottom <= decade < top else ""
    return f"{text:>{_LEFT - 1}} "


def _decade(value: float) -> str:
    text, prefix = scaled(value)
    return f"{float(text[:4].strip()):g}{prefix}"


def _x_axis(palette: Palette, scale: _Scale, columns: int) -> Line:
    line = Line().add(" " * _LEFT, palette.base)
    end = _LEFT + columns - len(_INTENSITY)
    for exponent in range(math.ceil(math.log10(scale.low) - 1e-9), math.floor(math.log10(scale.high) + 1e-9) + 1):
        text, at = _decade(10.0**exponent), _LEFT + scale.at(10.0**exponent) // 2
        if line.cells < at < end - len(text) or at == _LEFT == line.cells:
            line.to(at, palette.base).add(text, palette.faint)
    return line.to(end, palette.base).add(_INTENSITY, palette.faint)
