"""Small horizontal bars: one measurement, or the phases of one interval."""

from __future__ import annotations

from rich.style import Style

from collectors.model import Label
from collectors.phase.rules import phase_seconds
from dashboard.palette import Palette
from dashboard.widgets.line import Line


def bar(ratio: float | None, width: int, palette: Palette, style: Style | None = None) -> Line:
    """`ratio` of `width` cells, the rest faint; a missing value has no bar at all."""
    line = Line()
    if width <= 0:
        return line
    if ratio is None:
        return line.add(" " * width, palette.base)
    filled = round(min(1.0, max(0.0, ratio)) * width)
    line.add(palette.glyphs.bar * filled, style or palette.bar)
    return line.add(palette.glyphs.bar_rest * (width - filled), palette.bar_rest)


def phase_bar(label: Label | None, width: int, palette: Palette) -> Line:
    """The partition of one interval: prefill, decode, then what was not busy; unknown dotted."""
    line, glyphs = Line(), palette.glyphs
    if label is None:
        return line.add(glyphs.unknown * width, palette.unknown)
    seconds = phase_seconds(label.phase, 1.0)
    reached, drawn = 0.0, 0
    full = "▆" if glyphs.decode is None else ""
    settled = label.settled
    for name, glyph, style in (
        ("prefill", full or glyphs.prefill or "", palette.strip.prefill[not settled]),
        ("decode", full or glyphs.decode or "", palette.strip.decode[not settled]),
        ("waiting", glyphs.waiting, palette.waiting),
        ("unknown", glyphs.unknown, palette.unknown),
        ("idle", full or glyphs.idle, palette.idle),
    ):
        reached += seconds[name]
        cells = round(reached * width) - drawn
        line.add(glyph * cells, style)
        drawn += cells
    return line.to(width, palette.base)
