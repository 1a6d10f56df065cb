"""Advice: numbers where the calibrated costs support them, words where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.bottleneck import Group, judge, partition
from collectors.bottleneck.predict import Load, chunk_step, effect, load_of, tells_batches, tpot
from collectors.model import Bottleneck
from collectors.phase.calibrate import CostModel
from collectors.phase.rules import Spent, phase_of
from collectors.readings import EngineReading, GpuReading
from tests.making import decoding, gpu

COSTS = CostModel(
    step=0.020, token=0.0002, kv_step=1e-7, prompt_token=0.0001, error=0.02, windows=60, knows_decode=True,
    knows_prefill=True, batch_low=4.0, batch_high=64.0, prompts_per_token=2.0,
)  # fmt: skip
HOT = {"dram_active_ratio": 0.7, "tensor_active_ratio": 0.1}
COMPUTING = {"dram_active_ratio": 0.2, "tensor_active_ratio": 0.8}


def busy_engine(batch: int = 32, usage: float = 0.3, **fields: float | str) -> EngineReading:
    cache = {"kv_cache_usage_ratio": usage, "kv_cache_tokens": 100_000.0, "gpus": ("GPU-0",)}
    return decoding(batch=batch, **(cache | fields))


def advice(engine: EngineReading, card: GpuReading, costs: CostModel = COSTS, busy: float = 1.0) -> Bottleneck:
    spent = Spent(0.0, busy, 1 - busy, 0.0, 0.05, "high", (), True)
    phase = phase_of(spent, settled=True)
    group = Group(spent.has_requests, [engine], [card])
    return judge(phase, [engine], [card], partition(group, phase, None, costs), costs)


def test_a_larger_batch_is_predicted_with_the_prompts_it_brings() -> None:
    (line, *_) = advice(busy_engine(), gpu(**HOT)).advice
    # 20 + 6.4 + 3 (context) + 6.4 (prompts) = 35.8 ms; at 64: 20 + 12.8 + 6 + 12.8 = 51.6 ms.
    assert "batch 32 → 64: TPOT 36 → 52 ms, +39 % tokens/s" in line
    assert "extrapolated" not in line


def test_what_lies_beyond_the_batches_seen_is_said_to() -> None:
    (line, *_) = advice(busy_engine(), gpu(**HOT), replace(COSTS, batch_high=40.0)).advice
    assert "(extrapolated: up to 40 seen)" in line


def test_a_batch_grows_no_further_than_the_kv_cache_and_the_knee_allow() -> None:
    (line, *_) = advice(busy_engine(usage=0.6), gpu(**HOT)).advice
    assert "batch 32 → 48" in line
    knee = gpu(tensor_peak_flops_per_second=40e12, dram_peak_bytes_per_second=1e12, **HOT)
    (line, *_) = advice(busy_engine(), knee).advice
    assert "batch 32 → 40" in line


@pytest.mark.parametrize(
    "costs",
    [
        replace(COSTS, windows=10),
        replace(COSTS, knows_decode=False),
        replace(COSTS, batch_low=30.0, batch_high=34.0),  # one batch size does not tell a sequence's cost from a step's
        replace(COSTS, knows_prefill=False),
    ],
)
def test_costs_that_do_not_tell_predict_no_batch(costs: CostModel) -> None:
    assert not any("TPOT" in line for line in advice(busy_engine(), gpu(**HOT), costs).advice)


def test_a_limit_on_requests_is_the_lever_when_they_wait_for_it() -> None:
    (line, *_) = advice(busy_engine(requests_limit=32.0, requests_waiting=9.0), gpu(**HOT)).advice
    assert line.startswith("raise max-num-seqs: batch 32 → 64")
    (line, *_) = advice(busy_engine(requests_limit=32.0, requests_waiting=9.0), gpu(**HOT), CostModel()).advice
    assert "TPOT" not in line
    assert "max-num-seqs" in line


def test_a_full_kv_cache_is_told_what_more_of_it_would_bring() -> None:
    got = advice(busy_engine(usage=0.99, requests_waiting=100.0), gpu(**HOT))
    assert got.name == "kv-capacity"
    assert any("twice the KV cache" in line and "batch 32 → 64" in line for line in got.advice)
    assert any("FP8 KV cache, if reading it takes half the time" in line for line in got.advice)
    quantised = advice(busy_engine(usage=0.99, requests_waiting=100.0, kv_cache_dtype="fp8"), gpu(**HOT))
    assert not any("FP8" in line for line in quantised.advice)


def test_more_kv_cache_serves_no_more_than_wait() -> None:
    got = advice(busy_engine(usage=0.99, requests_waiting=8.0), gpu(**HOT))
    assert any("batch 32 → 40" in line for line in got.advice)


def test_the_host_s_gaps_bound_what_closing_them_brings() -> None:
    got = advice(busy_engine(), gpu(kernel_active_ratio=0.75, **HOT), busy=0.75)
    assert got.name == "host"
    assert "TPOT 48 → 36 ms, at most +33 % tokens/s" in got.advice[0]


def test_compute_is_told_how_long_steps_with_prompts_are() -> None:
    (line, *_) = advice(busy_engine(), gpu(**COMPUTING)).advice
    assert "a step takes 29 ms, up to 81 ms with 512 prompt tokens, up to 234 ms with 2048 prompt tokens" in line


def test_speculation_in_use_is_advised_against_with_its_acceptance() -> None:
    got = advice(busy_engine(spec_drafts=30.0, spec_acceptance_ratio=0.4), gpu(**COMPUTING))
    assert any("turn speculative decoding off" in line and "40 % of the drafted tokens" in line for line in got.advice)


costs = st.builds(
    lambda step, token, kv, prompt: replace(COSTS, step=step, token=token, kv_step=kv, prompt_token=prompt),
    st.floats(1e-4, 0.2), st.floats(0, 1e-2), st.floats(0, 1e-5), st.floats(0, 1e-2),
)  # fmt: skip
loads = st.builds(Load, st.floats(1, 500), st.floats(0, 1e6), st.floats(0, 50), st.floats(0, 0.1))


@given(costs, loads, st.floats(1, 4))
def test_a_larger_batch_never_costs_time_less_nor_gains_more_than_it_is_larger(
    model: CostModel, load: Load, factor: float
) -> None:
    got = effect(load, load.scaled(factor), model)
    assert got.tpot_after >= got.tpot_before - 1e-12
    assert -1e-9 <= got.gain <= factor - 1 + 1e-9


@given(costs, loads)
def test_closing_the_host_s_gaps_gains_exactly_their_share(model: CostModel, load: Load) -> None:
    share = load.gap / tpot(load, model)
    assert effect(load, replace(load, gap=0.0), model).gain == pytest.approx(1 / (1 - share) - 1)


@given(costs, loads, st.floats(0, 4096), st.floats(0, 4096))
def test_a_step_takes_longer_with_more_of_a_prompt(model: CostModel, load: Load, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert chunk_step(load, model, small) <= chunk_step(load, model, large)


@given(st.floats(0, 1))
def test_a_load_keeps_the_share_of_the_host(share: float) -> None:
    load = load_of(busy_engine(), COSTS, share)
    if load is not None:
        assert load.gap / tpot(load, COSTS) == pytest.approx(share, abs=1e-9)


def test_batches_are_told_apart_only_when_they_differ() -> None:
    assert tells_batches(COSTS)
    assert not tells_batches(replace(COSTS, batch_low=0.0))
    assert not tells_batches(replace(COSTS, batch_high=5.0))
