"""Writes the Grafana dashboards beside this file: `python deploy/grafana/make.py`.

Panels are listed here with their queries; a test holds the JSON against this list, and every metric
in it against the exporter's catalogue. Durations are `$__rate_interval`, so that any scrape interval
gives true rates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RATE = "[$__rate_interval]"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLORS: Mapping[str, str] = {
    "prefill": "#E69F00", "decode": "#56B4E9", "idle": "#8A8F98", "waiting": "#B8BDC6", "unknown": "#4B4F57",
}  # fmt: skip
"""The colours the phases have on phasetop's own screens."""
BOTTLENECKS: Mapping[str, str] = {
    "compute": "#E69F00", "memory-bandwidth": "#56B4E9", "kv-capacity": "#CC79A7", "scheduler": "#D9A6C2",
    "host": "#009E73", "network": "#0072B2", "power": "#D55E00", "demand": "#8A8F98", "unknown": "#4B4F57",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One panel: `queries` are (expression, legend); `width` is in 24ths of the page."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "none"
    width: int = 12
    height: int = 8
    kind: str = "timeseries"
    stacked: bool = False
    colors: Mapping[str, str] | None = None
    description: str = ""
    most: float | None = None
    columns: Mapping[str, str] | None = None
    """Of a table: query letter or label -> heading; queries are then instant."""


Row = tuple[str, Sequence[Panel]]


def phases(scope: str, match: str, by: str = "") -> list[tuple[str, str]]:
    family = f"phasetop_{scope}_phase_seconds_total{{{match}}}"
    return [(f"sum by (phase{by}) (rate({family}{RATE}))", "{{phase}}")]


def quantiles(field: str, match: str) -> list[tuple[str, str]]:
    rate = f"sum by (le) (rate(phasetop_engine_{field}_seconds_bucket{{{match}}}{RATE}))"
    return [(f"histogram_quantile({q}, {rate})", f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def share(scope: str, match: str, by: str) -> str:
    """Prefill seconds per busy second."""
    family = f"phasetop_{scope}_phase_seconds_total"
    top = f'sum by ({by}) (rate({family}{{{match},phase="prefill"}}{RATE}))'
    return f'{top} / (sum by ({by}) (rate({family}{{{match},phase=~"prefill|decode"}}{RATE})) > 0)'


def node() -> list[Row]:
    here = 'job=~"$job",instance=~"$instance"'
    gpu = f'{here},gpu=~"$gpu"'
    tokens = f"rate(phasetop_engine_phase_tokens_total{{{here}}}{RATE})"
    flops = f"phasetop_gpu_tensor_active_ratio{{{gpu}}} * phasetop_gpu_tensor_peak_flops_per_second{{{gpu}}}"
    bytes_ = f"phasetop_gpu_dram_active_ratio{{{gpu}}} * phasetop_gpu_dram_peak_bytes_per_second{{{gpu}}}"
    bottleneck = f"rate(phasetop_host_bottleneck_seconds_total{{{here}}}{RATE})"
    cost = f"$price * count(phasetop_gpu_info{{{here}}}) / 3600 / sum(rate(phasetop_engine_phase_tokens_total"
    return [
        ("What the time goes into", [
            Panel("Phase", phases("host", here), "percentunit", 24, 7, stacked=True, colors=COLORS, most=1.0,
                  description="Seconds of each phase per second: counters of settled time, exact at any interval."),
            Panel("Bottleneck", [(f"sum by (bottleneck) ({bottleneck})", "{{bottleneck}}")], "percentunit", 24, 7,
                  stacked=True, colors=BOTTLENECKS, most=1.0),
            Panel("Prefill share of busy time, by GPU", [(share("gpu", gpu, "gpu"), "GPU {{gpu}}")], "percentunit",
                  most=1.0),
            Panel("Prefill share of busy time, by engine",
                  [(share("engine", here, "endpoint,engine_index"), "{{endpoint}} {{engine_index}}")], "percentunit",
                  most=1.0),
        ]),
        ("Engines", [
            Panel("Tokens", [(f'sum by (phase) ({tokens})', "{{phase}}")], "tokens/s", 8, colors=COLORS),
            Panel("Requests", [
                (f"sum(phasetop_engine_requests_running{{{here}}})", "running"),
                (f"sum(phasetop_engine_requests_waiting{{{here}}})", "waiting"),
            ], "short", 8),
            Panel("KV cache in use",
                  [(f"phasetop_engine_kv_cache_usage_ratio{{{here}}}", "{{endpoint}} {{engine_index}}")],
                  "percentunit", 8, most=1.0),
            Panel("Time to first token", quantiles("ttft", here), "s", 8),
            Panel("Time per output token", quantiles("tpot", here), "s", 8),
            Panel("Time in the queue", quantiles("queue", here), "s", 8),
            Panel("Preemptions", [(f"sum(rate(phasetop_engine_preemptions_total{{{here}}}{RATE}))", "preempted")],
                  "reqps", 8),
            Panel("Prefix cache hits", [(
                f"sum(rate(phasetop_engine_prefix_cache_hits_total{{{here}}}{RATE})) "
                f"/ sum(rate(phasetop_engine_prefix_cache_queries_total{{{here}}}{RATE}))", "hits")],
                "percentunit", 8, most=1.0),
            Panel("Requests that failed or were turned away", [
                (f"sum(rate(phasetop_engine_requests_failed_total{{{here}}}{RATE}))", "failed"),
                (f"sum(rate(phasetop_engine_requests_rejected_total{{{here}}}{RATE}))", "rejected"),
                (f"sum(rate(phasetop_engine_requests_aborted_total{{{here}}}{RATE}))", "aborted"),
            ], "reqps", 8),
        ]),
        ("GPUs", [
            Panel("SM active", [(f"phasetop_gpu_sm_active_ratio{{{gpu}}}", "GPU {{gpu}}")], "percentunit", 8, most=1.0),
            Panel("Tensor active", [(f"phasetop_gpu_tensor_active_ratio{{{gpu}}}", "GPU {{gpu}}")], "percentunit", 8,
                  most=1.0),
            Panel("DRAM active", [(f"phasetop_gpu_dram_active_ratio{{{gpu}}}", "GPU {{gpu}}")], "percentunit", 8,
                  most=1.0),
            Panel("Memory in use", [(
                f"phasetop_gpu_memory_used_bytes{{{gpu}}} / phasetop_gpu_memory_total_bytes{{{gpu}}}", "GPU {{gpu}}")],
                "percentunit", 8, most=1.0),
            Panel("Power", [
                (f"phasetop_gpu_power_watts{{{gpu}}}", "GPU {{gpu}}"),
                (f"max(phasetop_gpu_power_limit_watts{{{gpu}}})", "limit"),
            ], "watt", 8),
            Panel("Held down by power, heat or hardware", [
                (f"phasetop_gpu_throttle_power_ratio{{{gpu}}}", "GPU {{gpu}} power"),
                (f"phasetop_gpu_throttle_thermal_ratio{{{gpu}}}", "GPU {{gpu}} heat"),
                (f"phasetop_gpu_throttle_hardware_ratio{{{gpu}}}", "GPU {{gpu}} hardware"),
            ], "percentunit", 8, most=1.0),
            Panel("SM clock", [(f"phasetop_gpu_sm_clock_hertz{{{gpu}}}", "GPU {{gpu}}")], "hertz", 8),
            Panel("Temperature", [(f"phasetop_gpu_temperature_celsius{{{gpu}}}", "GPU {{gpu}}")], "celsius", 8),
            Panel("NVLink and PCIe", [
                (f"sum(phasetop_gpu_nvlink_tx_bytes_per_second{{{gpu}}})", "NVLink sent"),
                (f"sum(phasetop_gpu_nvlink_rx_bytes_per_second{{{gpu}}})", "NVLink received"),
                (f"sum(phasetop_gpu_pcie_tx_bytes_per_second{{{gpu}}})", "PCIe sent"),
                (f"sum(phasetop_gpu_pcie_rx_bytes_per_second{{{gpu}}})", "PCIe received"),
            ], "Bps", 8),
        ]),
        ("Roofline and cost", [
            Panel("Achieved tensor rate", [(flops, "GPU {{gpu}}")], "flops", 8,
                  description="Tensor activity times the dense BF16 peak."),
            Panel("Achieved DRAM bandwidth", [(bytes_, "GPU {{gpu}}")], "Bps", 8,
                  description="DRAM activity times the theoretical bandwidth."),
            Panel("Arithmetic intensity", [(f"({flops}) / (({bytes_}) > 0)", "GPU {{gpu}}")], "short", 8,
                  description="Operations per byte; below the ridge (peak rate by bandwidth) memory is the limit."),
            Panel("Energy per token", [(
                f"sum by (phase) (rate(phasetop_engine_phase_joules_total{{{here}}}{RATE})) "
                f"/ (sum by (phase) ({tokens}) > 0)", "{{phase}}")], "joule", 8, colors=COLORS,
                description="Of GPUs that an engine has to itself; joules split as the seconds of each interval."),
            Panel("Cost of a million generated tokens", [(f'{cost}{{{here},phase="decode"}}{RATE})) * 1e6', "cost")],
                  "short", 8, description="At the price of a GPU hour above; all of it borne by generated tokens."),
            Panel("Power of all GPUs", [(f"sum(phasetop_gpu_power_watts{{{here}}})", "power")], "watt", 8),
        ]),
        ("Host and health", [
            Panel("CPU", [(f"phasetop_host_cpu_ratio{{{here}}}", "busy")], "percentunit", 8, most=1.0),
            Panel("Error reports of the driver (XID)",
                  [(f"sum by (gpu, xid) (increase(phasetop_gpu_xid_errors_total{{{here}}}{RATE}))",
                    "GPU {{gpu}} XID {{xid}}")], "short", 8),
            Panel("Sources that fail", [
                (f"1 - phasetop_collector_success{{{here}}}", "{{collector}} {{endpoint}}"),
            ], "short", 8, most=1.0),
        ]),
    ]  # fmt: skip


def fleet() -> list[Row]:
    all_ = 'job=~"$job"'
    busy = f'phasetop_gpu_phase_seconds_total{{{all_},phase=~"prefill|decode"}}'
    seconds = f"phasetop_gpu_phase_seconds_total{{{all_}}}"
    tokens = f"phasetop_engine_phase_tokens_total{{{all_}"
    generated = f'sum(rate({tokens},phase="decode"}}{RATE}))'
    by_node = [
        f"sum by (instance) (rate({busy}{RATE})) / sum by (instance) (rate({seconds}{RATE}))",
        share("gpu", all_, "instance"),
        f"avg by (instance) (phasetop_gpu_sm_active_ratio{{{all_}}})",
        f"avg by (instance) (phasetop_gpu_dram_active_ratio{{{all_}}})",
        f"sum by (instance) (phasetop_gpu_power_watts{{{all_}}})",
        f'sum by (instance) (rate({tokens},phase="decode"}}{RATE}))',
        f"max by (instance) (phasetop_engine_kv_cache_usage_ratio{{{all_}}})",
        f"sum by (instance) (phasetop_engine_requests_waiting{{{all_}}})",
    ]
    headings = dict(
        zip(
            "ABCDEFGH",
            ("Busy", "Prefill share", "SM", "DRAM", "Power (W)", "Tokens/s out", "KV (fullest)", "Waiting"),
            strict=True,
        )
    )
    bottleneck = f"rate(phasetop_engine_bottleneck_seconds_total{{{all_}}}{RATE})"
    return [
        ("All nodes", [
            Panel("GPU time by phase", [(f"sum by (phase) (rate({seconds}{RATE}))", "{{phase}}")], "short", 12,
                  stacked=True, colors=COLORS, description="GPUs: seconds of all GPUs per second."),
            Panel("Engine time by bottleneck", [(f"sum by (bottleneck) ({bottleneck})", "{{bottleneck}}")], "short", 12,
                  stacked=True, colors=BOTTLENECKS),
            Panel("Tokens", [(f"sum by (phase) (rate({tokens}}}{RATE}))", "{{phase}}")], "tokens/s", 8, colors=COLORS),
            Panel("Tokens per joule",
                  [(f"{generated} / sum(phasetop_gpu_power_watts{{{all_}}})", "generated tokens per joule")],
                  "short", 8),
            Panel("Cost of a million generated tokens",
                  [(f"$price * count(phasetop_gpu_info{{{all_}}}) / 3600 / {generated} * 1e6", "cost")], "short", 8),
        ]),
        ("Nodes", [
            Panel("Prefill share of busy time, by node", [(share("gpu", all_, "instance"), "{{instance}}")],
                  "percentunit", 12, most=1.0),
            Panel("Busy, by node", [(by_node[0], "{{instance}}")], "percentunit", 12, most=1.0),
            Panel("Nodes", [(query, "") for query in by_node], width=24, height=12, kind="table",
                  columns={"instance": "Node", **headings}),
        ]),
        ("Latency and health", [
            Panel("Time to first token, all engines", quantiles("ttft", all_), "s", 8),
            Panel("Time per output token, all engines", quantiles("tpot", all_), "s", 8),
            Panel("GPUs that are lost", [(f'sum by (instance) (phasetop_gpu_state{{{all_},state="lost"}}) > 0',
                                          "{{instance}}")], "short", 8),
        ]),
    ]  # fmt: skip


def dashboard(uid: str, title: str, rows: Sequence[Row], variables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for name, members in rows:
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": name, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": top},
        })  # fmt: skip
        top += 1
        left = height = 0
        for member in members:
            if left + member.width > 24:
                left, top, height = 0, top + height, 0
            place = {"h": member.height, "w": member.width, "x": left, "y": top}
            panels.append({"id": len(panels) + 1, **panel(member), "gridPos": place})
            left, height = left + member.width, max(height, member.height)
        top += height
    return {
        "uid": uid, "title": title, "id": None, "schemaVersion": 39, "version": 1, "editable": True,
        "tags": ["phasetop"], "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(variables)}, "panels": panels,
    }  # fmt: skip


def panel(made: Panel) -> dict[str, Any]:
    is_table = made.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query, "legendFormat": legend,
            **({"instant": True, "format": "table"} if is_table else {"range": True}),
        }
        for number, (query, legend) in enumerate(made.queries)
    ]  # fmt: skip
    drawn = {
        "type": made.kind, "title": made.title, "description": made.description, "datasource": SOURCE,
        "targets": targets, "fieldConfig": {"defaults": _defaults(made), "overrides": _overrides(made)},
    }  # fmt: skip
    if is_table:
        names = {f"Value #{key}" if len(key) == 1 else key: name for key, name in (made.columns or {}).items()}
        drawn["transformations"] = [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
        ]
        drawn["options"] = {"showHeader": True, "sortBy": [{"displayName": "Busy", "desc": True}]}
    else:
        drawn["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return drawn


def _defaults(made: Panel) -> dict[str, Any]:
    limits: dict[str, Any] = {"min": 0} if made.most is None else {"min": 0, "max": made.most}
    if made.kind == "table":
        return {"decimals": 2}
    custom = {"lineWidth": 0 if made.stacked else 1, "fillOpacity": 85 if made.stacked else 0, "showPoints": "never"}
    if made.stacked:
        custom |= {"stacking": {"mode": "normal", "group": "A"}, "lineInterpolation": "stepAfter"}
    return {"unit": made.unit, **limits, "custom": custom}


def _overrides(made: Panel) -> list[dict[str, Any]]:
    """Fixed colours by name: a phase has the same colour everywhere."""
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for name, color in (made.colors or {}).items()
    ]


