"""What a second of prefill and a second of decode ask of the hardware, over the visible stretch."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.analysis.ledger import Ledger
from collectors.analysis.resources import RATIOS, Resource, ResourceMix
from dashboard.format import MISSING, percent, scaled
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.tallies import Tallies
from dashboard.widgets.bars import bar
from dashboard.widgets.ledger import stretch_words
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_NAME = 18
_VALUE = 10
_LONGEST_BAR = 24
_GAP = 2


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    resource: Resource
    of: str
    """What was measured, under its own name."""


_ROWS = (
    _Row("compute", "compute", "tensor active"),
    _Row("memory bandwidth", "memory-bandwidth", "DRAM, of its peak"),
    _Row("memory capacity", "memory-capacity", "KV cache, else memory"),
    _Row("network bandwidth", "network-bandwidth", "links, both ways"),
    _Row("busiest link", "network-link", "of its speed"),
    _Row("network latency", "network-latency", "time in KV transfers"),
)


class ResourcesPanel(Panel):
    """Two bars a resource, one for each phase."""

    def __init__(self, name: str, tallies: Tallies) -> None:
        super().__init__(name)
        self._tallies = tallies

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Resources by phase", palette.dim)
        stretch = self._tallies.visible(scene)
        if not stretch.tally.ledger.intervals:
            return Drawing(title)
        mix = stretch.tally.mix
        right = Line().add(stretch_words(scene, stretch), palette.dim)
        said = max(len(row.of) for row in _ROWS) + _GAP if width >= 76 else 0
        length = max(0, min(_LONGEST_BAR, (width - _NAME - said - 2 * (_VALUE + _GAP)) // 2))
        heading = Line().to(_NAME, palette.base).add("prefill", palette.prefill)
        heading.to(_NAME + length + _VALUE + (_GAP if length else 1), palette.base).add("decode", palette.decode)
        lines = [heading, *(_line(palette, row, mix, length, said=bool(said)) for row in _ROWS)]
        if len(lines) < height:
            lines.append(Line().foreign(_how(mix, stretch.tally.ledger), palette.dim, width, palette.glyphs.ellipsis))
        return Drawing(title, right, lines[:height])


def _how(mix: ResourceMix, ledger: Ledger) -> str:
    """By which rule the two phases were told apart."""
    if not mix.moments and not ledger.busy:
        return "no busy time with a known split in sight"
    flows = [mix.use(row.resource) for row in _ROWS[:2] if row.resource in mix.moments]
    if not flows:
        return "neither tensor nor DRAM activity is measured here"
    if all(use.separated for use in flows):
        return "per second of each phase, by least squares"
    return "not separated, the share hardly varies: means by time"


def _line(palette: Palette, row: _Row, mix: ResourceMix, length: int, *, said: bool) -> Line:
    use = mix.use(row.resource)
    line = Line().add(f"{row.name:<{_NAME}}", palette.text if row.resource in mix.moments else palette.dim)
    for value, style in ((use.prefill, palette.prefill), (use.decode, palette.decode)):
        start = line.cells
        if row.resource in RATIOS:
            line.extend(bar(value, length, palette, style)).to(start + length, palette.base)
            line.add(percent(value, 5), palette.bright if value is not None else palette.dim)
            line.add(" %" if value is not None else "", palette.dim)
        else:
            line.to(start + length, palette.base)
            number, prefix = scaled(value)
            text = MISSING if value is None else number[:4].strip()
            line.add(f"{text:>5}", palette.bright if value is not None else palette.dim)
            line.add("" if value is None else f" {prefix}B/s", palette.dim)
        line.to(start + length + _VALUE + (_GAP if length else 1), palette.base)
    return line.add(row.of, palette.faint) if said else line
