from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.gpu.page_dcgm import DCGM
from collectors.gpu.page_table import EXPORTERS
from collectors.gpu.pages import GpuPage, exporter_of
from collectors.readings import GpuReading, field_specs, rounded
from tests.gpu_pages import AMD_PAGE, AMD_PAGE_A_SECOND_LATER, DCGM_GPU, GAUDI_PAGE, XPUM_PAGE, dcgm_page

EXPOSITIONS = os.environ.get("PHASETOP_TEST_DATA")
_AMD_CLOCKS = {"system": 2100, "memory": 1300, "video": 29, "data": 22}
GOLDEN = Path(__file__).with_name("golden") / "gpu_pages.json"


def read(*pages: str, seconds: float = 1.0) -> list[GpuReading]:
    """The GPUs of the last of some pages that arrived so far apart."""
    page = GpuPage()
    for number, text in enumerate(pages):
        assert page.put(text, 100.0 + number * seconds)
    return list(page.readings(100.0 + (len(pages) - 1) * seconds, patience=1.0))


def known(reading: GpuReading) -> dict[str, object]:
    """What a reading says, rounded as it is stored."""
    exact = rounded(reading)
    return {
        spec.name: getattr(exact, spec.name)
        for spec in field_specs(GpuReading)
        if getattr(exact, spec.name) is not None
    }


def test_dcgm_figures_are_in_the_units_of_the_fields() -> None:
    (gpu,) = read(dcgm_page())
    assert (gpu.source, gpu.name, gpu.index) == ("dcgm", "NVIDIA A100-SXM4-80GB", 0)
    assert (gpu.tensor_active_ratio, gpu.dram_active_ratio, gpu.compute_active_ratio) == (0.25, 0.75, 0.96)
    assert gpu.kernel_active_ratio == pytest.approx(0.97)
    assert gpu.memory_used_bytes == 30000 * 2**20
    assert gpu.memory_total_bytes == 40500 * 2**20
    assert gpu.sm_clock_hertz == 1.41e9
    assert gpu.dram_peak_bytes_per_second == pytest.approx(2.039e12)


def test_a_field_commented_out_in_the_exporter_is_missing_and_not_its_neighbour() -> None:
    (gpu,) = read(dcgm_page())
    assert gpu.sm_active_ratio is gpu.occupancy_ratio is None
    (plain,) = read(dcgm_page(profiling=False))
    assert plain.compute_active_ratio is plain.dram_active_ratio is None
    assert plain.kernel_active_ratio == pytest.approx(0.97)


@pytest.mark.parametrize("host_label", ["Hostname", "hostname"])
def test_old_and_new_labels_are_the_same_gpu(host_label: str) -> None:
    (gpu,) = read(dcgm_page(host_label=host_label))
    assert gpu.uuid.startswith("GPU-")


def test_renamed_families_are_read_and_an_ambiguous_unit_is_not_guessed() -> None:
    def renamed(utilisation: float) -> GpuReading:
        return read(
            'DCGM_FI_PROF_DRAM_UTIL_RATIO{gpu="1",UUID="GPU-a"} 0.5\n'
            'DCGM_FI_DEV_BOARD_POWER_WATTS{gpu="1",UUID="GPU-a"} 77\n'
            f'DCGM_FI_DEV_GPU_UTIL_RATIO{{gpu="1",UUID="GPU-a"}} {utilisation}\n'
        )[0]

    gpu = renamed(55)
    assert (gpu.dram_active_ratio, gpu.power_watts, gpu.kernel_active_ratio) == (0.5, 77.0, 0.55)
    assert renamed(0.25).kernel_active_ratio == 0.25
    assert renamed(0).kernel_active_ratio == 0.0
    assert renamed(1).kernel_active_ratio is None  # one percent, or all of the time


@pytest.mark.parametrize(
    "blank", [2147483632, 2147483634, 9223372036854775792, 9223372036854775794, 140737488355328.0, 140737488355330.0]
)
def test_a_dcgm_blank_is_missing(blank: float) -> None:
    (gpu,) = read(dcgm_page(DEV_POWER_USAGE=blank, PROF_DRAM_ACTIVE=blank, DEV_FB_USED=blank))
    assert gpu.power_watts is gpu.dram_active_ratio is gpu.memory_used_bytes is gpu.memory_total_bytes is None
    assert gpu.tensor_active_ratio == 0.25


@pytest.mark.parametrize("value", [65, -1, 1e9])
def test_a_ratio_that_is_none_is_missing(value: float) -> None:
    (gpu,) = read(dcgm_page(PROF_SM_ACTIVE=value))
    assert gpu.sm_active_ratio is None


def test_a_gpu_instance_has_its_own_row_and_leaves_the_whole_gpus_figures_to_it() -> None:
    slice_labels = ',GPU_I_PROFILE="1g.10gb",GPU_I_ID="9"'
    gpu, part = read(dcgm_page(extra=slice_labels))
    assert (gpu.instances, part.instances) == (1, None)
    assert (part.parent, part.instance) == (gpu.uuid, "9")
    assert part.name == "NVIDIA A100-SXM4-80GB MIG 1g.10gb"
    assert (part.dram_active_ratio, gpu.dram_active_ratio) == (0.75, None)
    assert (part.power_watts, gpu.power_watts) == (None, 251.5)


