"""A node's time as one row of cells, drawn as the phase strip is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rich.style import Style

from collectors.fleet.heat import MISSING, Cell
from dashboard.palette import Palette
from dashboard.widgets.line import Line
from dashboard.widgets.strip import cells, merged, options

_ORDER = ("prefill", "decode", "waiting", "unknown")


@lru_cache(maxsize=8192)
def _ways(cell: Cell, palette: Palette) -> dict[Style, str]:
    """The ways to draw a cell. Two phases that share it stand on top of one another, decode below."""
    if cell == MISSING:
        return {palette.gap: palette.glyphs.gap}
    parts = dict(zip(_ORDER, (cell // 1_000_000, cell // 10_000 % 100, cell // 100 % 100, cell % 100), strict=True))
    heights, reached, below = [], 0.0, 0
    for name in ("decode", "prefill", "waiting", "unknown"):
        reached += parts[name]
        top = min(8, round(reached * 8 / 99))
        if top > below:
            heights.append((name, top - below))
            below = top
    (drawn,) = cells(tuple(heights), 1, 0)
    return options(drawn, palette, True)


@lru_cache(maxsize=256)
def _looked_at(cell: Cell, palette: Palette) -> dict[Style, str]:
    """The cell under the time cursor."""
    strip = palette.strip
    decode, prefill = (0, 0) if cell == MISSING else (cell // 10_000 % 100, cell // 1_000_000)
    if decode + prefill < 5:
        style = strip.cursor
    else:
        style = strip.cursor_on_decode if decode >= prefill else strip.cursor_on_prefill
    return {style: palette.glyphs.cursor}


def heat_line(row: Sequence[Cell], palette: Palette, cursor: int | None = None) -> Line:
    """One cell of the screen for each cell of the row."""
    drawn = [_ways(cell, palette) for cell in row]
    if cursor is not None and 0 <= cursor < len(drawn):
        drawn[cursor] = _looked_at(row[cursor], palette)
    return merged(drawn, len(drawn))
