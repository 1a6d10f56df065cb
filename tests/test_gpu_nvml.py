"""The reader against the real pynvml on a stand-in library, with the clock in the test's hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.gpu.codes import UNKNOWN
from collectors.gpu.nvml import NvmlGone, load
from collectors.gpu.reader import NvmlReader
from collectors.gpu.sample import reading_of
from collectors.readings import GpuReading, field_specs
from tests.nvml_stub.build import Stub
from tests.nvml_stub.support import stub_or_skip

MIB = 1024.0 * 1024.0

PREFILL = {"seconds": 2.0, "sm": 0.9, "tensor": 0.6, "dram": 0.3, "occupancy": 0.45, "power": 640.0}
DECODE = {"seconds": 3.0, "sm": 0.7, "tensor": 0.1, "dram": 0.8, "occupancy": 0.25, "power": 420.0}
IDLE = {"seconds": 1.5, "sm": 0.0, "tensor": 0.0, "dram": 0.0, "occupancy": 0.0, "power": 110.0}
WAVE = (PREFILL, DECODE, IDLE)


def stage_lines(*stages: dict[str, float]) -> list[str]:
    return [
        f"stage {stage['seconds']} " + " ".join(f"{key}={value}" for key, value in stage.items() if key != "seconds")
        for stage in stages
    ]


def mean_of(key: str, start: float, end: float) -> float:
    """The wave's mean over [start, end], by walking through it."""
    total, at = 0.0, 0.0
    while at < end:
        for stage in WAVE:
            overlap = min(end, at + stage["seconds"]) - max(start, at)
            total += stage[key] * max(0.0, overlap)
            at += stage["seconds"]
    return total / (end - start)


class Rig:
    """A stub, a reader and one clock for both."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.now = 0.0
        self.lines: tuple[str, ...] = ()
        self.reader: NvmlReader

    def open(self, *lines: str, at: float = 1000.0) -> None:
        self.lines = lines
        self._set(at, ())
        self.reader = NvmlReader(load(str(self.stub.library)), clock=lambda: self.now)

    def sample(self, at: float, *faults: str) -> dict[str, Any]:
        """One round at that time, with these further lines in the script."""
        self._set(at, faults)
        return self.reader.sample()

    def readings(self, at: float, *faults: str) -> dict[int, GpuReading]:
        """The readings of one round by the number of the stub's GPU."""
        found = [reading_of(values) for values in self.sample(at, *faults)["gpus"]]
        return {int(reading.uuid[-12:], 16): reading for reading in found if reading is not None}

    def reading(self, at: float, *faults: str) -> GpuReading:
        return self.readings(at, *faults)[0]

    def calls(self, symbol: str) -> int:
        return self.stub.calls().get(symbol, 0)

    def _set(self, at: float, faults: tuple[str, ...]) -> None:
        self.now = at
        self.stub.script(f"time {at!r}", *self.lines, *faults)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    stub = stub_or_skip(tmp_path)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    return Rig(stub)


@pytest.mark.parametrize("interval", [1.0, 0.25])
def test_averages_over_an_interval_are_those_of_the_wave_over_exactly_that_interval(rig: Rig, interval: float) -> None:
    rig.open("gpus 1", *stage_lines(*WAVE), at=0.0)
    for tick in range(1, 40):
        reading = rig.reading(tick * interval)
        start, end = (tick - 1) * interval, tick * interval
        assert reading.sm_active_ratio == pytest.approx(mean_of("sm", start, end), abs=1e-6)
        assert reading.tensor_active_ratio == pytest.approx(mean_of("tensor", start, end), abs=1e-6)
        assert reading.dram_active_ratio == pytest.approx(mean_of("dram", start, end), abs=1e-6)
        assert reading.occupancy_ratio == pytest.approx(mean_of("occupancy", start, end), abs=1e-6)
        assert reading.energy_joules == pytest.approx(mean_of("power", start, end) * interval, abs=0.002)
        assert reading.window_seconds == pytest.approx(interval)


def test_a_round_that_comes_late_covers_the_whole_time_since_the_last_one(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(*WAVE), at=0.0)
    rig.sample(1.0)
    reading = rig.reading(5.5)
    assert reading.window_seconds == pytest.approx(4.5)
    assert reading.dram_active_ratio == pytest.approx(mean_of("dram", 1.0, 5.5))
    assert reading.energy_joules == pytest.approx(mean_of("power", 1.0, 5.5) * 4.5, abs=0.002)


