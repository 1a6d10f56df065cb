from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from collectors.clock import FakeClock
from collectors.gpu.feed import GpuFeed
from collectors.gpu.sample import GpuSample
from collectors.model import Gap
from collectors.readings import GpuReading, HostReading
from collectors.sources import Background, Harvest, HostSource, SourceStatus


def answered(arrived: threading.Event, pending: Callable[[], bool]) -> None:
    while pending():
        assert arrived.wait(30)
        arrived.clear()


def test_work_is_done_in_another_thread_and_its_result_is_handed_over_once() -> None:
    arrived = threading.Event()
    background = Background("work", threading.get_ident)
    background.start(arrived)
    background.ask()
    answered(arrived, lambda: background.busy)
    assert background.take() not in (None, threading.get_ident())
    assert background.take() is None
    background.stop()


def test_work_that_hangs_is_not_asked_again_and_not_waited_for() -> None:
    arrived, begun, let_go = threading.Event(), threading.Event(), threading.Event()
    calls = []

    def work() -> int:
        calls.append(1)
        begun.set()
        assert let_go.wait(30)
        return 1

    background = Background("work", work)
    background.start(arrived)
    background.ask()
    assert begun.wait(30)
    background.ask()
    assert (background.busy, background.take()) == (True, None)
    let_go.set()
    answered(arrived, lambda: background.busy)
    background.stop()
    assert len(calls) == 1


def test_a_host_that_was_sampled_is_handed_over() -> None:
    arrived, clock = threading.Event(), FakeClock()
    source = HostSource(lambda: HostReading(name="node"), clock)
    source.start(arrived)
    source.request(0.0)
    answered(arrived, source.pending)
    assert source.collect(0.0) == Harvest(host=HostReading(name="node"))
    assert source.status() == (SourceStatus("host", "ok"),)
    source.stop()


def test_a_kernel_that_does_not_answer_is_a_gap_with_its_age() -> None:
    arrived, clock, let_go = threading.Event(), FakeClock(), threading.Event()

    def hang() -> HostReading:
        assert let_go.wait(30)
        return HostReading(name="node")

    source = HostSource(hang, clock)
    source.start(arrived)
    source.request(0.0)
    clock.advance(3.0)
    source.request(3.0)
    assert source.collect(3.0) == Harvest(gaps=(Gap("host", "the kernel has not answered for 3.0 s"),))
    assert [line.state for line in source.status()] == ["stale"]
    let_go.set()
    answered(arrived, source.pending)
    assert source.collect(4.0).host is not None
    source.stop()


def test_a_host_that_cannot_be_sampled_says_why_and_recovers() -> None:
    arrived, clock = threading.Event(), FakeClock()
    failures = [OSError("no /proc here")]

    def sample() -> HostReading:
        if failures:
            raise failures.pop()
        return HostReading(name="node")

    source = HostSource(sample, clock)
    source.start(arrived)
    source.request(0.0)
    answered(arrived, source.pending)
    assert source.collect(0.0).gaps == (Gap("host", "OSError: no /proc here"),)
    source.request(1.0)
    answered(arrived, source.pending)
    assert source.collect(1.0).host is not None
    source.stop()


class FakeReader:
    """A GpuSource whose samples the test hands in."""

    def __init__(self) -> None:
        self.sample: GpuSample | None = None
        self.status: str | None = None
        self.requests = 0
        self.asked: list[tuple[float | None, float | None]] = []
        self.running = False

    def start(self, arrived: threading.Event) -> None:
        self.running = True

    def request(self, edge: float | None = None, next_at: float | None = None) -> None:
        self.requests += 1
        self.asked.append((edge, next_at))

    def latest(self) -> GpuSample | None:
        return self.sample

    def stop(self) -> None:
        self.running = False


def sample(at: float, *, state: str = "ok", energy: float | None = 5.0) -> GpuSample:
    reading = GpuReading(
        uuid="GPU-1", index=1, name="H100", source="gpm", state=state, window_seconds=1.0, energy_joules=energy,
        sm_active_ratio=0.5, memory_used_bytes=7.0,
    )  # fmt: skip
    return GpuSample(arrived=at + 0.02, started=at, ended=at + 0.01, readings=(reading,), processes={9: ("GPU-1",)})


