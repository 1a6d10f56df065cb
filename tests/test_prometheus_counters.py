"""Counters of the Prometheus page: what advances when, and what resumes."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import HOST, PHASE_LABELS, Phase, engine_entity, gpu_entity
from collectors.phase.label import Labeller
from collectors.phase.rules import phase_seconds
from exporters.accounts import FORGET_SECONDS
from exporters.ledger import OVERDUE_SECONDS
from tests.prometheus_support import (
    ENDPOINT,
    LATENCY,
    START,
    by,
    engine,
    entities,
    gpu,
    interval,
    label,
    names,
    read,
    settle_all,
    sink,
    split,
    tick,
    value,
)

ENGINE = engine_entity((ENDPOINT, "0"))
GPU = gpu_entity("GPU-0")
PHASE_SECONDS = "phasetop_engine_phase_seconds_total"


def test_nothing_advances_on_provisional_labels():
    exporter = sink()
    for sequence in range(1, 6):
        exporter.put(tick(interval(sequence, [gpu(energy_joules=100.0)], [engine(generation_tokens=50.0)])))
    samples = read(exporter)
    for (name, _), number in samples.items():
        if name.endswith(("_phase_seconds_total", "_phase_label_seconds_total", "_bottleneck_seconds_total")):
            assert number == 0.0
    assert value(samples, "phasetop_engine_generation_tokens_total") == 250.0
    assert "phasetop_engine_phase_tokens_total" not in names(samples)
    assert "phasetop_gpu_phase_joules_total" not in names(samples)
    assert "phasetop_settled_timestamp_seconds" not in names(samples)


def test_a_settled_interval_advances_every_counter_by_its_own_duration():
    exporter = sink()
    one = interval(
        1, [gpu(energy_joules=400.0)], [engine(prompt_tokens_computed=800.0, generation_tokens=60.0)], duration=2.0
    )
    exporter.put(
        tick(
            one,
            label(1, HOST, "idle", bottleneck="demand"),
            label(1, GPU, "decode", 0.25, 0.8, bottleneck="power"),
            label(1, ENGINE, "mixed", 0.5, 1.0, bottleneck="kv-capacity"),
        )
    )
    samples = read(exporter)
    assert by(samples, "phasetop_gpu_phase_seconds_total", "phase") == pytest.approx(
        {"prefill": 0.4, "decode": 1.2, "idle": 0.4, "waiting": 0.0, "unknown": 0.0}
    )
    assert by(samples, "phasetop_gpu_phase_joules_total", "phase") == pytest.approx(
        {"prefill": 80.0, "decode": 240.0, "idle": 80.0, "waiting": 0.0, "unknown": 0.0}
    )
    assert by(samples, PHASE_SECONDS, "phase")["prefill"] == 1.0
    assert by(samples, "phasetop_engine_phase_label_seconds_total", "label")["mixed"] == 2.0
    assert by(samples, "phasetop_engine_bottleneck_seconds_total", "bottleneck")["kv-capacity"] == 2.0
    assert by(samples, "phasetop_engine_phase_tokens_total", "phase") == {"prefill": 800.0, "decode": 60.0}
    assert by(samples, "phasetop_host_phase_seconds_total", "phase")["idle"] == 2.0
    assert by(samples, "phasetop_host_bottleneck_seconds_total", "bottleneck")["demand"] == 2.0
    assert value(samples, "phasetop_settled_timestamp_seconds") == START / 1e9 + 1


def test_a_label_that_settles_late_counts_with_the_duration_and_amounts_of_its_own_interval():
    exporter = sink()
    first = interval(1, [gpu(energy_joules=10.0)], duration=1.5)
    exporter.put(tick(first))
    exporter.put(tick(interval(2, [gpu(energy_joules=99.0)], duration=9.0)))
    third = interval(3, [gpu(energy_joules=99.0)])
    exporter.put(tick(third, label(1, HOST, "unknown"), label(1, GPU, "prefill", 1.0, 1.0)))
    samples = read(exporter)
    assert by(samples, "phasetop_gpu_phase_seconds_total", "phase")["prefill"] == 1.5
    assert by(samples, "phasetop_gpu_phase_joules_total", "phase")["prefill"] == 10.0
    assert by(samples, "phasetop_gpu_phase_label_seconds_total", "label")["decode"] == 0.0
    assert value(samples, "phasetop_settled_timestamp_seconds") == START / 1e9 + 1


def test_counters_hold_whole_intervals_up_to_the_settled_timestamp_and_no_later_ones():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu()], [engine()]), label(1, HOST, "idle"), label(1, GPU, "idle")))
    samples = read(exporter)
    assert by(samples, "phasetop_gpu_phase_seconds_total", "phase")["idle"] == 0.0
    assert "phasetop_settled_timestamp_seconds" not in names(samples)
    second = interval(2, [gpu()], [engine()])
    exporter.put(tick(second, label(2, HOST, "idle"), label(2, GPU, "idle"), label(1, ENGINE, "idle")))
    samples = read(exporter)
    for scope in ("host", "gpu", "engine"):
        assert by(samples, f"phasetop_{scope}_phase_seconds_total", "phase")["idle"] == 1.0
    assert value(samples, "phasetop_settled_timestamp_seconds") == START / 1e9 + 1


def test_a_label_that_never_settles_holds_up_the_others_only_for_a_while():
    exporter = sink()
    last = int(OVERDUE_SECONDS) + 2
    for sequence in range(1, last + 1):
        exporter.put(
            tick(interval(sequence, [gpu()], [engine()]), label(sequence, HOST, "idle"), label(sequence, GPU, "idle"))
        )
    samples = read(exporter)
    assert by(samples, "phasetop_gpu_phase_seconds_total", "phase")["idle"] == 1.0
    assert sum(by(samples, PHASE_SECONDS, "phase").values()) == 0.0


def test_labels_of_intervals_never_seen_or_already_counted_change_nothing():
    exporter = sink()
    exporter.put(settle_all(interval(7, [gpu()])))
    before = read(exporter)
    stray = (label(3, GPU, "prefill", 1.0, 1.0), label(7, GPU, "prefill", 1.0, 1.0))
    exporter.put(tick(interval(8, [gpu()]), *stray))
    after = read(exporter)
    assert by(after, "phasetop_gpu_phase_seconds_total", "phase") == by(
        before, "phasetop_gpu_phase_seconds_total", "phase"
    )


PHASES = st.builds(
    Phase,
    label=st.sampled_from(PHASE_LABELS),
    settled=st.just(True),
    prefill_share=st.none() | st.floats(0, 1),
    busy_ratio=st.none() | st.floats(0, 1),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.1, 5.0), PHASES, st.integers(0, 6)), min_size=1, max_size=25), st.randoms())
def test_counters_equal_the_sums_over_settled_intervals_however_late_labels_come(history, chance: random.Random):
    exporter = sink()
    due = defaultdict(list)
    kinds, expected, seconds = {}, defaultdict(float), 0.0
    for sequence, (duration, phase, delay) in enumerate(history, 1):
        settled = replace(label(sequence, ENGINE, phase.label), phase=phase)
        due[sequence + delay].append(settled)
        kinds[sequence] = (duration, phase)
    booked = 0
    arrived = set()
    for sequence, (duration, _, _) in enumerate(history, 1):
        settled = [*due[sequence]]
        chance.shuffle(settled)
        arrived |= {one.sequence for one in settled}
        exporter.put(
            tick(interval(sequence, engines=[engine()], duration=duration), *settled, label(sequence, HOST, "unknown"))
        )
        while booked + 1 in arrived:
            booked += 1
            duration_then, phase = kinds[booked]
            for name, part in split(phase, duration_then).items():
                expected[name] += part
            seconds += duration_then
    samples = read(exporter)
    found = by(samples, PHASE_SECONDS, "phase")
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-9)
    labels = by(samples, "phasetop_engine_phase_label_seconds_total", "label")
    assert sum(labels.values()) == pytest.approx(seconds)
    until = value(samples, "phasetop_settled_timestamp_seconds")
    assert until == (START / 1e9 + booked if booked else None)


def test_a_phase_split_a_hair_below_zero_does_not_make_a_counter_go_back():
    exporter = sink(split=lambda phase, duration: {**split(phase, duration), "idle": -1e-9})
    exporter.put(settle_all(interval(1, engines=[engine()])))
    assert by(read(exporter), PHASE_SECONDS, "phase")["idle"] == 0.0


def test_the_real_labeller_s_settled_seconds_are_what_the_counters_hold():
    exporter, labeller = sink(split=phase_seconds), Labeller()
    expected: dict[str, float] = defaultdict(float)
    durations: dict[int, float] = {}
    for sequence in range(1, 41):
        busy = sequence % 4 != 0
        reading = engine(
            window_seconds=1.0,
            age_seconds=0.0,
            prompt_tokens=900.0 if busy and sequence % 8 < 4 else 0.0,
            prompt_tokens_computed=900.0 if busy and sequence % 8 < 4 else 0.0,
            generation_tokens=40.0 if busy else 0.0,
            steps=20.0 if busy else 0.0,
            requests_running=2.0 if busy else 0.0,
            requests_waiting=0.0,
        )
        one = interval(sequence, engines=[reading], duration=1.0 + sequence / 1000)
        durations[sequence] = one.duration
        done = labeller.push(one)
        exporter.put(done)
        for settled in done.settled:
            if settled.entity == ENGINE:
                for name, part in phase_seconds(settled.phase, durations[settled.sequence]).items():
                    expected[name] += part
    assert sum(expected.values()) > 25
    assert by(read(exporter), PHASE_SECONDS, "phase") == pytest.approx(expected)


def test_energy_of_an_engine_is_that_of_its_gpus_split_as_its_own_seconds():
    exporter = sink()
    one = interval(1, [gpu(0, energy_joules=100.0), gpu(1, energy_joules=300.0)], [engine(gpus=("GPU-0", "GPU-1"))])
    exporter.put(settle_all(one, "prefill", 0.75, 1.0))
    joules = by(read(exporter), "phasetop_engine_phase_joules_total", "phase")
    assert joules == {"prefill": 300.0, "decode": 100.0, "idle": 0.0, "waiting": 0.0, "unknown": 0.0}


@pytest.mark.parametrize("case", ["shared", "unmeasured", "no GPUs known"])
def test_energy_of_an_engine_is_missing_where_nothing_tells_it(case):
    owned = () if case == "no GPUs known" else ("GPU-0",)
    engines = [engine("0", gpus=owned), engine("1", gpus=owned if case == "shared" else ())]
    exporter = sink()
    exporter.put(settle_all(interval(1, [gpu(energy_joules=None if case == "unmeasured" else 9.0)], engines)))
    assert "phasetop_engine_phase_joules_total" not in names(read(exporter))


def test_amounts_accumulate_and_never_go_back():
    exporter = sink()
    for sequence, tokens in enumerate((10.0, None, -5.0, float("nan"), 2.5), 1):
        exporter.put(tick(interval(sequence, engines=[engine(generation_tokens=tokens)])))
        total = value(read(exporter), "phasetop_engine_generation_tokens_total")
        assert total == (10.0 if sequence < 5 else 12.5)


def test_a_total_that_is_not_measured_any_more_loses_its_series_and_resumes():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(energy_joules=10.0)])))
    exporter.put(tick(interval(2, [gpu()], duration=FORGET_SECONDS)))
    assert value(read(exporter), "phasetop_gpu_energy_joules_total") == 10.0
    exporter.put(tick(interval(3, [gpu()])))
    assert value(read(exporter), "phasetop_gpu_energy_joules_total") is None
    exporter.put(tick(interval(4, [gpu(energy_joules=1.0)])))
    assert value(read(exporter), "phasetop_gpu_energy_joules_total") == 11.0


def test_a_lost_gpu_keeps_its_state_series_while_everything_else_of_it_vanishes():
    exporter = sink()
    exporter.put(settle_all(interval(1, [gpu(0, power_watts=1.0), gpu(1, power_watts=2.0, energy_joules=5.0)])))
    exporter.put(settle_all(interval(2, [gpu(0, power_watts=1.0), gpu(1, state="lost", power_watts=2.0)])))
    samples = read(exporter)
    about_it = {name for name, labels in samples if ("uuid", "GPU-1") in labels}
    assert about_it == {"phasetop_gpu_state"}
    assert by(samples, "phasetop_gpu_state", "state", gpu="1") == {"ok": 0.0, "stale": 0.0, "lost": 1.0}
    assert by(samples, "phasetop_gpu_state", "state", gpu="0")["ok"] == 1.0
    assert value(samples, "phasetop_gpu_power_watts", gpu="0") == 1.0


def test_a_gpu_without_a_row_is_lost_when_others_have_one_and_stale_when_none_has():
    exporter = sink()
    exporter.put(settle_all(interval(1, [gpu(0), gpu(1)])))
    exporter.put(settle_all(interval(2, [gpu(0)])))
    assert value(read(exporter), "phasetop_gpu_state", gpu="1", state="lost") == 1.0
    exporter.put(settle_all(interval(3)))
    assert value(read(exporter), "phasetop_gpu_state", gpu="1", state="stale") == 1.0
    assert value(read(exporter), "phasetop_gpu_state", gpu="0", state="stale") == 1.0


def test_an_instance_of_a_partitioned_gpu_that_is_gone_leaves_nothing():
    exporter = sink()
    exporter.put(settle_all(interval(1, [gpu(0), replace(gpu(1), uuid="MIG-7")])))
    exporter.put(settle_all(interval(2, [gpu(0)])))
    assert not any(("uuid", "MIG-7") in labels for _, labels in read(exporter))


def test_the_counters_of_a_lost_gpu_stay_until_its_last_label_has_settled():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(0), gpu(1)])))
    exporter.put(tick(interval(2, [gpu(0), gpu(1, state="lost")])))
    name = "phasetop_gpu_phase_seconds_total"
    assert by(read(exporter), name, "phase", gpu="1")["decode"] == 0.0
    late = [label(1, entity, "decode", 0.0, 1.0) for entity in entities(interval(1, [gpu(0), gpu(1)]))]
    exporter.put(tick(interval(3, [gpu(0), gpu(1, state="lost")]), *late))
    assert by(read(exporter), name, "phase", gpu="1") == {}


def test_counters_resume_where_they_stood_when_the_gpu_returns():
    exporter = sink()
    exporter.put(settle_all(interval(1, [gpu(0), gpu(1, energy_joules=5.0)])))
    before = by(read(exporter), "phasetop_gpu_phase_seconds_total", "phase", gpu="1")
    exporter.put(settle_all(interval(2, [gpu(0)])))
    exporter.put(tick(interval(3, [gpu(0), gpu(1, energy_joules=2.0)])))
    samples = read(exporter)
    assert value(samples, "phasetop_gpu_energy_joules_total", gpu="1") == 7.0
    assert by(samples, "phasetop_gpu_phase_seconds_total", "phase", gpu="1") == before


def test_an_engine_that_is_gone_leaves_nothing_and_resumes_its_counters_when_it_is_back():
    exporter = sink()
    here = engine(generation_tokens=100.0, ttft=LATENCY, requests_running=3.0)
    exporter.put(settle_all(interval(1, engines=[here])))
    before = by(read(exporter), PHASE_SECONDS, "phase")
    exporter.put(settle_all(interval(2)))
    assert not any(name.startswith("phasetop_engine") for name in names(read(exporter)))
    exporter.put(tick(interval(3, engines=[replace(here, generation_tokens=1.0)])))
    samples = read(exporter)
    assert by(samples, PHASE_SECONDS, "phase") == before
    assert value(samples, "phasetop_engine_generation_tokens_total") == 101.0
    assert value(samples, "phasetop_engine_ttft_seconds_count") == 2 * LATENCY.count


def test_an_engine_that_is_down_shows_its_state_under_the_name_it_last_gave():
    exporter = sink()
    exporter.put(settle_all(interval(1, engines=[engine(requests_running=3.0)])))
    exporter.put(settle_all(interval(2, engines=[engine(engine=None, state="down", requests_running=3.0)])))
    samples = read(exporter)
    assert by(samples, "phasetop_engine_state", "state", engine="vllm")["down"] == 1.0
    assert {name for name in names(samples) if name.startswith("phasetop_engine")} == {"phasetop_engine_state"}


def test_the_time_of_an_engine_whose_page_is_late_is_counted_when_it_settles():
    exporter = sink()
    exporter.put(settle_all(interval(1, engines=[engine(requests_running=1.0)])))
    late = engine(state="stale", age_seconds=8.0, requests_running=1.0)
    exporter.put(settle_all(interval(9, engines=[late]), "prefill", 1.0, 1.0))
    samples = read(exporter)
    assert by(samples, "phasetop_engine_phase_label_seconds_total", "label")["prefill"] == 1.0
    assert "phasetop_engine_requests_running" not in names(samples)
    assert value(samples, "phasetop_engine_state", state="stale") == 1.0


def test_a_reading_that_is_a_little_stale_is_still_shown():
    exporter = sink()
    exporter.put(tick(interval(1, engines=[engine(state="stale", age_seconds=2.5, requests_running=1.0)])))
    assert value(read(exporter), "phasetop_engine_requests_running") == 1.0


def test_another_engine_on_the_same_endpoint_has_counters_of_its_own():
    exporter = sink()
    exporter.put(settle_all(interval(1, engines=[engine(generation_tokens=100.0)])))
    exporter.put(tick(interval(2, engines=[engine(engine="sglang", generation_tokens=5.0)])))
    samples = read(exporter)
    assert value(samples, "phasetop_engine_generation_tokens_total", engine="sglang") == 5.0
    assert sum(by(samples, PHASE_SECONDS, "phase", engine="sglang").values()) == 0.0
    assert value(samples, "phasetop_engine_generation_tokens_total", engine="vllm") is None


def test_what_is_remembered_of_things_that_come_and_go_is_bounded():
    exporter = sink()
    for sequence in range(1, 300):
        exporter.put(settle_all(interval(sequence, [gpu(sequence)])))
    assert len(by(read(exporter), "phasetop_gpu_state", "gpu", state="lost")) == 256


def test_error_reports_are_counted_by_code_also_of_a_gpu_that_is_lost():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(xid_codes="31,31")])))
    exporter.put(tick(interval(2, [gpu(state="lost", xid_codes="79")])))
    exporter.put(tick(interval(3, [gpu(state="lost")])))
    samples = read(exporter)
    assert by(samples, "phasetop_gpu_xid_errors_total", "xid") == {"31": 2.0, "79": 1.0}
    assert by(samples, "phasetop_gpu_xid_last_timestamp_seconds", "xid")["79"] == START / 1e9 + 2.0
