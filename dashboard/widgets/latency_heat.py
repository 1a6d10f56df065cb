"""How a latency is distributed, over time: a row for each bucket of the engine's histogram.

A cell is the share of its column's observations that fell into its bucket, by fixed steps, so that
what is drawn never changes afterwards. The share is a glyph first; brightness only supports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style

from collectors.histogram import Histogram
from collectors.slo import Objective
from dashboard.engine_columns import EngineColumns
from dashboard.engine_rows import Choice, Row
from dashboard.format import percent
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.tracks import Column
from dashboard.widgets.axis import AxisPanel, Gutters, axis_line, cursor_column, gaps_of, gutters
from dashboard.widgets.engine_detail import chosen_row
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing
from dashboard.words import ENGINE_NAMES

TITLES = {
    "ttft": "Time to first token", "tpot": "Time per output token", "queue": "Time in queue", "e2e": "Whole requests",
}  # fmt: skip
STEPS = (0.0, 0.05, 0.15, 0.35, 0.60)
"""A cell is drawn one glyph denser from each of these shares on; nothing at all is blank."""
_RAMP = "·░▒▓█"
_RAMP_ASCII = ".:+#@"
_NARROW = Gutters(8, 6)
_NOT_SUMMED_UP = "latencies are not summed up over so long a time: zoom in to see them"


@dataclass(frozen=True, slots=True)
class Band:
    """One row of the map: the buckets `first` up to `last`, which end at `upper` seconds (None: no end)."""

    first: int
    last: int
    upper: float | None


def bands(bounds: Sequence[float], lowest: int, highest: int, rows: int, limit: int | None = None) -> list[Band]:
    """The buckets from `lowest` to `highest` in at most `rows` rows, fastest first.

    Neighbours share a row where they must, never those on both sides of the end of bucket `limit`.
    Where there is room for more rows than buckets, emptier ones beyond them are shown too.
    """
    if rows < 1:
        return []
    lowest, highest = _widened(lowest, highest, len(bounds), rows)
    if limit is None or limit >= highest or rows < 2:
        return list(_shared(bounds, lowest, highest, rows))
    fast, slow = limit - lowest + 1, highest - limit
    # The faster part gets its share of the rows, at least one, and leaves one.
    given = min(max(1, round(rows * fast / (fast + slow))), rows - 1, fast) if fast + slow > rows else fast
    return [*_shared(bounds, lowest, limit, given), *_shared(bounds, limit + 1, highest, rows - given)]


def _widened(lowest: int, highest: int, last: int, rows: int) -> tuple[int, int]:
    """As many buckets as there are rows, as far as there are as many."""
    while highest - lowest + 1 < rows and (lowest > 0 or highest < last):
        if highest < last:
            highest += 1
        if lowest > 0 and highest - lowest + 1 < rows:
            lowest -= 1
    return lowest, highest


def _shared(bounds: Sequence[float], lowest: int, highest: int, rows: int) -> Iterator[Band]:
    count = highest - lowest + 1
    rows = min(max(1, rows), count)
    for row in range(rows):
        first, last = lowest + row * count // rows, lowest + (row + 1) * count // rows
        yield Band(first, last, bounds[last - 1] if last - 1 < len(bounds) else None)


def bucket_of(bounds: Sequence[float], seconds: float) -> int:
    """The bucket that a latency falls into."""
    return next((n for n, bound in enumerate(bounds) if seconds <= bound), len(bounds))


class LatencyHeat(AxisPanel):
    """The chosen latency of the selected engine."""

    def __init__(self, name: str, choice: Choice, columns: EngineColumns) -> None:
        super().__init__(name)
        self._choice = choice
        self._columns = columns

    def sides(self, scene: Scene, width: int) -> Gutters:
        found = gutters(scene, width)
        return found if found.left else _NARROW

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, name = scene.palette, self._choice.latency
        title = Line().add("Latency", palette.dim).add("  ", palette.base).add(TITLES[name], palette.text)
        row = chosen_row(scene, self._choice)
        sides = self.sides(scene, width)
        columns = scene.columns(width - sides.left - sides.right)
        if row is None or not columns:
            return Drawing(title)
        axis = [axis_line(scene, columns, sides)] if height >= 4 else []
        if scene.survey is not None:
            return Drawing(title, Line(), _said(scene, _NOT_SUMMED_UP, width, height - len(axis)) + axis)
        latencies = scene.history.tracks.latencies
        bounds, span = latencies.bounds(row.keys, name), latencies.span(row.keys, name)
        if bounds is None or span is None:
            return Drawing(title, Line(), _nothing(scene, row, name, width, height - len(axis)) + axis)
        observed = self._columns.latency(scene.history.tracks, row.keys, name, columns, scene.step)
        promised = scene.slo.of(row.reading.model).of(name)
        map_lines = _map(scene, row, columns, observed, bounds, span, promised, sides, height - len(axis), name)
        return Drawing(title, _legend(palette, width - title.cells), map_lines + axis)


def _nothing(scene: Scene, row: Row, name: str, width: int, height: int) -> list[Line]:
    """Why there is no map."""
    kind = ENGINE_NAMES.get(row.reading.engine or "", row.reading.engine or "this engine")
    what = TITLES[name][0].lower() + TITLES[name][1:]
    others = [other for other in TITLES if scene.history.tracks.latencies.span(row.keys, other) is not None]
    if others:
        told = f"nothing seen of {what} in memory; {kind} tells {_listed([TITLES[other].lower() for other in others])}"
    else:
        told = f"{kind} has told no latencies in the time kept in memory"
    return _said(scene, told, width, height)


def _said(scene: Scene, told: str, width: int, height: int) -> list[Line]:
    """One line in the middle, in place of the map."""
    lines = [Line() for _ in range(max(0, (height - 1) // 2))]
    lines.append(Line().foreign(told, scene.palette.dim, width, scene.palette.glyphs.ellipsis))
    return lines + [Line() for _ in range(height - len(lines))]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ramp(palette: Palette) -> str:
    return _RAMP_ASCII if palette.ascii else _RAMP


@lru_cache(maxsize=8)
def _inks(palette: Palette) -> tuple[tuple[Style, ...], Style]:
    """A style for each step, and the one for what is slower than promised."""
    return (palette.dim, palette.dim, palette.bar, palette.bar, palette.bright), palette.alert


def _legend(palette: Palette, width: int) -> Line:
    ramp = _ramp(palette)
    line = Line().add("share of a column  ", palette.dim) if width >= 76 else Line()
    for n, (glyph, step) in enumerate(zip(ramp, (*STEPS[1:], STEPS[-1]), strict=True)):
        last = n == len(STEPS) - 1
        line.add(glyph, _inks(palette)[0][n]).add(f" {'>' if last else '<'}{round(step * 100)}", palette.dim)
        line.add(" %" if last else "  ", palette.dim)
    return line


def _map(
    scene: Scene, row: Row, columns: Sequence[Column], observed: Sequence[Histogram | None], bounds: Sequence[float],
    span: tuple[int, int], promised: Objective | None, sides: Gutters, height: int, name: str,
) -> list[Line]:  # fmt: skip
    """The rows, slowest first, with the line of what is promised at the bucket that holds it."""
    palette = scene.palette
    lowest, highest = span
    limit = None if promised is None else bucket_of(bounds, promised.seconds)
    if limit is not None:
        lowest, highest = min(lowest, limit), max(highest, limit)
    room = height - (limit is not None)
    if room < 1:
        return []
    shown = bands(bounds, lowest, highest, room, limit)
    levels = [_levels(histogram, shown) for histogram in observed]
    gaps, cursor = gaps_of(columns), cursor_column(scene, columns)
    recent = scene.observed(row.keys, name)
    lines = []
    for n in range(len(shown) - 1, -1, -1):
        band = shown[n]
        slower = limit is not None and band.first > limit
        holds = limit is not None and band.first <= limit < band.last
        is_within = band.upper is None or (promised is not None and promised.seconds < band.upper)
        rule = [_promise(palette, promised, len(columns), sides)] if holds and promised is not None else []
        cells = _cells(palette, [level[n] if level else 0 for level in levels], gaps, cursor, is_slow=slower)
        is_filled = band.first <= span[1] and band.last > span[0]
        style = palette.dim if is_filled else palette.faint
        line = Line().add(_bound(band, bounds).rjust(sides.left - 1)[: sides.left - 1], style)
        line.add(" ", palette.base).extend(cells).extend(_share(palette, recent, band, sides.right, is_slow=slower))
        # A promise within a bucket stands below it, so that the times rise line by line.
        lines += [line, *rule] if is_within else [*rule, line]
    return lines + [Line() for _ in range(height - len(lines))]


def _levels(histogram: Histogram | None, shown: Sequence[Band]) -> list[int] | None:
    """The density of each row in one column: 0 nothing, then by `STEPS`."""
    if histogram is None:
        return None
    counts, total = histogram.counts, histogram.count
    result = []
    for band in shown:
        count = sum(counts[band.first : band.last])
        share = count / total
        result.append(0 if not count else sum(share >= step for step in STEPS))
    return result


def _cells(palette: Palette, levels: Sequence[int], gaps: Sequence[bool], cursor: int | None, *, is_slow: bool) -> Line:
    ramp, (inks, alarm) = _ramp(palette), _inks(palette)
    glyphs = palette.glyphs
    line = Line()
    text, style = "", palette.base
    for x, level in enumerate(levels):
        if level:
            glyph, wanted = ramp[level - 1], alarm if is_slow else inks[level - 1]
        elif gaps[x]:
            glyph, wanted = glyphs.gap, palette.gap
        elif x == cursor:
            glyph, wanted = glyphs.cursor, palette.cursor
        else:
            glyph, wanted = " ", style  # a blank needs no style of its own
        if wanted is not style:
            line.add(text, style)
            text, style = "", wanted
        text += glyph
    return line.add(text, style)


def _promise(palette: Palette, promised: Objective, columns: int, sides: Gutters) -> Line:
    """The line between what is as promised and what is slower."""
    rule = "-" if palette.ascii else "┄"
    line = Line().add(f"{_seconds(promised.seconds):>{sides.left - 1}}"[: sides.left - 1], palette.text)
    line.add(" ", palette.base).add(rule * columns, palette.faint)
    told = f"{promised.name} promised"
    return line.add(f"  {told}"[: sides.right] if sides.right >= 8 else "", palette.dim)


def _share(palette: Palette, recent: Histogram | None, band: Band, width: int, *, is_slow: bool) -> Line:
    """Right of a row: its share of the last minute."""
    if recent is None or width < 6:
        return Line()
    count = sum(recent.counts[band.first : band.last])
    if not count:
        return Line()
    share = count / recent.count
    text = " <1" if share < 0.005 else percent(share)
    style = _inks(palette)[1] if is_slow else palette.bright
    line = Line().add("  ", palette.base).add(text, style).add(" %", palette.dim)
    return line.add(f" {palette.glyphs.warning}" if is_slow and width >= 9 else "", palette.warning)


def _bound(band: Band, bounds: Sequence[float]) -> str:
    """Up to where a row reaches."""
    if band.upper is None:
        return f">{_seconds(bounds[-1])}" if bounds else "all"
    return _seconds(band.upper)


def _seconds(seconds: float) -> str:
    """A bound in at most seven characters: "250 ms", "2.5 s", "40 s"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s"