def test_a_sample_is_used_for_one_interval_with_its_age() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    feed.request(10.0)
    assert feed.pending()
    reader.sample = sample(9.5)
    assert not feed.pending()
    harvest = feed.collect(10.0)
    assert [(gpu.state, gpu.energy_joules, gpu.age_seconds) for gpu in harvest.gpus] == [("ok", 5.0, 0.5)]
    assert harvest.processes == {9: ("GPU-1",)}
    assert harvest.gaps == ()


def test_each_gpu_has_the_age_of_its_own_time_and_one_that_ended_after_the_interval_is_negative() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    readings = tuple(GpuReading(uuid=f"GPU-{number}", index=number, window_seconds=1.0) for number in range(3))
    taken = {"GPU-0": 10.001, "GPU-1": 9.875}
    reader.sample = GpuSample(arrived=10.2, started=10.0, ended=10.1, readings=readings, taken=taken)
    ages = [gpu.age_seconds for gpu in feed.collect(10.0).gpus]
    assert ages == [pytest.approx(-0.001), pytest.approx(0.125), 0.0]


def test_between_even_edges_the_next_one_is_told_in_advance() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    for edge in (10.0, 10.3, 11.3, 12.3, 14.3, 15.3, 16.3):
        feed.request(edge)
    ahead = [next_at for _, next_at in reader.asked]
    assert ahead == [None, None, None, pytest.approx(13.3), None, None, pytest.approx(17.3)]


def test_a_sample_that_came_before_its_edge_was_noticed_is_not_waited_for_again() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    feed.request(10.0)
    reader.sample = sample(10.0)
    feed.collect(10.0)
    reader.sample = sample(11.001)
    feed.request(11.0)
    assert not feed.pending()
    assert feed.collect(11.0).gpus[0].state == "ok"


def test_a_lost_gpu_is_a_gap_with_its_reason() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    lost = GpuReading(uuid="GPU-1", index=1, state="lost", note="this GPU needs a reset")
    reader.sample = GpuSample(arrived=10.0, started=10.0, ended=10.0, readings=(lost,))
    assert feed.collect(10.0).gaps == (Gap("gpu GPU-1", "this GPU needs a reset"),)


def test_without_a_new_sample_the_gpu_stays_listed_as_stale_and_nothing_is_counted_twice() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    feed.request(10.0)
    reader.sample = sample(10.0)
    feed.collect(10.0)
    feed.request(11.0)
    harvest = feed.collect(11.0)
    note = "NVML has not answered for 1.0 s"
    assert harvest.gpus == (
        GpuReading(uuid="GPU-1", index=1, name="H100", source="gpm", state="stale", note=note, age_seconds=1.0),
    )
    assert harvest.gaps == (Gap("gpu", "NVML has not answered for 1.0 s"),)
    assert harvest.processes == {9: ("GPU-1",)}
    reader.status = "NVML has not answered for 7 s; restarting its reader"
    assert feed.collect(12.0).gaps == (Gap("gpu", reader.status),)


def test_samples_between_two_intervals_are_joined_and_no_energy_is_lost() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    reader.sample = sample(10.0)
    feed.request(10.0)
    reader.sample = sample(10.5)
    assert not feed.pending()
    reader.sample = sample(11.0)
    (gpu,) = feed.collect(11.0).gpus
    assert (gpu.energy_joules, gpu.window_seconds) == (15.0, 3.0)


def test_a_lost_gpu_stays_lost_while_nothing_new_comes() -> None:
    reader = FakeReader()
    feed = GpuFeed(reader)
    reader.sample = sample(10.0, state="lost", energy=None)
    assert [gpu.state for gpu in feed.collect(10.0).gpus] == ["lost"]
    assert [gpu.state for gpu in feed.collect(11.0).gpus] == ["lost"]


def test_a_machine_without_gpus_has_no_gaps_and_nobody_waits_for_it() -> None:
    reader = FakeReader()
    reader.status = "libnvidia-ml.so.1 not found"
    feed = GpuFeed(reader)
    feed.start(threading.Event())
    assert reader.running
    feed.request(1.0)
    assert not feed.pending()
    assert feed.collect(1.0) == Harvest()
    assert feed.status() == (SourceStatus("gpu", "missing", "libnvidia-ml.so.1 not found"),)
    assert feed.status()[0].collector is None  # nothing that fails to be sampled
    feed.stop()
    assert not reader.running
