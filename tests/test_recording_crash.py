"""A writer that is killed, and readers beside one that lives: separate processes, as in life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors.model import Tick
from collectors.phase.label import phase_seconds
from collectors.replay import Recording
from exporters.recording_file import Origin, RecordingFile
from exporters.retention import tidy
from tests.patience import until
from tests.recording_support import (
    SECOND,
    Estimator,
    estimator,
    files,
    interval,
    recorder,
    recording_file,
    settled_labels,
    ticks,
)

REPOSITORY = Path(__file__).parent.parent

WRITER = """
import sys
from pathlib import Path
from tests.recording_support import SECOND, Estimator, interval, recorder
directory, first, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
labeller = Estimator()
one = recorder(directory, checkpoint=labeller.checkpoint)
number = first
import time
while True:
    one.put(labeller.push(interval(number)))
    number += 1
    while one.written < number - first:
        time.sleep(0.0005)
    print(number, flush=True)
    time.sleep(pause)
"""


@contextmanager
def writer(directory: Path, *, first: int = 0, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process that records and prints how many intervals it has committed; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(first), str(pause)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def acknowledged(process: subprocess.Popen[str], atleast: int) -> int:
    """Waits until so many intervals are committed; how many are."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= atleast:
            return int(line)
    raise AssertionError("the writer ended")


@pytest.mark.parametrize("atleast", [1, 7, 90, 151])
def test_a_killed_writer_loses_nothing_that_was_committed_and_its_last_labels_are_made_on_reading(
    tmp_path: Path, atleast: int
) -> None:
    with writer(tmp_path) as process:
        committed = acknowledged(process, atleast)
    with Recording(tmp_path, labeller_factory=estimator) as recording:
        assert not recording.live
        assert len(recording) >= committed
        read = list(recording.ticks())
        strip = recording.strip(recording.start, recording.start + 240 * SECOND, 4)
    assert [tick.interval for tick in read] == [interval(number) for number in range(len(read))]
    assert settled_labels(read) == settled_labels(ticks(map(interval, range(len(read)))))
    assert all(tick.settled for tick in read)
    told = sum(column.prefill + column.decode + column.idle for column in strip)
    assert round(told, 6) == len(read), "labels that were made on reading count in strips too"


def test_a_reader_that_keeps_a_file_open_when_it_is_finished_only_delays_its_tidying(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    for tick in ticks(map(interval, range(20))):
        one.put(tick)
    until(lambda: one.written == 20)
    with Recording(tmp_path) as recording:
        assert recording.tick(5) is not None
        assert one.close()
        assert one.status is None
        recording.refresh()
        assert not recording.live
        assert settled_labels(recording.ticks()) == settled_labels(ticks(map(interval, range(20))))
    recorder(tmp_path).close()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".db", ".lock"]


