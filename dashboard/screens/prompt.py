"""One line at the bottom that asks for something."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class _Moment(Input):
    """An input line that leaves q alone: no moment is written with one, and it quits everywhere."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return key != "q" and super().check_consume_key(key, character)


class Prompt(ModalScreen[None]):
    """Takes a line of text; what is wrong with it stands above, and it can be mended.

    `done` does what the text means, or raises ValueError.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "close")]
    DEFAULT_CSS = """
    Prompt { align: left bottom; background: transparent; overflow: hidden; }
    Prompt Horizontal { height: 1; width: 100%; background: $ground; }
    Prompt Static { width: auto; height: 1; padding: 0 1; color: $ink; background: $ground; }
    Prompt #problem { width: 100%; height: auto; color: $caution; display: none; }
    Prompt #problem.shown { display: block; }
    Prompt Input { width: 1fr; border: none; height: 1; padding: 0; background: $raised; color: $ink; }
    """
    LINE: ClassVar[type[Input]] = Input

    def __init__(
        self, label: str, done: Callable[[str], None], warning: str, *, example: str = "", text: str = ""
    ) -> None:
        """`warning` is the glyph before what is wrong; `text` is what stands there already."""
        super().__init__(name="prompt")
        self._label = label
        self._done = done
        self._warning = warning
        self._example = example
        self._text = text

    def compose(self) -> ComposeResult:
        yield Static("", id="problem", markup=False)
        with Horizontal():
            yield Static(self._label, markup=False)
            yield self.LINE(self._text, placeholder=self._example, compact=True, select_on_focus=False)

    def _tell(self, problem: str) -> None:
        line = self.query_one("#problem", Static)
        line.update(problem)
        line.set_class(bool(problem), "shown")

    @on(Input.Changed)
    def _forget_problem(self) -> None:
        self._tell("")

    @on(Input.Submitted)
    def _submit(self, event: Input.Submitted) -> None:
        try:
            self._done(event.value)
        except ValueError as problem:
            self._tell(f"{self._warning} {problem}")
        else:
            self.dismiss()


class GoTo(Prompt):
    """Asks for a moment as people write it."""

    LINE = _Moment

    def __init__(self, go: Callable[[str], None], warning: str) -> None:
        """`go` looks at the moment a text means, or raises ValueError."""
        super().__init__("go to", go, warning, example="03:12, 10m ago, 2026-05-01T03:12")
