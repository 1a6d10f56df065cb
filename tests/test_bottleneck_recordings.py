"""Bottlenecks of real recordings, and predicted effects beside simulated ones; docs/bottlenecks.md has the figures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.bottlenecks.__main__ import EXPECTED, judge_run, table
from benchmarks.bottlenecks.levers import outcomes
from benchmarks.bottlenecks.recordings import runs
from benchmarks.phasebench.tables import KernelTables

ROOT = os.environ.get("PHASETOP_TEST_DATA")
DATA = Path(ROOT or "", "data")
LONG = {"vllm_memory_gap_h100/llama-2-13b/bs2", "vllm_memory_gap_h100/llama-2-13b/bs8"}
"""Hours of the same decode as in bs32; the benchmark has them."""

needs_data = pytest.mark.skipif(not ROOT, reason="PHASETOP_TEST_DATA is not set: no recordings here")


@needs_data
def test_the_bottlenecks_of_real_runs_are_named_right() -> None:
    rows = {run.name: judge_run(run) for run in runs(DATA) if run.name not in LONG}
    assert {name for name in EXPECTED if name not in LONG} <= set(rows)
    wrong = [(row.run, row.verdict.name) for row in rows.values() if row.is_right is False]
    assert wrong == []
    kept_out = {name.rsplit("/", 1)[1]: row.verdict.admission for name, row in rows.items()}
    assert kept_out["bs256"] == kept_out["opt-1.3b_256__4"] == "kv-capacity"
    assert kept_out["bs32"] == kept_out["bs16"] == kept_out["opt-1.3b_256__1"] == "scheduler"
    assert kept_out["c16"] is None


@needs_data
def test_predicted_effects_come_true_in_a_simulation() -> None:
    kernels = KernelTables(next(path.parent for path in sorted(DATA.rglob("attention.csv"))))
    lines = next(iter(sorted(DATA.rglob("requests.jsonl")))).read_text().splitlines()
    lengths = [(int(row["input_toks"]), int(row["output_toks"])) for row in map(json.loads, lines)]
    found = {one.lever: one for one in outcomes(kernels, lengths, 260.0, 5, levers=("batch 32", "host gap"))}
    assert len(found) == 2
    for one in found.values():
        assert abs(one.error) < 0.08
        assert one.predicted_gain == pytest.approx(one.simulated_gain, abs=0.10)


RECORDED = (
    "time [s],num_requests_running,num_requests_waiting,gpu_cache_usage_perc,num_preemptions_total,"
    "prompt_tokens_total,generation_tokens_total\n"
)
SMI = """\
time,gpu,pwr,gtemp,mtemp,sm,mem,mclk,pclk,pviol,tviol,rxpci,txpci
s,Idx,W,C,C,%,%,MHz,MHz,%,bool,MB/s,MB/s
"""


def test_a_recording_is_found_by_its_form_and_tells_no_more_than_it_holds(tmp_path: Path) -> None:
    directory = tmp_path / "somewhere" / "bs4"
    directory.mkdir(parents=True)
    engine = "".join(f"{second}.0,4,7,0.5,0,{60 * second},{40 * second}\n" for second in range(40))
    hardware = "".join(f"{second}.0,0,300,50,60,60,50,1593,1980,0,0,-,-\n" for second in range(40))
    (directory / "metrics_engine_server_0.csv").write_text(RECORDED + engine)
    (directory / "metrics_gpu_device_nvidia_smi_dom_0_server_0.csv").write_text(SMI + hardware)
    (run,) = runs(tmp_path)
    first = next(run.intervals())
    (reading,), (card,) = first.engines.values(), first.gpus.values()
    assert (run.name, reading.requests_limit, reading.generation_tokens) == ("somewhere/bs4", 4.0, 40.0)
    assert (card.kernel_active_ratio, card.dram_active_ratio, card.pcie_rx_bytes_per_second) == (0.6, None, None)
    row = judge_run(run)
    assert (row.verdict.name, row.verdict.admission, row.is_right) == ("host", "scheduler", None)
    assert "| somewhere/bs4 |" in table([row])


def test_a_directory_without_recordings_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recording of a known form"):
        runs(tmp_path)
