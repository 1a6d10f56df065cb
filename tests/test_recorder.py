"""Recording into a directory: new files, old files, and trouble with the disk."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.model import HOST, Gap, Tick
from collectors.replay import Recording
from collectors.store import NoWriteAheadLog, file_sizes, is_being_written, recording_files, use_write_ahead_log
from collectors.store_read import FileReader
from exporters.recorder import AlreadyRecording, Recorder
from tests.patience import PATIENCE, until
from tests.recording_support import (
    SECOND,
    START,
    Estimator,
    files,
    interval,
    recorder,
    settled_labels,
    ticks,
    with_event,
)

REPOSITORY = Path(__file__).parent.parent
DAY = 86_400 * SECOND
MIDNIGHT = START + DAY // 2
"""START is noon, UTC."""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    """Recorders that are closed at the end, whatever the test did."""
    begun: list[Recorder] = []

    def start(directory: Path = tmp_path, **changed: Any) -> Recorder:
        begun.append(recorder(directory, **changed))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


def test_every_interval_and_every_settled_label_is_in_the_recording(tmp_path: Path) -> None:
    written = list(ticks(map(interval, range(100))))
    one = recorder(tmp_path)
    for tick in written:
        one.put(tick)
    assert one.close()
    assert (one.written, one.dropped, one.status) == (100, 0, None)
    with Recording(tmp_path) as recording:
        read = list(recording.ticks())
    assert [tick.interval for tick in read] == [tick.interval for tick in written]
    assert settled_labels(read) == settled_labels(written)


def test_labels_that_settle_at_the_end_are_recorded_without_a_further_interval(tmp_path: Path) -> None:
    labeller = Estimator()
    one = recorder(tmp_path)
    for number in range(10):
        one.put(labeller.push(interval(number)))
    one.settle(labeller.flush())
    one.close()
    reader = FileReader(next(tmp_path.glob("*.db")))
    assert reader.find.settled_through() == 9
    reader.close()


def test_a_closed_file_needs_no_log_and_is_for_the_group_to_read(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        one = recorder(tmp_path)
        one.put(Tick(interval(0)))
        one.close()
    finally:
        os.umask(umask)
    path = tmp_path / "phasetop-20261120T120000Z.db"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in sorted(tmp_path.iterdir())] == [path.name, "phasetop.lock"]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_new_file_begins_at_midnight_utc_and_each_holds_the_labels_of_its_own_intervals(tmp_path: Path) -> None:
    first = 12 * 3600 - 30
    written = list(ticks(map(interval, range(first, first + 60))))
    one = recorder(tmp_path)
    for tick in written:
        one.put(tick)
    one.close()
    assert files(tmp_path) == ["phasetop-20261120T235930Z.db", "phasetop-20261121T000000Z.db"]
    for path, numbers in zip(
        sorted(tmp_path.glob("*.db")), (range(first, first + 30), range(first + 30, first + 60)), strict=True
    ):
        with Recording(path) as recording:
            read = list(recording.ticks())
            assert [tick.interval.sequence for tick in read] == list(numbers)
            labels = {key: label for key, label in settled_labels(written).items() if key[0] in numbers}
            assert settled_labels(read) == labels


def test_a_new_file_begins_at_an_eighth_of_the_byte_cap_and_the_oldest_go_to_keep_the_cap(tmp_path: Path) -> None:
    cap = 4 * 2**20
    one = recorder(tmp_path, byte_cap=cap)
    seen: set[str] = set()
    most = 0
    for number in range(2500):
        long = tuple(Gap("gpu", f"{number} {index} {'x' * 100}") for index in range(15))
        one.put(Tick(interval(number, gaps=long)))
        if number % 50 == 0:
            until(lambda: one.written >= number - 50)  # noqa: B023
            most = max(most, sum(size for path in recording_files(tmp_path) for _, size in file_sizes(path)))
            seen |= set(files(tmp_path))
    one.close()
    kept = files(tmp_path)
    assert len(seen | set(kept)) > len(kept) >= 4
    assert kept == sorted(seen | set(kept))[-len(kept) :]
    assert most <= cap
    assert max(path.stat().st_size for path in tmp_path.glob("*.db")) <= cap // 8 * 1.2


def test_files_last_written_before_the_age_cap_go_and_files_of_others_stay(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    one.put(Tick(interval(0)))
    one.close()
    old = next(tmp_path.glob("*.db"))
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    foreign = tmp_path / "phasetop-20200101T000000Z.db"
    sqlite3.connect(foreign).execute("CREATE TABLE mine (x)").connection.close()
    os.utime(foreign, (0, 0))
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    os.utime(notes, (0, 0))
    two = recorder(tmp_path, age_cap_seconds=3600.0)
    two.put(Tick(interval(100)))
    two.close()
    assert not old.exists()
    assert foreign.exists()
    assert notes.exists()
    assert files(tmp_path) == [foreign.name, "phasetop-20261120T120140Z.db"]


def test_a_second_recorder_of_the_directory_is_refused_and_may_come_when_the_first_is_gone(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    assert is_being_written(tmp_path)
    with pytest.raises(AlreadyRecording, match=rf"{tmp_path}: process {os.getpid()} records here already"):
        recorder(tmp_path)
    one.put(Tick(interval(0)))
    one.close()
    assert one.written == 1
    assert not is_being_written(tmp_path)
    recorder(tmp_path).close()


def test_a_run_that_numbers_anew_gets_a_new_file(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    for number in (5, 6, 7):
        one.put(Tick(interval(number)))
    for number in (0, 1):
        one.put(Tick(interval(number, start=START + (100 + number) * SECOND)))
    one.close()
    assert files(tmp_path) == ["phasetop-20261120T120005Z.db", "phasetop-20261120T120140Z.db"]
    with Recording(tmp_path) as recording:
        assert [tick.interval.sequence for tick in recording.ticks()] == [5, 6, 7, 8, 9]


def test_a_path_that_is_a_file_pauses_recording_until_it_is_gone(
    tmp_path: Path, started: Callable[..., Recorder]
) -> None:
    directory = tmp_path / "here"
    directory.write_text("not a directory")
    one = started(directory)
    assert one.status == f"recording paused: {directory}: File exists"
    one.put(Tick(interval(0)))
    directory.unlink()
    until(lambda: one.written == 1)
    assert one.status is None


def test_a_directory_that_vanishes_is_made_again(tmp_path: Path, started: Callable[..., Recorder]) -> None:
    directory = tmp_path / "here"
    one = started(directory)
    one.put(Tick(interval(0)))
    until(lambda: one.written == 1)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    one.put(Tick(interval(1)))
    until(lambda: one.written == 2)
    assert files(directory) == ["phasetop-20261120T120001Z.db"]


def test_a_file_that_somebody_removed_is_followed_by_another(tmp_path: Path, started: Callable[..., Recorder]) -> None:
    one = started()
    one.put(Tick(interval(0)))
    until(lambda: one.written == 1)
    (tmp_path / files(tmp_path)[0]).unlink()
    one.put(Tick(interval(1)))
    until(lambda: one.written == 2)
    assert files(tmp_path) == ["phasetop-20261120T120001Z.db"]


def test_recording_pauses_while_the_disk_has_less_than_the_reserve_left(
    tmp_path: Path, started: Callable[..., Recorder]
) -> None:
    one = started(reserve_bytes=2**62)
    one.put(Tick(interval(0)))
    until(lambda: one.status is not None)
    assert one.status is not None
    assert one.status.startswith(f"recording paused: {tmp_path}: ")
    assert "MiB left on this disk, and 4398046511104 MiB are kept for others" in one.status
    assert files(tmp_path) == []


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from collectors.model import Tick
from tests.patience import until
from tests.recording_support import interval, recorder
directory = Path(sys.argv[1])
one = recorder(directory)
for number in range(50):
    one.put(Tick(interval(number)))
until(lambda: one.written == 50)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, most))
number = 50
while one.status is None and number < 5000:
    one.put(Tick(interval(number)))
    number += 1
until(lambda: one.status is not None)
paused, before = one.status, one.written
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
until(lambda: one.status is None)
one.put(Tick(interval(number)))
closed = one.close()
print(json.dumps([paused, before, one.written, number + 1, one.dropped, closed]))
"""


