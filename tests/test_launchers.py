from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.launchers import DEFAULT_PORTS, ports_of, recognise


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
