"""A recording as a feed: played, stepped through and jumped in, on a thread of its own.

What the keys ask for is queued and done by `turn`, which reads the recording and delivers; the
caller's thread never waits for a disk. A jump delivers the interval it lands on at once and the
columns before it as soon as they are read.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from collectors.clock import Clock, SystemClock
from collectors.model import Tick
from collectors.sources import SourceStatus
from collectors.text import clean
from dashboard.format import NANOSECONDS
from dashboard.scene import QUANTILE_SECONDS, Playback
from dashboard.scrub import Readable, SummedUp, read_events, read_strip
from dashboard.seek import nearest, outside, skipped, stepped
from dashboard.speeds import next_speed
from dashboard.state import KEEP_SECONDS, Deliver, Window
from dashboard.survey import Span
from dashboard.surveyor import Surveyor

_FRAME_SECONDS = 0.1
"""Deliveries are no closer than this, however fast the replay."""
_LONGEST_WAIT = 1.0
"""A stretch without data is passed in this many real seconds, however long it was."""
_FIRST_LOOK_SECONDS = 0.05
"""Reading the columns before a jump may take so long before the interval itself is shown alone."""
_KEPT = round((KEEP_SECONDS - 60) * NANOSECONDS)
_STRIP_REFRESH_SECONDS = 10.0
_SURVEY_SECONDS = 0.05
"""What has been read of a long span is shown so often."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the screen has been given since the last jump: sequences from `low` to `high`."""

    low: int
    high: int
    start: int
    end: int


