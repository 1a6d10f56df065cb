"""The engines' table: a row for each engine and each rank, and one for all ranks of a page together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.style import Style
from textual import events
from textual.message import Message

from collectors.histogram import Histogram
from collectors.model import EngineKey, Tick, engine_entity
from dashboard.engine_peers import rank_balance
from dashboard.engine_rows import Choice, Row, rows_of
from dashboard.format import latency, percent, whole
from dashboard.palette import Palette
from dashboard.scene import QUANTILE_SECONDS, Scene
from dashboard.widgets.bars import bar, phase_bar
from dashboard.widgets.engines import absent_lines, no_engine_lines, rate, trouble_line
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import ENGINE_NAMES, place_of

_GAP = 2
_KV_FULL = 0.95
_CACHE = "KV cache"
_BAR = 6
"""Cells of the bar in that column, at least."""
_NAME = (14, 28)
"""Cells of the first column, at least and at most."""


class Selected(Message):
    """Somebody pointed at a row."""

    def __init__(self, name: EngineKey) -> None:
        super().__init__()
        self.name = name


class EngineTable(Panel):
    """All engines; the selected one is looked at in the panels below."""

    def __init__(self, name: str, choice: Choice) -> None:
        super().__init__(name)
        self._choice = choice
        self._names: list[EngineKey | None] = []
        """What selects each drawn line."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, choice = scene.palette, self._choice
        by_key = {} if scene.tick is None else scene.tick.interval.engines
        engines = list(by_key.values())
        self._names = []
        rows = choice.rows(by_key)
        absent = absent_lines(scene, engines)
        title = Line().add("Engines", palette.dim)
        if not engines:
            return Drawing(title, lines=absent or no_engine_lines(scene, width))
        if not rows:
            told = Line().foreign(
                f'no engine has "{choice.wanted}" in its name, model, place or state', palette.text, width
            )
            return Drawing(title, self._right(scene, 0, len(engines)), [told])
        said = _balance_line(scene, rows if not choice.wanted else rows_of(engines), width)
        lines = self._lines(scene, rows, width, height - len(absent), said)
        drawn = [name for name in self._names if name is not None]
        if len(drawn) < len(rows):
            first = next(n for n, row in enumerate(rows) if row.name == drawn[0]) + 1
            title.add(f"  rows {first} to {first + len(drawn) - 1} of {len(rows)}", palette.text)
        shown = sum(row.ranks == 1 for row in rows)
        return Drawing(title, self._right(scene, shown, len(engines)), [*lines, *absent])

    def _right(self, scene: Scene, shown: int, total: int) -> Line:
        palette, choice = scene.palette, self._choice
        line = Line()
        if choice.wanted:
            line.add("filter ", palette.dim).foreign(choice.wanted, palette.bright, 24, palette.glyphs.ellipsis)
            line.add("   ", palette.base)
        if choice.order != "engine":
            line.add("by ", palette.dim).add(choice.order, palette.bright).add("   ", palette.base)
        well = sum(one.state == "ok" for one in (scene.tick.interval.engines.values() if scene.tick else ()))
        if shown < total:
            return line.add(f"{shown} shown of {total}", palette.dim)
        return line.add(f"{well} of {total}", palette.dim if well == total else palette.warning)

    def _lines(self, scene: Scene, rows: Sequence[Row], width: int, height: int, said: Line | None) -> list[Line]:
        """Heading, as many rows as fit around the selected one, and the sentence about the ranks."""
        heading = height > 1
        room = max(1, height - heading)
        sentence = said is not None and room > min(len(rows), 2)
        room -= sentence
        selected = self._choice.row(rows)
        shown = _window(rows, selected, room)
        columns = _columns(scene, rows, width)
        lines = [_heading(columns, scene.palette)] if heading else []
        self._names = [None] * len(lines)
        for row in shown:
            lines.append(_row(scene, row, columns, width, is_selected=row is selected))
            self._names.append(row.name)
        if sentence and said is not None:
            lines.append(said)
        return lines

    def on_click(self, event: events.Click) -> None:
        place = self._place
        if place is None:
            return
        y = event.y - (place.top is not None)
        name = self._names[y] if 0 <= y < len(self._names) else None
        if name is not None:
            self.post_message(Selected(name))


def _window(rows: Sequence[Row], selected: Row | None, room: int) -> Sequence[Row]:
    """The rows that fit, the selected one among them."""
    if len(rows) <= room:
        return rows
    here = rows.index(selected) if selected is not None else 0
    first = min(max(0, here - room + 1), len(rows) - room)
    return rows[first : first + room]


