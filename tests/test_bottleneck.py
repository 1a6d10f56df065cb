from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.bottleneck import Group, judge, partition
from collectors.model import Bottleneck
from collectors.phase.calibrate import UNCALIBRATED, CostModel
from collectors.phase.rules import Spent, phase_of
from collectors.readings import EngineReading, GpuReading, HostReading
from tests.making import ENDPOINT, decoding, gpu, reading

SURE = CostModel(
    step=0.020, token=0.0002, prompt_token=0.0003, error=0.02, windows=60, knows_decode=True, knows_prefill=True,
    batch_low=4.0, batch_high=23.0,
)  # fmt: skip


def judged(
    engine: EngineReading | None = None,
    hardware: GpuReading | None = None,
    *,
    prefill: float = 0.0,
    decode: float = 0.0,
    idle: float = 0.0,
    has_requests: bool = False,
    costs: CostModel = UNCALIBRATED,
    host: HostReading | None = None,
) -> Bottleneck:
    spent = Spent(prefill, decode, idle, max(0.0, 1 - prefill - decode - idle), 0.05, "high", (), has_requests)
    engines = [engine] if engine is not None else []
    gpus = [hardware] if hardware is not None else []
    phase = phase_of(spent, settled=True)
    return judge(phase, engines, gpus, partition(Group(spent.has_requests, engines, gpus), phase, host, costs), costs)


def test_decode_that_fills_the_dram_bandwidth_is_bound_by_it() -> None:
    hot = gpu(dram_active_ratio=0.74, tensor_active_ratio=0.06)
    got = judged(decoding(gpus=("GPU-0",)), hot, decode=1.0)
    assert got.name == "memory-bandwidth"
    assert "DRAM 74 % of peak" in got.why
    assert got.admission is None


def test_prefill_that_fills_the_tensor_cores_is_bound_by_compute() -> None:
    hot = gpu(dram_active_ratio=0.2, tensor_active_ratio=0.7)
    assert judged(decoding(gpus=("GPU-0",)), hot, prefill=1.0).name == "compute"


def test_a_tenth_of_the_time_throttled_is_named_first() -> None:
    hot = gpu(dram_active_ratio=0.74, tensor_active_ratio=0.06, throttle_thermal_ratio=0.12)
    got = judged(decoding(gpus=("GPU-0",)), hot, decode=1.0)
    assert got.name == "power"
    assert any("cooling" in line for line in got.advice)


def test_a_gpu_that_idles_while_requests_run_waits_for_the_host() -> None:
    half = gpu(kernel_active_ratio=0.7, dram_active_ratio=0.5, tensor_active_ratio=0.1)
    got = judged(decoding(gpus=("GPU-0",)), half, decode=0.7, idle=0.3, has_requests=True)
    assert got.name == "host"


def test_a_gpu_that_idles_without_requests_lacks_demand() -> None:
    calm = gpu(kernel_active_ratio=0.0, dram_active_ratio=0.0, tensor_active_ratio=0.0)
    got = judged(reading(gpus=("GPU-0",)), calm, idle=1.0)
    assert got.name == "demand"


def test_busy_time_that_neither_compute_nor_bandwidth_explains_is_unknown() -> None:
    small = gpu(dram_active_ratio=0.1, tensor_active_ratio=0.05)
    assert judged(decoding(gpus=("GPU-0",)), small, decode=1.0).name == "unknown"


def test_a_full_kv_cache_with_requests_waiting_is_the_headline() -> None:
    full = decoding(kv_cache_usage_ratio=0.97, requests_waiting=12.0, gpus=("GPU-0",))
    got = judged(full, gpu(dram_active_ratio=0.7, tensor_active_ratio=0.1), decode=1.0)
    assert (got.name, got.resource, got.admission) == ("kv-capacity", "memory-bandwidth", "kv-capacity")
    assert "97 %" in got.why


def test_a_full_kv_cache_that_nobody_waits_for_is_no_bottleneck() -> None:
    assert judged(decoding(kv_cache_usage_ratio=0.99), decode=1.0).admission is None


def test_the_request_limit_is_named_only_when_the_hardware_does_not_explain_the_time() -> None:
    at_limit = decoding(requests_limit=4.0, requests_waiting=9.0, gpus=("GPU-0",))
    busy = judged(at_limit, gpu(dram_active_ratio=0.7, tensor_active_ratio=0.1), decode=1.0)
    calm = judged(at_limit, gpu(dram_active_ratio=0.1, tensor_active_ratio=0.05), decode=1.0)
    assert (busy.name, busy.admission) == ("memory-bandwidth", "scheduler")
    assert calm.name == "scheduler"


def test_advice_predicts_its_effect_from_the_calibrated_costs() -> None:
    engine = decoding(batch=20, kv_cache_usage_ratio=0.3, kv_cache_tokens=100_000.0)
    got = judged(engine, decode=1.0, costs=SURE)
    # 20 ms + 20 x 0.2 ms = 24 ms a step; at 40 it is 28 ms: 40 / 28 against 20 / 24 is +71 %.
    assert any("batch 20 → 40: TPOT 24 → 28 ms, +71 % tokens/s" in line for line in got.advice)


def test_without_sure_costs_no_effect_is_predicted() -> None:
    engine = decoding(kv_cache_usage_ratio=0.3, kv_cache_tokens=100_000.0)
    assert not any("TPOT" in line for line in judged(engine, decode=1.0).advice)


def test_without_hardware_counters_the_phase_speaks_at_low_confidence() -> None:
    got = judged(decoding(), decode=0.9, prefill=0.1)
    assert (got.name, got.confidence) == ("memory-bandwidth", "low")


def test_an_engine_that_is_down_says_so() -> None:
    down = EngineReading(endpoint=ENDPOINT, engine_index="0", engine="vllm", state="down")
    assert judged(down).why == "vllm is down"


ratios = st.floats(0, 1)


@given(ratios, ratios, ratios, ratios, ratios, st.booleans())
def test_the_shares_partition_the_wall_time(
    busy: float, share: float, dram: float, tensor: float, throttled: float, requests: bool
) -> None:
    one = gpu(
        kernel_active_ratio=busy, dram_active_ratio=dram, tensor_active_ratio=tensor, throttle_power_ratio=throttled
    )
    got = judged(
        decoding(gpus=("GPU-0",)),
        one,
        prefill=busy * share,
        decode=busy * (1 - share),
        idle=1 - busy,
        has_requests=requests,
    )
    if got.shares:
        assert sum(got.shares.values()) == pytest.approx(1.0, abs=0.002)
        assert min(got.shares.values()) >= 0