def _variable(name: str, query: str, *, many: bool = True) -> dict[str, Any]:
    every = {"text": "All", "value": "$__all"}
    return {
        "name": name, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name}, "refresh": 2,
        "multi": many, "includeAll": many, "current": every if many else {}, "sort": 3, "allValue": ".*",
    }  # fmt: skip


_SOURCE_VARIABLE = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
_PRICE = {
    "name": "price", "type": "textbox", "label": "Price of a GPU hour", "query": "2.5",
    "current": {"text": "2.5", "value": "2.5"},
}  # fmt: skip
_JOB = _variable("job", "label_values(phasetop_build_info, job)")
_INSTANCE = _variable("instance", 'label_values(phasetop_build_info{job=~"$job"}, instance)')
_GPU = _variable("gpu", 'label_values(phasetop_gpu_state{job=~"$job",instance=~"$instance"}, gpu)')


def dashboards() -> dict[str, dict[str, Any]]:
    """File name -> dashboard."""
    return {
        "phasetop-node.json": dashboard(
            "phasetop-node", "phasetop: a node", node(), [_SOURCE_VARIABLE, _JOB, _INSTANCE, _GPU, _PRICE]
        ),
        "phasetop-fleet.json": dashboard(
            "phasetop-fleet", "phasetop: the fleet", fleet(), [_SOURCE_VARIABLE, _JOB, _PRICE]
        ),
    }


def text(made: Mapping[str, Any]) -> str:
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, made in dashboards().items():
        (FOLDER / file).write_text(text(made), encoding="utf-8")