DISTINCT = (
    "stage 100 sm=0.91 tensor=0.62 dram=0.33 occupancy=0.44 kernel=0.97 memory=0.58 power=555"
    " pcie_tx=101 pcie_rx=202 nvlink_tx=303 nvlink_rx=404 cap=0.11 sw_thermal=0.22 hw_thermal=0.07 brake=0.05"
    " sm_mhz=1755 memory_mhz=2601 celsius=63 memory_celsius=77"
)
DISTINCT_EXPECTED = {
    "window_seconds": 1.0,
    "sm_active_ratio": 0.91,
    "tensor_active_ratio": 0.62,
    "dram_active_ratio": 0.33,
    "occupancy_ratio": 0.44,
    "compute_active_ratio": 0.97,
    "kernel_active_ratio": 0.97,
    "memory_active_ratio": 0.58,
    "memory_used_bytes": 61e9,
    "memory_total_bytes": 85e9,
    "power_watts": 556.0,
    "power_limit_watts": 650.0,
    "energy_joules": 555.0,
    "temperature_celsius": 63.0,
    "temperature_limit_celsius": 87.0,
    "memory_temperature_limit_celsius": 95.0,
    "memory_temperature_celsius": 77.0,
    "sm_clock_hertz": 1755e6,
    "sm_clock_max_hertz": 1980e6,
    "memory_clock_hertz": 2601e6,
    "memory_clock_max_hertz": 2619e6,
    "throttle_power_ratio": 0.11,
    "throttle_thermal_ratio": 0.22,
    "throttle_hardware_ratio": 0.05,
    "pcie_tx_bytes_per_second": 101 * MIB,
    "pcie_rx_bytes_per_second": 202 * MIB,
    "nvlink_tx_bytes_per_second": 303 * MIB,
    "nvlink_rx_bytes_per_second": 404 * MIB,
    "ecc_corrected_errors": 12.0,
    "ecc_uncorrected_errors": 3.0,
    "remapped_rows_corrected": 4.0,
    "remapped_rows_uncorrected": 2.0,
    "row_remap_pending": 1.0,
    "row_remap_failed": 0.0,
    "pcie_link_generation": 4.0,
    "pcie_link_generation_max": 5.0,
    "pcie_link_width": 8.0,
    "pcie_link_width_max": 16.0,
    "persistence_mode": 1.0,
    "dram_peak_bytes_per_second": 3350e9,
    "tensor_peak_flops_per_second": 989e12,
}
FIXED = (
    "gpus 1", "value memory_threshold 95", "value used 61e9", "value total 85e9", "value limit_mw 650000",
    "value power_mw 556000", DISTINCT,
    "value ecc_corrected 12", "value ecc_uncorrected 3", "value remapped_corrected 4", "value remapped_uncorrected 2",
    "value remap_pending 1", "value recovery 1", "value link_generation 4", "value link_width 8",
)  # fmt: skip


def test_every_field_shows_its_own_value(rig: Rig) -> None:
    rig.open(*FIXED)
    rig.sample(1001.0)
    reading = rig.reading(1002.0)
    for name, expected in DISTINCT_EXPECTED.items():
        assert getattr(reading, name) == pytest.approx(expected), name
    numbers = {spec.name for spec in field_specs(GpuReading) if spec.kind != "text"}
    of_pages = {"activity_window_seconds", "activity_age_seconds"}
    assert numbers - set(DISTINCT_EXPECTED) == {"index", "age_seconds", "instances", *of_pages}
    assert (reading.source, reading.state, reading.peak_source) == ("gpm", "ok", "table")
    assert reading.recovery_action == "gpu-reset"


