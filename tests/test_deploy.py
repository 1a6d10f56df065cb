"""What is shipped to run phasetop with: dashboards, alerts, the service, the manifests."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from exporters.families import families

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "phasetop.alerts.yml"
_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")

NOTHING_WRONG_THEN_ALL_OF_IT = """
rule_files: [{alerts}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'up{{job="phasetop",instance="a"}}'
        values: '1x30 0x30'
      - series: 'phasetop_gpu_state{{instance="a",gpu="3",uuid="u",state="lost"}}'
        values: '0x30 1x30'
      - series: 'phasetop_engine_state{{instance="a",endpoint="e",engine="vllm",engine_index="0",state="down"}}'
        values: '0x30 1x30'
      - series: 'phasetop_collector_success{{instance="a",collector="engine",endpoint="e"}}'
        values: '1x30 0x30'
      - series: 'phasetop_settled_timestamp_seconds{{instance="a"}}'
        values: '0+60x30 1800x30'
      - series: 'phasetop_gpu_throttle_thermal_ratio{{instance="a",gpu="3",uuid="u"}}'
        values: '0x30 0.5x30'
      - series: 'phasetop_engine_bottleneck_seconds_total{{instance="a",endpoint="e",bottleneck="kv-capacity"}}'
        values: '0x30 0+50x30'
      - series: 'phasetop_engine_bottleneck_seconds_total{{instance="a",endpoint="e",bottleneck="demand"}}'
        values: '0+60x30 1800+10x30'
      - series: 'phasetop_host_bottleneck_seconds_total{{instance="a",bottleneck="host"}}'
        values: '0x30 0+30x30'
      - series: 'phasetop_host_bottleneck_seconds_total{{instance="a",bottleneck="power"}}'
        values: '0+0x30 0+35x30'
      - series: 'phasetop_host_bottleneck_seconds_total{{instance="a",bottleneck="demand"}}'
        values: '0+60x30 1800+1x30'
      - series: 'phasetop_gpu_xid_last_timestamp_seconds{{instance="a",gpu="3",uuid="u",xid="79"}}'
        values: '_x57 3420x3'
    alert_rule_test:
{quiet}
{loud}
"""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dashboards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


MAKE = load(DEPLOY / "grafana" / "make.py")
DASHBOARDS: dict[str, dict[str, Any]] = MAKE.dashboards()


def metric_names() -> set[str]:
    names = set()
    for family in families():
        names.add(family.sample)
        if family.kind == "histogram":
            names |= {family.name + suffix for suffix in _OF_HISTOGRAMS}
    return names


def queries(made: dict[str, Any]) -> list[str]:
    found = [target["expr"] for panel in made["panels"] for target in panel.get("targets", ())]
    return [*found, *(one["query"]["query"] for one in made["templating"]["list"] if isinstance(one["query"], dict))]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboards_are_what_their_list_of_panels_makes(name: str) -> None:
    stored = (DEPLOY / "grafana" / name).read_text(encoding="utf-8")
    assert stored == MAKE.text(DASHBOARDS[name]), "run python deploy/grafana/make.py"
    made = json.loads(stored)
    assert made["id"] is None
    numbers = [panel["id"] for panel in made["panels"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_two_panels_lie_on_each_other_and_none_leaves_the_page(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_metric_of_a_dashboard_is_in_the_catalogue(name: str) -> None:
    for query in queries(DASHBOARDS[name]):
        named = set(re.findall(r"\bphasetop_\w+", query))
        assert named, query
        assert named <= metric_names(), query


@pytest.mark.parametrize("name", DASHBOARDS)
def test_prometheus_can_parse_every_query_of_a_dashboard(name: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    rules = []
    for number, query in enumerate(queries(DASHBOARDS[name])):
        if query.startswith("label_values("):
            continue
        plain = query.replace("$__rate_interval", "5m").replace("$price", "2.5")
        rules.append({"record": f"query:number{number}", "expr": plain})
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_an_alert_is_in_the_catalogue() -> None:
    named = set(re.findall(r"\bphasetop_\w+", ALERTS.read_text()))
    assert named
    assert named <= metric_names()


def alert_names() -> list[str]:
    return re.findall(r"- alert: (\w+)", ALERTS.read_text())


def test_every_alert_stays_silent_while_nothing_is_wrong_and_fires_when_its_fault_lasts(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    names = alert_names()
    quiet = "".join(f"      - {{eval_time: 29m, alertname: {name}, exp_alerts: []}}\n" for name in names)
    scenario = tmp_path / "alerts.yml"
    scenario.write_text(NOTHING_WRONG_THEN_ALL_OF_IT.format(alerts=ALERTS, quiet=quiet, loud=""))
    done = subprocess.run([promtool, "test", "rules", str(scenario)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        scenario.write_text(
            NOTHING_WRONG_THEN_ALL_OF_IT.format(
                alerts=ALERTS, quiet="", loud=f"      - {{eval_time: 60m, alertname: {name}, exp_alerts: []}}\n"
            )
        )
        done = subprocess.run([promtool, "test", "rules", str(scenario)], capture_output=True, text=True, check=False)
        assert done.returncode != 0, f"{name} never fires"
        assert f'alertname="{name}"' in done.stdout + done.stderr


def test_every_alert_says_what_it_is_and_what_to_look_at() -> None:
    blocks = ALERTS.read_text().split("- alert: ")[1:]
    for block in blocks:
        assert re.search(r"^\s+severity: (info|warning|critical)$", block, re.MULTILINE), block
        assert "summary:" in block
        assert "description:" in block
    documented = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in alert_names():
        assert f"`{name}`" in documented


def test_the_service_is_a_guest_with_a_directory_of_its_own() -> None:
    text = (DEPLOY / "systemd" / "phasetop.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["User"] == settings["Group"] == "phasetop"
    assert (settings["StateDirectory"], settings["StateDirectoryMode"]) == ("phasetop", "0750")
    assert settings["ExecStart"] == "/opt/phasetop/bin/phasetop export --record /var/lib/phasetop"
    assert settings["ProtectSystem"] == "strict"


def test_systemd_understands_every_line_of_the_service(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "systemd" / "phasetop.service").read_text().replace("/opt/phasetop/bin/phasetop", "/bin/true")
    path = tmp_path / "phasetop.service"
    path.write_text(unit)
    done = subprocess.run([verify, "verify", str(path)], capture_output=True, text=True, check=False)
    assert "phasetop.service" not in done.stderr, done.stderr


def test_the_configuration_in_the_manifests_is_one_that_phasetop_takes(tmp_path: Path) -> None:
    from dashboard.config import load as load_config

    text = (DEPLOY / "kubernetes" / "phasetop.yaml").read_text()
    block = re.search(r"config\.toml: \|\n((?:    .*\n)+)", text)
    assert block is not None
    inner = "\n".join(line.removeprefix("    ") for line in block[1].splitlines())
    assert tomllib.loads(inner)
    path = tmp_path / "config.toml"
    path.write_text(inner)
    loaded = load_config(environment={}, config_file=path, flags={})
    assert loaded.config.server.listen
