"""The phase strip as cells: stacked shares in eighths of a cell, one column a fixed step of time.

A column is a partition of its time from the bottom up: decode, prefill, waiting, unknown, gap, and
idle as the empty rest. Cells that can be drawn in several ways (a full block, or a blank on that
background) are drawn in the way their neighbour is, so that a row is few runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from rich.style import Style

from dashboard.palette import Glyphs, Palette
from dashboard.tracks import Column
from dashboard.widgets.line import Line

Cell = tuple[str, int, str, int]
"""(lower phase, eighths of it, upper phase, strength 0 settled or 1 provisional)."""

_ORDER = ("decode", "prefill", "waiting", "unknown", "gap")
_NO_TIME = 1e-9
"""Seconds below which a column holds no time at all."""

_KEEP_APART = 8
"""The newest cells never share a run with older ones: they change while the others stand."""


def stack(column: Column, rows: int) -> tuple[tuple[str, int], ...]:
    """(phase, height in eighths of a cell) from the bottom up; what is left is idle."""
    prefill, decode, idle, waiting, unknown = column.seconds
    total = prefill + decode + idle + waiting + unknown + column.gap
    if total < _NO_TIME:
        return ()
    scale, reached, below, result = rows * 8 / total, 0.0, 0, []
    for name, part in zip(_ORDER, (decode, prefill, waiting, unknown, column.gap), strict=True):
        if part:
            reached += part
            top = round(reached * scale)
            if top > below:
                result.append((name, top - below))
                below = top
    return tuple(result)


@lru_cache(maxsize=512)  # a kilobyte each
def cells(heights: tuple[tuple[str, int], ...], rows: int, strength: int) -> tuple[Cell, ...]:
    """The cells of one column, bottom row first. Each shows at most two phases."""
    bounds, below = [], 0
    for name, height in heights:
        bounds.append((name, below, below + height))
        below += height
    bounds.append(("idle", below, rows * 8))
    return tuple(_cell(bounds, row * 8, strength) for row in range(rows))


def _cell(bounds: Sequence[tuple[str, int, int]], bottom: int, strength: int) -> Cell:
    inside = [
        (name, min(high, bottom + 8) - max(low, bottom))
        for name, low, high in bounds
        if low < bottom + 8 and high > bottom
    ]
    lower, eighths = inside[0]
    upper = max(inside[1:], key=lambda part: part[1], default=(lower, 0))[0]
    if lower not in ("decode", "prefill"):
        # Textures fill whole cells: the larger part has the cell.
        lower = max(inside, key=lambda part: part[1])[0]
        return (lower, 8, lower, strength)
    if upper not in ("prefill", "decode"):
        upper = "idle" if eighths < 8 else lower
    return (lower, eighths, upper, strength)


@lru_cache(maxsize=4096)
def options(cell: Cell, palette: Palette, baseline: bool) -> dict[Style, str]:
    """The ways to draw a cell: a glyph for each style, the preferred one first. Equal cells, same object."""
    lower, eighths, upper, strength = cell
    glyphs, strip = palette.glyphs, palette.strip
    if lower == "idle":
        if baseline:
            return {palette.idle: glyphs.idle}
        return dict.fromkeys((palette.base, strip.decode[0], strip.prefill[0], strip.decode[1], strip.prefill[1]), " ")
    if lower == "gap":
        return {palette.gap: glyphs.gap}
    if lower == "unknown":
        return {palette.unknown: glyphs.unknown}
    if lower == "waiting":
        return {palette.waiting: glyphs.waiting}
    if glyphs.decode is not None or (strength and palette.mode == "16"):
        # 16 colours have no half strength for a background: the larger part has the cell.
        return _whole(cell, palette, glyphs)
    full = glyphs.levels[-1]
    if lower == "decode":
        if eighths == 8:
            return {
                strip.decode_on_decode[strength]: full,
                strip.decode_on_prefill[strength]: full,
                strip.decode[strength]: full,
            }
        ground = strip.decode_on_prefill if upper == "prefill" else strip.decode
        return {ground[strength]: glyphs.levels[eighths]}
    if eighths == 8:
        return {strip.prefill_on_prefill[strength]: full, strip.prefill[strength]: full}
    return {strip.prefill[strength]: glyphs.levels[eighths]}


def _whole(cell: Cell, palette: Palette, glyphs: Glyphs) -> dict[Style, str]:
    """Without colour, or in ASCII: a glyph for each phase, the larger part has the cell."""
    lower, eighths, upper, strength = cell
    name = lower if eighths >= 4 else upper
    style = palette.strip.prefill if name == "prefill" else palette.strip.decode
    match name:
        case "decode":
            return {style[strength]: glyphs.decode or glyphs.levels[-1]}
        case "prefill":
            return {style[strength]: glyphs.prefill or glyphs.levels[-1]}
        case _:
            return {palette.base: " "}


def paint(columns: Sequence[Column], rows: int, palette: Palette, cursor: int | None) -> list[Line]:
    """The rows of the strip, top first. `cursor` is the column looked at."""
    grid = [None if column.empty else cells(stack(column, rows), rows, int(column.provisional)) for column in columns]
    blank = {palette.base: " "}
    lines = []
    for row in reversed(range(rows)):
        drawn = [blank if column is None else options(column[row], palette, row == 0) for column in grid]
        if cursor is not None:
            column = grid[cursor]
            drawn[cursor] = _under_cursor(column[row] if column else None, palette)
        lines.append(merged(drawn, len(columns) - _KEEP_APART))
    return lines


def _under_cursor(cell: Cell | None, palette: Palette) -> dict[Style, str]:
    strip = palette.strip
    shown = "idle" if cell is None else cell[0] if cell[1] >= 4 else cell[2]
    style = {"decode": strip.cursor_on_decode, "prefill": strip.cursor_on_prefill}.get(shown, strip.cursor)
    return {style: palette.glyphs.cursor}


def merged(drawn: Sequence[dict[Style, str]], apart: int) -> Line:
    """One line in as few runs as the cells' ways of being drawn allow; a run ends before `apart`."""
    line = Line()
    run: list[tuple[dict[Style, str], int]] = []
    shared: list[Style] = []
    for ways, count, starts in _repeated(drawn, apart):
        common = [style for style in shared if style in ways]
        if run and (not common or starts):
            line.add("".join(cell[shared[0]] * times for cell, times in run), shared[0])
            run, common = [], []
        shared = common if run else list(ways)
        run.append((ways, count))
    if run:
        line.add("".join(cell[shared[0]] * times for cell, times in run), shared[0])
    return line