def engine_name(row: Row) -> str:
    """What a row is called: an engine and its place, and for ranks their number."""
    reading = row.reading
    if row.is_rank:
        return f"rank {reading.engine_index}"
    kind = ENGINE_NAMES.get(reading.engine or "", reading.engine or "engine")
    index = f" #{reading.engine_index}" if row.ranks == 1 and reading.engine_index not in ("", "0") else ""
    return f"{kind}{index} {place_of(reading.endpoint)}"


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    width: int
    cell: Callable[[Row], Line]
    left: bool = False
    narrow: _Column | None = None
    """What is shown where there is no room for it."""


def _heading(columns: Sequence[_Column], palette: Palette) -> Line:
    line = Line().add("  ", palette.base)
    for column in columns:
        text = f"{column.heading:<{column.width}}" if column.left else f"{column.heading:>{column.width}}"
        line.add(text[: column.width], palette.dim).add(" " * _GAP, palette.base)
    return line


def _row(scene: Scene, row: Row, columns: Sequence[_Column], width: int, *, is_selected: bool) -> Line:
    palette = scene.palette
    line = Line().add(f"{palette.glyphs.playing} " if is_selected else "  ", palette.bright)
    name = columns[0]
    indent = "  " if row.is_rank else ""
    line.add(indent, palette.base)
    style = palette.strong if is_selected else palette.text
    told = engine_name(row) + (f", {row.ranks} ranks" if row.ranks > 1 else "")
    line.foreign(told, style, name.width - len(indent), palette.glyphs.ellipsis)
    line.to(2 + name.width + _GAP, palette.base)
    trouble = trouble_line(scene, row.reading, width - line.cells)
    if trouble is not None and row.ranks == 1:
        return line.extend(trouble)
    for column in columns[1:]:
        cell = column.cell(row).cut(column.width)
        if column.left:
            line.extend(cell).add(" " * (column.width - cell.cells + _GAP), palette.base)
        else:
            line.add(" " * (column.width - cell.cells), palette.base).extend(cell).add(" " * _GAP, palette.base)
    return line


