"""The Phases screen: what each phase costs and asks for, what holds it back, and how well that is known."""

from __future__ import annotations

from dataclasses import replace

from dashboard.arrange import with_lines
from dashboard.frames import Arrangement, Facts, Rows, Shelf, is_tiny, rows_for_panels, tiny
from dashboard.screens.base import Dashboard
from dashboard.tallies import Tallies
from dashboard.widgets.calibration import CalibrationPanel
from dashboard.widgets.energy import EnergyPanel
from dashboard.widgets.ledger import LedgerPanel
from dashboard.widgets.panel import Panel
from dashboard.widgets.phase import PhasePanel
from dashboard.widgets.resources import ResourcesPanel
from dashboard.widgets.roofline import RooflinePanel
from dashboard.widgets.verdict import VerdictPanel

_PAIRED, _WIDE = 76, 160
"""Columns from which two and three panels stand side by side."""
_ENERGY = 56
_LEDGER, _LEDGER_WIDE = 60, 66
_CALIBRATION = 104


class PhasesScreen(Dashboard):
    """All figures are of the stretch that the strip shows."""

    def panels(self) -> tuple[Panel, ...]:
        tallies = Tallies()
        return (
            PhasePanel("phase"), VerdictPanel("verdict"), RooflinePanel("roofline", tallies),
            LedgerPanel("ledger", tallies), ResourcesPanel("resources", tallies), EnergyPanel("energy", tallies),
            CalibrationPanel("calibration"),
        )  # fmt: skip

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        if is_tiny(width, height):
            return tiny(width, height, ("phase", "verdict"))
        rows = Rows(rows_for_panels(width, height, replay=facts.replay))
        paired = width >= _PAIRED
        for name, target in _wide_wishes() if width >= _WIDE else _wishes(facts, paired=paired):
            rows.grant(name, target)
        shelves = [Shelf(rows[name], ((name, 0),)) for name in ("phase", "verdict") if rows[name]]
        if width >= _WIDE:
            if rows["ledger"]:
                three = (("roofline", 0), ("ledger", _LEDGER_WIDE), ("energy", _ENERGY))
                shelves.append(Shelf(rows["ledger"], three))
            if rows["resources"]:
                shelves.append(Shelf(rows["resources"], (("resources", 0), ("calibration", _CALIBRATION))))
        elif paired:
            half = min(_LEDGER, width // 2 + 2)
            if rows["ledger"]:
                shelves.append(Shelf(rows["ledger"], (("roofline", 0), ("ledger", half))))
            if rows["resources"]:
                shelves.append(Shelf(rows["resources"], (("resources", 0), ("energy", min(_ENERGY, width // 2 - 2)))))
        else:
            names = ("ledger", "roofline", "energy", "resources")
            shelves += [Shelf(rows[name], ((name, 0),)) for name in names if rows[name]]
        if rows["calibration"] and width < _WIDE:
            shelves.append(Shelf(rows["calibration"], (("calibration", 0),)))
        return with_lines(self.on_shelves(width, height, facts, shelves), rows["phase"], facts)

    def lay_out_alone(self, name: str, width: int, height: int, facts: Facts) -> Arrangement:
        alone = super().lay_out_alone(name, width, height, facts)
        place = alone.places.get(name)
        if name != "phase" or place is None or is_tiny(width, height):
            return alone
        return replace(alone, strip=max(1, place.inside.height - 2), axis=True, events=True)


def _wide_wishes() -> list[tuple[str, int]]:
    """As `_wishes`, for three panels beside each other and two below them. The ledger has 14 lines at most."""
    return [
        ("phase", 3), ("verdict", 1), ("ledger", 5), ("resources", 6), ("verdict", 2), ("ledger", 9), ("resources", 8),
        ("verdict", 3), ("phase", 5), ("ledger", 12), ("phase", 7), ("phase", 13), ("ledger", 14), ("phase", 15),
        ("verdict", 4), ("ledger", 16), *(("phase", rows) for rows in range(16, 24)),
        *(("ledger", rows) for rows in range(17, 32)), *(("phase", rows) for rows in range(24, 60)),
    ]  # fmt: skip


def _wishes(facts: Facts, *, paired: bool) -> list[tuple[str, int]]:
    """(what, rows it would like), most important first. Beside each other, panels share the rows of one."""
    engines = max(1, facts.engines)
    if not paired:
        return [
            ("phase", 2), ("verdict", 1), ("ledger", 4), ("verdict", 2), ("phase", 3), ("energy", 6), ("roofline", 8),
            ("ledger", 9), ("verdict", 3), ("resources", 8), ("calibration", 2 + engines), ("roofline", 14),
        ]  # fmt: skip
    return [
        ("phase", 2), ("verdict", 1), ("ledger", 5), ("phase", 3), ("resources", 6), ("verdict", 2), ("ledger", 7),
        ("resources", 8), ("ledger", 9), ("calibration", 1 + min(engines, 2)), ("verdict", 3), ("phase", 4),
        ("ledger", 11), ("calibration", 2 + min(engines, 4)), ("verdict", 4), ("ledger", 13), ("phase", 5),
        ("ledger", 16), ("calibration", 2 + engines), ("phase", 6), *(("ledger", plot) for plot in range(17, 60)),
    ]  # fmt: skip