def test_without_gpm_link_rates_come_from_counters_and_activity_is_missing(rig: Rig) -> None:
    rig.open(*FIXED, "value gpm_support 0", at=100_000.0)
    rig.sample(100_001.0)
    sample = rig.sample(100_002.0)
    reading = reading_of(sample["gpus"][0])
    assert reading is not None
    assert reading.source == "nvml"
    assert reading.sm_active_ratio is reading.tensor_active_ratio is reading.dram_active_ratio is None
    assert reading.pcie_tx_bytes_per_second == pytest.approx(101 * MIB)
    assert reading.pcie_rx_bytes_per_second == pytest.approx(202 * MIB)
    assert reading.nvlink_tx_bytes_per_second == pytest.approx(303 * MIB)
    assert reading.nvlink_rx_bytes_per_second == pytest.approx(404 * MIB)
    assert reading.kernel_active_ratio == pytest.approx(0.97)
    assert "no GPM" in sample["notes"][reading.uuid]
    assert rig.calls("nvmlGpmQueryDeviceSupport") == 1


def test_a_link_rate_that_gpm_refuses_comes_from_its_counter_and_costs_no_call_more(rig: Rig) -> None:
    rig.open(*FIXED, "refuse 60 3", "refuse 61 3", "metric 20 77", at=1000.0)
    rig.sample(1001.0)
    before = rig.calls("nvmlDeviceGetFieldValues")
    reading = rig.reading(1002.0)
    assert rig.calls("nvmlDeviceGetFieldValues") == before + 1
    assert reading.source == "gpm"
    assert reading.nvlink_tx_bytes_per_second == pytest.approx(303 * MIB)
    assert reading.nvlink_rx_bytes_per_second == pytest.approx(404 * MIB)
    assert reading.pcie_tx_bytes_per_second == pytest.approx(77 * MIB)  # GPM's own, not the counter's 101


def test_a_pcie_counter_that_may_be_only_32_bits_wide_gives_no_rate(rig: Rig) -> None:
    rig.open(*FIXED, "value gpm_support 0", "value pcie_narrow 1", "since 999", at=1000.0)
    reading = rig.reading(1001.0)
    assert reading.pcie_tx_bytes_per_second is None
    assert reading.nvlink_tx_bytes_per_second == pytest.approx(303 * MIB)


def test_a_pcie_counter_of_64_bits_is_believed_until_it_is_seen_to_go_round_early(rig: Rig) -> None:
    script = (*FIXED, "value gpm_support 0", "value pcie_wraps 1", "since 999")
    rig.open(*script, at=1000.0)
    assert rig.reading(1001.0).pcie_tx_bytes_per_second == pytest.approx(101 * MIB)
    rates = [rig.reading(1001.0 + second).pcie_tx_bytes_per_second for second in range(1, 60)]
    gone_round = rates.index(None)
    assert rates[:gone_round] == pytest.approx([101 * MIB] * gone_round)
    assert set(rates[gone_round:]) == {None}


def test_a_lost_gpu_keeps_its_row_and_the_others_go_on(rig: Rig) -> None:
    rig.open("gpus 3")
    sample = rig.sample(1001.0, "fail@1 * 15")
    rows = [reading_of(values) for values in sample["gpus"]]
    assert [row.state for row in rows if row] == ["ok", "lost", "ok"]
    lost = rows[1]
    assert lost is not None
    assert lost.name == "NVIDIA H100 80GB HBM3"
    assert lost.power_watts is lost.memory_used_bytes is lost.window_seconds is None
    assert "fallen off the bus" in sample["notes"][lost.uuid]
    assert rig.readings(1002.0, "fail@1 * 15")[2].energy_joules is not None


def test_a_lost_gpu_is_looked_for_by_uuid_and_starts_from_nothing_when_it_is_back(rig: Rig) -> None:
    rig.open("gpus 3")
    rig.sample(1001.0)
    rig.sample(1002.0, "fail@0 * 15")
    assert rig.readings(1005.0)[0].state == "lost"
    back = rig.readings(1013.0, "order 2 1 0")[0]
    assert (back.state, back.index) == ("ok", 2)
    assert back.energy_joules is back.sm_active_ratio is None
    assert rig.readings(1014.0, "order 2 1 0")[0].energy_joules is not None


def test_a_gpu_that_does_not_open_does_not_keep_the_others_away(rig: Rig) -> None:
    rig.open("gpus 2", "fail@0 nvmlDeviceGetHandleByIndex_v2 4")
    sample = rig.sample(1001.0)
    assert [values["index"] for values in sample["gpus"]] == [1]
    assert sample["notes"]["index 0"] == "no permission to open this GPU"
    rig.lines = ("gpus 2",)
    assert sorted(rig.readings(1011.0)) == [0, 1]