def _columns(scene: Scene, rows: Sequence[Row], width: int) -> list[_Column]:
    """The columns that fit, in their order on screen; those that matter least go first."""
    longest = max(len(engine_name(row)) + (9 if row.ranks > 1 else 2 * row.is_rank) for row in rows)
    name = min(_NAME[1], max(_NAME[0], width // 4), max(8, longest))
    room = width - 2 - name
    kept: dict[int, _Column] = {}
    offered = list(_offered(scene, rows))
    for n, (_, column) in sorted(enumerate(offered), key=lambda item: item[1][0]):
        for way in (column, column.narrow):
            if way is not None and way.width + _GAP <= room:
                room -= way.width + _GAP
                kept[n] = way
                break
    first = _Column("engine", name, lambda row: Line(), left=True)
    columns = [first, *(kept[n] for n in sorted(kept))]
    return [_wider_cache(scene, column, min(20, max(0, room))) for column in columns]


def _wider_cache(scene: Scene, column: _Column, spare: int) -> _Column:
    """The bar takes what no column needs."""
    if column.heading != _CACHE or not spare:
        return column
    return _cache_column(_Cells(scene), _BAR + spare)


def _cache_column(cells: _Cells, width: int) -> _Column:
    return _Column(_CACHE, width + 5, lambda row: cells.cache(row, width), left=True)


def _offered(scene: Scene, rows: Sequence[Row]) -> Iterator[tuple[int, _Column]]:
    """Every column there could be, in its place on screen, with how early it is given room."""
    cells = _Cells(scene)
    readings = [row.reading for row in rows]
    yield 0, _Column("phase", 8, cells.phase, left=True)
    yield 10, _Column("model", 22, lambda row: cells.text(row.reading.model, 22), left=True)
    yield 12, _Column("version", 9, lambda row: cells.text(row.reading.version, 9), left=True)
    yield 11, _Column("role", 7, lambda row: cells.text(row.reading.role, 7), left=True)
    yield 1, _Column("in/s", 5, lambda row: cells.tokens(row, "in", row.reading.prompt_tokens))
    yield 2, _Column("out/s", 5, lambda row: cells.tokens(row, "out", row.reading.generation_tokens))
    yield 3, _Column("run", 4, lambda row: cells.number(row.reading.requests_running, 4))
    yield 3, _Column("wait", 4, lambda row: cells.number(row.reading.requests_waiting, 4))
    yield 8, _Column("preempt", 7, cells.preempted)
    yield 5, _cache_column(cells, _BAR)
    yield 7, _Column("free tok", 8, cells.free)
    yield 9, _Column("cached", 6, lambda row: cells.percents(row.reading.prefix_cache_hit_ratio))
    if any(reading.spec_acceptance_ratio is not None for reading in readings):
        yield 9, _Column("drafts", 6, lambda row: cells.percents(row.reading.spec_acceptance_ratio))
    yield 6, _quantile_column(cells, "TTFT", "ttft")
    yield 4, _quantile_column(cells, "TPOT", "tpot")


def _quantile_column(cells: _Cells, word: str, field: str) -> _Column:
    narrow = _Column(f"{word} p99", 10, lambda row: cells.quantiles(row, field, middle=False))
    return _Column(f"{word} p50    p99  ", 17, lambda row: cells.quantiles(row, field), narrow=narrow)


class _Cells:
    """The cells of one frame."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._palette = scene.palette
        self._recent: Sequence[Tick] | None = None

    def text(self, value: str | None, width: int) -> Line:
        if value is None:
            return Line().add("-", self._palette.dim)
        return Line().foreign(value, self._palette.text, width, self._palette.glyphs.ellipsis)

    def number(self, value: float | None, width: int) -> Line:
        return Line().add(whole(value, width), self._palette.bright if value is not None else self._palette.dim)

    def percents(self, ratio: float | None) -> Line:
        if ratio is None:
            return Line().add("-  ", self._palette.dim)
        return Line().add(percent(ratio), self._palette.bright).add(" %", self._palette.dim)

    def tokens(self, row: Row, word: str, amount: float | None) -> Line:
        value = rate(row.reading, amount)
        text = self._scene.units(f"{row.name[0]}#{row.name[1]}/{word}", value)
        return Line().add(text, self._palette.bright if value is not None else self._palette.dim)

    def phase(self, row: Row) -> Line:
        tick = self._scene.tick
        labels = [] if tick is None else [tick.labels.get(engine_entity(key)) for key in row.keys]
        if row.ranks > 1:
            return Line()
        return phase_bar(labels[0] if labels else None, 8, self._palette)

    def cache(self, row: Row, width: int) -> Line:
        palette, usage = self._palette, row.reading.kv_cache_usage_ratio
        full = usage is not None and usage >= _KV_FULL
        line = bar(usage, width, palette, palette.warning if full else None)
        style = palette.alert if full else palette.bright if usage is not None else palette.dim
        return line.add(percent(usage, 4), style).add(palette.glyphs.warning if full else " ", palette.warning)

    def free(self, row: Row) -> Line:
        value = free_tokens(row)
        text = self._scene.units(f"{row.name[0]}#{row.name[1]}/free", value)
        return Line().add(text, self._palette.bright if value is not None else self._palette.dim)

    def preempted(self, row: Row) -> Line:
        """Over the last minute."""
        if self._recent is None:
            self._recent = self._scene.recent(QUANTILE_SECONDS)
        return self.number(summed(self._recent, row.keys, "preemptions"), 7)

    def quantiles(self, row: Row, name: str, *, middle: bool = True) -> Line:
        """p50 and p99 of the last minute, marked where more is slower than promised."""
        palette, observed = self._palette, self._scene.observed(row.keys, name)
        broken = self._scene.is_slow(row.reading.model, name, observed)
        line = Line().add(" " * middle, palette.base)
        if middle:
            line.extend(quantile_cell(palette, observed, 0.5, palette.bright))
        line.extend(quantile_cell(palette, observed, 0.99, palette.alert if broken else palette.bright))
        return line.add(f" {palette.glyphs.warning}" if broken else "  ", palette.warning)


def quantile_cell(palette: Palette, observed: Histogram | None, q: float, style: Style) -> Line:
    """A quantile in seven cells."""
    value = None if observed is None else observed.quantile(q)
    return Line().add(latency(value).strip().rjust(7), style if value is not None else palette.dim)


def free_tokens(row: Row) -> float | None:
    """Tokens that the KV cache still has room for."""
    reading = row.reading
    if reading.kv_cache_tokens is None or reading.kv_cache_usage_ratio is None:
        return None
    return reading.kv_cache_tokens * max(0.0, 1.0 - reading.kv_cache_usage_ratio)


def summed(ticks: Sequence[Tick], keys: Sequence[EngineKey], field: str) -> float | None:
    """How much of an amount there was in those ticks; None where it was never known."""
    known = [
        value
        for tick in ticks
        for key in keys
        if (reading := tick.interval.engines.get(key)) is not None and (value := getattr(reading, field)) is not None
    ]
    return sum(known) if known else None


def _balance_line(scene: Scene, rows: Sequence[Row], width: int) -> Line | None:
    """Which rank is out of step, marked; or quietly that none is."""
    found = rank_balance(scene, rows)
    if found is None:
        return None
    palette = scene.palette
    if found.odd is None and len(found.text) > width:
        return None
    line = Line()
    if found.odd is not None:
        line.add(f"{palette.glyphs.warning} ", palette.warning)
    style = palette.warning if found.odd is not None else palette.dim
    return line.foreign(found.text, style, width - line.cells, palette.glyphs.ellipsis)
