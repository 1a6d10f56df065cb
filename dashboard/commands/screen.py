"""What the commands with a screen share: their flags, the terminal they need, and how they end."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import TYPE_CHECKING, Any

from dashboard.commands.common import StopSignals, UsageError

if TYPE_CHECKING:
    from textual.app import App


def screen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")


def terminal_needed(instead: str) -> None:
    """Raise UsageError unless there is a terminal to draw on; `instead` says what works without one."""
    for name, stream in (("input", sys.stdin), ("output", sys.stdout), ("error", sys.stderr)):
        if stream is None or not stream.isatty():
            raise UsageError(f"standard {name} is no terminal; {instead}")


def run_app(app: App[Any], *, mouse: bool) -> int:
    """Run the app until it is left or the process is told to end; its exit code."""
    stop = StopSignals()

    def watch() -> None:
        stop.wait()
        app.call_from_thread(app.exit)

    threading.Thread(target=watch, name="stop-signals", daemon=True).start()
    app.run(mouse=mouse)
    return app.return_code or 0
