from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import HOST, PHASES, Event, Interval, Label, Phase, Tick
from dashboard.archive import pack, unpack
from dashboard.state import History
from dashboard.tracks import Tracks

from .wave import SECOND, START, Wave

WAVE = Wave(gpus=2, engines=1)


def bare(sequence: int, start: int, seconds: float = 1.0, phase: Phase | None = None) -> Tick:
    interval = Interval(sequence, start, start + round(seconds * SECOND), seconds)
    labels = {} if phase is None else {HOST: Label(sequence, HOST, phase, WAVE.bottleneck(0))}
    return Tick(interval, labels)


DECODING = Phase("decode", True, 0.25, 0.8, 0.02, "high", ("decode-deficit",))


def history_of(ticks: Iterator[Tick]) -> History:
    history = History()
    history.extend(ticks)
    return history


def test_packed_ticks_come_back_as_they_were() -> None:
    ticks = [replace(tick, settled=()) for tick in WAVE.ticks(25, first=130)]
    assert unpack(pack(ticks)) == tuple(ticks)


def test_a_tick_of_long_ago_still_has_all_its_readings() -> None:
    history = history_of(WAVE.ticks(400))
    old = history.tick(17)
    assert old is not None
    assert old.interval == WAVE.interval(17)
    assert old.labels[HOST].settled


def test_what_was_never_recorded_is_missing() -> None:
    history = history_of(WAVE.ticks(400))
    assert history.tick(203) is None
    assert history.tick(5000) is None


def test_an_hour_of_eight_gpus_and_two_engines_stays_small() -> None:
    history = History(recent_ticks=30)
    wave = Wave(gpus=8, engines=2)
    history.extend(wave.ticks(200))
    packed = history.packed_bytes / (200 - 30)
    assert packed * 3600 < 3_000_000
    rows = len(history)
    assert history.tracks.nbytes / rows * 3600 < 3_000_000


def test_the_archive_lets_the_oldest_go_when_it_is_full() -> None:
    history = History(recent_ticks=20, archive_bytes=30_000)
    history.extend(Wave(gpus=8).ticks(160, first=300))
    assert history.packed_bytes <= 30_000
    assert history.tick(300) is None
    assert history.tick(420) is not None
    assert len(history) == 160


def test_history_keeps_no_more_than_its_time() -> None:
    history = History(keep_seconds=600)
    for n in range(2000):
        history.append(bare(n, START + n * SECOND, phase=DECODING))
    assert 600 <= len(history) <= 600 + 300


def test_a_tick_that_is_there_already_is_not_taken_twice() -> None:
    history = History()
    assert history.append(WAVE.tick(5))
    assert not history.append(WAVE.tick(5))
    assert not history.append(WAVE.tick(3))
    assert len(history) == 1


def test_a_label_that_settles_late_replaces_the_provisional_one() -> None:
    history = history_of(WAVE.ticks(9))
    before = history.tick(3)
    assert before is not None
    assert not before.labels[HOST].settled
    column = history.columns(START + 4 * SECOND, SECOND, 1)[0]
    assert column.provisional
    settled = Label(3, HOST, Phase("prefill", True, 1.0, 1.0, 0.01, "high"), WAVE.bottleneck(3))
    history.append(replace(WAVE.tick(9), settled=(settled,)))
    after = history.tick(3)
    assert after is not None
    assert after.labels[HOST] == settled
    column = history.columns(START + 4 * SECOND, SECOND, 1)[0]
    assert not column.provisional
    assert column.seconds[PHASES.index("prefill")] == pytest.approx(1.0)


def test_only_settled_columns_are_drawn_as_settled() -> None:
    history = history_of(WAVE.ticks(60))
    columns = history.columns(START + 60 * SECOND, 2 * SECOND, 30)
    # 2 s columns: the ten seconds after the newest settled interval are provisional.
    assert [column.provisional for column in columns] == [False] * 25 + [True] * 5


def test_a_column_is_a_fixed_step_and_never_changes_once_it_is_full() -> None:
    history = history_of(WAVE.ticks(150))
    before = {column.start: column for column in history.columns(START + 150 * SECOND, 2 * SECOND, 40)}
    history.extend(WAVE.ticks(30, first=150))
    after = history.columns(START + 180 * SECOND, 2 * SECOND, 40)
    shared = [column for column in after if column.start in before]
    assert len(shared) == 25
    old = [column for column in shared if column.start < START + 138 * SECOND]
    assert old
    assert all(column == before[column.start] for column in old)