def _repeated(drawn: Sequence[dict[Style, str]], apart: int) -> Iterator[tuple[dict[Style, str], int, bool]]:
    """Neighbours drawn in the same ways, how many, and whether they begin at `apart`."""
    first = 0
    for x in range(1, len(drawn) + 1):
        if x == len(drawn) or x == apart or drawn[x] is not drawn[first]:
            yield drawn[first], x - first, first == apart
            first = x


def spark(
    values: Sequence[float], top: float, palette: Palette, gaps: Sequence[bool], cursor: int | None, rows: int = 1
) -> list[Line]:
    """Levels from 0 to `top` over `rows` rows; missing values are blank, gaps hatched, the newest bright.

    A measured 0 has a baseline, so that it does not look like a missing value. Blocks leave an eighth of
    the uppermost row free, so that full lines below each other do not run into one.
    """
    full = len(palette.glyphs.levels) - 1
    newest = max((x for x, value in enumerate(values) if value == value), default=-1) if cursor is None else cursor
    most = full * rows - (not palette.ascii)
    scale = most / top
    heights = [max(1, min(most, round(value * scale))) if value == value else 0 for value in values]
    return [_spark_row(heights, row * full, palette, gaps, newest, cursor) for row in reversed(range(rows))]


def _spark_row(
    heights: Sequence[int], below: int, palette: Palette, gaps: Sequence[bool], newest: int, cursor: int | None
) -> Line:
    levels, glyphs = palette.glyphs.levels, palette.glyphs
    table = [levels[0]] * (below + 1) + list(levels[1:])
    table += [levels[-1]] * (max(heights, default=0) + 1 - len(table))
    text = "".join([table[height] for height in heights])
    own: dict[int, tuple[str, Style]] = {x: (glyphs.gap, palette.gap) for x, gap in enumerate(gaps) if gap}
    if newest >= 0 and newest not in own:
        own[newest] = (text[newest], palette.bright)
    if cursor is not None and text[cursor] == " ":
        own[cursor] = (glyphs.cursor, palette.cursor)
    line, done = Line(), 0
    for x in sorted(own):
        line.add(text[done:x], palette.line).add(*own[x])
        done = x + 1
    return line.add(text[done:], palette.line)
