"""Latency objectives: what is met, what is broken, and how often that is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.clock import FakeClock
from collectors.histogram import Histogram
from collectors.model import Event, Interval, Tick
from collectors.readings import EngineReading, HostReading
from collectors.slo import FEWEST, Objective, Slo, SloBook, SloWatch
from collectors.sources import Harvest, SourceStatus
from dashboard.config import Config, load
from dashboard.objectives import slo_book
from dashboard.session import LiveSession, Parts

SECOND = 1_000_000_000
URL = "http://127.0.0.1:8000/metrics"
BOUNDS = (0.1, 0.5, 1.0, 5.0)
FAST, SLOW = (20, 0, 0, 0, 0), (0, 0, 0, 20, 0)
BOOK = SloBook(Slo(ttft=Objective(1.0, 0.9)))


def interval(second: int, *counts: tuple[int, ...] | None, **fields: Any) -> Interval:
    """An interval with a rank for each of `counts`, the observations of its TTFT."""
    readings = [
        EngineReading(
            endpoint=URL, engine_index=str(rank), engine="vllm",
            ttft=None if seen is None else Histogram(BOUNDS, seen, 1.0), **fields,
        )
        for rank, seen in enumerate(counts)
    ]  # fmt: skip
    return Interval(second, second * SECOND, (second + 1) * SECOND, 1.0, engines={one.key: one for one in readings})


def told(watch: SloWatch, seen: dict[int, tuple[int, ...]], upto: int) -> list[Event]:
    return [event for n in range(upto) for event in watch.push(interval(n, seen.get(n)))]


def test_a_broken_promise_is_told_once_with_the_figures() -> None:
    (event,) = told(SloWatch(BOOK), dict.fromkeys(range(5, 50), SLOW), 50)
    assert (event.kind, event.time, event.entity) == ("slo-breach", 6 * SECOND, f"engine/{URL}#0")
    assert event.text == f"SLO breached: TTFT p90 4.6 s over 1 s, vllm at {URL}"


def test_it_is_told_again_only_after_a_whole_window_without_a_breach() -> None:
    # The window of a minute forgets the slow second of 10 at 70, and is whole again at 130.
    assert [event.time // SECOND for event in told(SloWatch(BOOK), {10: SLOW, 100: SLOW, 300: SLOW}, 400)] == [11, 301]


def test_ranks_are_merged_before_the_quantile() -> None:
    watch = SloWatch(SloBook(Slo(ttft=Objective(1.0, 0.5))))
    assert watch.push(interval(0, FAST, FAST, SLOW)) == ()
    assert len(watch.push(interval(1, SLOW, SLOW, SLOW))) == 1


def test_few_observations_say_nothing() -> None:
    few = (0, 0, 0, FEWEST - 1, 0)
    assert told(SloWatch(BOOK), {0: few}, 20) == []
    assert len(told(SloWatch(BOOK), {0: few, 30: (0, 0, 0, 1, 0)}, 40)) == 1


def test_without_latencies_and_without_objectives_nothing_is_told() -> None:
    watch = SloWatch(BOOK)
    assert [watch.push(interval(n, None)) for n in range(3)] == [(), (), ()]
    assert [SloWatch(SloBook()).push(interval(n, SLOW)) for n in range(3)] == [(), (), ()]


def test_bounds_that_change_begin_a_new_window() -> None:
    watch = SloWatch(BOOK)
    watch.push(interval(0, FAST))
    other = EngineReading(endpoint=URL, engine_index="0", ttft=Histogram((2.0,), (0, 30), 90.0))
    (event,) = watch.push(Interval(1, SECOND, 2 * SECOND, 1.0, engines={other.key: other}))
    assert "TTFT p90 2 s over 1 s" in event.text


def test_models_may_have_objectives_of_their_own() -> None:
    book = SloBook(BOOK.common, {"large": Slo(ttft=Objective(10.0, 0.9)), "any": Slo()})
    for model, events in (("small", 1), ("large", 0), ("any", 0)):
        assert len(SloWatch(book).push(interval(0, SLOW, model=model))) == events


def test_the_configuration_makes_the_book(tmp_path: Any) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[slo]\nttft = ""\ntpot_quantile = 0.95\n[slo.models]\n"a b" = { ttft = "500ms", tpot = "" }\n')
    book = slo_book(load(environment={}, files=(), config_file=file).config.slo)
    assert book.of("other") == Slo(None, Objective(0.1, 0.95))
    assert book.of("a b") == Slo(Objective(0.5, 0.99), None)
    assert book.of(None) == book.common


class SlowEngine:
    """A source of one engine whose requests wait four seconds for their first token."""

    name = "slow"

    def start(self, arrived: threading.Event) -> None: ...
    def request(self, edge: float) -> None: ...
    def stop(self) -> None: ...

    def pending(self) -> bool:
        return False

    def collect(self, edge: float) -> Harvest:
        (reading,) = interval(0, SLOW).engines.values()
        return Harvest(host=HostReading(name="node"), engines=(reading,))

    def status(self) -> Sequence[SourceStatus]:
        return ()


def test_a_live_session_tells_it_with_the_interval_in_which_it_happened() -> None:
    class Kept:
        def __init__(self) -> None:
            self.ticks: list[Tick] = []

        def put(self, tick: Tick) -> None:
            self.ticks.append(tick)

    kept = Kept()
    session = LiveSession(Config(), [kept], clock=FakeClock(), parts=Parts([SlowEngine()]))
    for _ in range(4):
        assert session.sampler.step()
    told = [[event.text for event in tick.events if event.kind == "slo-breach"] for tick in kept.ticks]
    assert told == [[f"SLO breached: TTFT p99 4.96 s over 2 s, vllm at {URL}"], [], []]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('ttft = "2"', 'slo.ttft: "2" is not a duration'),
        ('tpot = "5m"', 'slo.tpot: "5m" is out of range: it must be 0.1ms to 1m, or "" for none'),
        ("ttft_quantile = 99", "slo.ttft_quantile: 99 is out of range: it must be 0.5 to 0.9999"),
        ("tpot_quantile = true", "must be a number such as 0.99, not true"),
        ('models = { a = { itl = "1s" } }', 'slo.models: "a" must hold ttft, tpot or both'),
        ('models = { a = { ttft = "1" } }', 'slo.models: ttft of "a": "1" is not a duration'),
    ],
)
def test_what_is_wrong_with_an_objective_is_said(tmp_path: Any, text: str, complaint: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"[slo]\n{text}\n")
    with pytest.raises(Exception, match=r"c\.toml") as raised:
        load(environment={}, files=(), config_file=file)
    assert complaint in str(raised.value)


@settings(max_examples=60, deadline=None)
@given(
    seen=st.lists(st.one_of(st.none(), st.tuples(*[st.integers(0, 30)] * (len(BOUNDS) + 1))), min_size=1, max_size=150)
)
def test_the_window_is_exactly_the_last_minute(seen: list[tuple[int, ...] | None]) -> None:
    """What the watch says is what the merged observations of the last sixty intervals say."""
    watch, broken_at = SloWatch(BOOK), -1000
    for n, counts in enumerate(seen):
        events = watch.push(interval(n, counts))
        last = [one for one in seen[max(0, n - 59) : n + 1] if one is not None and any(one)]
        total = Histogram(BOUNDS, tuple(map(sum, zip(*last, strict=True))), 0.0) if last else None
        is_broken = BOOK.common.ttft is not None and BOOK.common.ttft.met(total) is False
        assert bool(events) == (is_broken and n - broken_at > 60)
        broken_at = n if is_broken else broken_at
