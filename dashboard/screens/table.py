"""The screens there are: one line each. The number keys, the footer's tabs and the help are made from it.

How to add a screen
-------------------
1. Write `dashboard/screens/NAME.py` with a subclass of `dashboard.screens.base.Dashboard`:

    class HostScreen(Dashboard):
        def panels(self) -> tuple[Panel, ...]:            # made once; header, scrubber and footer come by themselves
            return (CoresPanel("cores"), PressurePanel("pressure"))

        def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:   # pure; any size from 1x1 up
            if is_tiny(width, height):
                return tiny(width, height, ("cores",))
            rows = Rows(rows_for_panels(width, height, replay=facts.replay))
            rows.grant("cores", 4)                          # most important first; what does not fit is left out
            rows.grant("pressure", 7)
            shelves = [Shelf(rows[name], ((name, 0),)) for name in ("cores", "pressure") if rows[name]]
            return self.on_shelves(width, height, facts, shelves)

   There is no constructor to write: the base takes (desk, entry). `self.desk` is there in all methods.
   Two panels side by side are one shelf: `Shelf(rows, (("left", 0), ("right", 40)))`.
2. Panels are subclasses of `dashboard.widgets.panel.Panel` with `draw(scene, width, height) -> Drawing`,
   which is pure: all it needs is in the scene (`scene.tick` is the interval under the cursor). Lines
   on the common time axis come from `dashboard.widgets.history.HistoryPanel`; what they draw is kept
   by `dashboard.series`, where one line in a table adds a number. `dashboard.widgets.phase.PhasePanel`
   can stand on any screen: give its shelf `strip` rows (+1 for events, +1 for the axis) and say so in
   the arrangement (`replace(arrangement, strip=3, events=True, axis=True)`).
3. State of the screen's own (what is selected, how it is sorted) is an object made in `panels`, given to
   those panels, and changed by the screen's actions, which end with `self.present()`. Their keys are
   BINDINGS of the class with a tooltip, so that `?` lists them: `Binding("s", "screen.sort", "sort",
   tooltip="sort by the next column")`. Panels may handle clicks (`on_click`).
4. Add a line to SCREENS below.

Tests: `tests.tui.support.painted_screen(HostScreen, desk, width, height)` gives the lines of the whole
screen without a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dashboard.screens.base import Dashboard


@dataclass(frozen=True, slots=True)
class Entry:
    """A screen: the key that shows it, its name for code, its title for people, and where its class is."""

    key: str
    name: str
    title: str
    target: str
    help: str

    def load(self) -> type[Dashboard]:
        """The class, loaded when it is wanted first: the first frame needs only one of them."""
        module, _, name = self.target.partition(":")
        found: type[Dashboard] = getattr(import_module(module), name)
        return found


SCREENS = (
    Entry("1", "overview", "Overview", "dashboard.screens.overview:Overview", "the whole machine"),
    Entry("2", "gpus", "GPUs", "dashboard.screens.gpus:GpusScreen", "each GPU, its health and its processes"),
    Entry("3", "engines", "Engines", "dashboard.screens.engines:EnginesScreen", "each serving engine and rank"),
    Entry("4", "host", "Host", "dashboard.screens.host:HostScreen", "CPUs, memory, limits, network, engine processes"),
    Entry("5", "phases", "Phases", "dashboard.screens.phases:PhasesScreen", "roofline, ledger, energy, calibration"),
    Entry("v", "events", "Events", "dashboard.screens.events:EventsScreen", "what happened, and when"),
)  # fmt: skip
FLEET = Entry("6", "fleet", "Fleet", "dashboard.screens.fleet:FleetScreen", "all nodes")
"""Above the others: it is shown by `phasetop fleet`, whose nodes the others show."""


def entry(name: str) -> Entry:
    return next(one for one in SCREENS if one.name == name)
