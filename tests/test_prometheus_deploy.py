"""The shipped Prometheus configuration and rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporters.families import families

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


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=30, check=False)


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


def test_every_metric_in_the_rules_is_in_the_catalogue():
    expressions = re.sub(r"^\s*(#|- record:).*$", "", RULES.read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"\bphasetop_\w+", expressions))
    assert named
    assert named <= {family.sample for family in families()}