def test_a_counter_reset_is_missing_and_never_negative(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(PREFILL))
    rig.sample(1001.0)
    reset = rig.reading(1002.0, "since 1001.9")
    assert reset.energy_joules is None
    assert reset.throttle_power_ratio is not None  # that counter stood at 0 before and after
    after = rig.reading(1003.0, "since 1001.9")
    assert after.energy_joules == pytest.approx(640.0)


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        ("value celsius 255", "temperature_celsius"),
        ("value memory_celsius 255", "memory_temperature_celsius"),
        ("metric 10 nan", "dram_active_ratio"),
        ("metric 2 4711", "sm_active_ratio"),
        ("metric 5 -3", "tensor_active_ratio"),
        ("refuse 3 3", "occupancy_ratio"),
        ("value kernel 655", "kernel_active_ratio"),
        ("value used 99e9", "memory_used_bytes"),
        ("value sm_mhz 4000000", "sm_clock_hertz"),
        ("value power 90000", "energy_joules"),
    ],
)
def test_a_value_that_cannot_be_is_missing(rig: Rig, fault: str, field: str) -> None:
    rig.open("gpus 1")
    rig.sample(1001.0)
    rig.sample(1002.0, fault)
    reading = rig.reading(1003.0, fault)
    assert getattr(reading, field) is None
    assert reading.memory_total_bytes is not None


def test_power_that_cannot_be_gives_way_to_the_energy_counter_and_else_is_missing(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(PREFILL), "value power_mw 4294967295")
    assert rig.reading(1001.0).power_watts == pytest.approx(640.0)
    assert rig.reading(1002.0, "since 1001.5").power_watts is None


def test_gpm_without_permission_says_so_with_the_remedy_and_is_tried_again_after_ten_seconds(rig: Rig) -> None:
    rig.open("gpus 2", "fail@0 nvmlGpmSampleGet 4")
    sample = rig.sample(1001.0)
    assert [values["source"] for values in sample["gpus"]] == ["nvml", "gpm"]
    (note,) = sample["notes"].values()
    assert "CAP_SYS_ADMIN" in note
    rig.lines = ("gpus 2",)
    assert rig.reading(1002.0).source == "nvml"
    assert rig.reading(1011.0).source == "gpm"
    assert rig.reading(1012.0).sm_active_ratio is not None


def test_what_a_gpu_will_never_answer_is_asked_once(rig: Rig) -> None:
    rig.open("gpus 2", "fail@0 nvmlDeviceGetUtilizationRates 3", "field@0 82 3")
    for at in range(1001, 1006):
        readings = rig.readings(float(at))
    assert rig.calls("nvmlDeviceGetUtilizationRates") == 1 + 5
    assert readings[0].kernel_active_ratio is None
    assert readings[0].memory_temperature_celsius is None
    assert readings[1].memory_temperature_celsius is not None
    rig.lines = ("gpus 2",)
    assert rig.readings(1007.0)[0].kernel_active_ratio is None


def test_passing_trouble_costs_one_round(rig: Rig) -> None:
    rig.open("gpus 1")
    assert rig.reading(1001.0, "fail nvmlDeviceGetUtilizationRates 27").kernel_active_ratio is None
    assert rig.reading(1002.0).kernel_active_ratio is not None


def test_after_a_round_without_counters_the_next_amounts_are_missing_and_not_doubled(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(PREFILL))
    rig.sample(1001.0)
    rig.sample(1002.0, "fail nvmlDeviceGetFieldValues 10")
    assert rig.reading(1003.0).energy_joules is None
    assert rig.reading(1004.0).energy_joules == pytest.approx(640.0)


def test_memory_without_version_2_is_read_by_version_1(rig: Rig) -> None:
    rig.open("gpus 1", "value used 60e9", "value reserved 1e9", "fail nvmlDeviceGetMemoryInfo_v2 13")
    assert rig.reading(1001.0).memory_used_bytes == pytest.approx(61e9)
    rig.sample(1002.0)
    assert rig.calls("nvmlDeviceGetMemoryInfo_v2") == 1


