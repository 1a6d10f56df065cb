"""The fleet's dashboard: the Fleet screen, and the ordinary screens for the node that is opened from it."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType
from textual.message import Message

from collectors.fleet.watch import FleetState, FleetWatch
from collectors.memory import give_large_memory_back
from collectors.sources import SourceStatus
from dashboard.app import PhasetopApp
from dashboard.desk import Desk
from dashboard.fleet_board import FleetBoard
from dashboard.format import NANOSECONDS
from dashboard.screens.base import Dashboard
from dashboard.screens.fleet import FleetScreen
from dashboard.screens.keys import ALWAYS, TO_FLEET, shown_key
from dashboard.screens.table import FLEET
from dashboard.state import Deliver, Feed

OpenNode = Callable[[str, float | None], Feed]
"""Makes the feed of a node, by its name, that begins at a moment (seconds since 1970; None is now)."""


class FleetArrived(Message, bubble=False):
    """Something new is known of the fleet. A queued one stands for all."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, FleetArrived)


class _NoFeed:
    """The fleet's own desk has no intervals: its figures come from the watch."""

    live = True

    def start(self, deliver: Deliver) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def status(self) -> Sequence[SourceStatus]:
        return ()


class FleetApp(PhasetopApp):
    """Shows what a watch finds. `make_watch` is given the function that takes what it delivers."""

    BINDINGS: ClassVar[list[BindingType]] = [*ALWAYS, TO_FLEET]

    def __init__(
        self,
        make_watch: Callable[[Callable[[FleetState], None]], FleetWatch],
        board: FleetBoard,
        open_node: OpenNode,
        **options: Any,
    ) -> None:
        super().__init__(_NoFeed(), **options)
        self._fleet_desk = self.desk
        self.board = board
        self._open_node = open_node
        self._fresh: FleetState | None = None
        self._watch = make_watch(self._take)

    def get_default_screen(self) -> Dashboard:
        self.fleet_screen = FleetScreen(self._fleet_desk, FLEET, self.board, self._want)
        return self.fleet_screen

    def _begin(self) -> None:
        super()._begin()
        # Answers of a thousand nodes are read beside the screen, which must not wait for its turn.
        sys.setswitchinterval(_TURN_SECONDS)
        gc.set_threshold(_FEW_COLLECTIONS)
        give_large_memory_back(_LARGE)
        self._watch.start()

    def on_unmount(self) -> None:
        stopping = threading.Thread(target=self._watch.stop, name="fleet-stop", daemon=True)
        stopping.start()
        super().on_unmount()
        stopping.join(1.0)

    def _take(self, state: FleetState) -> None:
        """On the watch's thread."""
        self._fresh = state
        self.post_message(FleetArrived())

    def on_fleet_arrived(self, message: FleetArrived) -> None:
        state = self._fresh
        if state is not None:
            self.board.scrape_interval = self._watch.source.scrape_interval
            self.board.take(state)
            if self.is_on_fleet:
                self._present()

    def _want(self) -> None:
        self._watch.want(self.board.wanted())

    @property
    def is_on_fleet(self) -> bool:
        return not any(isinstance(screen, Dashboard) for screen in self.screen_stack[1:])

    def action_open(self, name: str) -> None:
        """The selected node in one of the ordinary screens."""
        row = self.board.shown()
        if row is None or not self.is_on_fleet:
            return
        if row.is_group:
            self.board.move(1)
            self._present()
            return
        feed = self._open_node(row.node.name, self.board.at)
        fleet = self._fleet_desk
        self.desk = Desk(feed, fleet.palette, host_name=row.node.name, zone=fleet.zone, slo=fleet.slo,
                         interval=self.board.scrape_interval)  # fmt: skip
        self.desk.keymap = fleet.keymap
        self.desk.always = (TO_FLEET, *ALWAYS)
        self.desk.wake = self._wake
        for one in list(self._dashboards):
            self.uninstall_screen(one)
        self._dashboards.clear()
        feed.start(self._deliver)
        self.desk.tell(f"{self._way_back()} goes back to the fleet")
        self.push_screen(self._dashboard(name))

    def _way_back(self) -> str:
        from dashboard.keymap import remapped

        (binding,) = remapped((TO_FLEET,), self.desk.keymap)
        return shown_key(binding)

    def action_fleet(self) -> None:
        """Back to all nodes, at the moment the node was looked at."""
        if self.is_on_fleet:
            return
        node, self.desk = self.desk, self._fleet_desk
        threading.Thread(target=node.stop, name="node-stop", daemon=True).start()
        if node.replay is not None and self.board.has_past:
            playback = node.replay.playback()
            moment = None if playback.following else playback.position / NANOSECONDS
            if moment is None or abs(moment - (self.board.at or time.time())) > self.board.column_step:
                self.board.at = moment
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.fleet_screen.present()

    def action_show(self, name: str) -> None:
        if not self.is_on_fleet:
            super().action_show(name)

    def action_theme(self, name: str = "") -> None:
        super().action_theme(name)
        self._fleet_desk.palette = self.desk.palette

    def action_restore(self) -> bool:
        """Escape: all panels again; when they are there, the fleet."""
        if not super().action_restore():
            self.action_fleet()
        return True

    def action_live(self) -> None:
        if self.is_on_fleet:
            if not super().action_restore():
                self.board.at = None
                self._watch.refresh()
                self._present()
        elif self.desk.replay is None:
            self.action_restore()
        else:
            self.desk.to_end()
            self._present()

    def action_go_to(self) -> None:
        if not self.is_on_fleet:
            super().action_go_to()
            return
        if not self.board.has_past:
            self._say("exporters read directly tell of now alone; a Prometheus keeps what was")
            return
        from dashboard.screens.prompt import GoTo
        from dashboard.timespec import parse_time

        def go(text: str) -> None:
            now = time.time_ns()
            moment = parse_time(text, start=now - _FURTHEST, end=now, zone=self._fleet_desk.zone)
            self.board.look_at(moment / NANOSECONDS, now / NANOSECONDS)
            self._present()

        self.push_screen(GoTo(go, self._fleet_desk.palette.glyphs.warning))


_TURN_SECONDS = 0.001
_LARGE = 128 << 10
"""Bytes; the answers about a thousand nodes have some hundred thousand each."""
_FEW_COLLECTIONS = 50_000
_FURTHEST = 366 * 86_400 * NANOSECONDS
