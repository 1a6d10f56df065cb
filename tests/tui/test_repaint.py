"""What reaches the terminal, held against a small terminal that obeys it."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.strip import Strip

from dashboard.app import PhasetopApp
from dashboard.palette import palette
from dashboard.repaint import PLAIN, codes, cut, transition
from dashboard.widgets.line import Line
from dashboard.widgets.panel import changes

from .support import FakeFeed

SHOWN = palette("truecolor")
STYLES = (SHOWN.base, SHOWN.dim, SHOWN.strong, SHOWN.critical, SHOWN.strip.decode_on_prefill[0])
WIDTH = 30

runs = st.lists(st.tuples(st.text("ab█▁ 漢", min_size=1, max_size=6), st.sampled_from(STYLES)), max_size=8)


def line_of(parts: list[tuple[str, Style]]) -> Line:
    line = Line()
    for text, style in parts:
        line.foreign(text, style, WIDTH)
    return line.cut(WIDTH).to(WIDTH, SHOWN.base)


def grid(line: Line) -> list[tuple[str, Style]]:
    """Cell by cell; the second cell of a wide character is empty."""
    found: list[tuple[str, Style]] = []
    for text, style, _ in line.runs:
        for character in text:
            found.append((character, style))
            if character == "漢":
                found.append(("", style))
    return found


@settings(max_examples=200)
@given(runs, runs)
def test_repainting_the_changed_spans_makes_the_new_line_of_the_old(
    old: list[tuple[str, Style]], new: list[tuple[str, Style]]
) -> None:
    before, after = line_of(old), line_of(new)
    cells = grid(before)
    wanted = grid(after)
    for first, last in changes(before.runs, after.runs):
        assert 0 <= first < last <= WIDTH
        cells[first:last] = wanted[first:last]
    assert cells == wanted


@given(runs)
def test_a_line_that_did_not_change_is_not_repainted(parts: list[tuple[str, Style]]) -> None:
    assert list(changes(line_of(parts).runs, line_of(parts).runs)) == []


def test_a_number_that_changed_is_repainted_alone() -> None:
    before = Line().add("decode ", SHOWN.dim).add(" 63", SHOWN.decode).add(" %   idle   8 %", SHOWN.dim)
    after = Line().add("decode ", SHOWN.dim).add(" 64", SHOWN.decode).add(" %   idle   8 %", SHOWN.dim)
    assert list(changes(before.runs, after.runs)) == [(9, 10)]


@given(runs, st.integers(0, WIDTH), st.integers(0, WIDTH))
def test_a_span_cut_from_a_strip_is_what_textual_would_cut(parts: list[tuple[str, Style]], low: int, high: int) -> None:
    strip = line_of(parts).strip()
    low, high = min(low, high), max(low, high)
    mine = "".join(text for text, _ in cut(strip, low, high))
    assert mine == strip.crop(low, high).text


SGR = re.compile(r"\x1b\[([\d;]*)m")


def obey(sequence: str, state: dict[str, str]) -> dict[str, str]:
    """A terminal's attributes after a sequence."""
    state = dict(state)
    for match in SGR.finditer(sequence):
        numbers = match[1].split(";")
        while numbers:
            number = numbers.pop(0)
            if number in ("", "0"):
                state = {}
            elif number in ("38", "48"):
                count = 4 if numbers[0] == "2" else 2
                state["fg" if number == "38" else "bg"] = ";".join([number, *numbers[:count]])
                del numbers[:count]
            elif number in ("39", "49"):
                state.pop("fg" if number == "39" else "bg", None)
            elif 30 <= int(number) <= 37 or 90 <= int(number) <= 97:
                state["fg"] = number
            elif 40 <= int(number) <= 47 or 100 <= int(number) <= 107:
                state["bg"] = number
            else:
                state[number] = number
    return state


SYSTEMS = (ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD, None)
any_style = st.sampled_from([*STYLES, Style(), Style(bold=True), Style(color="red"), Style(bgcolor="blue", dim=True)])


@given(st.lists(any_style, min_size=1, max_size=8), st.sampled_from(SYSTEMS))
def test_a_terminal_that_obeys_the_transitions_has_each_style_in_turn(
    styles: list[Style], system: ColorSystem | None
) -> None:
    state: dict[str, str] = {}
    now = PLAIN
    for style in styles:
        wanted = codes(style, system)
        state = obey(transition(now, wanted), state)
        now = wanted
        assert state == obey("\x1b[" + ";".join(part for part in ("0", *wanted) if part) + "m", {})


def test_the_same_style_again_costs_nothing() -> None:
    style = codes(SHOWN.prefill, ColorSystem.TRUECOLOR)
    assert transition(style, style) == ""


def test_only_the_colour_that_differs_is_sent() -> None:
    one, other = codes(SHOWN.dim, ColorSystem.TRUECOLOR), codes(SHOWN.text, ColorSystem.TRUECOLOR)
    assert transition(one, other) == "\x1b[38;2;201;209;217m"


def test_wide_characters_are_cut_by_cells() -> None:
    line = Line().foreign("漢字漢字", SHOWN.base, 20)
    assert line.cells == 8
    assert line.cut(3).cells == 3
    assert isinstance(line.strip(), Strip)


async def test_a_whole_screen_says_each_style_once_where_it_begins() -> None:
    app = PhasetopApp(FakeFeed(), colors="truecolor")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        update = app.screen._compositor.render_full_update()
        ours = update.render_segments(app.console)
        theirs = LayoutUpdate(update.strips, update.region).render_segments(app.console)
    plain = re.compile(r"\x1b\[[0-9;]*m")
    moves = re.compile(r"\x1b\[(\d+);(\d+)H")
    assert moves.sub("", plain.sub("", ours)) == moves.sub("", plain.sub("", theirs)).replace("\n", "")
    assert len(moves.findall(ours)) == 24
    assert len(ours) < len(theirs)