def test_memory_of_version_1_does_not_stand_in_for_one_round(rig: Rig) -> None:
    rig.open("gpus 1")
    assert rig.reading(1001.0, "fail nvmlDeviceGetMemoryInfo_v2 27").memory_used_bytes is None


def test_throttling_without_counters_comes_from_the_reasons_of_the_moment(rig: Rig) -> None:
    refused = tuple(f"field {field} 3" for field in (74, 269, 270, 271))
    rig.open("gpus 1", *refused, "value reasons 0")
    rig.sample(1001.0)

    def ratios(at: float, bits: int) -> tuple[float | None, float | None, float | None]:
        reading = rig.reading(at, f"value reasons {bits}")
        return reading.throttle_power_ratio, reading.throttle_thermal_ratio, reading.throttle_hardware_ratio

    assert ratios(1002.0, 0x1) == (0.0, 0.0, 0.0)
    assert ratios(1003.0, 0x4) == (1.0, 0.0, 0.0)
    assert ratios(1004.0, 0x20) == (0.0, 1.0, 0.0)
    assert ratios(1005.0, 0x48) == (0.0, 1.0, 0.0)
    assert ratios(1006.0, 0x88) == (0.0, 0.0, 1.0)
    assert ratios(1007.0, 0x8) == (0.0, 0.0, 1.0)


def test_an_old_name_for_the_reasons_is_used_where_the_new_one_is_unknown(rig: Rig) -> None:
    rig.open("gpus 1", "field 271 3", "fail nvmlDeviceGetCurrentClocksEventReasons 13", "value reasons 128")
    rig.sample(1001.0)
    assert rig.reading(1002.0).throttle_hardware_ratio == 1.0


def test_temperature_without_the_new_call_is_read_by_the_old_one(rig: Rig) -> None:
    rig.open("gpus 1", "value celsius 66", "fail nvmlDeviceGetTemperatureV 13")
    assert rig.reading(1001.0).temperature_celsius == 66.0


def test_the_temperature_limit_is_the_threshold_where_the_gpu_has_thresholds(rig: Rig) -> None:
    rig.open("gpus 1", "value threshold 93")
    assert rig.reading(1001.0).temperature_limit_celsius == 93.0


def test_power_without_its_field_is_the_mean_of_the_energy_counter(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(*WAVE), "field 186 3", at=0.0)
    rig.sample(1.5)
    assert rig.reading(2.5).power_watts == pytest.approx(mean_of("power", 1.5, 2.5), abs=0.01)
    assert rig.calls("nvmlDeviceGetPowerUsage") == 0


def test_power_without_field_and_counter_is_the_drivers_own_mean(rig: Rig) -> None:
    nothing_else = ("field 186 3", "field 83 3", "fail nvmlDeviceGetTotalEnergyConsumption 3")
    rig.open("gpus 1", *nothing_else, "value power_mw 321000")
    rig.sample(1001.0)
    reading = rig.reading(1002.0)
    assert (reading.power_watts, reading.energy_joules) == (321.0, None)


@pytest.mark.parametrize("way", ["fail nvmlDeviceGetFieldValues 3", "fail nvmlDeviceGetFieldValues 13"])
def test_a_driver_without_field_values_tells_the_same_by_its_functions(rig: Rig, way: str) -> None:
    rig.open(*FIXED, way, "value power_mw 321000", "value reasons 4")
    rig.sample(1001.0)
    reading = rig.reading(1002.0)
    assert (reading.energy_joules, reading.power_watts) == pytest.approx((555.0, 555.0))
    assert (reading.throttle_power_ratio, reading.throttle_thermal_ratio) == (1.0, 0.0)
    assert (reading.ecc_uncorrected_errors, reading.row_remap_pending) == (0.0, 0.0)


def test_trouble_that_should_pass_and_does_not_lets_another_call_stand_in(rig: Rig) -> None:
    trouble = ("field 186 27", "field 83 27", "fail nvmlDeviceGetTotalEnergyConsumption 3", "value power_mw 321000")
    rig.open("gpus 1", *trouble)
    assert rig.reading(1001.0).power_watts is None
    for second in range(2, 8):
        reading = rig.reading(1000.0 + second)
    assert reading.power_watts == 321.0
    assert rig.reading(1030.0, "value power_mw 654000").power_watts == 654.0


