"""GPU instances (MIG) against the real pynvml on the stand-in library."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collectors.gpu.sample import reading_of, sample_of
from collectors.readings import GpuReading
from tests.test_gpu_nvml import DECODE, IDLE, PREFILL, WAVE, Rig, mean_of, rig, stage_lines

__all__ = ["rig"]

# As on an H100 with 80 GB: 132 SMs; instances of one and of three of seven slices, with one and four eighths of memory.
SMALL = "mig@0 9 16 9728 1g.10gb"
LARGE = "mig@0 2 60 40192 3g.40gb"
WHOLE = 85899345920
UTILISATION = ("kernel_active_ratio", "memory_active_ratio")


def rows(sample: dict[str, Any]) -> list[GpuReading]:
    found = [reading_of(values) for values in sample["gpus"]]
    return [reading for reading in found if reading is not None]


def test_each_instance_has_its_own_activity_and_memory_and_the_gpu_says_how_many_it_has(rig: Rig) -> None:
    rig.open("gpus 2", SMALL, LARGE, *stage_lines(*WAVE), at=0.0)
    rig.sample(1.0)
    gpu, small, large, other = rows(rig.sample(2.0))
    assert (gpu.instances, other.instances) == (2.0, None)
    assert [row.parent for row in (gpu, small, large, other)] == [None, gpu.uuid, gpu.uuid, None]
    assert (small.instance, large.instance) == ("9", "2")
    assert small.uuid.startswith("MIG-")
    assert small.name == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    for row, shift in ((small, 9.0), (large, 2.0)):
        assert row.source == "gpm"
        assert row.window_seconds == 1.0
        assert row.dram_active_ratio == pytest.approx(mean_of("dram", 1.0 + shift, 2.0 + shift))
        assert row.tensor_active_ratio == pytest.approx(mean_of("tensor", 1.0 + shift, 2.0 + shift))
    assert small.memory_total_bytes == 9728 * 2**20
    assert small.memory_used_bytes == 4864 * 2**20


def test_what_only_the_whole_gpu_has_is_not_told_of_an_instance(rig: Rig) -> None:
    rig.open("gpus 1", SMALL)
    rig.sample(1001.0)
    gpu, part = rows(rig.sample(1002.0))
    assert part.power_watts is part.energy_joules is part.pcie_tx_bytes_per_second is None
    assert part.nvlink_tx_bytes_per_second is part.sm_clock_hertz is None
    assert gpu.power_watts is not None
    for name in UTILISATION:
        assert getattr(gpu, name) is getattr(part, name) is None
    assert part.compute_active_ratio is not None


def test_peaks_of_an_instance_are_its_share(rig: Rig) -> None:
    rig.open("gpus 1", SMALL, LARGE, f"value total {WHOLE}")
    gpu, small, large = rows(rig.sample(1001.0))
    assert gpu.dram_peak_bytes_per_second == 3350e9
    assert small.dram_peak_bytes_per_second == pytest.approx(3350e9 / 8)
    assert large.dram_peak_bytes_per_second == pytest.approx(3350e9 / 2)
    assert small.tensor_peak_flops_per_second == pytest.approx(989e12 * 16 / 132)
    assert small.peak_source == "table"


def test_instances_come_and_go_while_running(rig: Rig) -> None:
    rig.open("gpus 1")
    assert len(rows(rig.sample(1001.0))) == 1
    assert len(rows(rig.sample(1011.0, SMALL))) == 2
    assert len(rows(rig.sample(1022.0, SMALL, LARGE))) == 3
    small = rows(rig.sample(1023.0, SMALL, LARGE))[1]
    assert small.dram_active_ratio is not None  # it went on while the other came
    (gpu,) = rows(rig.sample(1034.0))
    assert (gpu.instances, gpu.state) == (None, "ok")


def test_instances_of_a_lost_gpu_are_lost_with_it_and_come_back(rig: Rig) -> None:
    rig.open("gpus 1", SMALL)
    rig.sample(1001.0)
    assert [row.state for row in rows(rig.sample(1002.0, "fail@0 * 15"))] == ["lost", "lost"]
    assert [row.state for row in rows(rig.sample(1013.0))] == ["ok", "ok"]


def test_an_instance_without_gpm_has_its_memory_and_says_why_it_has_no_more(rig: Rig) -> None:
    rig.open("gpus 1", SMALL, "fail nvmlGpmMigSampleGet 4")
    sample = rig.sample(1001.0)
    gpu, part = rows(sample)
    assert (gpu.source, part.source, part.sm_active_ratio) == ("gpm", "nvml", None)
    assert part.memory_used_bytes is not None
    notes = sample["notes"]
    assert "CAP_SYS_ADMIN" in notes[part.uuid]


def test_gpm_that_makes_memory_fail_is_given_up_on_that_gpu_and_said_so(rig: Rig) -> None:
    rig.open("gpus 2", SMALL, "mig@1 3 16 9728 1g.10gb")
    refused = ("fail@0 nvmlDeviceGetMemoryInfo_v2 19", "fail@0 nvmlDeviceGetMemoryInfo 19")
    rig.sample(1001.0)
    for at in range(1002, 1006):
        sample = rig.sample(float(at), *refused)
    calls = rig.calls("nvmlGpmMigSampleGet")
    gpu, part, other_gpu, other = rows(rig.sample(1006.0))
    assert part.source == gpu.source == "nvml"
    assert part.memory_used_bytes is not None
    assert other.source == other_gpu.source == "gpm"
    assert rig.calls("nvmlGpmMigSampleGet") == calls + 1
    notes = sample["notes"]
    assert "550" in notes[part.uuid]
    assert other.uuid not in notes


def test_one_instance_without_figures_does_not_keep_them_from_the_others(rig: Rig) -> None:
    rig.open("gpus 1", SMALL, LARGE)
    rig.sample(1001.0)
    sample = rig.sample(1002.0, "metric 10 nan")
    assert all(row.dram_active_ratio is None and row.sm_active_ratio is not None for row in rows(sample)[1:])


def test_compute_instances_that_share_an_instance_are_told_of_in_its_one_row(rig: Rig) -> None:
    rig.open("gpus 1", SMALL, LARGE, LARGE, LARGE)
    sample = rig.sample(1001.0)
    _, small, large = rows(sample)
    assert sample["notes"] == {
        large.uuid: "3 compute instances share this GPU instance and this row: the driver measures them together"
    }
    assert rows(rig.sample(1012.0, LARGE))[2].dram_active_ratio is not None  # a fourth one changes nothing else
    assert rig.sample(1013.0, LARGE)["notes"][large.uuid].startswith("4 compute instances")
    assert small.uuid not in sample["notes"]


def test_processes_are_those_of_their_instance(rig: Rig) -> None:
    rig.open("gpus 1", SMALL, LARGE, "process@0 4711 1000 9", "process@0 815 2000 2", "process@0 1 3000")
    sample = sample_of(json.loads(json.dumps(rig.sample(1001.0))), 1.0)
    gpu, small, large = sample.readings
    assert sample.processes == {4711: (small.uuid,), 815: (large.uuid,), 1: (gpu.uuid,)}


def test_a_gpu_without_mig_is_asked_about_it_once(rig: Rig) -> None:
    rig.open("gpus 1", "fail nvmlDeviceGetMigMode 3", *stage_lines(PREFILL, DECODE, IDLE))
    for at in range(1001, 1040):
        rig.sample(float(at))
    assert rig.calls("nvmlDeviceGetMigMode") == 1
    assert rig.calls("nvmlDeviceGetMigDeviceHandleByIndex") == 0
