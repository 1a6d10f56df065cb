"""Measurements as lines on the time axis that all screens share, with the value under the cursor in numbers.

A panel of them says which lines it has, most important first:

    class Busy(HistoryPanel):
        def title(self, scene): return Line().add("Busy", scene.palette.dim)
        def lines(self, scene): return [ratio("CPU", HOST, "cpu"), quantity("net in", HOST, "network_in", "B/s")]

The numbers come from `dashboard.series`, which keeps them for every GPU, engine and the host. A line
made otherwise is a `TimeLine` of its own: `values` gives one number a column, NaN where missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dashboard.format import gibibytes, nice_ceiling, percent, whole
from dashboard.scene import Scene
from dashboard.tracks import Column
from dashboard.widgets.axis import AxisPanel, Gutters, axis_line, cursor_column, gaps_of, gutters
from dashboard.widgets.line import Line, fit
from dashboard.widgets.panel import Drawing
from dashboard.widgets.strip import spark

_MOST_ROWS = 4
"""Rows of one line at most: higher, and it looks more important than the strip."""
_NARROW = Gutters(8, 8)
"""Where the strip has no gutters, lines still need their names and numbers."""


@dataclass(frozen=True, slots=True)
class TimeLine:
    """One line: its name, its values in the columns, and the value of the interval looked at in words.

    `top` is the value of a full column; None rounds it up from the largest visible one. `number` fits
    into 19 cells on a wide screen and is cut to 16 or 8 on a narrower one.
    """

    name: str
    values: Callable[[Scene, Sequence[Column]], Sequence[float]]
    number: Callable[[Scene], Line]
    top: float | None = None


def ratio(name: str, entity: str, series: str, of: str = "") -> TimeLine:
    """A share of 1 as whole percents; `of` says what they are of."""

    def number(scene: Scene) -> Line:
        palette, value = scene.palette, scene.value(entity, series)
        line = Line().add(percent(value, 4), palette.bright if value is not None else palette.dim)
        return line.add(f" % {of}" if of else " %", palette.dim)

    return TimeLine(name, lambda scene, columns: scene.averages(entity, series, columns), number, 1.0)


def quantity(name: str, entity: str, series: str, unit: str, top: float | None = None) -> TimeLine:
    """A number in a unit that takes prefixes by threes: W, B/s, tok/s, Hz."""

    def number(scene: Scene) -> Line:
        palette, value = scene.palette, scene.value(entity, series)
        text, prefix = scene.units.parted(f"{entity}/{series}", value)
        line = Line().add(text, palette.bright if value is not None else palette.dim)
        return line.add(f" {prefix}{unit}" if value is not None else "", palette.dim)

    return TimeLine(name, lambda scene, columns: scene.averages(entity, series, columns), number, top)


def amount(name: str, entity: str, series: str, word: str = "", top: float | None = None) -> TimeLine:
    """A whole number of things."""

    def number(scene: Scene) -> Line:
        palette, value = scene.palette, scene.value(entity, series)
        line = Line().add(whole(value, 4), palette.bright if value is not None else palette.dim)
        return line.add(f" {word}" if word else "", palette.dim)

    return TimeLine(name, lambda scene, columns: scene.averages(entity, series, columns), number, top)


def memory(name: str, entity: str, series: str, total: float | None) -> TimeLine:
    """Bytes of a total in GiB."""

    def number(scene: Scene) -> Line:
        palette, value = scene.palette, scene.value(entity, series)
        line = Line().add(gibibytes(value, 4), palette.bright if value is not None else palette.dim)
        return line.add(f" /{gibibytes(total, 5).strip()} GiB" if total else " GiB", palette.dim)

    return TimeLine(name, lambda scene, columns: scene.averages(entity, series, columns), number, total or None)


class HistoryPanel(AxisPanel):
    """Lines below each other on one axis. Subclasses give `title` and `lines`."""

    def title(self, scene: Scene) -> Line:
        raise NotImplementedError

    def right(self, scene: Scene) -> Line:
        """What stands right in the border."""
        return Line()

    def lines(self, scene: Scene) -> Sequence[TimeLine]:
        """Most important first: what does not fit is left out from the end."""
        raise NotImplementedError

    def sides(self, scene: Scene, width: int) -> Gutters:
        found = gutters(scene, width)
        return found if found.left else _NARROW

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        sides = self.sides(scene, width)
        columns = scene.columns(width - sides.left - sides.right)
        if not columns:
            return Drawing(self.title(scene), self.right(scene))
        return Drawing(self.title(scene), self.right(scene), drawn(scene, self.lines(scene), columns, sides, height))


def drawn(
    scene: Scene, lines: Sequence[TimeLine], columns: Sequence[Column], sides: Gutters, height: int, *,
    with_axis: bool = True,
) -> list[Line]:  # fmt: skip
    """As many of the lines as fit into that height, and the axis below them where there is a row for it."""
    axis = 1 if with_axis and (height > 2 or (height == 2 and len(lines) == 1)) else 0
    shown = lines[: max(1, height - axis)]
    if not shown:
        return []
    tall, taller = divmod(max(height - axis, len(shown)), len(shown))
    gaps, cursor = gaps_of(columns), cursor_column(scene, columns)
    result: list[Line] = []
    for n, line in enumerate(shown):
        # What cannot be shared out evenly goes to those that matter most.
        result += _one(scene, line, columns, sides, gaps, cursor, min(_MOST_ROWS, tall + (n < taller)))
    return [*result, axis_line(scene, columns, sides)] if axis else result


def _one(
    scene: Scene, line: TimeLine, columns: Sequence[Column], sides: Gutters, gaps: Sequence[bool], cursor: int | None,
    rows: int,
) -> list[Line]:  # fmt: skip
    palette = scene.palette
    values = line.values(scene, columns)
    top = line.top or nice_ceiling(max((value for value in values if not math.isnan(value)), default=0.0))
    result = []
    for row, cells in enumerate(spark(values, top, palette, gaps, cursor, rows)):
        named = row == rows - 1
        built = Line().add(fit(line.name, sides.left - 1, palette.glyphs.ellipsis) if named else "", palette.dim)
        built.to(sides.left, palette.base).extend(cells)
        if named:
            built.add("  ", palette.base).extend(line.number(scene).cut(sides.right - 2))
        result.append(built)
    return result
