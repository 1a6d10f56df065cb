from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.clock import FakeClock
from collectors.model import HOST, Event, Interval, Tick
from collectors.readings import EngineReading, HostReading
from collectors.sources import Harvest, SourceStatus
from collectors.watch import Watch
from dashboard.config import Config
from dashboard.session import LiveFeed, LiveSession, Parts, parts_of
from dashboard.single import once
from tests.live_support import reply, serving, whole
from tests.making import vllm_page
from tests.patience import PATIENCE

URL = "http://127.0.0.1:8000/metrics"


class ScriptedSource:
    """Engine states as the test writes them down, one an edge; the last one goes on."""

    name = "scripted"

    def __init__(self, *states: str) -> None:
        self._states = list(states) or ["ok"]
        self.stopped = False

    def start(self, arrived: threading.Event) -> None: ...
    def request(self, edge: float) -> None: ...

    def pending(self) -> bool:
        return False

    def collect(self, edge: float) -> Harvest:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        engine = EngineReading(endpoint=URL, engine_index="0", engine="vllm", state=state)
        return Harvest(host=HostReading(name="node"), engines=(engine,))

    def status(self) -> Sequence[SourceStatus]:
        return (SourceStatus(URL, "ok"), SourceStatus("gpu", "missing", "libnvidia-ml.so.1 not found"))

    def stop(self) -> None:
        self.stopped = True


class Kept:
    def __init__(self) -> None:
        self.ticks: list[Tick] = []

    def put(self, tick: Tick) -> None:
        self.ticks.append(tick)


class Breaking(Kept):
    def put(self, tick: Tick) -> None:
        super().put(tick)
        raise OSError("the disk\nis full")


def session_of(*sinks: Kept, source: ScriptedSource | None = None, **options: object) -> LiveSession:
    parts = Parts([source or ScriptedSource()])
    return LiveSession(Config(), sinks, clock=FakeClock(), parts=parts, **options)  # type: ignore[arg-type]


def steps(session: LiveSession, count: int) -> None:
    for _ in range(count):
        assert session.sampler.step()


def test_every_sink_gets_every_tick_in_order_with_labels() -> None:
    first, second = Kept(), Kept()
    steps(session_of(first, second), 4)
    assert [tick.interval.sequence for tick in first.ticks] == [1, 2, 3]
    assert second.ticks == first.ticks
    assert HOST in first.ticks[0].labels


def test_a_sink_that_raises_is_left_out_with_its_reason_and_the_others_go_on() -> None:
    broken, kept = Breaking(), Kept()
    session = session_of(broken, kept)
    steps(session, 4)
    assert (len(broken.ticks), len(kept.ticks)) == (1, 3)
    assert SourceStatus("Breaking", "failed", "OSError: the disk\ufffdis full") in session.status()


def test_a_labeller_that_raises_costs_the_labels_and_not_the_readings() -> None:
    class Confused:
        def __init__(self) -> None:
            self.calls = 0

        def push(self, interval: Interval) -> Tick:
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError("division by zero")
            return Tick(interval)

        def catch_up(self) -> None: ...

    kept = Kept()
    session = session_of(kept, labeller=Confused())
    steps(session, 2)
    assert kept.ticks[0].interval.host is not None
    assert kept.ticks[0].labels == {}
    assert SourceStatus("labels", "failed", "ZeroDivisionError: division by zero") in session.status()
    steps(session, 1)
    assert "labels" not in [line.source for line in session.status()]


def test_an_event_that_cannot_be_told_costs_neither_readings_nor_labels() -> None:
    class Confused(Watch):
        def push(self, tick: Tick) -> tuple[Event, ...]:
            if tick.interval.sequence == 1:
                raise KeyError("ttft")
            return super().push(tick)

    kept = Kept()
    session = session_of(kept, watch=Confused())
    steps(session, 2)
    assert HOST in kept.ticks[0].labels
    assert SourceStatus("events", "failed", "KeyError: 'ttft'") in session.status()
    steps(session, 1)
    assert [tick.interval.sequence for tick in kept.ticks] == [1, 2]
    assert "events" not in [line.source for line in session.status()]


def test_an_engine_that_goes_down_and_comes_back_is_an_event_on_its_tick() -> None:
    kept = Kept()
    steps(session_of(kept, source=ScriptedSource("ok", "ok", "down", "down", "ok")), 5)
    assert [[event.kind for event in tick.events if event.kind.startswith("engine")] for tick in kept.ticks] == [
        ["engine-up"],
        ["engine-down"],
        [],
        ["engine-up"],
    ]


