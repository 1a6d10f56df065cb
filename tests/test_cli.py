"""The command as a user runs it: exit codes, what goes to which stream, and what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dashboard.cli import COMMANDS
from dashboard.config import Config, load
from tests.patience import PATIENCE

_STARTED_FROM_A_SHELL = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
)
"""Where these tests run under nohup or in the background of a script, what they start would be deaf to both."""
COMMAND = (sys.executable, "-c", f"{_STARTED_FROM_A_SHELL}from dashboard.cli import run; run()")


def phasetop(
    *arguments: str, environment: Mapping[str, str] | None = None, text: str = "", timeout: float = 2 * PATIENCE
) -> subprocess.CompletedProcess[str]:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PHASETOP_")}
    return subprocess.run(
        [*COMMAND, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**quiet, "XDG_CONFIG_HOME": "/nowhere", **(environment or {})},
        check=False,
    )


def test_help_lists_every_command_with_one_line() -> None:
    result = phasetop("--help")
    assert result.returncode == 0
    for name, summary in COMMANDS.items():
        assert f"{name} " in result.stdout
        assert summary in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_own_help(command: str) -> None:
    result = phasetop(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: phasetop {command}")


def test_the_version_is_told() -> None:
    result = phasetop("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("phasetop 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exprt",), 'phasetop: there is no command "exprt"; did you mean export?'),
        (("xyzzy",), 'phasetop: there is no command "xyzzy"; there are '),
        (("--nonsense",), "phasetop live: error: unrecognized arguments: --nonsense"),
        (("config",), "phasetop config: error: the following arguments are required: action"),
        (("once", "--window", "1x"), 'phasetop once: --window: "1x" is not a duration'),
        (("export", "--listen", "here"), 'phasetop export: --listen: "here" is not an address'),
        (("export", "--engine", "ftp://a"), 'phasetop export: --engine: "ftp://a" is not a page address'),
        (("export", "--config", "/nowhere.toml"), "phasetop export: /nowhere.toml: cannot be read: No such file"),
        (("record", "/tmp/x", "--for", "soon"), 'phasetop record: --for: "soon" is not a duration'),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    result = phasetop(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_every_problem_of_the_configuration_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[sampling]\ninterval = "1x"\n[tui]\nmuose = false\n')
    result = phasetop("config", "check", "--config", str(file))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == "phasetop config: the configuration cannot be used:"
    assert [line.partition(": ")[0].strip() for line in result.stderr.splitlines()[1:]] == [f"{file}:2", f"{file}:4"]


@pytest.mark.parametrize("command", ["live", "replay"])
def test_without_a_terminal_the_dashboard_names_what_to_use_instead(command: str, tmp_path: Path) -> None:
    arguments = (command, str(tmp_path)) if command == "replay" else (command,)
    result = phasetop(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "no terminal" in result.stderr
    assert f"phasetop {'dump' if command == 'replay' else 'once'}" in result.stderr


def test_what_config_show_prints_is_a_configuration_file_with_the_same_values(tmp_path: Path) -> None:
    result = phasetop("config", "show", environment={"PHASETOP_SAMPLING_INTERVAL": "2s"})
    assert result.returncode == 0
    assert any(line.split("#")[-1].strip() == "PHASETOP_SAMPLING_INTERVAL" for line in result.stdout.splitlines())
    file = tmp_path / "shown.toml"
    file.write_text(result.stdout)
    shown = load(environment={}, files=(file,)).config
    assert shown == load(environment={"PHASETOP_SAMPLING_INTERVAL": "2s"}, files=()).config
    assert shown != Config()


def test_config_path_says_which_files_are_read(tmp_path: Path) -> None:
    home = tmp_path / "phasetop"
    home.mkdir()
    (home / "config.toml").write_text("")
    result = phasetop("config", "path", environment={"XDG_CONFIG_HOME": str(tmp_path)})
    assert result.stdout.splitlines()[1] == f"{home}/config.toml: read"


def test_config_check_tells_of_named_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[server]\nbearer_token_file = "token"\n')
    result = phasetop("config", "check", "--config", str(file))
    assert result.returncode == 1
    assert f"{file}:2: server.bearer_token_file: {tmp_path}/token cannot be read" in result.stderr
    (tmp_path / "token").write_text("t")
    result = phasetop("config", "check", "--config", str(file))
    assert (result.returncode, result.stdout) == (0, f"fine: {file}\n")


def test_config_hash_prints_what_the_server_accepts() -> None:
    from exporters.credentials import ScryptHash

    result = phasetop("config", "hash", text="correct horse\n")
    assert ScryptHash.parse(result.stdout.strip()).matches("correct horse")
    assert phasetop("config", "hash", text="").returncode == 2


def test_a_reader_that_has_seen_enough_is_no_error_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*COMMAND, "config", "show"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "path"), ("doctor",)])
def test_an_output_that_takes_nothing_more_is_one_line_and_no_traceback(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (
        1,
        f"phasetop {arguments[0]}: standard output cannot be written: No space left on device\n",
    )
