from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import HOST, Interval, Label, engine_entity, gpu_entity
from collectors.phase.label import Labeller
from collectors.readings import EngineReading
from tests.making import ENDPOINT, decoding, gpu, intervals, prompt_landed, reading, ttft, ttft_of

ENGINE = engine_entity((ENDPOINT, "0"))


def settled(made: Sequence[Interval], entity: str = ENGINE, labeller: Labeller | None = None) -> list[Label]:
    labeller = labeller or Labeller()
    labels = [label for interval in made for label in labeller.push(interval).settled]
    labels += labeller.flush()
    return [label for label in labels if label.entity == entity]


def names(labels: Sequence[Label]) -> list[str]:
    return [label.phase.label for label in labels]


def test_intervals_that_only_generate_tokens_are_decode() -> None:
    assert names(settled(intervals([decoding()] * 15)))[1:] == ["decode"] * 14


def test_a_lump_reaches_back_over_the_silent_intervals_that_made_it() -> None:
    silent = [reading()] * 3
    labels = settled(intervals([reading()] * 12 + silent + [prompt_landed(5000, 3.5)]))
    assert names(labels)[-4:] == ["prefill"] * 4


def test_silence_before_a_lump_that_it_does_not_reach_is_idle() -> None:
    labels = settled(intervals([reading()] * 12 + [prompt_landed(1000, 0.9)] + [reading()] * 12))
    assert names(labels)[:11] == ["idle"] * 11
    assert names(labels)[12] == "prefill"
    assert names(labels)[14:] == ["idle"] * 11


def test_a_running_gauge_of_zero_is_not_called_idle_before_the_evidence_is_in() -> None:
    labeller = Labeller()
    ticks = [labeller.push(interval) for interval in intervals([reading()] * 9)]
    assert all(tick.labels[ENGINE].phase.label == "unknown" for tick in ticks[1:])
    assert not any(label.entity == ENGINE for tick in ticks for label in tick.settled)


def test_an_interval_settles_at_the_latest_ten_seconds_after_its_end() -> None:
    labeller = Labeller()
    for interval in intervals([reading()] * 30):
        for label in labeller.push(interval).settled:
            assert interval.sequence - label.sequence <= 10


def test_every_interval_settles_once_and_in_order() -> None:
    made = intervals([decoding(), reading(), prompt_landed(900, 0.5), decoding(), reading()] * 8)
    labels = settled(made)
    assert [label.sequence for label in labels] == [interval.sequence for interval in made]
    assert all(label.settled for label in labels)


def test_transferred_and_cached_prompts_are_no_prefill_work() -> None:
    served_from_cache = decoding(prompt_tokens=8000.0, prompt_tokens_cached=8000.0, prompt_tokens_computed=0.0)
    assert names(settled(intervals([served_from_cache] * 15)))[1:] == ["decode"] * 14


def test_with_calibrated_steps_the_rest_of_the_busy_time_is_prefill() -> None:
    pure = [decoding(steps=100)] * 60 + [prompt_landed(2000, 1.0, requests_running=2.0)] * 60
    half = decoding(
        steps=50,
        prompt_tokens=1000.0,
        prompt_tokens_computed=1000.0,
        first_tokens=1.0,
        ttft=ttft(1, 0.6),
    )
    labels = settled(intervals(pure + [half] * 20))
    shares = [label.phase.prefill_share for label in labels[-18:-1]]
    assert all(share is not None and abs(share - 0.5) < 0.08 for share in shares)


def test_an_engine_that_estimates_its_operations_shows_a_long_prompt_before_it_ends() -> None:
    """Two gigaflop a token; a prompt of 20,000 tokens is computed beside decoding and lands far later."""
    gigaflop = 1e9
    pure = [decoding(steps=100, flops=400 * 2 * gigaflop)] * 60
    prompts = [prompt_landed(2000, 1.0, requests_running=2.0, flops=2001 * 2 * gigaflop)] * 60
    chunk = decoding(steps=20, flops=(80 + 1600) * 2 * gigaflop)
    labels = settled(intervals(pure + prompts + [chunk] * 25))
    shares = [label.phase.prefill_share for label in labels[125:140]]
    assert all(share is not None and abs(share - 0.8) < 0.08 for share in shares)
    assert "intensity" in labels[130].phase.evidence


