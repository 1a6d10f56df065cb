"""A feed under the test's thumb, and screens as lines of text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from collectors.model import Tick
from collectors.sources import SourceStatus
from dashboard.desk import Desk
from dashboard.palette import ColorMode, palette
from dashboard.screens.base import Dashboard
from dashboard.screens.overview import Overview
from dashboard.screens.table import entry
from dashboard.state import Deliver, Delivery, Feed
from dashboard.widgets.axis import axis_columns
from dashboard.widgets.panel import Panel
from tests.patience import PATIENCE

KEYS = (("space", "pause"), ("?", "help"), ("q", "quit"))


class FakeFeed:
    """Delivers what the test gives it."""

    live = True

    def __init__(self, statuses: Sequence[SourceStatus] = ()) -> None:
        self.statuses = statuses
        self.is_stopped = False
        self._deliver: Deliver | None = None

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def give(self, *deliveries: Delivery) -> None:
        assert self._deliver is not None, "the feed was not started"
        for delivery in deliveries:
            self._deliver(delivery)

    def stop(self) -> None:
        self.is_stopped = True

    def status(self) -> Sequence[SourceStatus]:
        return self.statuses


def desk_of(
    ticks: Iterable[Tick],
    *,
    feed: Feed | None = None,
    colors: ColorMode = "truecolor",
    ascii: bool = False,
    statuses: Sequence[SourceStatus] = (),
) -> Desk:
    """A desk that has received those ticks, its clock at the end of the last one."""
    received = list(ticks)
    now = received[-1].interval.end if received else 0
    desk = Desk(feed or FakeFeed(statuses), palette(colors, ascii=ascii), now=lambda: now)
    for tick in received:
        desk.arrive(tick)
    desk.receive()
    return desk


def painted(desk: Desk, width: int, height: int) -> list[str]:
    """The Overview of a desk as lines of text, drawn without a terminal."""
    return painted_screen(Overview, desk, width, height)


def painted_screen(
    make: type[Dashboard], desk: Desk, width: int, height: int, prepare: Callable[[Dashboard], None] = lambda _: None
) -> list[str]:
    """A screen of a desk as lines of text, drawn without a terminal: every cell belongs to one panel."""
    screen = make(desk, entry("overview"))
    prepare(screen)
    arrangement = screen.wanted(width, height)
    scene = desk.scene(arrangement, KEYS)
    desk.columns = axis_columns(scene, width, height)
    grid: list[dict[int, str]] = [{} for _ in range(height)]
    for panel in screen.all_panels:
        place = arrangement.places.get(panel.name or "")
        if place is None:
            continue
        rows = panel.framed(scene, place)
        assert len(rows) == place.height
        for y, row in enumerate(rows):
            assert row.cells == place.width, f"{panel.name}, row {y}: {row.cells} cells of {place.width}"
            grid[place.y + y][place.x] = "".join(text for text, _, _ in row.runs)
    return ["".join(row[x] for x in sorted(row)) for row in grid]


async def shows(app: App[Any], pilot: Pilot[Any], *words: str) -> list[str]:
    """What the panels show once all these words stand there, however long other threads take."""

    def are_there() -> bool:
        lines = text_of(app)
        return all(any(word in line for line in lines) for word in words)

    await comes(pilot, are_there, lambda: f"{words} on the screen:\n" + "\n".join(text_of(app)))
    return text_of(app)


async def comes(pilot: Pilot[Any], condition: Callable[[], object], what: Callable[[], object]) -> None:
    """Lets the app go on until it is so; `what` says what never came."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what()}"
        await pilot.pause(0.02)


def text_of(app: App[Any]) -> list[str]:
    """What the panels of the running app show, line by line."""
    height = app.size.height
    rows: list[dict[int, str]] = [{} for _ in range(height)]
    for panel in app.screen.query(Panel):
        region = panel.region
        for y in range(region.height):
            rows[region.y + y][region.x] = panel.render_line(y).text
    return ["".join(row[x] for x in sorted(row)) for row in rows]
