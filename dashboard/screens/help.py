"""The help: every key that does something here, and what the colours and glyphs mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from dashboard.frames import Place
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.widgets.line import Line, wrap
from dashboard.widgets.panel import Drawing, Panel

_KEY = 12


def legend(palette: Palette) -> list[tuple[Line, str]]:
    """A sample of each mark, and its meaning."""
    glyphs, strip = palette.glyphs, palette.strip
    full = glyphs.levels[-1]

    def sample(*parts: tuple[str, object]) -> Line:
        line = Line()
        for text, style in parts:
            line.add(text, style)  # type: ignore[arg-type]
        return line

    return [
        (sample((( glyphs.prefill or full) * 4, strip.prefill[0])), "prefill: time spent on prompts"),
        (sample(((glyphs.decode or full) * 4, strip.decode[0])), "decode: time spent generating"),
        (sample(((glyphs.prefill or full) * 2, strip.prefill[1]), ((glyphs.decode or full) * 2, strip.decode[1])),
         "provisional: evidence may still come, for 10 s at most"),
        (sample((glyphs.idle * 4, palette.idle)), "idle: nothing to do"),
        (sample((glyphs.waiting * 4, palette.waiting)), "waiting: requests are there, the hardware is not busy"),
        (sample((glyphs.unknown * 4, palette.unknown)), "unknown: nothing tells the phases apart"),
        (sample((glyphs.gap * 4, palette.gap)), "gap: nothing was measured"),
        (sample((f"{glyphs.mark:<4}", palette.warning)), "needs a look"),
        (sample((glyphs.critical, palette.critical), ("   ", palette.base)), "lost or failed"),
    ]  # fmt: skip


class HelpPanel(Panel):
    """Keys on the left, the legend beside or below them."""

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__("help")
        self._keys = keys
        self.top = 0
        """The first line shown; there may be more than fit."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        lines = self._lines(scene, width)
        most = max(0, len(lines) - height)
        self.top = min(max(0, self.top), most)
        told = "esc closes" if not most else f"{'↑' if self.top else ' '}{'↓' if self.top < most else ' '} esc closes"
        return Drawing(Line().add("Help", palette.dim), Line().add(told, palette.dim), lines[self.top :])

    def _lines(self, scene: Scene, width: int) -> list[Line]:
        palette = scene.palette
        beside = width >= 90
        half = width // 2 if beside else width
        left: list[Line] = []
        for key, meaning in self._keys:
            for n, part in enumerate(wrap(meaning, max(8, half - _KEY - 2))):
                line = Line().add(f"{key if n == 0 else '':<{_KEY}}", palette.key)
                left.append(line.foreign(part, palette.text, half - _KEY - 1))
        right: list[Line] = []
        for sample, meaning in legend(palette):
            for n, part in enumerate(wrap(meaning, max(8, half - 8))):
                line = Line().extend(sample) if n == 0 else Line()
                right.append(line.to(6, palette.base).foreign(part, palette.text, half - 7))
        note = "The height of a column is the busy share of its time; one column is a fixed step of it."
        right += [Line(), *(Line().foreign(part, palette.dim, half) for part in wrap(note, half - 1))]
        if not beside:
            return [*left, Line(), *right]
        rows = max(len(left), len(right))
        left += [Line()] * (rows - len(left))
        return [
            Line().extend(a).to(half, palette.base).extend(right[n] if n < len(right) else Line())
            for n, a in enumerate(left)
        ]


class HelpScreen(Screen[None]):
    """Covers the dashboard until it is closed; data keeps arriving behind it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,enter", "dismiss", "close"),
        Binding("up,k", "scroll(-1)", "", show=False),
        Binding("down,j", "scroll(1)", "", show=False),
        Binding("pageup", "scroll(-10)", "", show=False),
        Binding("pagedown,space", "scroll(10)", "", show=False),
    ]
    DEFAULT_CSS = "HelpScreen HelpPanel { width: 100%; height: 100%; }"

    def __init__(self, scene: Scene, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__(name="help")
        self._scene = scene
        self._panel = HelpPanel(keys)

    def compose(self) -> ComposeResult:
        yield self._panel

    def action_scroll(self, by: int) -> None:
        self._panel.top += by
        self._panel.show(self._scene)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.action_scroll(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.action_scroll(-3)

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        arms = (10,) * max(0, width - 2)
        framed = width >= 4 and height >= 3
        top, bottom = (6, *arms, 12), (3, *arms, 9)
        if framed:
            self._panel.put(Place(0, 0, width, height, top=top, bottom=bottom, left=True, right=True))
        else:
            self._panel.put(Place(0, 0, width, height))
        self._panel.show(self._scene)
