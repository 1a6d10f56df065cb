"""The terminal dashboard: wiring and actions. What is shown is decided elsewhere.

One timer, one message: the feed's threads queue what they deliver and post `Arrived`, of which the
message queue never holds more than one.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from datetime import tzinfo
from typing import ClassVar

from textual.app import App
from textual.binding import BindingType
from textual.message import Message

from dashboard.desk import Desk
from dashboard.palette import ColorMode, color_mode, palette, shows_unicode
from dashboard.screens.keys import ALWAYS, LIVE, REPLAY, footer_keys, help_keys
from dashboard.screens.overview import LiveOverview, Overview, ReplayOverview
from dashboard.state import Delivery, Feed

_STOP_SECONDS = 1.0
"""How long leaving waits for the feed; what hangs is left to die with the process."""
_RETRY_SECONDS = 0.1
"""When the terminal has not taken the last frames yet, the next one is tried again so much later."""


class Arrived(Message, bubble=False):
    """Something was delivered. A queued one stands for all."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Arrived)


class PhasetopApp(App[None]):
    """Shows a feed: a live one, or a recording's (`dashboard.replay_feed.ReplayFeed`).

    Run it with `app.run(mouse=...)`; afterwards `app.return_code` is not 0 when it failed. `colors`
    overrules what the terminal and NO_COLOR say.
    """

    TITLE = "phasetop"
    ENABLE_COMMAND_PALETTE = False
    CSS = "Overview, HelpScreen { overflow: hidden; background: #0e1116; }"
    BINDINGS: ClassVar[list[BindingType]] = [*ALWAYS]

    def __init__(
        self,
        feed: Feed,
        *,
        title_host: str | None = None,
        ascii: bool = False,
        zone: tzinfo | None = None,
        interval: float = 1.0,
        colors: ColorMode | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__()
        mode = colors or color_mode(self.console.color_system, no_color=self.no_color)
        # Textual draws on standard error; in a locale that cannot encode blocks they would arrive as escapes.
        ascii = ascii or not shows_unicode(getattr(sys.__stderr__, "encoding", None))
        self.desk = Desk(feed, palette(mode, ascii=ascii), host_name=title_host, zone=zone, interval=interval, now=now)
        self._keys = (*(LIVE if self.desk.replay is None else REPLAY), *ALWAYS)
        self._behind = False

    def get_default_screen(self) -> Overview:
        """The Overview itself: a blank screen below it would cost a frame."""
        screen = LiveOverview if self.desk.replay is None else ReplayOverview
        return screen(self.desk, footer_keys(self._keys))

    def on_mount(self) -> None:
        self.set_interval(1.0, self._beat)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """After the first frame, which nothing that a feed imports or opens may delay.

        What is loaded by now stays: the garbage collector need not look at it again. Whoever starts
        the program may have held it off until here, which saves a sixth of the time to this frame.
        """
        gc.freeze()
        gc.enable()
        self.desk.feed.start(self._deliver)

    def on_unmount(self) -> None:
        stopping = threading.Thread(target=self.desk.feed.stop, name="feed-stop", daemon=True)
        stopping.start()
        stopping.join(_STOP_SECONDS)

    def _deliver(self, delivery: Delivery) -> None:
        self.desk.arrive(delivery)
        self.post_message(Arrived())

    def on_arrived(self, message: Arrived) -> None:
        if self.desk.receive():
            self._present()

    def _beat(self) -> None:
        """The clock in the header."""
        if not self._behind and self.desk.clock_moved():
            for screen in self._overviews():
                screen.present_clock()

    def _present(self) -> None:
        """Paints what changed; frames that a slow line cannot take are skipped, keys never are."""
        if self._behind:
            return
        if self._frames_waiting():
            self._behind = True
            self.set_timer(_RETRY_SECONDS, self._catch_up)
            return
        for screen in self._overviews():
            screen.present()

    def _catch_up(self) -> None:
        self._behind = False
        self._present()

    def _overviews(self) -> list[Overview]:
        return [screen for screen in self.screen_stack if isinstance(screen, Overview)]

    def _frames_waiting(self) -> int:
        """Frames that wait behind one the terminal is still taking."""
        queue = getattr(getattr(self._driver, "_writer_thread", None), "_queue", None)
        return 0 if queue is None else int(queue.qsize())

    def action_overview(self) -> None:
        while not isinstance(self.screen, Overview) and len(self.screen_stack) > 1:
            self.pop_screen()

    def action_hold(self) -> None:
        self.desk.toggle()
        self._present()

    def action_step(self, intervals: int) -> None:
        self.desk.step(intervals)
        self._present()

    def action_page(self, direction: int) -> None:
        self.desk.page(direction)
        self._present()

    def action_live(self) -> None:
        self.desk.to_end()
        self._present()

    def action_speed(self, direction: int) -> None:
        if self.desk.replay is not None:
            self.desk.replay.change_speed(direction)

    def action_jump_phase(self, direction: int) -> None:
        if self.desk.replay is not None:
            self.desk.replay.jump_phase(direction)

    def action_jump_event(self, direction: int) -> None:
        if self.desk.replay is not None:
            self.desk.replay.jump_event(direction)

    def action_go_to(self) -> None:
        from dashboard.screens.go_to import GoTo  # Textual's input line is 20 ms of imports

        def go(text: str) -> None:
            self.desk.go_to(text)
            self._present()

        self.push_screen(GoTo(go, self.desk.palette.glyphs.warning))

    def action_help(self) -> None:
        from dashboard.screens.help import HelpScreen

        if isinstance(self.screen, Overview):
            self.push_screen(HelpScreen(self.screen.scene(), help_keys(self._keys)))

    async def action_quit(self) -> None:
        self.exit()
