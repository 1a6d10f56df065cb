from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.launchers import (
    DEFAULT_PORTS,
    Launcher,
    path_of,
    ports_of,
    recognise,
    started_as,
    unix_socket_of,
)


@pytest.mark.parametrize(
    ("line", "engine", "ports"),
    [
        ("vllm serve meta/llama --port 8001", "vllm", (8001,)),
        ("/opt/venv/bin/python3.11 /opt/venv/bin/vllm serve m", "vllm", ()),
        ("python -m vllm.entrypoints.openai.api_server --port=9000", "vllm", (9000,)),
        ("python3 -u -X dev -m vllm.entrypoints.openai.api_server", "vllm", ()),
        ("VLLM::APIServer_0", "vllm", ()),
        ("python -m sglang.launch_server --model-path m --port 30001", "sglang", (30001,)),
        ("sglang::scheduler_TP0", "sglang", ()),
        ("/build/bin/llama-server -m x.gguf --port 8102", "llamacpp", (8102,)),
        ("text-generation-launcher -p 3001", "tgi", (3001,)),
        ("text-generation-router-v2 --port 80", "tgi", (80,)),
        ("python /usr/local/bin/trtllm-serve m --port 8000", "trtllm", (8000,)),
        ("tritonserver --http-port 1 --metrics-port=8012", "triton", (8012,)),
        ("lmdeploy serve api_server m --server-port 23334", "lmdeploy", (23334,)),
        ("/usr/bin/python3 -m vllm_nvext.entrypoints.openai.api_server --port=8005", "nim", (8005,)),
        ("python -m dynamo.vllm --model m", "dynamo", ()),
        ("/opt/ovms/bin/ovms --rest_port 9001 --metrics_enable", "ovms", (9001,)),
        ("/ray/core/src/ray/raylet/raylet --metrics_export_port=61234", "ray", (61234,)),
        ("vllm serve m --port 8000 --port=8009", "vllm", (8009,)),
        ("python3.13t /venv/bin/vllm serve m", "vllm", ()),
    ],
)
def test_engines_are_recognised_by_what_is_started(line: str, engine: str, ports: tuple[int, ...]) -> None:
    arguments = shlex.split(line)
    launcher = recognise(arguments)
    assert launcher is not None
    assert launcher.engine == engine
    assert ports_of(launcher, arguments) == ports


@pytest.mark.parametrize(
    "line",
    [
        "vim vllm.py",
        "grep -r vllm serve",
        "tail -f /var/log/vllm",
        "vllm bench serve-something-else",
        "docker run vllm/vllm-openai --port 8000",
        "bash -c 'vllm serve m'",
        "python -c 'import vllm'",
        "python -m pip install vllm",
        "python train.py --engine sglang.launch_server",
        "sglang_router",
        "python -m",
        "python",
        "",
    ],
)
def test_lines_that_only_mention_an_engine_start_none(line: str) -> None:
    assert recognise(shlex.split(line)) is None


@pytest.mark.parametrize("value", ["0", "65536", "http", "", "99999999999999999999", "８０００"])
def test_a_port_that_is_none_is_not_taken(value: str) -> None:
    arguments = ["llama-server", "--port", value]
    launcher = recognise(arguments)
    assert launcher is not None
    assert ports_of(launcher, arguments) == ()


def test_a_flag_at_the_end_of_the_line_names_no_port() -> None:
    launcher = recognise(["llama-server", "--port"])
    assert launcher is not None
    assert ports_of(launcher, ["llama-server", "--port"]) == ()


def test_a_web_servers_own_ports_are_not_asked_blindly() -> None:
    assert min(DEFAULT_PORTS) >= 1024


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_command_line_can_be_looked_at(arguments: list[str]) -> None:
    launcher = recognise(arguments)
    if launcher is not None:
        assert all(0 < port < 65536 for port in ports_of(launcher, arguments))


def launcher_of(line: str) -> tuple[Launcher, list[str]]:
    arguments = shlex.split(line)
    launcher = recognise(arguments)
    assert launcher is not None
    return launcher, arguments


def test_the_environment_names_a_port_where_the_command_line_does_not() -> None:
    launcher, arguments = launcher_of("llama-server")
    assert ports_of(launcher, arguments, {"LLAMA_ARG_PORT": "8123", "PORT": "1"}) == (8123,)
    launcher, arguments = launcher_of("llama-server --port 8100")
    assert ports_of(launcher, arguments, {"LLAMA_ARG_PORT": "8123"}) == (8100,)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("llama-server", "/metrics"),
        ("llama-server --api-prefix /llm/", "/llm/metrics"),
        ("llama-server --api-prefix=a/b", "/a/b/metrics"),
        ("llama-server --api-prefix 'a?b#c'", "/metrics"),
        ("vllm serve m --api-prefix /x", "/metrics"),
    ],
)
def test_the_page_lies_below_what_the_command_line_puts_before_every_path(line: str, path: str) -> None:
    assert path_of(*launcher_of(line)) == path


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("vllm serve m --uds /run/vllm.sock", "/run/vllm.sock"),
        ("llama-server --host /tmp/l.sock", "/tmp/l.sock"),
        ("llama-server --host 0.0.0.0", None),
        ("sglang.launch_server --host 127.0.0.1", None),
    ],
)
def test_a_socket_file_in_place_of_a_port_is_seen(line: str, file: str | None) -> None:
    assert unix_socket_of(*launcher_of(line)) == file


@pytest.mark.parametrize("line", ["python -m mlc_llm serve m", "mlc_llm serve m", "ollama serve"])
def test_engines_that_are_not_to_be_read_say_why(line: str) -> None:
    launcher, _ = launcher_of(line)
    assert launcher.refusal
    assert not set(launcher.ports) & {11434, 5000} & set(DEFAULT_PORTS)


def test_a_program_is_named_by_what_it_runs() -> None:
    assert started_as(["/usr/bin/docker-proxy", "-proto", "tcp"]) == "docker-proxy"
    assert started_as(["python3", "-m", "http.server"]) == "http.server"
    assert started_as([]) is None