def test_a_disk_that_takes_no_more_pauses_recording_which_loses_nothing_and_goes_on_when_it_does(
    tmp_path: Path,
) -> None:
    """The limit on file sizes is a disk that is full: the write itself fails."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    paused, before, written, handed_over, dropped, closed = json.loads(done.stdout)
    assert paused.startswith(f"recording paused: {tmp_path}: ")
    assert before >= 50
    assert (written, dropped, closed) == (handed_over, 0, True)
    with Recording(tmp_path) as recording:
        assert recording.problems == ()
        assert [tick.interval for tick in recording.ticks()] == [interval(number) for number in range(handed_over)]


def test_a_tick_that_cannot_be_written_is_dropped_and_the_next_are_not(
    tmp_path: Path, started: Callable[..., Recorder]
) -> None:
    one = started()
    one.put(Tick(interval(0)))
    broken = replace(interval(1), start="noon")  # type: ignore[arg-type]
    one.put(Tick(broken))
    one.put(Tick(interval(2)))
    until(lambda: one.written == 2)
    assert one.dropped == 1
    one.close()
    with Recording(tmp_path) as recording:
        assert [tick.interval.sequence for tick in recording.ticks()] == [0, 2]


def test_when_the_disk_is_too_slow_the_oldest_ticks_are_dropped_and_it_is_told_but_no_label_is_lost(
    tmp_path: Path, started: Callable[..., Recorder]
) -> None:
    one = started(queue_limit=8)
    written = list(ticks(map(interval, range(100))))
    for tick in written[:50]:
        one.put(tick)
        until(lambda: one.written == tick.interval.sequence + 1)  # noqa: B023
    path = tmp_path / files(tmp_path)[0]
    with held(path):
        for tick in written[50:]:
            one.put(tick)
    until(lambda: one.written + one.dropped == 100)
    assert one.dropped >= 40
    assert one.status == f"recording: {tmp_path} is too slow, {one.dropped} intervals were dropped"
    one.close()
    reader = FileReader(path)
    read = reader.read(0, 49)
    reader.close()
    expected = {key: label for key, label in settled_labels(written).items() if key[0] < 50}
    assert {(one.sequence, one.entity): one for stored in read for one in stored.labels.values()} == expected


class held:
    """Another program's transaction on a file, for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def test_put_does_not_wait_for_the_disk(tmp_path: Path, started: Callable[..., Recorder]) -> None:
    one = started(queue_limit=4)
    one.put(Tick(interval(0)))
    until(lambda: one.written == 1)
    done = threading.Event()

    def hand_over() -> None:
        for number in range(1, 30):
            one.put(Tick(interval(number)))
        done.set()

    with held(tmp_path / files(tmp_path)[0]):
        threading.Thread(target=hand_over).start()
        assert done.wait(PATIENCE), "the sampler was kept waiting for each of them"


