"""A layout that never was: intervals in milliseconds under another name, made by hand from a recording of today's."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from collectors.store import RecordingError, open_reader
from collectors.store_older import present
from collectors.store_read import FileReader
from tests.recording_support import Estimator, interval, recording_file, ticks

EARLIER = (
    """CREATE TEMP VIEW interval AS SELECT number AS sequence, from_ms * 1000000 AS start_ns,
       to_ms * 1000000 AS end_ns, seconds FROM main.span""",
)


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("older") / "today.db"
    labeller = Estimator()
    recording_file(path, ticks(map(interval, range(60)), labeller), checkpoints=labeller)
    return path


@pytest.fixture
def older(today: Path, tmp_path: Path) -> Path:
    path = tmp_path / "older.db"
    shutil.copy(today, path)
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        PRAGMA legacy_alter_table = ON;
        CREATE TABLE span (number INTEGER PRIMARY KEY, from_ms INTEGER, to_ms INTEGER, seconds REAL) STRICT;
        INSERT INTO span SELECT sequence, start_ns / 1000000, end_ns / 1000000, seconds FROM interval;
        DROP TABLE interval;
        PRAGMA user_version = 0;
        """
    )
    connection.close()
    return path


def test_an_earlier_layout_is_read_as_todays_and_the_file_stays_as_it_is(today: Path, older: Path) -> None:
    before = older.read_bytes()
    reader, reference = FileReader(older, older={0: EARLIER}), FileReader(today)
    try:
        assert reader.read(0, 59) == reference.read(0, 59)
        assert reader.find.extent() == reference.find.extent()
        assert reader.find.at(interval(30).start) == 30
    finally:
        reader.close()
        reference.close()
    assert older.read_bytes() == before


def test_an_earlier_layout_that_is_not_known_is_refused_with_what_to_do(older: Path) -> None:
    with pytest.raises(RecordingError, match=r"recorded in format 0, which this phasetop does not read"):
        open_reader(older)


def test_a_step_that_is_missing_on_the_way_is_noticed() -> None:
    connection = sqlite3.connect(":memory:")
    assert not present(connection, 1, steps={1: (), 3: ()}, today=4)
    assert present(connection, 1, steps={1: ("CREATE TEMP VIEW a AS SELECT 1",), 2: (), 3: ()}, today=4)
    assert connection.execute("SELECT * FROM a").fetchone() == (1,)
    connection.close()
