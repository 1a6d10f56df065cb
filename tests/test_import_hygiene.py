"""What a command loads. A static graph cannot tell what a process really imports, so processes are asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("textual", "rich", "httpx", "prometheus_client", "pynvml", "psutil", "sqlite3", "asyncio")


def loaded_by(statement: str) -> set[str]:
    """The heavy packages in a fresh process after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(process.stdout.splitlines()[-1])) & set(HEAVY)


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    assert loaded_by("import dashboard.cli") == set()


@pytest.mark.parametrize(
    "command", ["live", "export", "record", "replay", "import_pages", "once", "dump", "note", "doctor", "config"]
)
def test_declaring_the_flags_of_a_command_loads_nothing_heavy(command: str) -> None:
    assert loaded_by(f"import dashboard.commands.{command}") == set()
