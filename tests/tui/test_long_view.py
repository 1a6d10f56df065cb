"""Zoomed out beyond what memory holds: a recording shows what it has summed up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import FakeClock
from collectors.model import Tick
from collectors.replay import Recording
from collectors.store_schema import MINUTE, ROLLED
from collectors.strip import StripColumn
from dashboard.desk import Desk
from dashboard.frames import Arrangement
from dashboard.palette import palette
from dashboard.replay_feed import ReplayFeed
from dashboard.scene import Playback, Scene
from dashboard.screens.table import SCREENS
from dashboard.series import ENGINE_RATES, ENGINE_SERIES, GPU_SERIES, HOST_RATES, HOST_SERIES
from dashboard.state import Delivery
from dashboard.survey import SHORTEST_STEP, Span
from dashboard.surveyor import Surveyor
from dashboard.tracks import LINES
from dashboard.zoom import KEPT, LongView, coarser, finer, is_long, is_step
from tests.recording_support import SECOND, START, interval, recording_file, ticks, with_event

from .support import painted_screen
from .test_replay_feed import player

HOURS = 3
LENGTH = HOURS * 3600 * SECOND


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of ten-second intervals, with an event in the middle."""
    made = ticks(interval(number, seconds=10.0) for number in range(HOURS * 360))

    def told() -> Iterator[Tick]:
        for tick in made:
            yield with_event(tick, "deployed") if tick.interval.sequence == HOURS * 180 else tick

    return recording_file(tmp_path_factory.mktemp("long") / "long.db", told())


class Looked:
    """A recording looked at, its thread the test's: `settle` goes on until all is read."""

    def __init__(self, path: Path, *, columns: int = 90) -> None:
        self.clock = FakeClock()
        self.recording = Recording(path)
        self.feed = ReplayFeed(self.recording, clock=self.clock)
        self.desk = Desk(self.feed, palette())
        self.feed._delivering = self._take
        self._columns = columns
        self.settle()

    def _take(self, delivery: Delivery) -> None:
        self.desk.arrive(delivery)

    def settle(self) -> None:
        """As the screens do it: what is shown is asked for with every drawing."""
        for _ in range(100):
            self.desk.fit(self._columns, 60)
            until = self.feed.turn()
            self.desk.receive()
            if until > self.clock.monotonic():
                return
        raise AssertionError("it never comes to rest")

    def zoom(self, direction: int, times: int = 1) -> None:
        for _ in range(times):
            self.desk.zoom(direction)
            self.settle()

    @property
    def scene(self) -> Scene:
        return self.desk.scene(Arrangement())


@pytest.fixture
def looked(long: Path) -> Iterator[Looked]:
    one = Looked(long)
    yield one
    one.recording.close()


def test_a_recording_is_zoomed_out_to_all_of_it(looked: Looked) -> None:
    looked.zoom(-1, 20)
    columns = looked.scene.columns(90)
    known = [column for column in columns if not column.empty]
    assert looked.desk.visible >= LENGTH
    assert known[0].start <= START
    assert sum(sum(column.seconds) for column in known) == pytest.approx(LENGTH / SECOND)
    assert sum(column.gap for column in known) == 0
    looked.zoom(1)
    assert looked.desk.visible < LENGTH


def test_a_column_of_the_long_view_is_what_the_recording_summed_up(looked: Looked) -> None:
    looked.zoom(-1, 20)
    scene = looked.scene
    columns = scene.columns(90)
    step = scene.step
    parts = looked.recording.strip(columns[0].start, columns[-1].start + step, 90)
    means = looked.recording.means(columns[0].start, step, 90)
    cpu = scene.averages("host", "cpu", columns)
    dram = scene.averages("gpu/GPU-1", "dram", columns)
    for n, (column, part) in enumerate(zip(columns, parts, strict=True)):
        assert column.seconds == (part.prefill, part.decode, part.idle, part.waiting, part.unknown)
        if column.empty:
            assert math.isnan(cpu[n])
            continue
        assert cpu[n] == means["host"]["cpu_ratio"][n]
        assert dram[n] == means["gpu/GPU-1"]["dram_active_ratio"][n]
        assert column.lines[LINES.index("dram")] == pytest.approx(dram[n])
        assert column.lines[LINES.index("prompt")] >= 0 or math.isnan(column.lines[LINES.index("prompt")])


