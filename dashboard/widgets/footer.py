"""The last line: the screens, the keys that do something here, and for a moment what the last one did."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events

from dashboard.scene import Scene, Tab
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_ALWAYS = 2
"""The last ones (help and quit) are kept when not all fit."""
_KEYS_BESIDE_TABS = 36
"""Columns for keys that full titles of screens must leave."""
_FEWEST_KEYS = 18
"""Columns for help and quit."""


class Footer(Panel):
    """Screens, then key and word pairs, as many as fit."""

    def on_click(self, event: events.Click) -> None:
        """A click on a screen's tab shows it."""
        if self._scene is None or self._scene.notice is not None:
            return
        titled, shown = _tab_form(self._scene, self.size.width)
        end = 1
        for tab in self._scene.tabs if shown else ():
            start, end = end, end + _tab_cells(tab, titled=titled)
            if start <= event.x < end:
                self.app.simulate_key(tab.key.split(",")[0])

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        line = Line().add(" ", palette.base)
        if scene.notice is not None:
            return Drawing(Line(), lines=[line.foreign(scene.notice, palette.text, width - 2)])
        line.extend(_tabs(scene, width))
        kept = list(scene.keys)
        while kept and _width(kept) > width - line.cells:
            # Of those that may go the rightmost goes first, as the most important stand first.
            del kept[-_ALWAYS - 1 if len(kept) > _ALWAYS else 0]
        for key, word in kept:
            line.add(key, palette.key).add(f" {word}", palette.dim).add("  ", palette.base)
        return Drawing(Line(), lines=[line])


def _tabs(scene: Scene, width: int) -> Line:
    """All titles, or the keys alone and the title of the screen that is shown, or nothing."""
    palette = scene.palette
    line = Line()
    titled, shown = _tab_form(scene, width)
    if not shown:
        return line
    for tab in scene.tabs:
        line.add(tab.key, palette.key if not tab.current else palette.decode)
        if titled or tab.current:
            line.add(f" {tab.title}", palette.strong if tab.current else palette.dim)
        line.add("  " if titled else " ", palette.base)
    return line.add(" " if titled else "  ", palette.base)


def _tab_form(scene: Scene, width: int) -> tuple[bool, bool]:
    """Whether all titles fit, and whether there are tabs at all."""
    titled = sum(_tab_cells(tab, titled=True) for tab in scene.tabs) <= width - _KEYS_BESIDE_TABS
    fits = titled or sum(_tab_cells(tab, titled=False) for tab in scene.tabs) <= width - _FEWEST_KEYS
    return titled, fits and len(scene.tabs) > 1


def _tab_cells(tab: Tab, *, titled: bool) -> int:
    """How wide a tab is, the blanks after it included."""
    return len(tab.key) + (len(tab.title) + 1 if titled or tab.current else 0) + (2 if titled else 1)


def _width(keys: Sequence[tuple[str, str]]) -> int:
    return sum(len(key) + len(word) + 3 for key, word in keys) - 1