def test_what_a_driver_leaves_untouched_in_an_answer_is_no_answer(rig: Rig) -> None:
    rig.open("gpus 1", "value sm 0.5", "value dram 0.5")
    assert rig.reading(1001.0).dram_active_ratio == 0.5
    later = rig.reading(1002.0, "leave 10")
    assert (later.sm_active_ratio, later.dram_active_ratio) == (0.5, None)


def test_gpm_without_one_figure_for_some_rounds_is_not_the_source(rig: Rig) -> None:
    rig.open("gpus 1")
    nothing = tuple(f"metric {metric} nan" for metric in (1, 2, 3, 5, 10))
    sources = [rig.reading(1000.0 + second, *nothing).source for second in range(1, 7)]
    assert sources == ["gpm"] * 4 + ["nvml"] * 2
    assert "without figures" in "".join(rig.sample(1007.0, *nothing)["notes"].values())
    assert rig.reading(1008.0).source == "gpm"


def test_gpm_comes_back_with_mig_switched_off(rig: Rig) -> None:
    rig.open("gpus 1")
    for second in range(1, 22):
        divided = rig.reading(1000.0 + second, "mig@0 9 16 9728 1g.10gb", "fail nvmlGpmSampleGet 3")
    assert (divided.instances, divided.source) == (1.0, "nvml")
    for second in range(22, 44):
        whole = rig.reading(1000.0 + second)
    assert (whole.instances, whole.source) == (None, "gpm")


def test_a_handle_may_become_invalid_again_after_a_while(rig: Rig) -> None:
    rig.open("gpus 1")
    for begin in (1001.0, 1101.0):
        rig.sample(begin, "fail nvmlDeviceGetUtilizationRates 2")
        assert rig.reading(begin + 1).kernel_active_ratio is not None
    assert rig.calls("nvmlDeviceGetHandleByUUID") == 2


def test_unknown_errors_to_everything_mean_a_lost_gpu(rig: Rig) -> None:
    rig.open("gpus 2")
    readings = rig.readings(1001.0, "fail@0 * 999")
    assert [readings[gpu].state for gpu in (0, 1)] == ["lost", "ok"]


def test_unknown_errors_of_every_gpu_end_the_reader_with_the_likely_cause(rig: Rig) -> None:
    rig.open("gpus 2")
    with pytest.raises(NvmlGone, match="restart the container") as caught:
        rig.sample(1001.0, "fail@0 * 999", "fail@1 * 999")
    assert caught.value.code == UNKNOWN


def test_one_question_that_always_fails_with_an_unknown_error_does_not_lose_the_gpu(rig: Rig) -> None:
    fault = "fail nvmlDeviceGetUtilizationRates 999"
    rig.open("gpus 1", fault)
    for at in range(1001, 1011):
        reading = rig.reading(float(at))
    assert reading.state == "ok"
    assert rig.calls("nvmlDeviceGetUtilizationRates") == 3


def test_fields_that_a_driver_does_not_know_do_not_lose_the_gpu(rig: Rig) -> None:
    rig.open("gpus 1", *(f"field {field} 999" for field in (82, 269, 270, 271)))
    for at in range(1001, 1006):
        reading = rig.reading(float(at))
    assert reading.state == "ok"
    assert reading.energy_joules is not None


def test_an_argument_that_has_become_invalid_gets_a_fresh_handle_once(rig: Rig) -> None:
    rig.open("gpus 1")
    rig.sample(1001.0, "fail nvmlDeviceGetUtilizationRates 2")
    assert rig.reading(1002.0).kernel_active_ratio is not None
    assert rig.calls("nvmlDeviceGetHandleByUUID") == 1
    rig.sample(1003.0, "fail nvmlDeviceGetUtilizationRates 2")
    rig.sample(1004.0)
    assert rig.calls("nvmlDeviceGetHandleByUUID") == 1


@pytest.mark.parametrize("code", [1, 9, 18])
def test_a_driver_that_goes_away_ends_the_reader_with_a_reason(rig: Rig, code: int) -> None:
    rig.open("gpus 2")
    with pytest.raises(NvmlGone) as caught:
        rig.sample(1001.0, f"fail * {code}")
    assert caught.value.code == code
    assert "code" not in caught.value.reason


