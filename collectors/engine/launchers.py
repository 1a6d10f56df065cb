"""What the command lines of serving engines look like, and where their pages are.

This is data. Only what a program is started as is looked at (the program, or the module or script
that an interpreter runs), never the rest of the line: `vim vllm.py` is no engine. Ports and paths
are the engines' own defaults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_INTERPRETER = re.compile(r"^(?:python|pypy)[\d.]*$")


@dataclass(frozen=True, slots=True)
class Launcher:
    """One way to start one engine.

    `program` matches the program's, script's or module's name; `words` must all stand in the
    arguments; `switch` is what to add when the engine runs but shows no page.
    """

    engine: str
    program: re.Pattern[str]
    ports: tuple[int, ...]
    words: tuple[str, ...] = ()
    port_flags: tuple[str, ...] = ("--port",)
    path: str = "/metrics"
    switch: str | None = None


def _is(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:{pattern})$")


LAUNCHERS: tuple[Launcher, ...] = (
    Launcher("vllm", _is(r"vllm"), (8000,), words=("serve",)),
    Launcher("vllm", _is(r"vllm\.entrypoints\.(?:openai\.)?api_server|VLLM::\w+"), (8000,)),
    Launcher("sglang", _is(r"sglang\.launch_server|sglang::\w+"), (30000,), switch="--enable-metrics"),
    Launcher("sglang", _is(r"sglang"), (30000,), words=("serve",), switch="--enable-metrics"),
    Launcher("llamacpp", _is(r"llama-server"), (8080,), switch="--metrics"),
    Launcher("tgi", _is(r"text-generation-(?:launcher|router(?:-v2)?)"), (3000, 80), port_flags=("--port", "-p")),
    # Its /metrics is JSON that reading empties; the Prometheus page lies elsewhere.
    Launcher("trtllm", _is(r"trtllm-serve"), (8000,), path="/prometheus/metrics"),
    Launcher("trtllm", _is(r"tensorrt_llm\.commands\.serve"), (8000,), path="/prometheus/metrics"),
    Launcher("triton", _is(r"tritonserver"), (8002,), port_flags=("--metrics-port",)),
    Launcher("lmdeploy", _is(r"lmdeploy"), (23333,), words=("api_server",), port_flags=("--server-port",)),
    Launcher("dynamo", _is(r"dynamo\.frontend"), (8000,), port_flags=("--http-port",)),
    Launcher("aphrodite", _is(r"aphrodite"), (2242,), words=("run",)),
    Launcher("aphrodite", _is(r"aphrodite\.endpoints\.openai\.api_server"), (2242,)),
)

_UNPRIVILEGED = 1024

DEFAULT_PORTS: tuple[int, ...] = tuple(
    sorted({port for launcher in LAUNCHERS for port in launcher.ports if port >= _UNPRIVILEGED})
)
"""Where an engine may listen that nobody sees; a web server's own ports are not asked."""


def recognise(arguments: Sequence[str]) -> Launcher | None:
    """The launcher whose engine a command line starts; None when it starts none."""
    started = _started(arguments)
    if started is None:
        return None
    name, rest = started
    for launcher in LAUNCHERS:
        if launcher.program.match(name) and all(word in rest for word in launcher.words):
            return launcher
    return None


def ports_of(launcher: Launcher, arguments: Sequence[str]) -> tuple[int, ...]:
    """The port a command line names, or none when it names none that is one."""
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag not in launcher.port_flags:
            continue
        if not equals:
            value = arguments[position + 1] if position + 1 < len(arguments) else ""
        if value.isascii() and value.isdecimal() and 0 < int(value[:6]) < 65536:
            return (int(value),)
    return ()


def _started(arguments: Sequence[str]) -> tuple[str, Sequence[str]] | None:
    """(name of what is run, its arguments), past an interpreter and its options."""
    if not arguments or not arguments[0]:
        return None
    # A program that renamed itself may have put a whole sentence in the place of its name.
    name = _base(arguments[0])
    if not _INTERPRETER.match(name):
        return name, arguments[1:]
    position = 1
    while position < len(arguments):
        argument = arguments[position]
        if argument == "-m":
            return (arguments[position + 1], arguments[position + 2 :]) if position + 1 < len(arguments) else None
        if argument == "-c":
            return None
        if argument in ("-W", "-X"):
            position += 2
        elif argument.startswith("-"):
            position += 1
        else:
            return _base(argument), arguments[position + 1 :]
    return None


def _base(path: str) -> str:
    return PurePosixPath(path.partition(" ")[0]).name
