"""The shipped Prometheus configuration and rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporters.families import families
from tests.patience import PATIENCE

FOLDER = Path(__file__).parent.parent / "deploy" / "prometheus"
RULES = FOLDER / "phasetop.rules.yml"

SHARES_OF_A_KNOWN_LOAD = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 15s
    input_series:
      - series: 'phasetop_engine_phase_seconds_total{{endpoint="e",engine="vllm",engine_index="0",phase="prefill"}}'
        values: '0+3x60'
      - series: 'phasetop_engine_phase_seconds_total{{endpoint="e",engine="vllm",engine_index="0",phase="decode"}}'
        values: '0+6x60'
      - series: 'phasetop_engine_phase_seconds_total{{endpoint="e",engine="vllm",engine_index="0",phase="idle"}}'
        values: '0+6x60'
      - series: 'phasetop_gpu_phase_seconds_total{{gpu="0",uuid="u",phase="prefill"}}'
        values: '0+0x60'
      - series: 'phasetop_gpu_phase_seconds_total{{gpu="0",uuid="u",phase="decode"}}'
        values: '0+0x60'
    promql_expr_test:
      - expr: endpoint_engine_index:phasetop_engine_prefill:share_rate5m * 3
        eval_time: 10m
        exp_samples:
          - labels: '{{endpoint="e",engine="vllm",engine_index="0"}}'
            value: 1
      - expr: endpoint_engine_index_phase:phasetop_engine_phase:ratio_rate5m{{phase="idle"}} * 5
        eval_time: 10m
        exp_samples:
          - labels: '{{endpoint="e",engine="vllm",engine_index="0",phase="idle"}}'
            value: 2
      - expr: gpu_uuid:phasetop_gpu_prefill:share_rate5m
        eval_time: 10m
        exp_samples: []
"""

TWO_NODES_SUMMED = """
rule_files: [{rules}]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="a",gpu="0",uuid="u0",phase="prefill"}}'
        values: '0+3x60'
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="a",gpu="0",uuid="u0",phase="decode"}}'
        values: '0+9x60'
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="a",gpu="0",uuid="u0",phase="idle"}}'
        values: '0+3x60'
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="a",gpu="1",uuid="u1",phase="prefill"}}'
        values: '0+3x60'
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="a",gpu="1",uuid="u1",phase="idle"}}'
        values: '0+12x60'
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="b",gpu="0",uuid="u2",phase="idle"}}'
        values: '0+15x60'
      - series: 'phasetop_gpu_phase_seconds_total{{job="phasetop",instance="b",gpu="0",uuid="u2",phase="prefill"}}'
        values: '0+0x60'
      - series: 'phasetop_host_bottleneck_seconds_total{{job="phasetop",instance="a",bottleneck="host"}}'
        values: '0+12x60'
      - series: 'phasetop_host_bottleneck_seconds_total{{job="phasetop",instance="a",bottleneck="power"}}'
        values: '0+0x60'
      - series: 'phasetop_host_bottleneck_seconds_total{{job="phasetop",instance="a",bottleneck="demand"}}'
        values: '0+3x60'
      - series: 'phasetop_host_phase_seconds_total{{job="phasetop",instance="a",phase="decode"}}'
        values: '0+6x60'
      - series: 'phasetop_host_phase_seconds_total{{job="phasetop",instance="a",phase="idle"}}'
        values: '0+9x60'
{gauges}
      - series: 'phasetop_engine_phase_tokens_total{{job="phasetop",instance="a",endpoint="e",phase="decode"}}'
        values: '0+1500x60'
      - series: 'phasetop_engine_phase_tokens_total{{job="phasetop",instance="a",endpoint="f",phase="decode"}}'
        values: '0+3000x60'
      - series: 'phasetop_engine_ttft_seconds_bucket{{job="phasetop",instance="a",endpoint="e",le="1.0"}}'
        values: '0+15x60'
      - series: 'phasetop_engine_ttft_seconds_bucket{{job="phasetop",instance="a",endpoint="e",le="2.0"}}'
        values: '0+30x60'
      - series: 'phasetop_engine_ttft_seconds_bucket{{job="phasetop",instance="a",endpoint="e",le="+Inf"}}'
        values: '0+30x60'
      - series: 'phasetop_engine_ttft_seconds_bucket{{job="phasetop",instance="b",endpoint="e",le="+Inf"}}'
        values: '0+0x60'
    promql_expr_test:
{expected}
"""
_A, _B = ('job="phasetop",instance="a"', 'job="phasetop",instance="b"')
GAUGES_OF_TWO_NODES = {
    # A GPU in two parts: they stand for it, and its memory counts once.
    f'phasetop_gpu_instances{{{_B},gpu="0",uuid="GPU-p"}}': 2,
    f'phasetop_gpu_sm_active_ratio{{{_B},gpu="0",uuid="GPU-p"}}': 1,
    f'phasetop_gpu_sm_active_ratio{{{_B},gpu="0",uuid="MIG-1"}}': 0.5,
    f'phasetop_gpu_sm_active_ratio{{{_B},gpu="0",uuid="MIG-2"}}': 0.25,
    f'phasetop_gpu_memory_used_bytes{{{_B},gpu="0",uuid="GPU-p"}}': 30,
    f'phasetop_gpu_memory_used_bytes{{{_B},gpu="0",uuid="MIG-1"}}': 20,
    f'phasetop_gpu_memory_used_bytes{{{_B},gpu="0",uuid="MIG-2"}}': 10,
    f'phasetop_gpu_sm_active_ratio{{{_A},gpu="0",uuid="u0"}}': 0.5,
    f'phasetop_gpu_sm_active_ratio{{{_A},gpu="1",uuid="u1"}}': 0.25,
    f'phasetop_gpu_power_watts{{{_A},gpu="0",uuid="u0"}}': 500,
    f'phasetop_gpu_power_watts{{{_A},gpu="1",uuid="u1"}}': 200,
    f'phasetop_gpu_temperature_celsius{{{_A},gpu="0",uuid="u0"}}': 50,
    f'phasetop_gpu_temperature_celsius{{{_A},gpu="1",uuid="u1"}}': 70,
    f'phasetop_gpu_state{{{_A},gpu="0",uuid="u0",state="ok"}}': 1,
    f'phasetop_gpu_state{{{_A},gpu="1",uuid="u1",state="ok"}}': 1,
    f'phasetop_gpu_state{{{_A},gpu="0",uuid="u0",state="lost"}}': 0,
    f'phasetop_gpu_state{{{_A},gpu="1",uuid="u1",state="lost"}}': 0,
    f'phasetop_engine_kv_cache_usage_ratio{{{_A},endpoint="e",engine="vllm",engine_index="0"}}': 0.25,
    f'phasetop_engine_kv_cache_usage_ratio{{{_A},endpoint="f",engine="vllm",engine_index="0"}}': 0.75,
    f'phasetop_engine_requests_waiting{{{_A},endpoint="e",engine="vllm",engine_index="0"}}': 3,
    f'phasetop_engine_requests_waiting{{{_A},endpoint="f",engine="vllm",engine_index="0"}}': 4,
}
EXPECTED_OF_TWO_NODES: dict[str, list[tuple[str, float]]] = {
    'instance_phase:phasetop_gpu_phase:ratio_rate5m{phase="idle"} * 2': [
        (f'{_A},phase="idle"', 1), (f'{_B},phase="idle"', 2)],
    "instance:phasetop_gpu_busy:ratio_rate5m * 2": [(_A, 1), (_B, 0)],
    "instance:phasetop_gpu_prefill:share_rate5m * 5": [(_A, 2)],
    'round(instance_phase:phasetop_host_phase:ratio_rate5m{phase="idle"} * 5)': [(f'{_A},phase="idle"', 3)],
    "round(instance_bottleneck:phasetop_host_bottleneck:ratio_rate5m * 5)": [
        (f'{_A},bottleneck="host"', 4), (f'{_A},bottleneck="demand"', 1)],
    "instance:phasetop_gpu_sm_active_ratio:avg * 8": [(_A, 3), (_B, 3)],
    "instance:phasetop_gpu_memory_used_bytes:sum * 1": [(_B, 30)],
    "instance:phasetop_gpu_power_watts:sum * 1": [(_A, 700)],
    "instance:phasetop_gpu_temperature_celsius:max * 1": [(_A, 70)],
    "instance_state:phasetop_gpu_state:sum * 1": [(f'{_A},state="ok"', 2), (f'{_A},state="lost"', 0)],
    "instance:phasetop_engine_kv_cache_usage_ratio:max * 4": [(_A, 3)],
    "instance:phasetop_engine_requests_waiting:sum * 1": [(_A, 7)],
    "instance_phase:phasetop_engine_phase_tokens:rate5m * 1": [(f'{_A},phase="decode"', 300)],
    'instance_quantile:phasetop_engine_ttft_seconds:histogram_quantile_rate5m{quantile="0.5"} * 1': [
        (f'{_A},quantile="0.5"', 1)],
}  # fmt: skip


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=2 * PATIENCE, check=False)


