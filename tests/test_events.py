from __future__ import annotations

from typing import Any

from collectors.events import events_between
from collectors.gpu.xid_words import xid_words
from collectors.model import Gap, Interval
from collectors.readings import EngineReading, GpuReading

URL = "http://127.0.0.1:8000/metrics"


def engine(state: str = "ok", **fields: Any) -> EngineReading:
    return EngineReading(endpoint=URL, engine_index="0", engine="vllm", state=state, **fields)


def interval(
    sequence: int, *, engine: EngineReading | None = None, gpu: GpuReading | None = None, gaps: tuple[Gap, ...] = ()
) -> Interval:
    return Interval(
        sequence,
        sequence * 10,
        sequence * 10 + 10,
        1.0,
        engines={engine.key: engine} if engine else {},
        gpus={gpu.uuid: gpu} if gpu else {},
        gaps=gaps,
    )


def kinds(before: Interval | None, now: Interval) -> list[str]:
    return [event.kind for event in events_between(before, now)]


def test_an_error_report_is_an_event_in_words_also_of_a_gpu_that_is_lost() -> None:
    lost = GpuReading(uuid="a", index=2, name="H100", state="lost", xid_codes="31,31,79,x")
    events = events_between(interval(1, gpu=GpuReading(uuid="a")), interval(2, gpu=lost))
    assert [(event.kind, event.text) for event in events] == [
        ("xid", "GPU 2 (H100): XID 31: memory fault in a kernel; restart the process (2 times)"),
        ("xid", "GPU 2 (H100): XID 79: the GPU has fallen off the bus; reboot the machine"),
        ("gpu-lost", "GPU 2 (H100) is lost"),
    ]
    assert xid_words(4711) == "XID 4711"


def test_an_engine_seen_for_the_first_time_came_up() -> None:
    assert kinds(None, interval(1, engine=engine())) == ["engine-up"]
    assert kinds(interval(1), interval(2, engine=engine())) == ["engine-up"]
    assert kinds(interval(1), interval(2, engine=engine("down"))) == []


def test_an_engine_that_goes_and_comes_back_makes_two_events_with_the_reason() -> None:
    up, down = interval(1, engine=engine()), interval(2, engine=engine("down"), gaps=(Gap(URL, "connection refused"),))
    (event,) = events_between(up, down)
    assert (event.kind, event.time, event.entity) == ("engine-down", down.end, f"engine/{URL}#0")
    assert event.text == f"vllm at {URL} is down: connection refused"
    assert kinds(down, interval(3, engine=engine())) == ["engine-up"]


def test_a_page_that_is_late_or_blocked_is_no_event() -> None:
    assert kinds(interval(1, engine=engine()), interval(2, engine=engine("blocked"))) == []
    assert kinds(interval(1, engine=engine("stale")), interval(2, engine=engine())) == []


def test_totals_that_went_back_are_a_restart() -> None:
    before = interval(1, engine=engine(window_seconds=1.0, generation_tokens=5.0, preemptions=0.0))
    now = interval(2, engine=engine(window_seconds=1.0, generation_tokens=None, preemptions=0.0))
    assert kinds(before, now) == ["engine-restart"]
    assert kinds(before, interval(2, engine=engine())) == ["engine-restart"]


def test_an_engine_that_could_not_be_read_while_it_started_anew_is_a_restart() -> None:
    loading = interval(2, engine=engine("blocked", age_seconds=9.0))
    assert kinds(loading, interval(3, engine=engine(prompt_tokens=None))) == ["engine-restart"]
    assert kinds(loading, interval(3, engine=engine(window_seconds=9.0))) == []
    # After a minute the page would not have been compared with the old one either way.
    assert kinds(interval(2, engine=engine("blocked", age_seconds=90.0)), interval(3, engine=engine())) == []


def test_an_engines_second_page_is_no_restart() -> None:
    first = interval(1, engine=engine())
    assert kinds(first, interval(2, engine=engine(window_seconds=1.0, generation_tokens=5.0))) == []


def test_a_gpu_that_is_lost_and_found_makes_two_events() -> None:
    ok = interval(1, gpu=GpuReading(uuid="GPU-1", index=3, name="H100"))
    lost = interval(2, gpu=GpuReading(uuid="GPU-1", index=3, name="H100", state="lost"))
    stale = interval(2, gpu=GpuReading(uuid="GPU-1", index=3, state="stale"))
    (event,) = events_between(ok, lost)
    assert (event.kind, event.entity, event.text) == ("gpu-lost", "gpu/GPU-1", "GPU 3 (H100) is lost")
    assert kinds(lost, ok) == ["gpu-back"]
    assert kinds(ok, stale) == kinds(lost, stale) == kinds(lost, lost) == []


def test_a_clock_that_stepped_is_an_event_and_a_missed_interval_is_not() -> None:
    stepped = interval(2, gaps=(Gap("clock", "the clock stepped back by 5.0 s"),))
    (event,) = events_between(interval(1), stepped)
    assert (event.kind, event.time, event.text) == ("clock-step", stepped.start, "the clock stepped back by 5.0 s")
    assert kinds(interval(1), interval(5, gaps=(Gap("sampler", "3 intervals missed"),))) == []
