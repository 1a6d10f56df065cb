"""The themes: one colour for each role, in the three depths that terminals have.

Prefill and decode are the same two hues in all of them. Where a hue is too light to be read as text on
the theme's ground, words have a darker shade of it, and warnings a ground of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "background", "border", "faint", "dim", "text", "bright", "prefill", "decode", "prefill_word", "decode_word",
    "idle", "warning", "critical", "line", "bar",
]  # fmt: skip
"""`line` is the sparkline of a measurement: grey that recedes behind the phases, beyond a border."""


@dataclass(frozen=True, slots=True, eq=False)
class Theme:
    """`colors` as #rrggbb, `indexed` of 256 colours, `ansi` of 16, where None is the terminal's own."""

    name: str
    colors: Mapping[Role, str]
    indexed: Mapping[Role, int]
    ansi: Mapping[Role, int | None]
    halves: Mapping[Role, int]
    """Of 256 colours, halfway to the ground: for what is provisional."""
    warns_on_ground: bool = False
    """Whether a warning is dark on yellow, because yellow is not read on the theme's ground."""
    is_ansi: bool = False
    """Whether only the terminal's 16 colours are used, however many it has."""

    def variables(self) -> dict[str, str]:
        """What style sheets call the colours."""
        if self.is_ansi:
            return {"ground": "ansi_default", "ink": "ansi_default", "raised": "ansi_default", "caution": "ansi_yellow"}
        colors = self.colors
        caution = colors["bright"] if self.warns_on_ground else colors["warning"]
        return {"ground": colors["background"], "ink": colors["bright"], "raised": colors["border"], "caution": caution}


_DARK_16: Mapping[Role, int | None] = {
    "background": None, "border": 8, "faint": 8, "dim": 7, "text": 7, "bright": 15, "prefill": 3, "decode": 6,
    "prefill_word": 3, "decode_word": 6, "idle": 8, "warning": 11, "critical": 9, "line": 8, "bar": 7,
}  # fmt: skip

DARK = Theme(
    "dark",
    {
        "background": "#0e1116", "border": "#2d333d", "faint": "#4b525c", "dim": "#7d8590", "text": "#c9d1d9",
        "bright": "#f0f6fc", "prefill": "#E69F00", "decode": "#56B4E9", "prefill_word": "#E69F00",
        "decode_word": "#56B4E9", "idle": "#3d444d", "warning": "#F0E442", "critical": "#ff6b6b", "line": "#59616c",
        "bar": "#9aa4b0",
    },
    # The nearest of 256 colours is not always the right one: dark greys turn blue or teal.
    {
        "background": 233, "border": 237, "faint": 240, "dim": 245, "text": 252, "bright": 255, "prefill": 172,
        "decode": 74, "prefill_word": 172, "decode_word": 74, "idle": 238, "warning": 227, "critical": 203,
        "line": 241, "bar": 248,
    },
    _DARK_16,
    {"prefill": 94, "decode": 24, "prefill_word": 94, "decode_word": 24},
)  # fmt: skip

LIGHT = Theme(
    "light",
    {
        "background": "#ffffff", "border": "#c4ccd4", "faint": "#8c959f", "dim": "#57606a", "text": "#24292f",
        "bright": "#000000", "prefill": "#E69F00", "decode": "#56B4E9", "prefill_word": "#8f6200",
        "decode_word": "#0b6aa5", "idle": "#c4ccd4", "warning": "#F0E442", "critical": "#b3142a", "line": "#9aa4b0",
        "bar": "#57606a",
    },
    {
        "background": 231, "border": 251, "faint": 245, "dim": 240, "text": 235, "bright": 16, "prefill": 172,
        "decode": 74, "prefill_word": 94, "decode_word": 25, "idle": 251, "warning": 227, "critical": 124,
        "line": 247, "bar": 240,
    },
    {
        "background": 15, "border": 7, "faint": 8, "dim": 8, "text": 0, "bright": 0, "prefill": 3, "decode": 6,
        "prefill_word": 3, "decode_word": 6, "idle": 7, "warning": 11, "critical": 1, "line": 7, "bar": 8,
    },
    {"prefill": 222, "decode": 153, "prefill_word": 137, "decode_word": 67},
    warns_on_ground=True,
)  # fmt: skip

HIGH_CONTRAST = Theme(
    "high-contrast",
    {
        "background": "#000000", "border": "#9a9a9a", "faint": "#b4b4b4", "dim": "#dadada", "text": "#ffffff",
        "bright": "#ffffff", "prefill": "#E69F00", "decode": "#56B4E9", "prefill_word": "#E69F00",
        "decode_word": "#56B4E9", "idle": "#7a7a7a", "warning": "#ffff00", "critical": "#ff8080", "line": "#b4b4b4",
        "bar": "#eeeeee",
    },
    {
        "background": 16, "border": 247, "faint": 249, "dim": 253, "text": 231, "bright": 231, "prefill": 172,
        "decode": 74, "prefill_word": 214, "decode_word": 81, "idle": 243, "warning": 226, "critical": 210,
        "line": 249, "bar": 255,
    },
    {
        "background": 0, "border": 7, "faint": 7, "dim": 15, "text": 15, "bright": 15, "prefill": 3, "decode": 6,
        "prefill_word": 11, "decode_word": 14, "idle": 8, "warning": 11, "critical": 9, "line": 7, "bar": 15,
    },
    {"prefill": 94, "decode": 24, "prefill_word": 136, "decode_word": 31},
)  # fmt: skip

ANSI = Theme(
    "ansi",
    DARK.colors,
    DARK.indexed,
    # Text in the terminal's own colour is read on its own ground, light or dark.
    {**_DARK_16, "text": None, "bright": None, "dim": None, "warning": 3, "critical": 1, "bar": None},
    DARK.halves,
    is_ansi=True,
)

THEMES: Mapping[str, Theme] = {theme.name: theme for theme in (DARK, LIGHT, HIGH_CONTRAST, ANSI)}


def after(name: str) -> str:
    """The theme that follows that one."""
    names = list(THEMES)
    return names[(names.index(name) + 1) % len(names)]
