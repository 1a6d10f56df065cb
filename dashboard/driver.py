"""The terminal's input, waited for instead of asked for.

Textual's driver looks for keys ten times a second, which is a twentieth of what a quiet dashboard costs. This one
sleeps until there are some, or until what began with an escape has to be taken for the key of that name.
"""

from __future__ import annotations

import contextlib
import os
import select
from codecs import getincrementaldecoder
from collections.abc import Iterable
from threading import Event
from typing import TYPE_CHECKING, Any

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

if TYPE_CHECKING:
    from textual.app import App

_READ = 4096
_ESCAPE_SECONDS = 0.1
"""How often a begun sequence is looked at; how long it may take is the parser's to say."""


class _Ending(Event):
    """An event that also makes a descriptor readable."""

    def __init__(self) -> None:
        super().__init__()
        self.descriptor, self._writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        super().set()
        os.write(self._writable, b"\0")

    def clear(self) -> None:
        super().clear()
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, _READ)


class WaitingDriver(LinuxDriver):
    """Textual's driver for a terminal, with a thread for the keys that sleeps as long as there are none."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._ending = self.exit_event = _Ending()

    @property
    def _is_on(self) -> bool:
        return self._key_thread is not None and self._key_thread.is_alive()

    def _sigcont_application(self, *_: object) -> None:
        """The process goes on, after ctrl+z or stopped from outside; Textual takes every time for the first."""
        self._loop.call_soon_threadsafe(self._take_back)

    def _take_back(self) -> None:
        """Have the terminal as the dashboard needs it, whatever was done with it meanwhile, and the screen whole."""
        if self._is_on:
            self.suspend_application_mode()
        elif not self._must_signal_resume:  # it has not begun, has ended, or something else was given the terminal
            return
        self.resume_application_mode()
        self._app.refresh(layout=True)

    def run_input_thread(self) -> None:
        """On the thread: hands on the keys until `exit_event` is set."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        try:
            while not self._ending.is_set():
                patience = None if parser._timeout_time is None else _ESCAPE_SECONDS
                if self.fileno in select.select([self.fileno, self._ending.descriptor], [], [], patience)[0]:
                    data = os.read(self.fileno, _READ)
                    if not data:  # there will be no more keys
                        self._ending.wait()
                    if text := decode(data):
                        self._hand_on(parser.feed(text))
                self._hand_on(parser.tick())
        finally:
            with contextlib.suppress(EOFError, ParseError):
                self._hand_on(parser.feed(""))

    def _hand_on(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)


def waiting(found: type[Driver]) -> type[Driver]:
    """In place of Textual's own driver for a terminal; any other one stays."""
    return WaitingDriver if found is LinuxDriver else found
