from __future__ import annotations

from pathlib import Path

import pytest

from collectors.gpu.sample import GpuSample
from collectors.readings import GpuReading
from dashboard.doctor.finding import Finding
from dashboard.doctor.gpus import examine, findings, is_restricted
from tests.nvml_stub.support import stub_or_skip


def found(*readings: GpuReading, restricted: bool = False, **notes: str) -> list[Finding]:
    sample = GpuSample(1.0, 0.9, 1.0, readings, notes=notes)
    return list(findings(sample, None, "550.54", restricted=restricted))


def test_a_missing_library_is_told_with_both_things_it_may_mean() -> None:
    (finding,) = findings(None, "libnvidia-ml.so.1 not found", None, restricted=False)
    assert (finding.level, finding.text) == ("missing", "libnvidia-ml.so.1 not found")
    assert finding.remedy is not None
    assert "install the driver" in finding.remedy


def test_silence_is_told_as_silence() -> None:
    (finding,) = findings(None, None, None, restricted=False)
    assert finding.text == "NVML has not answered within 10 s"


def test_each_gpu_is_judged_by_where_its_figures_come_from() -> None:
    hopper = GpuReading(uuid="a", index=0, name="H100", source="gpm")
    older = GpuReading(uuid="b", index=1, name="A100", source="nvml")
    lost = GpuReading(uuid="c", index=2, name="H100", state="lost")
    driver, *gpus = found(hopper, older, lost, b="this GPU has no GPM", c="fallen off the bus")
    assert driver.text == "NVIDIA driver 550.54, 3 GPUs"
    assert [finding.level for finding in gpus] == ["fine", "limited", "missing"]
    assert gpus[1].text.endswith("only: this GPU has no GPM")
    assert gpus[2].text == "GPU 2 H100: lost, fallen off the bus"


def test_a_gpu_that_never_opened_is_told() -> None:
    sample = GpuSample(1.0, 0.9, 1.0, (), notes={"index 3": "no permission to open this GPU"})
    assert [one.text for one in findings(sample, None, None, restricted=False)][1] == (
        "GPU 3: no permission to open this GPU"
    )


def test_restricted_profiling_is_told_only_where_gpm_is_lacking() -> None:
    gpm = GpuReading(uuid="a", source="gpm")
    plain = GpuReading(uuid="a", source="nvml")
    assert "RmProfilingAdminOnly" not in " ".join(one.text for one in found(gpm, restricted=True))
    assert "RmProfilingAdminOnly" in found(plain, restricted=True)[-1].text


def test_restriction_is_read_from_the_drivers_parameters(tmp_path: Path) -> None:
    parameters = tmp_path / "params"
    assert not is_restricted(parameters)
    parameters.write_text("EnableMSI: 1\nRmProfilingAdminOnly: 1\n")
    assert is_restricted(parameters)
    parameters.write_text("RmProfilingAdminOnly: 0\n")
    assert not is_restricted(parameters)


def test_a_real_reader_of_the_stand_in_library_finds_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = stub_or_skip(tmp_path)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    stub.script("gpus 2", "stage 1000000 sm=0.8 tensor=0.2 dram=0.6")
    driver, *gpus = examine(stub.library)
    assert driver.level == "fine"
    assert [finding.level for finding in gpus] == ["fine", "fine"]


def test_a_library_that_is_not_there_ends_the_examination_at_once() -> None:
    assert [finding.level for finding in examine(Path("/nowhere/libnvidia-ml.so.1"))] == ["missing"]
