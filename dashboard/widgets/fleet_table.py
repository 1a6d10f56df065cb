"""All nodes, one row each, as figures with their latest history or as a map of nodes by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.style import Style
from textual import events
from textual.message import Message

from collectors.fleet.heat import last_column, mean_cells
from collectors.fleet.model import Node
from dashboard.fleet_board import FleetBoard, Row
from dashboard.format import NANOSECONDS, clock, date, latency, percent, scaled, short_gpu, whole
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.widgets.fleet_heat import heat_line
from dashboard.widgets.line import Line, fit
from dashboard.widgets.panel import Drawing, Panel

_GAP = 2
_NARROWEST_NAME, _WIDEST_NAME = 8, 28
_FEWEST_CELLS = 10
_HOT_KV = 0.95
_MOST_IN_MEAN = 64
"""Nodes whose cells are averaged for a group's own row."""


class Picked(Message):
    """Somebody picked a row, opened it, or wants the list moved by some rows."""

    def __init__(self, name: str | None = None, *, by: int = 0, is_open: bool = False) -> None:
        super().__init__()
        self.name, self.by, self.is_open = name, by, is_open


@dataclass(frozen=True, slots=True)
class Column:
    """`value` is the text and its style; `cost` says which columns go first when there is no room (high goes)."""

    heading: str
    width: int
    cost: int
    value: Callable[[Scene, Node], tuple[str, Style]]
    right: bool = True
    is_latency: bool = False


