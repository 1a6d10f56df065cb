from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.writers import recorded_by, recorded_directories
from exporters.retention import DirectoryLock
from tests.live_support import plant_process


@pytest.mark.parametrize(
    ("command", "directory"),
    [
        ("phasetop record /data/rec --for 10m", "/data/rec"),
        ("phasetop record --for 10m --interval=1s /data/rec", "/data/rec"),
        ("/opt/p/bin/python -I /opt/p/bin/phasetop export --record /var/lib/phasetop", "/var/lib/phasetop"),
        ("phasetop export --listen 127.0.0.1:19417 --record=rec", "rec"),
        ("phasetop live --record rec", "rec"),
        ("phasetop --record rec", "rec"),
        ("phasetop record", None),
        ("phasetop replay /data/rec", None),
        ("phasetop export", None),
        ("vim phasetop.md --record x", None),
        ("sh -c cat record rec a b c phasetop record /x", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_command_line_tells_where_it_records(command: str, directory: str | None) -> None:
    assert recorded_by(command.split(" ")) == directory


def found(configured: Path | None, home: Path, proc: Path) -> list[Path]:
    environment = {"HOME": str(home)}
    return [one for one in recorded_directories(configured, environment, proc=proc) if home in one.parents]


def test_directories_being_recorded_into_are_found_by_configuration_state_directory_and_processes(
    tmp_path: Path,
) -> None:
    proc = tmp_path / "proc"
    places = [tmp_path / "configured", tmp_path / ".local/state/phasetop", tmp_path / "named"]
    plant_process(proc, 7, ["phasetop", "record", str(places[2])])
    plant_process(proc, 8, ["phasetop", "record", str(tmp_path / "of one that is gone")])
    assert found(places[0], tmp_path, proc) == []
    locks = [DirectoryLock(place) for place in places]
    try:
        assert found(places[0], tmp_path, proc) == places
    finally:
        for lock in locks:
            lock.release()
    assert found(places[0], tmp_path, proc) == []


def test_a_relative_directory_is_taken_from_where_its_process_is(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    plant_process(proc, 7, ["phasetop", "record", "rec"])
    (proc / "7/cwd").symlink_to(tmp_path)
    lock = DirectoryLock(tmp_path / "rec")
    try:
        assert found(None, tmp_path, proc) == [tmp_path / "rec"]
    finally:
        lock.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a process's files to another user")
def test_another_persons_process_is_not_believed_unless_its_recording_is_for_this_users_group(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    plant_process(proc, 7, ["phasetop", "record", str(tmp_path / "rec")])
    os.chown(proc / "7", 4321, 4321)
    lock = DirectoryLock(tmp_path / "rec")
    try:
        os.chown(tmp_path / "rec/phasetop.lock", 4321, 4321)
        assert found(None, tmp_path, proc) == []
        os.chown(tmp_path / "rec/phasetop.lock", 4321, os.getegid())
        assert found(None, tmp_path, proc) == [tmp_path / "rec"]
    finally:
        lock.release()
