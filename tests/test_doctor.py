from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.config import Config, Record, load
from dashboard.doctor.engines import known_engines, page_findings
from dashboard.doctor.finding import Finding, document, lines
from dashboard.doctor.surroundings import configuration, pressure, recording, terminal

VLLM = """
vllm:prompt_tokens_total{engine="0",model_name="m"} 5
vllm:generation_tokens_total{engine="0",model_name="m"} 9
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 9
vllm:estimated_flops_per_gpu_total{engine="0",model_name="m"} FLOPS
vllm:estimated_read_bytes_per_gpu_total{engine="0",model_name="m"} FLOPS
"""
SGLANG = """
sglang:realtime_tokens_total{mode="decode",dp_rank="0",model_name="m"} 9
sglang:cuda_graph_passes_total{mode="decode",dp_rank="0",model_name="m"} 9
"""
SGLANG_TIMED = (
    SGLANG
    + """
sglang:forward_execution_seconds_total{category="extend",dp_rank="0",model_name="m"} 1.5
sglang:forward_execution_seconds_total{category="decode",dp_rank="0",model_name="m"} 2.5
"""
)
LLAMACPP = """
llamacpp:prompt_tokens_total 5
llamacpp:prompt_seconds_total 0.5
llamacpp:n_decode_total 9
llamacpp:n_busy_slots_per_decode 1
"""


def page(text: str) -> list[Finding]:
    return list(page_findings("http://e/metrics", text))


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        (VLLM.replace("FLOPS", "1e12"), "fine", "counts operations and bytes"),
        (VLLM.replace("FLOPS", "0"), "limited", "--enable-mfu-metrics"),
        (SGLANG, "limited", "SGLANG_ENABLE_METRICS_DEVICE_TIMER=1"),
        (SGLANG_TIMED, "fine", "counts its own seconds"),
        (LLAMACPP, "fine", "counts its own seconds"),
        ("some_other_total 1\n", "missing", "no engine that is known"),
        ("litellm_in_flight_requests 1\n", "missing", "a router, not an engine"),
        ("dynamo_frontend_output_tokens_total 1\n", "note", "a router"),
        ('trtllm_generation_tokens_total{engine_type="t"} 1\n', "limited", "counts nothing as it generates"),
    ],
)
def test_a_page_is_judged_by_what_it_counts(text: str, level: str, words: str) -> None:
    first = page(text)[0]
    assert first.level == level
    assert words in f"{first.text} {first.remedy}"


def test_llama_cpp_comes_with_a_warning_about_its_rate_gauges() -> None:
    assert [finding.level for finding in page(LLAMACPP)] == ["fine", "note"]
    assert "restart at every read" in page(LLAMACPP)[1].text


def test_each_rank_of_an_engine_is_judged() -> None:
    ranks = VLLM.replace("FLOPS", "0") + VLLM.replace("FLOPS", "1e12").replace('engine="0"', 'engine="1"')
    assert [(finding.level, "rank 1" in finding.text) for finding in page(ranks)] == [
        ("limited", False),
        ("fine", True),
    ]


def test_engines_that_are_understood_are_listed() -> None:
    assert {"vLLM", "SGLang", "llama.cpp"} <= set(known_engines().text.partition(": ")[2].split(", "))


def test_every_finding_is_one_line_with_its_remedy_and_the_ascii_form_is_ascii() -> None:
    findings = [Finding("gpu", "missing", "no library", "install the driver"), Finding("host", "fine", "all there")]
    assert list(lines(findings, ascii_only=False)) == [
        "✗ gpu       no library -> install the driver",
        "✓ host      all there",
    ]
    assert all(line.isascii() for line in lines(findings, ascii_only=True))
    assert document(findings)["findings"][1] == {"topic": "host", "level": "fine", "text": "all there", "remedy": None}


def test_missing_pressure_information_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    (absent,) = pressure(tmp_path / "pressure")
    assert (absent.level, absent.remedy) == ("limited", "boot with psi=1")
    for name in ("cpu", "memory", "io"):
        (tmp_path / name).write_text("some avg10=0.00\n")
    assert [finding.level for finding in pressure(tmp_path)] == ["fine"]


def recorded_in(directory: Path | None, byte_cap: int = 1) -> Finding:
    (finding,) = recording(replace(Config(), record=Record(directory=directory, byte_cap=byte_cap)))
    return finding


def test_the_recording_directory_is_tried_where_it_would_be_made(tmp_path: Path) -> None:
    assert recorded_in(None).level == "note"
    assert recorded_in(tmp_path / "not" / "yet").level == "fine"
    assert recorded_in(tmp_path, byte_cap=2**60).level == "limited"
    (tmp_path / "file").touch()
    assert recorded_in(tmp_path / "file" / "x").level == "missing"


def test_a_pipe_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert [finding.level for finding in terminal({})] == ["note"]


def test_the_configuration_files_that_count_are_named(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[tui]\nascii = true\n")
    assert [finding.text for finding in configuration(load(environment={}, files=(file,)))] == [f"{file} is read"]
    assert [finding.level for finding in configuration(load(environment={}, files=()))] == ["fine"]
