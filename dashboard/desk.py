"""What the keys act on: the feed, the history and the view, without a terminal.

The feed delivers on its own threads into a queue; everything else happens on the caller's thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, tzinfo

from textual.binding import Binding

from collectors.model import Event, Tick
from collectors.slo import SloBook
from dashboard import beyond
from dashboard.format import NANOSECONDS, Units, clock
from dashboard.frames import Arrangement, Facts
from dashboard.marks import Marks
from dashboard.palette import Palette
from dashboard.past import FindPast, Found, LookBack
from dashboard.replaying import Replaying
from dashboard.scene import Mode, Scene, Tab
from dashboard.screens.keys import ALWAYS, frame_keys
from dashboard.state import Delivery, Feed, History, View, Window
from dashboard.time_axis import TimeAxis
from dashboard.ways import Keymap

_PAGE_SECONDS = 60.0
_FURTHEST_BACK = 30 * 86_400 * NANOSECONDS
"""How far back a time of day is looked for beside a recording."""
NOTICE_SECONDS = 6


class Desk(TimeAxis):
    """One feed being looked at.

    `past` finds what was recorded before a live feed began. Going back further than the feed's history
    then goes on in there, as in any recording, until `to_end` or the recording's end leads back to now.
    """

    def __init__(
        self,
        feed: Feed,
        palette: Palette,
        *,
        host_name: str | None = None,
        zone: tzinfo | None = None,
        interval: float = 1.0,
        now: Callable[[], int] = time.time_ns,
        slo: SloBook | None = None,
        past: FindPast | None = None,
    ) -> None:
        super().__init__(feed if isinstance(feed, Replaying) else None, interval)
        self.feed = feed
        self.slo = slo or SloBook()
        self.palette = palette
        self._host_name = host_name
        self._zone = zone
        self._now = now
        self._units = Units()
        self._arrived: deque[Delivery] = deque()
        self._look_back = LookBack(past)
        self._arrived_past: deque[tuple[Replaying, Window]] = deque()
        self._live_view: View | None = None
        self.wake: Callable[[], None] = lambda: None
        """Called from any thread when `receive` has something to do that was not delivered by the feed."""
        self.keymap: Keymap = {}
        """Keys of one's own, by what they do."""
        self.always: tuple[Binding, ...] = ALWAYS
        """The keys that every screen of it has, whatever is looked at."""
        self.marks = Marks()
        self._shown_second = 0
        self._notice: tuple[str, int] | None = None

    def arrive(self, delivery: Delivery) -> None:
        """From any thread: something to take in at the next `receive`."""
        self._arrived.append(delivery)

    def receive(self) -> bool:
        """Takes in what has arrived; False when there was nothing."""
        any_arrived = self._receive_past()
        while self._arrived:
            delivery = self._arrived.popleft()
            any_arrived = True
            if isinstance(delivery, Window):
                self._receive_window(delivery)
            else:
                (self._live_view or self.view).history.append(delivery)
        return any_arrived

    def stop(self) -> None:
        """Stops the feed, and the recording that is looked at beside it."""
        self.feed.stop()
        if self.replay is not None and self.replay is not self.feed:
            self.replay.stop()

    @property
    def is_in_past(self) -> bool:
        """Whether a live feed's past is looked at, which was recorded before it began."""
        return self._live_view is not None

    def _receive_past(self) -> bool:
        answer = self._look_back.answer()
        if isinstance(answer, str):
            self.tell(answer)
        elif answer is not None:
            self._enter_past(answer)
        any_arrived = answer is not None
        while self._arrived_past:
            feed, window = self._arrived_past.popleft()
            if feed is self.replay:
                any_arrived = True
                self._receive_window(window)
        if self.is_in_past and self.replay is not None and self.replay.playback().following:
            self._leave_past()
        return any_arrived

    def _enter_past(self, found: Found) -> None:
        if self.replay is not None:
            return
        feed = found.past.begin(found.at)
        self.tell("")
        self._live_view, self.view = self.view, View(History(), step=self.view.step)
        self.replay = feed

        def arrive(delivery: Delivery) -> None:
            if isinstance(delivery, Window):
                self._arrived_past.append((feed, delivery))
                self.wake()

        feed.start(arrive)
        found.then(feed)

    def _leave_past(self) -> None:
        """Back to now."""
        feed, self.replay = self.replay, None
        if self._live_view is not None:
            self.view, self._live_view = self._live_view, None
            self.view.follow()
        if feed is not None:
            threading.Thread(target=feed.stop, name="past-stop", daemon=True).start()

    def _go_earlier(self, seconds: float = 0.0, then: Callable[[Replaying], None] = lambda replay: None) -> None:
        """Goes on in what was recorded before the history in memory, so many seconds before that begins."""
        tracks = self.history.tracks
        start = tracks.wall_time(tracks.start() + 1) - 1 if len(tracks) else self._now()
        if self._look_back.wish(start, start - 1 - round(seconds * NANOSECONDS), then, self.wake):
            self.tell("looking for what was recorded before")

    def _reaches_end(self, seconds: float = 0.0) -> bool:
        """Whether so much further on there is nothing more of the past, and now begins."""
        if not self.is_in_past or self.replay is None:
            return False
        playback = self.replay.playback()
        return playback.position + (max(seconds, 0.5 * self.replay.interval)) * NANOSECONDS >= playback.end

    def _receive_window(self, window: Window) -> None:
        if window.reset:
            self.history.clear()
            self.view.follow()
        self.history.extend(window.ticks)
        if not len(self.history):
            return
        if window.at is None or window.at == self.history.tracks.sequences[-1]:
            self.view.follow()
        else:
            self.view.put(window.at, self.visible)

    def tick(self) -> Tick | None:
        """The interval looked at, with the newest labels it has."""
        shown = self.view.shown()
        return None if shown is None else self.history.tick(shown)

    def facts(self) -> Facts:
        """What there is to lay out; the newest interval decides, so that a look back moves nothing."""
        newest = self.history.newest
        if newest is None:
            return Facts(replay=self.replay is not None)
        return Facts(len(newest.interval.gpus), len(newest.interval.engines), self.replay is not None)

    @property
    def mode(self) -> Mode:
        if self.replay is not None:
            return "playing" if self.replay.playback().playing else "replay"
        if self.view.cursor is not None:
            return "inspect"
        return "live" if self.view.following else "paused"

    def scene(self, arrangement: Arrangement, keys: Sequence[tuple[str, str]] = (), tabs: Sequence[Tab] = ()) -> Scene:
        tick = self.tick()
        host = tick.interval.host if tick is not None else None
        now = self._now()
        self._shown_second = now // NANOSECONDS
        return Scene(
            palette=self.palette,
            history=self.history,
            view=self.view,
            tick=tick,
            arrangement=arrangement,
            units=self._units,
            mode=self.mode,
            now=now,
            host_name=self._host_name or (host.name if host is not None else self._recorded_name()),
            statuses=self.feed.status(),
            zone=self.zone,
            interval=self._length(),
            playback=None if self.replay is None else self.replay.playback(),
            slo=self.slo,
            keys=keys,
            tabs=tabs,
            notice=self._notice[0] if self._notice is not None and now < self._notice[1] else None,
            origin="" if self.replay is None else self.replay.origin,
            marks=self.marks.moments,
            survey=self.survey(),
        )

    def tell(self, text: str) -> None:
        """Says what a key did, for some seconds."""
        self._notice = None if not text else (text, self._now() + NOTICE_SECONDS * NANOSECONDS)

    def key(self, name: str) -> str:
        """The key of what every screen can do, as one reads it: one's own, else the usual one."""
        from dashboard.keymap import shown

        own = self.keymap.get(name)
        usual = (*frame_keys(replay=self.replay is not None, past=self.is_in_past), *self.always)
        return own[0] if own else next(shown(binding.key) for binding in usual if binding.id == name)

    def clock_moved(self) -> bool:
        """Whether the clock shows another second than the last scene did."""
        return self.replay is None and self._now() // NANOSECONDS != self._shown_second

    def _recorded_name(self) -> str:
        return self.replay.host_name if self.replay is not None else ""

    def toggle(self) -> None:
        """Space: hold the view, or let it go on; in a recording, play or stop."""
        if self.replay is not None:
            self.replay.toggle()
        else:
            self.view.toggle_pause()

    def step(self, intervals: int) -> None:
        if intervals > 0 and self._reaches_end():
            self._leave_past()
        elif self.replay is not None:
            self.replay.step(intervals)
        elif intervals < 0 and self._is_oldest():
            self._go_earlier()
        else:
            self.view.move(intervals, self.visible)

    def page(self, direction: int) -> None:
        """A minute back or on."""
        if direction > 0 and self._reaches_end(_PAGE_SECONDS):
            self._leave_past()
        elif self.replay is not None:
            self.replay.skip(direction * _PAGE_SECONDS)
        elif direction < 0 and self._is_oldest():
            self._go_earlier(_PAGE_SECONDS)
        else:
            self.view.move_time(direction * _PAGE_SECONDS, self.visible)

    def point(self, axis_ns: int) -> None:
        """Looks at the interval of a moment of the axis."""
        if self.replay is None:
            self.view.point(axis_ns, self.visible)
            return
        if self.is_long:
            self.replay.seek(min(axis_ns, self.replay.playback().end) - 1)
            return
        tracks = self.history.tracks
        row = tracks.row_at(axis_ns)
        if row is not None:
            self.replay.seek(tracks.wall_time(tracks.ends[row]) - 1)

    def pan(self, direction: int) -> None:
        """A quarter of what is visible back or on."""
        seconds = self.visible / 4 / NANOSECONDS
        if direction > 0 and self._reaches_end(seconds):
            self._leave_past()
        elif self.replay is not None:
            self.replay.skip(direction * seconds)
        elif direction < 0 and self._shows_start():
            self._go_earlier(seconds)
        else:
            self.view.pan(direction * self.visible // 4, self.visible)

    def _is_oldest(self) -> bool:
        tracks = self.history.tracks
        return len(tracks) > 0 and self.view.shown() == tracks.sequences[0]

    def _shows_start(self) -> bool:
        """Whether the oldest interval in memory is within the visible columns."""
        end = self.view.end()
        return end is not None and end - self.visible <= self.history.tracks.start()

    def jump_event(self, direction: int) -> None:
        """To the event before or after; phase changes are not among them."""
        self._jump(direction, "event", beyond.event, lambda replay: replay.jump_event(direction))

    def jump_phase(self, direction: int) -> None:
        """To the change of the dominant phase before or after."""
        self._jump(direction, "change of phase", beyond.phase_change, lambda replay: replay.jump_phase(direction))

    def jump_gap(self, direction: int) -> None:
        """To where time is missing, before or after; in a recording also to where a source went missing."""
        self._jump(direction, "gap", beyond.gap, lambda replay: replay.jump_gap(direction))

    def _jump(self, direction: int, what: str, find: beyond.Find, in_recording: Callable[[Replaying], None]) -> None:
        if self.replay is not None:
            in_recording(self.replay)
            return
        sequence = find(self.view, direction)
        if sequence is not None:
            self.view.put(sequence, self.visible)
        elif direction < 0 and self._look_back.is_possible:
            self._go_earlier(then=in_recording)
        else:
            self.tell(f"no {'later' if direction > 0 else 'earlier'} {what} in memory")

    def events(self) -> list[Event]:
        """What happened, the newest first: of the whole recording, or as far back as memory goes."""
        if self.replay is not None:
            return list(reversed(self.replay.playback().events))
        return [placed.event for placed in sorted(self.history.events, key=lambda placed: -placed.axis)]

    def look_at(self, event: Event) -> None:
        """Looks at the interval an event came with."""
        if self.replay is not None:
            # Events stand at the end of their interval, but for the clock's: those come with what follows.
            self.replay.seek(event.time - (event.kind != "clock-step"))
            return
        sequence = next((placed.sequence for placed in self.history.events if placed.event is event), None)
        if sequence is not None:
            self.view.put(sequence, self.visible)

    def go_to(self, text: str) -> None:
        """Looks at the interval of a moment as people write it. Raises ValueError with what is wrong."""
        from dashboard.timespec import parse_time  # with what it needs, 10 ms that the first frame can do without

        if self.replay is not None:
            playback = self.replay.playback()
            self.replay.seek(parse_time(text, start=playback.start, end=playback.end, zone=self.zone))
            return
        tracks = self.history.tracks
        if not len(tracks):
            raise ValueError("nothing has been sampled yet")
        start, end = tracks.wall_time(tracks.start() + 1), self._now()
        earliest = end - _FURTHEST_BACK if self._look_back.is_possible else start
        moment = parse_time(text, start=earliest, end=end, zone=self.zone)
        if moment < start and self._look_back.is_possible:
            self.look_at_moment(moment)
            return
        if not start <= moment <= end:
            raise ValueError(f"{clock(moment, self.zone)} is not in memory, which begins at {clock(start, self.zone)}")
        row = tracks.row_at(moment + tracks.shift_now())
        self.view.put(tracks.sequences[row or 0], self.visible)

    @property
    def zone(self) -> tzinfo:
        return self._zone or (self.replay.zone if self.replay is not None else UTC)

    def to_end(self) -> None:
        """Back to now; in a recording, to its end, and on with it while it grows."""
        if self.is_in_past:
            self._leave_past()
        elif self.replay is not None:
            self.replay.to_end()
        else:
            self.view.follow()

    def mark(self) -> int | None:
        """Marks the interval looked at, or takes its mark away; the moment marked, in wall-clock ns."""
        tick = self.tick()
        return None if tick is None else self.marks.toggle(tick.interval)

    def set_edge(self, name: str) -> tuple[int, int] | None:
        """Puts A before, or B behind, the interval looked at; both moments, in order, once both are there."""
        tick = self.tick()
        return self.marks.set_edge(name, None if tick is None else tick.interval)

    def between(self, start: int, end: int) -> Iterator[Tick]:
        """The intervals of a range, of the recording or of what is in memory."""
        return self.replay.between(start, end) if self.replay is not None else self.history.between(start, end)

    def jump_mark(self) -> None:
        """To the next mark; from the last one to the first."""
        tick = self.tick()
        moment = None if tick is None else self.marks.after(tick.interval)
        if moment is None:
            self.tell(f"nothing is marked yet: {self.key('mark')} marks the interval looked at")
        else:
            self.look_at_moment(moment)

    def look_at_moment(self, moment: int) -> None:
        """Looks at the interval of a moment, wall-clock ns, also where that is no longer, or was never, in memory."""
        tracks = self.history.tracks
        if self.replay is not None:
            self.replay.seek(moment)
        elif not len(tracks) or moment < tracks.wall_time(tracks.start() + 1):
            self._go_earlier(then=lambda replay: replay.seek(moment))
        else:
            row = tracks.row_at(moment + tracks.shift_now())
            self.view.put(tracks.sequences[row or 0], self.visible)
