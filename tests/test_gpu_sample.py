from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.gpu.sample import GpuSample, joined, reading_of, sample_of, with_lost
from collectors.readings import GpuReading

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from([entry.name for entry in fields(GpuReading)])


def sample(*readings: GpuReading, at: float = 1.0) -> GpuSample:
    return GpuSample(arrived=at, started=at, ended=at, readings=readings)


def test_error_reports_are_codes_and_nothing_else() -> None:
    gpus = [{"uuid": "a", "index": 0, "state": "lost"}, {"uuid": "b", "index": 1, "state": "ok"}]
    reports = [["a", 79], ["a", 31], ["b", "13"], ["b", True], ["b", -1], ["b", 10**9], ["c", 13], [], "x"]
    sample = sample_of({"gpus": gpus, "xids": reports}, 1.0)
    assert [reading.xid_codes for reading in sample.readings] == ["79,31", None]


def test_joined_samples_keep_the_error_reports_of_both() -> None:
    def one(*codes: int) -> GpuSample:
        return sample_of({"gpus": [{"uuid": "a", "index": 0}], "xids": [["a", code] for code in codes]}, 1.0)

    assert joined(one(31), one(79)).readings[0].xid_codes == "31,79"
    assert joined(one(31), one()).readings[0].xid_codes == "31"


@given(st.dictionaries(st.sampled_from(["gpus", "processes", "notes", "started", "ended", "other"]), ANYTHING))
def test_any_message_makes_a_sample_without_an_exception(message: dict[str, Any]) -> None:
    assert sample_of(message, 5.0).arrived == 5.0


@given(st.dictionaries(FIELDS, ANYTHING))
def test_any_values_make_a_reading_of_finite_numbers_and_clean_text_or_none(values: dict[str, Any]) -> None:
    reading = reading_of({"uuid": "GPU-1", "index": 0} | values)
    if reading is None:
        return
    for entry in fields(GpuReading):
        value = getattr(reading, entry.name)
        if isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, str):
            assert value.isprintable()
    assert reading.state in ("ok", "lost")


def test_a_name_with_escapes_is_cleaned() -> None:
    reading = reading_of({"uuid": "GPU-1", "index": 0, "name": "NVIDIA \x1b]0;x\x07H100"})
    assert reading is not None
    assert reading.name is not None
    assert reading.name.isprintable()


def test_processes_are_listed_by_pid_with_all_their_gpus() -> None:
    found = sample_of({"processes": [[7, "GPU-1", 10], [7, "GPU-2", None], [8, "GPU-2", 30], ["x"], [9]]}, 1.0)
    assert found.processes == {7: ("GPU-1", "GPU-2"), 8: ("GPU-2",)}
    assert found.process_memory == {(7, "GPU-1"): 10.0, (8, "GPU-2"): 30.0}


def test_joining_adds_amounts_weights_averages_by_time_and_keeps_the_later_level() -> None:
    first = GpuReading(
        uuid="GPU-1", window_seconds=1.0, energy_joules=100.0, dram_active_ratio=0.2, sm_active_ratio=0.5,
        nvlink_tx_bytes_per_second=40.0, power_watts=100.0,
    )  # fmt: skip
    second = GpuReading(
        uuid="GPU-1", window_seconds=3.0, energy_joules=600.0, dram_active_ratio=0.6, tensor_active_ratio=0.1,
        nvlink_tx_bytes_per_second=80.0, power_watts=200.0,
    )  # fmt: skip
    (reading,) = joined(sample(first), sample(second, at=4.0)).readings
    assert reading.window_seconds == 4.0
    assert reading.energy_joules == 700.0
    assert reading.dram_active_ratio == pytest.approx(0.5)
    assert reading.nvlink_tx_bytes_per_second == pytest.approx(70.0)
    assert reading.power_watts == 200.0
    assert (reading.sm_active_ratio, reading.tensor_active_ratio) == (0.5, 0.1)


def test_an_amount_missing_in_either_part_is_missing_in_the_whole() -> None:
    first = GpuReading(uuid="GPU-1", window_seconds=1.0, energy_joules=100.0)
    second = GpuReading(uuid="GPU-1", window_seconds=1.0)
    assert joined(sample(first), sample(second)).readings[0].energy_joules is None
    assert joined(sample(second), sample(first)).readings[0].energy_joules is None


def test_what_only_the_earlier_source_measured_is_not_told_in_the_name_of_the_later_one() -> None:
    profiled = GpuReading(uuid="GPU-1", source="gpm", window_seconds=1.0, sm_active_ratio=0.5, kernel_active_ratio=1.0)
    plain = GpuReading(uuid="GPU-1", source="nvml", window_seconds=1.0, kernel_active_ratio=0.5)
    (reading,) = joined(sample(profiled), sample(plain)).readings
    assert (reading.source, reading.sm_active_ratio, reading.kernel_active_ratio) == ("nvml", None, 0.5)
    (again,) = joined(sample(plain), sample(profiled)).readings
    assert (again.source, again.sm_active_ratio) == ("gpm", 0.5)


def test_joining_with_a_lost_gpu_leaves_it_lost() -> None:
    first = GpuReading(uuid="GPU-1", window_seconds=1.0, energy_joules=100.0)
    (reading,) = joined(sample(first), sample(GpuReading(uuid="GPU-1", state="lost"))).readings
    assert reading == GpuReading(uuid="GPU-1", state="lost")


def test_a_gpu_that_a_new_reader_does_not_see_any_more_keeps_its_row_as_lost() -> None:
    seen = GpuReading(uuid="GPU-2", index=1, name="NVIDIA L4", power_watts=60.0)
    found = with_lost(sample(GpuReading(uuid="GPU-1")), {"GPU-2": seen})
    assert found.readings[1] == GpuReading(
        uuid="GPU-2", index=1, name="NVIDIA L4", state="lost", note="NVML does not show this GPU any more"
    )


def test_an_instance_that_was_unmade_is_not_lost_but_one_of_a_lost_gpu_is() -> None:
    part = GpuReading(uuid="MIG-1", parent="a", instance="9")
    gone = with_lost(GpuSample(1.0, 1.0, 1.0, (GpuReading(uuid="a"),)), {"a": GpuReading(uuid="a"), "MIG-1": part})
    assert [row.uuid for row in gone.readings] == ["a"]
    lost = with_lost(GpuSample(1.0, 1.0, 1.0, (GpuReading(uuid="a", state="lost"),)), {"MIG-1": part})
    assert [(row.uuid, row.state, row.parent) for row in lost.readings] == [("a", "lost", None), ("MIG-1", "lost", "a")]
