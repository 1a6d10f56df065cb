from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NANO, FakeClock
from collectors.model import Gap, Interval
from collectors.readings import EngineReading, GpuReading, HostReading
from collectors.sampler import Sampler
from collectors.sources import Harvest, SourceStatus

START = 1_700_000_000 * NANO


class FakeSource:
    """Answers each request `delay` seconds later, or never."""

    def __init__(self, clock: FakeClock, *, name: str = "fake", delay: float | None = 0.0) -> None:
        self.name = name
        self.delay = delay
        self.harvest = Harvest(host=HostReading(name="node", cpu_ratio=0.123456789))
        self.edges: list[float] = []
        self.collected: list[float] = []
        self.stopped = False
        self._clock = clock
        self._arrived: threading.Event | None = None
        self._out = False

    def start(self, arrived: threading.Event) -> None:
        self._arrived = arrived

    def request(self, edge: float) -> None:
        self.edges.append(edge)
        self._out = True
        if self.delay is not None:
            self._clock.at(self._clock.monotonic() + self.delay, self._answer)

    def _answer(self) -> None:
        self._out = False
        if self._arrived is not None:
            self._arrived.set()

    def pending(self) -> bool:
        return self._out

    def collect(self, edge: float) -> Harvest:
        self.collected.append(self._clock.monotonic())
        return self.harvest

    def status(self) -> Sequence[SourceStatus]:
        return (SourceStatus(self.name, "ok"),)

    def stop(self) -> None:
        self.stopped = True


class Run:
    """A sampler on a fake clock, stepped by hand."""

    def __init__(self, *, interval: float = 1.0, start: int = START + 300_000_000, **options: Any) -> None:
        self.clock = FakeClock(monotonic=50.0, wall_ns=start)
        self.source = FakeSource(self.clock)
        self.intervals: list[Interval] = []
        self.sampler = Sampler(
            [self.source], interval=interval, clock=self.clock, deliver=self.intervals.append, **options
        )

    def steps(self, count: int) -> list[Interval]:
        for _ in range(count):
            assert self.sampler.step()
        return self.intervals


def test_intervals_are_whole_wall_aligned_and_follow_one_another() -> None:
    intervals = Run().steps(4)
    assert [(one.sequence, one.start, one.end) for one in intervals] == [
        (1, START + 1 * NANO, START + 2 * NANO),
        (2, START + 2 * NANO, START + 3 * NANO),
        (3, START + 3 * NANO, START + 4 * NANO),
    ]
    assert [one.duration for one in intervals] == [1.0, 1.0, 1.0]
    assert all(one.gaps == () for one in intervals)


def test_readings_are_rounded_before_anybody_sees_them() -> None:
    (interval,) = Run().steps(2)
    assert interval.host is not None
    assert interval.host.cpu_ratio == 0.1235


def test_an_interval_is_handed_on_as_soon_as_all_have_answered() -> None:
    run = Run()
    run.source.delay = 0.02
    run.steps(2)
    assert run.source.collected[-1] - run.source.edges[-1] == pytest.approx(0.02)


def test_a_source_that_does_not_answer_delays_nobody_beyond_the_deadline() -> None:
    run = Run()
    run.source.delay = None
    run.steps(3)
    assert [round(at - edge, 6) for at, edge in zip(run.source.collected, run.source.edges, strict=True)] == [0.25] * 3
    assert [one.end - START for one in run.intervals] == [2 * NANO, 3 * NANO]


def test_of_a_long_interval_no_more_than_two_seconds_are_waited() -> None:
    run = Run(interval=60.0)
    run.source.delay = None
    run.steps(1)
    assert run.source.collected[0] - run.source.edges[0] == pytest.approx(2.0)