def test_stopping_a_session_stops_its_sources() -> None:
    source = ScriptedSource()
    session = session_of(source=source)
    session.start()
    session.stop()
    assert source.stopped


def test_a_screen_gets_ticks_and_only_lines_of_what_is_not_well() -> None:
    came = threading.Event()
    sink = Kept()
    config = replace(Config(), sampling=replace(Config().sampling, interval=0.05))
    feed = LiveFeed(config, [sink], parts=Parts([ScriptedSource()]))
    assert feed.live
    assert feed.status() == []
    feed.start(lambda tick: came.set())
    try:
        assert came.wait(PATIENCE)
        assert feed.status() == [SourceStatus("gpu", "missing", "libnvidia-ml.so.1 not found")]
    finally:
        feed.stop()
    assert sink.ticks


def test_one_interval_can_be_measured_at_once_and_is_settled() -> None:
    looked: list[bool] = []
    parts = Parts([ScriptedSource()], look=lambda: looked.append(True))
    clock = FakeClock()
    before = clock.wall_ns()
    tick = once(Config(), window=0.5, clock=clock, parts=parts)
    assert tick is not None
    assert looked == [True]
    assert tick.interval.end - tick.interval.start == 500_000_000
    assert tick.interval.start - before < 10_000_000
    assert all(label.settled for label in tick.labels.values())


def quiet(**engine: object) -> Config:
    """A configuration that looks at nothing but the pages it names."""
    base = Config()
    return replace(
        base,
        gpu=replace(base.gpu, enabled=False),
        engine=replace(base.engine, discover=False, **engine),  # type: ignore[arg-type]
    )


def test_a_configured_engine_is_measured_end_to_end() -> None:
    counts = itertools.count(0, 10)

    def answer(handler: Any) -> None:
        is_page = handler.path == "/metrics"  # its server is asked for its version too
        reply(vllm_page(generated=next(counts), running=1).encode() if is_page else b"{}")(handler)

    with serving(answer) as server:
        tick = whole(lambda: once(quiet(urls=(server.url,)), window=0.3))
    (reading,) = tick.interval.engines.values()
    assert (reading.endpoint, reading.state, reading.generation_tokens) == (server.url, "ok", 10.0)
    assert tick.interval.host is not None
    assert tick.interval.gaps == ()


def test_a_page_behind_a_token_is_read_with_the_token_of_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    blocked = reply(b"", status="401 Unauthorized")
    page = reply(vllm_page().encode())

    def answer(handler: object) -> None:
        headers = server.requests[-1][2]
        (page if headers.get("authorization") == "Bearer s3cret" else blocked)(handler)

    with serving(answer) as server:
        without = whole(lambda: once(quiet(urls=(server.url,)), window=0.25), gaps=1)
        named = server.url.replace("127.0.0.1", "localhost")
        with_token = whole(lambda: once(quiet(urls=(server.url,), token_files={named: secret}), window=0.25))
    assert [reading.state for reading in without.interval.engines.values()] == ["blocked"]
    assert [gap.source for gap in without.interval.gaps] == [server.url]
    assert [reading.state for reading in with_token.interval.engines.values()] == ["ok"]


@pytest.mark.parametrize(
    ("change", "discovers"),
    [
        (lambda engine: engine, True),
        (lambda engine: replace(engine, discover=False), False),
        (lambda engine: replace(engine, discover=False, urls=("http://10.0.0.1:8000/metrics",)), False),
        (lambda engine: replace(engine, discover=False, urls=("http://localhost:8000/metrics",)), True),
    ],
)
def test_processes_are_looked_at_only_where_an_engine_may_be_on_this_machine(
    change: Callable[[object], object], discovers: bool
) -> None:
    config = replace(Config(), engine=change(Config().engine))  # type: ignore[arg-type]
    parts = parts_of(config, FakeClock())
    assert (parts.discovery is not None) is discovers


def test_without_gpus_no_reader_is_made() -> None:
    names = [source.name for source in parts_of(quiet(), FakeClock()).sources]
    assert names == ["host", "engines"]
    assert [source.name for source in parts_of(Config(), FakeClock()).sources] == ["host", "gpu", "engines"]
