"""The ledger of the visible stretch: where the time went, and what held it back."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style

from collectors.analysis.ledger import Ledger
from collectors.model import PHASES
from dashboard.format import duration, percent
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.tallies import Stretch, Tallies
from dashboard.widgets.bars import bar
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_NAME = 18
_TIME = 12
_ALWAYS = ("prefill", "decode", "idle")
_LIMITS: Mapping[str, str] = {
    "power": "power or heat", "host": "the host", "network": "network", "compute": "compute",
    "memory-bandwidth": "memory bandwidth", "demand": "demand", "unknown": "unknown",
    "kv-capacity": "KV capacity", "scheduler": "scheduler limit",
}  # fmt: skip
_WORTH = 0.005
"""Share from which a row is shown."""


class LedgerPanel(Panel):
    """Seconds by phase, then by what limited them."""

    def __init__(self, name: str, tallies: Tallies) -> None:
        super().__init__(name)
        self._tallies = tallies

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Ledger", palette.dim)
        stretch = self._tallies.visible(scene)
        ledger = stretch.tally.ledger
        if not ledger.intervals:
            return Drawing(title)
        right = Line().add(stretch_words(scene, stretch), palette.dim)
        phases = _phase_rows(palette, ledger, width)
        limits = _limit_rows(palette, ledger, width)
        room = height - len(phases) - 1
        lines = phases
        if limits and room >= 1:
            heading = Line().add("limited by", palette.dim)
            if ledger.inferred > ledger.seconds / 2:
                heading.add("   inferred from the phases, not measured", palette.faint)
            lines = [*phases, heading, *limits[:room]]
        return Drawing(title, right, lines[:height])


def stretch_words(scene: Scene, stretch: Stretch) -> str:
    """How much time the figures are of; while older intervals are still being added up, that."""
    told = f"over {duration(stretch.tally.ledger.seconds)}"
    if not stretch.complete:
        return f"{told}, adding up"
    return told if scene.survey is None else f"{told} in memory"


def _phase_rows(palette: Palette, ledger: Ledger, width: int) -> list[Line]:
    with_gpus = bool(ledger.gpus) and width >= 40
    heading = Line().to(_NAME, palette.base)
    rows = []
    length = _bar_width(width, with_gpus=with_gpus)
    heading.to(_NAME + length + 6, palette.base).add(f"{'time':>{_TIME}}", palette.dim)
    if with_gpus:
        heading.add(f"{'GPU time':>{_TIME}}", palette.dim)
    for phase in PHASES:
        seconds = ledger.wall.get(phase, 0.0)
        share = seconds / ledger.seconds if ledger.seconds else None
        if phase not in _ALWAYS and (share or 0.0) < _WORTH:
            continue
        style = palette.phase(phase) if phase in ("prefill", "decode") else None
        line = _row(palette, phase, share, seconds, length, style)
        if with_gpus:
            line.add(f"{duration(ledger.gpus.get(phase, 0.0)):>{_TIME}}", palette.text)
        rows.append(line)
    return [heading, *rows]


def _limit_rows(palette: Palette, ledger: Ledger, width: int) -> list[Line]:
    """What the seconds were limited by, most first; admission (KV, scheduler) by the time it was named."""
    known = sum(ledger.resources.values())
    found = dict(ledger.resources)
    if known < ledger.seconds:
        found["unknown"] = found.get("unknown", 0.0) + ledger.seconds - known
    length = _bar_width(width, with_gpus=bool(ledger.gpus) and width >= 40)
    rows = [
        _row(palette, _LIMITS.get(name, name), seconds / ledger.seconds, seconds, length, None)
        for name, seconds in sorted(found.items(), key=lambda item: -item[1])
        if ledger.seconds and seconds / ledger.seconds >= _WORTH
    ]
    for name in ("kv-capacity", "scheduler"):
        seconds = ledger.bottlenecks.get(name, 0.0)
        if seconds:
            line = _row(palette, _LIMITS[name], seconds / ledger.seconds, seconds, 0, None, keep=length)
            rows.append(line.add("  kept requests waiting", palette.dim))
    return rows


def _bar_width(width: int, *, with_gpus: bool) -> int:
    return max(0, min(30, width - _NAME - 6 - _TIME * (1 + with_gpus)))


def _row(
    palette: Palette, name: str, share: float | None, seconds: float, length: int, style: Style | None, keep: int = 0
) -> Line:
    line = Line().add(f"{name:<{_NAME}}", style or palette.text).extend(bar(share, length, palette, style))
    line.to(_NAME + max(length, keep), palette.base).add(percent(share, 4), palette.bright).add(" %", palette.dim)
    return line.add(f"{duration(seconds):>{_TIME}}", palette.text)
