"""The Overview: what the time goes into, what holds it back, and which part is odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from dashboard.arrange import Arrangement, arrange
from dashboard.desk import Desk
from dashboard.format import NANOSECONDS
from dashboard.repaint import PreciseCompositor
from dashboard.scene import Scene
from dashboard.screens.keys import LIVE, REPLAY
from dashboard.widgets.engines import EnginesPanel
from dashboard.widgets.footer import Footer
from dashboard.widgets.gpus import GpusPanel
from dashboard.widgets.header import Header
from dashboard.widgets.host import HostPanel
from dashboard.widgets.panel import Panel
from dashboard.widgets.phase import PhasePanel, strip_columns
from dashboard.widgets.scrubber import Scrubber, scrubber_columns
from dashboard.widgets.verdict import VerdictPanel


class ByArrangement(Layout):
    """Puts each panel where the arrangement says; panels without a place are not on the screen."""

    name = "arrangement"

    def __init__(self) -> None:
        self.current = Arrangement()

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        placements = []
        for child in children:
            place = self.current.places.get(child.name or "")
            if place is not None:
                region = Region(place.x, place.y, place.width, place.height)
                placements.append(WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child))
        return placements


class Overview(Screen[None]):
    """All panels, drawn from one scene."""

    AUTO_FOCUS = None

    def __init__(self, desk: Desk, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__(name="overview")
        self._compositor = PreciseCompositor()
        self._desk = desk
        self._keys = keys
        self._layout = ByArrangement()
        self._panels: tuple[Panel, ...] = (
            Header("header"), PhasePanel("phase"), VerdictPanel("verdict"), GpusPanel("gpus"), EnginesPanel("engines"),
            HostPanel("host"), Scrubber("scrubber"), Footer("footer"),
        )  # fmt: skip

    @property
    def layout(self) -> Layout:
        return self._layout

    def compose(self) -> ComposeResult:
        self._draw()  # so that the first frame is not a blank one
        yield from self._panels

    def on_resize(self, event: events.Resize) -> None:
        self.present()

    def on_screen_resume(self) -> None:
        if self._layout.current.places:
            self.present()

    def scene(self) -> Scene:
        return self._desk.scene(self._layout.current, self._keys)

    def present(self) -> None:
        """Draws what the desk shows now; only cells that changed are painted."""
        if self._draw():
            self._panels[0].refresh(layout=True)  # a child, so that the screen's cached arrangement is dropped

    def _draw(self) -> bool:
        """Draws all panels; True when they have to be laid out anew."""
        desk, (width, height) = self._desk, self.app.size
        wanted = arrange(width, height, desk.facts())
        is_moved = wanted != self._layout.current
        if is_moved:
            self._layout.current = wanted
            for panel in self._panels:
                place = wanted.places.get(panel.name or "")
                if place is not None:
                    panel.put(place)
        scene = desk.scene(wanted, self._keys)
        # One column less than there are: the newest is seldom full.
        desk.visible = scene.step * max(1, strip_columns(scene) - 1)
        if desk.replay is not None:
            desk.replay.resize(scrubber_columns(width), desk.visible / NANOSECONDS)
        for panel in self._panels:
            if panel.name in wanted.places:
                panel.show(scene)
        return is_moved

    def present_clock(self) -> None:
        """Draws the header alone."""
        self._panels[0].show(self.scene())


class LiveOverview(Overview):
    """The Overview of now."""

    BINDINGS: ClassVar[list[BindingType]] = [*LIVE]


class ReplayOverview(Overview):
    """The same screen over a recording, with a scrubber."""

    BINDINGS: ClassVar[list[BindingType]] = [*REPLAY]
