"""The terminal dashboard: wiring and actions. What is shown is decided elsewhere.

One timer, one message: the feed's threads queue what they deliver and post `Arrived`, of which the
message queue never holds more than one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding, BindingsMap, BindingType
from textual.events import CursorPosition
from textual.message import Message

from collectors.slo import SloBook
from dashboard.desk import NOTICE_SECONDS, Desk
from dashboard.driver import waiting
from dashboard.format import clock
from dashboard.pace import QUESTION, Pace, takes_more
from dashboard.palette import ColorMode, color_mode, palette, shows_unicode
from dashboard.past import FindPast
from dashboard.screens.base import Dashboard
from dashboard.screens.keys import ALWAYS
from dashboard.screens.table import SCREENS, entry
from dashboard.state import Delivery, Feed
from dashboard.themes import THEMES, after
from dashboard.ways import View, Ways
from dashboard.widgets.axis import Pointed, Wheeled
from dashboard.widgets.scrubber import Sought

if TYPE_CHECKING:
    from textual.driver import Driver

    from collectors.model import Event

_STOP_SECONDS = 1.0
"""How long leaving waits for the feed; what hangs is left to die with the process."""
_ANSWER_SECONDS = 0.4
"""How long leaving waits for the terminal's last answer."""
_RETRY_SECONDS = 0.1
"""When the terminal has not taken the last frames yet, the next one is tried again so much later."""