def test_engines_have_their_own_phases_in_the_long_view(looked: Looked) -> None:
    looked.zoom(-1, 20)
    scene = looked.scene
    columns = scene.columns(90)
    assert scene.survey is not None
    entity = "engine/http://127.0.0.1:8000/metrics#0"
    phases = scene.survey.phases([entity], columns)
    assert [one.seconds for one in phases] == [one.seconds for one in columns]
    nobody = scene.survey.phases(["engine/http://elsewhere#0"], columns)
    assert all(one.empty for one in nobody)


def test_what_is_looked_at_is_marked_and_stays_in_the_long_view(looked: Looked) -> None:
    looked.zoom(-1, 20)
    for minutes in (5, 100, 170):
        moment = START + minutes * MINUTE
        looked.feed.seek(moment)
        looked.settle()
        scene = looked.scene
        columns = scene.columns(90)
        x = scene.column_of_cursor(columns)
        assert x is not None
        assert columns[x].start <= moment < columns[x].start + scene.step
        assert scene.tick is not None
        assert scene.tick.interval.start <= moment


def test_pointing_at_a_column_of_the_long_view_looks_at_its_end(looked: Looked) -> None:
    looked.zoom(-1, 20)
    scene = looked.scene
    column = next(column for column in scene.columns(90) if not column.empty)
    looked.desk.point(column.start + scene.step)
    looked.settle()
    tick = looked.desk.tick()
    assert tick is not None
    assert tick.interval.end == column.start + scene.step


def test_events_of_the_whole_recording_are_on_the_long_axis(looked: Looked) -> None:
    looked.zoom(-1, 20)
    scene = looked.scene
    columns = scene.columns(90)
    found = scene.events_between(columns[0].start, columns[-1].start + scene.step)
    assert [placed.event.text for placed in found] == ["deployed"]
    assert scene.events_between(columns[0].start, START) == []


def test_coming_back_closer_shows_intervals_again(looked: Looked) -> None:
    usual = looked.desk.column_step
    before = [column.seconds for column in looked.scene.columns(90)]
    looked.zoom(-1, 20)
    assert looked.scene.survey is not None
    looked.zoom(0)
    assert looked.desk.column_step == usual
    assert looked.scene.survey is None
    assert looked.feed.playback().survey is None
    assert [column.seconds for column in looked.scene.columns(90)] == before


@pytest.mark.parametrize("name", [one.name for one in SCREENS])
def test_every_screen_has_the_long_axis(looked: Looked, name: str) -> None:
    looked.zoom(-1, 20)
    make = next(one for one in SCREENS if one.name == name).load()
    for size in ((20, 5), (80, 24), (120, 40), (200, 50)):
        lines = painted_screen(make, looked.desk, *size)
        assert len(lines) == size[1]
    whole = "\n".join(painted_screen(make, looked.desk, 120, 40))
    assert re.search(r"1[345]:[03]0:00", whole), "in the recording's time zone it is 13:00 to 16:00"
    assert ("latencies are not summed up" in whole) == (name == "engines")


def test_a_recording_without_sums_is_zoomed_out_to_what_memory_holds() -> None:
    replay = player(900)
    assert not replay.feed.sums_up
    for _ in range(20):
        replay.desk.zoom(-1)
    assert replay.desk.column_step <= SHORTEST_STEP
    assert not replay.desk.is_long


def test_a_live_view_is_not_recalled_at_a_zoom_that_only_recordings_have() -> None:
    assert is_step(300 * SECOND, replay=True)
    assert not is_step(300 * SECOND, replay=False)
    assert not is_step(7 * SECOND, replay=True)


