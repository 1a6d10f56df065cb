"""What nvidia-smi dmon and dcgmi dmon print, as intervals."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.dmon import DmonError, is_dmon, rounds
from collectors.importer import ImportFailed, import_intervals
from collectors.readings import GpuReading
from tests.zones import utc

__all__ = ["utc"]

WRITTEN = 1_790_000_000.0  # the moment the file was last written to
MIB = 2.0**20

SMI = """\
# gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk
# Idx      W      C      C      %      %      %      %      %      %    MHz    MHz
    0    251     47     52     97     45      0      0      0      0   2619   1755
    1     70     31      -      -      0      0      0      0      0   2619    345
# gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk
# Idx      W      C      C      %      %      %      %      %      %    MHz    MHz
    0    260     48     52    100     46      0      0      0      0   2619   1750
    1     71     31    N/A      3      0      0      0      0      0   2619    345
"""
SMI_DATED = """\
#Date       Time        gpu    sm   mem     fb  bar1  sbecc  dbecc  pviol  tviol  rxpci  txpci
#YYYYMMDD   HH:MM:SS    Idx     %     %     MB    MB   errs   errs      %   bool   MB/s   MB/s
 20260921   23:59:58      0    97    45  30000     4      2      0     31      0   1200    300
 20260921   23:59:59      0    50    20  30000     4      2      0      0      1      -    N/A
 20260922   00:00:00      0    10     5  30000     4      2      0      0      0      0      0
"""
SMI_TIMED = "\n".join(line[11:] if line[0] == " " else "#" + line[11:] for line in SMI_DATED.splitlines()) + "\n"
SMI_CSV = """\
#gpu, pwr, gtemp, mtemp, sm, mem, mclk, pclk
#Idx, W, C, C, %, %, MHz, MHz
0, 251, 47, -, 97, 45, 2619, 1755
1, 70, 31, -, 0, 0, 2619, 345
0, 252, 47, -, 99, 45, 2619, 1755
1, 71, 31, -, 0, 0, 2619, 345
"""
SMI_GPM = """\
# gpu   pwr  gtemp  mtemp    sm   mem   mclk   pclk  smutil  smocc  mmaact
# Idx     W      C      C     %     %    MHz    MHz   GPM:%  GPM:%   GPM:%
    0   360     55     56   100    16   1593   1410      83     27       7
"""
DCGMI = """\
#Entity   GRACT        SMACT        SMOCC        TENSO        DRAMA        PCITX        POWER     TOTEC       FBUSD
ID                                                                                              (mJ)
GPU 1     N/A          N/A          N/A          N/A          N/A          N/A          70.1      1000        2
GPU 0     N/A          N/A          N/A          N/A          N/A          N/A          260.5     5000        30000
GPU 1     0.000        0.000        0.000        0.000        0.000        12345        70.2      71000       2
GPU 0     0.984        0.930        0.270        0.071        0.752        98765        261.5     266000      30000
"""
DCGMI_OLD = """\
# Entity       1002         1005
      Id
       GPU 0   0.930        0.752
