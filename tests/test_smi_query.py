"""What nvidia-smi --query-gpu prints as CSV, as intervals."""

from __future__ import annotations

import contextlib
import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.dmon import DmonError, is_dmon
from collectors.importer import ImportFailed, import_intervals
from collectors.readings import GpuReading
from collectors.smi_query import header_of, query_rounds
from tests.zones import utc

__all__ = ["utc"]

MIB = 2.0**20
QUERY = """\
timestamp, index, name, utilization.gpu [%], memory.used [MiB], memory.total [MiB], power.draw [W], clocks.current.sm [MHz], temperature.gpu, persistence_mode
2026/09/21 10:00:00.101, 0, NVIDIA H100 80GB HBM3, 97 %, 30000 MiB, 81559 MiB, 251.50 W, 1755 MHz, 47, Enabled
2026/09/21 10:00:00.103, 1, NVIDIA H100 80GB HBM3, [N/A], 2 MiB, 81559 MiB, [Not Supported], 345 MHz, 31, Enabled
2026/09/21 10:00:01.104, 0, NVIDIA H100 80GB HBM3, 50 %, 30000 MiB, 81559 MiB, 240.00 W, 1755 MHz, 48, Enabled
2026/09/21 10:00:01.106, 1, NVIDIA H100 80GB HBM3, 0 %, 2 MiB, 81559 MiB, 70.00 W, 345 MHz, 31, Enabled
"""  # noqa: E501
START = datetime(2026, 9, 21, 10, tzinfo=UTC).timestamp()


def saved(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def gpus(path: Path) -> list[dict[str, GpuReading]]:
    return [dict(interval.gpus) for interval in import_intervals([path])]


def test_each_row_is_its_gpus_at_its_time_and_what_is_not_available_is_missing(tmp_path: Path) -> None:
    made = list(import_intervals([saved(tmp_path / "query.csv", QUERY)]))
    assert [interval.start / 1e9 for interval in made] == [START, START + 1]
    first, second = made[0].gpus["index 0"], made[0].gpus["index 1"]
    assert (first.kernel_active_ratio, first.sm_active_ratio, first.source) == (0.97, None, "nvml")
    assert (first.memory_used_bytes, first.memory_total_bytes) == (30000 * MIB, 81559 * MIB)
    assert (first.power_watts, first.sm_clock_hertz, first.temperature_celsius) == (251.5, 1755e6, 47.0)
    assert (first.name, first.dram_peak_bytes_per_second) == ("NVIDIA H100 80GB HBM3", 3.35e12)
    assert second.kernel_active_ratio is second.power_watts is None
    assert made[1].gpus["index 1"].power_watts == 70.0


def test_units_may_be_left_out_and_a_uuid_names_the_gpu(tmp_path: Path) -> None:
    text = "uuid, utilization.gpu [%], power.draw [W]\nGPU-a, 97, 251.5\nGPU-b, 3, 70\nGPU-a, 98, 252\nGPU-b, 4, 71\n"
    path = saved(tmp_path / "query.csv", text)
    os.utime(path, (START, START))
    made = list(import_intervals([path], dmon_delay=1.0))
    assert [interval.end / 1e9 for interval in made] == [START, START + 1]
    assert {uuid: gpu.power_watts for uuid, gpu in made[1].gpus.items()} == {"GPU-a": 252.0, "GPU-b": 71.0}
    assert [gpu.index for gpu in made[1].gpus.values()] == [0, 1]


def test_one_gpu_needs_no_name_and_several_without_one_are_refused(tmp_path: Path) -> None:
    head = "timestamp, utilization.gpu [%]\n"
    one = "2026/09/21 10:00:00.100, 97 %\n2026/09/21 10:00:01.100, 50 %\n"
    alone = gpus(saved(tmp_path / "one.csv", head + one))
    assert [made["index 0"].kernel_active_ratio for made in alone] == [0.97, 0.5]
    two = "2026/09/21 10:00:00.100, 97 %\n2026/09/21 10:00:00.102, 3 %\n"
    with pytest.raises(ImportFailed, match="cannot be told apart; ask for index or uuid too"):
        gpus(saved(tmp_path / "two.csv", head + two))


def test_rows_that_are_none_are_told_and_passed_over(tmp_path: Path) -> None:
    told: list[str] = []
    text = QUERY + "2026/09/21 10:00:02.104, 0\nUnable to determine the device handle\n"
    assert len(list(import_intervals([saved(tmp_path / "query.csv", text)], warn=told.append))) == 2
    assert ["query.csv:6" in told[0], "query.csv:7" in told[1], len(told)] == [True, True, 2]


def test_other_tables_and_prose_are_not_taken_for_a_query() -> None:
    assert header_of(QUERY.splitlines()[0])[:3] == ("timestamp", "index", "name")
    assert not is_dmon(QUERY.splitlines()[0])
    for line in ("a, b, c", "", "timestamp, name", '{"t": 1}', "time,gpu,pwr,sm", QUERY.splitlines()[1]):
        assert header_of(line) == (), line


@given(st.text(max_size=300))
def test_any_text_under_a_header_is_rounds_or_a_reason(text: str) -> None:

    with contextlib.suppress(DmonError):
        list(query_rounds(Path(__file__), lambda: io.StringIO("index, utilization.gpu [%]\n0, 5 %\n" + text)))
