from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.catalog import ENGINES, locate
from collectors.engine.reading import EngineSnapshot, engine_reading, new_memo, snapshots
from collectors.readings import EngineReading, field_specs
from tests.making import ENDPOINT, vllm_page

SGLANG = """
sglang:num_running_reqs{engine_type="unified",model_name="m",tp_rank="0"} 2.0
sglang:cuda_graph_passes_total{engine_type="unified",mode="prefill_none",model_name="m"} %d
sglang:scheduler_idle_seconds_total{engine_type="unified",model_name="m"} %f
sglang:max_total_num_tokens{engine_type="unified",model_name="m"} 65536.0
"""
LLAMA = """
llamacpp:prompt_tokens_total %d
llamacpp:prompt_tokens_cached_total 0
llamacpp:prompt_seconds_total %f
llamacpp:n_decode_total %d
llamacpp:n_busy_slots_per_decode %s
llamacpp:requests_processing 2
llamacpp:tokens_predicted_total 0
"""


def snap(text: str, arrived: float = 0.0) -> EngineSnapshot:
    (one,) = snapshots(ENDPOINT, text, arrived, new_memo())
    return one


def between(before: str, after: str, seconds: float = 1.0) -> EngineReading:
    memo = new_memo()
    (first,) = snapshots(ENDPOINT, before, 10.0, memo)
    (second,) = snapshots(ENDPOINT, after, 10.0 + seconds, memo)
    return engine_reading(first, second, end=10.0 + seconds)


def test_counters_become_amounts_between_two_pages() -> None:
    got = between(
        vllm_page(prompt=100, generated=10, steps=5),
        vllm_page(prompt=2100, cached=512, generated=60, steps=20, first=2, ttft_sum=0.8, running=3, kv=0.25),
    )
    assert got.prompt_tokens_computed == 2000
    assert got.prompt_tokens_cached == 512
    assert got.prompt_tokens == 2512
    assert got.generation_tokens == 50
    assert got.steps == 15
    assert got.first_tokens == 2
    assert got.requests_running == 3
    assert got.kv_cache_usage_ratio == 0.25
    assert got.kv_cache_tokens == 16_000
    assert got.window_seconds == pytest.approx(1.0)
    assert got.model == "tiny"
    assert got.ttft is not None
    assert got.ttft.count == 2
    assert got.ttft.mean == pytest.approx(0.4)


def test_the_first_page_gives_gauges_and_no_amounts() -> None:
    first = engine_reading(None, snap(vllm_page(prompt=5000, running=1)), end=0.0)
    assert first.prompt_tokens is None
    assert first.requests_running == 1


def test_a_counter_that_went_down_is_missing_and_never_negative() -> None:
    got = between(vllm_page(prompt=9000, generated=500), vllm_page(prompt=100, generated=600))
    assert got.prompt_tokens is None
    assert got.generation_tokens == 100


def test_without_a_new_page_everything_measured_is_missing() -> None:
    page = snap(vllm_page(prompt=10, running=2), 5.0)
    got = engine_reading(page, None, end=8.0, state="stale")
    assert got.requests_running is None
    assert got.prompt_tokens is None
    assert got.age_seconds == 3.0
    assert got.model == "tiny"


def test_estimates_that_the_engine_does_not_keep_are_missing_and_not_zero() -> None:
    assert between(vllm_page(), vllm_page(generated=5)).flops is None


def test_a_series_that_first_appears_counts_from_zero() -> None:
    realtime = 'sglang:realtime_tokens_total{engine_type="unified",mode="prefill_compute",model_name="m"} 2048.0\n'
    got = between(SGLANG % (1, 5.0), SGLANG % (2, 5.0) + realtime)
    assert got.prompt_tokens_computed == 2048


def test_a_labelled_counter_without_its_series_yet_is_zero() -> None:
    got = between(SGLANG % (1, 5.0), SGLANG % (3, 5.5))
    assert got.decode_steps == 0
    assert got.steps == 2
    assert got.idle_seconds == pytest.approx(0.5)
    assert got.role == "both"


def test_llama_cpp_counts_live_tokens_by_busy_slots() -> None:
    got = between(LLAMA % (10, 1.0, 100, "1.5"), LLAMA % (2010, 2.5, 120, "1.7"))
    assert got.prefill_seconds == pytest.approx(1.5)
    of_the_prompt = 2 * 2  # its batches, with both slots busy
    assert got.generation_tokens == pytest.approx(120 * 1.7 - 100 * 1.5 - of_the_prompt)


def test_the_jitter_of_a_printed_mean_is_not_a_restart() -> None:
    got = between(LLAMA % (10, 1.0, 100_000, "1.50001"), LLAMA % (10, 1.0, 100_000, "1.5"))
    assert got.generation_tokens == 0


def test_a_nan_gauge_is_missing() -> None:
    got = between(LLAMA % (0, 0.0, 0, "-nan"), LLAMA % (0, 0.0, 0, "-nan"))
    assert got.steps == 0
    assert (got.generation_tokens, got.late_fields) == (0, "generation_tokens")


def test_ranks_of_one_page_are_told_apart() -> None:
    page = vllm_page(engine="0", prompt=1) + "\n" + vllm_page(engine="1", prompt=2)
    found = snapshots(ENDPOINT, page, 0.0, new_memo())
    assert [one.key for one in found] == [(ENDPOINT, "0"), (ENDPOINT, "1")]


def test_forks_and_agents_that_rename_the_prefix_are_read_alike() -> None:
    for prefix in ("aphrodite:", "ray_vllm_", "vllm_"):
        got = between(
            vllm_page(prompt=1).replace("vllm:", prefix), vllm_page(prompt=8, running=2).replace("vllm:", prefix)
        )
        assert got.prompt_tokens == 7
        assert got.requests_running == 2


def test_a_counter_without_its_total_is_found() -> None:
    strip = "vllm:generation_tokens_total", "vllm:generation_tokens"
    got = between(vllm_page(generated=1).replace(*strip), vllm_page(generated=4).replace(*strip))
    assert got.generation_tokens == 3


def test_a_page_of_something_else_gives_no_engine() -> None:
    assert snapshots(ENDPOINT, "node_cpu_seconds_total 5\nprocess_open_fds 3", 0.0, new_memo()) == ()
    assert snapshots(ENDPOINT, "", 0.0, new_memo()) == ()


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=6))
def test_amounts_of_a_rising_counter_add_up_to_its_rise(steps: list[int]) -> None:
    totals = [sum(steps[: i + 1]) for i in range(len(steps))]
    memo = new_memo()
    pages = [snapshots(ENDPOINT, vllm_page(prompt=total), float(i), memo)[0] for i, total in enumerate(totals)]
    amounts = [engine_reading(a, b, end=0.0).prompt_tokens_computed for a, b in itertools.pairwise(pages)]
    assert sum(amount for amount in amounts if amount is not None) == totals[-1] - totals[0]


def test_every_row_of_every_engine_names_a_field_and_samples_that_are_wanted() -> None:
    specs = {spec.name: spec for spec in field_specs(EngineReading)}
    for engine in ENGINES:
        fields = [row.field for row in engine.rows]
        assert set(fields) <= specs.keys()
        assert len(fields) == len(set(fields)), engine.name
        for row in engine.rows:
            suffix = "_sum" if specs[row.field].kind == "histogram" else ""
            for alternative in row.alternatives:
                for selector in alternative.selectors:
                    assert engine in [reader for reader, _ in locate(selector.name + suffix)], selector
