"""What a command loads. A static graph cannot tell what a process really imports, so processes are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"textual", "rich", "httpx", "prometheus_client", "pynvml", "psutil", "sqlite3", "asyncio"}
SCREEN = {"textual", "rich"}


def loaded_by(statement: str) -> set[str]:
    """The heavy packages in a fresh process after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PHASETOP_ENGINE_DISCOVER": "no", "XDG_CONFIG_HOME": "/nowhere"},
    )
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stdout.splitlines()[-1])) & HEAVY


def after_running(*arguments: str, until_terminated: bool = False) -> set[str]:
    """The heavy packages in a fresh process that has run a command to its end."""
    alarm = "threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()" if until_terminated else ""
    return loaded_by(
        "import os, signal, threading\n"
        f"from dashboard.cli import main\n{alarm}\n"
        f"code = main({list(arguments)!r})\nassert code == 0, code"
    )


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    assert loaded_by("import dashboard.cli") == set()


@pytest.mark.parametrize(
    "command",
    [
        "live",
        "export",
        "record",
        "replay",
        "import_pages",
        "once",
        "dump",
        "report",
        "diff",
        "note",
        "doctor",
        "config",
    ],
)
def test_declaring_the_flags_of_a_command_loads_nothing_heavy(command: str) -> None:
    assert loaded_by(f"import dashboard.commands.{command}") == set()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of three pages."""
    folder = tmp_path_factory.mktemp("recording")
    pages = folder / "pages.jsonl"
    lines = [
        json.dumps({"t": 1.7e9 + second, "url": "http://e/metrics", "text": f"vllm:generation_tokens_total {second}\n"})
        for second in range(3)
    ]
    pages.write_text("\n".join(lines))
    assert not after_running("import", str(pages), "-o", str(folder / "saved.db")) & SCREEN
    return folder / "saved.db"


def test_measuring_once_loads_no_screen_and_no_database() -> None:
    assert not after_running("once", "--json", "--window", "250ms") & (SCREEN | {"sqlite3", "prometheus_client"})


def test_recording_loads_no_screen_and_no_web_server(tmp_path: Path) -> None:
    assert not after_running("record", str(tmp_path), "--for", "1s") & (SCREEN | {"prometheus_client", "asyncio"})


def test_exporting_loads_no_screen_and_no_database() -> None:
    loaded = after_running("export", "--listen", "127.0.0.1:0", until_terminated=True)
    assert "asyncio" in loaded  # the server did run
    assert not loaded & (SCREEN | {"sqlite3"})


def test_reading_a_recording_loads_no_screen(recording: Path) -> None:
    assert not after_running("dump", str(recording), "--format", "jsonl") & (SCREEN | {"httpx", "psutil"})
    assert not after_running("note", str(recording), "deployed", "--at", "1s ago") & SCREEN


def test_examining_the_machine_loads_no_screen() -> None:
    assert not after_running("doctor", "--json") & SCREEN


def test_the_configuration_commands_load_nothing_heavy() -> None:
    assert after_running("config", "show") == set()
