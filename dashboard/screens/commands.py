"""The command palette: everything that can be done here, found by a few letters of what it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from dashboard.frames import Place
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_WIDEST = 76
_MOST_ROWS = 16
_KEY = 10


@dataclass(frozen=True, slots=True)
class Command:
    """What it does in words, the key that does it too (empty: none), and how to do it."""

    text: str
    key: str
    action: str


def found(commands: Sequence[Command], wanted: str) -> list[Command]:
    """Those with all the words, or the beginning of them; those that begin with the first word come first."""
    words = wanted.casefold().split()
    if not words:
        return list(commands)
    fitting = [one for one in commands if all(word in f"{one.text} {one.key}".casefold() for word in words)]
    return sorted(fitting, key=lambda one: not any(part.startswith(words[0]) for part in one.text.casefold().split()))


class CommandList(Panel):
    """The commands that fit, the chosen one marked."""

    def __init__(self) -> None:
        super().__init__("commands")
        self.fitting: Sequence[Command] = ()
        self.chosen = 0
        self._first = 0

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, lines = scene.palette, []
        self._first = min(max(self._first, self.chosen - height + 1), self.chosen)
        for n, command in list(enumerate(self.fitting))[self._first : self._first + height]:
            lines.append(self._line(palette, command, width, is_chosen=n == self.chosen))
        if not self.fitting:
            lines.append(Line().add("nothing is called that", palette.dim))
        told = Line().add(f"{len(self.fitting)}", palette.dim)
        return Drawing(Line().add("Commands", palette.dim), told, lines)

    def _line(self, palette: Palette, command: Command, width: int, *, is_chosen: bool) -> Line:
        line = Line().add(f"{palette.glyphs.playing} " if is_chosen else "  ", palette.key)
        room = width - 2 - _KEY
        line.foreign(command.text, palette.strong if is_chosen else palette.text, room, palette.glyphs.ellipsis)
        return line.to(width - len(command.key), palette.base).add(command.key, palette.dim)

    def on_click(self, event: events.Click) -> None:
        row = self._first + event.y - 1
        if 0 <= row < len(self.fitting):
            self.post_message(Picked(row))


class Picked(Message):
    """A command was clicked."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row


class _Words(Input):
    """An input line in which a q at the beginning quits: nothing else here begins with one."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return (key != "q" or bool(self.value)) and super().check_consume_key(key, character)


class CommandScreen(ModalScreen[None]):
    """Lists what can be done; enter does it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "dismiss", "close"),
        Binding("up", "choose(-1)", "", priority=True),
        Binding("down,tab", "choose(1)", "", priority=True),
        Binding("pageup", "choose(-10)", "", priority=True),
        Binding("pagedown", "choose(10)", "", priority=True),
    ]
    DEFAULT_CSS = """
    CommandScreen { align: center top; background: transparent; overflow: hidden; }
    CommandScreen Input { border: none; padding: 0 1; height: 1; background: $raised; color: $ink; }
    """

    def __init__(self, scene: Scene, commands: Sequence[Command], do: Callable[[str], None]) -> None:
        """`do` gets the action of what was chosen, when this screen is gone."""
        super().__init__(name="commands")
        self._scene = scene
        self._commands = commands
        self._do = do
        self._list = CommandList()
        self._list.fitting = commands

    def compose(self) -> ComposeResult:
        yield _Words(placeholder="what to do", compact=True, select_on_focus=False)
        yield self._list

    def on_resize(self, event: events.Resize) -> None:
        width = min(_WIDEST, event.size.width)
        height = max(1, min(_MOST_ROWS + 2, event.size.height - 1))
        self.query_one(Input).styles.width = width
        self._list.styles.width, self._list.styles.height = width, height
        if width >= 4 and height >= 3:
            arms = (10,) * (width - 2)
            self._list.put(Place(0, 0, width, height, (6, *arms, 12), (3, *arms, 9), left=True, right=True))
        else:
            self._list.put(Place(0, 0, width, height))
        self._list.show(self._scene)

    def action_choose(self, by: int) -> None:
        self._list.chosen = min(max(0, self._list.chosen + by), max(0, len(self._list.fitting) - 1))
        self._list.show(self._scene)

    @on(Input.Changed)
    def _narrow(self, event: Input.Changed) -> None:
        self._list.fitting = found(self._commands, event.value)
        self._list.chosen = 0
        self._list.show(self._scene)

    @on(Input.Submitted)
    def _submit(self) -> None:
        if self._list.fitting:
            self._list.chosen = min(self._list.chosen, len(self._list.fitting) - 1)
            self._finish(self._list.fitting[self._list.chosen])

    def on_picked(self, message: Picked) -> None:
        self._finish(self._list.fitting[message.row])

    def _finish(self, command: Command) -> None:
        self.dismiss()
        self._do(command.action)