def test_what_is_counted_is_the_growth_between_pages_that_differ_and_is_told_once() -> None:
    page = GpuPage()
    page.put(dcgm_page(), 100.0)
    page.put(dcgm_page(DEV_TOTAL_ENERGY_CONSUMPTION=5_600_000.0), 102.0)
    (first,) = page.readings(102.0, patience=1.0)
    assert (first.energy_joules, first.window_seconds) == (600.0, 2.0)
    page.put(dcgm_page(DEV_TOTAL_ENERGY_CONSUMPTION=5_600_000.0), 103.0)
    (again,) = page.readings(103.0, patience=1.0)
    assert again.energy_joules is again.window_seconds is None
    assert again.dram_active_ratio == 0.75


def test_a_counter_that_runs_backwards_is_missing() -> None:
    (gpu,) = read(dcgm_page(), dcgm_page(DEV_TOTAL_ENERGY_CONSUMPTION=1.0))
    assert gpu.energy_joules is None


def test_throttling_counts_only_where_the_page_says_its_unit() -> None:
    def throttled(help: str) -> float | None:
        head = f"# HELP DCGM_FI_DEV_POWER_VIOLATION Throttling duration due to power constraints ({help}).\n"
        pages = [head + dcgm_page(DEV_POWER_VIOLATION=total) for total in (0.0, 0.5e9)]
        return read(*pages)[0].throttle_power_ratio

    assert throttled("in ns") == 0.5
    assert throttled("in us") is None


def test_the_exporters_interval_is_seen_from_when_its_figures_change() -> None:
    page = GpuPage()
    for second in range(100, 200):
        measured = second // 30  # it measures at 120, 150 and 180
        page.put(dcgm_page(DEV_POWER_USAGE=200.0 + measured), float(second))
        if second == 149:
            assert page.interval is None
    assert page.interval == 30.0
    (gpu,) = page.readings(199.0, patience=2.0)
    assert (gpu.activity_window_seconds, gpu.activity_age_seconds, gpu.age_seconds) == (30.0, 19.0, 19.0)


def test_without_a_page_the_gpus_are_stale_and_say_nothing_else() -> None:
    page = GpuPage()
    page.put(dcgm_page(), 100.0)
    (gpu,) = page.readings(105.0, patience=2.0)
    assert gpu.state == "stale"
    assert set(known(gpu)) == {"uuid", "index", "name", "source", "state", "age_seconds"}


def test_pages_long_apart_are_not_compared() -> None:
    (gpu,) = read(dcgm_page(), dcgm_page(DEV_TOTAL_ENERGY_CONSUMPTION=6e6), seconds=1000.0)
    assert gpu.energy_joules is None


@pytest.mark.parametrize("spelled", ["{}", "GPU_CLOCK_TYPE_{}"])
def test_amd_clocks_are_told_apart_under_both_spellings_of_their_kinds(spelled: str) -> None:
    kinds = {spelled.format(kind if spelled == "{}" else kind.upper()): clock for kind, clock in _AMD_CLOCKS.items()}
    lines = (f'gpu_clock{{gpu_id="0",serial_number="s",clock_type="{kind}"}} {mhz}\n' for kind, mhz in kinds.items())
    (gpu,) = read("".join(lines) + 'gpu_gfx_activity{gpu_id="0",serial_number="s"} 5\n')
    assert (gpu.sm_clock_hertz, gpu.memory_clock_hertz) == (2.1e9, 1.3e9)


def test_amd_activity_is_named_for_what_it_is() -> None:
    (gpu,) = read(AMD_PAGE, AMD_PAGE_A_SECOND_LATER)
    assert (gpu.source, gpu.index, gpu.uuid) == ("amd", 3, "AMD-s1-3")
    assert gpu.compute_active_ratio == pytest.approx(0.80)
    assert gpu.memory_active_ratio == pytest.approx(0.35)
    assert gpu.sm_active_ratio is gpu.dram_active_ratio is gpu.kernel_active_ratio is None
    assert gpu.tensor_active_ratio == pytest.approx(0.40)  # half of the cycles that were busy
    assert gpu.energy_joules == pytest.approx(600.0)
    assert gpu.nvlink_tx_bytes_per_second == 3000 * 1024


def test_tiles_of_an_intel_gpu_are_one_gpu() -> None:
    (gpu,) = read(XPUM_PAGE)
    assert gpu.compute_active_ratio == pytest.approx(0.80)
    assert (gpu.memory_used_bytes, gpu.power_watts, gpu.index) == (6000.0, 500.0, 1)


def test_gaudi_figures_of_unknown_unit_are_left_out() -> None:
    (gpu,) = read(GAUDI_PAGE, GAUDI_PAGE.replace("4.8e9", "4.9e9"))
    assert (gpu.compute_active_ratio, gpu.power_watts, gpu.index) == (0.96, 612.0, 2)
    assert gpu.energy_joules is None
    assert gpu.peak_source == "table"


