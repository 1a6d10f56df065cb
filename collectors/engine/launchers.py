"""What the command lines of serving engines look like, and where their pages are.

This is data. Only what a program is started as is looked at (the program, or the module or script
that an interpreter runs), never the rest of the line: `vim vllm.py` is no engine. Ports and paths
are the engines' own defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

_INTERPRETER = re.compile(r"^(?:python|pypy)[\d.]*t?$")


@dataclass(frozen=True, slots=True)
class Launcher:
    """One way to start one engine.

    `program` matches the program's, script's or module's name; `words` must all stand in the
    arguments. `switch` is what to add when the engine runs but shows no page. `port_variables` are
    environment variables that name the port. `prefix_flags` name what stands before the page's path.
    A `worker` is a part of an engine whose server is the program it was started by. What is not
    `certain` is an engine only if its page says so. `refusal` says why such an engine is not read.
    """

    engine: str
    program: re.Pattern[str]
    ports: tuple[int, ...]
    words: tuple[str, ...] = ()
    port_flags: tuple[str, ...] = ("--port",)
    path: str = "/metrics"
    switch: str | None = None
    port_variables: tuple[str, ...] = ()
    prefix_flags: tuple[str, ...] = ()
    socket_flags: tuple[str, ...] = ()
    worker: bool = False
    certain: bool = True
    refusal: str | None = None


def _is(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:{pattern})$")


_TGI_FLAGS = ("--port", "-p")
_RAY_FLAGS = ("--metrics-export-port", "--metrics_export_port")

LAUNCHERS: tuple[Launcher, ...] = (
    Launcher("vllm", _is(r"vllm"), (8000,), words=("serve",), socket_flags=("--uds",)),
    Launcher("vllm", _is(r"vllm\.entrypoints\.(?:openai\.)?api_server"), (8000,), socket_flags=("--uds",)),
    Launcher("vllm", _is(r"VLLM::\w+"), (8000,), worker=True),
    Launcher("sglang", _is(r"sglang\.launch_server"), (30000,), switch="--enable-metrics"),
    Launcher("sglang", _is(r"sglang::\w+"), (30000,), switch="--enable-metrics", worker=True),
    Launcher("sglang", _is(r"sglang"), (30000,), words=("serve",), switch="--enable-metrics"),
    Launcher(
        "llamacpp",
        _is(r"llama-server"),
        (8080,),
        switch="--metrics",
        port_variables=("LLAMA_ARG_PORT",),
        prefix_flags=("--api-prefix",),
        socket_flags=("--host",),
    ),
    Launcher(
        "tgi",
        _is(r"text-generation-(?:launcher|router(?:-v2)?)"),
        (3000, 80),
        port_flags=_TGI_FLAGS,
        port_variables=("PORT",),
    ),
    # Its /metrics is JSON that reading empties; the Prometheus page lies elsewhere.
    Launcher("trtllm", _is(r"trtllm-serve"), (8000,), path="/prometheus/metrics"),
    Launcher("trtllm", _is(r"tensorrt_llm\.commands\.serve"), (8000,), path="/prometheus/metrics"),
    Launcher("triton", _is(r"tritonserver"), (8002,), port_flags=("--metrics-port",)),
    Launcher("nim", _is(r"(?:vllm_nvext|nim_llm_sdk)\.entrypoints\.\w[\w.]*"), (8000,), path="/v1/metrics"),
    Launcher("lmdeploy", _is(r"lmdeploy"), (23333,), words=("api_server",), port_flags=("--server-port",)),
    Launcher("dynamo", _is(r"dynamo\.frontend"), (8000,), port_flags=("--http-port",)),
    Launcher("dynamo", _is(r"dynamo\.(?:vllm|sglang|trtllm)"), (), port_flags=(), port_variables=("DYN_SYSTEM_PORT",)),
    Launcher("aphrodite", _is(r"aphrodite"), (2242,), words=("run",)),
    Launcher("aphrodite", _is(r"aphrodite\.endpoints\.openai\.api_server"), (2242,)),
    Launcher("ovms", _is(r"ovms"), (), port_flags=("--rest_port",), switch="--metrics_enable"),
    # A node of Ray serves one page for everything that runs on it, engines or not.
    Launcher("ray", _is(r"raylet"), (8080,), port_flags=_RAY_FLAGS, certain=False),
    Launcher(
        "mlc",
        _is(r"mlc_llm|mlc_llm\.serve\.\w+"),
        (8000,),
        words=("serve",),
        refusal="runs a request for each read of its page, so that is read only when named",
    ),
    Launcher("ollama", _is(r"ollama"), (11434,), words=("serve",), refusal="has no metrics page"),
    Launcher("tabbyapi", _is(r"tabbyAPI|tabbyapi"), (5000,), refusal="has no metrics page"),
)

FORWARDERS = frozenset(
    {"docker-proxy", "rootlessport", "slirp4netns", "pasta", "gvproxy", "ssh", "sshd", "kubectl", "socat"}
    | {"nginx", "haproxy", "envoy", "traefik", "caddy"}
)
"""Programs that listen on behalf of others: an engine may be behind them, and they are not it."""

_UNPRIVILEGED = 1024

DEFAULT_PORTS: tuple[int, ...] = tuple(
    sorted(
        {
            port
            for launcher in LAUNCHERS
            for port in launcher.ports
            if port >= _UNPRIVILEGED and launcher.certain and launcher.refusal is None
        }
    )
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


def started_as(arguments: Sequence[str]) -> str | None:
    """The name of the program, module or script that a command line starts."""
    started = _started(arguments)
    return started[0] if started is not None else None


def ports_of(
    launcher: Launcher, arguments: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, ...]:
    """The port a command line names, or its environment; none when neither names one that is one."""
    named = [value for flag in launcher.port_flags for value in _values(flag, arguments)]
    named = named or [environment[name] for name in launcher.port_variables if name in environment]
    value = named[-1] if named else ""  # of a flag given twice, the last one counts
    return (int(value),) if value.isascii() and value.isdecimal() and 0 < int(value[:6]) < 65536 else ()


def path_of(launcher: Launcher, arguments: Sequence[str]) -> str:
    """Where the page is, below what a command line puts before every path."""
    prefixes = [value for flag in launcher.prefix_flags for value in _values(flag, arguments)]
    prefix = prefixes[-1].strip("/") if prefixes else ""
    return f"/{prefix}{launcher.path}" if re.fullmatch(r"[\w./-]+", prefix) else launcher.path


def unix_socket_of(launcher: Launcher, arguments: Sequence[str]) -> str | None:
    """The socket file an engine listens on in place of a port."""
    named = [value for flag in launcher.socket_flags for value in _values(flag, arguments)]
    return next((value for value in named if value.startswith("/") or value.endswith(".sock")), None)


def _values(flag: str, arguments: Sequence[str]) -> Iterator[str]:
    """What stands after a flag, or after its equals sign, as often as it is given."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != flag:
            continue
        if equals:
            yield value
        elif position + 1 < len(arguments):
            yield arguments[position + 1]


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
