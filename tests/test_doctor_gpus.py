from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collectors.gpu.pages import GpuPage
from collectors.gpu.sample import GpuSample
from collectors.readings import GpuReading
from dashboard.config import Config, Gpu
from dashboard.doctor.finding import Finding
from dashboard.doctor.gpu_pages import SeenPage, page_findings
from dashboard.doctor.gpus import examine, findings, is_restricted
from tests.gpu_pages import AMD_PAGE, dcgm_page
from tests.live_support import reply, serving
from tests.nvml_stub.support import stub_or_skip


def configured(nvml_library: Path) -> Config:
    return replace(Config(), gpu=Gpu(nvml_library=nvml_library, discover=False))


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
    driver, *gpus = examine(configured(nvml_library=stub.library))
    assert driver.level == "fine"
    assert [finding.level for finding in gpus] == ["fine", "fine"]


def test_a_library_that_is_not_there_ends_the_examination_at_once() -> None:
    library = Path("/nowhere/libnvidia-ml.so.1")
    assert [finding.level for finding in examine(configured(nvml_library=library))] == ["missing"]


def page(url: str = "http://127.0.0.1:9400/metrics", *texts: str) -> SeenPage:
    one = GpuPage()
    for second, text in enumerate(texts):
        one.put(text, float(second))
    return SeenPage(url, one, one.readings(float(len(texts) - 1), patience=2.0), changed=len(set(texts)) > 1)


def test_a_gpu_without_gpm_is_well_with_an_exporter_and_has_a_remedy_without() -> None:
    older = GpuReading(uuid="a", name="A100", source="nvml", kernel_active_ratio=0.5)
    note = "this GPU has no GPM (Hopper and newer have)"
    (_, alone) = found(older, a=note)
    assert (alone.level, alone.remedy is not None) == ("limited", True)
    assert "dcgm-exporter" in (alone.remedy or "")
    on_page = GpuReading(uuid="a", source="dcgm", tensor_active_ratio=0.2, dram_active_ratio=0.6)
    sample = GpuSample(1.0, 0.9, 1.0, (older,), notes={"a": note})
    _, helped = findings(sample, None, "550.54", restricted=False, on_pages=[on_page])
    assert helped.level == "fine"
    assert helped.text == f"GPU 0 A100: tensor activity, DRAM activity from NVIDIA dcgm-exporter; {note}"


def test_a_machine_without_nvidia_whose_gpus_are_on_a_page_lacks_nothing() -> None:
    on_page = GpuReading(uuid="AMD-1", name="MI300X", source="amd", compute_active_ratio=0.5)
    library, gpu = findings(None, "libnvidia-ml.so.1 not found", None, restricted=False, on_pages=[on_page])
    assert (library.level, library.remedy) == ("note", None)
    assert (gpu.level, "AMD device-metrics-exporter" in gpu.text) == ("limited", True)


def test_instances_are_told_after_the_gpu_they_are_of() -> None:
    gpu = GpuReading(uuid="a", name="H100", source="nvml", instances=1.0)
    part = GpuReading(uuid="MIG-1", name="H100 MIG 1g.10gb", source="gpm", parent="a", instance="9")
    driver, whole, own = found(gpu, part)
    assert driver.text.endswith("1 GPUs")
    assert (whole.level, own.level) == ("fine", "fine")
    assert "divided (MIG) into 1 instance," in whole.text


def test_what_the_driver_asks_for_is_told() -> None:
    assert found(GpuReading(uuid="a", source="gpm", recovery_action="gpu-reset"))[-1].text.endswith(
        "asks for gpu-reset"
    )
    assert len(found(GpuReading(uuid="a", source="gpm", recovery_action="none"))) == 2


def test_a_page_that_measures_seldom_and_without_profiling_says_how_to_get_more() -> None:
    fine, slow, profiling = page_findings([page("u", dcgm_page(profiling=False), dcgm_page(profiling=False))])
    assert (fine.level, slow.level, profiling.level) == ("fine", "limited", "limited")
    assert "DCGM_EXPORTER_INTERVAL=1000" in (slow.remedy or "")
    assert "DCGM_FI_PROF_DRAM_ACTIVE" in (profiling.remedy or "")


def test_a_page_with_profiling_lacks_only_the_field_that_is_commented_out() -> None:
    fine, missing = page_findings([page("u", dcgm_page(), dcgm_page(DEV_POWER_USAGE=1.0))])
    assert (fine.level, missing.level) == ("fine", "note")
    assert "DCGM_FI_PROF_SM_ACTIVE" in (missing.remedy or "")


def test_profiling_fields_without_values_point_to_permission() -> None:
    blank = 9223372036854775795
    text = dcgm_page(PROF_PIPE_TENSOR_ACTIVE=blank, PROF_DRAM_ACTIVE=blank)
    assert "CAP_SYS_ADMIN" in (list(page_findings([page("u", text, text + "#")]))[-1].remedy or "")


def test_configured_pages_are_read_and_a_refusal_is_told_with_its_remedy() -> None:
    with serving(reply(AMD_PAGE.encode())) as server:
        config = replace(Config(), gpu=Gpu(enabled=False, discover=False, pages=(server.url,)))
        told = list(examine(config))
    assert [finding.level for finding in told] == ["fine", "limited", "note", "limited"]
    with serving(reply(b"no", status="401 Unauthorized")) as server:
        config = replace(Config(), gpu=Gpu(enabled=False, discover=False, pages=(server.url,)))
        assert "token_files" in (next(iter(examine(config))).remedy or "")
