from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.clock import FakeClock
from collectors.document import document
from collectors.engine.discover import Discovery
from collectors.engine.listeners import Listener
from collectors.sources import SourceStatus
from dashboard.config import Config
from dashboard.doctor.finding import Finding
from dashboard.doctor.pages import examine
from dashboard.session import LiveSession, Parts
from dashboard.single import once
from dashboard.summary import summary
from tests.live_support import plant, plant_process, plant_socket, reply, serving
from tests.making import vllm_page


def config_of(**engine: Any) -> Config:
    base = Config()
    return replace(base, engine=replace(base.engine, **engine))


def discovery_of(proc: Path, *listeners: Listener, page: str | None = None) -> Discovery:
    def find_page(base: str, paths: Sequence[str]) -> str | None:
        return page

    return Discovery(
        lambda found: None,
        FakeClock(),
        find_page=find_page,
        listening=lambda: listeners,
        proc=str(proc),
        own_pid=1,
    )


def told(config: Config, discovery: Discovery | None = None) -> list[Finding]:
    return [one for one in examine(config, discovery) if not one.text.startswith("pages that are understood")]


def test_every_engine_found_is_listed_and_every_other_with_the_reason_and_the_remedy(tmp_path: Path) -> None:
    with serving(reply(vllm_page().encode())) as server:
        plant_process(tmp_path, 10, ["vllm", "serve", "m", "--port", str(server.port)])
        plant_socket(tmp_path, 10, 100)
        plant_process(tmp_path, 11, ["llama-server"])
        plant(tmp_path, {"11/fd/0": ""})
        plant_process(tmp_path, 12, ["sglang.launch_server", "--port", "31000"])
        plant_process(tmp_path, 13, ["ollama", "serve"])
        discovery = discovery_of(tmp_path, Listener("127.0.0.1", server.port, 100), Listener("127.0.0.1", 9, 130))
        findings = told(config_of(), discovery)
    lines = [(one.level, one.text, one.remedy) for one in findings]
    assert any(f"vLLM at {server.url}" in text for _, text, _ in lines)
    assert ("note", "llama.cpp (pid 11) does not listen yet", None) in lines
    assert ("note", "SGLang (pid 12) does not listen on port 31000 yet", None) in lines
    assert ("note", "ollama (pid 13) has no metrics page", None) in lines


@pytest.mark.parametrize(
    ("status", "headers", "words", "remedy"),
    [
        ("401 Unauthorized", {}, "present, blocked (401)", "[engine.token_files]"),
        ("404 Not Found", {}, "no metrics page there (404)", "SGLang needs --enable-metrics"),
        ("502 Bad Gateway", {"Server": "nginx"}, "nginx is in front", None),
        ("302 Found", {"Location": "http://10.0.0.1/x"}, "redirects to http://10.0.0.1/x", None),
    ],
)
def test_a_named_page_that_is_none_is_told_with_what_to_do(
    status: str, headers: dict[str, str], words: str, remedy: str | None
) -> None:
    with serving(reply(b"", status=status, headers=headers)) as server:
        (one,) = told(config_of(discover=False, urls=(server.url,)))
    assert (one.level, words in one.text) == ("missing", True)
    assert (remedy or "") in (one.remedy or "")


def test_an_engine_whose_page_is_empty_until_its_first_request_is_named(tmp_path: Path) -> None:
    with serving(reply(b"")) as server:
        plant_process(tmp_path, 10, ["text-generation-router", "--port", str(server.port)])
        plant_socket(tmp_path, 10, 100)
        (one,) = told(config_of(), discovery_of(tmp_path, Listener("127.0.0.1", server.port, 100)))
        (other,) = told(config_of(discover=False, urls=(server.url,)))
    assert one.level == "fine"
    assert one.text == f"Text Generation Inference at {server.url}: its page is empty until the first request"
    assert (other.level, "its page is empty: nothing has been counted yet" in other.text) == ("missing", True)


def test_nobody_at_a_named_address_is_told_with_what_to_do() -> None:
    with serving(reply(b"")) as server:
        url = server.url
    (one,) = told(config_of(discover=False, urls=(url,)))
    assert one.text == f"{url}: connection refused"
    assert one.remedy == "start the engine, or name the port it listens on"


def hidden(tmp_path: Path) -> Discovery:
    """One engine that runs in a network of its own and cannot be reached."""
    plant_process(tmp_path, 10, ["vllm", "serve", "m", "--port", "8000"])
    line = "   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1\n"
    plant(tmp_path, {"self/net/tcp": "", "10/net/tcp": f"sl\n{line}"})
    discovery = discovery_of(tmp_path)
    discovery.scan()
    return discovery


def lines_of(config: Config, discovery: Discovery) -> list[SourceStatus]:
    return LiveSession(config, clock=FakeClock(), parts=Parts([], discovery)).status()


def test_a_session_says_of_an_engine_that_runs_and_cannot_be_read_why(tmp_path: Path) -> None:
    (line,) = lines_of(config_of(), hidden(tmp_path))
    assert (line.source, line.state) == ("pid 10", "unread")
    assert line.reason is not None
    assert "vLLM listens on port 8000 in a network of its own" in line.reason


def test_one_interval_says_of_an_engine_that_runs_and_cannot_be_read_why(tmp_path: Path) -> None:
    tick = once(config_of(), window=0.5, clock=FakeClock(), parts=Parts([], hidden(tmp_path)))
    assert tick is not None
    (gap,) = tick.interval.gaps
    assert gap.source == "pid 10"
    assert "vLLM listens on port 8000 in a network of its own" in gap.reason
    assert f"missing   pid 10: {gap.reason}" in list(summary(tick))
    assert document(tick)["gaps"] == [{"source": "pid 10", "reason": gap.reason}]


def test_who_names_its_page_is_not_told_any_more(tmp_path: Path) -> None:
    assert lines_of(config_of(urls=("http://10.1.2.3:8000/metrics",)), hidden(tmp_path)) == []


def test_an_engine_that_only_starts_is_no_trouble_of_a_session(tmp_path: Path) -> None:
    plant_process(tmp_path, 10, ["vllm", "serve", "m", "--port", "8000"])
    discovery = discovery_of(tmp_path)
    discovery.scan()
    assert lines_of(config_of(), discovery) == []
