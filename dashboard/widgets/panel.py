"""The base of every panel: a Line-API widget that repaints only the cells that changed.

A panel is drawn by a pure function of the scene and its size into lines. The frame is shared with
its neighbours: a panel owns its top border and its left one, and the right and bottom ones only at
the screen's edge. Textual's style cache is passed by: a panel's cells are final as they are drawn,
so that NO_COLOR and 16 colours are the palette's business alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from dashboard.frames import Place
from dashboard.scene import Scene
from dashboard.widgets.line import Line, Run

_MERGE_DISTANCE = 4
"""Changed spans closer than this many cells are repainted as one: moving the cursor costs as much."""


@dataclass(slots=True)
class Drawing:
    """What a panel shows: a title on the border's left, one on its right, and lines inside."""

    title: Line
    right: Line = field(default_factory=Line)
    lines: list[Line] = field(default_factory=list)


class Panel(Widget, can_focus=False):
    """Draws a scene. Subclasses implement `draw`."""

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._scene: Scene | None = None
        self._place: Place | None = None
        self._rows: list[Line] = []
        self._strips: list[Strip] = []

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        """The content for an inside of `width` by `height` cells; surplus lines are not shown."""
        raise NotImplementedError

    def put(self, place: Place) -> None:
        """Where the panel lies; the next `show` paints it whole."""
        if place != self._place:
            self._place = place
            self._rows, self._strips = [], []

    def show(self, scene: Scene) -> None:
        """Draws the scene and asks for a repaint of what differs from the last one."""
        self._scene = scene
        if self._place is None:
            return
        rows = self.framed(scene, self._place)
        stale, self._rows = self._rows, rows
        if len(stale) != len(rows):
            self._strips = [row.strip() for row in rows]
            if self.is_mounted:  # else the first layout paints it
                self.refresh()
            return
        regions: list[Region] = []
        for y, (old, new) in enumerate(zip(stale, rows, strict=True)):
            if old.runs != new.runs:
                self._strips[y] = new.strip()
                regions += (Region(first, y, last - first, 1) for first, last in changes(old.runs, new.runs))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self._base())

    def render_lines(self, crop: Region) -> list[Strip]:
        strips = [self.render_line(y) for y in crop.line_range]
        first, last = crop.column_span
        return [
            strip
            if first == 0 and last == strip.cell_length
            else strip.crop(first, last).adjust_cell_length(last - first, self._base())
            for strip in strips
        ]

    def _base(self) -> Style:
        return Style.null() if self._scene is None else self._scene.palette.base

    def framed(self, scene: Scene, place: Place) -> list[Line]:
        """All rows of the panel as it stands at a place, its share of the frame included. Pure."""
        palette, base, border = scene.palette, scene.palette.base, scene.palette.border
        inside = place.inside
        drawing = self.draw(scene, inside.width, inside.height)
        rows: list[Line] = []
        if place.top is not None:
            rows.append(_rule(place, drawing, border, scene))
        for y in range(inside.height):
            line = Line()
            if place.left:
                line.add(palette.glyphs.frame[5], border)
            line.to(inside.x, base)
            if y < len(drawing.lines):
                line.extend(drawing.lines[y].cut(inside.width))
            if place.right:
                line.to(place.width - 1, base).add(palette.glyphs.frame[5], border)
            rows.append(line.to(place.width, base))
        if place.bottom is not None:
            rows.append(Line().add(_frame_text(place.bottom, scene), border))
        rows = [row.cut(place.width) for row in rows]
        return [in_ascii(row) for row in rows] if palette.ascii else rows


_ASCII = str.maketrans("×±→←↑↓·–…°µ▲●", "x~><^v--~ou^*")


def in_ascii(line: Line) -> Line:
    """The line in ASCII, as wide as before: names and advice may hold any character."""
    plain = Line()
    for text, style, _ in line.runs:
        plain.add(text if text.isascii() else _ascii_text(text), style)
    return plain


def _ascii_text(text: str) -> str:
    return "".join(c if c.isascii() else "?" * cell_len(c) for c in text.translate(_ASCII))


def _frame_text(arms: tuple[int, ...], scene: Scene) -> str:
    return _joined(arms, scene.palette.glyphs.frame)


@lru_cache(maxsize=64)
def _joined(arms: tuple[int, ...], glyphs: str) -> str:
    return "".join([glyphs[arm] for arm in arms])


def _rule(place: Place, drawing: Drawing, border: Style, scene: Scene) -> Line:
    """The top border with the titles set into it; the right one goes first when both do not fit."""
    rule = _frame_text(place.top or (), scene)
    base = scene.palette.base
    margin = 2 if place.left else 0
    room = place.width - 2 * margin
    right = drawing.right if drawing.title.cells + drawing.right.cells + 6 <= room else Line()
    line = Line().add(rule[:margin], border)
    if drawing.title.cells and room > 4:
        line.add(" ", base).extend(drawing.title.cut(room - 2)).add(" ", base)
    if right.cells:
        line.add(rule[line.cells : place.width - margin - right.cells - 2], border)
        line.add(" ", base).extend(right).add(" ", base)
    return line.add(rule[line.cells :], border)


def changes(old: Sequence[Run], new: Sequence[Run]) -> Iterator[tuple[int, int]]:
    """Spans of cells [first, last) in which two lines of the same width differ; near spans are joined."""
    pending: tuple[int, int] | None = None
    for first, last in _differing(old, new):
        if pending is not None and first - pending[1] < _MERGE_DISTANCE:
            pending = (pending[0], last)
        else:
            if pending is not None:
                yield pending
            pending = (first, last)
    if pending is not None:
        yield pending


def _differing(old: Sequence[Run], new: Sequence[Run]) -> Iterator[tuple[int, int]]:
    """Cells of the new line's runs that have no equal cells at the same place in the old one.

    Runs that begin together and have one style are compared by their characters, when each of
    these is one cell wide; others count as changed as a whole.
    """
    before = iter(old)
    x = reached = 0
    past: Run | None = None
    for run in new:
        text, style, cells = run
        while reached < x and (past := next(before, None)) is not None:
            reached += past[2]
        here = next(before, None) if reached == x else None
        if here is not None:
            reached += here[2]
        if here is None or here[1] is not style:
            yield x, x + cells
        elif here != run:
            if cells != len(text) or here[2] != len(here[0]):
                yield x, x + cells
            else:
                yield from ((x + low, x + high) for low, high in _changed_text(here[0], text))
        x += cells


def _changed_text(old: str, new: str) -> Iterator[tuple[int, int]]:
    """Runs of characters of `new` that differ from those at the same place in `old`.

    Where `old` is longer, what follows it is another run's business.
    """
    first: int | None = None
    for n, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            first = n if first is None else first
        elif first is not None:
            yield first, n
            first = None
    shared = min(len(old), len(new))
    if len(new) > shared:
        yield shared if first is None else first, len(new)
    elif first is not None:
        yield first, shared
