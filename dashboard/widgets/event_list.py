"""Events as a list, the newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.message import Message

from collectors.model import HOST, Event
from dashboard.format import NANOSECONDS, clock, date
from dashboard.scene import Scene
from dashboard.widgets.axis import event_style
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import place_of

_DAY = 86_400 * NANOSECONDS
_WHO = 14


class Chosen(Message):
    """Somebody picked a row of the list, or turned the wheel by one row."""

    def __init__(self, row: int = 0, *, by: int = 0) -> None:
        super().__init__()
        self.row, self.by = row, by


@dataclass(slots=True)
class EventChoice:
    """The event that is selected. It stays the same one when newer ones come."""

    known: Callable[[], Sequence[Event]]
    selected: Event | None = None

    def row(self, listed: Sequence[Event]) -> int:
        """Where it stands; the newest one where none is selected or it is gone."""
        return next((n for n, event in enumerate(listed) if event == self.selected), 0)

    def shown(self) -> Event | None:
        listed = self.known()
        return listed[self.row(listed)] if listed else None

    def select(self, row: int) -> None:
        listed = self.known()
        if listed:
            self.selected = listed[min(max(row, 0), len(listed) - 1)]

    def move(self, by: int) -> None:
        self.select(self.row(self.known()) + by)


class EventList(Panel):
    """Time, mark, whom it is about, and what happened."""

    def __init__(self, name: str, choice: EventChoice) -> None:
        super().__init__(name)
        self._choice = choice

    def on_click(self, event: events.Click) -> None:
        if self._place is None:
            return
        listed = self._choice.known()
        row = event.y - (self._place.top is not None)
        first, count = _window(self._choice, listed, self._place.inside.height)
        if 0 <= row < count:
            self.post_message(Chosen(first + row))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(Chosen(by=-1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(Chosen(by=1))

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        listed, playback = self._choice.known(), scene.playback
        in_parts = playback is not None and playback.is_read_in_parts
        title = Line().add("Events in what has been looked at" if in_parts and listed else "Events", palette.dim)
        if not listed:
            looked_at = "what has been looked at" if in_parts else "this recording"
            where = f"in {looked_at if playback is not None else 'the last hour'}"
            return Drawing(title, lines=[Line().add(f"nothing happened {where}", palette.dim)])
        first, count = _window(self._choice, listed, height)
        here = self._choice.row(listed)
        is_long = listed[0].time - listed[-1].time >= _DAY
        whom = {(event.entity, event.kind == "note"): event for event in listed}.values()
        room = min(_WHO, max(cell_len(who(scene, event)) for event in whom))
        lines = [
            _row(scene, listed[n], width, room, is_selected=n == here, is_long=is_long)
            for n in range(first, first + count)
        ]
        shown = f"{first + 1}{palette.glyphs.dash}{first + count} of " if count < len(listed) else ""
        return Drawing(title, Line().add(f"{shown}{len(listed)}", palette.dim), lines)


def _window(choice: EventChoice, listed: Sequence[Event], height: int) -> tuple[int, int]:
    """The first row that is shown, and how many."""
    count = min(len(listed), max(1, height))
    return min(max(0, choice.row(listed) - count // 2), len(listed) - count), count


def _row(scene: Scene, event: Event, width: int, whom: int, *, is_selected: bool, is_long: bool) -> Line:
    """`whom` is the columns for whom it is about."""
    palette = scene.palette
    line = Line().add(palette.glyphs.playing if is_selected else " ", palette.strong).add(" ", palette.base)
    if is_long and width >= 60:
        line.add(f"{date(event.time, scene.zone)} ", palette.dim)
    line.add(clock(event.time, scene.zone), palette.bright if is_selected else palette.text).add("  ", palette.base)
    line.add(*event_style(scene, event)).add("  ", palette.base)
    if width >= 50:
        start = line.cells
        line.foreign(who(scene, event), palette.dim, whom, palette.glyphs.ellipsis).to(start + whom + 2, palette.base)
    style = palette.bright if is_selected else palette.text
    text = event.text if width < 50 else _without(who(scene, event), event.text)
    return line.foreign(text, style, width - line.cells, palette.glyphs.ellipsis)


def _without(name: str, text: str) -> str:
    """The text without whom it is about: "GPU 3 (H100) is lost" beside "GPU 3" is "is lost"."""
    if text.startswith(f"{name}: "):
        return text.removeprefix(f"{name}: ")
    if not text.startswith(f"{name} ("):
        return text
    return text.partition(")")[2].lstrip(": ") or text


def who(scene: Scene, event: Event) -> str:
    """Whom an event is about, in a word: "GPU 5", ":8000", "host", "note"."""
    if event.kind == "note":
        return "note"
    kind, _, name = event.entity.partition("/")
    if kind == "gpu":
        newest = scene.history.newest
        gpu = newest.interval.gpus.get(name) if newest is not None else None
        return f"GPU {gpu.index}" if gpu is not None else "GPU"
    if kind == "engine":
        return place_of(name.rpartition("#")[0])
    return "host" if event.entity == HOST else event.entity