class FleetTable(Panel):
    """Draws only the rows that are seen. A click selects a node, a second one opens it; the wheel moves on."""

    def __init__(self, name: str, board: FleetBoard) -> None:
        super().__init__(name)
        self._board = board

    def on_click(self, event: events.Click) -> None:
        if self._place is None:
            return
        first, count = self._board.window(self._place.inside.height - 1)
        row = event.y - (self._place.top is not None) - 1
        if 0 <= row < count:
            name = self._board.rows()[first + row].node.name
            self.post_message(Picked(name, is_open=event.chain > 1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(Picked(by=-3))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(Picked(by=3))

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        board, palette = self._board, scene.palette
        rows = board.rows()
        title = _title(board, palette)
        if not rows:
            return Drawing(title, lines=_nothing(scene, board, width))
        board.page = max(1, height - 2)
        first, count = board.window(height - 1)
        right = Line().add(f"{first + 1}-{first + count} of {len(rows)}", palette.dim) if count < len(rows) else Line()
        shown = rows[first : first + count]
        here = board.index() - first
        lines = _heat_rows(scene, board, shown, here, width) if board.mode == "heat" else None
        return Drawing(title, right, lines or _table_rows(scene, board, shown, here, width))


def _title(board: FleetBoard, palette: Palette) -> Line:
    title = Line().add("nodes" if board.mode == "table" else "nodes by time", palette.dim)
    if board.searched:
        title.add("  with ", palette.dim).foreign(board.searched, palette.text, 24)
    if board.order or board.reverse:
        title.add(f"  by {board.sorted_by.name}{' reversed' if board.reverse else ''}", palette.text)
    if board.group:
        title.add("  grouped by ", palette.dim).foreign(board.group, palette.text, 24)
    return title


def _nothing(scene: Scene, board: FleetBoard, width: int) -> list[Line]:
    palette = scene.palette
    if board.nodes:
        text = f'none of {len(board.nodes)} nodes has "{board.searched}"'
    elif board.state.problem is not None:
        text = f"no data: {board.state.problem}"
    elif board.state.snapshot is not None:
        text = 'no node is a target there; is --match right? It is a selector such as job="phasetop"'
    else:
        text = "asking"
    return [Line().foreign(text, palette.text, width, palette.glyphs.ellipsis)]


def _table_rows(scene: Scene, board: FleetBoard, rows: Sequence[Row], here: int, width: int) -> list[Line]:
    name_width, columns, cells = _fitting(rows, width)
    board.columns = cells
    lines = [_heading(scene, board, name_width, columns, cells)]
    for number, row in enumerate(rows):
        line = _name(scene, row, name_width, is_selected=number == here)
        if row.node.is_there or row.is_group:
            for column in columns:
                line.add(" " * _GAP, scene.palette.base).extend(_figure(scene, row.node, column))
        else:
            line.add(" " * _GAP, scene.palette.base).extend(_absent(row.node, scene.palette))
        if cells:
            line.to(width - cells, scene.palette.base).extend(_cells(board, row, cells, scene.palette))
        lines.append(line)
    return lines


def _heading(scene: Scene, board: FleetBoard, name_width: int, columns: Sequence[Column], cells: int) -> Line:
    palette, snapshot = scene.palette, board.state.snapshot
    sorted_column = board.sorted_by.column if board.order else ""
    line = Line().add(f"  {'node':<{name_width}}", palette.dim)
    for column in columns:
        words = column.heading
        if column.is_latency and snapshot is not None:
            words += f" p{snapshot.quantile * 100:.0f}"
        text = f"{words:>{column.width}}" if column.right else f"{words:<{column.width}}"
        line.add(" " * _GAP, palette.base).add(text, palette.text if column.heading == sorted_column else palette.dim)
    if cells:
        line.add(" " * _GAP, palette.base).add(_span_words(scene, board, cells), palette.dim)
    return line


def _figure(scene: Scene, node: Node, column: Column) -> Line:
    if column is _PHASES:
        return _phase_bar(node, column.width, scene.palette)
    text, style = column.value(scene, node)
    cut = fit(text, column.width, scene.palette.glyphs.ellipsis)
    return Line().foreign(f"{cut:>{column.width}}" if column.right else f"{cut:<{column.width}}", style, column.width)


def _fitting(rows: Sequence[Row], width: int) -> tuple[int, list[Column], int]:
    """The name's width, the columns that fit in their order, and how many cells of history are left over."""
    name = _name_width(rows, width)
    room = width - name - 2
    taken: list[Column] = []
    for column in sorted(_COLUMNS, key=lambda one: one.cost):
        if column.width + _GAP <= room - (_FEWEST_CELLS + _GAP if column.cost > _HISTORY_COST else 0):
            taken.append(column)
            room -= column.width + _GAP
    cells = room - _GAP if room - _GAP >= _FEWEST_CELLS else 0
    return name, [column for column in _COLUMNS if column in taken], cells


def _name_width(rows: Sequence[Row], width: int) -> int:
    longest = max((len(row.node.name) + (len(str(len(row.members))) + 1) * row.is_group for row in rows), default=0)
    return min(max(longest, _NARROWEST_NAME), _WIDEST_NAME, max(_NARROWEST_NAME, width // 3))


def _name(scene: Scene, row: Row, width: int, *, is_selected: bool) -> Line:
    palette, node = scene.palette, row.node
    line = Line().add(palette.glyphs.playing if is_selected else " ", palette.key)
    if node.health == "ok" or row.is_group:
        line.add(" ", palette.base)
    elif node.health == "down" or node.gpus_lost:
        line.add(palette.glyphs.critical, palette.critical)
    else:
        line.add(palette.glyphs.warning, palette.warning)
    if row.is_group:
        count = f" {len(row.members)}"
        line.foreign(node.name, palette.strong, width - len(count), palette.glyphs.ellipsis)
        line.add(count, palette.dim)
    else:
        style = palette.strong if is_selected else palette.text if node.is_there else palette.dim
        line.foreign(node.name, style, width, palette.glyphs.ellipsis)
    return line.to(width + 2, palette.base)


def _absent(node: Node, palette: Palette) -> Line:
    words = {"down": "down: not scraped", "gone": "gone: no target any more", "stale": "stale: measures nothing"}
    style = palette.critical if node.health == "down" else palette.warning
    return Line().add(words.get(node.health, node.health), style)


def _phase_bar(node: Node, width: int, palette: Palette) -> Line:
    """The parts of its time: prefill, decode, waiting, unknown, idle."""
    line, glyphs = Line(), palette.glyphs
    if node.phases is None:
        return line.add(glyphs.unknown * width, palette.unknown)
    prefill, decode, idle, waiting, unknown = node.phases
    full = "▆" if glyphs.decode is None else ""
    reached, drawn = 0.0, 0
    for part, glyph, style in (
        (prefill, full or glyphs.prefill or "", palette.prefill),
        (decode, full or glyphs.decode or "", palette.decode),
        (waiting, glyphs.waiting, palette.waiting),
        (unknown, glyphs.unknown, palette.unknown),
        (idle, full or glyphs.idle, palette.idle),
    ):
        reached += part
        cells = min(width, round(reached * width)) - drawn
        line.add(glyph * cells, style)
        drawn += cells
    return line.to(width, palette.base)


def _share(value: Callable[[Node], float | None]) -> Callable[[Scene, Node], tuple[str, Style]]:
    def cell(scene: Scene, node: Node) -> tuple[str, Style]:
        found = value(node)
        return percent(found), scene.palette.bright if found is not None else scene.palette.dim

    return cell


def _phase(index: int) -> Callable[[Scene, Node], tuple[str, Style]]:
    def cell(scene: Scene, node: Node) -> tuple[str, Style]:
        found = None if node.phases is None else node.phases[index]
        style = (scene.palette.prefill, scene.palette.decode, scene.palette.text)[index]
        return percent(found), style if found is not None else scene.palette.dim

    return cell


def _bottleneck(scene: Scene, node: Node) -> tuple[str, Style]:
    name = node.bottleneck
    if name is None:
        return "-", scene.palette.dim
    return {"memory-bandwidth": "memory-bw"}.get(name, name), scene.palette.text


def _number(value: Callable[[Node], float | None], width: int) -> Callable[[Scene, Node], tuple[str, Style]]:
    def cell(scene: Scene, node: Node) -> tuple[str, Style]:
        found = value(node)
        return whole(found, width), scene.palette.bright if found is not None else scene.palette.dim

    return cell


def _scaled(value: Callable[[Node], float | None]) -> Callable[[Scene, Node], tuple[str, Style]]:
    def cell(scene: Scene, node: Node) -> tuple[str, Style]:
        found = value(node)
        return scaled(found)[0], scene.palette.bright if found is not None else scene.palette.dim

    return cell


def _latency(value: Callable[[Node], float | None]) -> Callable[[Scene, Node], tuple[str, Style]]:
    def cell(scene: Scene, node: Node) -> tuple[str, Style]:
        found = value(node)
        return latency(found), scene.palette.bright if found is not None else scene.palette.dim

    return cell


def _power(scene: Scene, node: Node) -> tuple[str, Style]:
    if node.watts is None:
        return "-", scene.palette.dim
    kilowatts = node.watts / 1000
    return f"{kilowatts:.1f}" if kilowatts < 99.95 else whole(kilowatts, 4), scene.palette.bright


def _kv(scene: Scene, node: Node) -> tuple[str, Style]:
    if node.kv_cache is None:
        return "-", scene.palette.dim
    return percent(node.kv_cache), scene.palette.alert if node.kv_cache >= _HOT_KV else scene.palette.bright


def _gpus(scene: Scene, node: Node) -> tuple[str, Style]:
    if node.gpus is None:
        return "-", scene.palette.dim
    there = node.gpus - node.gpus_lost
    return (f"{there}/{node.gpus}", scene.palette.critical) if node.gpus_lost else (str(node.gpus), scene.palette.text)


def _model(scene: Scene, node: Node) -> tuple[str, Style]:
    return node.model or "-", scene.palette.text if node.models else scene.palette.dim


def _role(scene: Scene, node: Node) -> tuple[str, Style]:
    return node.role or "-", scene.palette.text if node.roles else scene.palette.dim


def _cards(scene: Scene, node: Node) -> tuple[str, Style]:
    return ", ".join(short_gpu(name) for name in node.gpu_names) or "-", scene.palette.dim


_PHASES = Column("phase", 8, 0, lambda scene, node: ("", scene.palette.base), right=False)
_HISTORY_COST = 13
"""Columns that cost more must leave room for the history."""
_COLUMNS: tuple[Column, ...] = (
    _PHASES,
    Column("pre", 3, 1, _phase(0)), Column("dec", 3, 2, _phase(1)), Column("idle", 4, 11, _phase(2)),
    Column("bottleneck", 11, 4, _bottleneck, right=False),
    Column("SM", 3, 7, _share(lambda node: node.sm)), Column("DRAM", 4, 8, _share(lambda node: node.dram)),
    Column("kW", 4, 9, _power), Column("clock", 5, 17, _share(lambda node: node.clock)),
    Column("tok/s", 5, 3, _scaled(lambda node: node.generated_rate)),
    Column("TTFT", 8, 6, _latency(lambda node: node.ttft), is_latency=True),
    Column("TPOT", 8, 5, _latency(lambda node: node.tpot), is_latency=True),
    Column("KV", 3, 10, _kv), Column("run", 4, 14, _number(lambda node: node.running, 4)),
    Column("wait", 4, 12, _number(lambda node: node.waiting, 4)), Column("GPUs", 4, 16, _gpus),
    Column("role", 7, 18, _role, right=False), Column("model", 18, 15, _model, right=False),
    Column("card", 14, 19, _cards, right=False),
)  # fmt: skip


def _cells(board: FleetBoard, row: Row, count: int, palette: Palette) -> Line:
    heat, last = board.state.heat, board.state.last_column
    if heat is None or last is None:
        return Line().add(palette.glyphs.gap * count, palette.gap)
    first = last - count + 1
    if row.is_group:
        members = row.members[:: max(1, len(row.members) // _MOST_IN_MEAN)][:_MOST_IN_MEAN]
        cells = mean_cells([heat.row(node.name, first, count) for node in members])
    else:
        cells = heat.row(row.node.name, first, count)
    cursor = None if board.at is None else last_column(board.at, heat.step) - first
    return heat_line(cells, palette, cursor)


def _span_words(scene: Scene, board: FleetBoard, cells: int) -> str:
    """From when the history goes, in the room over it."""
    heat, last = board.state.heat, board.state.last_column
    if heat is None or last is None:
        return ""
    start = round((last - cells + 1) * heat.step * NANOSECONDS)
    end = round((last + 1) * heat.step * NANOSECONDS)
    left, right = clock(start, scene.zone)[:5], clock(end, scene.zone)[:5]
    if end - start > 20 * 3600 * NANOSECONDS:
        left, right = date(start, scene.zone)[5:], date(end, scene.zone)[5:]
    if cells < len(left) + len(right) + 2:
        return left if cells >= len(left) else ""
    return left + " " * (cells - len(left) - len(right)) + right


def _heat_rows(scene: Scene, board: FleetBoard, rows: Sequence[Row], here: int, width: int) -> list[Line] | None:
    """Names, and nothing but time beside them; None where there is no room for that."""
    palette = scene.palette
    name_width = _name_width(rows, width)
    cells = width - name_width - 2 - _GAP
    if cells < _FEWEST_CELLS:
        return None
    board.columns = cells
    heading = Line().add(f"  {'node':<{name_width}}", palette.dim).add(" " * _GAP, palette.base)
    heading.add(_span_words(scene, board, cells), palette.dim)
    lines = [heading]
    for number, row in enumerate(rows):
        line = _name(scene, row, name_width, is_selected=number == here)
        line.add(" " * _GAP, palette.base).extend(_cells(board, row, cells, palette))
        lines.append(line)
    return lines
