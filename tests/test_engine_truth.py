"""What pages say that must not be taken at face value."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.document import document
from collectors.engine.reading import EngineSnapshot, engine_reading, new_memo, snapshots
from collectors.model import Interval, Tick
from collectors.readings import EngineReading, field_specs, rounded
from tests.making import ENDPOINT, vllm_page
from tests.test_engine_reading import LLAMA, SGLANG, between


def replaced(page: str, name: str, value: str) -> str:
    """The page with another value for every series of this name."""
    lines = (f"{line.rpartition(' ')[0]} {value}" if line.startswith(name) else line for line in page.splitlines())
    return "\n".join(lines)


@pytest.mark.parametrize("value", ["+Inf", "-Inf", "NaN", "-nan", "1e400", "-1"])
def test_a_gauge_without_a_value_is_missing_and_never_a_number(value: str) -> None:
    page = vllm_page(generated=5, running=3, kv=0.5)
    for name in ("vllm:num_requests_running", "vllm:kv_cache_usage_perc"):
        got = between(page, replaced(page, name, value))
        assert (got.requests_running is None) is (name == "vllm:num_requests_running")
        assert (got.kv_cache_usage_ratio is None) is (name == "vllm:kv_cache_usage_perc")


@pytest.mark.parametrize("value", ["+Inf", "NaN", "1e308"])
def test_a_counter_that_is_no_number_for_once_gives_nothing_then_and_no_spike_after(value: str) -> None:
    pages = [
        vllm_page(generated=5),
        replaced(vllm_page(), "vllm:generation_tokens_total", value),
        vllm_page(generated=9),
    ]
    memo = new_memo()
    found = [snapshots(ENDPOINT, page, float(at), memo)[0] for at, page in enumerate(pages)]
    amounts = [engine_reading(a, b, end=0.0).generation_tokens for a, b in itertools.pairwise(found)]
    for amount in amounts:
        assert amount is None or math.isfinite(amount)
    assert amounts[1] is None or amounts[1] <= 9.0


@given(st.text(alphabet="0123456789.eE+-NaInfx_", max_size=12))
def test_whatever_a_value_looks_like_every_field_is_a_finite_number_or_missing(value: str) -> None:
    page = vllm_page(prompt=10, generated=5, steps=3, first=1, running=1, kv=0.5)
    odd = "\n".join(
        f"{line.rpartition(' ')[0]} {value}" if not line.startswith("#") else line for line in page.splitlines()
    )
    memo = new_memo()
    before = snapshots(ENDPOINT, page, 0.0, memo)[0]
    for after in snapshots(ENDPOINT, odd, 1.0, memo):
        got = rounded(engine_reading(before, after, end=1.0))
        for spec in field_specs(EngineReading):
            found = getattr(got, spec.name)
            assert not isinstance(found, float) or math.isfinite(found), spec.name


def test_a_usage_in_percent_is_no_ratio_and_is_missing() -> None:
    got = between(vllm_page(kv=0.5), vllm_page(kv=45.0))
    assert got.kv_cache_usage_ratio is None
    assert got.kv_cache_tokens is None or got.kv_cache_tokens >= 0


def test_the_time_a_series_was_made_is_not_counted() -> None:
    created = 'vllm:generation_tokens_created{engine="0",model_name="tiny"} %s\n'
    seconds = 'vllm:time_to_first_token_seconds_created{engine="0",model_name="tiny"} %s\n'
    before = vllm_page(generated=5) + "\n" + created % "1.7e9" + seconds % "1.7e9"
    after = vllm_page(generated=8) + "\n" + created % "1.8e9" + seconds % "1.8e9"
    got = between(before, after)
    assert got.generation_tokens == 3
    assert got.ttft is None or got.ttft.count == 0


def test_six_digits_of_a_large_counter_give_steps_that_add_up_and_never_a_restart() -> None:
    memo = new_memo()
    totals = [1_234_560 + 3 * second for second in range(60)]
    pages = [LLAMA % (10, 1.0, 5, "1") for _ in totals]
    pages = [
        page.replace("prompt_tokens_total 10", f"prompt_tokens_total {total:.6g}")
        for page, total in zip(pages, totals, strict=True)
    ]
    found = [snapshots(ENDPOINT, page, float(at), memo)[0] for at, page in enumerate(pages)]
    amounts = [engine_reading(a, b, end=0.0).prompt_tokens_computed for a, b in itertools.pairwise(found)]
    assert None not in amounts
    assert sum(amount or 0.0 for amount in amounts) == float(f"{totals[-1]:.6g}") - float(f"{totals[0]:.6g}")


def test_a_restart_of_an_engine_gives_no_amount_of_anything_and_no_spike() -> None:
    got = between(
        vllm_page(prompt=90_000, generated=5_000, steps=4_000, first=50, ttft_sum=9.0),
        vllm_page(prompt=100, generated=20, steps=10, first=1, ttft_sum=0.2),
    )
    for name in ("prompt_tokens", "generation_tokens", "steps", "first_tokens", "ttft"):
        assert getattr(got, name) is None, name


def test_a_series_written_twice_by_several_processes_counts_once() -> None:
    def twice(page: str) -> str:
        return page + "\n" + page

    got = between(
        twice(vllm_page(generated=5, running=2)), twice(vllm_page(generated=9, running=2, first=3, ttft_sum=1.0))
    )
    assert (got.generation_tokens, got.requests_running) == (4, 2)
    assert got.ttft is not None
    assert got.ttft.count == 3


def test_a_series_that_goes_and_comes_back_does_not_count_from_zero_again() -> None:
    counted = 'sglang:realtime_tokens_total{engine_type="unified",mode="decode",model_name="m"} %d\n'
    memo = new_memo()
    pages = [SGLANG % (1, 5.0) + counted % 5_000, SGLANG % (2, 5.0), SGLANG % (3, 5.0) + counted % 5_010]
    found = [snapshots(ENDPOINT, page, float(at), memo)[0] for at, page in enumerate(pages)]
    back = engine_reading(found[1], found[2], end=0.0).generation_tokens
    assert back is None or back <= 5_010  # what came meanwhile, at most; never twice
    assert engine_reading(found[0], found[2], end=0.0).generation_tokens == 10


def test_colons_and_underscores_in_names_are_one() -> None:
    page = vllm_page(generated=5)
    got = between(page.replace("vllm:", "ray_vllm:"), vllm_page(generated=9).replace("vllm:", "ray_vllm:"))
    assert got.generation_tokens == 4


def test_no_figure_of_a_hostile_page_breaks_the_document() -> None:
    import json

    page = vllm_page(generated=5, model='[b]"x\\" \\n\x1b[2J')
    memo = new_memo()
    one: EngineSnapshot = snapshots(ENDPOINT, page, 0.0, memo)[0]
    two = snapshots(ENDPOINT, replaced(page, "vllm:", "1e300"), 1.0, memo)[0]
    reading = rounded(engine_reading(one, two, end=1.0))
    interval = Interval(sequence=1, start=0, end=10**9, duration=1.0, engines={(ENDPOINT, "0"): reading})
    text = json.dumps(document(Tick(interval)), allow_nan=False)
    assert "\x1b" not in text
