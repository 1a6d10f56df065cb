"""Means by the minute: what a recording keeps of its numbers for long spans of time."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.model import Interval, Tick
from collectors.readings import EngineReading, GpuReading, HostReading, field_specs
from collectors.replay import Recording
from collectors.store_schema import MINUTE, ROLLED
from tests.recording_support import START, interval, recording_file, ticks

ENGINE = "engine/http://127.0.0.1:8000/metrics#0"


def recorded(path: Path, intervals: Iterable[Interval]) -> Path:
    return recording_file(path, ticks(intervals))


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("means") / "ten.db", map(interval, range(600)))


def mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)


def test_a_column_is_the_mean_of_its_intervals(ten_minutes: Path) -> None:
    with Recording(ten_minutes) as recording:
        found = recording.means(START, 2 * MINUTE, 5)
        told: list[Tick] = list(recording.ticks())
    hosts = [tick.interval.host for tick in told]
    for column in range(5):
        inside = slice(120 * column, 120 * column + 120)
        assert found["host"]["cpu_ratio"][column] == pytest.approx(mean(h.cpu_ratio or 0.0 for h in hosts[inside] if h))
        dram = [tick.interval.gpus["GPU-1"].dram_active_ratio or 0.0 for tick in told[inside]]
        assert found["gpu/GPU-1"]["dram_active_ratio"][column] == pytest.approx(mean(dram))
    assert set(found) == {"host", "gpu/GPU-0", "gpu/GPU-1", ENGINE}


def test_amounts_are_per_second_of_the_time_they_cover(tmp_path: Path) -> None:
    def doubled(one: Interval) -> Interval:
        engines = {key: replace(engine, prompt_tokens=10.0, window_seconds=0.5) for key, engine in one.engines.items()}
        return replace(one, engines=engines)

    path = recorded(tmp_path / "a.db", (doubled(interval(n)) for n in range(120)))
    with Recording(path) as recording:
        found = recording.means(START, MINUTE, 2)
    assert found[ENGINE]["prompt_tokens"] == [20.0, 20.0]


def test_what_is_missing_takes_no_part_in_a_mean_and_what_never_was_is_not_there(tmp_path: Path) -> None:
    def partly(number: int) -> Interval:
        one = interval(number)
        gpus = {uuid: replace(gpu, power_watts=300.0 if number < 30 else None) for uuid, gpu in one.gpus.items()}
        return replace(one, gpus=gpus)

    path = recorded(tmp_path / "a.db", map(partly, range(180)))
    with Recording(path) as recording:
        found = recording.means(START, MINUTE, 3)
    watts = found["gpu/GPU-0"]["power_watts"]
    assert watts[0] == 300.0
    assert math.isnan(watts[1])
    assert math.isnan(watts[2])
    assert "temperature_celsius" not in found["gpu/GPU-0"]


def test_a_lost_gpu_and_an_engine_that_does_not_answer_count_as_nothing(tmp_path: Path) -> None:
    def broken(number: int) -> Interval:
        one = interval(number)
        gpus = {uuid: replace(gpu, state="lost") for uuid, gpu in one.gpus.items()}
        return replace(one, gpus=gpus, engines={key: replace(e, state="down") for key, e in one.engines.items()})

    path = recorded(tmp_path / "a.db", map(broken, range(90)))
    with Recording(path) as recording:
        assert set(recording.means(START, MINUTE, 2)) == {"host"}


def test_files_of_a_directory_share_a_column_by_their_seconds(tmp_path: Path) -> None:
    def of(first: int, last: int, cpu: float) -> Iterable[Interval]:
        return (replace(interval(n), host=HostReading(name="node-1", cpu_ratio=cpu)) for n in range(first, last))

    recorded(tmp_path / "phasetop-20261120T120000Z.db", of(0, 60, 0.2))
    recorded(tmp_path / "phasetop-20261120T120100Z.db", of(60, 240, 0.6))
    with Recording(tmp_path) as recording:
        found = recording.means(START, 4 * MINUTE, 1)
    assert found["host"]["cpu_ratio"] == [pytest.approx((60 * 0.2 + 180 * 0.6) / 240)]


def test_outside_of_the_recording_there_are_no_means(ten_minutes: Path) -> None:
    with Recording(ten_minutes) as recording:
        assert recording.means(START - 100 * MINUTE, MINUTE, 50) == {}
        found = recording.means(START - 5 * MINUTE, MINUTE, 10)
    assert [math.isnan(value) for value in found["host"]["cpu_ratio"]] == [True] * 5 + [False] * 5


def test_columns_are_whole_minutes(ten_minutes: Path) -> None:
    with Recording(ten_minutes) as recording:
        for begin, step, columns in ((START + 1, MINUTE, 3), (START, MINUTE // 2, 3), (START, MINUTE, 0)):
            with pytest.raises(ValueError, match="no whole minutes"):
                recording.means(begin, step, columns)


def test_a_recording_without_means_has_none(ten_minutes: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    older.write_bytes(ten_minutes.read_bytes())
    connection = sqlite3.connect(older)
    for source in ROLLED:
        connection.execute(f"DROP TABLE {source}_minute")
    connection.commit()
    connection.close()
    with Recording(older) as recording:
        assert recording.means(START, MINUTE, 10) == {}
        assert sum(column.prefill for column in recording.strip(START, START + 10 * MINUTE, 10)) > 0


def test_a_field_that_a_file_lacks_is_missing_alone(ten_minutes: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    older.write_bytes(ten_minutes.read_bytes())
    connection = sqlite3.connect(older)
    connection.execute("ALTER TABLE host_minute DROP COLUMN cpu_ratio")
    connection.commit()
    connection.close()
    with Recording(older) as recording:
        assert set(recording.means(START, MINUTE, 10)["host"]) == {"memory_used_bytes"}


def test_only_numbers_are_kept() -> None:
    for source, reading in (("host", HostReading), ("gpu", GpuReading), ("engine", EngineReading)):
        kinds = {spec.name: spec.kind for spec in field_specs(reading)}
        assert {kinds[name] for name in ROLLED[source]} <= {"gauge", "amount"}