@pytest.mark.parametrize("method", ["start", "request", "pending", "collect"])
def test_a_source_that_raises_fails_alone_and_says_so(method: str) -> None:
    run = Run()
    broken = FakeSource(run.clock, name="broken")

    def fail(*_: object) -> None:
        raise RuntimeError("no\nmore")

    setattr(broken, method, fail)
    intervals: list[Interval] = []
    sampler = Sampler([broken, run.source], interval=1.0, clock=run.clock, deliver=intervals.append)
    assert sampler.step()
    assert sampler.step()
    (interval,) = intervals
    assert interval.host is not None
    if method != "start":
        assert interval.gaps == (Gap("broken", "failed: RuntimeError: no\ufffdmore"),)


def test_time_stolen_from_the_sampler_is_a_gap_and_the_next_edges_are_whole_again() -> None:
    run = Run()
    run.steps(2)
    run.clock.advance(3.4)
    run.steps(2)
    missed, after = run.intervals[1:]
    assert missed.gaps == (Gap("sampler", "2 intervals missed: the machine gave this program no time"),)
    assert (missed.sequence, missed.start - START, missed.duration) == (2, 4 * NANO, 1.0)
    assert (after.start, after.gaps) == (missed.end, ())


def test_waking_a_little_late_costs_nothing_and_adds_up_to_nothing() -> None:
    run = Run()
    run.steps(2)
    for _ in range(50):
        run.clock.advance(1.2)
        run.steps(1)
    assert sum(one.duration for one in run.intervals) == pytest.approx(len(run.intervals), abs=1e-3)
    assert all(one.end % NANO == 0 for one in run.intervals)


def test_a_machine_that_slept_leaves_a_hole_with_its_reason() -> None:
    run = Run()
    run.steps(2)
    run.clock.sleep_machine(3600.0)
    run.steps(2)
    woken, after = run.intervals[1:]
    assert woken.gaps == (Gap("clock", "the machine slept for 3600.0 s"),)
    assert woken.start - run.intervals[0].end == pytest.approx(3600 * NANO, abs=NANO)
    assert woken.duration <= 1.0
    assert (after.start, after.gaps) == (woken.end, ())


def test_a_clock_that_steps_forward_leaves_a_hole_with_its_reason() -> None:
    run = Run()
    run.steps(2)
    run.clock.step_wall(100.0)
    run.steps(1)
    assert run.intervals[-1].gaps == (Gap("clock", "the clock stepped forward by 100.0 s"),)
    assert run.intervals[-1].end % NANO == 0


def test_a_clock_that_steps_back_makes_no_two_intervals_collide() -> None:
    run = Run()
    run.steps(3)
    run.clock.step_wall(-30.0)
    run.steps(3)
    assert [one.sequence for one in run.intervals] == [1, 2, 3, 4, 5]
    stepped = run.intervals[2]
    assert stepped.gaps == (Gap("clock", "the clock stepped back by 30.0 s"),)
    assert stepped.end < run.intervals[1].start
    assert stepped.duration <= 1.0
    assert [one.gaps for one in run.intervals[3:]] == [(), ()]


def test_a_clock_that_goes_a_little_wrong_is_followed_without_a_word() -> None:
    run = Run()
    run.steps(2)
    for _ in range(20):
        run.clock.step_wall(0.0005)
        run.steps(1)
    assert all(one.gaps == () for one in run.intervals)
    assert [later.start - earlier.end for earlier, later in pairwise(run.intervals)] == [0] * 20
    assert run.intervals[-1].duration == pytest.approx(0.9995, abs=1e-4)


def test_one_interval_can_begin_now() -> None:
    run = Run(start=START + 777_000_000)
    run.sampler.align_to_now()
    (interval,) = run.steps(2)
    assert interval.start - (START + 777_000_000) == pytest.approx(5_000_000, abs=1_000_000)
    assert (interval.end - interval.start, interval.duration) == (NANO, 1.0)


def test_warming_up_asks_everything_once_and_waits_for_it() -> None:
    run = Run()
    run.source.delay = 1.5
    run.sampler.warm_up(3.0)
    assert (len(run.source.edges), run.source.pending(), run.intervals) == (1, False, [])