class ReplayFeed:
    """Implements `dashboard.replaying.Replaying` over a recording, which it closes when it stops.

    `at` is where to begin, the end of the recording when None; `speed` is recorded seconds per
    second, one of `dashboard.speeds` or any other. `origin` is what the screen says about where the figures come from.
    `in_parts` says that the recording tells events only of what has been read of it.
    """

    live = False

    def __init__(
        self,
        recording: Readable,
        *,
        at: int | None = None,
        speed: float = 1.0,
        playing: bool = False,
        clock: Clock | None = None,
        origin: str = "",
        in_parts: bool = False,
    ) -> None:
        self._recording = recording
        self.origin = origin
        self._clock = clock or SystemClock()
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._delivering: Deliver = lambda delivery: None
        self._delivered: Playback | None = None
        self._tick: Tick | None = None
        self._ahead: Tick | None = None
        self._due = 0.0
        self._loaded: _Loaded | None = None
        self._is_partial = False
        self._columns = 0
        self._window = 300.0
        self._strip_at = 0.0
        self._span: Span | None = None
        self._surveyor = Surveyor(recording) if isinstance(recording, SummedUp) else None
        self._playback = Playback(
            recording.start, recording.end, recording.end, playing, speed, following=False, is_read_in_parts=in_parts
        )
        self._commands.put(lambda: self._seek(recording.end if at is None else at))
        if playing:
            self._commands.put(self._play)

    # What the screen asks. All of it returns at once.

    @property
    def zone(self) -> tzinfo:
        return self._recording.zone

    @property
    def interval(self) -> float:
        return self._recording.interval_length

    @property
    def host_name(self) -> str:
        return self._recording.host_name

    @property
    def sums_up(self) -> bool:
        return self._surveyor is not None

    def playback(self) -> Playback:
        return self._playback

    def status(self) -> Sequence[SourceStatus]:
        return [SourceStatus("recording", "unreadable", problem) for problem in self._recording.problems]

    def start(self, deliver: Deliver) -> None:
        self._delivering = deliver
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def toggle(self) -> None:
        self._ask(lambda: self._pause() if self._playback.playing else self._play())

    def step(self, intervals: int) -> None:
        self._ask(lambda: self._step(intervals))

    def skip(self, seconds: float) -> None:
        self._ask(lambda: self._skip(seconds))

    def jump_phase(self, direction: int) -> None:
        recording = self._recording
        find = recording.next_phase_change if direction > 0 else recording.previous_phase_change
        self._ask(lambda: self._jump(find, f"no {_beyond(direction)} change of phase"))

    def jump_event(self, direction: int) -> None:
        find = self._recording.next_event if direction > 0 else self._recording.previous_event
        self._ask(lambda: self._jump(find, f"no {_beyond(direction)} event"))

    def jump_gap(self, direction: int) -> None:
        find = self._recording.next_gap if direction > 0 else self._recording.previous_gap
        self._ask(lambda: self._jump(find, f"no {_beyond(direction)} gap"))

    def seek(self, time_ns: int) -> None:
        self._ask(lambda: self._seek(time_ns))

    def change_speed(self, direction: int) -> None:
        self._ask(lambda: self._change_speed(direction))

    def to_end(self) -> None:
        self._ask(self._follow)

    def between(self, start: int, end: int) -> Iterator[Tick]:
        return self._recording.ticks(start, end)

    def resize(self, columns: int, window_seconds: float) -> None:
        """How wide the scrubber is, and how much time the strip shows."""
        if columns != self._columns or window_seconds != self._window:
            self._columns, self._window = columns, window_seconds
            self._ask(self._read_strip)
            self._ask(self._surround)

    def overlook(self, span: Span | None) -> None:
        """The long span that the time axis shows, to be read in columns that were summed up; None shows none."""
        surveyor = self._surveyor
        if surveyor is not None and span != self._span:
            self._span = span
            self._ask(lambda: self._overlook(surveyor, span))

    def _ask(self, command: Callable[[], None]) -> None:
        self._commands.put(command)
        self._wake.set()

    # The feed's own thread.

    def _run(self) -> None:
        while not self._stopped:
            until = self.turn()
            self._clock.wait(until, self._wake)
            self._wake.clear()
        self._recording.close()

    def turn(self) -> float:
        """Does what was asked for and plays what is due; returns when (clock seconds) to come again."""
        until = self._turn()
        if self._playback is not self._delivered:
            # Nothing to show but how the replay stands: speed, a message, the strip.
            self._deliver(Window((), None if self._tick is None else self._tick.interval.sequence))
        return until

    def _deliver(self, window: Window) -> None:
        self._delivered = self._playback
        self._delivering(window)

    def _turn(self) -> float:
        try:
            while not self._commands.empty() and not self._stopped:
                self._commands.get()()
            if self._is_partial:
                self._is_partial = False
                self._surround()
            until = self._advance()
            if self._surveyor is not None and self._surveyor.is_pending:
                self._read_survey(self._surveyor)
                return self._clock.monotonic()  # what is missing yet, after what was asked for meanwhile
            return until
        except Exception as error:  # a recording that cannot be read is told on the screen, which stays alive
            self._pause()
            self._tell(clean(str(error)))
            return self._clock.monotonic() + 1.0

    def _advance(self) -> float:
        now = self._clock.monotonic()
        if self._playback.following:
            return self._catch_up(now)
        if not self._playback.playing:
            return now + 3600.0
        due: list[Tick] = []
        while self._ahead is not None and self._due <= now:
            due.append(self._ahead)
            self._look_ahead(self._ahead, self._due)
        if due:
            self._show_next(due)
        if self._ahead is None:
            return self._reach_end(now)
        return max(self._due, now + _FRAME_SECONDS)

    def _reach_end(self, now: float) -> float:
        """A recording that grows is played on, or followed where all of it has been shown."""
        if self._recording.refresh() and self._tick is not None:
            self._change(end=self._recording.end)
            self._look_ahead(self._tick, now)
            if self._ahead is not None:
                return max(self._due, now + _FRAME_SECONDS)
        self._pause()
        if self._recording.live:
            self._change(following=True)
            return now
        self._tell("the end of the recording")
        return now + 3600.0

    def _catch_up(self, now: float) -> float:
        """Everything recorded since; called once an interval while the recording is followed."""
        if self._recording.refresh():
            fresh: list[Tick] = []
            tick = self._tick
            while tick is not None and (tick := self._recording.next(tick.interval.sequence)) is not None:
                fresh.append(tick)
            self._playback = replace(self._playback, end=self._recording.end)
            if fresh:
                self._show_next(fresh)
            if now >= self._strip_at + _STRIP_REFRESH_SECONDS:
                self._read_strip()
        return now + min(1.0, self._recording.interval_length)

    def _look_ahead(self, tick: Tick, reached: float) -> None:
        """Reads the interval after `tick` and when it is due; long silences are cut short."""
        self._ahead = self._recording.next(tick.interval.sequence)
        if self._ahead is not None:
            length = (self._ahead.interval.end - tick.interval.end) / NANOSECONDS / self._playback.speed
            usual = 1.5 * self._recording.interval_length / self._playback.speed
            self._due = reached + (length if length <= usual else min(length, max(usual, _LONGEST_WAIT)))

    def _play(self) -> None:
        self._change(playing=True, following=False, message=None)
        if self._tick is not None and self._tick.interval.sequence == self._recording.last_sequence:
            self._seek(self._recording.start)
        if self._tick is not None:
            self._look_ahead(self._tick, self._clock.monotonic())

    def _pause(self) -> None:
        self._ahead = None
        self._change(playing=False, following=False)

    def _follow(self) -> None:
        self._recording.refresh()
        self._change(end=self._recording.end)
        self._seek(self._recording.end)
        self._ahead = None
        self._change(playing=False, following=True)

    def _change_speed(self, direction: int) -> None:
        self._change(speed=next_speed(self._playback.speed, direction))
        self._go_on()

    def _step(self, intervals: int) -> None:
        if self._tick is not None:
            self._land(stepped(self._recording, self._tick, intervals))

    def _skip(self, seconds: float) -> None:
        if self._tick is not None:
            self._land(skipped(self._recording, self._tick, seconds))

    def _jump(self, find: Callable[[int], int | None], otherwise: str) -> None:
        found = None if self._tick is None else find(self._tick.interval.start)
        if found is None:
            self._tell(otherwise)
        else:
            self._land(self._recording.tick_at(found))

    def _seek(self, time_ns: int) -> None:
        self._land(nearest(self._recording, time_ns))
        wrong = outside(self._recording, time_ns)
        if wrong is not None:
            self._tell(wrong)

    def _land(self, tick: Tick | None) -> None:
        """Shows an interval somewhere else: out of what is loaded, or with its surroundings read anew."""
        if tick is None:
            return
        self._tick = tick
        self._change(position=tick.interval.end, message=None, following=False)
        if self._surveyor is not None and self._span is not None:
            self._overlook(self._surveyor, self._span)  # there may be other engines
        loaded, sequence = self._loaded, tick.interval.sequence
        if loaded is not None and loaded.low <= sequence <= loaded.high:
            self._deliver(Window((), sequence))
            self._surround()
        elif loaded is not None and sequence == loaded.high + 1:
            self._show_next([tick])
        else:
            self._load(tick)
        self._go_on()

    def _load(self, tick: Tick) -> None:
        """Delivers the interval with what came before it, and a little of what came after."""
        here, began = tick.interval, self._clock.monotonic()
        window = self._surroundings()
        ticks: list[Tick] = []
        shown = False
        for one in self._recording.ticks(here.start - min(2 * window, _KEPT), here.start + 1 + window // 4):
            ticks.append(one)
            if not shown and self._clock.monotonic() - began > _FIRST_LOOK_SECONDS:
                self._deliver(Window((tick,), here.sequence, reset=True))
                shown = True
            if self._stopped or not self._commands.empty():
                # Something else is wanted: that first, then what is still missing here.
                self._is_partial = True
                ticks = [tick]
                break
        if all(one.interval.sequence != here.sequence for one in ticks):
            ticks = [tick]
        first, last = ticks[0].interval, ticks[-1].interval
        self._loaded = _Loaded(first.sequence, last.sequence, first.start, last.end)
        self._deliver(Window(tuple(ticks), here.sequence, reset=True))

    def _surroundings(self) -> int:
        """Nanoseconds before the interval looked at that the screen shows, or computes quantiles over."""
        return min(round((self._window + QUANTILE_SECONDS) * NANOSECONDS), _KEPT)

    def _surround(self) -> None:
        """Reads the columns before the interval looked at, where they are not loaded."""
        if self._tick is None or self._loaded is None:
            return
        needed = self._tick.interval.start - self._surroundings()
        if self._loaded.start <= needed or self._loaded.low <= self._recording.first_sequence:
            return
        earlier = self._recording.tick_at(self._loaded.start - 1)
        if earlier is not None and earlier.interval.end > needed:
            self._load(self._tick)

    def _show_next(self, ticks: Sequence[Tick]) -> None:
        """Delivers intervals that follow the one looked at, and looks at the last of them."""
        last = ticks[-1].interval
        self._tick = ticks[-1]
        self._change(position=last.end, message=None)
        loaded = self._loaded
        low, start = (loaded.low, loaded.start) if loaded is not None else (ticks[0].interval.sequence, last.start)
        if last.end - start > _KEPT:
            # The history keeps an hour; what it has dropped is read again when it is looked at.
            oldest = self._recording.tick_at(last.end - _KEPT)
            if oldest is not None:
                low, start = oldest.interval.sequence, oldest.interval.start
        high = max(last.sequence, loaded.high if loaded is not None else last.sequence)
        self._loaded = _Loaded(low, high, start, last.end)
        self._deliver(Window(tuple(ticks), last.sequence))

    def _go_on(self) -> None:
        if self._playback.playing and self._tick is not None:
            self._look_ahead(self._tick, self._clock.monotonic())

    def _read_strip(self) -> None:
        """The whole recording in as many columns as the scrubber has."""
        recording, count = self._recording, self._columns
        start, end = recording.start, recording.end
        if count < 1 or end <= start:
            return
        self._strip_at = self._clock.monotonic()
        if self._surveyor is not None:
            self._surveyor.renew()
        cells = read_strip(recording, count)
        self._change(strip=cells, start=start, end=end, events=read_events(recording))

    def _overlook(self, surveyor: Surveyor, span: Span | None) -> None:
        engines = () if self._tick is None else self._tick.labels
        surveyor.wish(span, frozenset(entity for entity in engines if entity.startswith("engine/")))
        self._change(survey=surveyor.survey())

    def _read_survey(self, surveyor: Surveyor) -> None:
        """For a moment; what the keys ask for goes first."""
        until = self._clock.monotonic() + _SURVEY_SECONDS
        surveyor.read_on(lambda: self._commands.empty() and not self._stopped and self._clock.monotonic() < until)
        self._change(survey=surveyor.survey())

    def _tell(self, message: str) -> None:
        self._change(message=message)

    def _change(self, **changes: object) -> None:
        self._playback = replace(self._playback, **changes)  # type: ignore[arg-type]


def _beyond(direction: int) -> str:
    return "later" if direction > 0 else "earlier"
