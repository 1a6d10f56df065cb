"""The events: what happened, the newest first; choosing one puts the cursor on its moment, on all screens."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from dashboard.arrange import most_lines, with_lines
from dashboard.frames import Arrangement, Facts, Rows, Shelf, is_tiny, rows_for_panels, tiny
from dashboard.screens.base import Dashboard
from dashboard.widgets.event_list import Chosen, EventChoice, EventList
from dashboard.widgets.panel import Panel
from dashboard.widgets.phase import PhasePanel

_STRIP = 6
_MOST = 26
"""Rows of the strip with its measurements: the list has the rest."""


class EventsScreen(Dashboard):
    """A list that jumps."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "up", "screen.select(-1)", "select", key_display="↑↓", id="events.up", tooltip="the event above, below"
        ),
        Binding("down", "screen.select(1)", "", show=False, id="events.down"),
        Binding("pageup", "screen.select(-10)", "", show=False, id="events.page_up"),
        Binding("pagedown", "screen.select(10)", "", show=False, id="events.page_down"),
        Binding("enter", "screen.jump", "jump", id="events.jump", tooltip="look at the moment of the event"),
    ]

    def panels(self) -> tuple[Panel, ...]:
        self.choice = EventChoice(self.desk.events)
        return PhasePanel("phase"), EventList("events", self.choice)

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        if is_tiny(width, height):
            return tiny(width, height, ("events",))
        rows = Rows(rows_for_panels(width, height, replay=facts.replay))
        rows.grant("events", 3)
        rows.grant("phase", 5)
        rows.grant("events", 10)
        rows.grant("phase", _STRIP + 2)
        rows.grant("events", 18)
        for taller in range(_STRIP + 2 + most_lines(facts), _MOST):
            rows.grant("phase", taller)
        shelves = [Shelf(rows[name], ((name, 0),)) for name in ("phase", "events") if rows[name]]
        found = self.on_shelves(width, height, facts, shelves)
        return with_lines(found, rows["phase"], facts) if rows["phase"] else found

    def action_select(self, by: int) -> None:
        self.choice.move(by)
        self.present()

    def action_jump(self) -> None:
        event = self.choice.shown()
        if event is not None:
            self.desk.look_at(event)
            self.present()

    def on_chosen(self, message: Chosen) -> None:
        if message.by:
            self.action_select(message.by)
        else:
            self.choice.select(message.row)
            self.action_jump()