def test_two_gpm_samples_are_never_closer_than_100_ms_and_none_of_the_time_is_lost(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(*WAVE), at=1.0)
    rig.sample(1.9)
    taken = rig.calls("nvmlGpmSampleGet")
    assert rig.reading(1.95).dram_active_ratio is None
    assert rig.calls("nvmlGpmSampleGet") == taken
    assert rig.reading(2.9).dram_active_ratio == pytest.approx(mean_of("dram", 1.9, 2.9))


def test_a_failed_gpm_sample_leaves_its_time_to_the_next_one(rig: Rig) -> None:
    rig.open("gpus 1", *stage_lines(*WAVE), at=1.0)
    rig.sample(1.5)
    assert rig.reading(2.0, "fail nvmlGpmSampleGet 27").dram_active_ratio is None
    assert rig.reading(2.5).dram_active_ratio == pytest.approx(mean_of("dram", 1.5, 2.5))


def test_processes_come_with_their_memory(rig: Rig) -> None:
    rig.open("gpus 2", "process@0 4711 30000000000", "process@1 4711 20000000000", "process@1 815 1000000000")
    sample = rig.sample(1001.0)
    uuids = [values["uuid"] for values in sample["gpus"]]
    assert sample["processes"] == [(4711, uuids[0], 30e9), (4711, uuids[1], 20e9), (815, uuids[1], 1e9)]


def test_an_older_driver_lists_its_processes_too(rig: Rig) -> None:
    rig.open("gpus 1", "process 4711 1000", "fail nvmlDeviceGetComputeRunningProcesses_v3 13")
    assert [pid for pid, _, _ in rig.sample(1001.0)["processes"]] == [4711]


def test_more_processes_than_there_was_room_for_are_all_listed(rig: Rig) -> None:
    rig.open("gpus 1", *(f"process {pid} 1" for pid in range(1, 65)), *(f"process {pid} 1" for pid in range(65, 129)))
    assert len(rig.sample(1001.0)["processes"]) == 128


def test_a_process_list_that_makes_no_sense_is_not_believed(rig: Rig) -> None:
    rig.open("gpus 1", "process 4711 1000", "process 4294967295 1000")
    assert rig.sample(1001.0)["processes"] == []


def test_a_round_makes_at_most_eight_calls_per_gpu_and_none_that_is_slow_or_changes_anything(rig: Rig) -> None:
    rig.open("gpus 8", "process 4711 1000")
    rig.sample(1001.0)
    before = rig.stub.calls()
    for tick in range(100):
        rig.sample(1002.0 + tick)
    made = {symbol: count - before.get(symbol, 0) for symbol, count in rig.stub.calls().items()}
    # ten slow looks in 100 s: health in one batch of field values
    looks = 8 * 10
    slow = {
        "nvmlDeviceGetComputeRunningProcesses_v3": looks,
        "nvmlDeviceGetMPSComputeRunningProcesses_v3": looks,
        "nvmlDeviceGetGraphicsRunningProcesses_v3": looks,
        "nvmlDeviceGetEnforcedPowerLimit": looks,
        "nvmlDeviceGetPersistenceMode": looks,
        "nvmlDeviceGetCurrPcieLinkGeneration": looks,
        "nvmlDeviceGetCurrPcieLinkWidth": looks,
        "nvmlDeviceGetMigMode": looks,
    }
    assert {symbol: made.pop(symbol) for symbol in slow} == slow
    made["nvmlDeviceGetFieldValues"] -= looks
    assert made.pop("nvmlDeviceGetCount_v2") == 10  # is there a new one?
    assert sum(made.values()) == 8 * 8 * 100
    changing = ("Set", "Clear", "Reset", "Create", "Modify")
    forbidden = [symbol for symbol in rig.stub.calls() if symbol.removeprefix("nvmlDevice").startswith(changing)]
    assert forbidden == []
    assert rig.calls("nvmlDeviceGetPcieThroughput") == rig.calls("nvmlGpmSetStreamingEnabled") == 0


def test_health_is_looked_at_every_ten_seconds_and_what_cannot_be_is_missing(rig: Rig) -> None:
    rig.open("gpus 1", "value ecc_uncorrected 1")
    assert rig.reading(1001.0, "value ecc_uncorrected 9").ecc_uncorrected_errors == 1.0
    later = rig.reading(1011.0, "value ecc_uncorrected 9", "value recovery 4711", "value link_width 255")
    assert later.ecc_uncorrected_errors == 9.0
    assert later.recovery_action is later.pcie_link_width is None
    assert later.pcie_link_generation == 5.0