@given(columns=st.integers(1, 300), whole=st.integers(1, 90 * 86_400), replay=st.booleans(), down=st.integers(0, 30))
def test_steps_lead_from_ten_seconds_to_all_there_is_and_back(
    columns: int, whole: int, replay: bool, down: int
) -> None:
    step = 2 * SECOND
    for _ in range(30):
        further = coarser(step, columns, whole * SECOND, replay=replay)
        assert further >= step
        if further == step:
            break
        assert not replay or further >= SHORTEST_STEP or further * columns <= KEPT
        step = further
    seen = step * max(1, columns - 1)
    assert seen >= whole * SECOND or step == (86_400 * SECOND if replay else SHORTEST_STEP)
    for _ in range(down):
        closer = finer(step, columns)
        assert closer <= step
        assert closer == step or closer * columns >= 10 * SECOND
        step = closer


@given(
    minutes=st.integers(1, 5000), position=st.integers(0, 5000), columns=st.integers(1, 300),
    moves=st.lists(st.integers(0, 5000), max_size=5),
)  # fmt: skip
def test_what_is_looked_at_is_always_within_the_span(
    minutes: int, position: int, columns: int, moves: list[int]
) -> None:
    view, end = LongView(), START + minutes * MINUTE
    for move in (position, *moves):
        here = START + min(move, minutes) * MINUTE
        span = view.span(Playback(START, end, max(START + 1, here), False, 1.0, False), MINUTE, columns)
        assert span.first * MINUTE < max(START + 1, here) <= span.end
        assert span.end <= end + MINUTE
        if minutes < columns:
            assert span.first * MINUTE <= START


def test_intervals_as_long_as_the_columns_are_shown_themselves() -> None:
    assert is_long(60 * SECOND, 1.0)
    assert not is_long(60 * SECOND, 60.0)
    assert not is_long(30 * SECOND, 1.0)


def test_every_number_that_is_drawn_is_summed_up_and_a_column_is_no_less_than_a_sum() -> None:
    drawn = {"gpu": GPU_SERIES, "host": {**HOST_SERIES, **HOST_RATES}, "engine": {**ENGINE_SERIES, **ENGINE_RATES}}
    for source, series in drawn.items():
        assert set(series.values()) <= set(ROLLED[source])
    assert SHORTEST_STEP == MINUTE


class Counted:
    """A recording with nothing in it, which counts how often it is read."""

    end = START + 600 * MINUTE
    live = False

    def __init__(self) -> None:
        self.reads = 0

    def strip(self, from_ns: int, to_ns: int, columns: int, *, entity: str = "host") -> list[StripColumn]:
        step = (to_ns - from_ns) // columns
        return [StripColumn(from_ns + n * step, from_ns + n * step + step, *(0.0,) * 6) for n in range(columns)]

    def means(self, from_ns: int, step: int, columns: int) -> dict[str, dict[str, list[float]]]:
        self.reads += 1
        return {}


def test_columns_are_read_once_and_again_for_an_engine_that_was_not_there() -> None:
    recording = Counted()
    surveyor = Surveyor(recording)
    span = Span(MINUTE, START // MINUTE + 99, 100)

    def reads(engines: set[str], wanted: Span = span) -> int:
        before = recording.reads
        surveyor.wish(wanted, frozenset(engines))
        while surveyor.is_pending:
            surveyor.read()
        return recording.reads - before

    assert reads({"engine/a#0"}) == 1
    assert reads({"engine/a#0"}) == 0
    assert reads({"engine/b#0"}) == 1
    assert reads({"engine/a#0"}) == 0
    assert reads(set(), Span(MINUTE, span.last + 10, 100)) == 1
    found = surveyor.survey()
    assert found is not None
    assert set(found.known[span.last].engines) == {"engine/a#0", "engine/b#0"}
    assert reads(set(), Span(5 * MINUTE, span.last // 5, 100)) > 0
    found = surveyor.survey()
    assert found is not None
    assert found.known[span.last // 5].engines == {}


def test_what_grows_is_read_again_at_its_end_alone() -> None:
    recording = Counted()
    surveyor = Surveyor(recording)
    last = recording.end // MINUTE - 1
    surveyor.wish(Span(MINUTE, last, 60), frozenset())
    while surveyor.is_pending:
        surveyor.read()
    surveyor.renew()
    found = surveyor.survey()
    assert found is not None
    assert sorted(set(range(last - 59, last + 1)) - found.known.keys()) == [last - 1, last]