def test_before_twenty_seconds_were_watched_confidence_is_low() -> None:
    labels = settled(intervals([decoding()] * 40))
    assert {label.phase.confidence for label in labels[:19]} == {"low"}
    assert labels[-1].phase.confidence != "low"


def test_an_engine_that_is_down_is_unknown_and_not_idle() -> None:
    down = EngineReading(endpoint=ENDPOINT, engine_index="0", engine="vllm", state="down")
    labels = settled(intervals([decoding()] * 5 + [down] * 15))
    assert names(labels)[6:] == ["unknown"] * 14


def test_one_page_for_several_blocked_intervals_is_told_to_all_of_them() -> None:
    blocked = reading(engine="llamacpp", state="stale", window_seconds=None)
    batch = reading(
        engine="llamacpp",
        window_seconds=4.0,
        prompt_tokens=2000.0,
        prompt_tokens_computed=2000.0,
        prefill_seconds=3.9,
        first_tokens=None,
        requests_running=1.0,
    )
    before = reading(engine="llamacpp", first_tokens=None, requests_running=1.0, prefill_seconds=0.0)
    labels = settled(intervals([before, before, blocked, blocked, blocked, batch]))
    assert names(labels)[-4:] == ["prefill"] * 4


def test_an_engine_that_was_stopped_while_requests_ran_is_not_called_idle() -> None:
    """Six seconds without a page, then one for all of them: requests were running before and after."""
    running = {"engine": "llamacpp", "first_tokens": None, "requests_running": 4.0, "prefill_seconds": 0.0}
    before = reading(**running, generation_tokens=140.0, steps=35.0, cpu_seconds=0.98)
    blocked = reading(engine="llamacpp", state="blocked", window_seconds=None, cpu_seconds=0.0)
    late = reading(**running, window_seconds=7.0, generation_tokens=150.0, steps=38.0, cpu_seconds=0.9)
    labels = settled(intervals([before] * 4 + [blocked] * 6 + [late] + [before] * 12))
    assert "idle" not in names(labels)[1:]


def test_native_seconds_need_no_calibration() -> None:
    counted = reading(engine="sglang", prefill_seconds=0.25, decode_seconds=0.7, generation_tokens=90.0)
    labels = settled(intervals([counted] * 5))
    assert labels[-1].phase.prefill_share == pytest.approx(0.25 / 0.95, abs=0.01)
    assert labels[-1].phase.evidence == ("engine-seconds",)


def test_an_idle_counter_proves_idleness_without_waiting_ten_seconds() -> None:
    labeller = Labeller()
    idle = reading(engine="sglang", idle_seconds=1.0, prompt_tokens_computed=None, generation_tokens=None)
    ticks = [labeller.push(interval) for interval in intervals([idle] * 4)]
    done = [label for tick in ticks for label in tick.settled if label.entity == ENGINE]
    assert len(done) >= 2
    assert set(names(done)) == {"idle"}


def test_an_idle_counter_a_little_short_of_an_idle_interval_makes_no_prefill() -> None:
    """Its last update is older on one page than on the one before, so a fifth of a second is missing."""
    idle, short = (reading(engine="sglang", idle_seconds=told) for told in (1.0, 0.8))
    labels = settled(intervals([idle] * 4 + [short] + [idle] * 4))
    assert set(names(labels)[1:]) == {"idle"}
    assert set(labels[4].phase.evidence) == {"idle-counter"}


def test_an_update_of_an_idle_counter_that_is_missing_between_idle_intervals_makes_no_prefill() -> None:
    """One page came just before an update, and a later one just after: the idle second is told three pages late."""
    idle, none, twice = (reading(engine="sglang", idle_seconds=told) for told in (1.0, 0.0, 2.0))
    missing = EngineReading(endpoint=ENDPOINT, engine_index="0", engine="sglang", state="stale")
    labels = settled(intervals([idle] * 4 + [none, idle, idle, twice] + [idle] * 12))
    assert set(names(labels)[1:]) == {"idle"}
    for_two = reading(engine="sglang", idle_seconds=2.0, window_seconds=2.0)
    short = reading(engine="sglang", idle_seconds=0.9)
    labels = settled(intervals([idle] * 4 + [short, missing, for_two] + [idle] * 12))
    assert set(names(labels)[1:]) == {"idle"}


