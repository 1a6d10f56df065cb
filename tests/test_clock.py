from __future__ import annotations

import threading

from collectors.clock import NANO, FakeClock, SystemClock


def test_the_system_clock_returns_from_a_wait_that_is_over_or_whose_event_is_set() -> None:
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(clock.monotonic() - 1, event)
    event.set()
    assert clock.wait(clock.monotonic() + 3600, event)


def test_the_system_clock_knows_how_long_the_machine_slept() -> None:
    assert SystemClock().asleep() >= -0.001


def test_waiting_on_a_fake_clock_moves_both_its_times() -> None:
    clock = FakeClock(monotonic=10.0, wall_ns=5 * NANO)
    clock.wait(12.5, threading.Event())
    assert (clock.monotonic(), clock.wall_ns()) == (12.5, 7_500_000_000)


def test_scheduled_actions_happen_in_order_and_a_set_event_ends_the_wait() -> None:
    clock, event, seen = FakeClock(monotonic=0.0), threading.Event(), []
    clock.at(3.0, lambda: seen.append("three"))
    clock.at(2.0, lambda: (seen.append("two"), event.set()))
    assert clock.wait(10.0, event)
    assert (seen, clock.monotonic()) == (["two"], 2.0)


def test_a_sleeping_machine_moves_the_wall_clock_alone() -> None:
    clock = FakeClock(monotonic=0.0, wall_ns=0)
    clock.sleep_machine(60.0)
    assert (clock.monotonic(), clock.asleep(), clock.wall_ns()) == (0.0, 60.0, 60 * NANO)
