"""The Overview: what the time goes into, what holds it back, and which part is odd."""

from __future__ import annotations

from dashboard.arrange import alone, arrange
from dashboard.frames import Arrangement, Facts
from dashboard.screens.base import Dashboard
from dashboard.widgets.engines import EnginesPanel
from dashboard.widgets.gpus import GpusPanel
from dashboard.widgets.host import HostPanel
from dashboard.widgets.panel import Panel
from dashboard.widgets.phase import PhasePanel
from dashboard.widgets.verdict import VerdictPanel


class Overview(Dashboard):
    """The screen that the program begins with."""

    def panels(self) -> tuple[Panel, ...]:
        return (
            PhasePanel("phase"), VerdictPanel("verdict"), GpusPanel("gpus"), EnginesPanel("engines"), HostPanel("host"),
        )  # fmt: skip

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        return arrange(width, height, facts)

    def lay_out_alone(self, name: str, width: int, height: int, facts: Facts) -> Arrangement:
        if name == "phase":
            return alone(width, height, facts)
        return super().lay_out_alone(name, width, height, facts)
