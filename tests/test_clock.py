from __future__ import annotations

import threading

from collectors.clock import NANO, FakeClock, SystemClock, together


def test_the_system_clock_returns_from_a_wait_that_is_over_or_whose_event_is_set() -> None:
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(clock.monotonic() - 1, event)
    event.set()
    assert clock.wait(clock.monotonic() + 3600, event)


def test_the_system_clock_knows_how_long_the_machine_slept() -> None:
    assert SystemClock().asleep() >= 0.0


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


def test_who_is_held_up_between_two_clocks_reads_them_again() -> None:
    now, held_up = [0.0], iter([5.0, 0.4, 0.0])

    def wall() -> float:
        reading = now[0] + 1000.0
        now[0] += next(held_up)
        return reading

    assert together(wall, lambda: now[0]) == (1005.4, 5.4)


def test_who_is_held_up_every_time_has_a_reading_all_the_same() -> None:
    now = [0.0]

    def wall() -> float:
        now[0] += 1.0
        return now[0]

    other, moment = together(wall, lambda: now[0])
    assert other - moment == 1.0
