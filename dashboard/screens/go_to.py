"""The line that asks for a moment to look at."""

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


class GoTo(ModalScreen[None]):
    """Takes a moment as people write it; what is wrong with it stands beside it, and it can be mended.

    `go` looks at the moment a text means, or raises ValueError.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "close")]
    DEFAULT_CSS = """
    GoTo { align: left bottom; background: transparent; overflow: hidden; }
    GoTo Horizontal { height: 1; width: 100%; background: #0e1116; }
    GoTo Static { width: auto; height: 1; padding: 0 1; color: #f0f6fc; background: #0e1116; }
    GoTo #problem { width: 100%; height: auto; color: #F0E442; display: none; }
    GoTo #problem.shown { display: block; }
    GoTo Input { width: 1fr; border: none; height: 1; padding: 0; background: #2d333d; color: #f0f6fc; }
    """

    def __init__(self, go: Callable[[str], None], warning: str) -> None:
        super().__init__(name="go-to")
        self._go = go
        self._warning = warning

    def compose(self) -> ComposeResult:
        yield Static("", id="problem", markup=False)
        with Horizontal():
            yield Static("go to", markup=False)
            yield _Moment(placeholder="03:12, 10m ago, 2026-05-01T03:12", compact=True, select_on_focus=False)

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
            self._go(event.value)
        except ValueError as problem:
            self._tell(f"{self._warning} {problem}")
        else:
            self.dismiss()
