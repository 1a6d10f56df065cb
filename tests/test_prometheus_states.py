"""The page of real sessions, from a machine without a GPU to one that loses some: valid in every state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.phase.label import Labeller
from dashboard.config import Config
from dashboard.session import LiveSession
from exporters.prometheus import PrometheusSink
from tests.live_support import reply, serving
from tests.nvml_stub.build import Stub
from tests.nvml_stub.support import stub_or_skip
from tests.patience import until
from tests.prometheus_support import Samples, by, names, read, value
from tests.test_prometheus_page import promtool_says

ROOT = os.environ.get("PHASETOP_TEST_DATA")
PAGES = ("vllm-v1-live-llmtop.prom", "sglang-v05-dynamo-worker.prom", "tgi-v3.prom")
EIGHT = ("gpus 8",)
MIG = ("gpus 2", "mig@0 9 16 9728 1g.10gb", "mig@0 2 60 39936 4g.40gb")


class Measured:
    """A running session and its page."""

    def __init__(self, config: Config) -> None:
        self._sink = PrometheusSink(version="1.2.3")
        self.session = LiveSession(config, [self._sink], labeller=Labeller())

    def read(self) -> tuple[Samples, bytes]:
        """The page of one moment, read by both parsers, which agree; and its text."""
        with self.session.between_ticks():
            health = self.session.health()
            self._sink.watch(lambda: health)
            return read(self._sink), self._sink.page(False, False)

    def when(self, reached: Callable[[Samples], bool]) -> Samples:
        """The page once it has reached a state, in which promtool has nothing to say."""
        samples, text = self.read()

        def has_reached() -> bool:
            nonlocal samples, text
            samples, text = self.read()
            return reached(samples)

        until(has_reached, lambda: sorted(names(samples)))
        assert promtool_says(text) == ""
        return samples


@contextmanager
def measuring(library: Path | None, urls: tuple[str, ...] = ()) -> Iterator[Measured]:
    """A session's page: the GPUs of that library, if any, and the engines at these addresses."""
    config = Config()
    config = replace(
        config,
        sampling=replace(config.sampling, interval=0.25),
        engine=replace(config.engine, discover=False, urls=urls, min_interval=0.25),
        gpu=replace(config.gpu, enabled=library is not None, nvml_library=library, discover=False),
    )
    measured = Measured(config)
    measured.session.start()
    try:
        yield measured
    finally:
        measured.session.stop()


def hang_up(_handler: object) -> None:
    raise ConnectionError


def count(samples: Samples, name: str, **labels: str) -> int:
    return sum(sample == name and labels.items() <= dict(carried).items() for sample, carried in samples)


def in_state(samples: Samples, scope: str, state: str) -> int:
    found = (
        (dict(carried), number) for (name, carried), number in samples.items() if name == f"phasetop_{scope}_state"
    )
    return sum(carried["state"] == state and number == 1.0 for carried, number in found)


def all_succeed(samples: Samples) -> bool:
    return {number for (name, _), number in samples.items() if name == "phasetop_collector_success"} == {1.0}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = stub_or_skip(tmp_path)
    for name, text in made.environment.items():
        monkeypatch.setenv(name, text)
    return made


def test_a_machine_without_a_gpu_has_a_valid_page_and_no_source_that_fails() -> None:
    with measuring(None) as page:
        samples = page.when(lambda now: "phasetop_host_cpu_ratio" in names(now) and all_succeed(now))
    assert set(by(samples, "phasetop_collector_success", "collector")) == {"host"}
    assert not any(name.startswith("phasetop_gpu") for name in names(samples))


@pytest.mark.skipif(not ROOT, reason="PHASETOP_TEST_DATA is not set: no engines' pages here")
def test_eight_gpus_and_three_engines_one_of_each_going_have_valid_pages_all_the_way(stub: Stub) -> None:
    stub.script(*EIGHT)
    with ExitStack() as serves:
        texts = [(Path(ROOT or "") / "expositions" / name).read_bytes() for name in PAGES]
        leaving = serves.enter_context(ExitStack())
        urls = [serves.enter_context(serving(reply(text))).url for text in texts[:2]]
        server = leaving.enter_context(serving(reply(texts[2])))
        urls.append(server.url)
        page = serves.enter_context(measuring(stub.library, tuple(urls)))
        whole = page.when(
            lambda now: in_state(now, "gpu", "ok") == 8 and in_state(now, "engine", "ok") >= 3 and all_succeed(now)
        )
        engines = {dict(carried)["engine"] for name, carried in whole if name == "phasetop_engine_info"}
        assert engines == {"vllm", "sglang", "tgi"}
        assert set(by(whole, "phasetop_collector_duration_seconds", "collector")) == {"host", "gpu", "engine"}
        assert count(whole, "phasetop_collector_duration_seconds") == 5

        stub.script(*EIGHT, "fail@3 * 15")
        lost = page.when(lambda now: in_state(now, "gpu", "lost") == 1 and in_state(now, "gpu", "ok") == 7)
        assert count(lost, "phasetop_gpu_power_watts") == 7
        assert count(lost, "phasetop_gpu_state", gpu="3") == 3

        server.behaviour = hang_up  # connections that were kept end with the engine
        leaving.close()
        gone = page.when(
            lambda now: (
                in_state(now, "engine", "down") == 1
                and value(now, "phasetop_collector_success", endpoint=urls[2]) == 0.0
                and value(now, "phasetop_collector_success", endpoint=urls[0]) == 1.0
            )
        )
        assert value(gone, "phasetop_engine_state", endpoint=urls[2], state="down") == 1.0
        assert count(gone, "phasetop_engine_info", endpoint=urls[2]) == 0

        stub.script(*EIGHT)
        back = page.when(lambda now: in_state(now, "gpu", "ok") == 8)
        was = value(lost, "phasetop_gpu_phase_seconds_total", gpu="3", phase="unknown")
        now = value(back, "phasetop_gpu_phase_seconds_total", gpu="3", phase="unknown")
        assert now is not None
        assert was is None or now >= was


def test_gpu_instances_have_a_valid_page(stub: Stub) -> None:
    stub.script(*MIG)
    with measuring(stub.library) as page:
        samples = page.when(lambda now: count(now, "phasetop_gpu_sm_active_ratio") == 4)
    parts = [dict(carried) for name, carried in samples if name == "phasetop_gpu_info" and dict(carried)["parent"]]
    assert len(parts) == 2
    with_time = {dict(carried)["uuid"] for name, carried in samples if name == "phasetop_gpu_phase_seconds_total"}
    whole = {dict(carried)["uuid"] for name, carried in samples if name == "phasetop_gpu_power_watts"}
    assert with_time & whole == whole - {parts[0]["parent"]}  # the time of a GPU is there once
    assert {part["uuid"] for part in parts} < with_time
