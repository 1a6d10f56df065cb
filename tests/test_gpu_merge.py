from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.gpu.merge import StuckProfiling, merged, page_fields
from collectors.phase.timely import timely
from collectors.readings import GpuReading
from tests.making import intervals

NVML = GpuReading(
    uuid="GPU-a", name="A100", source="nvml", kernel_active_ratio=0.9, power_watts=300.0, window_seconds=1.0,
    energy_joules=300.0,
)  # fmt: skip
PAGE = GpuReading(
    uuid="GPU-a", source="dcgm", tensor_active_ratio=0.2, dram_active_ratio=0.7, kernel_active_ratio=0.1,
    power_watts=111.0, energy_joules=9.0, temperature_celsius=55.0, activity_window_seconds=1.0,
    activity_age_seconds=0.5,
)  # fmt: skip


def test_a_page_adds_what_nvml_does_not_give_and_every_figure_is_named() -> None:
    (row,) = merged([NVML], [PAGE])
    assert (row.dram_active_ratio, row.tensor_active_ratio, row.temperature_celsius) == (0.7, 0.2, 55.0)
    assert (row.kernel_active_ratio, row.power_watts, row.energy_joules) == (0.9, 300.0, 300.0)
    assert row.source == "dcgm"
    assert page_fields(row) == {"dram_active_ratio", "tensor_active_ratio", "temperature_celsius"}
    assert row.page_fields is not None
    assert row.page_fields.startswith("dcgm: ")
    assert row.activity_window_seconds == 1.0


def test_a_page_without_activity_leaves_the_source_as_it_is() -> None:
    (row,) = merged([NVML], [replace(PAGE, tensor_active_ratio=None, dram_active_ratio=None)])
    assert (row.source, row.page_fields) == ("nvml", "dcgm: temperature_celsius")


def test_activity_that_gpm_left_out_for_a_moment_is_not_taken_from_a_page() -> None:
    (row,) = merged([replace(NVML, source="gpm", sm_active_ratio=0.8, temperature_celsius=50.0)], [PAGE])
    assert row.dram_active_ratio is None
    assert (row.source, row.page_fields) == ("gpm", None)


def test_a_lost_gpu_stays_lost_and_a_stale_page_adds_nothing() -> None:
    lost = replace(NVML, state="lost")
    assert merged([lost], [PAGE]) == (lost,)
    assert merged([NVML], [replace(PAGE, state="stale")]) == (NVML,)


def test_a_gpu_only_a_page_knows_has_a_row_of_its_own() -> None:
    other = replace(PAGE, uuid="GPU-b")
    assert merged([NVML], [other]) == (NVML, other)


def test_a_gpu_instance_is_matched_by_its_gpu_and_its_id() -> None:
    part = replace(NVML, uuid="MIG-1", parent="GPU-a", instance="9")
    (row,) = merged([part], [replace(PAGE, uuid="GPU-a/9", parent="GPU-a", instance="9")])
    assert (row.uuid, row.dram_active_ratio) == ("MIG-1", 0.7)


def test_a_page_that_gives_only_numbers_for_its_gpus_is_matched_by_them() -> None:
    (row,) = merged([NVML], [replace(PAGE, uuid="index 0")])
    assert (row.uuid, row.dram_active_ratio) == ("GPU-a", 0.7)


def test_profiling_that_stays_at_zero_while_kernels_run_is_not_believed() -> None:
    stuck, seen = StuckProfiling(), []
    zero = replace(PAGE, tensor_active_ratio=0.0, dram_active_ratio=0.0)
    for second in range(12):
        (row,), is_stuck = stuck.without([replace(zero, activity_age_seconds=float(second % 2))], [NVML])
        seen.append((row.dram_active_ratio, is_stuck))
    assert seen[0] == (0.0, False)
    assert seen[-1] == (None, True)
    (row,), is_stuck = stuck.without([replace(PAGE, activity_age_seconds=0.0)], [NVML])
    assert (row.dram_active_ratio, is_stuck) == (0.7, False)


@pytest.mark.parametrize("window", [30.0, None])
def test_figures_over_half_a_minute_are_no_evidence_for_a_second(window: float | None) -> None:
    (row,) = merged([NVML], [replace(PAGE, activity_window_seconds=window)])
    (interval,) = intervals([None], gpus=[{"GPU-a": row}])
    kept = timely(interval).gpus["GPU-a"]
    assert kept.dram_active_ratio is kept.tensor_active_ratio is None
    assert (kept.kernel_active_ratio, kept.power_watts, kept.temperature_celsius) == (0.9, 300.0, 55.0)
    (page_only,) = intervals([None], gpus=[{"GPU-a": replace(PAGE, activity_window_seconds=window)}])
    assert timely(page_only).gpus["GPU-a"].kernel_active_ratio is None


def test_figures_over_half_a_minute_are_evidence_for_a_minute() -> None:
    (row,) = merged([NVML], [replace(PAGE, activity_window_seconds=30.0)])
    (interval,) = intervals([None], gpus=[{"GPU-a": row}], seconds=60.0)
    assert timely(interval) is interval


def test_figures_of_this_second_stay() -> None:
    (interval,) = intervals([None], gpus=[{"GPU-a": PAGE, "GPU-b": replace(NVML, uuid="GPU-b")}])
    assert timely(interval) is interval
    (old,) = intervals([None], gpus=[{"GPU-a": replace(PAGE, activity_age_seconds=10.0)}])
    assert timely(old).gpus["GPU-a"].dram_active_ratio is None
