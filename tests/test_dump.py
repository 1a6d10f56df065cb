"""Recordings as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.document import document
from collectors.model import Gap, Tick
from collectors.readings import GpuReading, field_specs
from collectors.replay import Recording
from exporters.dump import TABLES, dump_csv, dump_jsonl
from tests.patience import until
from tests.recording_support import (
    SECOND,
    START,
    Estimator,
    estimator,
    interval,
    recorder,
    recording_file,
    ticks,
    with_event,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    intervals = (interval(number, gaps=(Gap("gpu", "lost"),) if number == 3 else ()) for number in range(100))
    made = (with_event(one, "deployed 1.4.2") if one.interval.sequence == 5 else one for one in ticks(intervals))
    return recording_file(tmp_path_factory.mktemp("dump") / "one.db", made)


def table(path: Path, name: str, start: int | None = None, end: int | None = None) -> list[dict[str, str]]:
    out = io.StringIO()
    with Recording(path) as recording:
        count = dump_csv(recording, name, out, start, end)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert len(rows) == count
    return rows


def test_jsonl_is_one_settled_document_a_line(path: Path) -> None:
    out = io.StringIO()
    with Recording(path) as recording:
        assert dump_jsonl(recording, out, START + 10 * SECOND, START + 20 * SECOND) == 10
        expected = [document(tick) for tick in recording.ticks(START + 10 * SECOND, START + 20 * SECOND)]
    lines = out.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert all(written["phase"]["settled"] for written in expected)


def test_jsonl_of_a_recording_still_being_written_says_which_labels_are_not_settled(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    labeller = Estimator()
    for number in range(10):
        one.put(labeller.push(interval(number)))
    until(lambda: one.written == 10)
    out = io.StringIO()
    with Recording(tmp_path, labeller_factory=estimator) as recording:
        dump_jsonl(recording, out)
    one.close()
    settled = [json.loads(line)["phase"]["settled"] for line in out.getvalue().splitlines()]
    assert settled == [True] * 7 + [False] * 3


def test_a_table_of_readings_has_a_row_per_interval_and_entity_in_base_units(path: Path) -> None:
    rows = table(path, "gpu")
    assert len(rows) == 200
    row = rows[2 * 42 + 1]
    gpu = interval(42).gpus["GPU-1"]
    assert (float(row["start"]), float(row["duration"])) == (START / SECOND + 42, 1.0)
    assert row["uuid"] == "GPU-1"
    assert float(row["energy_joules"]) == gpu.energy_joules
    assert float(row["dram_active_ratio"]) == gpu.dram_active_ratio
    assert row["power_watts"] == ""
    assert row["phase"] == "idle"
    assert {spec.name for spec in field_specs(GpuReading)} <= row.keys()


def test_latencies_are_columns_of_the_engine(path: Path) -> None:
    row = table(path, "engine", START, START + SECOND)[0]
    ttft = interval(0).engines["http://127.0.0.1:8000/metrics", "0"].ttft
    assert ttft is not None
    assert float(row["ttft_seconds_p50"]) == ttft.quantile(0.5)
    assert (row["ttft_seconds_count"], row["ttft_seconds_sum"], row["e2e_seconds_p99"]) == ("2", "1.5", "")
    assert row["gpus"] == "GPU-0 GPU-1"


def test_labels_events_and_gaps_are_tables_too(path: Path) -> None:
    labels = table(path, "label", START, START + 2 * SECOND)
    assert [row["entity"] for row in labels][:2] == ["host", "gpu/GPU-0"]
    assert (labels[0]["phase"], labels[0]["settled"], labels[0]["share_compute"]) == ("prefill", "1", "0.901")
    assert table(path, "event") == [
        {"time": str(START / SECOND + 5), "kind": "note", "entity": "host", "text": "deployed 1.4.2"}
    ]
    (gap,) = table(path, "gap")
    assert gap["source"] == "gpu"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_as_many_cells_in_a_row_as_in_its_heading(path: Path, name: str) -> None:
    out = io.StringIO()
    with Recording(path) as recording:
        assert dump_csv(recording, name, out) > 0
    assert len({len(row) for row in csv.reader(io.StringIO(out.getvalue()))}) == 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_text_that_a_spreadsheet_would_run_is_made_harmless(text: str) -> None:
    one = interval(0)
    tick = Tick(replace(one, gpus={"G": GpuReading(uuid="G", name=text, energy_joules=-1.0)}))
    out = io.StringIO()
    dump_csv(_Ticks(tick), "gpu", out)
    (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
    assert row["name"] == "'" + text
    assert row["energy_joules"] == "-1.0"


class _Ticks:
    def __init__(self, *made: Tick) -> None:
        self._made = made

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]:
        return iter(self._made)


def test_an_unknown_table_is_refused_with_those_there_are(path: Path) -> None:
    with (
        Recording(path) as recording,
        pytest.raises(ValueError, match='no table "gpus"; the tables are host, gpu, engine, label, event, gap'),
    ):
        dump_csv(recording, "gpus", io.StringIO())
