"""The scrubber: the whole recording in one row, coloured by what its time went into."""

from __future__ import annotations

from rich.style import Style
from textual import events
from textual.message import Message

from collectors.model import PHASES
from dashboard.format import clock
from dashboard.scene import Playback, Scene, ScrubberCell
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_CLOCK = 8
_BUSY_ENOUGH = 0.2


def scrubber_columns(width: int) -> int:
    """Columns of the recording's strip on a screen of that width."""
    return max(1, width - (2 * _CLOCK + 4 if width >= 60 else 2))


class Sought(Message):
    """Somebody points at a moment of the recording, wall-clock nanoseconds."""

    def __init__(self, time_ns: int) -> None:
        super().__init__()
        self.time_ns = time_ns


class Scrubber(Panel):
    """Start, strip with the position marked, end; a click goes there."""

    def on_click(self, event: events.Click) -> None:
        width = self.size.width
        playback, count = None if self._scene is None else self._scene.playback, scrubber_columns(width)
        x = event.x - (_CLOCK + 2 if width >= 60 else 1)
        if playback is not None and not playback.message and 0 <= x < count:
            self.post_message(Sought(playback.start + (playback.end - playback.start) * (2 * x + 1) // (2 * count)))

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        playback = scene.playback
        if playback is None:
            return Drawing(Line())
        palette = scene.palette
        if playback.message:
            return Drawing(
                Line(), lines=[Line().add(" ", palette.base).foreign(playback.message, palette.text, width - 2)]
            )
        count = scrubber_columns(width)
        here = position(playback, count)
        line = Line().add(" ", palette.base)
        if width >= 60:
            line.add(clock(playback.start, scene.zone), palette.dim).add(" ", palette.base)
        length = max(1, playback.end - playback.start)
        marked = {(moment - playback.start) * count // length for moment in scene.marks}
        for x, cell in enumerate(_resampled(playback.strip, count)):
            glyph, style = _drawn(scene, cell)
            if x in marked:
                glyph, style = palette.glyphs.change, palette.strong
            if x == here:
                glyph, style = palette.glyphs.cursor, palette.strip.cursor
            line.add(glyph, style)
        if width >= 60:
            line.to(_CLOCK + 2 + count, palette.base).add(" ", palette.base)
            line.add(clock(playback.end, scene.zone), palette.dim)
        return Drawing(Line(), lines=[line])


def position(playback: Playback, count: int) -> int:
    """The column of the moment looked at."""
    length = max(1, playback.end - playback.start)
    return min(count - 1, max(0, (playback.position - playback.start) * count // length))


def _resampled(strip: tuple[ScrubberCell, ...], count: int) -> list[ScrubberCell | None]:
    """The strip at another width while the right one is being read: nearest columns, never made up."""
    if not strip:
        return [None] * count
    return [strip[x * len(strip) // count] for x in range(count)]


def _drawn(scene: Scene, cell: ScrubberCell | None) -> tuple[str, Style]:
    """A column has the colour of what its busy time went into; an event shows as a mark in it."""
    palette = scene.palette
    glyphs = palette.glyphs
    if cell is None:
        return glyphs.dash, palette.faint
    if cell.gap:
        return glyphs.gap, palette.gap
    name = _dominant(cell)
    block = "▆" if glyphs.decode is None else None
    if cell.event:
        return glyphs.mark, palette.phase(name) if name in ("prefill", "decode") else palette.dim
    match name:
        case "prefill":
            return block or glyphs.prefill or "", palette.strip.prefill[0]
        case "decode":
            return block or glyphs.decode or "", palette.strip.decode[0]
        case "waiting":
            return glyphs.waiting, palette.waiting
        case "unknown":
            return glyphs.unknown, palette.unknown
        case _:
            return glyphs.idle, palette.idle


def _dominant(cell: ScrubberCell) -> str:
    """What the busy time went into where a fifth of the time was busy, else what most of it was."""
    seconds = dict(zip(PHASES, cell.seconds, strict=True))
    if seconds["prefill"] + seconds["decode"] >= _BUSY_ENOUGH * sum(cell.seconds):
        return "prefill" if seconds["prefill"] >= seconds["decode"] else "decode"
    return max(seconds, key=lambda name: seconds[name])
