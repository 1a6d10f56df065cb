"""The Fleet screen: every node in a row, what they come to together, and which of them is odd."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingsMap, BindingType

from dashboard.desk import Desk
from dashboard.fleet_board import FleetBoard
from dashboard.format import NANOSECONDS
from dashboard.frames import SIDE_BY_SIDE, Arrangement, Facts, Rows, Shelf, is_tiny, rows_for_panels, tiny
from dashboard.screens.base import Dashboard
from dashboard.screens.keys import footer_keys
from dashboard.screens.table import SCREENS, Entry
from dashboard.widgets.fleet_table import FleetTable, Picked
from dashboard.widgets.fleet_totals import FleetFindings, FleetHeader, FleetTotals
from dashboard.widgets.panel import Panel

_OPENING = tuple(
    Binding(one.key, f"app.open('{one.name}')", one.title, show=False, id=f"fleet.open_{one.name}",
            tooltip=f"open the selected node: {one.help}")
    for one in SCREENS
)  # fmt: skip


class FleetScreen(Dashboard):
    """One row a node. What is selected, sorted and looked for is the board's; what is known, the watch's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "app.open('overview')", "open", key_display="enter", id="fleet.open",
                tooltip="open the selected node"),
        Binding("up", "screen.select(-1)", "select", key_display="↑↓", id="fleet.up", tooltip="the node above, below"),
        Binding("down", "screen.select(1)", "", show=False, id="fleet.down"),
        Binding("pageup", "screen.page_by(-1)", "", show=False, key_display="page", id="fleet.page_up",
                tooltip="a page up, down"),
        Binding("pagedown", "screen.page_by(1)", "", show=False, id="fleet.page_down"),
        Binding("home", "screen.select(-1000000)", "", show=False, id="fleet.first", tooltip="the first node"),
        Binding("s", "screen.sort(1)", "sort", id="fleet.sort", tooltip="sort by the next figure"),
        Binding("S", "screen.sort(-1)", "", show=False, id="fleet.sort_back", tooltip="sort by the one before"),
        Binding("r", "screen.reverse", "", show=False, id="fleet.reverse", tooltip="the other way round"),
        Binding("slash", "screen.search", "search", key_display="/", id="fleet.search",
                tooltip="list the nodes with these words: name, model, role, label, bottleneck, health"),
        Binding("b", "screen.group", "group", id="fleet.group", tooltip="group by model, role, GPU, health or a label"),
        Binding("B", "screen.group_by", "", show=False, id="fleet.group_by", tooltip="group by a label you name"),
        Binding("t", "screen.quantile", "", show=False, id="fleet.quantile",
                tooltip="TTFT and TPOT as medians (p50), 95th or 99th percentiles"),
        Binding("h", "screen.heat", "map", id="fleet.heat", tooltip="figures, or a map of nodes by time"),
        *_OPENING,
        Binding("left", "screen.move_time(-1)", "time", key_display="←→", id="view.back",
                tooltip="one column back or on: all nodes as they were then"),
        Binding("right", "screen.move_time(1)", "", show=False, id="view.on"),
        Binding("shift+left", "screen.move_time(-10)", "", show=False, id="view.page_back", tooltip="ten columns back"),
        Binding("shift+right", "screen.move_time(10)", "", show=False, id="view.page_on"),
        Binding("plus,equals_sign", "screen.zoom(1)", "zoom", key_display="+-", id="view.zoom_in",
                tooltip="less or more time in a column"),
        Binding("minus", "screen.zoom(-1)", "", show=False, id="view.zoom_out"),
        Binding("0", "screen.zoom(0)", "", show=False, id="view.zoom_usual", tooltip="the usual zoom"),
        Binding("g", "app.go_to", "go to", id="view.go_to", tooltip="go to a time: 03:12, 10m ago, 2026-05-01T03:12"),
        Binding("escape,end", "app.live", "now", show=False, key_display="esc", id="view.live", tooltip="back to now"),
        Binding("m", "app.maximise", "", show=False, id="screen.maximise",
                tooltip="one panel alone, the next one, all"),
        Binding("p", "app.picture", "", show=False, id="picture", tooltip="save a picture (SVG)"),
    ]  # fmt: skip

    def __init__(self, desk: Desk, entry: Entry, board: FleetBoard, want: Callable[[], None] = lambda: None) -> None:
        """`want` is called whenever what the screen shows may have become something else."""
        self.board = board
        self._want = want
        super().__init__(desk, entry)
        self._panels = (FleetHeader("header", board), *self._panels[1:])

    def _take_keys(self) -> None:
        """Its own keys alone: those of one machine's history mean nothing here."""
        self._has_replay_keys = False
        own, always = self._own, self.desk.always
        if self.desk.keymap:
            from dashboard.keymap import remapped

            own, always = (remapped(keys, self.desk.keymap) for keys in (own, always))
        self._bindings = BindingsMap(own)
        # A binding of several keys stands here once for each of them.
        self.bindings_here = tuple({binding.id or binding.key: binding for binding in (*own, *always)}.values())
        self._keys = footer_keys(self.bindings_here)
        self._tabs = ()

    def panels(self) -> tuple[Panel, ...]:
        return (
            FleetTotals("totals", self.board), FleetFindings("findings", self.board), FleetTable("table", self.board),
        )  # fmt: skip

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        if is_tiny(width, height):
            return tiny(width, height, ("totals", "table") if height > 3 else ("table",))
        rows = Rows(rows_for_panels(width, height, replay=False))
        rows.grant("table", 4)
        rows.grant("totals", 1)
        rows.grant("table", 7)
        rows.grant("totals", 2 if width >= SIDE_BY_SIDE else 3)
        if width < SIDE_BY_SIDE:
            rows.grant("findings", 2)
        rows.grant("table", 14)
        rows.grant("totals", 4)
        rows.grant("table", 20)
        rows.grant("totals", 5)
        if width >= SIDE_BY_SIDE:
            wide = width * 9 // 20
            shelves = [Shelf(rows["totals"], (("totals", 0), ("findings", wide)))] if rows["totals"] else []
        else:
            rows.grant("findings", 3)
            shelves = [Shelf(rows[name], ((name, 0),)) for name in ("totals", "findings") if rows[name]]
        return self.on_shelves(width, height, facts, [*shelves, Shelf(rows["table"], (("table", 0),))])

    def present(self) -> None:
        super().present()
        self._want()

    def action_select(self, by: int) -> None:
        self.board.move(by)
        self.present()

    def action_page_by(self, direction: int) -> None:
        self.action_select(direction * self.board.page)

    def on_picked(self, message: Picked) -> None:
        if message.name is None:
            self.action_select(message.by)
            return
        self.board.selected = message.name
        self.present()
        if message.is_open:
            self.app.simulate_key("enter")

    def action_sort(self, direction: int) -> None:
        self.board.sort_next(direction)
        self.present()

    def action_reverse(self) -> None:
        self.board.reverse = not self.board.reverse
        self.present()

    def action_search(self) -> None:
        from dashboard.screens.prompt import Prompt

        def look_for(text: str) -> None:
            self.board.searched = text.strip()
            self.present()

        warning = self.desk.palette.glyphs.warning
        self.app.push_screen(Prompt("nodes with", look_for, warning, example="all", text=self.board.searched))

    def action_group(self) -> None:
        self.board.group_next()
        self.present()

    def action_group_by(self) -> None:
        from dashboard.screens.prompt import Prompt

        def group(text: str) -> None:
            self.board.group_by(text)
            self.present()

        example = ", ".join(self.board.groups()[1:])
        self.app.push_screen(Prompt("group by", group, self.desk.palette.glyphs.warning, example=example))

    def action_quantile(self) -> None:
        self.board.quantile_next()
        self.present()

    def action_heat(self) -> None:
        self.board.mode = "heat" if self.board.mode == "table" else "table"
        self.present()

    def action_move_time(self, columns: int) -> None:
        if not self.board.has_past:
            self.desk.tell("exporters read directly tell of now alone; a Prometheus keeps what was")
        else:
            self.board.move_time(columns, time.time_ns() / NANOSECONDS)
        self.present()

    def action_zoom(self, direction: int) -> None:
        self.board.zoom(direction)
        self.present()
