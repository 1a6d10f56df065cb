"""Themes, keys of one's own, the command palette, and the view as it was left."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sources import SourceStatus
from dashboard.app import PhasetopApp
from dashboard.keymap import contexts, normal, problems, remapped, shown
from dashboard.screens.command_table import commands
from dashboard.screens.commands import CommandScreen, found
from dashboard.screens.keys import LIVE
from dashboard.screens.table import FLEET, SCREENS
from dashboard.themes import THEMES
from dashboard.ways import View, ViewFile, Ways
from tests.patience import PATIENCE, until

from .support import FakeFeed, text_of
from .test_app import running


def test_no_key_does_two_things_at_once() -> None:
    for title, bindings in contexts():
        taken: dict[str, str] = {}
        for binding in bindings:
            for key in binding.key.split(",") if binding.id else ():
                assert taken.setdefault(key, binding.id or "") == binding.id, f"{key} on {title}"


def test_every_binding_of_a_screen_can_be_given_another_key() -> None:
    for title, bindings in contexts():
        own = next(one.load() for one in (*SCREENS, FLEET) if one.title == title).__dict__.get("BINDINGS", [])
        assert all(binding.id for binding in own)
        assert len(bindings) > len(own)


@pytest.mark.parametrize(
    ("typed", "name"),
    [("x", "x"), ("?", "question_mark"), ("-", "minus"), ("+", "plus"), ("ctrl+r", "ctrl+r"), ("f5", "f5"),
     ("shift+left", "shift+left"), ("space", "space"), (" ", "space"), ("question_mark", "question_mark"),
     (":", "colon")],
)  # fmt: skip
def test_keys_are_taken_as_they_are_typed(typed: str, name: str) -> None:
    assert normal(typed) == name


def test_what_is_no_key_is_told_with_what_may_be_meant() -> None:
    with pytest.raises(ValueError, match=r'"spcae" is no key; did you mean space\?'):
        normal("spcae")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"view.togle": ("x",)}, ("view.togle", "nothing has that name; did you mean view.toggle?")),
        ({"view.toggle": ("pagedwn",)}, ("view.toggle", '"pagedwn" is no key; did you mean pagedown?')),
        ({"view.toggle": ("g",)}, ("view.toggle", "g is the key of view.go_to as well on the screen Overview")),
        ({"gpus.sort": ("/",)}, ("gpus.sort", "/ is the key of gpus.filter as well on the screen GPUs")),
    ],
)
def test_what_is_wrong_with_keys_is_said(keys: dict[str, tuple[str, ...]], problem: tuple[str, str]) -> None:
    assert problems(keys) == [problem]


def test_two_actions_may_change_their_keys_with_one_another() -> None:
    assert problems({"view.go_to": ("y",), "copy": ("g",)}) == []


def test_one_key_may_do_different_things_on_different_screens() -> None:
    assert problems({"gpus.sort": ("x",), "engines.sort": ("x",)}) == []


def test_a_pair_is_shown_with_both_of_its_keys() -> None:
    keys = {binding.id: binding.key_display for binding in remapped(LIVE, {"view.back": ("h",), "view.on": ("l",)})}
    assert keys["view.back"] == "hl"
    assert {b.id: b.key_display for b in remapped(LIVE, {"view.on": ("l",)})}["view.back"] == "←l"
    assert keys["view.zoom_in"] == "+-"
    assert shown("ctrl+p") == "ctrl+p"


async def test_other_keys_act_and_the_footer_and_the_help_say_so() -> None:
    ways = Ways(keys={"view.toggle": ("x",), "quit": ("Q",), "screen.gpus": ("f2",)})
    async with running(size=(160, 50), ways=ways) as run:
        assert "x pause" in run.text
        assert "f2 GPUs" in run.text
        await run.press("space")
        assert "● live" in run.text
        await run.press("x")
        assert "‖ paused" in run.text
        await run.press("f2")
        assert run.app.screen.name == "gpus"
        await run.press("question_mark")
        assert "x           hold the view" in run.text
        await run.press("q")
        assert run.app.is_running
        await run.press("ctrl+c")
        assert not run.app.is_running


async def test_the_palette_finds_a_command_and_does_it() -> None:
    async with running() as run:
        await run.press("colon")
        assert isinstance(run.app.screen, CommandScreen)
        assert "Overview: the whole machine" in run.text
        await run.press(*"each gpu")
        await run.press("enter")
        await run.pilot.pause()
        assert run.app.screen.name == "gpus"


async def test_the_palette_is_left_without_doing_anything() -> None:
    async with running() as run:
        await run.press("ctrl+p", *"theme light", "escape")
        assert run.app.screen.name == "overview"
        assert run.app.desk.palette.base.bgcolor != THEMES["light"].colors["background"]


async def test_a_theme_is_chosen_by_its_name_and_worn_by_every_cell() -> None:
    async with running(size=(80, 24), colors="truecolor") as run:
        await run.press("colon", *"theme light", "enter")
        await run.pilot.pause()
        background = {
            str(segment.style.bgcolor.name)
            for panel in run.app.screen.query("Panel")
            for y in range(panel.size.height)
            for segment in panel.render_line(y)
            if segment.style is not None and segment.style.bgcolor is not None
        }
        assert "#ffffff" in background
        assert "#0e1116" not in background


async def test_every_theme_shows_every_screen() -> None:
    async with running(seconds=20) as run:
        for _ in THEMES:
            await run.press("T")
            for key in "12345v1":
                await run.press(key)
        assert "theme dark" in run.text


def test_words_in_any_order_find_a_command_and_those_that_begin_so_come_first() -> None:
    offered = commands(LIVE)
    assert [one.key for one in found(offered, "now back")] == ["esc"]
    assert found(offered, "pict")[0].action == "app.picture"
    assert found(offered, "nonsense") == []
    assert found(offered, "") == offered


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
@pytest.mark.parametrize("before", [(), ("question_mark",), ("colon",)])
async def test_q_quits_whatever_is_open(key: str, before: tuple[str, ...]) -> None:
    async with running(seconds=5) as run:
        await run.press(*before, key)
        assert not run.app.is_running


async def test_q_is_a_letter_where_a_text_is_asked_for_and_ctrl_c_quits() -> None:
    async with running(seconds=5) as run:
        await run.press("3", "slash", *"qwen")
        assert run.app.is_running
        await run.press("ctrl+c")
        assert not run.app.is_running


class HangingFeed(FakeFeed):
    """A source that does not end when it is told to."""

    def __init__(self, statuses: Sequence[SourceStatus]) -> None:
        super().__init__(statuses)
        self.let_go = threading.Event()
        self.has_ended = False

    def stop(self) -> None:
        self.let_go.wait(PATIENCE)
        self.has_ended = True


async def test_a_source_that_hangs_does_not_hold_the_way_out() -> None:
    feed = HangingFeed([SourceStatus("gpu", "impaired", "NVML has not answered for 7 s")])
    app = PhasetopApp(feed)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("q")
    assert not feed.has_ended
    assert app.return_code == 0
    feed.let_go.set()


async def test_the_view_is_found_as_it_was_left(tmp_path: Path) -> None:
    file = ViewFile(tmp_path / "state" / "view")
    async with running(ways=Ways(file=file), colors="truecolor") as run:
        await run.press("minus", "T", "2", "s", "s", "3", "l")
        step = run.app.desk.view.step
    choices = {"gpus.sort": "tensor", "engines.sort": "engine", "engines.latency": "tpot"}
    until(lambda: file.load() == View("engines", "light", step, choices), file.load)
    async with running(ways=Ways(file=file), colors="truecolor") as run:
        assert run.app.screen.name == "engines"
        assert run.app.desk.view.step == step
        assert run.app.desk.palette.base.bgcolor is not None
        assert run.app.desk.palette.base.bgcolor.name == "#ffffff"
        await run.press("1")
        assert "Verdict" in run.text
        await run.press("2")
        assert run.app.screen.choice.sorted_by.name == "tensor"  # type: ignore[attr-defined]


async def test_the_configured_theme_beats_the_one_chosen_last(tmp_path: Path) -> None:
    file = ViewFile(tmp_path / "view")
    file.save(View(theme="light"))
    async with running(seconds=3, colors="truecolor", ways=Ways(theme="high-contrast", file=file)) as run:
        assert run.app.desk.palette.base.bgcolor is not None
        assert run.app.desk.palette.base.bgcolor.name == "#000000"


@given(st.binary(max_size=6000))
def test_a_damaged_view_is_passed_over(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "view"
    path.write_bytes(content)
    view = ViewFile(path).load()
    assert view.step is None or view.step > 0


async def test_a_view_of_another_version_breaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "view"
    path.write_text("screen=fleet9\ntheme=pink\ncolumn_seconds=nan\ngpus.sort=colour\nengines.latency=x\n")
    async with running(seconds=3, ways=Ways(file=ViewFile(path))) as run:
        assert run.app.screen.name == "overview"
        await run.press("2", "3")
        assert "vLLM" in "\n".join(text_of(run.app))


def test_a_view_that_cannot_be_written_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ViewFile(tmp_path / "file" / "view").save(View("gpus"))
    assert ViewFile(tmp_path / "file" / "view").load() == View()


async def test_help_longer_than_the_screen_is_moved_through() -> None:
    async with running(size=(80, 24), seconds=3) as run:
        await run.press("question_mark")
        assert "gap: nothing was measured" not in run.text
        assert "↓ esc closes" in run.text
        for _ in range(4):
            await run.press("space")
        assert "gap: nothing was measured" in run.text
        assert "↑  esc closes" in run.text
        await run.press(*["up"] * 40)
        assert "the whole machine" in run.text
