"""Programs of the documentation, run as a reader would: each in a Python of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def told_by(program: str, expression: str, folder: Path | None = None, **given: Any) -> Any:
    """What an expression is worth after a program has run, as JSON gives it back.

    `given` are names the program finds set, as texts. A process of its own also keeps what libraries leave
    behind at their end out of the tests'.
    """
    names = "".join(f"{name} = {str(value)!r}\n" for name, value in given.items())
    source = f"{names}{program}\nimport json\nprint('\\n' + json.dumps({expression}, default=str))\n"
    done = subprocess.run([sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def need(*modules: str) -> None:
    """Skips the test where one is missing. Looks without importing: some libraries report leaks when Python ends."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
