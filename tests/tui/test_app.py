"""The running app, driven by keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from unittest import mock

import pytest
from textual.pilot import Pilot

from collectors.model import HOST, Label, Phase
from dashboard.app import PhasetopApp
from dashboard.replay_feed import ReplayFeed
from dashboard.screens.keys import ALWAYS, LIVE, REPLAY
from dashboard.widgets.panel import Panel
from tests.patience import until

from .recorded import FakeRecording
from .support import FakeFeed, comes, shows, text_of
from .wave import SECOND, START, Wave

WAVE = Wave(gpus=2, engines=1)
TICKS = list(WAVE.ticks(300))


class Running:
    """An app, its feed and its pilot."""

    def __init__(self, app: PhasetopApp, feed: FakeFeed, pilot: Pilot[None]) -> None:
        self.app, self.feed, self.pilot = app, feed, pilot

    async def give(self, first: int, count: int) -> None:
        self.feed.give(*[tick for tick in TICKS if first <= tick.interval.sequence < first + count])
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    @property
    def text(self) -> str:
        return "\n".join(text_of(self.app))


@asynccontextmanager
async def running(size: tuple[int, int] = (120, 40), seconds: int = 60, **more: object) -> AsyncIterator[Running]:
    feed = FakeFeed()
    clock = {"now": START + seconds * SECOND}
    app = PhasetopApp(feed, now=lambda: clock["now"], **more)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        run = Running(app, feed, pilot)
        await run.give(0, seconds)
        yield run


async def test_the_first_frame_comes_before_the_first_interval() -> None:
    async with running(seconds=0) as run:
        assert "waiting for the first interval" in run.text
        assert "q quit" in run.text


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (120, 40), (200, 50)])
@pytest.mark.parametrize("look", [{}, {"ascii": True}, {"colors": "mono"}, {"colors": "16"}])
async def test_every_size_and_look_runs(size: tuple[int, int], look: dict[str, object]) -> None:
    async with running(size, seconds=30, **look) as run:
        lines = run.text.splitlines()
        assert len(lines) == size[1]
        assert "phasetop" in lines[0]
        assert all(len(line) == size[0] for line in lines)
        await run.press("left", "space", "question_mark", "escape")


async def test_no_color_is_obeyed_to_the_last_cell() -> None:
    with mock.patch.dict(os.environ, {"NO_COLOR": "1"}):
        async with running(seconds=30) as run:
            assert "▒" in run.text
            for panel in run.app.screen.query(Panel):
                for y in range(panel.size.height):
                    for segment in panel.render_line(y):
                        assert segment.style is not None
                        assert segment.style.color is None
            assert "<svg" in run.app.export_screenshot()


async def test_pause_holds_the_view_while_data_keeps_arriving() -> None:
    async with running() as run:
        await run.press("space")

        def below_the_strip() -> list[str]:
            # Labels may still settle; what was measured stands.
            lines = run.text.splitlines()
            return lines[next(n for n, line in enumerate(lines) if line.startswith("│ SM")) :]

        before = below_the_strip()
        await run.give(60, 10)
        assert "‖ paused at 12:01:00  +10" in run.text
        assert [line for line in below_the_strip() if "confidence" not in line] == [
            line for line in before if "confidence" not in line
        ]
        await run.press("space")
        assert "● live" in run.text
        assert below_the_strip() != before


async def test_the_arrows_inspect_past_intervals_and_escape_goes_back_to_now() -> None:
    async with running() as run:
        await run.press("left", "left", "left")
        assert "│ 12:00:57  3 s ago" in run.text
        strip = run.text.splitlines()[3]
        assert "│" in strip[1:-1]
        await run.press("shift+left")
        assert "12:00:01" in run.text
        await run.press("right")
        assert "12:00:02" in run.text
        await run.press("escape")
        assert "● live" in run.text
        await run.press("left", "end")
        assert "● live" in run.text


async def test_inspecting_shows_that_intervals_values_in_all_panels() -> None:
    async with running() as run:
        await run.press("left", "left")
        tick = WAVE.tick(57)
        gpu = next(iter(tick.interval.gpus.values()))
        assert gpu.power_watts is not None
        assert f"{gpu.power_watts:.0f} /700" in run.text
        engine = next(iter(tick.interval.engines.values()))
        assert engine.generation_tokens is not None
        assert f"out  {engine.generation_tokens:.0f} " in run.text


async def test_a_label_that_settles_changes_its_dimmed_column() -> None:
    async with running(seconds=30) as run:
        palette = run.app.desk.palette
        phase = next(panel for panel in run.app.screen.query(Panel) if panel.name == "phase")

        def dimmed() -> int:
            """Cells of the bottom row of the strip that are drawn as provisional."""
            row = phase.render_line(run.app.desk.scene(run.app.screen._layout.current).arrangement.strip)  # type: ignore[attr-defined]
            faded = (palette.strip.decode_on_decode[1], palette.strip.decode[1], palette.strip.decode_on_prefill[1])
            return sum(segment.cell_length for segment in row if segment.style in faded)

        assert dimmed() == 5
        settled = tuple(
            Label(n, HOST, Phase("decode", True, 0.1, 1.0, 0.02, "high"), WAVE.bottleneck(n)) for n in range(20, 30)
        )
        run.feed.give(replace(WAVE.tick(30), settled=settled))
        await run.pilot.pause()
        assert dimmed() == 1  # the column the new interval has begun


async def test_a_gap_is_hatched() -> None:
    async with running(seconds=230) as run:
        assert "╱╱╱" in run.text
        assert "gap  3 %" in run.text


async def test_resizing_while_running_lays_the_screen_out_anew() -> None:
    async with running() as run:
        for width, height in ((80, 24), (20, 5), (1, 1), (300, 100), (40, 10), (120, 40)):
            await run.pilot.resize_terminal(width, height)
            await run.give(60, 1)
            lines = run.text.splitlines()
            assert len(lines) == height
            assert all(len(line) == width for line in lines)
        assert "Verdict" in run.text


@pytest.mark.parametrize("before", [(), ("question_mark",), ("g",), ("g", "1", "2"), ("space", "left")])
async def test_q_quits_at_once_from_everywhere(before: tuple[str, ...]) -> None:
    async with running() as run:
        await run.press(*before)
        await run.pilot.press("q")
        assert run.app._exit
    until(lambda: run.feed.is_stopped, "the end of the feed")
    assert run.app.return_code == 0


async def test_help_names_every_key_and_what_the_marks_mean() -> None:
    async with running() as run:
        await run.press("question_mark")
        for binding in (*LIVE, *ALWAYS):
            if binding.tooltip:
                assert (binding.key_display or binding.key) in run.text
        for word in ("prefill", "decode", "provisional", "idle", "waiting", "unknown", "gap", "esc closes"):
            assert word in run.text
        await run.give(60, 5)
        await run.press("escape")
        assert "─ Verdict ─" in run.text
        assert "12:01:05" in "".join(str(run.app.desk.history.newest)) or run.app.desk.view.shown() == 64


def test_the_footer_shows_no_key_that_does_nothing() -> None:
    """Every shown binding has an action that the app implements."""
    for binding in (*LIVE, *REPLAY, *ALWAYS):
        name = binding.action.removeprefix("app.").partition("(")[0]
        assert hasattr(PhasetopApp, f"action_{name}"), binding


async def test_going_to_a_time_puts_the_cursor_there() -> None:
    async with running(seconds=120) as run:
        await run.press("g", *"12:01", "enter")
        assert "│ 12:01:01" in run.text or "│ 12:01:00" in run.text
        await run.press("g", *"30s ", "a", "g", "o", "enter")
        assert "12:01:30" in run.text


async def test_a_time_that_makes_no_sense_is_told_and_can_be_mended() -> None:
    async with running() as run:
        await run.press("g", *"nonsense", "enter")
        problem = run.app.screen.query_one("#problem")
        assert "is not a moment" in str(problem.render())
        await run.press(*["backspace"] * 8, *"5s ago", "enter")
        assert "12:00:5" in run.text
        await run.press("g", *"03:12", "enter")
        assert "03:12 does not occur" in str(run.app.screen.query_one("#problem").render())
        await run.press("escape")
        assert "Verdict" in run.text


async def test_names_with_markup_do_no_harm() -> None:
    hostile = Wave(gpus=1, model="[/] [bold]x[/bold] [@click=quit]")
    feed = FakeFeed()
    async with PhasetopApp(feed, now=lambda: START).run_test(size=(160, 40)) as pilot:
        await pilot.pause()
        feed.give(*hostile.ticks(3))
        await pilot.pause()
        assert "[/] [bold]x[/bold] [@click=q" in "\n".join(text_of(pilot.app))  # type: ignore[arg-type]


async def test_many_deliveries_at_once_are_one_repaint() -> None:
    async with running(seconds=0) as run:
        run.feed.give(*TICKS[:200])
        await run.pilot.pause()
        assert len(run.app.desk.history) == 200


async def test_the_clock_moves_without_data_and_says_that_none_comes() -> None:
    feed = FakeFeed()
    clock = {"now": START + 20 * SECOND}
    app = PhasetopApp(feed, now=lambda: clock["now"])
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        feed.give(*TICKS[:20])
        await pilot.pause()
        assert "● live" in text_of(app)[0]
        clock["now"] += 9 * SECOND
        app._beat()
        assert "▲ no data for 9 s" in text_of(app)[0]
        assert "12:00:29 UTC" in text_of(app)[0]


@asynccontextmanager
async def replaying(
    size: tuple[int, int] = (120, 40), *, in_parts: bool = False
) -> AsyncIterator[tuple[PhasetopApp, Pilot[None]]]:
    app = PhasetopApp(ReplayFeed(FakeRecording(TICKS), in_parts=in_parts))
    async with app.run_test(size=size) as pilot:
        await shows(app, pilot, "Verdict", "12:05:00 UTC", "╱")
        yield app, pilot


async def test_a_recording_is_looked_at_on_the_same_screen() -> None:
    async with replaying() as (app, _):
        text = "\n".join(text_of(app))
        assert "‖ replay 1×" in text
        assert "2026-11-21 12:05:00 UTC" in text
        assert "Verdict" in text
        scrubber = text_of(app)[-2]
        assert scrubber.startswith(" 12:00:00 ")
        assert scrubber.rstrip().endswith("12:05:00")
        assert "▲" in scrubber
        assert "╱" in scrubber
        for key, word in (("space", "play"), ("g", "go to"), ("[]", "phase")):
            assert f"{key} {word}" in text_of(app)[-1]


async def test_replay_obeys_its_keys() -> None:
    async with replaying() as (app, pilot):

        async def leads_to(words: str, *keys: str) -> None:
            await pilot.press(*keys)
            await comes(pilot, lambda: words in text_of(app)[0], lambda: f"{words}: {text_of(app)[0]}")

        await leads_to("12:04:58", "left", "left")
        await leads_to("12:03:58", "shift+left")
        await leads_to("12:03:27", "left_curly_bracket")
        await leads_to("12:02:21", "left_curly_bracket")
        await leads_to(" 2×", "greater_than_sign")
        await leads_to(" 1×", "less_than_sign")
        await leads_to("12:01:00", "g", *"12:00:59", "enter")
        await leads_to("12:05:00", "e")
        await leads_to("following")
        await leads_to("▶ replay", "space")


def test_the_dashboard_does_not_load_what_only_measuring_needs() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, dashboard.app; print(*sorted(sys.modules))"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for heavy in ("httpx", "prometheus_client", "pynvml", "psutil", "sqlite3", "numpy", "statistics", "json"):
        assert heavy not in loaded
