"""The time axis that all screens share: its columns, the cursor on it, its times and its events.

A panel that spans the screen has the same columns on every screen, so that what happened at one
moment stands at the same place on all of them; a narrower one has the newest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.message import Message

from collectors.model import Event
from dashboard.event_kinds import ALARMS, WARNINGS
from dashboard.format import NANOSECONDS, clock, moment
from dashboard.frames import is_framed
from dashboard.scene import Scene
from dashboard.tracks import Column
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Panel

_AXIS_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
_DAY = 86_400 * NANOSECONDS
_AXIS_SPACING = 16
"""Columns between two times on the axis, at least."""

_LOOK_BACK = 120
"""Intervals to look back for a GPU figure before none is taken to be known."""


@dataclass(frozen=True, slots=True)
class Gutters:
    """Columns left (for names) and right (for numbers) of the time axis."""

    left: int
    right: int


def gutters(scene: Scene, width: int) -> Gutters:
    """What stands beside the axis in a panel of that inner width."""
    wide = width >= 96
    left = 0 if width < 50 else 14 if width >= 76 and nvml_only(scene) else 10 if wide else 8
    right = 0 if width < 56 else 19 if wide else 16
    return Gutters(left, right)


def axis_columns(scene: Scene, width: int, height: int) -> int:
    """Columns of the axis in a panel that spans a screen of that size."""
    inner = width - 4 if is_framed(width, height) else width
    sides = gutters(scene, inner)
    return max(1, inner - sides.left - sides.right)


def nvml_only(scene: Scene) -> bool:
    """Whether only NVML's fractions of time are known, by the newest interval in which anything was.

    GPUs that do not answer for a while must not change what the lines are of.
    """
    tracks = scene.history.tracks
    row = None if scene.tick is None else tracks.row_of(scene.tick.interval.sequence)
    for earlier in range(row if row is not None else -1, max(-1, (row or 0) - _LOOK_BACK), -1):
        if any(tracks.value(earlier, name) is not None for name in ("sm", "dram")):
            return False
        if any(tracks.value(earlier, name) is not None for name in ("kernel", "memory")):
            return True
    return False


def cursor_column(scene: Scene, columns: Sequence[Column]) -> int | None:
    """The column of the interval under the cursor, the last one where it spans several."""
    return scene.column_of_cursor(columns)


def gaps_of(columns: Sequence[Column]) -> list[bool]:
    """Which columns hold nothing but time that nothing was measured in."""
    return [bool(column.gap) and column.first_sequence is None for column in columns]


def event_style(scene: Scene, event: Event) -> tuple[str, Style]:
    """The mark of an event: what needs a person has a colour and a glyph of its own."""
    palette = scene.palette
    if event.kind in ALARMS:
        return palette.glyphs.critical, palette.critical
    if event.kind in WARNINGS:
        return palette.glyphs.mark, palette.warning
    if event.kind == "phase-change":
        return palette.glyphs.change, palette.faint
    return palette.glyphs.note, palette.dim


def events_line(scene: Scene, columns: Sequence[Column], sides: Gutters) -> Line:
    """Marks under the strip; the text of each right of it where that is free, else left of it."""
    palette, first = scene.palette, columns[0].start
    marks: dict[int, Event] = {}
    for item in scene.events_between(first, columns[-1].start + scene.step):
        x = (item.axis - first) // scene.step
        if x not in marks or marks[x].kind == "phase-change":
            marks[x] = item.event
    loud = [x for x in sorted(marks) if marks[x].kind != "phase-change"]
    pieces: list[tuple[int, Line]] = []
    free = 0
    for n, x in enumerate(loud):
        glyph, style = event_style(scene, marks[x])
        mark = Line().add(glyph, style)
        room = (loud[n + 1] if n + 1 < len(loud) else len(columns) + sides.right) - x - 3
        wanted = cell_len(marks[x].text)
        if room < wanted and x - free - 1 >= wanted:
            text = Line().foreign(marks[x].text, palette.dim, wanted).add(" ", palette.base).extend(mark)
            pieces.append((x - wanted - 1, text))
            free = x + 2
        else:
            if room >= min(wanted, 8):
                mark.add(" ", palette.base).foreign(marks[x].text, palette.dim, room, palette.glyphs.ellipsis)
            pieces.append((x, mark))
            free = x + mark.cells + 1
    line = Line().add(" " * sides.left, palette.base)
    quiet = [(x, Line().add(*event_style(scene, marks[x]))) for x in marks if marks[x].kind == "phase-change"]
    for x, piece in sorted([*pieces, *quiet], key=lambda placed: placed[0]):
        if line.cells <= sides.left + x:
            line.to(sides.left + x, palette.base).extend(piece)
    return line


def axis_line(scene: Scene, columns: Sequence[Column], sides: Gutters) -> Line:
    """Times under the columns they begin, the edge at the right, the cursor's time in bright."""
    palette, count = scene.palette, len(columns)
    told = moment if scene.step * count > _DAY else clock
    labels: list[tuple[int, str, Style]] = []
    cursor = cursor_column(scene, columns)
    edge = (
        "now"
        if scene.view.following and scene.mode == "live"
        else told(columns[-1].start if scene.edge is None else scene.edge, scene.zone)
    )
    if cursor is not None and scene.tick is not None:
        text = told(scene.tick.interval.end, scene.zone)
        labels.append((min(max(0, cursor - len(text) // 2), max(0, count - len(text))), text, palette.strong))
    labels.append((max(0, count - len(edge)), edge, palette.dim))
    step = scene.step
    every = next((s for s in _AXIS_STEPS if s * NANOSECONDS >= step * _AXIS_SPACING), 86400) * NANOSECONDS
    for x, column in enumerate(columns):
        wall = scene.wall_time(column.start + 1) - 1
        if wall % every < step and not column.empty:
            labels.append((x, told(wall - wall % step, scene.zone), palette.dim))
    line = Line().add(" " * sides.left, palette.base)
    taken: list[tuple[int, int]] = []
    chosen = []
    for x, text, style in labels:
        if x + len(text) <= count and all(x + len(text) < low or x > high for low, high in taken):
            taken.append((x, x + len(text)))
            chosen.append((x, text, style))
    for x, text, style in sorted(chosen, key=lambda label: label[0]):
        line.to(sides.left + x, palette.base).add(text, style)
    return line


class Pointed(Message):
    """Somebody points at a moment of the axis, in its nanoseconds."""

    def __init__(self, axis_ns: int) -> None:
        super().__init__()
        self.axis_ns = axis_ns


class Wheeled(Message):
    """The wheel was turned over the axis: `zoom` closer (1) or away (-1), or `pan` back (-1) or on (1)."""

    def __init__(self, *, zoom: int = 0, pan: int = 0) -> None:
        super().__init__()
        self.zoom, self.pan = zoom, pan


class AxisPanel(Panel):
    """A panel on the time axis: a click sets the cursor, the wheel zooms, with shift (or sideways) it pans."""

    def sides(self, scene: Scene, width: int) -> Gutters:
        return gutters(scene, width)

    def on_click(self, event: events.Click) -> None:
        scene, place = self._scene, self._place
        if scene is None or place is None:
            return
        inside = place.inside
        sides = self.sides(scene, inside.width)
        columns = scene.columns(inside.width - sides.left - sides.right)
        x = event.x - inside.x - sides.left
        if 0 <= x < len(columns):
            self.post_message(Pointed(columns[x].start + scene.step))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(Wheeled(pan=-1) if event.shift else Wheeled(zoom=1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(Wheeled(pan=1) if event.shift else Wheeled(zoom=-1))

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        self.post_message(Wheeled(pan=-1))

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        self.post_message(Wheeled(pan=1))
