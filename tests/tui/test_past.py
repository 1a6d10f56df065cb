from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from collectors.phase.label import Labeller
from dashboard.app import PhasetopApp
from dashboard.desk import Desk
from dashboard.palette import palette
from dashboard.past import NothingEarlier, Past, find_past
from dashboard.replay_feed import ReplayFeed
from exporters.recorder import Recorder
from tests import patience

from .recorded import FakeRecording
from .support import FakeFeed, painted, shows, text_of
from .wave import SECOND, START, Wave

WAVE = Wave(gpus=1, engines=1)
ALL = list(WAVE.ticks(400))
PLACES = {tick.interval.sequence: place for place, tick in enumerate(ALL)}
LIVE_FROM = 300
"""The session began so much later than the recording."""


def until(desk: Desk, is_so: Callable[[], bool]) -> None:
    def received() -> bool:
        desk.receive()
        return is_so()

    patience.until(received, lambda: f"at {desk.tick() and shown(desk)}")


def desk_beside(recording: FakeRecording | None, *, ticks: int = 50) -> Desk:
    """A live desk that has seen some intervals, beside a recording that began earlier."""

    def find(before: int) -> Past:
        if recording is None:
            raise NothingEarlier("nothing earlier is recorded")
        return Past(recording.start, lambda at: ReplayFeed(recording, at=at, origin="history from /var/lib/phasetop"))

    received = ALL[LIVE_FROM : LIVE_FROM + ticks]
    desk = Desk(FakeFeed(), palette(), now=lambda: received[-1].interval.end, past=find)
    for tick in received:
        desk.arrive(tick)
    desk.receive()
    return desk


def shown(desk: Desk) -> int:
    tick = desk.tick()
    assert tick is not None
    return PLACES[tick.interval.sequence]


def go_back(desk: Desk) -> None:
    """To the first interval of the session, and one further."""
    desk.step(-49)
    assert shown(desk) == LIVE_FROM
    desk.step(-1)
    until(desk, lambda: desk.is_in_past and desk.tick() is not None)


def test_left_of_the_sessions_start_the_recording_beside_it_goes_on_with_the_same_labels() -> None:
    desk = desk_beside(FakeRecording(ALL[:350]))
    go_back(desk)
    assert shown(desk) == LIVE_FROM - 1
    tick = desk.tick()
    assert tick is not None
    number = tick.interval.sequence
    assert tick.labels == {one.entity: one for other in ALL for one in other.settled if one.sequence == number}
    desk.page(-1)
    until(desk, lambda: shown(desk) in (LIVE_FROM - 61, LIVE_FROM - 60))
    assert any("history from /var/lib/phasetop" in line for line in painted(desk, 120, 40)[:1])


def test_what_arrives_meanwhile_is_there_when_one_comes_back_to_now() -> None:
    desk = desk_beside(FakeRecording(ALL[:350]))
    go_back(desk)
    for tick in ALL[350:360]:
        desk.arrive(tick)
    desk.receive()
    assert shown(desk) == LIVE_FROM - 1
    desk.to_end()
    assert not desk.is_in_past
    assert shown(desk) == 359
    assert desk.mode == "live"


def test_stepping_on_at_the_end_of_the_recording_leads_back_to_now() -> None:
    desk = desk_beside(FakeRecording(ALL[:350]))
    go_back(desk)
    assert desk.replay is not None
    desk.replay.seek(ALL[349].interval.start)
    until(desk, lambda: shown(desk) == 349)
    desk.step(1)
    assert not desk.is_in_past


def test_playing_on_to_now_leads_back_to_now() -> None:
    desk = desk_beside(FakeRecording(ALL, ticks_now=350))
    go_back(desk)
    assert desk.replay is not None
    desk.replay.seek(ALL[347].interval.start)
    for _ in range(4):
        desk.replay.change_speed(1)
    desk.toggle()
    until(desk, lambda: not desk.is_in_past)


