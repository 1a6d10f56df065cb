"""The JSON interval: names and nesting are a promise."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings

from collectors.document import document
from collectors.histogram import Histogram
from collectors.model import (
    HOST,
    RULE_VERSION,
    Bottleneck,
    Gap,
    Interval,
    Label,
    Phase,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.readings import EngineReading, GpuReading, HostReading, field_specs
from tests.recording_support import SECOND, START
from tests.test_recording_roundtrip import labelled

KEY = ("http://127.0.0.1:8000/metrics", "0")


def full() -> Tick:
    """One interval with a value wherever one can be."""
    gpu = GpuReading(
        uuid="GPU-1", index=3, name="H100", source="gpm", power_watts=650.5, throttle_power_ratio=0.25,
        throttle_thermal_ratio=0.0, pcie_tx_bytes_per_second=1e9,
    )  # fmt: skip
    engine = EngineReading(
        endpoint=KEY[0], engine_index=KEY[1], engine="vllm", model="m", role="both", prompt_tokens=8000.0,
        prefix_cache_queries=100.0, prefix_cache_hits=25.0, gpus=("GPU-1",),
        ttft=Histogram((0.1, 1.0), (2, 2, 0), 1.1),
    )  # fmt: skip
    phase = Phase("decode", True, 0.29, 0.92, 0.03, "high", ("engine-seconds", "bounds"))
    bottleneck = Bottleneck(
        "memory-bandwidth", "memory-bandwidth", None, {"memory-bandwidth": 0.7}, "high", "DRAM 74 % of peak", ("x",)
    )
    interval = Interval(
        7, START, START + SECOND, 1.0005, HostReading(name="node-1", cpu_ratio=0.5), {"GPU-1": gpu}, {KEY: engine},
        (Gap("dcgm", "timed out"),),
    )  # fmt: skip
    entities = (HOST, gpu_entity("GPU-1"), engine_entity(KEY))
    return Tick(interval, {name: Label(7, name, phase, bottleneck) for name in entities})


PHASE = {
    "label": "decode", "settled": True, "prefill_share": 0.29, "busy_ratio": 0.92, "error": 0.03, "confidence": "high",
    "evidence": ["engine-seconds", "bounds"], "rule_version": RULE_VERSION, "unknown_ratio": None,
}  # fmt: skip
BOTTLENECK = {
    "name": "memory-bandwidth", "resource": "memory-bandwidth", "admission": None,
    "shares": {"memory-bandwidth": 0.7}, "confidence": "high", "why": "DRAM 74 % of peak", "advice": ["x"],
}  # fmt: skip


def test_the_interval_has_the_promised_names_in_the_promised_order() -> None:
    written = document(full())
    assert list(written) == [
        "schema", "start", "end", "duration", "host", "gpus", "engines", "phase", "bottleneck", "gaps",
    ]  # fmt: skip
    assert written["schema"] == 1
    assert (written["start"], written["end"], written["duration"]) == (START / SECOND, START / SECOND + 1, 1.0005)
    assert (written["phase"], written["bottleneck"]) == (PHASE, BOTTLENECK)
    assert written["gaps"] == [{"source": "dcgm", "reason": "timed out"}]


def test_a_gpu_has_its_fields_with_throttling_nested() -> None:
    (gpu,) = document(full())["gpus"]
    nested = {"throttle_power_ratio", "throttle_thermal_ratio", "throttle_hardware_ratio"}
    names = [spec.name for spec in field_specs(GpuReading) if spec.name not in nested]
    assert list(gpu) == [*names, "throttle_ratio", "processes", "phase", "bottleneck"]
    assert gpu["throttle_ratio"] == {"power": 0.25, "thermal": 0.0, "hardware": None}
    assert (gpu["uuid"], gpu["index"], gpu["state"], gpu["power_watts"]) == ("GPU-1", 3, "ok", 650.5)
    assert gpu["tensor_active_ratio"] is None
    assert gpu["phase"] == PHASE


def test_an_engine_has_its_fields_with_latencies_as_quantiles_in_seconds() -> None:
    (engine,) = document(full())["engines"]
    assert engine["ttft_seconds"] == pytest.approx({"p50": 0.1, "p95": 0.91, "p99": 0.982, "count": 4})
    assert engine["tpot_seconds"] is None
    assert {"e2e_seconds", "queue_seconds"} <= engine.keys()
    assert not {"ttft", "tpot", "e2e", "queue"} & engine.keys()
    assert engine["prefix_cache_hit_ratio"] == 0.25
    assert engine["gpus"] == ["GPU-1"]
    assert (engine["role"], engine["prompt_tokens"], engine["generation_tokens"]) == ("both", 8000.0, None)
    assert engine["bottleneck"] == BOTTLENECK


def test_what_is_absent_is_null_everywhere() -> None:
    written = document(Tick(Interval(1, START, START + SECOND, 1.0, None, {"G": GpuReading(uuid="G")})))
    assert written["host"] is None
    assert (written["phase"], written["bottleneck"], written["engines"], written["gaps"]) == (None, None, [], [])
    assert written["gpus"][0]["phase"] is None


def test_a_value_that_is_not_finite_is_null() -> None:
    host = HostReading(name="h", cpu_ratio=math.nan, load_1m=math.inf)
    written = document(Tick(Interval(1, START, START + SECOND, 1.0, host)))
    assert written["host"]["cpu_ratio"] is None
    assert written["host"]["load_1m"] is None


@settings(max_examples=25, deadline=None)
@given(labelled())
def test_every_interval_is_json_that_reads_back_the_same(tick: Tick) -> None:
    written = document(tick)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
