"""The Engines screen: each engine and rank in a row, and the selected one in detail and over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from collectors.histogram import Histogram
from collectors.model import EngineKey
from dashboard.engine_columns import EngineColumns
from dashboard.engine_peers import tells_latencies
from dashboard.engine_rows import ORDERS, Choice, Row
from dashboard.frames import Arrangement, Facts, Rows, Shelf, is_tiny, rows_for_panels, tiny
from dashboard.scene import QUANTILE_SECONDS
from dashboard.screens.base import Dashboard
from dashboard.widgets.engine_detail import EngineDetail
from dashboard.widgets.engine_history import EngineHistory
from dashboard.widgets.engine_table import EngineTable, Selected
from dashboard.widgets.latency_heat import TITLES, LatencyHeat
from dashboard.widgets.panel import Panel

_MOST_TABLE_ROWS = 12
"""Of a screen that has room for more besides; with more engines the table scrolls."""


class EnginesScreen(Dashboard):
    """What the engines do, and whether they keep what was promised."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "screen.select(-1)", "select", key_display="↑↓", id="engines.up", tooltip="select an engine"),
        Binding("down", "screen.select(1)", "", show=False, id="engines.down"),
        Binding("l", "screen.latency", "latency", id="engines.latency", tooltip="the next latency in the map"),
        Binding("s", "screen.sort", "sort", id="engines.sort", tooltip="sort the engines by the next column"),
        Binding("slash", "screen.filter", "filter", key_display="/", id="engines.filter",
                tooltip="show the engines whose name, model, place or state has these words"),
    ]  # fmt: skip

    def panels(self) -> tuple[Panel, ...]:
        self.choice = Choice(minute=self._observed)
        columns = EngineColumns()
        return (
            EngineTable("engines", self.choice), EngineDetail("detail", self.choice),
            EngineHistory("history", self.choice, columns), LatencyHeat("heat", self.choice, columns),
        )  # fmt: skip

    def remember(self) -> dict[str, str]:
        return {"sort": self.choice.order, "latency": self.choice.latency}

    def recall(self, choices: Mapping[str, str]) -> None:
        if choices.get("sort") in ORDERS:
            self.choice.order = choices["sort"]
        if choices.get("latency") in TITLES:
            self.choice.latency = choices["latency"]

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        if is_tiny(width, height):
            return tiny(width, height, ("engines",))
        rows = Rows(rows_for_panels(width, height, replay=facts.replay))
        table, latencies = self._table()
        for name, target in wishes(table, facts, latencies=latencies):
            rows.grant(name, target)
        names = [name for name in ("engines", "detail", "history", "heat") if rows[name]]
        return self.on_shelves(width, height, facts, [Shelf(rows[name], ((name, 0),)) for name in names])

    def _table(self) -> tuple[int, bool]:
        """How many rows the table has, and whether the selected engine tells latencies.

        The newest interval decides, so that a look back moves nothing.
        """
        newest = self.desk.history.newest
        rows = [] if newest is None else self.choice.rows(newest.interval.engines)
        chosen = self.choice.row(rows)
        return len(rows), chosen is not None and tells_latencies(self.desk.history, chosen)

    def _observed(self, keys: Sequence[EngineKey], latency: str) -> Histogram | None:
        desk = self.desk
        return desk.history.tracks.observed(keys, latency, desk.view.shown(), QUANTILE_SECONDS)

    def _rows(self) -> list[Row]:
        tick = self.desk.tick()
        return [] if tick is None else self.choice.rows(tick.interval.engines)

    def action_select(self, by: int) -> None:
        self.choice.move(self._rows(), by)
        self.present()

    def action_latency(self) -> None:
        names = list(TITLES)
        self.choice.latency = names[(names.index(self.choice.latency) + 1) % len(names)]
        self.present()

    def action_sort(self) -> None:
        self.choice.next_order()
        self.desk.tell(f"sorted by {self.choice.order}")
        self.present()

    def action_filter(self) -> None:
        from dashboard.screens.prompt import Prompt  # Textual's input line is 20 ms of imports

        warning = self.desk.palette.glyphs.warning
        self.app.push_screen(Prompt("show", self._filter, warning, example="llama :8000 down", text=self.choice.wanted))

    def _filter(self, wanted: str) -> None:
        self.choice.wanted = wanted
        self.present()

    def on_selected(self, message: Selected) -> None:
        self.choice.selected = message.name
        self.present()


def wishes(table: int, facts: Facts, *, latencies: bool = True) -> Iterator[tuple[str, int]]:
    """(panel, rows it would like), most important first. `table` is how many rows the table has.

    Without `latencies` there is no map of them, and the rest has more room.
    """
    if not facts.engines:
        yield "engines", 2
        return
    whole = 1 + table + (facts.engines > 1)
    for name, rows in (
        ("engines", min(2, whole)), ("detail", 3), ("engines", min(whole, 4)), ("history", 3), ("heat", 4),
        ("engines", min(whole, 6)), ("history", 4), ("heat", 5), ("detail", 4), ("history", 5), ("heat", 6),
        ("heat", 7), ("engines", min(whole, 8)), ("detail", 6), ("history", 6), ("heat", 9), ("detail", 7),
        ("engines", min(whole, _MOST_TABLE_ROWS)), ("detail", 9), ("history", 9), ("heat", 12), ("history", 11),
        ("heat", 16), ("engines", whole), ("history", 18), ("heat", 26), ("history", 25),
    ):  # fmt: skip
        if latencies or name != "heat":
            # Without latencies five lines less to say about the engine, one instead of them.
            yield name, rows if latencies or name != "detail" else min(rows, 5)
