from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
from rich.cells import cell_len
from rich.style import Style

from dashboard.palette import (
    ASCII,
    UNICODE,
    UNICODE_MONO,
    ColorMode,
    Glyphs,
    Palette,
    blend,
    color_mode,
    palette,
    shows_unicode,
)
from dashboard.themes import ANSI, DARK, HIGH_CONTRAST, LIGHT, THEMES, Role, Theme, after

MODES: tuple[ColorMode, ...] = ("truecolor", "256", "16", "mono")


def relative_luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(style: Style) -> float:
    assert style.color is not None
    assert style.bgcolor is not None
    assert style.color.triplet is not None
    assert style.bgcolor.triplet is not None
    pair = [relative_luminance(color.triplet.hex) for color in (style.color, style.bgcolor) if color.triplet]
    return (max(pair) + 0.05) / (min(pair) + 0.05)


@pytest.mark.parametrize("glyphs", [UNICODE, UNICODE_MONO, ASCII])
def test_every_glyph_is_one_cell_wide(glyphs: Glyphs) -> None:
    for entry in fields(glyphs):
        for glyph in getattr(glyphs, entry.name) or "":
            assert cell_len(glyph) == 1, entry.name


def test_the_ascii_glyphs_are_ascii() -> None:
    assert all((getattr(ASCII, entry.name) or "").isascii() for entry in fields(ASCII))


@pytest.mark.parametrize("mode", ["truecolor", "256", "16"])
@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_phases_warnings_and_text_have_colours_of_their_own(mode: ColorMode, theme: Theme) -> None:
    shown = palette(mode, theme=theme)
    looks = [shown.strip.prefill[0], shown.strip.decode[0], shown.idle, shown.critical, shown.bright]
    assert len({style.color for style in looks}) == len(looks)
    assert shown.warning not in looks
    assert shown.alert not in (shown.strong, shown.bright)


def test_without_colour_no_style_has_one_and_the_phases_have_glyphs() -> None:
    shown = palette("mono")
    for entry in fields(Palette):
        style = getattr(shown, entry.name)
        if isinstance(style, Style):
            assert style.color is None, entry.name
            assert style.bgcolor is None, entry.name
    assert shown.glyphs.prefill != shown.glyphs.decode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_what_is_provisional_looks_other_than_what_is_settled(mode: ColorMode, theme: Theme) -> None:
    shown = palette(mode, theme=theme)
    assert shown.prefill != shown.prefill_dim
    assert shown.decode != shown.decode_dim
    for pair in (shown.strip.decode, shown.strip.prefill, shown.strip.decode_on_prefill):
        assert pair[0] != pair[1]


@pytest.mark.parametrize(("theme", "least"), [(DARK, 4.5), (LIGHT, 4.5), (HIGH_CONTRAST, 7.0)])
def test_text_that_says_something_can_be_read(theme: Theme, least: float) -> None:
    shown = palette("truecolor", theme=theme)
    for style in (shown.dim, shown.text, shown.bright, shown.prefill, shown.decode, shown.warning, shown.critical):
        assert contrast(style) >= least


def test_the_phases_have_the_same_hues_in_every_theme() -> None:
    for theme in (DARK, LIGHT, HIGH_CONTRAST):
        strip = palette("truecolor", theme=theme).strip
        assert [str(style[0].color and style[0].color.name) for style in (strip.prefill, strip.decode)] == [
            "#e69f00",
            "#56b4e9",
        ]


def test_the_ansi_theme_leaves_text_and_ground_to_the_terminal() -> None:
    shown = palette("truecolor", theme=ANSI)
    assert (shown.text.color, shown.text.bgcolor, shown.mode) == (None, None, "16")


def test_every_theme_has_a_colour_for_every_role() -> None:
    for theme in THEMES.values():
        for table in (theme.colors, theme.indexed, theme.ansi):
            assert set(table) == set(get_args(Role))
        assert set(theme.variables()) == set(DARK.variables())


def test_the_themes_follow_one_another_in_a_circle() -> None:
    name = "dark"
    seen = []
    for _ in THEMES:
        seen.append(name)
        name = after(name)
    assert seen == list(THEMES)
    assert name == "dark"


def test_colours_are_those_of_the_look() -> None:
    shown = palette("truecolor")
    assert shown.prefill.color is not None
    assert shown.prefill.color.name == "#e69f00"
    assert shown.decode.color is not None
    assert shown.decode.color.name == "#56b4e9"
    assert blend("#ffffff", "#000000", 0.5) == "#808080"


@pytest.mark.parametrize(
    ("system", "no_color", "mode"),
    [
        ("truecolor", False, "truecolor"),
        ("256", False, "256"),
        ("standard", False, "16"),
        ("truecolor", True, "mono"),
        (None, False, "mono"),
    ],
)
def test_the_terminal_and_no_color_decide_the_mode(system: str | None, no_color: bool, mode: ColorMode) -> None:
    assert color_mode(system, no_color=no_color) == mode


@pytest.mark.parametrize(
    ("encoding", "shows"), [("utf-8", True), ("UTF-8", True), (None, True), ("latin-1", False), ("ascii", False)]
)
def test_a_stream_that_cannot_encode_blocks_gets_ascii(encoding: str | None, shows: bool) -> None:
    assert shows_unicode(encoding, {}) == shows


@pytest.mark.parametrize(
    ("environment", "shows"),
    [
        ({}, True),
        ({"LANG": "en_GB.UTF-8"}, True),
        ({"LANG": "de_DE.utf8", "TERM": "xterm"}, True),
        ({"LC_CTYPE": "UTF-8", "LANG": "C"}, True),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LANG": "C"}, False),
        ({"LC_ALL": "POSIX", "LANG": "en_GB.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_GB.UTF-8", "TERM": "linux"}, False),
    ],
)
def test_the_locale_and_the_terminal_decide_what_is_drawn(environment: dict[str, str], shows: bool) -> None:
    assert shows_unicode("utf-8", environment) == shows