def test_a_time_of_day_before_the_session_is_looked_up_in_the_recording() -> None:
    desk = desk_beside(FakeRecording(ALL[:350]))
    desk.go_to("4m ago")
    wanted = ALL[349].interval.end - 240 * SECOND
    until(desk, lambda: desk.is_in_past and (tick := desk.tick()) is not None and tick.interval.start == wanted)


def test_earlier_events_and_changes_of_phase_are_looked_for_in_the_recording() -> None:
    desk = desk_beside(FakeRecording(ALL[:350]))
    desk.step(-49)
    desk.jump_phase(-1)
    until(desk, lambda: desk.is_in_past and desk.tick() is not None and shown(desk) < LIVE_FROM - 1)
    row = shown(desk)
    labels = [ALL[n].labels["host"].phase.label for n in (row - 1, row)]
    assert labels[0] != labels[1]


def test_where_nothing_is_recorded_it_says_so_and_stays() -> None:
    desk = desk_beside(None)
    desk.step(-49)
    desk.step(-1)
    until(desk, lambda: "nothing earlier is recorded" in painted(desk, 120, 40)[-1])
    assert not desk.is_in_past
    assert shown(desk) == LIVE_FROM


def test_marks_are_gone_to_in_turn_also_across_the_sessions_start() -> None:
    desk = desk_beside(FakeRecording(ALL[:350]))
    desk.step(-10)
    assert desk.mark() is not None
    here = shown(desk)
    desk.to_end()
    desk.jump_mark()
    assert shown(desk) == here
    go_back_from = shown(desk)
    desk.step(-(go_back_from - LIVE_FROM))
    desk.step(-1)
    until(desk, lambda: desk.is_in_past and desk.tick() is not None)
    assert desk.mark() is not None
    desk.to_end()
    desk.jump_mark()
    until(desk, lambda: desk.is_in_past and desk.tick() is not None and shown(desk) == LIVE_FROM - 1)
    desk.jump_mark()
    until(desk, lambda: shown(desk) == here)
    assert desk.mark() is None
    assert len(desk.marks.moments) == 1


def test_a_recording_of_this_machine_that_is_being_made_is_found_and_others_are_not(tmp_path: Path) -> None:
    labeller = Labeller()
    recorder = Recorder(tmp_path / "rec", host_name="node-17", byte_cap=2**30, age_cap_seconds=1e12)
    environment = {"HOME": str(tmp_path)}
    try:
        for tick in ALL[:30]:
            recorder.put(labeller.push(tick.interval))
        patience.until(lambda: recorder.written == 30)
        later = ALL[200].interval.start
        past = find_past(tmp_path / "rec", environment, "node-17")(later)
        assert past.start == START
        feed = past.begin(ALL[10].interval.start)
        assert feed.origin == f"history from {tmp_path / 'rec'}"
        feed.stop()
        for host, before in (("another machine", later), ("node-17", START)):
            try:
                find_past(tmp_path / "rec", environment, host)(before)
            except NothingEarlier as problem:
                assert "phasetop record" in str(problem)  # noqa: PT017
            else:
                raise AssertionError("it found one")
    finally:
        recorder.close()


async def test_keys_and_screen_are_those_of_a_replay_until_escape() -> None:
    feed = FakeFeed()
    recording = FakeRecording(ALL[:350])
    app = PhasetopApp(
        feed,
        now=lambda: ALL[349].interval.end,
        past=lambda before: Past(recording.start, lambda at: ReplayFeed(recording, at=at, origin="history from /x")),
    )
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        feed.give(*ALL[LIVE_FROM:350])
        await pilot.pause()
        await pilot.press(*["shift+left"] * 2)
        await shows(app, pilot, "history from /x")
        assert "replay" in text_of(app)[0]
        assert "play" in text_of(app)[-1]
        await pilot.press("escape")
        await pilot.pause()
        assert "live" in text_of(app)[0]
        assert "history from" not in text_of(app)[0]
