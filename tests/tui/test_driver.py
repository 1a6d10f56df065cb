"""The thread that waits for keys."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import threading
import tty
from collections.abc import Iterator

import pytest
from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key
from textual.message import Message

from dashboard.driver import WaitingDriver, waiting
from tests.patience import PATIENCE


class _Listening(WaitingDriver):
    """Keeps what it is given in place of handing it to an app."""

    def listen_on(self, terminal: int) -> None:
        self.fileno = terminal
        self.keys: list[str] = []
        self.arrived = threading.Event()

    def process_message(self, message: Message) -> None:
        if isinstance(message, Key):
            self.keys.append(message.key)
            self.arrived.set()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The ends of a terminal: what is typed into the first is read from the second."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}
    outer, inner = pty.openpty()
    tty.setraw(inner)
    yield outer, inner
    for number, handler in kept.items():
        signal.signal(number, handler)
    os.close(outer)
    os.close(inner)


async def _typed(terminal: tuple[int, int], *pieces: bytes) -> list[str]:
    """The keys that arrive when the pieces are typed one after the other."""
    outer, inner = terminal
    driver = _Listening(App())
    driver.listen_on(inner)
    thread = threading.Thread(target=driver.run_input_thread, daemon=True)
    thread.start()
    for piece in pieces:
        driver.arrived.clear()
        os.write(outer, piece)
        assert await asyncio.to_thread(driver.arrived.wait, PATIENCE)
    driver.exit_event.set()
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()
    return driver.keys


async def test_keys_arrive_as_they_are_typed(terminal: tuple[int, int]) -> None:
    assert await _typed(terminal, b"q", "ü".encode(), b"\x1b[A") == ["q", "ü", "up"]


async def test_an_escape_that_nothing_follows_is_the_key_of_that_name(terminal: tuple[int, int]) -> None:
    assert await _typed(terminal, b"\x1b", b"x") == ["escape", "x"]


async def test_the_thread_ends_at_once_when_no_key_comes_and_can_begin_again(terminal: tuple[int, int]) -> None:
    driver = _Listening(App())
    driver.listen_on(terminal[1])
    for _ in range(2):
        thread = threading.Thread(target=driver.run_input_thread, daemon=True)
        thread.start()
        driver.exit_event.set()
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()
        driver.exit_event.clear()
    assert driver.keys == []


def test_only_the_drivers_of_a_terminal_of_ones_own_are_replaced() -> None:
    assert waiting(LinuxDriver) is WaitingDriver
    assert waiting(HeadlessDriver) is HeadlessDriver
