"""The list of events, and what the keys of every screen do besides moving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import HOST, Event
from dashboard.app import PhasetopApp
from dashboard.screens.events import EventsScreen
from dashboard.screens.table import SCREENS
from dashboard.take_away import interval_json, picture_name, save_text
from dashboard.widgets.panel import Panel

from .goldens import Golden, check
from .support import FakeFeed, comes, desk_of, painted_screen, shows, text_of
from .test_app import TICKS, replaying, running
from .wave import SECOND, START, Wave

WAVE = Wave()


def draw(size: tuple[int, int], **more: object) -> list[str]:
    return painted_screen(EventsScreen, desk_of(WAVE.ticks(230), **more), *size)  # type: ignore[arg-type]


def goldens() -> Iterator[Golden]:
    for width, height in ((20, 5), (80, 24), (120, 40)):
        yield f"events-{width}x{height}", partial(draw, (width, height))
    yield "events-80x24-ascii", partial(draw, (80, 24), ascii=True)


@pytest.mark.parametrize("golden", [name for name, _ in goldens()])
def test_the_screen_looks_as_it_was_looked_at(golden: str) -> None:
    check(golden, dict(goldens())[golden]())


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 300), st.integers(1, 100)), st.integers(0, 40), st.text(max_size=300))
def test_no_size_and_no_text_breaks_the_screen(size: tuple[int, int], count: int, text: str) -> None:
    desk = desk_of(WAVE.ticks(20))
    for n in range(count):
        desk.history.add_event(Event(START + n * SECOND, "note", HOST, text))
    assert len(painted_screen(EventsScreen, desk, *size)) == size[1]


async def test_an_event_is_jumped_to_and_the_cursor_stays_on_all_screens() -> None:
    async with running(seconds=230) as run:
        await run.press("v")
        assert "engine restart" in run.text
        assert "power cap 38 s" in run.text
        await run.press("down", "enter")
        assert "│ 12:02:21" in run.text
        await run.press("1")
        assert "│ 12:02:21" in run.text
        assert "Verdict" in run.text


async def test_braces_jump_between_events_and_say_when_there_is_none() -> None:
    async with running(seconds=230) as run:
        await run.press("left_curly_bracket", "left_curly_bracket")
        assert "│ 12:02:21" in run.text
        await run.press("left_curly_bracket")
        assert "no earlier event in memory" in run.text.splitlines()[-1]
        await run.press("right_curly_bracket")
        assert "│ 12:03:27" in run.text


async def test_brackets_jump_to_the_change_of_the_dominant_phase() -> None:
    async with running(seconds=120) as run:
        await run.press("left_square_bracket")
        tracks = run.app.desk.history.tracks
        row = tracks.row_of(run.app.desk.view.cursor or 0)
        assert row is not None
        assert tracks._largest(row) != tracks._largest(row - 1)


async def test_the_events_of_a_recording_are_listed_and_jumped_to() -> None:
    async with replaying() as (app, pilot):
        await pilot.press("v")
        await shows(app, pilot, "power cap 38 s")
        await pilot.press("down", "enter")
        await comes(pilot, lambda: "12:02:20" in text_of(app)[0], lambda: text_of(app)[0])


async def test_a_recording_that_is_read_in_parts_lists_no_more_than_was_looked_at_and_says_so() -> None:
    async with replaying(in_parts=True) as (app, pilot):
        await pilot.press("v")
        await shows(app, pilot, "Events in what has been looked at", "power cap 38 s")


async def test_one_panel_alone_then_the_next_then_all() -> None:
    async with running() as run:
        everything = run.text
        await run.press("m")
        assert "Phase" in run.text
        assert "Verdict" not in run.text
        await run.press("m")
        assert "─ Verdict ─" in run.text
        assert "GPUs" not in "\n".join(run.text.splitlines()[:-1])
        await run.press("escape")
        assert run.text.splitlines()[:-1] == everything.splitlines()[:-1]


async def test_copying_gives_the_interval_looked_at_as_json() -> None:
    async with running() as run:
        await run.press("left", "y")
        copied = json.loads(run.app.clipboard)
        assert copied["end"] == START / 1e9 + 59
        assert len(copied["gpus"]) == 2
        assert "copied the interval 12:00:59 as JSON" in run.text.splitlines()[-1]


async def test_a_picture_is_saved_and_its_place_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with running() as run:
        await run.press("2", "p")
        picture = tmp_path / "phasetop-gpus-20261121T120100Z.svg"
        assert f"saved {picture}"[:100] in run.text.splitlines()[-1]
        assert "Processes" in picture.read_text()
        assert "saved" not in picture.read_text()


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    for told in ("a.svg", "a-2.svg", "a-3.svg"):
        assert save_text("a.svg", told, [tmp_path]) == f"saved {tmp_path / told}"
    assert (tmp_path / "a.svg").read_text() == "a.svg"


def test_a_picture_that_cannot_be_saved_says_why(tmp_path: Path) -> None:
    assert save_text("a.svg", "x", [tmp_path / "missing"]).startswith("not saved: No such file")


def test_a_picture_is_named_after_what_it_shows() -> None:
    assert picture_name("overview", None) == "phasetop-overview.svg"
    assert picture_name("gpus", WAVE.tick(0)) == "phasetop-gpus-20261121T120001Z.svg"


def test_the_copy_is_one_line_and_holds_missing_values_as_null() -> None:
    text = interval_json(WAVE.tick(3))
    assert "\n" not in text
    assert json.loads(text)["schema"] == 1


async def test_a_note_needs_a_recording() -> None:
    async with running() as run:
        await run.press("N")
        assert "a note needs a recording: start with --record DIR" in run.text.splitlines()[-1]


async def test_a_note_is_written_at_the_moment_looked_at_and_shows_among_the_events() -> None:
    written: list[tuple[str, int]] = []

    def note(text: str, moment: int) -> Event:
        written.append((text, moment))
        return Event(moment, "note", HOST, text)

    feed = FakeFeed()
    app = PhasetopApp(feed, now=lambda: START + 60 * SECOND, note=note)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        feed.give(*TICKS[:60])
        await pilot.pause()
        await pilot.press("N", *"quiet", "space", *"deploy", "enter")
        await shows(app, pilot, "noted: quiet deploy")
        assert written == [("quiet deploy", START + 60 * SECOND - 1)]
        await pilot.press("v")
        await comes(
            pilot, lambda: any("quiet deploy" in line and "note" in line for line in text_of(app)), lambda: text_of(app)
        )


async def test_a_note_that_cannot_be_written_is_told() -> None:
    def note(text: str, moment: int) -> Event:
        raise OSError("the disk is full")

    feed = FakeFeed()
    app = PhasetopApp(feed, now=lambda: START + 60 * SECOND, note=note)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        feed.give(*TICKS[:60])
        await pilot.pause()
        await pilot.press("N", *"hi", "enter")
        await shows(app, pilot, "not noted: the disk is full")


@pytest.mark.parametrize("look", [{}, {"ascii": True}, {"colors": "mono"}])
async def test_every_screen_runs_at_every_size_and_look(look: dict[str, object]) -> None:
    async with running((120, 40), seconds=30, **look) as run:
        for width, height in ((20, 5), (80, 24), (120, 40), (200, 50)):
            await run.pilot.resize_terminal(width, height)
            for one in SCREENS:
                await run.press(one.key, "m")
                lines = run.text.splitlines()
                assert len(lines) == height, one.name
                assert all(len(line) == width for line in lines), one.name
                await run.press("escape")
        assert run.app.screen.name == SCREENS[-1].name


async def test_without_colour_no_screen_has_any() -> None:
    async with running(seconds=30, colors="mono") as run:
        for one in SCREENS:
            await run.press(one.key)
            for panel in run.app.screen.query(Panel):
                for y in range(panel.size.height):
                    assert all(segment.style is None or segment.style.color is None for segment in panel.render_line(y))
