"""Colours and glyphs: every style the screens use, computed once.

Two hues carry phase; yellow and red, always with a glyph, are kept for what needs a person; all
else is neutral. Nothing is told by hue alone: without colour, and in ASCII, the phases have
glyphs of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rich.color import Color
from rich.style import Style

from dashboard.themes import DARK, Role, Theme

ColorMode = Literal["truecolor", "256", "16", "mono"]

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


class _Ink:
    """Makes styles of a theme for one colour mode."""

    def __init__(self, mode: ColorMode, theme: Theme) -> None:
        self._mode = mode
        self._theme = theme

    def _color(self, role: Role, *, provisional: bool) -> Color | None:
        theme = self._theme
        match self._mode:
            case "truecolor":
                color = theme.colors[role]
                return Color.parse(
                    blend(color, theme.colors["background"], PROVISIONAL_STRENGTH) if provisional else color
                )
            case "256":
                number = theme.indexed[role]
                return Color.from_ansi(theme.halves.get(role, number) if provisional else number)
            case "16":
                own = theme.ansi[role]
                return None if own is None else Color.from_ansi(own)
            case _:
                return None

    def __call__(
        self, role: Role, on: Role = "background", *, bold: bool = False, provisional: bool = False, dim: bool = False,
        reverse: bool = False,
    ) -> Style:  # fmt: skip
        """`provisional` is half the colour where there are shades, the dim attribute where there are not."""
        shades = self._mode in ("truecolor", "256")
        return Style(
            color=self._color(role, provisional=provisional),
            bgcolor=self._color(on, provisional=provisional and on != "background"),
            bold=bold or None,
            dim=dim or (provisional and not shades) or None,
            reverse=reverse or None,
        )


def palette(mode: ColorMode = "truecolor", *, ascii: bool = False, theme: Theme = DARK) -> Palette:
    """The palette of a terminal: its colours, whether it shows more than ASCII, and the theme chosen."""
    if theme.is_ansi and mode != "mono":
        mode = "16"
    ink = _Ink(mode, theme)
    mono = mode == "mono"
    glyphs = ASCII if ascii else UNICODE_MONO if mono else UNICODE
    dims = mono or theme.is_ansi  # weight for what has no grey of its own

    def both(color: Role, on: Role = "background") -> tuple[Style, Style]:
        return ink(color, on), ink(color, on, provisional=True)

    def caution(*, bold: bool) -> Style:
        if theme.warns_on_ground and not mono:
            return ink("bright", "warning", bold=bold)
        return ink("warning", bold=bold, reverse=theme.is_ansi and not mono)

    strip = StripStyles(
        decode_on_prefill=both("decode", "prefill"),
        decode_on_decode=both("decode", "decode") if not mono and not ascii else both("decode"),
        prefill_on_prefill=both("prefill", "prefill") if not mono and not ascii else both("prefill"),
        decode=both("decode"),
        prefill=both("prefill"),
        cursor_on_decode=ink("bright", "decode", bold=True, reverse=mono),
        cursor_on_prefill=ink("bright", "prefill", bold=True, reverse=mono),
        cursor=ink("bright", bold=True),
    )
    return Palette(
        mode=mode,
        ascii=ascii,
        glyphs=glyphs,
        base=ink("text"),
        border=ink("border", dim=mono),
        faint=ink("faint", dim=mono),
        dim=ink("dim", dim=dims),
        text=ink("text"),
        bright=ink("bright"),
        strong=ink("bright", bold=True),
        warning=caution(bold=mono),
        alert=caution(bold=True),
        critical=ink("critical", bold=mono, reverse=True),
        line=ink("line"),
        bar=ink("bar"),
        bar_rest=ink("border", dim=mono),
        idle=ink("idle"),
        gap=ink("faint", dim=mono),
        unknown=ink("faint", dim=mono),
        waiting=ink("dim"),
        cursor=ink("bright", bold=True),
        prefill=ink("prefill_word", bold=mono),
        decode=ink("decode_word", bold=mono),
        prefill_dim=ink("prefill_word", provisional=True),
        decode_dim=ink("decode_word", provisional=True),
        key=ink("bright", bold=True),
        strip=strip,
    )


_PLAIN_TERMINALS = ("linux", "vt52", "vt100", "vt102", "vt220", "ansi", "cons25")
"""Whose fonts have few blocks or none."""


def shows_unicode(encoding: str | None, environment: Mapping[str, str]) -> bool:
    """Whether block glyphs written to a stream of that encoding arrive as they are, and are seen.

    A locale that is named and is not UTF-8 says that they are not, also where Python writes UTF-8 all
    the same; in containers none is named, and their terminals do show them.
    """
    if encoding is not None and not _is_utf8(encoding):
        return False
    if environment.get("TERM") in _PLAIN_TERMINALS:
        return False
    kind, language = environment.get("LC_CTYPE", ""), environment.get("LANG", "")
    if kind == "C.UTF-8" and language and not _is_utf8(language.rpartition(".")[2]):
        kind = ""  # Python puts it there itself in a C locale, and in one that is not installed
    locale = environment.get("LC_ALL") or kind or language
    return not locale or _is_utf8(locale.rpartition(".")[2])


def _is_utf8(name: str) -> bool:
    return name.lower().replace("-", "").startswith("utf8")


def color_mode(color_system: str | None, *, no_color: bool) -> ColorMode:
    """What a terminal can show, from Rich's name of its colour system and NO_COLOR."""
    if no_color or color_system is None:
        return "mono"
    return {"truecolor": "truecolor", "256": "256", "standard": "16", "windows": "16"}.get(color_system, "16")  # type: ignore[return-value]