def test_busy_time_by_an_idle_counter_before_a_prompt_lands_stays_prefill() -> None:
    idle, begins, busy = (reading(engine="sglang", idle_seconds=told) for told in (1.0, 0.6, 0.0))
    landed = prompt_landed(5000, 3.4, engine="sglang", idle_seconds=0.0)
    labels = settled(intervals([idle] * 4 + [begins, busy, busy, landed] + [idle] * 4))
    assert names(labels)[4:8] == ["prefill"] * 4


def test_silence_that_an_idle_counter_does_not_explain_is_not_idle_however_short_the_intervals() -> None:
    idle, busy = (reading(engine="sglang", idle_seconds=told) for told in (0.25, 0.0))
    landed = prompt_landed(5000, 4.9, engine="sglang", idle_seconds=0.0)
    labels = settled(intervals([idle] * 8 + [busy] * 19 + [landed] + [idle] * 8, seconds=0.25))
    assert "idle" not in names(labels)[10:28]


def test_a_prompt_claims_no_time_before_its_request_came() -> None:
    """By its cost it took four seconds, but its first token came after one."""
    decoded = [decoding(steps=100)] * 60
    computed = [prompt_landed(1000, 1.0, requests_running=2.0)] * 60
    labels = settled(intervals(decoded + computed + [reading()] * 12 + [prompt_landed(4000, 1.0)] + [reading()] * 12))
    assert names(labels)[121:130] == ["idle"] * 9
    assert names(labels)[132] == "prefill"


def test_a_request_that_waited_long_while_others_decoded_makes_no_silence_doubtful() -> None:
    queued = decoding(prompt_tokens=900.0, prompt_tokens_computed=900.0, first_tokens=1.0, ttft=ttft(1, 15.0))
    labels = settled(intervals([decoding()] * 30 + [queued] + [reading()] * 25))
    assert set(names(labels)[32:45]) == {"idle"}


def test_silence_is_doubted_after_a_prompt_in_long_silence_from_wherever_labels_are_made_anew() -> None:
    made = intervals(
        [decoding()] * 6 + [reading()] * 13 + [prompt_landed(5000, 12.5)] + [reading()] * 4 + [decoding()] * 3
        + [prompt_landed(900, 14.0)] + [reading()] * 14
    )  # fmt: skip
    whole = {label.sequence: label for label in settled(made)}
    assert whole[made[-8].sequence].phase.label == "unknown"
    for cut in range(1, len(made)):
        labeller = Labeller()
        for interval in made[:cut]:
            labeller.push(interval)
        state = json.loads(json.dumps(labeller.checkpoint()))
        again = settled([one for one in made if one.sequence >= state["next_sequence"]], labeller=Labeller(state=state))
        assert again == [whole[label.sequence] for label in again]


def test_the_gpus_of_an_engine_share_its_split_of_their_own_busy_time() -> None:
    hardware = {"GPU-0": gpu("GPU-0", kernel_active_ratio=0.8), "GPU-1": gpu("GPU-1", kernel_active_ratio=0.4)}
    made = intervals([decoding(gpus=("GPU-0", "GPU-1"))] * 12, gpus=[hardware] * 12)
    first, second = settled(made, gpu_entity("GPU-0")), settled(made, gpu_entity("GPU-1"))
    assert first[-1].phase.label == second[-1].phase.label == "decode"
    assert first[-1].phase.busy_ratio == pytest.approx(0.8)
    assert second[-1].phase.busy_ratio == pytest.approx(0.4)


def test_a_gpu_without_an_engine_is_told_by_its_dram_activity() -> None:
    wave = [gpu(dram_active_ratio=level, tensor_active_ratio=0.3) for level in [0.6] * 30 + [0.1] * 30] * 2
    made = intervals([None] * 120, gpus=[{"GPU-0": one} for one in wave])
    labels = settled(made, gpu_entity("GPU-0"))
    assert labels[-1].phase.label == "prefill"
    assert labels[85].phase.label == "decode"
    assert labels[-1].phase.evidence == ("dram-activity",)


def test_a_gpu_without_contrast_and_anchors_is_unknown_and_not_guessed() -> None:
    flat = gpu(dram_active_ratio=0.35, tensor_active_ratio=0.3)
    made = intervals([None] * 60, gpus=[{"GPU-0": flat}] * 60)
    assert set(names(settled(made, gpu_entity("GPU-0")))) == {"unknown"}