def test_health_that_a_gpu_does_not_have_is_asked_once(rig: Rig) -> None:
    none = tuple(f"field {field} 3" for field in (3, 4, 142, 143, 144, 145, 230))
    functions = ("nvmlDeviceGetPersistenceMode", "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetRemappedRows")
    rig.open("gpus 1", *none, *(f"fail {function} 3" for function in functions))
    for at in range(1001, 1062):
        reading = rig.reading(float(at))
    assert reading.ecc_corrected_errors is reading.row_remap_pending is reading.persistence_mode is None
    assert reading.recovery_action is None
    assert [rig.calls(function) for function in functions] == [1, 1, 1]
    # The driver refuses a batch as a whole when it refuses every value in it: other fields go on.
    assert reading.power_watts is not None
    assert reading.energy_joules is not None
    assert reading.throttle_power_ratio is not None


SYMBOLS = (
    "nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", "nvmlDeviceGetMigMode",
    "nvmlDeviceGetTemperatureThreshold", "nvmlDeviceGetMarginTemperature", "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetMemoryBusWidth", "nvmlDeviceGetFieldValues", "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPersistenceMode",
    "nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlGpmSampleGet", "nvmlGpmMetricsGet", "nvmlGpmMigSampleGet",
    "nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetAttributes_v2", "nvmlDeviceGetRemappedRows", "nvmlDeviceGetTotalEccErrors",
)  # fmt: skip
KEYS = ("power_mw", "used", "total", "limit_mw", "celsius", "memory_celsius", "sm_mhz", "reasons", "recovery")
CODES = (2, 3, 4, 6, 7, 10, 13, 15, 16, 17, 19, 20, 21, 25, 27, 28, 999, 77, -3)
refusals = st.builds("fail@0 {} {}".format, st.sampled_from(SYMBOLS), st.sampled_from(CODES))
garbage = st.builds("value@0 {} {}".format, st.sampled_from(KEYS), st.sampled_from((0, 255, 4294967295, 1e18)))
odd_fields = st.builds("field@0 {} {}".format, st.sampled_from((74, 82, 83, 186, 269, 3, 142)), st.sampled_from(CODES))
odd_metrics = st.builds("metric@0 {} {}".format, st.sampled_from((1, 2, 5, 20)), st.sampled_from(("nan", "1e9", "-4")))
divided = st.just("mig@0 9 16 9728 1g.10gb")
POSSIBLE = {"ratio": (0.0, 1.0), "celsius": (-40.0, 150.0), "watts": (0.0, 10_000.0)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(refusals | garbage | odd_fields | odd_metrics | divided, max_size=8, unique=True),
    from_the_start=st.booleans(),
)
def test_whatever_a_driver_answers_the_other_gpu_goes_on_and_nothing_impossible_is_shown(
    rig: Rig, faults: list[str], from_the_start: bool
) -> None:
    rig.open("gpus 2", *(faults if from_the_start else ()))
    for second in (1.0, 2.0, 3.0, 14.0, 15.0):
        found = [reading_of(values) for values in rig.sample(1000.0 + second, *faults)["gpus"]]
        readings = [reading for reading in found if reading is not None]
        assert len(readings) == len(found)
        for reading in readings:
            for spec in field_specs(GpuReading):
                value = getattr(reading, spec.name)
                if spec.unit in POSSIBLE and value is not None:
                    low, high = POSSIBLE[spec.unit]
                    assert low <= value <= high, spec.name
        (other,) = (reading for reading in readings if reading.uuid.endswith("1"))
        assert other.state == "ok"
        assert other.kernel_active_ratio is not None


def test_the_traps_of_the_stand_in_do_count(rig: Rig) -> None:
    rig.open("gpus 1")
    nvml = load(str(rig.stub.library))
    with pytest.raises(nvml.NVMLError):
        nvml.nvmlDeviceSetPersistenceMode(nvml.nvmlDeviceGetHandleByIndex(0), 1)
    assert rig.calls("nvmlDeviceSetPersistenceMode") == 1
