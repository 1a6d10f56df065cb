"""docs/recording-format.md against the tables themselves. Run as a module it writes the page's list of tables."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.store import create
from collectors.store_schema import SCHEMA_VERSION
from dashboard.cli import main
from tests.doc_programs import need, told_by
from tests.recording_support import Estimator, interval, recording_file, ticks

PAGE = Path(__file__).parent.parent / "docs" / "recording-format.md"
MARK = re.compile(r"<!-- tables: .* -->\n")
_COLUMN = re.compile(r'^  "?(\w+)"? (INTEGER|REAL|TEXT|BLOB)( PRIMARY KEY)?[^-]*?(?:-- (.*))?$')


def described() -> str:
    """Every table with its columns, from the statements that make them."""
    tables = []
    for name, statement in statements():
        rows = ["| column | type | meaning |", "|---|---|---|"]
        for line in statement.splitlines():
            if found := _COLUMN.match(line):
                column, kind, key, meaning = found.groups()
                rows.append(f"| `{column}` | {kind.lower()} | {meaning or ('key' if key else '')} |")
        tables.append(f"### {name}\n\n" + "\n".join(rows) + "\n")
    return "\n" + "\n".join(tables)


def statements() -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as directory:
        connection = create(Path(directory) / "empty.db")
        found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
        connection.close()
    return found


def written() -> tuple[str, str]:
    """The page up to its list of tables, and the list."""
    text = PAGE.read_text()
    mark = MARK.search(text)
    assert mark is not None
    return text[: mark.end()], text[mark.end() :]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("docs") / "phasetop-20260501T000000Z.db"
    labeller = Estimator()
    recording_file(path, ticks(map(interval, range(200)), labeller), checkpoints=labeller)
    return path


@pytest.fixture(scope="module")
def recording(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    yield connection
    connection.close()


def test_the_page_lists_every_table_and_column_there_is() -> None:
    assert written()[1] == described(), "write it anew: python -m tests.test_recording_docs"


def test_every_column_of_every_table_is_described(recording: sqlite3.Connection) -> None:
    """The list is made from the statements' text, so this holds that nothing was passed over in it."""
    for name, _ in statements():
        columns = [row[1] for row in recording.execute(f"PRAGMA table_info({name})")]
        section = described().split(f"### {name}\n")[1].split("###")[0]
        assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == columns


def test_the_page_names_the_version_and_every_view_and_every_fact_of_meta(recording: sqlite3.Connection) -> None:
    text = written()[0]
    assert f"now {SCHEMA_VERSION}." in text
    for (view,) in recording.execute("SELECT name FROM sqlite_schema WHERE type = 'view'"):
        assert f"`{view}`" in text
    for (key,) in recording.execute("SELECT key FROM meta"):
        assert f"`{key}`" in text


QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(QUERIES) == 3


@pytest.mark.parametrize("query", QUERIES)
def test_the_examples_of_the_page_answer(recording: sqlite3.Connection, query: str) -> None:
    rows = recording.execute(query).fetchall()
    assert rows
    assert all(value is not None for row in rows for value in row if row[1] is not None)


def test_the_hours_of_the_page_add_up(recording: sqlite3.Connection) -> None:
    ((_, *seconds),) = recording.execute(QUERIES[0]).fetchall()
    assert abs(sum(seconds) - 200) <= 3


def test_requests_that_waited_longer_are_those_of_the_buckets_above(recording: sqlite3.Connection) -> None:
    rows = recording.execute(QUERIES[2]).fetchall()
    assert [row[1] for row in rows] == [0.1, 1.0, None]
    assert [row[3] for row in rows] == [rows[1][2] + rows[2][2], rows[2][2], 0]


@pytest.mark.parametrize("view", ["host_readings", "gpu_readings", "engine_readings"])
def test_views_give_base_units(recording: sqlite3.Connection, view: str) -> None:
    cursor = recording.execute(f"SELECT * FROM {view} WHERE sequence = 42")
    row = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    one = interval(42)
    assert (row["start_ns"], row["end_ns"], row["seconds"]) == (one.start, one.end, 1.0)
    expected = {
        "host_readings": ("host", "cpu_ratio", 0.42),
        "gpu_readings": ("gpu/GPU-0", "energy_joules", 342.125),
        "engine_readings": ("engine/http://127.0.0.1:8000/metrics#0", "ttft_seconds_sum", 1.5),
    }[view]
    assert (row["entity"], row[expected[1]]) == (expected[0], expected[2])


PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_programs_of_the_page_run_and_agree(
    file: Path, recording: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need("pandas", "duckdb")
    monkeypatch.chdir(file.parent)
    shell = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shell is not None
    for command in shell[1].splitlines():
        assert main(command.split()[1:]) == 0, capsys.readouterr().err
    pandas_program, frames_program, parquet_program = PROGRAMS
    joules_by_phase, minutes = told_by(pandas_program, "[by_phase['joules'].to_dict(), len(by_minute)]", file.parent)
    busiest_told = told_by(frames_program, "busiest", file.parent)
    watts = told_by(parquet_program, "watts", file.parent)

    joules = recording.execute(
        "SELECT l.phase, sum(g.energy_joules) FROM gpu_readings g JOIN labels l USING (sequence, entity)"
        " GROUP BY l.phase ORDER BY l.phase"
    ).fetchall()
    assert joules_by_phase == pytest.approx(dict(joules))
    assert minutes == 4
    assert [(phase, joules) for phase, _, joules in watts] == [(phase, round(value)) for phase, value in joules]
    busiest = recording.execute(
        "SELECT entity, prefill_seconds + decode_seconds FROM minutes WHERE entity = 'host' ORDER BY 2 DESC LIMIT 3"
    ).fetchall()
    assert [(entity, busy) for entity, _, busy in busiest_told] == busiest


if __name__ == "__main__":
    PAGE.write_text(written()[0] + described())
