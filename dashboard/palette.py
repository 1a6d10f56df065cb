"""Colours and glyphs: every style the screens use, computed once.

Two hues carry phase; yellow and red, always with a glyph, are kept for what needs a person; all
else is neutral. Nothing is told by hue alone: without colour, and in ASCII, the phases have
glyphs of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.color import Color
from rich.style import Style

ColorMode = Literal["truecolor", "256", "16", "mono"]

BACKGROUND = "#0e1116"
BORDER = "#2d333d"
FAINT = "#4b525c"
DIM = "#7d8590"
TEXT = "#c9d1d9"
BRIGHT = "#f0f6fc"
PREFILL = "#E69F00"
DECODE = "#56B4E9"
IDLE = "#3d444d"
WARNING = "#F0E442"
CRITICAL = "#ff6b6b"
LINE = "#59616c"
"""The sparkline of a measurement: grey that recedes behind the phases, lighter than a border."""
BAR = "#9aa4b0"

PROVISIONAL_STRENGTH = 0.5
"""How much of a phase's colour is left while its label is provisional; the rest is background."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of one repertoire. All are one cell wide."""

    levels: str
    """Empty to full, lowest first: a column of height n/(len-1)."""
    prefill: str | None
    """Fills prefill cells where colour cannot tell them; None where colour does."""
    decode: str | None
    idle: str
    waiting: str
    unknown: str
    gap: str
    cursor: str
    bar: str
    bar_rest: str
    arrow: str
    mark: str
    note: str
    change: str
    live: str
    paused: str
    playing: str
    dash: str
    ellipsis: str
    warning: str
    critical: str
    frame: str
    """One character for each set of arms, the sum of up 1, right 2, down 4, left 8."""


_FRAME = " ╵╶╰╷│╭├╴╯─┴╮┤┬┼"
_FRAME_ASCII = " |-+||++-+-+++++"

UNICODE = Glyphs(
    levels=" ▁▂▃▄▅▆▇█", prefill=None, decode=None, idle="▁", waiting="░", unknown="·", gap="╱", cursor="│",
    bar="━", bar_rest="━", arrow="→", mark="▲", note="┊", change="╵", live="●", paused="‖",
    playing="▶", dash="–", ellipsis="…", warning="▲", critical="✖", frame=_FRAME,
)  # fmt: skip
UNICODE_MONO = Glyphs(
    levels=" ▁▂▃▄▅▆▇█", prefill="▒", decode="█", idle="▁", waiting="░", unknown="·", gap="╱", cursor="│",
    bar="━", bar_rest="─", arrow="→", mark="▲", note="┊", change="╵", live="●", paused="‖",
    playing="▶", dash="–", ellipsis="…", warning="▲", critical="✖", frame=_FRAME,
)  # fmt: skip
ASCII = Glyphs(
    levels=" .:-=+*#@", prefill="p", decode="d", idle="_", waiting="w", unknown="?", gap="/", cursor="|",
    bar="=", bar_rest=".", arrow=">", mark="^", note="|", change="'", live="*", paused="=",
    playing=">", dash="-", ellipsis="~", warning="!", critical="X", frame=_FRAME_ASCII,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Every style and glyph for one kind of terminal."""

    mode: ColorMode
    ascii: bool
    glyphs: Glyphs
    base: Style
    border: Style
    faint: Style
    dim: Style
    text: Style
    bright: Style
    strong: Style
    warning: Style
    critical: Style
    alert: Style
    """A number that is worse than it should be: hue and weight, beside a glyph."""
    line: Style
    bar: Style
    bar_rest: Style
    idle: Style
    gap: Style
    unknown: Style
    waiting: Style
    cursor: Style
    prefill: Style
    decode: Style
    prefill_dim: Style
    decode_dim: Style
    key: Style
    strip: StripStyles

    def phase(self, label: str, *, settled: bool = True) -> Style:
        """The style of a phase's name or glyph."""
        match label:
            case "prefill":
                return self.prefill if settled else self.prefill_dim
            case "decode":
                return self.decode if settled else self.decode_dim
            case "mixed":
                return self.strong if settled else self.text
            case "idle" | "waiting":
                return self.text
            case _:
                return self.dim


@dataclass(frozen=True, slots=True)
class StripStyles:
    """Foreground on background for each pair of phases that can meet in one cell of the strip.

    The second index is the strength: 0 settled, 1 provisional.
    """

    decode_on_prefill: tuple[Style, Style]
    decode_on_decode: tuple[Style, Style]
    prefill_on_prefill: tuple[Style, Style]
    decode: tuple[Style, Style]
    prefill: tuple[Style, Style]
    cursor_on_decode: Style
    cursor_on_prefill: Style
    cursor: Style


def blend(color: str, background: str, strength: float) -> str:
    """`color` over `background` at `strength` (0 to 1), as #rrggbb."""
    over, under = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (color, background))
    return "#" + "".join(f"{round(a * strength + b * (1 - strength)):02x}" for a, b in zip(over, under, strict=True))


