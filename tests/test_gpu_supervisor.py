"""The supervisor against children and a clock that the test moves."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest

from collectors.gpu.frames import FrameError
from collectors.gpu.supervisor import Deadlines, Supervisor

READY = {"kind": "ready", "driver": "580.65.06"}
BEAT = {"kind": "beat"}
SAMPLE = {"kind": "sample", "gpus": []}
WITH_A_LOST_GPU = {"kind": "sample", "gpus": [{"uuid": "GPU-1", "state": "ok"}, {"uuid": "GPU-2", "state": "lost"}]}
NO_LIBRARY = {"kind": "gone", "code": 12, "reason": "libnvidia-ml.so.1 not found"}
NO_DRIVER = {"kind": "gone", "code": 9, "reason": "the NVIDIA driver is not loaded"}


class FakeChild:
    def __init__(self, *, killable: bool = True) -> None:
        self.pid = os.getpid()
        self.inbox: list[dict[str, Any] | Exception] = []
        self.asked: list[dict[str, Any]] = []
        self.status: int | None = None
        self.ended = False
        self.closed = False
        self._killable = killable

    def fileno(self) -> int:
        return -1

    def send(self, message: dict[str, Any]) -> None:
        self.asked.append(message)

    def receive(self) -> list[dict[str, Any]] | None:
        messages: list[dict[str, Any]] = []
        for entry in self.inbox:
            if isinstance(entry, Exception):
                raise entry
            messages.append(entry)
        self.inbox = []
        return None if self.ended and not messages else messages

    def close(self) -> None:
        self.closed = True

    def kill(self) -> None:
        if self._killable and self.status is None:
            self.status = -9

    def exit_status(self) -> int | None:
        return self.status


class World:
    """A supervisor, its clock, the children it has started and what its probe sees."""

    def __init__(self, deadlines: Deadlines | None = None) -> None:
        self.now = 100.0
        self.probed: object = "no driver"
        self.children: list[FakeChild] = []
        self.killable = True
        self.refusal: OSError | None = None
        self.supervisor = Supervisor(
            self._spawn, lambda: self.probed, clock=lambda: self.now, deadlines=deadlines or Deadlines()
        )

    def _spawn(self) -> FakeChild:
        if self.refusal is not None:
            raise self.refusal
        self.children.append(FakeChild(killable=self.killable))
        return self.children[-1]

    @property
    def child(self) -> FakeChild:
        return self.children[-1]

    def step(self, *messages: dict[str, Any] | Exception, after: float = 0.0, wanted: bool = False) -> list[Any]:
        self.now += after
        if messages:
            self.child.inbox += messages
        return self.supervisor.step(wanted)[0]

    def starts_within(self, seconds: float, *, silent: bool = False) -> list[float]:
        """When children were started, in seconds from now, with each of them failing at once or saying nothing."""
        begin, starts = self.now, []
        while self.now - begin < seconds:
            before = len(self.children)
            self.step(after=0.5)
            if len(self.children) > before:
                starts.append(self.now - begin)
                if not silent:
                    self.step(NO_DRIVER)
        return starts


@pytest.fixture
def world() -> World:
    return World()


def test_a_sample_is_asked_for_once_and_handed_on(world: World) -> None:
    world.step()
    world.step(READY, wanted=True)
    assert world.child.asked == [{"id": 1}]
    world.step(wanted=True)
    assert len(world.child.asked) == 1
    assert world.step(SAMPLE) == [SAMPLE]
    world.step(wanted=True)
    assert world.child.asked == [{"id": 1}, {"id": 2}]
    assert world.supervisor.status is None


def test_a_sample_is_asked_for_in_advance_and_is_not_late_before_its_moment(world: World) -> None:
    world.step()
    world.step(READY, wanted=True)
    assert not world.supervisor.ask_ahead(world.now + 20.0)  # one is outstanding
    world.step(SAMPLE)
    assert world.supervisor.ask_ahead(world.now + 20.0)
    assert world.child.asked[-1] == {"id": 2, "at": world.now + 20.0}
    world.step(after=20.0, wanted=True)
    assert len(world.child.asked) == 2
    assert world.supervisor.status is None
    world.step(after=7.0)
    assert world.supervisor.status == "NVML has not answered for 7 s; restarting its reader"


def test_a_moment_that_has_passed_is_not_asked_for(world: World) -> None:
    world.step()
    world.step(READY)
    assert world.supervisor.ask_ahead(world.now)
    assert world.child.asked == []


def test_a_wish_before_the_reader_is_ready_is_kept_and_one_during_an_answer_is_dropped(world: World) -> None:
    assert world.supervisor.step(True) == ([], False)
    world.child.inbox.append(READY)
    assert world.supervisor.step(True) == ([], True)
    assert world.supervisor.step(True) == ([], True)
    assert len(world.child.asked) == 1


def test_a_silent_reader_is_named_and_then_replaced(world: World) -> None:
    world.step()
    world.step(READY, wanted=True)
    world.step(after=4.0)
    assert world.supervisor.status == "NVML has not answered for 4 s"
    world.step(after=3.0)
    assert world.supervisor.status == "NVML has not answered for 7 s; restarting its reader"
    assert world.child.status == -9
    world.step(after=1.0)
    assert len(world.children) == 2
    world.step(READY, wanted=True)
    assert world.supervisor.status == "NVML has not answered for 7 s; restarting its reader"
    world.step(SAMPLE)
    assert world.supervisor.status is None


def test_a_slow_reader_that_shows_life_is_named_and_left_alone(world: World) -> None:
    world.step()
    world.step(READY, wanted=True)
    for _ in range(20):
        world.step(BEAT, after=2.0)
    assert world.supervisor.status == "NVML has not answered for 40 s"
    assert len(world.children) == 1
    assert world.step(SAMPLE) == [SAMPLE]
    assert world.supervisor.status is None


def test_a_reader_that_nothing_is_asked_of_may_be_silent(world: World) -> None:
    world.step()
    world.step(READY)
    world.step(after=10_000.0)
    assert len(world.children) == 1
    assert world.supervisor.seconds_to_wait() is None


def test_starting_has_more_time_than_answering(world: World) -> None:
    world.step()
    world.step(after=29.0)
    assert len(world.children) == 1
    world.step(after=1.0)
    assert world.supervisor.status == "NVML has not answered for 30 s; restarting its reader"


def test_retries_are_seconds_apart_at_first_and_grow_to_a_minute_after_ten(world: World) -> None:
    world.step()
    world.step(NO_DRIVER)
    assert world.supervisor.status == "the NVIDIA driver is not loaded"
    starts = world.starts_within(1000.0)
    assert starts[:5] == [1.0, 3.0, 7.0, 12.0, 17.0]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert {pause for start, pause in zip(starts, pauses, strict=False) if 7.0 <= start < 595.0} == {5.0}
    assert [pause for pause in pauses if pause > 5.0][:5] == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_where_nvml_was_ready_at_once_before_it_is_not_waited_for_as_long_again(world: World) -> None:
    world.step()
    world.step(READY, SAMPLE)
    world.step(wanted=True)
    world.step(after=7.0)
    assert world.starts_within(40.0, silent=True)[:3] == [1.0, 11.0, 23.0]


def test_where_nvml_took_its_time_before_it_is_waited_for_as_long_again(world: World) -> None:
    world.step()
    world.step(READY, SAMPLE, after=5.0)
    world.step(wanted=True)
    world.step(after=7.0)
    assert world.starts_within(40.0, silent=True)[:2] == [1.0, 33.0]


def test_a_reader_that_worked_for_a_minute_is_replaced_at_once_again(world: World) -> None:
    world.step()
    world.step(NO_DRIVER)
    world.starts_within(60.0)
    world.step(after=60.0)
    world.step(READY, SAMPLE)
    world.step(after=61.0)
    world.step(NO_DRIVER)
    assert world.starts_within(4.0)[0] == 1.0


def test_without_a_library_nothing_is_started_until_something_changes(world: World) -> None:
    world.step()
    world.step(NO_LIBRARY)
    assert world.supervisor.status == "libnvidia-ml.so.1 not found"
    assert world.starts_within(590.0) == []
    world.probed = "a driver"
    assert world.starts_within(10.0)[0] <= Deadlines().probe


def test_a_driver_that_is_seen_to_change_is_tried_before_its_turn(world: World) -> None:
    world.step()
    world.step(NO_DRIVER)
    world.starts_within(1001.0)
    world.probed = "a driver"
    assert world.starts_within(6.0)


def test_a_missing_library_is_tried_again_now_and_then_whatever_the_probe_sees(world: World) -> None:
    world.step()
    world.step(NO_LIBRARY)
    world.step(after=600.0)
    assert len(world.children) == 2


def test_a_crash_is_named_by_its_signal(world: World) -> None:
    world.step()
    world.step(READY)
    world.child.ended, world.child.status = True, -11
    world.step()
    assert world.supervisor.status == "the NVML reader was ended by SIGSEGV; restarting it"


def test_a_reader_whose_pipe_closed_gets_a_moment_to_show_how_it_ended(world: World) -> None:
    world.step()
    world.step(READY)
    world.child.ended = True
    world.step()
    assert world.supervisor.listening_to is None
    world.child.status = 1
    world.step(after=0.02)
    assert world.supervisor.status == "the NVML reader ended with status 1; restarting it"


def test_nonsense_from_the_reader_replaces_it(world: World) -> None:
    world.step()
    world.step(FrameError("a frame of 7 bytes is not JSON"))
    assert "nonsense" in (world.supervisor.status or "")
    assert world.child.status == -9


def test_one_reader_that_cannot_be_killed_is_named_while_a_second_works(world: World) -> None:
    world.killable = False
    world.step()
    world.step(READY, wanted=True)
    world.step(after=7.0)
    world.killable = True
    world.step(after=1.0)
    world.step(READY, SAMPLE, after=1.5)
    stuck = world.children[0]
    assert f"pid {stuck.pid}, state " in (world.supervisor.status or "")
    assert "cannot be killed" in (world.supervisor.status or "")
    stuck.status = -9
    world.step()
    assert world.supervisor.status is None


def test_no_third_reader_is_started_beside_two_that_cannot_be_killed(world: World) -> None:
    world.killable = False
    world.step()
    for _ in range(600):
        world.step(after=1.0)
    assert len(world.children) == 2
    assert "no other is started" in (world.supervisor.status or "")
    world.children[0].status = -9
    world.step(after=1.0)
    assert len(world.children) == 3


def test_a_reader_that_cannot_be_started_is_a_status_and_not_an_exception(world: World) -> None:
    world.refusal = OSError(12, "Cannot allocate memory")
    world.step()
    assert "Cannot allocate memory" in (world.supervisor.status or "")
    world.refusal = None
    world.step(after=1.0)
    assert len(world.children) == 1


def test_reasons_from_the_reader_are_cleaned(world: World) -> None:
    world.step()
    world.step({"kind": "gone", "code": 999, "reason": "bad\x1b[2Jdriver\n" + "x" * 500})
    status = world.supervisor.status or ""
    assert status.isprintable()
    assert len(status) <= 200


def test_an_answer_that_came_while_this_process_was_stopped_counts(world: World) -> None:
    world.step()
    world.step(READY, wanted=True)
    assert world.step(SAMPLE, after=3600.0) == [SAMPLE]
    assert len(world.children) == 1


def lose_a_gpu(world: World, seconds: int) -> None:
    """Let the newest reader answer once a second, each time with one GPU lost."""
    world.step(READY, wanted=True)
    child = world.child
    for _ in range(seconds):
        if world.child is child:
            world.step(WITH_A_LOST_GPU, after=1.0)
            world.step(wanted=True)


def test_a_reader_that_lost_a_gpu_is_replaced_because_nvml_never_sees_it_again(world: World) -> None:
    world.step()
    lose_a_gpu(world, 20)
    assert len(world.children) == 1
    lose_a_gpu(world, 2)
    assert len(world.children) == 2
    old = world.children[0]
    assert (old.closed, old.status) == (True, None)
    assert world.supervisor.status is None
    world.step(after=1.0)
    assert old.status == -9


def test_a_gpu_that_stays_lost_has_its_reader_replaced_more_and_more_rarely(world: World) -> None:
    world.step()
    lose_a_gpu(world, 22)
    lose_a_gpu(world, 80)
    assert len(world.children) == 2
    lose_a_gpu(world, 2)
    assert len(world.children) == 3
