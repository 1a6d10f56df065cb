"""What the keys act on: the feed, the history and the view, without a terminal.

The feed delivers on its own threads into a queue; everything else happens on the caller's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import Protocol, runtime_checkable

from collectors.model import Tick
from dashboard.frames import Arrangement, Facts
from dashboard.format import NANOSECONDS, Units, clock
from dashboard.palette import Palette
from dashboard.scene import Mode, Playback, Scene
from dashboard.state import Delivery, Feed, History, View, Window

_PAGE_SECONDS = 60.0


@runtime_checkable
class Replaying(Feed, Protocol):
    """What a feed over a recording can do besides delivering. All of it returns at once."""

    @property
    def zone(self) -> tzinfo: ...

    @property
    def interval(self) -> float:
        """Seconds of one interval."""
        ...

    @property
    def host_name(self) -> str: ...

    def playback(self) -> Playback: ...

    def toggle(self) -> None: ...

    def step(self, intervals: int) -> None: ...

    def skip(self, seconds: float) -> None: ...

    def jump_phase(self, direction: int) -> None: ...

    def jump_event(self, direction: int) -> None: ...

    def seek(self, time_ns: int) -> None: ...

    def change_speed(self, direction: int) -> None: ...

    def to_end(self) -> None: ...

    def resize(self, columns: int, window_seconds: float) -> None: ...


class Desk:
    """One feed being looked at."""

    def __init__(
        self,
        feed: Feed,
        palette: Palette,
        *,
        host_name: str | None = None,
        zone: tzinfo | None = None,
        interval: float = 1.0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.feed = feed
        self.replay: Replaying | None = feed if isinstance(feed, Replaying) else None
        self.palette = palette
        self.view = View(History())
        self._host_name = host_name
        self._zone = zone
        self._interval = interval
        self._now = now
        self._units = Units()
        self._arrived: deque[Delivery] = deque()
        self._shown_second = 0
        self.visible = 180 * NANOSECONDS

    @property
    def history(self) -> History:
        return self.view.history

    def arrive(self, delivery: Delivery) -> None:
        """From any thread: something to take in at the next `receive`."""
        self._arrived.append(delivery)

    def receive(self) -> bool:
        """Takes in what has arrived; False when there was nothing."""
        any_arrived = False
        while self._arrived:
            delivery = self._arrived.popleft()
            any_arrived = True
            if isinstance(delivery, Window):
                self._receive_window(delivery)
            else:
                self.history.append(delivery)
        return any_arrived

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

    def scene(self, arrangement: Arrangement, keys: Sequence[tuple[str, str]] = ()) -> Scene:
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
            keys=keys,
        )

    def clock_moved(self) -> bool:
        """Whether the clock shows another second than the last scene did."""
        return self.replay is None and self._now() // NANOSECONDS != self._shown_second

    def _recorded_name(self) -> str:
        return self.replay.host_name if self.replay is not None else ""

    def _length(self) -> float:
        return self.replay.interval if self.replay is not None else self._interval

    def toggle(self) -> None:
        """Space: hold the view, or let it go on; in a recording, play or stop."""
        if self.replay is not None:
            self.replay.toggle()
        else:
            self.view.toggle_pause()

    def step(self, intervals: int) -> None:
        if self.replay is not None:
            self.replay.step(intervals)
        else:
            self.view.move(intervals, self.visible)

    def page(self, direction: int) -> None:
        """A minute back or on."""
        if self.replay is not None:
            self.replay.skip(direction * _PAGE_SECONDS)
        else:
            self.view.move_time(direction * _PAGE_SECONDS, self.visible)

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
        moment = parse_time(text, start=start, end=end, zone=self.zone)
        if not start <= moment <= end:
            raise ValueError(f"{clock(moment, self.zone)} is not in memory, which begins at {clock(start, self.zone)}")
        row = tracks.row_at(moment + tracks.shift_now())
        self.view.put(tracks.sequences[row or 0], self.visible)

    @property
    def zone(self) -> tzinfo:
        return self._zone or (self.replay.zone if self.replay is not None else UTC)

    def to_end(self) -> None:
        """Back to now; in a recording, to its end, and on with it while it grows."""
        if self.replay is not None:
            self.replay.to_end()
        else:
            self.view.follow()
