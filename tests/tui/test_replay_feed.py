from __future__ import annotations

import pytest

from collectors.clock import FakeClock
from collectors.model import HOST, Interval, Label, Tick
from dashboard.desk import Desk
from dashboard.palette import palette
from dashboard.replay_feed import ReplayFeed
from dashboard.replaying import Replaying
from dashboard.speeds import SPEEDS
from dashboard.state import Delivery
from tests.patience import until

from .recorded import FakeRecording
from .wave import SECOND, START, Wave

WAVE = Wave(gpus=0, engines=1)
LONG = list(WAVE.ticks(900))


class Player:
    """A feed whose thread is the test: `turn` does what the thread would do, the clock is turned by hand."""

    def __init__(self, recording: FakeRecording, *, at: int | None = None, window: float = 60.0) -> None:
        self.clock = FakeClock()
        self.recording = recording
        self.feed = ReplayFeed(recording, at=at, clock=self.clock)
        self.desk = Desk(self.feed, palette())
        self.deliveries: list[Delivery] = []
        self.feed._delivering = self._take
        self.feed.resize(40, window)
        self.turn()

    def _take(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.desk.arrive(delivery)

    def turn(self) -> float:
        until = self.feed.turn()
        self.desk.receive()
        return until

    def play_for(self, seconds: float) -> None:
        """Comes back whenever the feed asks for it, until that much time has passed."""
        end = self.clock.monotonic() + seconds
        while True:
            until = self.turn()
            if until > end:
                break
            self.clock.advance(until - self.clock.monotonic())
        self.clock.advance(end - self.clock.monotonic())
        self.turn()

    @property
    def at(self) -> int | None:
        return self.desk.view.shown()


def player(ticks: int = 900, **more: object) -> Player:
    return Player(FakeRecording(LONG[:ticks]), **more)  # type: ignore[arg-type]


def test_a_replay_feed_is_one() -> None:
    assert isinstance(player().feed, Replaying)


def test_without_a_moment_the_end_is_shown_with_the_time_before_it() -> None:
    replay = player()
    assert replay.at == LONG[-1].interval.sequence
    assert len(replay.desk.history) >= 120
    assert replay.desk.mode == "replay"


def test_a_moment_is_shown_with_its_surroundings() -> None:
    replay = player(at=START + 400 * SECOND)
    assert replay.at == 400
    sequences = replay.desk.history.tracks.sequences
    assert sequences[0] <= 400 - 120
    assert sequences[-1] > 400


def test_before_the_recording_its_start_is_shown_and_it_says_so() -> None:
    replay = player()
    replay.feed.seek(START - 100 * SECOND)
    replay.turn()
    assert replay.at == 0
    message = replay.feed.playback().message
    assert message is not None
    assert "outside of the recording" in message


def test_steps_go_by_intervals_also_across_a_gap() -> None:
    replay = player(at=START + 206 * SECOND)
    replay.feed.step(-1)
    replay.turn()
    assert replay.at == 199
    replay.feed.step(3)
    replay.turn()
    assert replay.at == 208


def test_a_step_within_what_is_loaded_reads_no_window_again() -> None:
    replay = player(at=START + 400 * SECOND)
    replay.deliveries.clear()
    replay.feed.step(-1)
    replay.turn()
    assert len(replay.deliveries) == 1
    replay.feed.step(-5)
    replay.feed.step(2)
    replay.turn()
    assert replay.at == 396


def test_steps_stop_at_both_ends() -> None:
    replay = player(at=START)
    replay.feed.step(-1)
    replay.turn()
    assert replay.at == 0
    replay.feed.to_end()
    replay.turn()
    replay.feed.step(5)
    replay.turn()
    assert replay.at == 899


def test_a_minute_is_a_minute_and_gets_over_a_gap() -> None:
    replay = player(at=START + 400 * SECOND)
    replay.feed.skip(-60)
    replay.turn()
    assert replay.at == 340
    replay.feed.seek(START + 199 * SECOND)
    replay.feed.skip(1)
    replay.turn()
    assert replay.at == 206


def test_phase_changes_and_events_are_jumped_to() -> None:
    replay = player(at=START + 100 * SECOND)
    replay.feed.jump_event(1)
    replay.turn()
    assert replay.at == 140
    replay.feed.jump_event(1)
    replay.turn()
    assert replay.at == 206
    replay.feed.jump_event(-1)
    replay.turn()
    assert replay.at == 140
    replay.feed.seek(START + 80 * SECOND)
    replay.feed.jump_phase(1)
    replay.turn()
    labels = [tick.labels["host"].phase.label for tick in LONG]
    assert replay.at is not None
    assert labels[replay.at] != labels[replay.at - 1]


def test_where_there_is_nothing_further_it_says_so_and_stays() -> None:
    replay = player(at=START + 300 * SECOND)
    replay.feed.jump_event(1)
    replay.turn()
    assert replay.at == 300
    assert replay.feed.playback().message == "no later event"


def test_playing_shows_one_interval_a_second() -> None:
    replay = player(at=START + 300 * SECOND)
    replay.feed.toggle()
    replay.turn()
    assert replay.desk.mode == "playing"
    replay.play_for(5)
    assert replay.at == 305
    replay.feed.toggle()
    replay.turn()
    replay.play_for(5)
    assert replay.at == 305


@pytest.mark.parametrize("speed", [0.25, 4.0, 64.0])
def test_speed_is_recorded_seconds_a_second(speed: float) -> None:
    replay = player(at=START + 300 * SECOND)
    steps = SPEEDS.index(speed) - SPEEDS.index(1.0)
    for _ in range(abs(steps)):
        replay.feed.change_speed(1 if steps > 0 else -1)
    replay.feed.toggle()
    replay.turn()
    assert replay.feed.playback().speed == speed
    replay.play_for(8)
    assert replay.at == pytest.approx(300 + 8 * speed, abs=max(1, speed * 0.2))


def test_the_speed_ends_at_a_quarter_and_at_64() -> None:
    replay = player()
    for _ in range(20):
        replay.feed.change_speed(1)
    replay.turn()
    assert replay.feed.playback().speed == 64
    for _ in range(20):
        replay.feed.change_speed(-1)
    replay.turn()
    assert replay.feed.playback().speed == 0.25


def test_fast_replay_delivers_no_more_than_ten_times_a_second() -> None:
    replay = player(at=START + 300 * SECOND)
    for _ in range(6):
        replay.feed.change_speed(1)
    replay.feed.toggle()
    replay.turn()
    replay.deliveries.clear()
    replay.play_for(5)
    assert len(replay.deliveries) <= 5 * 10 + 2


def test_a_long_silence_is_passed_in_a_second() -> None:
    far = [*LONG[:100], *Wave(gpus=0, engines=1).ticks(100, first=90_000)]
    replay = Player(FakeRecording(far), at=START + 97 * SECOND)
    replay.feed.toggle()
    replay.turn()
    replay.play_for(5)
    assert replay.at is not None
    assert 90_000 <= replay.at <= 90_004


def test_at_the_end_playing_stops_and_says_so() -> None:
    replay = player(at=START + 896 * SECOND)
    replay.feed.toggle()
    replay.turn()
    replay.play_for(10)
    playback = replay.feed.playback()
    assert replay.at == 899
    assert not playback.playing
    assert playback.message == "the end of the recording"
    replay.feed.toggle()
    replay.turn()
    replay.play_for(3)
    assert replay.at == 3


def test_following_shows_what_is_recorded_meanwhile() -> None:
    recording = FakeRecording(LONG, ticks_now=500)
    replay = Player(recording)
    replay.feed.to_end()
    replay.turn()
    assert replay.at == LONG[499].interval.sequence
    recording.grow(3)
    replay.play_for(1.5)
    assert replay.at == LONG[502].interval.sequence
    assert replay.feed.playback().following
    assert replay.feed.playback().end == LONG[502].interval.end
    replay.feed.step(-1)
    recording.grow(5)
    replay.play_for(2)
    assert replay.at == LONG[501].interval.sequence
    assert not replay.feed.playback().following


def test_stepping_back_for_long_keeps_the_columns_before_loaded() -> None:
    replay = player(at=START + 800 * SECOND)
    for _ in range(60):
        replay.feed.step(-10)
        replay.turn()
        assert replay.at is not None
        tracks = replay.desk.history.tracks
        assert tracks.row_of(replay.at) is not None
        wanted = max(0, replay.at - 60)
        assert tracks.sequences[0] <= max(wanted, 0) or tracks.sequences[0] <= 206
    assert replay.at is not None
    assert replay.at < 250


def test_playing_for_more_than_the_history_keeps_still_shows_the_right_interval() -> None:
    phase, bottleneck = WAVE.phase(0, settled=True), WAVE.bottleneck(0)
    ticks = [
        Tick(Interval(n, START + n * SECOND, START + (n + 1) * SECOND, 1.0), {HOST: Label(n, HOST, phase, bottleneck)})
        for n in range(1000, 5200)
    ]
    replay = Player(FakeRecording(ticks), at=ticks[0].interval.start)
    for _ in range(6):
        replay.feed.change_speed(1)
    replay.feed.toggle()
    replay.turn()
    replay.play_for(70)
    assert replay.at == ticks[-1].interval.sequence
    replay.feed.skip(-3590)
    replay.turn()
    assert replay.at == ticks[-1].interval.sequence - 3590
    assert replay.desk.tick() is not None


def test_the_strip_of_the_whole_recording_has_its_gap_and_its_events() -> None:
    replay = player(300)
    cells = replay.feed.playback().strip
    assert len(cells) == 40
    seconds = 306  # the six that are missing included
    assert [x for x, cell in enumerate(cells) if cell.event] == [140 * 40 // seconds, 206 * 40 // seconds]
    assert [x for x, cell in enumerate(cells) if cell.gap] == [203 * 40 // seconds]


def test_a_recording_that_cannot_be_read_says_so_and_can_be_tried_again() -> None:
    replay = player(at=START + 400 * SECOND)
    replay.recording.failure = RuntimeError("disk I/O error\x1b[2J")
    replay.feed.step(1)
    replay.turn()
    message = replay.feed.playback().message
    assert message is not None
    assert message.startswith("disk I/O error")
    assert "\x1b" not in message
    replay.recording.failure = None
    replay.feed.step(1)
    replay.turn()
    assert replay.at == 401


def test_keys_pressed_while_a_window_is_read_come_first() -> None:
    """A jump reads its surroundings only when nothing else is wanted any more."""
    replay = player(at=START + 400 * SECOND)
    for second in (100, 700, 150, 650):
        replay.feed.seek(START + second * SECOND)
    replay.turn()
    assert replay.at == 650
    assert replay.desk.history.tracks.sequences[0] <= 650 - 60


def test_stopping_closes_the_recording_and_returns_at_once() -> None:
    recording = FakeRecording(LONG[:50])
    feed = ReplayFeed(recording)
    feed.start(lambda delivery: None)
    feed.stop()
    until(lambda: recording.is_closed, "the end of the recording")
