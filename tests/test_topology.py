"""Who shares what with whom. No recording scores these; the formulas are held by what must be true of any."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import HOST, Interval, Label, engine_entity, gpu_entity
from collectors.phase.evidence import observe
from collectors.phase.hardware import DramHistory
from collectors.phase.label import Labeller
from collectors.phase.rules import Spent
from collectors.phase.topology import Flows, gpu_spent, host_spent, on_anothers_gpu, total
from collectors.readings import EngineReading, GpuReading
from tests.making import SECOND, decoding, gpu, reading, ttft

PAGES = [f"http://127.0.0.1:{port}/metrics" for port in (8000, 8001, 8002, 8003)]


def machine(engines: list[list[EngineReading]], gpus: list[list[GpuReading]]) -> list[Interval]:
    """Consecutive seconds of a machine: its engines and GPUs in each."""
    made = []
    for sequence, (there, cards) in enumerate(zip(engines, gpus, strict=True), 1):
        start = (1_700_000_000 + sequence) * SECOND
        made.append(
            Interval(
                sequence,
                start,
                start + SECOND,
                1.0,
                gpus={card.uuid: card for card in cards},
                engines={engine.key: engine for engine in there},
            )
        )
    return made


def settled(made: list[Interval]) -> dict[str, list[Label]]:
    labeller = Labeller()
    labels = [label for interval in made for label in labeller.push(interval).settled]
    found: dict[str, list[Label]] = {}
    for label in (*labels, *labeller.flush()):
        found.setdefault(label.entity, []).append(label)
    return found


def on(index: int, one: EngineReading, *gpus: str) -> EngineReading:
    return replace(one, endpoint=PAGES[index], gpus=gpus)


seconds = st.floats(0, 1)
spent = st.builds(
    lambda prefill, decode, idle: Spent(prefill, decode, idle, 0.0, 0.05, "high", ()), seconds, seconds, seconds
)


# Tensor-parallel groups.


@given(st.integers(1, 8), spent.filter(lambda one: one.seconds > 0.1), st.lists(seconds, min_size=8, max_size=8))
def test_the_gpus_of_one_engine_have_one_share_whatever_their_own_busy_time(
    count: int, engine: Spent, busy: list[float]
) -> None:
    shares = set()
    for index in range(count):
        got = gpu_spent(gpu(kernel_active_ratio=busy[index]), 1.0, engine, DramHistory())
        assert got.seconds == pytest.approx(1.0)
        if got.share is not None and engine.share is not None and got.busy > 1e-6:
            shares.add(round(got.share, 6))
    assert len(shares) <= 1


def test_the_busiest_rank_tells_the_time_of_its_group() -> None:
    cards = [gpu("GPU-0", kernel_active_ratio=0.4), gpu("GPU-1", kernel_active_ratio=0.9)]
    one = on(0, decoding(), "GPU-0", "GPU-1")
    (interval,) = machine([[one]], [cards])
    assert observe(interval, one, None).busy == pytest.approx(0.9)


# Several engines on one GPU.


@given(st.lists(spent, min_size=2, max_size=4), seconds)
def test_engines_on_one_gpu_divide_its_seconds_in_proportion_to_their_own(engines: list[Spent], busy: float) -> None:
    got = gpu_spent(gpu(kernel_active_ratio=busy), 1.0, total(engines), DramHistory())
    whole = total(engines)
    assert whole is not None
    assert got.seconds == pytest.approx(1.0)
    if whole.share is not None and whole.seconds > 0 and got.busy > 1e-6:
        assert got.share == pytest.approx(whole.share, abs=1e-6)
        shares = [one.share for one in engines if one.share is not None]
        assert min(shares) - 1e-9 <= got.share <= max(shares) + 1e-9
        assert got.busy == pytest.approx(busy, abs=1e-6)


def test_an_idle_engine_beside_a_busy_one_on_the_same_gpu_is_idle() -> None:
    count = 25
    engines = [[on(0, decoding(), "GPU-0"), on(1, reading(), "GPU-0")]] * count
    labels = settled(machine(engines, [[gpu()]] * count))
    busy, idle = (labels[engine_entity((PAGES[index], "0"))] for index in (0, 1))
    assert {label.phase.label for label in busy[3:]} == {"decode"}
    assert {label.phase.label for label in idle[3:10]} == {"idle"}
    assert {label.phase.label for label in labels[gpu_entity("GPU-0")][3:10]} == {"decode"}


def test_an_engine_is_on_anothers_gpu_only_while_the_other_works() -> None:
    working, calm = on(0, decoding(), "GPU-0"), on(1, reading(), "GPU-0")
    (both,) = machine([[working, calm]], [[gpu()]])
    assert on_anothers_gpu(both) == {calm.key}
    (apart,) = machine([[working, replace(calm, gpus=("GPU-1",))]], [[gpu(), gpu("GPU-1")]])
    assert on_anothers_gpu(apart) == frozenset()
    (quiet,) = machine([[replace(working, **QUIET), calm]], [[gpu()]])
    assert on_anothers_gpu(quiet) == frozenset()


QUIET = {"requests_running": 0.0, "generation_tokens": 0.0, "steps": 0.0}


# Data-parallel ranks.


@given(st.lists(spent, min_size=1, max_size=8))
def test_a_machine_without_gpus_is_the_sum_of_its_ranks(ranks: list[Spent]) -> None:
    whole = host_spent([], ranks)
    assert whole is not None
    assert whole.busy == pytest.approx(sum(rank.busy for rank in ranks))
    assert whole.prefill == pytest.approx(sum(rank.prefill for rank in ranks))


def test_ranks_on_one_page_are_labelled_by_their_own_counters() -> None:
    count = 15
    ranks = [[decoding(), replace(reading(), engine_index="1")]] * count
    labels = settled(machine(ranks, [[]] * count))
    first, second = (labels[engine_entity((decoding().endpoint, index))] for index in ("0", "1"))
    assert first[5].phase.label == "decode"
    assert second[0].phase.label == "idle"


# Disaggregated instances.


def flows(*readings: EngineReading) -> Flows:
    seen = Flows()
    for one in readings:
        seen.add(one)
    return seen


def test_instances_are_recognised_by_what_flows_through_them() -> None:
    prefills = decoding(
        steps=8, batch=1, prompt_tokens_computed=16_000.0, generation_tokens=8.0, first_tokens=8.0, ttft=ttft(8, 0.1)
    )
    decodes = decoding(prompt_tokens=16_000.0, prompt_tokens_transferred=15_900.0, prompt_tokens_computed=100.0)
    both = decoding(prompt_tokens_computed=500.0)
    assert flows(prefills).role == "prefill"
    assert flows(decodes).role == "decode"
    assert flows(*[both] * 10).role == "both"
    assert flows().role is None


def test_long_prompts_with_short_answers_do_not_make_an_instance_for_prefill() -> None:
    code = decoding(steps=40, batch=1, prompt_tokens_computed=20_000.0, generation_tokens=40.0, first_tokens=4.0)
    assert flows(*[code] * 10).role == "both"


def test_a_change_of_role_is_noticed_within_minutes() -> None:
    prefills = decoding(steps=8, batch=1, prompt_tokens_computed=16_000.0, generation_tokens=8.0, first_tokens=8.0)
    both = decoding(prompt_tokens_computed=500.0)
    assert flows(*[prefills] * 60, *[both] * 180).role == "both"


tokens = st.floats(0, 1e6)


@given(tokens, tokens, tokens, tokens, st.integers(1, 30))
def test_a_role_does_not_depend_on_how_long_the_same_flow_lasted(
    computed: float, transferred: float, generated: float, first: float, times: int
) -> None:
    one = reading(
        prompt_tokens_computed=computed, prompt_tokens_transferred=transferred, generation_tokens=generated,
        first_tokens=first,
    )  # fmt: skip
    if computed + transferred + generated >= 1000:
        assert flows(one).role == flows(*[one] * times).role


def test_transferred_prompts_are_no_prefill_of_the_instance_that_receives_them() -> None:
    received = decoding(prompt_tokens=9000.0, prompt_tokens_computed=None, prompt_tokens_transferred=9000.0)
    (interval,) = machine([[received]], [[]])
    assert observe(interval, received, None).prompt == 0.0


# Prefix caching.


@given(st.floats(0, 50_000), st.floats(0, 50_000))
def test_only_prompt_tokens_computed_here_are_prefill_work(computed: float, cached: float) -> None:
    counted = decoding(prompt_tokens=computed + cached, prompt_tokens_computed=computed, prompt_tokens_cached=cached)
    derived = replace(counted, prompt_tokens_computed=None)
    for one in (counted, derived):
        (interval,) = machine([[one]], [[]])
        assert observe(interval, one, None).prompt == pytest.approx(computed, abs=1e-6)


# Speculative decoding and mixtures of experts.


@given(st.integers(1, 64), st.integers(1, 60), st.floats(0, 5))
def test_accepted_drafts_do_not_make_more_steps_of_an_engine_that_counts_none(
    batch: int, steps: int, accepted: float
) -> None:
    drafts = float(steps * batch)
    made = drafts * (1 + accepted)
    one = reading(
        steps=None, generation_tokens=made, first_tokens=0.0, requests_running=float(batch), spec_drafts=drafts,
        spec_draft_tokens=drafts * 5, spec_accepted_tokens=drafts * accepted,
    )  # fmt: skip
    (interval,) = machine([[one]], [[]])
    assert observe(interval, one, None).steps == pytest.approx(steps)


@given(st.floats(0.5, 4.0))
@settings(max_examples=8, deadline=None)
def test_labels_do_not_depend_on_how_many_tokens_a_step_gives(tokens_a_step: float) -> None:
    """Drafts accepted, or experts more or less at work: pure decode stays decode, whatever a step costs and gives."""
    one = decoding(steps=40, batch=4, generation_tokens=160.0 * tokens_a_step)
    labels = settled(machine([[one]] * 40, [[]] * 40))[HOST]
    assert {label.phase.label for label in labels[1:]} == {"decode"}
    assert all((label.phase.prefill_share or 0.0) < 0.05 for label in labels[1:])
