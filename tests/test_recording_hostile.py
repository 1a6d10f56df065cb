"""Files that are no recording, or not a whole one, are refused with what, where and what to do."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from collectors.replay import Recording
from collectors.store import DamagedRecording, NewerRecording, NotARecording, RecordingError
from tests.recording_support import Estimator, estimator, interval, recording_file, ticks


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "one.db"
    labeller = Estimator()
    return recording_file(path, ticks(map(interval, range(150)), labeller), checkpoints=labeller)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "copy.db"))


def read_all(path: Path) -> int:
    """Everything a replay does with a recording; how many intervals there are."""
    with Recording(path) as recording:
        count = len(list(recording.ticks()))
        recording.strip(recording.start, recording.end, 7)
        recording.strip(recording.start, recording.start + 3600 * 10**9, 5)
        recording.next_phase_change(recording.start)
        recording.next_event(recording.start)
        recording.next_gap(recording.start)
        recording.events(0, recording.end)
        recording.refresh()
    with Recording(path, relabel=True, labeller_factory=estimator) as recording:
        recording.tick_at(recording.end)
    return count


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(NotARecording, match=f"^{path}: not an SQLite file; give a file that phasetop recorded$"):
        Recording(path)


def test_a_database_of_another_application_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE interval (sequence INTEGER)")
    connection.close()
    with pytest.raises(NotARecording, match="an SQLite file of another application"):
        Recording(path)


def test_a_recording_of_a_later_format_is_refused_and_not_changed(copy: Path) -> None:
    connection = sqlite3.connect(copy)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = copy.read_bytes()
    with pytest.raises(NewerRecording, match="recorded in format 2, and this phasetop reads up to 1; install"):
        Recording(copy)
    assert copy.read_bytes() == before


def test_a_recording_with_a_table_missing_is_refused(copy: Path) -> None:
    connection = sqlite3.connect(copy)
    connection.execute("DROP TABLE verdict")
    connection.close()
    with pytest.raises(DamagedRecording, match="its tables are not complete \\(no verdict\\)"):
        Recording(copy)


def test_columns_that_other_versions_lack_or_have_on_top_are_no_obstacle(copy: Path) -> None:
    connection = sqlite3.connect(copy)
    for view in ("gpu_readings", "host_readings", "engine_readings", "labels", "latencies", "gaps", "minutes"):
        connection.execute(f"DROP VIEW {view}")
    connection.execute("ALTER TABLE gpu DROP COLUMN dram_active_ratio")
    connection.execute("ALTER TABLE gpu ADD COLUMN flux_capacity INTEGER")
    connection.execute("UPDATE field SET scale = 10, unit = 'joules' WHERE name = 'energy_joules'")
    connection.commit()
    connection.close()
    with Recording(copy) as recording:
        tick = recording.tick(5)
    assert tick is not None
    gpu = tick.interval.gpus["GPU-1"]
    assert gpu.dram_active_ratio is None
    assert gpu.energy_joules == 305_125 / 10
    assert tick.interval.host == interval(5).host


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("DELETE FROM gpu_facts", "points to another that is not there"),
        ("DELETE FROM histogram_bound WHERE upper IS NULL", "bounds are not complete"),
        ("""UPDATE engine SET ttft_counts = '{"99": 1}'""", "make no sense"),
        ("UPDATE engine SET ttft_counts = 'not json'", "make no sense"),
        ("UPDATE engine SET ttft_counts = '[1, 2]'", "make no sense"),
        ("UPDATE interval SET start_ns = -5 WHERE sequence = 0", "make no sense"),
        ("UPDATE interval SET seconds = 9e999 WHERE sequence = 3", "make no sense"),
        ("UPDATE interval SET end_ns = -1 WHERE sequence = 3", "make no sense"),
        ("DELETE FROM meta WHERE key = 'run'", "make no sense"),
        ("UPDATE meta SET value = 'x' WHERE key = 'interval_seconds'", "make no sense"),
        ("UPDATE label SET advice = 'x'", "make no sense"),
        ("DELETE FROM phrase", "points to another that is not there"),
    ],
)
def test_values_that_make_no_sense_are_named_as_damage(copy: Path, damage: str, complaint: str) -> None:
    connection = sqlite3.connect(copy)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(DamagedRecording, match=complaint):
        read_all(copy)


@pytest.mark.parametrize("state", ["x'00'", "x'ffff'", "x'789c030000000001'", "zeroblob(1000)"])
def test_a_state_of_the_estimator_that_cannot_be_read_is_named_as_damage(copy: Path, state: str) -> None:
    connection = sqlite3.connect(copy)
    connection.execute(f"UPDATE checkpoint SET state = {state}")
    connection.commit()
    connection.close()
    with Recording(copy, relabel=True) as recording, pytest.raises(DamagedRecording):
        recording.tick(140)


def test_a_file_cut_short_anywhere_is_read_up_to_there_or_refused(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    path = tmp_path / "cut.db"
    outcomes = set()
    for length in range(0, len(content), 4096 * 5):
        path.write_bytes(content[:length])
        outcomes.add(_outcome(path))
    assert outcomes == {"refused"}


def test_random_bytes_anywhere_never_end_in_anything_but_a_reading_or_a_refusal(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    path = tmp_path / "flipped.db"
    dice = random.Random(20261120)
    outcomes = []
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(dice.choice((1, 8, 64))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        outcomes.append(_outcome(path))
    assert set(outcomes) <= {"read", "refused"}
    assert len(set(outcomes)) == 2


def _outcome(path: Path) -> str:
    try:
        read_all(path)
    except RecordingError as raised:
        problem = str(raised)
    else:
        return "read"
    assert problem.startswith(f"{path}: ")
    assert "\n" not in problem
    return "refused"


def test_a_huge_file_of_nothing_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sparse.db"
    path.touch()
    os.truncate(path, 10 * 2**30)
    with pytest.raises(NotARecording, match="not an SQLite file"):
        Recording(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path),
        os.mkfifo,
        lambda path: path.symlink_to(path.parent / "missing"),
    ],
    ids=["a symlink to itself", "a pipe", "a symlink to nothing"],
)
def test_paths_that_are_no_file_are_refused_without_waiting_on_them(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "odd.db"
    make(path)
    with pytest.raises(NotARecording, match="give a recording file"):
        Recording(path)


def test_a_damaged_file_of_a_directory_is_left_out_and_told(copy: Path) -> None:
    directory = copy.parent
    copy.rename(directory / "phasetop-20261120T120000Z.db")
    bad = directory / "phasetop-20261121T000000Z.db"
    bad.write_bytes((directory / "phasetop-20261120T120000Z.db").read_bytes()[:50_000])
    with Recording(directory) as recording:
        assert len(list(recording.ticks())) == 150
        (problem,) = recording.problems
        assert problem.startswith(f"{bad}: damaged or cut short")
        assert f"phasetop repair {bad} -o" in problem
        assert not recording.refresh()


def test_a_file_that_is_damaged_while_it_is_replayed_is_left_out_of_a_directory(copy: Path, whole: Path) -> None:
    directory = copy.parent
    first, second = directory / "phasetop-20261120T120000Z.db", directory / "phasetop-20261120T130000Z.db"
    copy.rename(first)
    made = (interval(number, start=interval(3600 + number).start) for number in range(10))
    recording_file(second, ticks(made), run="another")
    with Recording(directory) as recording:
        assert len(recording) == 160
        with first.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(first.stat().st_size - 4096))
        assert len(list(recording.ticks())) < 160
        assert any(str(first) in problem for problem in recording.problems)
        newest = recording.tick_at(recording.end)
        assert newest is not None
        assert newest.interval.gpus == interval(9).gpus