"""


def saved(path: Path, text: str, *, compress: bool = False) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    os.utime(path, (WRITTEN, WRITTEN))
    return path


def by_index(gpus: dict[str, GpuReading]) -> dict[int, GpuReading]:
    return {gpu.index: gpu for gpu in gpus.values()}


def newest(path: Path) -> dict[int, GpuReading]:
    made = list(import_intervals([path]))
    return by_index(dict(made[-1].gpus))


def test_sm_and_mem_of_nvidia_smi_are_kernel_active_and_memory_active(tmp_path: Path) -> None:
    first, second = (newest(saved(tmp_path / "dmon.txt", SMI))[index] for index in (0, 1))
    assert (first.kernel_active_ratio, first.memory_active_ratio) == (1.0, 0.46)
    assert first.sm_active_ratio is first.dram_active_ratio is None
    assert (first.power_watts, first.temperature_celsius, first.memory_temperature_celsius) == (260.0, 48.0, 52.0)
    assert (first.sm_clock_hertz, first.memory_clock_hertz) == (1750e6, 2619e6)
    assert (first.source, first.uuid) == ("nvml", "index 0")
    assert second.memory_temperature_celsius is None
    assert second.kernel_active_ratio == 0.03


def test_without_times_the_rounds_end_when_the_file_was_written(tmp_path: Path) -> None:
    made = list(import_intervals([saved(tmp_path / "dmon.txt", SMI)]))
    assert [interval.end / 1e9 for interval in made] == [WRITTEN, WRITTEN + 1]
    slower = list(import_intervals([tmp_path / "dmon.txt"], dmon_delay=5.0))
    assert len(slower) == 6


def test_dates_and_times_are_local_and_go_over_midnight(tmp_path: Path) -> None:
    made = list(import_intervals([saved(tmp_path / "dmon.txt", SMI_DATED)]))
    assert [interval.start / 1e9 for interval in made] == [1_790_035_198.0, 1_790_035_199.0, 1_790_035_200.0]
    first, second, _ = (by_index(dict(interval.gpus))[0] for interval in made)
    assert (first.memory_used_bytes, first.ecc_corrected_errors) == (30000 * MIB, 2.0)
    assert (first.throttle_power_ratio, second.throttle_thermal_ratio) == (0.31, 1.0)
    assert (first.pcie_rx_bytes_per_second, first.pcie_tx_bytes_per_second) == (1.2e9, 3e8)
    assert second.pcie_rx_bytes_per_second is second.pcie_tx_bytes_per_second is None


def test_times_without_a_date_are_of_the_day_the_file_was_written(tmp_path: Path) -> None:
    path = saved(tmp_path / "dmon.txt", SMI_TIMED)
    os.utime(path, (1_790_035_201.0, 1_790_035_201.0))
    assert [interval.start / 1e9 for interval in import_intervals([path])] == [
        1_790_035_198.0, 1_790_035_199.0, 1_790_035_200.0,
    ]  # fmt: skip


def test_shares_of_processes_are_not_taken_for_a_gpus(tmp_path: Path) -> None:
    pmon = "# gpu        pid  type    sm   mem   command\n# Idx          #   C/G     %     %   name\n"
    path = saved(tmp_path / "pmon.txt", pmon + "    0       1234     C    55    22   python\n")
    with pytest.raises(ImportFailed, match="no row of a GPU under a header"):
        list(import_intervals([path]))


def test_csv_is_read_as_the_table_is(tmp_path: Path) -> None:
    first = newest(saved(tmp_path / "dmon.csv.gz", SMI_CSV, compress=True))[0]
    assert (first.kernel_active_ratio, first.power_watts, first.memory_temperature_celsius) == (0.99, 252.0, None)


def test_a_header_that_has_lost_its_mark_is_still_one(tmp_path: Path) -> None:
    text = "time,gpu,pwr,sm\nHH:MM:SS,Idx,W,%\n10:00:00,0,251,97\n10:00:01,0,252,99\n"
    made = list(import_intervals([saved(tmp_path / "dmon.csv", text)], warn=pytest.fail))
    assert [by_index(dict(one.gpus))[0].power_watts for one in made] == [251.0, 252.0]


def test_gpm_columns_are_what_they_say(tmp_path: Path) -> None:
    gpu = newest(saved(tmp_path / "dmon.txt", SMI_GPM))[0]
    assert (gpu.sm_active_ratio, gpu.occupancy_ratio, gpu.tensor_active_ratio) == (0.83, 0.27, 0.07)
    assert (gpu.kernel_active_ratio, gpu.source) == (1.0, "gpm")


def test_dcgmi_gives_activity_and_energy_as_it_grows(tmp_path: Path) -> None:
    made = list(import_intervals([saved(tmp_path / "dcgmi.txt", DCGMI)]))
    before, after = (by_index(dict(interval.gpus))[0] for interval in made)
    assert before.sm_active_ratio is before.energy_joules is None
    assert (after.sm_active_ratio, after.tensor_active_ratio, after.dram_active_ratio) == (0.93, 0.071, 0.752)
    assert (after.compute_active_ratio, after.occupancy_ratio, after.kernel_active_ratio) == (0.984, 0.27, None)
    assert (after.energy_joules, after.window_seconds, after.memory_used_bytes) == (261.0, 1.0, 30000 * MIB)
    assert (after.pcie_tx_bytes_per_second, after.source) == (98765.0, "dcgm")


def test_an_old_header_of_dcgmi_with_the_numbers_of_fields(tmp_path: Path) -> None:
    gpu = newest(saved(tmp_path / "dcgmi.txt", DCGMI_OLD))[0]
    assert (gpu.sm_active_ratio, gpu.dram_active_ratio) == (0.93, 0.752)


def test_what_dcgm_says_for_no_value_is_missing(tmp_path: Path) -> None:
    text = "#Entity   SMACT   FBUSD   POWER\nID\nGPU 0   1.7   9223372036854775794   1e9\n"
    gpu = newest(saved(tmp_path / "dcgmi.txt", text))[0]
    assert gpu.sm_active_ratio is gpu.memory_used_bytes is gpu.power_watts is None


def test_several_rounds_of_an_interval_are_averaged(tmp_path: Path) -> None:
    text = "#Entity   DRAMA   TMPTR\nID\n" + "".join(
        f"GPU 0   {share}   {60 + number}\n" for number, share in enumerate((0.2, 0.4, 0.6, 0.8))
    )
    made = list(import_intervals([saved(tmp_path / "dcgmi.txt", text)], dmon_delay=0.25))
    gpu = by_index(dict(made[0].gpus))[0]
    assert gpu.dram_active_ratio == pytest.approx(0.4)  # the fourth comes at the edge, and counts for the next one
    assert gpu.temperature_celsius == 62.0


def test_instances_stand_for_themselves_where_no_whole_gpu_is_listed(tmp_path: Path) -> None:
    text = "#Entity   DRAMA\nID\nGPU-I 0   0.5\nGPU-I 1   0.25\nGPU-CI 0   0.9\n"
    gpus = newest(saved(tmp_path / "dcgmi.txt", text))
    assert [gpus[index].uuid for index in (0, 1)] == ["instance 0", "instance 1"]
    assert gpus[0].dram_active_ratio == 0.5


def test_rows_that_fit_no_header_are_told_and_passed_over(tmp_path: Path) -> None:
    told: list[str] = []
    path = saved(tmp_path / "dmon.txt", SMI + "    0    1\n")
    assert len(list(import_intervals([path], warn=told.append))) == 2
    assert told == [f"{path}:9: not a row of dmon (2 values under 12 columns); passed over"]


def test_a_header_alone_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="save the output of `dmon` with its headers"):
        list(import_intervals([saved(tmp_path / "dmon.txt", SMI.split("\n", maxsplit=1)[0] + "\n")]))


def test_a_page_is_not_taken_for_a_table() -> None:
    assert not is_dmon('{"t": 1, "text": "gpu"}')
    assert not is_dmon("# HELP gpu_clock of a gpu")


@given(st.text(alphabet="# gpuGPUsmIdx0123456789,-./NA\n\t", max_size=300))
def test_any_text_is_rounds_or_a_reason(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = saved(Path(directory) / "dmon.txt", text)
        try:
            found = list(rounds(path, lambda: path.open(encoding="utf-8")))
        except DmonError:
            return
        assert all(one.rows for one in found)