def test_sm_activity_alone_names_no_phase() -> None:
    made = intervals([None] * 60, gpus=[{"GPU-0": gpu(sm_active_ratio=0.9)}] * 60)
    assert set(names(settled(made, gpu_entity("GPU-0")))) == {"unknown"}


def test_a_lost_gpu_is_unknown() -> None:
    made = intervals([None] * 3, gpus=[{"GPU-0": gpu(state="lost")}] * 3)
    assert set(names(settled(made, gpu_entity("GPU-0")))) == {"unknown"}


def test_the_time_of_a_lost_gpu_is_not_idle_time_of_the_machine() -> None:
    pair = {
        "GPU-0": gpu("GPU-0", kernel_active_ratio=1.0, dram_active_ratio=0.7, tensor_active_ratio=0.1),
        "GPU-1": gpu("GPU-1", state="lost"),
    }
    labels = settled(intervals([None] * 3, gpus=[pair] * 3), HOST)
    assert {label.phase.busy_ratio for label in labels} == {1.0}
    assert "demand" not in labels[-1].bottleneck.shares


def test_a_machine_with_nothing_to_watch_is_unknown() -> None:
    labels = settled(intervals([None] * 3), HOST)
    assert set(names(labels)) == {"unknown"}
    assert labels[0].bottleneck.why == "neither a GPU nor a serving engine is measured"


kinds = st.sampled_from(["decode", "silent", "prompt", "both", "down", "idle"])


def of_kind(kind: str) -> EngineReading:
    return {
        "decode": decoding(),
        "silent": reading(requests_running=1.0),
        "prompt": prompt_landed(1500, 1.4),
        "both": decoding(steps=20, prompt_tokens_computed=700.0, first_tokens=1.0, ttft=ttft(1, 0.5)),
        "down": EngineReading(endpoint=ENDPOINT, engine_index="0", engine="vllm", state="down"),
        "idle": reading(),
    }[kind]


@given(st.lists(kinds, min_size=1, max_size=60), st.integers(0, 59))
@settings(max_examples=60, deadline=None)
def test_labels_from_a_checkpoint_equal_those_without_to_the_bit(history: list[str], cut: int) -> None:
    made = intervals([of_kind(kind) for kind in history])
    whole = {label.sequence: label for label in settled(made)}
    labeller = Labeller()
    for interval in made[: cut % len(made)]:
        labeller.push(interval)
    state = json.loads(json.dumps(labeller.checkpoint()))
    rest = [interval for interval in made if interval.sequence >= state["next_sequence"]]
    for label in settled(rest, labeller=Labeller(state=state)):
        assert label == whole[label.sequence]


@given(st.lists(kinds, min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_shares_and_errors_are_ratios_and_prefill_never_exceeds_busy_time(history: list[str]) -> None:
    for label in settled(intervals([of_kind(kind) for kind in history])):
        phase = label.phase
        for ratio in (phase.prefill_share, phase.busy_ratio, phase.error):
            assert ratio is None or 0.0 <= ratio <= 1.0
        assert sum(label.bottleneck.shares.values()) == pytest.approx(1.0, abs=0.01) or not label.bottleneck.shares


def test_the_longest_of_several_waits_that_end_together_tells_how_far_the_work_reaches_back() -> None:
    three = reading(
        prompt_tokens_computed=2200.0, generation_tokens=3.0, first_tokens=3.0, steps=3.0, ttft=ttft_of(6.6, 0.6, 0.6)
    )
    labels = settled(intervals([reading()] * 12 + [three] + [reading()] * 12))
    assert names(labels)[7:13] == ["prefill"] * 6
    assert set(names(labels)[:6]) == {"idle"}


def test_silence_before_a_prompt_that_is_still_under_way_when_it_settles_is_unknown_and_not_idle() -> None:
    under_way = [reading()] * 5 + [reading(requests_running=1.0)] * 10
    labels = settled(intervals([reading()] * 12 + under_way + [prompt_landed(3000, 14.0)]))
    assert "idle" not in names(labels)[12:17]


def test_an_engine_that_was_mute_for_longer_than_labels_wait_is_not_called_idle_in_silence() -> None:
    made = intervals([reading()] * 15 + [prompt_landed(3000, 14.6, requests_running=0.0)] + [reading()] * 15)
    assert set(names(settled(made))[17:]) == {"unknown"}