def test_the_labeller_is_asked_for_its_state_once_a_minute_on_the_thread_that_puts(
    tmp_path: Path, started: Callable[..., Recorder]
) -> None:
    labeller = Estimator()
    threads: list[int] = []

    def checkpoint() -> dict[str, Any]:
        threads.append(threading.get_ident())
        return labeller.checkpoint()

    one = started(checkpoint=checkpoint)
    for number in range(181):
        one.put(labeller.push(interval(number)))
    assert threads == [threading.get_ident()] * 4
    one.close()


def test_a_labeller_that_gives_no_state_costs_the_state_and_not_the_interval(
    tmp_path: Path, started: Callable[..., Recorder]
) -> None:
    def checkpoint() -> dict[str, Any]:
        raise RuntimeError("no state")

    one = started(checkpoint=checkpoint)
    one.put(Tick(interval(0)))
    until(lambda: one.written == 1)
    assert one.status == "recording without the estimator's state: RuntimeError: no state"


def test_a_file_system_without_a_write_ahead_log_is_named_as_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    # SQLite's locking by dot files has no shared memory, as network file systems have none.
    connection = sqlite3.connect(f"file:{path}?vfs=unix-dotfile", uri=True)
    with pytest.raises(NoWriteAheadLog, match="does not support SQLite's write-ahead log"):
        use_write_ahead_log(connection, path)
    connection.close()


def test_roll_ups_are_the_sums_of_the_labels_with_seconds_missing_told_apart(tmp_path: Path) -> None:
    numbers = [*range(70), *range(85, 200)]
    written = [with_event(tick, "x") for tick in ticks(map(interval, numbers))]
    one = recorder(tmp_path)
    for tick in written:
        one.put(tick)
    one.close()
    connection = sqlite3.connect(next(tmp_path.glob("*.db")))
    stored = connection.execute(
        "SELECT entity, start_ns, prefill_seconds, decode_seconds, idle_seconds, waiting_seconds, unknown_seconds,"
        " gap_seconds FROM minutes ORDER BY entity, start_ns"
    ).fetchall()
    connection.close()
    assert {row[0] for row in stored} == set(written[0].labels)
    host = [row[1:] for row in stored if row[0] == HOST]
    assert [row[0] for row in host] == [START + minute * 60 * SECOND for minute in range(4)]
    assert [round(sum(row[1:6]), 6) for row in host] == [60.0, 45.0, 60.0, 20.0]
    assert [row[6] for row in host] == [0.0, 15.0, 0.0, 0.0]
    labels = settled_labels(written)
    for _, start, prefill, *_rest in stored:
        inside = [
            labels[number, HOST].phase for number in numbers if start <= interval(number).start < start + 60 * SECOND
        ]
        assert prefill == pytest.approx(sum((phase.busy_ratio or 0) * (phase.prefill_share or 0) for phase in inside))


def test_a_source_that_goes_missing_starts_one_gap_however_long_it_lasts(tmp_path: Path) -> None:
    missing = (Gap("gpu", "NVML has not answered"),)
    one = recorder(tmp_path)
    for number in range(30):
        one.put(Tick(interval(number, gaps=missing if 10 <= number < 20 else ())))
    one.put(Tick(interval(40)))
    one.close()
    connection = sqlite3.connect(next(tmp_path.glob("*.db")))
    starts = connection.execute("SELECT sequence, what FROM gap_start ORDER BY start_ns").fetchall()
    connection.close()
    assert starts == [(10, "gpu"), (40, "time")]