# The nearest of 256 colours is not always the right one: dark greys turn blue or teal.
_256 = {
    BACKGROUND: 233, BORDER: 237, FAINT: 240, DIM: 245, TEXT: 252, BRIGHT: 255, PREFILL: 172, DECODE: 74, IDLE: 238,
    WARNING: 227, CRITICAL: 203, LINE: 241, BAR: 248,
}  # fmt: skip
_256_PROVISIONAL = {PREFILL: 94, DECODE: 24}
_16 = {
    BACKGROUND: None, BORDER: 8, FAINT: 8, DIM: 7, TEXT: 7, BRIGHT: 15, PREFILL: 3, DECODE: 6, IDLE: 8, WARNING: 11,
    CRITICAL: 9, LINE: 8, BAR: 7,
}  # fmt: skip


class _Ink:
    """Makes styles for one colour mode."""

    def __init__(self, mode: ColorMode) -> None:
        self._mode = mode

    def _color(self, color: str, *, provisional: bool) -> Color | None:
        match self._mode:
            case "truecolor":
                shade = blend(color, BACKGROUND, PROVISIONAL_STRENGTH) if provisional else color
                return Color.parse(shade)
            case "256":
                table = _256_PROVISIONAL if provisional and color in _256_PROVISIONAL else _256
                return Color.from_ansi(table[color])
            case "16":
                number = _16[color]
                return None if number is None else Color.from_ansi(number)
            case _:
                return None

    def __call__(
        self, color: str, on: str = BACKGROUND, *, bold: bool = False, provisional: bool = False, dim: bool = False,
        reverse: bool = False,
    ) -> Style:  # fmt: skip
        """`provisional` is half the colour where there are shades, the dim attribute where there are not."""
        shades = self._mode in ("truecolor", "256")
        return Style(
            color=self._color(color, provisional=provisional),
            bgcolor=self._color(on, provisional=provisional and on != BACKGROUND),
            bold=bold or None,
            dim=dim or (provisional and not shades) or None,
            reverse=reverse or None,
        )


def palette(mode: ColorMode = "truecolor", *, ascii: bool = False) -> Palette:
    """The palette of a terminal: its colours, and whether it shows more than ASCII."""
    ink = _Ink(mode)
    mono = mode == "mono"
    glyphs = ASCII if ascii else UNICODE_MONO if mono else UNICODE

    def both(color: str, on: str = BACKGROUND) -> tuple[Style, Style]:
        return ink(color, on), ink(color, on, provisional=True)

    strip = StripStyles(
        decode_on_prefill=both(DECODE, PREFILL),
        decode_on_decode=both(DECODE, DECODE) if not mono and not ascii else both(DECODE),
        prefill_on_prefill=both(PREFILL, PREFILL) if not mono and not ascii else both(PREFILL),
        decode=both(DECODE),
        prefill=both(PREFILL),
        cursor_on_decode=ink(BRIGHT, DECODE, bold=True, reverse=mono),
        cursor_on_prefill=ink(BRIGHT, PREFILL, bold=True, reverse=mono),
        cursor=ink(BRIGHT, bold=True),
    )
    return Palette(
        mode=mode,
        ascii=ascii,
        glyphs=glyphs,
        base=ink(TEXT),
        border=ink(BORDER, dim=mono),
        faint=ink(FAINT, dim=mono),
        dim=ink(DIM, dim=mono),
        text=ink(TEXT),
        bright=ink(BRIGHT),
        strong=ink(BRIGHT, bold=True),
        warning=ink(WARNING, bold=mono),
        alert=ink(WARNING, bold=True),
        critical=ink(CRITICAL, bold=mono, reverse=True),
        line=ink(LINE),
        bar=ink(BAR),
        bar_rest=ink(BORDER, dim=mono),
        idle=ink(IDLE),
        gap=ink(FAINT, dim=mono),
        unknown=ink(FAINT, dim=mono),
        waiting=ink(DIM),
        cursor=ink(BRIGHT, bold=True),
        prefill=ink(PREFILL, bold=mono),
        decode=ink(DECODE, bold=mono),
        prefill_dim=ink(PREFILL, provisional=True),
        decode_dim=ink(DECODE, provisional=True),
        key=ink(BRIGHT, bold=True),
        strip=strip,
    )


def shows_unicode(encoding: str | None) -> bool:
    """Whether block glyphs written to a stream of that encoding arrive as they are."""
    return encoding is None or encoding.lower().replace("-", "").startswith("utf")


def color_mode(color_system: str | None, *, no_color: bool) -> ColorMode:
    """What a terminal can show, from Rich's name of its colour system and NO_COLOR."""
    if no_color or color_system is None:
        return "mono"
    return {"truecolor": "truecolor", "256": "256", "standard": "16", "windows": "16"}.get(color_system, "16")  # type: ignore[return-value]