@pytest.mark.parametrize(("what", "file"), [("config", "prometheus.yml"), ("rules", "phasetop.rules.yml")])
def test_promtool_accepts_what_is_shipped(what, file):
    done = promtool("check", what, FOLDER / file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_rules_give_the_shares_of_a_known_load_and_none_where_nothing_was_busy(tmp_path):
    scenario = tmp_path / "shares.yml"
    scenario.write_text(SHARES_OF_A_KNOWN_LOAD.format(rules=RULES))
    done = promtool("test", "rules", scenario)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_is_the_sum_of_its_gpus_and_engines_and_its_latencies_are_theirs(tmp_path):
    gauges = "".join(
        f"      - {{series: '{name}', values: '{value}x60'}}\n" for name, value in GAUGES_OF_TWO_NODES.items()
    )
    expected = ""
    for query, samples in EXPECTED_OF_TWO_NODES.items():
        listed = ", ".join(f"{{labels: '{{{labels}}}', value: {value}}}" for labels, value in samples)
        expected += f"      - {{expr: '{query}', eval_time: 10m, exp_samples: [{listed}]}}\n"
    scenario = tmp_path / "nodes.yml"
    scenario.write_text(TWO_NODES_SUMMED.format(rules=RULES, gauges=gauges, expected=expected))
    done = promtool("test", "rules", scenario)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_recording_rule_is_explained():
    documented = (FOLDER.parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    recorded = re.findall(r"- record: (\S+)", RULES.read_text())
    assert recorded
    assert [name for name in dict.fromkeys(recorded) if f"`{name}`" not in documented] == []


def test_every_metric_in_the_rules_is_in_the_catalogue():
    expressions = re.sub(r"^\s*(#|- record:).*$", "", RULES.read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w:])phasetop_\w+", expressions))
    assert named
    assert named <= {name for one in families() for name in (one.sample, f"{one.name}_bucket")}
