"""Whole screens as files of text: what a test draws is compared with what somebody has looked at.

`python -m tests.tui.goldens gpus events` writes anew those whose names begin so, and without names all;
look at each that changed before it is committed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

DIRECTORY = Path(__file__).with_name("goldens")
MODULES = ("test_gpus_screen", "test_events_screen", "test_engines_screen", "test_host_screen", "test_phases_screen")
"""Modules of this package with a function `goldens` that gives (name, how to draw it)."""

Golden = tuple[str, Callable[[], list[str]]]


def text(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines) + "\n"


def check(name: str, lines: list[str]) -> None:
    """Raises AssertionError where the drawing is not the golden one."""
    expected = (DIRECTORY / f"{name}.txt").read_text(encoding="utf-8")
    assert text(lines) == expected, f"{name} looks otherwise; `python -m tests.tui.goldens` writes it anew"


def every() -> Iterator[Golden]:
    for module in MODULES:
        yield from importlib.import_module(f"tests.tui.{module}").goldens()


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for name, draw in every():
        if sys.argv[1:] and not name.startswith(tuple(sys.argv[1:])):
            continue
        path = DIRECTORY / f"{name}.txt"
        drawn = text(draw())
        if not path.exists() or path.read_text(encoding="utf-8") != drawn:
            path.write_text(drawn, encoding="utf-8")
            sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
