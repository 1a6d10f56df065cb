"""Slow lines: frames wait for the terminal, and a terminal that says nothing is not waited for."""

from __future__ import annotations

import os

from dashboard.pace import FIRST_PATIENCE, PATIENCE, Pace, takes_more


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_frame_is_on_its_way_until_the_terminal_answers() -> None:
    pace = Pace(Clock())
    assert not pace.is_open
    assert pace.ask()
    assert pace.is_open
    assert not pace.ask()
    pace.answered()
    assert not pace.is_open
    assert pace.ask()


def test_a_terminal_that_never_answers_is_waited_for_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.ask()
    clock.now = FIRST_PATIENCE + 0.1
    assert not pace.is_open
    assert not pace.ask()
    pace.answered()  # late, but it does
    assert pace.ask()


def test_one_that_answers_may_take_its_time_but_not_for_ever() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.ask()
    pace.answered()
    pace.ask()
    clock.now = PATIENCE - 1
    assert pace.is_open
    clock.now = PATIENCE + 1
    assert not pace.is_open
    assert pace.ask()


def test_a_full_pipe_takes_no_more() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    assert takes_more(write)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        pass
    assert not takes_more(write)
    os.close(read)
    os.close(write)
    assert takes_more(None)
