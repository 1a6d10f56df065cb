"""What the command palette offers: all that the keys of a screen do, and each theme by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.binding import Binding

from dashboard.keymap import shown
from dashboard.screens.commands import Command
from dashboard.themes import THEMES


def commands(bindings: Sequence[Binding]) -> list[Command]:
    """Of the bindings in force, in their order; one that is the other direction of the one before has its words."""
    return [*_of_keys(bindings), *(Command(f"theme {name}", "", f"app.theme({name!r})") for name in THEMES)]


def _of_keys(bindings: Sequence[Binding]) -> Iterator[Command]:
    words = ""
    for binding in bindings:
        words = binding.tooltip or binding.description or words
        if binding.id and binding.id != "commands" and words:
            title = f"{binding.description}: " if binding.id.startswith("screen.") and binding.description else ""
            yield Command(f"{title}{words}", shown(binding.key), binding.action)
