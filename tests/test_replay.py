"""Finding one's way in a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from collectors.model import HOST, RULE_VERSION, Event, Gap, Tick
from collectors.replay import Recording
from collectors.store import NotARecording
from tests.recording_support import (
    BLOCK,
    SECOND,
    SETTLE,
    START,
    Estimator,
    estimator,
    interval,
    recorder,
    recording_file,
    settled_labels,
    ticks,
    with_event,
)

MINUTE = 60 * SECOND


def at(number: float) -> int:
    return START + round(number * SECOND)


def recorded(directory: Path, numbers: Iterable[int], **changed: Any) -> Path:
    """Intervals recorded as one run, labelled, with checkpoints."""
    labeller = Estimator()
    one = recorder(directory, checkpoint=labeller.checkpoint, **changed)
    for tick in ticks(map(interval, numbers), labeller):
        one.put(tick)
    assert one.close()
    return directory


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes in one file."""
    return recorded(tmp_path_factory.mktemp("long"), range(600))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three minutes across midnight in two files, then, after an hour, another run whose numbers begin anew."""
    directory = tmp_path_factory.mktemp("pieces")
    midnight = 12 * 3600
    recorded(directory, range(midnight - 90, midnight + 90))
    labeller = Estimator()
    one = recorder(directory)
    later = at(midnight + 3600)
    for tick in ticks((interval(number, start=later + number * SECOND) for number in range(50)), labeller):
        one.put(tick)
    one.close()
    assert len(list(directory.glob("*.db"))) == 3
    return directory


def test_what_a_recording_says_of_itself(long: Path) -> None:
    with Recording(long) as recording:
        assert (recording.start, recording.end, len(recording)) == (START, at(600), 600)
        assert (recording.first_sequence, recording.last_sequence) == (0, 599)
        assert (recording.interval_length, recording.host_name, recording.live) == (1.0, "node-1", False)
        assert recording.rule_versions == {RULE_VERSION}
        assert recording.problems == ()


def test_a_files_time_zone_is_that_of_the_machine_that_recorded(tmp_path: Path) -> None:
    with Recording(recording_file(tmp_path / "one.db", ticks([interval(0)]))) as recording:
        assert str(recording.zone) == "Europe/Berlin"


def test_the_tick_at_a_moment_is_the_latest_that_starts_at_or_before_it(long: Path) -> None:
    with Recording(long) as recording:
        found = [recording.tick_at(moment) for moment in (START, at(299.999), at(300), at(10_000))]
        assert [tick.interval.sequence if tick else None for tick in found] == [0, 299, 300, 599]
        assert recording.tick_at(START - 1) is None


def test_next_and_previous_go_through_every_file_and_run_and_end_at_the_edges(pieces: Path) -> None:
    with Recording(pieces) as recording:
        there = [recording.first_sequence]
        while (tick := recording.next(there[-1])) is not None:
            there.append(tick.interval.sequence)
        back = [recording.last_sequence]
        while (tick := recording.previous(back[-1])) is not None:
            back.append(tick.interval.sequence)
        first = 12 * 3600 - 90
        assert there == list(range(first, first + 180 + 50))
        assert back == there[::-1]
        assert len(recording) == len(there)


def test_numbers_rise_through_a_run_that_began_them_anew_and_labels_go_with_their_interval(pieces: Path) -> None:
    with Recording(pieces) as recording:
        tick = recording.tick(recording.last_sequence)
        assert tick is not None
        assert tick.interval.start == at(12 * 3600 + 3600 + 49)
        assert {label.sequence for label in tick.labels.values()} == {recording.last_sequence}
        assert recording.tick(recording.last_sequence + 1) is None
        assert recording.tick(0) is None


@pytest.mark.parametrize(("begin", "until"), [(None, None), (100, 163), (100, 101), (99.5, 100.5), (0, 0), (700, 800)])
def test_ticks_of_a_range_start_within_it(long: Path, begin: float | None, until: float | None) -> None:
    with Recording(long) as recording:
        found = recording.ticks(None if begin is None else at(begin), None if until is None else at(until))
        first, last = (0 if begin is None else begin), (600 if until is None else until)
        assert [tick.interval.sequence for tick in found] == [n for n in range(600) if first <= n < last]


def test_intervals_stay_in_order_and_can_be_found_when_the_clock_stepped_back(tmp_path: Path) -> None:
    starts = [*range(100), *range(40, 120)]
    made = [interval(number, start=at(start)) for number, start in enumerate(starts)]
    with Recording(recording_file(tmp_path / "one.db", ticks(made))) as recording:
        assert [tick.interval.sequence for tick in recording.ticks()] == list(range(180))
        found = recording.tick_at(at(50))
        assert found is not None
        assert found.interval.sequence == 110
        assert [tick.interval.start for tick in recording.ticks(at(30), at(32))] == [at(30), at(31)]
        assert [tick.interval.sequence for tick in recording.ticks(at(45), at(46))] == [45, 105]
        assert recording.end == at(120)


def steps(step: Callable[[int], int | None], moment: int) -> list[float]:
    """Where one comes by taking a step again and again, in seconds after START."""
    found = []
    while (reached := step(moment)) is not None:
        found.append((reached - START) / SECOND)
        moment = reached
    return found


def test_phase_changes_are_where_the_hosts_settled_label_becomes_another(long: Path) -> None:
    changes = list(range(BLOCK, 600, BLOCK))
    with Recording(long) as recording:
        assert steps(recording.next_phase_change, START) == changes
        assert steps(recording.previous_phase_change, recording.end) == changes[::-1]
        assert recording.next_phase_change(at(BLOCK + 0.5)) == at(2 * BLOCK)
        assert recording.previous_phase_change(at(2 * BLOCK + 0.5)) == at(BLOCK)


def test_phase_changes_go_on_across_midnight(pieces: Path) -> None:
    midnight = 12 * 3600
    with Recording(pieces) as recording:
        found = steps(recording.next_phase_change, recording.start)
    assert found == [
        *(number for number in range(midnight - 89, midnight + 90) if number % BLOCK == 0),
        midnight + 3600 + BLOCK,
        midnight + 3600 + 2 * BLOCK,
    ]


def test_gaps_are_missing_time_missing_sources_and_breaks_between_files(tmp_path: Path, pieces: Path) -> None:
    lost = (Gap("gpu", "lost"),)
    numbers = [*range(50), *range(80, 200)]
    made = [interval(number, gaps=lost if 100 <= number < 150 or number == 160 else ()) for number in numbers]
    with Recording(recording_file(tmp_path / "one.db", ticks(made))) as recording:
        assert steps(recording.next_gap, START) == [80, 100, 160]
        assert steps(recording.previous_gap, recording.end) == [160, 100, 80]
        assert recording.next_gap(at(60)) == at(80)
        assert recording.previous_gap(at(60)) is None
    with Recording(pieces) as recording:
        assert steps(recording.next_gap, recording.start) == [12 * 3600 + 3600]
        assert steps(recording.previous_gap, recording.end) == [12 * 3600 + 3600]


def test_events_are_gone_to_by_the_interval_they_happened_in(tmp_path: Path) -> None:
    numbers = [*range(50), *range(80, 120)]
    happened = {10: [10.2, 10.7], 30: [30.0], 80: [65.5], 100: [99.9]}
    made: list[Tick] = []
    for tick in ticks(map(interval, numbers)):
        made.append(tick)
        for moment in happened.get(tick.interval.sequence, ()):
            made[-1] = with_event(made[-1], f"at {moment}", time=at(moment))
    with Recording(recording_file(tmp_path / "one.db", made)) as recording:
        assert steps(recording.next_event, START) == [10, 30, 49, 99]
        assert steps(recording.previous_event, recording.end) == [99, 49, 30, 10]
        assert recording.next_event(at(10.5)) == at(30)
        texts = [event.text for event in recording.events(START, recording.end)]
        assert texts == ["at 10.2", "at 10.7", "at 30.0", "at 65.5", "at 99.9"]
        assert [event.text for event in recording.events(at(30), at(31))] == ["at 30.0"]
        told = recording.tick(100)
        assert told is not None
        assert told.events == (Event(at(99.9), "note", HOST, "at 99.9"),)


def sums(column: Any) -> list[float]:
    return [round(value, 6) for value in (column.prefill, column.decode, column.idle, column.unknown, column.gap)]


def test_a_fine_strip_is_made_of_the_labels(long: Path) -> None:
    with Recording(long) as recording:
        strip = recording.strip(START, at(80), 4)
        labels = settled_labels(recording.ticks(START, at(80)))
    assert [(column.start, column.end) for column in strip] == [(at(20 * n), at(20 * n + 20)) for n in range(4)]
    for number, column in enumerate(strip):
        phases = [labels[sequence, HOST].phase for sequence in range(20 * number, 20 * number + 20)]
        busy = [phase.busy_ratio or 0.0 for phase in phases]
        prefill = sum(ratio * (phase.prefill_share or 0.0) for ratio, phase in zip(busy, phases, strict=True))
        assert sums(column) == [round(prefill, 6), round(sum(busy) - prefill, 6), round(20 - sum(busy), 6), 0.0, 0.0]


def test_a_coarse_strip_is_made_of_the_roll_ups_and_the_last_minutes_of_the_labels(long: Path) -> None:
    with Recording(long) as recording:
        coarse = recording.strip(START, at(600), 5)
        fine = recording.strip(START, at(600), 600)
    for number, column in enumerate(coarse):
        inside = fine[number * 120 : number * 120 + 120]
        assert column.prefill == pytest.approx(sum(one.prefill for one in inside))
        assert column.decode == pytest.approx(sum(one.decode for one in inside))
        assert column.idle == pytest.approx(sum(one.idle for one in inside))
        assert column.gap == pytest.approx(0.0, abs=1e-9)


def test_a_strip_tells_gaps_apart_and_has_nothing_outside_of_the_recording(pieces: Path) -> None:
    midnight = 12 * 3600
    with Recording(pieces) as recording:
        strip = recording.strip(at(midnight - 3600), at(midnight + 7200), 3)
    assert [round(column.gap) for column in strip] == [0, 3600 - 90, 0]
    assert [round(sum(sums(column))) for column in strip] == [90, 3600, 50]


def test_a_strip_of_one_gpu_is_its_own(long: Path) -> None:
    with Recording(long) as recording:
        whole = recording.strip(START, at(600), 10, entity="gpu/GPU-1")
        none = recording.strip(START, at(600), 10, entity="gpu/GPU-9")
    assert round(sum(column.prefill + column.decode + column.idle for column in whole)) == 600
    assert all(column.gap == 0 or column.unknown == 0 for column in none)
    assert sum(column.prefill + column.decode for column in none) == 0


@pytest.mark.parametrize("source", ["long", "pieces"])
def test_labels_made_anew_are_those_that_were_stored(source: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(source)
    with Recording(path) as stored, Recording(path, relabel=True, labeller_factory=estimator) as anew:
        expected = settled_labels(stored.ticks())
        assert settled_labels(anew.ticks()) == expected
        for sequence in (anew.last_sequence, anew.first_sequence + 140, anew.first_sequence + 93, anew.first_sequence):
            tick = anew.tick(sequence)
            assert tick is not None
            assert dict(tick.labels) == {
                entity: label for (number, entity), label in expected.items() if number == sequence
            }


def test_labels_are_made_anew_from_the_nearest_checkpoint_and_not_from_the_start(long: Path) -> None:
    begun: list[tuple[int, _Counting]] = []

    def factory(state: dict[str, Any] | None) -> _Counting:
        counting = _Counting(state)
        begun.append((state["next_sequence"] if state else 0, counting))
        return counting

    with Recording(long, relabel=True, labeller_factory=factory) as recording:
        recording.tick(500)
        ((first, counting),) = begun
        assert 430 < first <= 500
        assert counting.pushed == 500 + SETTLE - first + 1
        recording.tick(501)
        assert len(begun) == 1
        assert counting.pushed == 501 + SETTLE - first + 1
        recording.tick(100)
        assert len(begun) == 2


class _Counting(Estimator):
    pushed = 0

    def push(self, pushed: Any) -> Tick:
        self.pushed += 1
        return super().push(pushed)


def test_a_checkpoint_of_other_rules_is_not_used(tmp_path: Path) -> None:
    class Older(Estimator):
        def checkpoint(self) -> dict[str, Any]:
            return {**super().checkpoint(), "rule_version": 0, "seen": 10**6}

    labeller = Older()
    path = recording_file(tmp_path / "one.db", ticks(map(interval, range(100)), labeller), checkpoints=labeller)
    with Recording(path) as stored, Recording(path, relabel=True, labeller_factory=estimator) as anew:
        assert settled_labels(anew.ticks()) == settled_labels(stored.ticks())


def test_a_recording_without_any_label_is_shown_without_where_labelling_would_take_long(tmp_path: Path) -> None:
    path = recording_file(tmp_path / "one.db", (Tick(interval(number)) for number in range(1500)))
    with Recording(path, labeller_factory=estimator) as recording:
        early, late = recording.tick(800), recording.tick(1499)
        assert early is not None
        assert early.labels.keys() == {HOST, "gpu/GPU-0", "gpu/GPU-1", "engine/http://127.0.0.1:8000/metrics#0"}
        assert late is not None
        assert late.labels.keys() == early.labels.keys()


def test_an_empty_directory_and_a_path_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotARecording, match="no recording in this directory yet"):
        Recording(tmp_path)
    with pytest.raises(NotARecording, match="no such file"):
        Recording(tmp_path / "missing")


def test_a_recording_may_be_read_from_several_threads(long: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Recording(long) as recording, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(recording.tick, range(0, 600, 5)))
    assert [tick.interval.sequence for tick in found if tick] == list(range(0, 600, 5))