def test_what_a_killed_writer_left_is_finished_by_the_next_which_goes_on_in_a_new_file(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        acknowledged(process, 20)
    left = tmp_path / files(tmp_path)[0]
    os.utime(left, (1_700_000_000, 1_700_000_000))
    assert left.with_name(left.name + "-wal").exists()
    one = recorder(tmp_path)
    for tick in ticks(map(interval, range(500, 510))):
        one.put(tick)
    one.close()
    assert not left.with_name(left.name + "-wal").exists()
    assert left.stat().st_mtime == 1_700_000_000
    with Recording(tmp_path, labeller_factory=estimator) as recording:
        read = list(recording.ticks())
        assert recording.problems == ()
    assert [tick.interval.sequence for tick in read][-10:] == list(range(500, 510))
    assert all(tick.labels for tick in read)


def test_a_file_killed_at_birth_is_left_out_and_removed_by_the_next_writer(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    for tick in ticks([interval(0)]):
        one.put(tick)
    one.close()
    unborn = tmp_path / "phasetop-20300101T000000Z.db"
    unborn.touch()
    with Recording(tmp_path) as recording:
        assert len(recording) == 1
        assert recording.problems == (
            f"{unborn}: empty; its writer was killed before the first interval, it can be deleted",
        )
    tidy(tmp_path)
    assert not unborn.exists()


def test_another_process_follows_a_recording_while_it_is_written(tmp_path: Path) -> None:
    with writer(tmp_path, pause=0.002) as process:
        acknowledged(process, 5)
        with Recording(tmp_path, labeller_factory=estimator) as recording:
            assert recording.live
            known = recording.last_sequence
            for _ in range(5):
                committed = acknowledged(process, known + 5)
                until(recording.refresh)
                assert recording.last_sequence >= committed - 1
                assert len(recording) == recording.last_sequence + 1
                known = recording.last_sequence
                newest = recording.tick(known)
                assert newest is not None
                assert newest.interval == interval(known)
                assert newest.labels
                assert newest.settled == ()
                earlier = recording.tick(known - 10)
                assert earlier is None or earlier.settled
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert recording.refresh()
            assert not recording.live
            newest = recording.tick(recording.last_sequence)
            assert newest is not None
            assert newest.settled


def test_a_follower_sees_the_next_file_of_the_recording(tmp_path: Path) -> None:
    first = 12 * 3600 - 20
    labeller = Estimator()
    one = recorder(tmp_path)
    for number in range(first, first + 10):
        one.put(labeller.push(interval(number)))
    until(lambda: one.written == 10)
    with Recording(tmp_path, labeller_factory=estimator) as recording:
        assert recording.last_sequence == first + 9
        assert not recording.refresh()
        for number in range(first + 10, first + 30):
            one.put(labeller.push(interval(number)))
        until(lambda: one.written == 30)
        assert recording.refresh()
        assert [tick.interval.sequence for tick in recording.ticks()] == list(range(first, first + 30))
        one.settle(labeller.flush())
        one.close()
        assert recording.refresh()
        assert not recording.live
    assert len(files(tmp_path)) == 2


def test_a_follower_sees_a_file_that_had_no_interval_when_it_was_first_looked_at(tmp_path: Path) -> None:
    recording_file(tmp_path / "phasetop-20261120T120000Z.db", ticks(map(interval, range(10))))
    with Recording(tmp_path) as recording:
        origin = Origin("node-1", "UTC", "another")
        path = tmp_path / "phasetop-20261120T130000Z.db"
        file = RecordingFile(path, origin, interval(3600), phase_seconds=phase_seconds)
        assert not recording.refresh()
        assert recording.problems == (f"{path}: holds no interval yet; look again when recording has begun",)
        for tick in ticks(map(interval, range(3600, 3610))):
            file.write(tick)
        assert recording.refresh()
        assert recording.problems == ()
        assert len(recording) == 20
        file.close()


def test_a_file_of_a_killed_writer_is_not_live_because_another_is_written_beside_it(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        acknowledged(process, 20)
    killed = tmp_path / files(tmp_path)[0]
    one = recorder(tmp_path)
    one.put(Tick(interval(5000)))
    until(lambda: one.written == 1)
    with Recording(killed, labeller_factory=estimator) as recording:
        assert not recording.live
        last = recording.tick(recording.last_sequence)
        assert last is not None
        assert last.settled
    one.close()


def test_a_file_removed_by_retention_while_it_is_replayed_is_left_out(tmp_path: Path) -> None:
    first = 12 * 3600 - 10
    one = recorder(tmp_path)
    for tick in ticks(map(interval, range(first, first + 20))):
        one.put(tick)
    one.close()
    with Recording(tmp_path) as recording:
        (tmp_path / files(tmp_path)[0]).unlink()
        assert recording.refresh()
        assert [tick.interval.sequence for tick in recording.ticks()] == list(range(first + 10, first + 20))
        assert recording.tick_at(interval(first).start) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read a recording as another user")
def test_a_reader_of_the_daemons_group_follows_without_the_right_to_write() -> None:
    group = 65_000
    script = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from collectors.model import Tick
from collectors.phase.label import phase_seconds
from collectors.replay import Recording
from exporters.recording_file import Origin, RecordingFile
from pathlib import Path
import tests.recording_support
os.setgid({group}); os.setuid(65001)
recording = Recording(Path(sys.argv[1]))
print(len(recording), recording.live, recording.tick(3) is not None)
"""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, -1, group)
        Path(directory).chmod(0o2750)
        one = recorder(Path(directory))
        for tick in ticks(map(interval, range(5))):
            one.put(tick)
        until(lambda: one.written == 5)
        said = subprocess.run([sys.executable, "-c", script, directory], capture_output=True, text=True, check=False)
        one.close()
    assert (said.stdout, said.stderr) == ("5 True True\n", "")
