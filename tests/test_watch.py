"""Events that take a while to see."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from collectors.model import HOST, Bottleneck, Event, Interval, Label, Phase, PhaseLabel, Tick
from collectors.readings import EngineReading, GpuReading
from collectors.watch import KvWatch, PhaseWatch, ThrottleWatch, Watch

SECOND = 1_000_000_000
URL = "http://127.0.0.1:8000/metrics"


def gpu(index: int, **fields: float | None) -> GpuReading:
    return GpuReading(uuid=f"GPU-{index}", index=index, name="H100", **fields)  # type: ignore[arg-type]


def interval(number: int, gpus: Iterable[GpuReading] = (), engine: EngineReading | None = None) -> Interval:
    return Interval(
        number,
        number * SECOND,
        (number + 1) * SECOND,
        1.0,
        gpus={one.uuid: one for one in gpus},
        engines={} if engine is None else {engine.key: engine},
    )


def throttled(shares: Iterable[float | None]) -> list[Event]:
    watch = ThrottleWatch()
    return [
        event
        for number, share in enumerate(shares)
        for event in watch.push(interval(number, [gpu(3, throttle_thermal_ratio=share)]))
    ]


def test_heat_that_lasts_is_told_when_it_begins_and_when_it_ends() -> None:
    events = throttled([0.0] * 20 + [1.0] * 20 + [0.0] * 20)
    assert [(event.kind, event.time // SECOND, event.entity) for event in events] == [
        ("throttle-begin", 21, "gpu/GPU-3"),
        ("throttle-end", 50, "gpu/GPU-3"),
    ]
    assert events[0].text == "GPU 3: heat holds clocks down"


def test_a_cause_that_flutters_is_one_event() -> None:
    assert len(throttled([0.0] * 10 + [0.3, 0.0, 0.0] * 40)) == 1


def test_a_touch_of_it_is_none_and_what_is_not_measured_changes_nothing() -> None:
    assert throttled([0.0, 0.05] * 50) == []
    assert [event.kind for event in throttled([1.0] * 5 + [None] * 60 + [1.0] * 5)] == ["throttle-begin"]


def test_gpus_that_are_capped_together_are_one_event_of_the_machine() -> None:
    watch = ThrottleWatch()
    events = [
        event
        for number in range(5)
        for event in watch.push(
            interval(number, [gpu(index, throttle_power_ratio=0.0 if index == 4 else 1.0) for index in range(8)])
        )
    ]
    assert [(event.entity, event.text) for event in events] == [
        (HOST, "GPUs 0-3, 5-7: the power cap holds clocks down")
    ]


def engine(used: float | None, waiting: float | None = 0.0, preemptions: float | None = None) -> EngineReading:
    return EngineReading(
        endpoint=URL,
        engine_index="0",
        engine="vllm",
        kv_cache_usage_ratio=used,
        requests_waiting=waiting,
        preemptions=preemptions,
    )


def test_a_full_cache_that_keeps_requests_out_is_told_once_until_there_was_room() -> None:
    watch = KvWatch()
    used = [(0.5, 0.0), (0.97, 0.0), (0.97, 3.0), (0.99, 9.0), (0.9, 1.0), (0.99, 2.0), (0.6, 0.0), (0.96, 1.0)]
    events = [
        event
        for number, (ratio, waiting) in enumerate(used)
        for event in watch.push(interval(number, engine=engine(ratio, waiting)))
    ]
    assert [event.time // SECOND for event in events] == [3, 8]
    assert events[0].text == f"KV cache 97% full: vllm at {URL}, 3 waiting"


def test_preemptions_keep_requests_out_too_and_an_unknown_cache_is_not_full() -> None:
    watch = KvWatch()
    (event,) = watch.push(interval(0, engine=engine(1.0, None, 2.0)))
    assert event.text.endswith("2 preempted")
    assert list(KvWatch().push(interval(0, engine=engine(None, 5.0)))) == []


def settled(labels: Iterable[PhaseLabel], late: int = 3) -> Iterator[Tick]:
    """Ticks of a machine whose intervals settle `late` intervals after they were made."""
    made: list[Label] = []
    for number, name in enumerate(labels):
        share = {"prefill": 1.0, "decode": 0.0}.get(name)
        busy = 1.0 if share is not None else 0.0
        phase = Phase(name, settled=True, prefill_share=share, busy_ratio=busy)
        made.append(Label(number, HOST, phase, Bottleneck()))
        now = (made[number - late],) if number >= late else ()
        yield Tick(interval(number), {}, now)


def changes(labels: Iterable[PhaseLabel]) -> list[Event]:
    watch = PhaseWatch()
    return [event for tick in settled(labels) for event in watch.push(tick)]


def test_another_dominant_phase_is_told_once_with_what_was_before() -> None:
    labels: list[PhaseLabel] = [*["decode"] * 60, *["prefill"] * 60, *["idle"] * 60]
    events = changes(labels)
    assert [event.text for event in events] == [
        "mostly prefill now, mostly decode before",
        "mostly idle now, mostly prefill before",
    ]
    assert [event.time // SECOND for event in events] == [60 + 18, 120 + 18]  # 60 % of half a minute later


def test_phases_that_alternate_dominate_nothing_new() -> None:
    labels: list[PhaseLabel] = ["decode", "prefill"]
    assert changes(["decode"] * 60 + labels * 60) == []


def test_time_that_nobody_can_tell_changes_nothing() -> None:
    labels: list[PhaseLabel] = [*["decode"] * 60, *["unknown"] * 90, *["decode"] * 60]
    assert changes(labels) == []


@given(st.lists(st.sampled_from(["prefill", "decode", "idle", "waiting", "unknown"]), max_size=200))
def test_dominant_phases_are_at_least_some_seconds_apart_and_never_the_same_twice(labels: list[PhaseLabel]) -> None:
    events = changes(labels)
    assert all(later.time - earlier.time >= 6 * SECOND for earlier, later in itertools.pairwise(events))
    told = [event.text.split(" now")[0] for event in events]
    assert all(one != other for one, other in itertools.pairwise(told))


def test_a_session_sees_all_kinds_of_them() -> None:
    watch = Watch()
    kinds = set()
    for tick in settled(["decode"] * 60 + ["prefill"] * 60):
        number = tick.interval.sequence
        whole = interval(number, [gpu(0, throttle_power_ratio=float(number > 30))], engine(0.99, 4.0))
        kinds |= {event.kind for event in watch.push(Tick(whole, {}, tick.settled))}
    assert kinds == {"engine-up", "kv-full", "throttle-begin", "phase-change"}