def test_gpus_are_given_to_the_engine_whose_processes_run_on_them() -> None:
    run = Run()
    run.source.harvest = Harvest(
        gpus=(GpuReading(uuid="GPU-0", index=0), GpuReading(uuid="GPU-1", index=1)),
        engines=tuple(EngineReading(endpoint=url, engine_index="0") for url in ("http://a", "http://b")),
        processes={7: ("GPU-1",)},
        trees={"http://a": frozenset({7})},
    )
    (interval,) = run.steps(2)
    assert list(interval.gpus) == ["GPU-0", "GPU-1"]
    assert interval.engines["http://a", "0"].gpus == ("GPU-1",)
    assert interval.engines["http://b", "0"].gpus == ()


def test_stopping_ends_the_wait_for_an_edge_and_all_sources() -> None:
    run = Run()
    run.steps(1)
    run.sampler.stop()
    assert run.source.stopped
    assert not run.sampler.step()


def test_it_runs_in_a_thread_of_its_own_until_it_is_stopped() -> None:
    from collectors.clock import SystemClock

    delivered = threading.Event()
    source = FakeSource(FakeClock(), delay=None)
    source.pending = lambda: False  # type: ignore[method-assign]
    sampler = Sampler([source], interval=0.01, deliver=lambda interval: delivered.set(), clock=SystemClock())
    sampler.start()
    try:
        assert delivered.wait(30)
    finally:
        sampler.stop()
    assert source.stopped


@pytest.mark.parametrize("interval", [0.0, -1.0])
def test_an_interval_must_be_positive(interval: float) -> None:
    with pytest.raises(ValueError, match="not positive"):
        Sampler([], interval=interval, deliver=lambda one: None)


DISTURBANCES = st.lists(
    st.one_of(
        st.tuples(st.just("late"), st.floats(0.0, 10.0)),
        st.tuples(st.just("step"), st.floats(-50.0, 50.0)),
        st.tuples(st.just("sleep"), st.floats(0.0, 1000.0)),
        st.tuples(st.just("slow answer"), st.floats(0.0, 5.0)),
        st.tuples(st.just("step while waiting"), st.floats(-3.0, 3.0)),
    ),
    max_size=25,
)


@given(DISTURBANCES, st.sampled_from([0.25, 1.0, 5.0]), st.integers(0, 10 * NANO))
def test_whatever_the_clock_does_intervals_are_aligned_ordered_and_never_overlap_in_time_that_passed(
    disturbances: list[tuple[str, float]], interval: float, start: int
) -> None:
    run = Run(interval=interval, start=START + start)
    actions: dict[str, Callable[[float], None]] = {
        "late": run.clock.advance,
        "step": run.clock.step_wall,
        "sleep": run.clock.sleep_machine,
        "slow answer": lambda seconds: setattr(run.source, "delay", seconds),
        "step while waiting": lambda seconds: run.clock.at(
            run.clock.monotonic() + interval / 3, lambda: run.clock.step_wall(seconds)
        ),
    }
    began = run.clock.monotonic()
    run.steps(1)
    for what, amount in disturbances:
        actions[what](amount)
        run.steps(1)
    length = round(interval * NANO)
    assert all(one.start % length == 0 and one.end - one.start == length for one in run.intervals)
    assert [one.sequence for one in run.intervals] == list(range(1, len(run.intervals) + 1))
    assert all(one.duration >= 0.49 * interval for one in run.intervals)
    assert sum(one.duration for one in run.intervals) <= run.clock.monotonic() - began + 1e-6 * len(run.intervals)
    for earlier, later in pairwise(run.intervals):
        if later.start < earlier.end:
            assert [gap.source for gap in later.gaps] == ["clock"]
        if later.start > earlier.end:
            assert [gap.source for gap in later.gaps] in (["clock"], ["sampler"])
