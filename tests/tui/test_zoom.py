"""Zoom and pan: one column a fixed step of time, the same on all screens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual import events
from textual.widget import Widget

from dashboard.format import NANOSECONDS
from dashboard.frames import Arrangement
from dashboard.state import History, View
from dashboard.widgets.phase import PhasePanel

from .support import comes, desk_of, text_of
from .test_app import replaying, running
from .wave import SECOND, Wave

WAVE = Wave(gpus=0, engines=1)


def long_desk(seconds: int = 900):  # type: ignore[no-untyped-def]
    desk = desk_of(WAVE.ticks(seconds))
    desk.columns = 100
    return desk


def test_zooming_ends_at_ten_seconds_and_at_all_there_is() -> None:
    desk = long_desk()
    steps = [desk.column_step]
    while True:
        desk.zoom(1)
        if desk.column_step == steps[-1]:
            break
        steps.append(desk.column_step)
    assert [step / NANOSECONDS for step in steps] == [2, 1, 0.5, 0.2, 0.1]
    for _ in range(20):
        desk.zoom(-1)
    assert desk.visible >= 900 * SECOND
    desk.zoom(1)
    assert desk.visible < 900 * SECOND
    desk.zoom(0)
    assert desk.column_step == 2 * SECOND


def test_the_interval_under_the_cursor_keeps_its_column_when_zooming_in() -> None:
    desk = long_desk()
    desk.step(-40)

    def column() -> int:
        end, here = desk.view.end(), desk.tick().interval.end
        return int((end - here) // desk.column_step)

    before = column()
    desk.zoom(1)
    assert abs(column() - before) <= 1
    desk.zoom(1)
    assert abs(column() - before) <= 1


def test_a_zoomed_column_holds_the_seconds_of_its_step_and_no_more() -> None:
    desk = long_desk(120)
    for direction, _ in ((1, 0), (1, 1), (-1, 2), (-1, 3), (-1, 4), (-1, 5)):
        desk.zoom(direction)
        columns = [c for c in desk.scene(Arrangement()).columns(100) if not c.empty]
        for column in columns[1:-1]:
            assert sum(column.seconds) + column.gap == pytest.approx(desk.column_step / NANOSECONDS, abs=0.03)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["+", "-", "0", ",", ".", "<", ">", "esc", "space"]), max_size=30))
def test_the_view_stays_within_what_there_is(keys: list[str]) -> None:
    desk = long_desk(300)
    tracks = desk.history.tracks
    for key in keys:
        match key:
            case "+" | "-" | "0":
                desk.zoom({"+": 1, "-": -1, "0": 0}[key])
            case "," | ".":
                desk.pan(-1 if key == "," else 1)
            case "<" | ">":
                desk.step(-7 if key == "<" else 7)
            case "esc":
                desk.to_end()
            case _:
                desk.toggle()
        end, shown = desk.view.end(), desk.view.shown()
        assert tracks.ends[0] <= end <= tracks.ends[-1]
        assert tracks.row_of(shown) is not None
        here = tracks.ends[tracks.row_of(shown)]
        assert end - desk.visible - desk.column_step < here <= end


def test_panning_back_holds_the_window_and_on_to_the_end_follows_again() -> None:
    desk = long_desk()
    newest = desk.view.end()
    desk.pan(-1)
    assert newest - desk.view.end() == pytest.approx(desk.visible / 4, abs=SECOND)
    assert desk.mode == "paused"
    desk.pan(1)
    assert desk.mode == "live"


def test_pointing_at_the_axis_looks_at_that_interval() -> None:
    view = View(History())
    view.history.extend(WAVE.ticks(50))
    view.point(view.history.tracks.ends[20] - SECOND // 2, 30 * SECOND)
    assert view.shown() == 20
    view.point(view.history.tracks.ends[-1] + 90 * SECOND, 30 * SECOND)
    assert view.shown() == 49


async def test_the_zoom_is_the_same_on_all_screens() -> None:
    async with running(seconds=120) as run:
        assert "last 2 min" in run.text
        await run.press("plus", "plus")
        zoomed = run.app.desk.column_step
        assert zoomed == SECOND // 2
        await run.press("2")
        assert run.app.desk.column_step == zoomed
        await run.press("0", "1")
        assert "last 2 min" in run.text


async def test_the_wheel_zooms_and_with_shift_it_pans() -> None:
    async with running(seconds=280) as run:
        phase = run.app.screen.query(PhasePanel).first()
        phase.on_mouse_scroll_up(turned(phase, shift=False))
        await run.pilot.pause()
        assert run.app.desk.column_step == SECOND
        phase.on_mouse_scroll_up(turned(phase, shift=True))
        await run.pilot.pause()
        assert "paused at" in run.text


def turned(widget: Widget, *, shift: bool) -> events.MouseScrollUp:
    return events.MouseScrollUp(widget, 30, 3, 0, 0, 0, shift=shift, meta=False, ctrl=False)


async def test_a_click_on_a_tab_shows_that_screen() -> None:
    async with running() as run:
        line = run.text.splitlines()[-1]
        await run.pilot.click(offset=(line.index("2 GPUs") + 3, 39))
        await run.pilot.pause()
        assert run.app.screen.name == "gpus"


async def test_a_click_on_the_scrubber_goes_there() -> None:
    async with replaying() as (app, pilot):
        line = text_of(app)[-2]
        first, last = line.index(" ", 2) + 1, line.rstrip().rindex(" ")
        await pilot.click(offset=((first + last) // 2, 38))
        await comes(pilot, lambda: "12:02:" in text_of(app)[0], lambda: text_of(app)[0])
