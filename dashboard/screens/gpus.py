"""The GPUs screen: each GPU and GPU instance in a row, and one of them in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType

from dashboard.arrange import MOST_STRIP_ROWS
from dashboard.frames import SIDE_BY_SIDE, Arrangement, Facts, Rows, Shelf, is_tiny, rows_for_panels, tiny
from dashboard.gpu_choice import ORDERS, GpuChoice
from dashboard.screens.base import Dashboard
from dashboard.widgets.gpu_detail import GpuHealth, GpuHistory, GpuProcesses, Scrolled
from dashboard.widgets.gpu_table import GpuTable, Selected
from dashboard.widgets.panel import Panel
from dashboard.widgets.phase import PhasePanel

_PAIRED = 76
"""Columns from which health and processes stand side by side."""
_STRIP = 3


class GpusScreen(Dashboard):
    """Which GPU is odd, since when, and who is on it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "screen.select(-1)", "select", key_display="↑↓", id="gpus.up", tooltip="the GPU above, below"),
        Binding("down", "screen.select(1)", "", show=False, id="gpus.down"),
        Binding("pagedown", "screen.scroll(5)", "", show=False, key_display="pgup pgdn", id="gpus.processes_down",
                tooltip="through the processes of the selected GPU; the wheel too"),
        Binding("pageup", "screen.scroll(-5)", "", show=False, id="gpus.processes_up"),
        Binding("s", "screen.sort", "sort", id="gpus.sort", tooltip="sort by the next column"),
        Binding("slash", "screen.filter", "filter", key_display="/", id="gpus.filter",
                tooltip="show the GPUs with these words: number, name, state, source, model, user, pid"),
    ]  # fmt: skip

    def panels(self) -> tuple[Panel, ...]:
        self.choice = GpuChoice()
        return (
            PhasePanel("phase"), GpuTable("table", self.choice), GpuHistory("history", self.choice),
            GpuHealth("health", self.choice), GpuProcesses("processes", self.choice),
        )  # fmt: skip

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        if is_tiny(width, height):
            return tiny(width, height, ("table",))
        rows = Rows(rows_for_panels(width, height, replay=facts.replay))
        if not facts.gpus:
            rows.grant("table", rows.spare - 1)
        for name, target in _wishes(facts):
            rows.grant(name, target)
        shelves = [Shelf(rows[name], ((name, 0),)) for name in ("phase", "table", "history") if rows[name]]
        if rows["below"]:
            shelves.append(Shelf(rows["below"], _below(width)))
        found = self.on_shelves(width, height, facts, shelves)
        return replace(found, strip=rows["phase"] - 1, events=True) if rows["phase"] else found

    def remember(self) -> dict[str, str]:
        return {"sort": self.choice.sorted_by.name}

    def recall(self, choices: Mapping[str, str]) -> None:
        names = [order.name for order in ORDERS]
        if choices.get("sort") in names:
            self.choice.order = names.index(choices["sort"])

    def action_select(self, by: int) -> None:
        self.choice.move(self.desk.tick(), by)
        self.present()

    def on_selected(self, message: Selected) -> None:
        if message.uuid is not None:
            self.choice.select(message.uuid)
            self.present()
        else:
            self.action_select(message.by)

    def action_scroll(self, by: int) -> None:
        self.choice.scroll(self.desk.tick(), by)
        self.present()

    def on_scrolled(self, message: Scrolled) -> None:
        self.action_scroll(message.by)

    def action_sort(self) -> None:
        self.choice.sort_next()
        self.present()

    def action_filter(self) -> None:
        from dashboard.screens.prompt import Prompt

        def look_for(text: str) -> None:
            self.choice.wanted = text.strip()
            self.present()

        warning = self.desk.palette.glyphs.warning
        self.app.push_screen(Prompt("show GPUs with", look_for, warning, example="all", text=self.choice.wanted))


def _below(width: int) -> tuple[tuple[str, int], ...]:
    """Health, and beside it the processes where there is room for both."""
    if width < _PAIRED:
        return (("health", 0),)
    return (("health", width // 2 if width < SIDE_BY_SIDE else min(60, width * 2 // 5)), ("processes", 0))


def _wishes(facts: Facts) -> list[tuple[str, int]]:
    """(what, rows it would like), most important first. Recordings have no processes to make room for."""
    gpus = facts.gpus
    wishes = [("table", n + 1) for n in range(1, min(gpus, 4) + 1)]
    wishes += [("history", 4), ("below", 3)]
    wishes += [("table", n + 1) for n in range(5, gpus + 1)]
    more, most = (5, 5) if facts.replay else (8, 12)
    wishes += [
        ("table", gpus + 2),
        ("history", 6),
        ("below", 5),
        ("history", 8),
        ("below", more),
        ("phase", _STRIP + 1),
    ]
    wishes += [("phase", _STRIP + 2), ("history", 15), ("phase", _STRIP + 3), ("below", most)]
    return [*wishes, *(("phase", rows) for rows in range(_STRIP + 4, MOST_STRIP_ROWS))]