class Arrived(Message, bubble=False):
    """Something was delivered. A queued one stands for all."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Arrived)


class PhasetopApp(App[None]):
    """Shows a feed: a live one, or a recording's (`dashboard.replay_feed.ReplayFeed`).

    Run it with `app.run(mouse=...)`; afterwards `app.return_code` is not 0 when it failed. `colors`
    overrules what the terminal and NO_COLOR say. `note` writes a text at a moment (wall-clock ns) into
    the recording being made; it may block, and raises ValueError, OSError or RuntimeError with what is wrong.
    `past` finds what was recorded before a live feed began. `ways` are the theme, the keys and the view.
    """

    TITLE = "phasetop"
    ENABLE_COMMAND_PALETTE = False
    CSS = "Dashboard, HelpScreen { overflow: hidden; background: $ground; }"
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
        note: Callable[[str, int], Event] | None = None,
        slo: SloBook | None = None,
        past: FindPast | None = None,
        ways: Ways | None = None,
    ) -> None:
        self._ways = ways or Ways()
        self._left = self._ways.file.load() if self._ways.file is not None else View()
        self._theme = THEMES.get(self._ways.theme or self._left.theme or "", THEMES["dark"])
        super().__init__()
        self._note = note
        mode = colors or color_mode(self.console.color_system, no_color=self.no_color)
        # Textual draws on standard error; in a locale that cannot encode blocks they would arrive as escapes.
        ascii = ascii or not shows_unicode(getattr(sys.__stderr__, "encoding", None), os.environ)
        self.desk = Desk(
            feed, palette(mode, ascii=ascii, theme=self._theme), host_name=title_host, zone=zone, interval=interval,
            now=now, slo=slo, past=past,
        )  # fmt: skip
        self.desk.wake = self._wake
        self._colors = mode
        self.desk.keymap = self._ways.keys
        if self.desk.keymap:
            from dashboard.keymap import remapped

            own = [binding for binding in self.BINDINGS if isinstance(binding, Binding)]
            self._bindings = BindingsMap(remapped(own, self.desk.keymap))
        if self._left.step is not None:
            self.desk.recall_step(self._left.step)
        self._behind = False
        self._looked_at: str | None = None
        self._pace = Pace()
        self._dashboards: dict[str, Dashboard] = {}

    def get_driver_class(self) -> type[Driver]:
        """One that sleeps until there are keys."""
        return waiting(super().get_driver_class())

    def get_default_screen(self) -> Dashboard:
        """The one looked at last, else the Overview; a blank screen below it would cost a frame."""
        names = [one.name for one in SCREENS]
        self._looked_at = self._left.screen if self._left.screen in names else names[0]
        return self._dashboard(self._looked_at)

    def get_css_variables(self) -> dict[str, str]:
        return {**super().get_css_variables(), **self._theme.variables()}

    def _dashboard(self, name: str) -> Dashboard:
        """The screen of that name; it stays, once it was shown."""
        if name not in self._dashboards:
            made = self._dashboards[name] = entry(name).load()(self.desk, entry(name))
            prefix = f"{name}."
            left = self._left.choices.items()
            made.recall({key.removeprefix(prefix): value for key, value in left if key.startswith(prefix)})
            self.install_screen(made, name)
        return self._dashboards[name]

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
        stopping = threading.Thread(target=self._leave, args=(self._view(),), name="feed-stop", daemon=True)
        stopping.start()
        stopping.join(_STOP_SECONDS)

    def _leave(self, view: View) -> None:
        if self._ways.file is not None:
            self._ways.file.save(view)
        self.desk.stop()

    def _view(self) -> View:
        """What is looked at, and how, to be found again."""
        choices = dict(self._left.choices)
        for name, screen in self._dashboards.items():
            choices |= {f"{name}.{key}": value for key, value in screen.remember().items()}
        return View(self._looked_at, self._theme.name, self.desk.view.step, choices)

    def _deliver(self, delivery: Delivery) -> None:
        self.desk.arrive(delivery)
        self._wake()

    def _wake(self) -> None:
        self.post_message(Arrived())

    def on_arrived(self, message: Arrived) -> None:
        if self.desk.receive():
            self._present()

    def _beat(self) -> None:
        """The clock in the header."""
        if not self._behind and self.desk.clock_moved():
            for screen in self._shown():
                screen.present_clock()

    def _present(self) -> None:
        """Paints what changed; frames that a slow line cannot take are skipped, keys never are."""
        if self._behind:
            return
        if self._is_slow():
            self._behind = True
            self.set_timer(_RETRY_SECONDS, self._catch_up)
            return
        for screen in self._shown():
            screen.present()
        self.call_after_refresh(self._ask)

    def _catch_up(self) -> None:
        self._behind = False
        self._present()

    def _shown(self) -> list[Dashboard]:
        """The one that is seen, perhaps under the help; the others are drawn when they come back."""
        return [screen for screen in self.screen_stack if isinstance(screen, Dashboard)][-1:]

    def _is_slow(self) -> bool:
        """Whether frames are still on their way to the terminal."""
        writer = getattr(self._driver, "_writer_thread", None)
        if writer is None:
            return False
        return self._pace.is_open or writer._queue.qsize() > 0 or not takes_more(writer.fileno())

    def _ask(self) -> None:
        """Asks the terminal to say when it has drawn what was sent."""
        driver = self._driver
        if driver is not None and hasattr(driver, "_writer_thread") and self._pace.ask():
            driver.write(QUESTION)

    def on_cursor_position(self, event: CursorPosition) -> None:
        self._pace.answered()

    def action_show(self, name: str) -> None:
        """Another screen, on the same moment."""
        if not isinstance(self.screen, Dashboard) or self.screen.name == name:
            return
        self._looked_at = name
        bottom = self.screen_stack[0]
        if name == bottom.name:
            self.pop_screen()
        elif self.screen is bottom:
            self.push_screen(self._dashboard(name))
        else:
            self.switch_screen(self._dashboard(name))

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
        if not self.action_restore():
            self.desk.to_end()
            self._present()

    def action_restore(self) -> bool:
        return isinstance(self.screen, Dashboard) and self.screen.show_all()

    def action_maximise(self) -> None:
        if isinstance(self.screen, Dashboard):
            self.screen.show_alone()

    def action_zoom(self, direction: int) -> None:
        self.desk.zoom(direction)
        self._present()

    def action_pan(self, direction: int) -> None:
        self.desk.pan(direction)
        self._present()

    def on_pointed(self, message: Pointed) -> None:
        self.desk.point(message.axis_ns)
        self._present()

    def on_sought(self, message: Sought) -> None:
        if self.desk.replay is not None:
            self.desk.replay.seek(message.time_ns)

    def on_wheeled(self, message: Wheeled) -> None:
        if message.zoom:
            self.desk.zoom(message.zoom)
        else:
            self.desk.pan(message.pan)
        self._present()

    def action_speed(self, direction: int) -> None:
        if self.desk.replay is not None:
            self.desk.replay.change_speed(direction)

    def action_jump_phase(self, direction: int) -> None:
        self.desk.jump_phase(direction)
        self._present()

    def action_jump_event(self, direction: int) -> None:
        self.desk.jump_event(direction)
        self._present()

    def action_jump_gap(self, direction: int) -> None:
        self.desk.jump_gap(direction)
        self._present()

    def action_mark(self) -> None:
        moment = self.desk.mark()
        goes = f"{self.desk.key('mark.next')} goes there"
        self._say("not marked any more" if moment is None else f"marked {clock(moment, self.desk.zone)}; {goes}")

    def action_edge(self, name: str) -> None:
        """A and B are the ends of a range, which is summed up once it has both."""
        edges = self.desk.set_edge(name)
        begin, end = self.desk.key("range.begin"), self.desk.key("range.end")
        if edges is None:
            begins = f"the range begins here; go to its end and press {end}"
            self._say(begins if name == "A" else f"the range ends here; go to its beginning and press {begin}")
        elif name == "A":
            self._say(f"the range begins here; {end} sums it up")
        elif isinstance(self.screen, Dashboard):
            from dashboard.ranges import RangeSum
            from dashboard.screens.range import RangeScreen

            self.push_screen(RangeScreen(self.screen.scene(), RangeSum(*edges, self.desk.between(*edges))))

    def action_jump_mark(self) -> None:
        self.desk.jump_mark()
        self._present()

    def action_go_to(self) -> None:
        from dashboard.screens.prompt import GoTo  # Textual's input line is 20 ms of imports

        def go(text: str) -> None:
            self.desk.go_to(text)
            self._present()

        self.push_screen(GoTo(go, self.desk.palette.glyphs.warning))

    def action_help(self) -> None:
        from dashboard.screens.help import HelpScreen

        if isinstance(self.screen, Dashboard):
            self.push_screen(HelpScreen(self.screen.scene(), self.screen.help_keys))

    def action_commands(self) -> None:
        from dashboard.screens.command_table import commands
        from dashboard.screens.commands import CommandScreen

        screen = self.screen
        if isinstance(screen, Dashboard):

            def do(action: str) -> None:
                self.call_after_refresh(self.run_action, action, screen)

            self.push_screen(CommandScreen(screen.scene(), commands(screen.bindings_here), do))

    def action_theme(self, name: str = "") -> None:
        self._theme = THEMES[name] if name in THEMES else THEMES[after(self._theme.name)]
        self.desk.palette = palette(self._colors, ascii=self.desk.palette.ascii, theme=self._theme)
        self.refresh_css(animate=False)
        self._say(f"theme {self._theme.name}")

    def action_copy(self) -> None:
        from dashboard.take_away import interval_json

        tick = self.desk.tick()
        if tick is None:
            return
        self.copy_to_clipboard(interval_json(tick))
        self._say(f"copied the interval {clock(tick.interval.end, self.desk.zone)} as JSON, if the terminal allows it")

    def action_picture(self) -> None:
        from dashboard.take_away import picture_name, save_text

        if isinstance(self.screen, Dashboard):
            self.screen.settle()
            name = picture_name(self.screen.entry.name, self.desk.tick())
            self._say(save_text(name, self.export_screenshot(title=self.title)))

    def action_note(self) -> None:
        from dashboard.screens.prompt import Prompt

        if self._note is None:
            self._say("a note needs a recording: start with --record DIR")
            return
        tick = self.desk.tick()
        if tick is not None:
            moment, zone = tick.interval.end - 1, self.desk.zone
            write = partial(self._write_note, moment)
            self.push_screen(Prompt(f"note at {clock(moment, zone)}", write, self.desk.palette.glyphs.warning))

    def _write_note(self, moment: int, text: str) -> None:
        """In a thread of its own: a disk may take its time. Raises ValueError for an empty text."""
        if not text.strip():
            raise ValueError("a note needs a text")
        assert self._note is not None
        note = self._note

        def work() -> None:
            try:
                event = note(text, moment)
            except (ValueError, OSError, RuntimeError) as problem:
                self.call_from_thread(self._say, f"not noted: {problem}")
            else:
                self.call_from_thread(self._noted, event)

        threading.Thread(target=work, name="note", daemon=True).start()

    def _noted(self, event: Event) -> None:
        self.desk.history.add_event(event)
        self._say(f"noted: {event.text}")

    def _say(self, text: str) -> None:
        """In the last line, for some seconds."""
        self.desk.tell(text)
        self._present()
        self.set_timer(NOTICE_SECONDS + 0.1, self._present)

    async def action_quit(self) -> None:
        """At once; but an answer that is on its way would be typed into the shell."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while self._pace.is_open and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self.exit()
