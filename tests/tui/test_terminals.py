"""The program on terminals of many kinds, driven through a pty."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from collectors.gpu.process import process_state
from tests.test_cli import COMMAND
from tests.test_commands import ENVIRONMENT

from .terminal import Terminal

LIVE = [sys.executable, *COMMAND[1:], "live"]
FRAMES_ON_THEIR_WAY = 12_000
"""Bytes: what a line of 2 kB/s takes in six seconds. Without skipping, the answer to a key comes after all before."""
TERMS = ["xterm-256color", "xterm", "linux", "vt100", "screen", "tmux-256color", "rxvt", "unknown-terminal"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    named = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("LC_") and name != "COLORTERM"}
    return {**named, "LANG": "C.UTF-8", "XDG_STATE_HOME": str(tmp_path)}


@pytest.mark.parametrize("term", TERMS)
def test_it_draws_and_leaves_on_every_terminal(term: str, environment: dict[str, str]) -> None:
    with Terminal(LIVE, {**environment, "TERM": term}) as terminal:
        terminal.shows("Verdict")
        terminal.shows("live")
        terminal.press("?")
        terminal.shows("esc closes")
        terminal.press("q")
        assert terminal.ends() == 0
        assert terminal.widest <= 80
        assert terminal.output.rstrip().endswith(b"\x1b[?1049l") or b"\x1b[?1049l" in terminal.output[-400:]
        colors = set(re.findall(rb"[;\[]([34]8;[25])", terminal.output))
        assert colors == ({b"38;5", b"48;5"} if "256" in term else set())
        if term in ("linux", "vt100"):
            assert terminal.text.isascii()


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_stopped_and_continued_it_has_the_terminal_as_before_and_a_whole_screen(
    number: signal.Signals, environment: dict[str, str]
) -> None:
    with Terminal(LIVE, environment) as terminal:
        modes = terminal.modes
        for _ in range(2):
            terminal.shows("Verdict")
            terminal.shows("live")
            os.kill(terminal.pid, number)
            terminal.until(lambda: process_state(terminal.pid) == "T")
            terminal.cells.clear()
            os.kill(terminal.pid, signal.SIGCONT)
        terminal.shows("Verdict")
        terminal.shows("quit")
        terminal.press("?")
        terminal.shows("esc closes")
        terminal.press("q")
        assert terminal.ends() == 0
        assert terminal.modes == modes


def test_a_terminal_that_cannot_place_its_cursor_is_told_so(environment: dict[str, str]) -> None:
    with Terminal(LIVE, {**environment, "TERM": "dumb"}) as terminal:
        assert terminal.ends() == 2
        assert b"TERM is dumb" in terminal.output
        assert b"phasetop once" in terminal.output
        assert b"\x1b" not in terminal.output


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "de_DE.ISO-8859-1"}])
def test_in_a_locale_that_is_not_utf_8_everything_is_ascii(locale: dict[str, str], environment: dict[str, str]) -> None:
    del environment["LANG"]
    with Terminal(LIVE, {**environment, **locale}) as terminal:
        terminal.shows("Verdict")
        terminal.shows("* live")
        terminal.press("q")
        assert terminal.ends() == 0
        assert terminal.output.isascii()


def test_without_colour_no_colour_is_sent(environment: dict[str, str]) -> None:
    with Terminal(LIVE, {**environment, "NO_COLOR": "1"}) as terminal:
        terminal.shows("live")
        terminal.press("q")
        assert terminal.ends() == 0
        assert not re.search(rb"[;\[](3[0-7]|4[0-7]|9[0-7]|[34]8;\d)[;m]", terminal.output)


def test_it_is_resized_while_it_runs_from_nothing_to_very_large(environment: dict[str, str]) -> None:
    with Terminal(LIVE, environment, size=(0, 0)) as terminal:
        terminal.until(lambda: b"\x1b[?1049h" in terminal.output)
        for size in ((80, 24), (20, 5), (1, 1), (300, 100), (0, 0), (120, 40)):
            terminal.resize(*size)
            terminal.cells.clear()
            terminal.widest = 0
            if size[0] >= 20:
                terminal.shows("phasetop")
                terminal.shows("Phase" if size[0] > 20 else "P ")
            else:
                terminal.read(0.6)
        terminal.press("q")
        assert terminal.ends() == 0
        assert "Traceback" not in terminal.text


@pytest.mark.parametrize("streams", ["in", "out", "err"])
def test_without_a_terminal_it_says_what_to_use_instead(streams: str, environment: dict[str, str]) -> None:
    given = {"in": {"stdin": subprocess.DEVNULL}, "out": {"stdout": subprocess.PIPE}, "err": {}}[streams]
    done = subprocess.run(LIVE, env=environment, stderr=subprocess.PIPE, text=True, check=False, **given)  # type: ignore[call-overload]
    assert done.returncode == 2
    assert "is no terminal; `phasetop once` prints one interval" in done.stderr


def test_over_a_slow_line_keys_act_at_once_and_frames_are_skipped(environment: dict[str, str]) -> None:
    fast = {**environment, "PHASETOP_SAMPLING_INTERVAL": "250ms"}
    with Terminal(LIVE, fast, rate=2000) as terminal:
        terminal.shows("live")
        terminal.read(6.0)
        before = len(terminal.output)
        terminal.press(" ")
        terminal.shows("paused at")
        assert len(terminal.output) - before < FRAMES_ON_THEIR_WAY
        terminal.press(" ")
        terminal.shows("live")
        terminal.read(1.0)
        before = len(terminal.output)
        terminal.press("q")
        assert terminal.ends() == 0
        assert len(terminal.output) - before < FRAMES_ON_THEIR_WAY


def test_a_terminal_that_answers_no_question_is_served_all_the_same(environment: dict[str, str]) -> None:
    with Terminal(LIVE, environment, answers=False) as terminal:
        terminal.shows("live")
        terminal.read(3.0)
        terminal.press(" ")
        terminal.shows("paused at")
        terminal.press("q")
        assert terminal.ends() == 0


@pytest.mark.parametrize("multiplexer", ["tmux", "screen"])
def test_it_runs_in_a_multiplexer(multiplexer: str, environment: dict[str, str]) -> None:
    if shutil.which(multiplexer) is None:
        pytest.skip(f"{multiplexer} is not installed")
    inner = shlex.join(LIVE)
    with (
        tempfile.TemporaryDirectory() as folder,  # the path of a socket has 107 bytes at most
        Terminal(
            {
                "tmux": ["tmux", "-u", "-f", "/dev/null", "-S", f"{folder}/socket", "new-session", inner],
                "screen": ["screen", "-U", "-c", "/dev/null", "-S", "phasetop", *LIVE],
            }[multiplexer],
            {**environment, "SCREENDIR": folder},
        ) as terminal,
    ):
        terminal.shows("Verdict")
        terminal.shows("quit")
        terminal.shows(" phasetop ")
        terminal.press("q")
        terminal.ends()
        assert terminal.widest <= 81