def test_missing_intervals_are_a_gap_and_time_before_the_first_is_not() -> None:
    history = history_of(WAVE.ticks(230))
    columns = history.columns(START + 230 * SECOND, 2 * SECOND, 130)
    assert all(column.empty for column in columns[:15])
    gaps = {(column.start - START) // SECOND: column.gap for column in columns if column.gap}
    assert gaps == {200: 2.0, 202: 2.0, 204: 2.0}


def test_half_a_column_missing_is_half_a_gap() -> None:
    history = History()
    for n in (0, 1, 2, 4, 5):
        history.append(bare(n, START + n * SECOND, phase=DECODING))
    columns = history.columns(START + 6 * SECOND, 2 * SECOND, 3)
    assert [column.gap for column in columns] == [0.0, 1.0, 0.0]
    assert columns[1].seconds[PHASES.index("decode")] == pytest.approx(0.6)


def test_intervals_longer_than_a_column_leave_no_gaps_between_them() -> None:
    history = History()
    for n in range(6):
        history.append(bare(n, START + 5 * n * SECOND, seconds=5.0, phase=DECODING))
    columns = history.columns(START + 30 * SECOND, 2 * SECOND, 15)
    assert sum(column.gap for column in columns) == 0
    assert [sum(column.seconds) for column in columns] == [2.0] * 15


def test_a_clock_that_steps_back_hides_no_interval() -> None:
    history = History()
    for n in range(10):
        history.append(bare(n, START + n * SECOND, phase=DECODING))
    for n in range(10, 20):
        history.append(bare(n, START + (n - 3600) * SECOND, phase=DECODING))
    end = history.tracks.ends[-1]
    columns = history.columns(end, SECOND, 20)
    assert sum(column.first_sequence is not None for column in columns) == 20
    assert history.tracks.wall_time(end) == START + (20 - 3600) * SECOND


def test_an_interval_without_a_label_is_unknown() -> None:
    history = History()
    history.append(bare(0, START))
    column = history.columns(START + SECOND, SECOND, 1)[0]
    assert column.seconds == (0.0, 0.0, 0.0, 0.0, 1.0)


def test_events_are_found_by_their_time() -> None:
    history = History()
    event = Event(START + 2 * SECOND, "note", HOST, "deployed 1.4.2")
    history.append(replace(bare(0, START + SECOND), events=(event,)))
    assert [placed.event for placed in history.events_between(START, START + 3 * SECOND)] == [event]
    assert history.events_between(START, START + 2 * SECOND) == []


def test_the_newest_settled_label_is_found_only_where_it_is_recent() -> None:
    history = history_of(WAVE.ticks(40))
    label = history.last_settled(39)
    assert label is not None
    assert label.sequence == 29
    assert history.last_settled(39, within=5) is None


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.5, 7.0]), min_size=1, max_size=60),
    holes=st.sets(st.integers(0, 59), max_size=20),
    step=st.sampled_from([1, 2, 5, 10]),
)
def test_the_time_of_all_columns_is_the_time_that_passed(lengths: list[float], holes: set[int], step: int) -> None:
    """Nothing is counted twice or lost: phases and gaps together are the time from first to last."""
    tracks = Tracks(3600, 10_000)
    at, covered, last_end, first = START, 0.0, START, None
    for n, length in enumerate(lengths):
        if n not in holes:
            tracks.append(bare(n, at, length, DECODING))
            covered += length
            last_end = at + round(length * SECOND)
            first = at if first is None else first
        at += round(length * SECOND)
    if first is None:
        return
    count = (last_end - START) // (step * SECOND) + 2
    columns = tracks.columns(last_end, step * SECOND, count)
    assert sum(sum(column.seconds) for column in columns) == pytest.approx(covered, rel=1e-5)
    passed = (last_end - first) / SECOND
    # A gap of less than a fiftieth of a column is jitter of the clock.
    assert sum(column.gap for column in columns) == pytest.approx(passed - covered, abs=0.02 * step * count)


def test_looking_back_from_the_newest_interval_unpacks_nothing() -> None:
    """With intervals of a quarter of a second a minute is 240 of them, more than are kept unpacked."""
    history = History(recent_ticks=30)
    for n in range(300):
        history.append(bare(n, START + n * SECOND // 4, seconds=0.25, phase=DECODING))
    seen = history.before(299, 60.0)
    assert [tick.interval.sequence for tick in seen] == list(range(270, 300))
    assert history.unpacked_ticks == 0


def test_tracks_are_flat_arrays() -> None:
    tracks = Tracks(3600, 10_000)
    for n in range(100):
        tracks.append(bare(n, START + n * SECOND, phase=DECODING))
    assert tracks.nbytes < 100 * 200
    assert sys.getsizeof(tracks.ends) < 100 * 8 * 2
