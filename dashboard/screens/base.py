"""The base of every screen of the dashboard; `dashboard.screens.table` says how to add one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingsMap
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from dashboard.desk import Desk
from dashboard.frames import Arrangement, Facts, Shelf, is_framed, is_tiny, placed, rows_for_panels, tiny
from dashboard.repaint import PreciseCompositor
from dashboard.scene import Scene, Tab
from dashboard.screens.keys import footer_keys, frame_keys, help_keys
from dashboard.screens.table import SCREENS, Entry
from dashboard.widgets.axis import axis_columns
from dashboard.widgets.footer import Footer
from dashboard.widgets.header import Header
from dashboard.widgets.panel import Panel
from dashboard.widgets.scrubber import Scrubber, scrubber_columns


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


class Dashboard(Screen[None]):
    """Panels drawn from one scene of the desk that all screens look at.

    Subclasses give `panels` and `lay_out`. The keys of the view (cursor, zoom, pause, replay) and of
    the other screens are there already.
    """

    AUTO_FOCUS = None

    def __init__(self, desk: Desk, entry: Entry) -> None:
        super().__init__(name=entry.name)
        self._compositor = PreciseCompositor()
        self._layout = ByArrangement()
        self.desk = desk
        self.entry = entry
        self._own = tuple(binding for _, binding in self._bindings)
        self._take_keys()
        self._alone: str | None = None
        self._main = self.panels()
        self._panels = (Header("header"), *self._main, Scrubber("scrubber"), Footer("footer"))

    def _take_keys(self) -> None:
        """The keys of what is looked at: now, a recording, or the recorded past of now."""
        desk = self.desk
        self._has_replay_keys = desk.replay is not None
        frame = frame_keys(replay=self._has_replay_keys, past=desk.is_in_past)
        own, always = self._own, desk.always
        if desk.keymap:
            from dashboard.keymap import remapped

            frame, own, always = (remapped(keys, desk.keymap) for keys in (frame, own, always))
        self._bindings = BindingsMap.merge([BindingsMap(frame), BindingsMap(own)])
        self._keys = footer_keys([*own, *frame, *always])
        self.bindings_here = (*frame, *own, *always)
        keys = {binding.id: binding.key for binding in frame}
        numbered = sorted((one for one in SCREENS if one.key.isdigit()), key=lambda one: one.key)
        self._tabs = tuple(Tab(keys[f"screen.{one.name}"], one.title, one.name == self.entry.name) for one in numbered)

    @property
    def help_keys(self) -> list[tuple[str, str]]:
        """The keys that do something here, and what they do."""
        return help_keys(self.bindings_here)

    def remember(self) -> dict[str, str]:
        """What was chosen on this screen, to be found again at the next start: text by name."""
        return {}

    def recall(self, choices: Mapping[str, str]) -> None:
        """Takes up what `remember` gave at another time, perhaps to another version: anything may be in it."""

    def panels(self) -> tuple[Panel, ...]:
        """The panels of the screen, each under the name the arrangement uses. Called once."""
        raise NotImplementedError

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        """Where they lie on a terminal of that size, 1x1 or more; see `dashboard.frames`."""
        raise NotImplementedError

    def lay_out_alone(self, name: str, width: int, height: int, facts: Facts) -> Arrangement:
        """One panel with all the room there is."""
        if is_tiny(width, height):
            return tiny(width, height, (name,))
        rows = rows_for_panels(width, height, replay=facts.replay) - 1
        return self.on_shelves(width, height, facts, [Shelf(rows, ((name, 0),))])

    def on_shelves(self, width: int, height: int, facts: Facts, shelves: Sequence[Shelf]) -> Arrangement:
        """The arrangement of those shelves, with the frame around them."""
        places = placed(width, height, shelves, replay=facts.replay)
        return Arrangement(places, framed=is_framed(width, height))

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def all_panels(self) -> tuple[Panel, ...]:
        """The screen's own panels and those of the frame."""
        return self._panels

    @property
    def alone(self) -> str | None:
        """The panel that has the screen for itself."""
        return self._alone

    def compose(self) -> ComposeResult:
        self._draw()  # so that the first frame is not a blank one
        yield from self._panels

    def on_resize(self, event: events.Resize) -> None:
        self.present()

    def on_screen_resume(self) -> None:
        if self._layout.current.places:
            self.present()

    def scene(self) -> Scene:
        return self.desk.scene(self._layout.current, self._keys, self._tabs)

    def present(self) -> None:
        """Draws what the desk shows now; only cells that changed are painted."""
        if self._draw():
            self._panels[0].refresh(layout=True)  # a child, so that the screen's cached arrangement is dropped

    def wanted(self, width: int, height: int) -> Arrangement:
        """The arrangement for that size now."""
        facts = self.desk.facts()
        if width < 1 or height < 1:
            return Arrangement()
        if self._alone is not None:
            return self.lay_out_alone(self._alone, width, height, facts)
        return self.lay_out(width, height, facts)

    def _draw(self) -> bool:
        """Draws all panels; True when they have to be laid out anew."""
        desk, (width, height) = self.desk, self.app.size
        if self._has_replay_keys != (desk.replay is not None):
            self._take_keys()
        wanted = self.wanted(width, height)
        is_moved = wanted != self._layout.current
        if is_moved:
            self._layout.current = wanted
            for panel in self._panels:
                place = wanted.places.get(panel.name or "")
                if place is not None:
                    panel.put(place)
        scene = self.scene()
        desk.fit(axis_columns(scene, width, height), scrubber_columns(width))
        for panel in self._panels:
            if panel.name in wanted.places:
                panel.show(scene)
        return is_moved

    def settle(self) -> None:
        """Takes a message out of the last line, so that no picture has it."""
        self.desk.tell("")
        self.present()

    def present_clock(self) -> None:
        """Draws the header alone."""
        self._panels[0].show(self.scene())

    def show_alone(self) -> None:
        """One panel for itself, then the next one, then all of them again."""
        width, height = self.app.size
        there = self.lay_out(width, height, self.desk.facts()).places
        names = [panel.name for panel in self._main if panel.name in there]
        following = names.index(self._alone) + 1 if self._alone in names else 0
        self._alone = names[following] if following < len(names) else None
        self.present()

    def show_all(self) -> bool:
        """All panels again; False when they are there."""
        if self._alone is None:
            return False
        self._alone = None
        self.present()
        return True