def test_a_page_of_something_else_is_not_taken() -> None:
    page = GpuPage()
    assert not page.put("up 1\nvllm:num_requests_running 3\n", 100.0)
    assert page.readings(100.0, patience=1.0) == ()
    assert exporter_of("node_cpu_seconds_total 7\n") is None
    assert exporter_of(dcgm_page()) is DCGM


def test_the_table_names_only_fields_that_exist() -> None:
    fields = {spec.name for spec in field_specs(GpuReading)}
    rows = {row.name for exporter in EXPORTERS for row in exporter.rows}
    assert {name for name in rows if not name.startswith("_")} <= fields


@given(st.text(max_size=200), st.floats(), st.sampled_from(["DCGM_FI_PROF_DRAM_ACTIVE", "gpu_umc_activity"]))
def test_no_text_makes_a_page_raise_or_a_ratio_leave_its_range(text: str, value: float, family: str) -> None:
    page = GpuPage()
    page.put(f'{text}\n{family}{{gpu="0",UUID="x",gpu_id="0"}} {value}\n{text}', 100.0)
    for gpu in page.readings(100.0, patience=1.0):
        assert gpu.dram_active_ratio is None or 0.0 <= gpu.dram_active_ratio <= 1.0


@pytest.mark.skipif(not EXPOSITIONS, reason="PHASETOP_TEST_DATA is not set: no exporters' pages here")
@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text()))
def test_pages_of_real_exporters_give_the_readings_they_should(name: str) -> None:
    expected = json.loads(GOLDEN.read_text())[name]
    readings = read(Path(EXPOSITIONS or "", "expositions", name).read_text())
    assert [known(reading) for reading in readings] == expected


def test_an_error_report_on_a_page_counts_when_it_changes() -> None:
    pages = [dcgm_page(DEV_XID_ERRORS=code, DEV_SM_CLOCK=clock) for code, clock in ((31, 1.0), (31, 2.0), (79, 3.0))]
    assert read(*pages[:2])[0].xid_codes is None  # of whatever time
    assert read(*pages)[0].xid_codes == "79"
    page = GpuPage()
    for number, text in enumerate(pages):
        page.put(text, 100.0 + number)
    assert [page.readings(102.0 + later, patience=3.0)[0].xid_codes for later in (0.0, 1.0)] == ["79", None]
    assert read(dcgm_page(DEV_XID_ERROR=0), dcgm_page(DEV_XID_ERROR=13))[0].xid_codes == "13"


def counted(*codes: int, last: int = 31) -> str:
    """A page of an exporter that counts the reports of its last minutes."""
    labels = [f',window_size_in_ms="300000",xid="{code}"}} {codes.count(code)}' for code in sorted(set(codes))]
    series = [f'DCGM_EXP_XID_ERRORS_COUNT{{gpu="0",UUID="{DCGM_GPU}"{rest}' for rest in labels or ["} 0"]]
    return "\n".join([dcgm_page(DEV_XID_ERRORS=last), *series, ""])


def test_an_error_report_that_repeats_is_new_where_the_exporter_counts_them() -> None:
    assert read(counted(31), counted(31, 31))[0].xid_codes == "31"
    assert read(counted(last=0), counted(31, 31, 79, last=79))[0].xid_codes == "31,31,79"
    assert read(counted(31, 31), counted(31))[0].xid_codes is None  # one of them is older than the minutes now
    assert read(counted(31, 31), counted())[0].xid_codes is None
    assert read(dcgm_page(DEV_XID_ERRORS=31), counted(31, 79, last=79))[0].xid_codes == "79"  # counted from now on
    assert read(counted(31), counted(31))[0].xid_codes is None


def test_reasons_for_throttling_stand_in_where_no_time_is_counted() -> None:
    (reading,) = read(dcgm_page(DEV_CLOCK_THROTTLE_REASONS=0x4 | 0x20))
    assert (reading.throttle_power_ratio, reading.throttle_thermal_ratio) == (1.0, 1.0)
    assert reading.throttle_hardware_ratio == 0.0


def test_the_names_of_dcgm_4_6_are_those_of_before() -> None:
    (reading,) = read(
        dcgm_page(
            DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS=400,
            DEV_GPU_TEMP_SLOWDOWN_CELSIUS=89,
            DEV_MEMORY_MAX_OP_TEMP_CELSIUS=95,
            DEV_ROW_REMAP_FAILED=1,
            DEV_ROW_REMAP_UNCORRECTABLE_TOTAL=2,
            DEV_GPU_PERSISTENCE_MODE=1,
        )
    )
    assert (reading.power_limit_watts, reading.temperature_limit_celsius) == (400.0, 89.0)
    assert (reading.memory_temperature_limit_celsius, reading.persistence_mode) == (95.0, 1.0)
    assert (reading.row_remap_failed, reading.remapped_rows_uncorrected) == (1.0, 2.0)
