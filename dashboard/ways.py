"""How a person wants the screens: the theme, the keys, and the view as it was left.

The view is kept from one run to the next in a few lines of text. The file is a convenience: what is
damaged in it, or unknown, is passed over, and what cannot be written is not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FILE_NAME = "view"
_MOST_BYTES = 4096
_MOST_SECONDS = 86_400.0

Keymap = Mapping[str, tuple[str, ...]]
"""Keys by the name of what they do ("view.toggle")."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at, and how. `step` is nanoseconds in a column, None the usual ones; `choices` are the
    screens' own, by screen and name ("gpus.sort")."""

    screen: str | None = None
    theme: str | None = None
    step: int | None = None
    choices: Mapping[str, str] = field(default_factory=dict)


class ViewFile:
    """Where the view is kept between runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of_user(cls, environment: Mapping[str, str]) -> ViewFile | None:
        """In the directory that also keeps what was learned; None where there is not even a home."""
        from collectors.learned import state_directory

        directory = state_directory(environment)
        return None if directory is None else cls(directory / FILE_NAME)

    def load(self) -> View:
        """The view as it was left, as far as the file tells."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return View()
        pairs = {name: value for name, _, value in (line.partition("=") for line in text.splitlines()) if value}
        screen, theme, seconds = (pairs.pop(name, None) for name in ("screen", "theme", "column_seconds"))
        return View(screen, theme, _step(seconds), pairs)

    def save(self, view: View) -> None:
        """Replaces the file as a whole; a full or read-only disk is no reason to complain on leaving."""
        pairs = dict(view.choices)
        if view.screen is not None:
            pairs["screen"] = view.screen
        if view.theme is not None:
            pairs["theme"] = view.theme
        if view.step is not None:
            pairs["column_seconds"] = f"{view.step / 1e9:g}"
        text = "".join(f"{name}={value}\n" for name, value in sorted(pairs.items()))
        made = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            made.write_text(text, encoding="utf-8")
            made.replace(self._path)


def _step(seconds: str | None) -> int | None:
    try:
        value = float(seconds or "")
    except ValueError:
        return None
    return round(value * 1e9) if 0.0 < value <= _MOST_SECONDS else None


@dataclass(frozen=True, slots=True)
class Ways:
    """`theme` is the configured one, None the one chosen last; `file` None remembers nothing."""

    theme: str | None = None
    keys: Keymap = field(default_factory=dict)
    file: ViewFile | None = None
