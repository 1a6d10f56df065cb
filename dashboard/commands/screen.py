"""What the commands with a screen share: their flags, the terminal they need, and how they end."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from dashboard.commands.common import UsageError, listed
from dashboard.commands.signals import Signals

if TYPE_CHECKING:
    from textual.app import App

    from dashboard.config import Loaded
    from dashboard.ways import Ways


def screen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")


def terminal_needed(instead: str) -> None:
    """Raise UsageError unless there is a terminal to draw on; `instead` says what works without one."""
    if os.environ.get("TEXTUAL_DRIVER"):
        return  # the screen is drawn elsewhere, in a browser
    for name, stream in (("input", sys.stdin), ("output", sys.stdout), ("error", sys.stderr)):
        if stream is None or not stream.isatty():
            raise UsageError(f"standard {name} is no terminal; {instead}")
    if os.environ.get("TERM") in ("", "dumb"):
        raise UsageError(
            f"TERM is dumb: such a terminal cannot place its cursor; if yours can, set TERM=xterm; {instead}"
        )


def ways(loaded: Loaded) -> Ways:
    """The theme, the keys and the view a person has. Raises UsageError with all that is wrong with the keys."""
    from dashboard.ways import ViewFile, Ways

    tui = loaded.config.tui
    check_keys(loaded)
    return Ways(None if tui.theme == "last" else tui.theme, tui.keys, ViewFile.of_user(os.environ))


def check_keys(loaded: Loaded) -> None:
    """Raises UsageError with all that is wrong with the keys, which only those who load the screens can tell."""
    keys = loaded.config.tui.keys
    if not keys:
        return
    from dashboard.config import ConfigError, Problem
    from dashboard.keymap import problems

    found = [
        Problem(loaded.entries.get(f"tui.keys.{name}", loaded.origins["tui.keys"]), f"tui.keys.{name}", why)
        for name, why in problems(keys)
    ]
    if found:
        raise UsageError(listed(ConfigError(found)))


def run_app(app: App[Any], *, mouse: bool) -> int:
    """Run the app until it is left or the process is told to end; its exit code."""
    stop = Signals()

    def watch() -> None:
        stop.wait()
        app.call_from_thread(app.exit)

    threading.Thread(target=watch, name="stop-signals", daemon=True).start()
    app.run(mouse=mouse)
    return app.return_code or 0
