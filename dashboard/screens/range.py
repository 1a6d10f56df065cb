"""A range of time, summed up: seconds by phase and by what limited them, energy, tokens, latencies."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from dashboard.format import clock, duration, latency, percent, whole
from dashboard.frames import Place
from dashboard.ranges import LATENCIES, RangeSum, Summary
from dashboard.scene import Scene
from dashboard.tallies import Stretch, Tallies
from dashboard.widgets.energy import EnergyPanel
from dashboard.widgets.ledger import LedgerPanel
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_BESIDE = 116
_AGAIN_SECONDS = 0.25
_QUANTILES = (0.5, 0.95, 0.99)


class _RangeTallies(Tallies):
    """The figures of the range, for panels that show those of the visible stretch elsewhere."""

    def __init__(self, ranged: RangeSum) -> None:
        super().__init__()
        self._ranged = ranged

    def visible(self, scene: Scene) -> Stretch:
        summary = self._ranged.summary
        return Stretch(summary.tally, (), summary.complete)


class RangePanel(Panel):
    """The ledger, beside or above energy and tokens, then latencies."""

    def __init__(self, ranged: RangeSum) -> None:
        super().__init__("range")
        self._ranged = ranged
        tallies = _RangeTallies(ranged)
        self._ledger = LedgerPanel("ledger", tallies)
        self._energy = EnergyPanel("energy", tallies)

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, summary = scene.palette, self._ranged.summary
        start, end = clock(summary.start, scene.zone), clock(summary.end, scene.zone)
        length = duration((summary.end - summary.start) / 1e9)
        title = Line().add(f"A {start} to B {end}", palette.dim).add(f"   {length}", palette.dim)
        half = (width - 3) // 2 if width >= _BESIDE else width
        ledger = self._ledger.draw(scene, half, height).lines
        right = [*self._energy.draw(scene, half, height).lines, Line(), *_latencies(scene, summary)]
        if width >= _BESIDE:
            rows = max(len(ledger), len(right))
            ledger += [Line()] * (rows - len(ledger))
            right += [Line()] * (rows - len(right))
            lines = [
                Line().extend(a.cut(half)).to(half + 3, palette.base).extend(b)
                for a, b in zip(ledger, right, strict=True)
            ]
        else:
            lines = [*ledger, Line(), *right]
        lines = [line.cut(width) for line in lines]
        if summary.problem is not None:
            lines = [Line().foreign(summary.problem, palette.warning, width), Line(), *lines]
        return Drawing(title, Line().add(_progress(summary), palette.dim), lines)


def _progress(summary: Summary) -> str:
    if summary.problem is not None:
        return "cannot be read further"
    if not summary.complete:
        done = (summary.reached - summary.start) / max(1, summary.end - summary.start)
        return f"adding up, {percent(done).strip()} %"
    recorded = summary.tally.ledger.seconds
    events = f"{summary.events} event{'' if summary.events == 1 else 's'}"
    return f"{duration(recorded)} recorded, {events}   esc closes"


def _latencies(scene: Scene, summary: Summary) -> list[Line]:
    palette = scene.palette
    heading = Line().add(f"{'latency':<14}", palette.dim)
    for quantile in _QUANTILES:
        heading.add(f"{f'p{100 * quantile:.0f}':>9}", palette.dim)
    lines = [heading.add(f"{'count':>9}", palette.dim)]
    for name, words in LATENCIES.items():
        histogram = summary.latencies.get(name)
        if histogram is None or not histogram.count:
            continue
        line = Line().add(f"{words:<14}", palette.dim)
        for quantile in _QUANTILES:
            line.add(f"{latency(histogram.quantile(quantile)).strip():>9}", palette.text)
        lines.append(line.add(f"{whole(histogram.count, 9)}", palette.dim))
    return lines if len(lines) > 1 else [Line().add("no engine tells latencies", palette.dim)]


class RangeScreen(Screen[None]):
    """Covers the dashboard until it is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,space,B", "dismiss", "close")]
    DEFAULT_CSS = "RangeScreen { overflow: hidden; } RangeScreen RangePanel { width: 100%; height: 100%; }"

    def __init__(self, scene: Scene, ranged: RangeSum) -> None:
        super().__init__(name="range")
        self._scene = scene
        self._ranged = ranged
        self._panel = RangePanel(ranged)

    def compose(self) -> ComposeResult:
        yield self._panel

    def on_mount(self) -> None:
        self.set_interval(_AGAIN_SECONDS, lambda: self._panel.show(self._scene))
        self._ranged.start()

    def on_unmount(self) -> None:
        self._ranged.close()

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        arms = (10,) * max(0, width - 2)
        if width >= 4 and height >= 3:
            top, bottom = (6, *arms, 12), (3, *arms, 9)
            self._panel.put(Place(0, 0, width, height, top=top, bottom=bottom, left=True, right=True))
        else:
            self._panel.put(Place(0, 0, width, height))
        self._panel.show(self._scene)
