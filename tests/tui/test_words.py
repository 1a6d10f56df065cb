from __future__ import annotations

import re
from dataclasses import replace

import pytest

from collectors.model import HOST, Bottleneck, BottleneckName, Gap, Label, Phase, PhaseLabel, Tick
from collectors.slo import Objective, Slo, SloBook
from collectors.sources import SourceStatus
from dashboard.arrange import arrange
from dashboard.frames import Facts
from dashboard.scene import Scene
from dashboard.troubles import is_anything_odd, troubles
from dashboard.words import missing_reason, no_gpu_reason, odd_gpus, says_fine, verdict

from .support import desk_of, painted
from .wave import Wave, uuid


def label(phase: PhaseLabel, bottleneck: BottleneckName = "unknown", **more: object) -> Label:
    judged = Bottleneck(bottleneck, bottleneck, **more)  # type: ignore[arg-type]
    share = {"prefill": 0.8, "decode": 0.2, "mixed": 0.5}.get(phase)
    return Label(0, HOST, Phase(phase, True, share, 0.9 if share is not None else 0.0), judged)


def words(one: Label | None, reason: str | None = None) -> str:
    said = verdict(one, reason)
    return f"{said.phase}{said.joint}{said.limit}"


@pytest.mark.parametrize(
    ("phase", "bottleneck", "expected"),
    [
        ("decode", "memory-bandwidth", "Decode-dominated and bound by memory bandwidth"),
        ("prefill", "compute", "Prefill-dominated and bound by compute"),
        ("mixed", "host", "Prefill and decode mixed and held back by the host"),
        ("decode", "power", "Decode-dominated and held back by power or heat"),
        ("decode", "kv-capacity", "Decode-dominated and held back by KV-cache capacity"),
        ("decode", "demand", "Decode-dominated; nothing is wrong"),
        ("decode", "unknown", "Decode-dominated; what limits it is unknown"),
        ("idle", "demand", "Idle: no requests"),
        ("waiting", "kv-capacity", "Waiting, held back by KV-cache capacity"),
        ("waiting", "host", "Waiting, held back by the host"),
        ("unknown", "unknown", "Unknown:"),
    ],
)
def test_the_verdict_is_words_first(phase: PhaseLabel, bottleneck: BottleneckName, expected: str) -> None:
    assert words(label(phase, bottleneck)) == expected


def test_an_unknown_phase_says_why() -> None:
    assert verdict(label("unknown"), "engine: connection refused").evidence == "engine: connection refused"
    assert verdict(label("unknown", why="prompt counters have not moved yet"), "x").evidence == (
        "prompt counters have not moved yet"
    )
    assert verdict(None, None).phase == "Unknown"


def test_the_evidence_does_not_repeat_the_words() -> None:
    assert verdict(label("idle", "demand", why="no requests"), None).evidence == ""


def scene_of(wave: Wave, change: dict[int, dict[str, object]] | None = None, seconds: int = 8) -> Scene:
    """A scene of some seconds of a wave; `change` sets fields of GPUs by index in all of them."""

    def changed(tick: Tick) -> Tick:
        gpus = dict(tick.interval.gpus)
        for index, fields in (change or {}).items():
            gpus[uuid(index)] = replace(gpus[uuid(index)], **fields)  # type: ignore[arg-type]
        return replace(tick, interval=replace(tick.interval, gpus=gpus))

    desk = desk_of(changed(tick) for tick in wave.ticks(seconds))
    return desk.scene(arrange(120, 40, Facts(gpus=wave.gpus, engines=1)))


EVEN = Wave(hot_gpu=None, seed=3)


def test_gpus_that_work_alike_are_not_talked_about() -> None:
    assert odd_gpus(scene_of(EVEN)) is None


def test_a_gpu_behind_its_peers_is_named_with_the_reason() -> None:
    odd = odd_gpus(scene_of(Wave(hot_gpu=5)))
    assert odd is not None
    assert odd.text == "GPU 5 runs 18 % behind its peers: thermal slowdown 41 % of the time"
    assert odd.uuids == {uuid(5)}
    assert not odd.critical


def test_a_lost_gpu_comes_first_and_is_critical() -> None:
    odd = odd_gpus(scene_of(Wave(hot_gpu=5, lost_gpu=3)))
    assert odd is not None
    assert odd.text.startswith("GPU 3 is lost")
    assert odd.critical


def test_a_stale_gpu_is_named_with_its_age() -> None:
    odd = odd_gpus(scene_of(EVEN, {2: {"state": "stale", "age_seconds": 7.0, "dram_active_ratio": None}}))
    assert odd is not None
    assert odd.text == "GPU 2 is not answering: last reading 7 s ago"


def test_when_no_gpu_answers_the_reason_is_said_and_not_each_of_them() -> None:
    silent: dict[int, dict[str, object]] = {index: {"state": "stale"} for index in range(8)} | {5: {"state": "lost"}}
    scene = replace(scene_of(EVEN, silent), statuses=(SourceStatus("gpu", "stale", "NVML has not answered for 7 s"),))
    odd = odd_gpus(scene)
    assert odd is not None
    assert odd.text == "NVML has not answered for 7 s"
    assert odd.critical


def test_throttled_gpus_are_named_though_none_is_behind() -> None:
    capped = {index: {"throttle_power_ratio": 0.38} for index in (1, 4)}
    odd = odd_gpus(scene_of(EVEN, capped))
    assert odd is not None
    assert odd.text == "GPU 1: power cap 38 % of the time, and 1 more"


def test_gpus_are_compared_with_those_of_the_same_engine_and_the_worst_is_named() -> None:
    wave = Wave(hot_gpu=None, seed=3, engines=2)
    less: dict[int, dict[str, object]] = {n: {"dram_active_ratio": 0.4} for n in range(4, 8)}
    less |= {4: {"dram_active_ratio": 0.4, "throttle_power_ratio": 0.2}}
    less |= {5: {"dram_active_ratio": 0.4, "throttle_thermal_ratio": 0.79}}
    scene = scene_of(wave, less)
    halves = [tuple(uuid(n) for n in range(first, first + 4)) for first in (0, 4)]

    def placed(tick: Tick) -> Tick:
        engines = {
            key: replace(engine, gpus=half)
            for (key, engine), half in zip(tick.interval.engines.items(), halves, strict=True)
        }
        return replace(tick, interval=replace(tick.interval, engines=engines))

    assert (named := odd_gpus(scene)) is not None
    assert "behind its peers" in named.text
    ticks = [placed(tick) for tick in scene.recent(8)]
    odd = odd_gpus(desk_of(ticks).scene(arrange(120, 40, Facts(gpus=8, engines=2))))
    assert odd is not None
    assert odd.text == "GPU 5: thermal slowdown 79 % of the time, and 1 more"


def test_two_gpus_are_too_few_to_say_which_is_odd() -> None:
    assert odd_gpus(scene_of(Wave(gpus=2, hot_gpu=None), {1: {"dram_active_ratio": 0.2}})) is None


def test_idle_gpus_are_not_compared() -> None:
    idle = Wave(gpus=4, hot_gpu=None, idle_at=(0, 10))
    assert odd_gpus(scene_of(idle, {1: {"sm_active_ratio": 0.02, "dram_active_ratio": 0.01}})) is None


def test_the_reason_for_no_gpu_is_the_sources_own() -> None:
    wave = Wave(gpus=0)
    status = SourceStatus("gpu", "missing", "driver/library version mismatch")
    desk = desk_of(wave.ticks(3), statuses=[status])
    assert no_gpu_reason(desk.scene(arrange(80, 24, Facts()))) == "driver/library version mismatch"
    desk = desk_of(wave.ticks(3))
    assert no_gpu_reason(desk.scene(arrange(80, 24, Facts()))) == "libnvidia-ml.so.1 not found"


def test_what_is_missing_is_told_before_that_nothing_was_found() -> None:
    tick = Wave(gpus=0).tick(0)
    gap = Gap("http://127.0.0.1:8000/metrics", "connection refused")
    desk = desk_of([replace(tick, interval=replace(tick.interval, gaps=(gap,)))])
    assert missing_reason(desk.scene(arrange(80, 24, Facts()))) == "http://127.0.0.1:8000/metrics: connection refused"
    desk = desk_of(Wave(gpus=0, engines=0).ticks(1))
    assert missing_reason(desk.scene(arrange(80, 24, Facts()))) == "no serving engine was found on this host"


def test_nothing_is_said_to_be_fine_beside_what_is_odd() -> None:
    why = "DRAM 30 % of peak · nothing is wrong: no request waits"
    bound = label("decode", "memory-bandwidth", why=why)
    assert verdict(bound, None).evidence == why
    assert verdict(bound, None, is_odd=True).evidence == "DRAM 30 % of peak · no request waits"
    easy = label("decode", "demand", why="GPU busy 20 % · nothing is wrong: no request waits")
    said = verdict(easy, None, is_odd=True)
    assert f"{said.phase}{said.joint}{said.limit}" == "Decode-dominated; demand is the limit"
    assert said.evidence == "GPU busy 20 % · no request waits"
    assert says_fine(easy)
    assert says_fine(bound)
    assert not says_fine(label("decode", "memory-bandwidth", why="DRAM 30 % of peak"))


def test_what_is_promised_and_broken_and_who_is_silent_is_told_beside_the_verdict() -> None:
    book = SloBook(Slo(ttft=Objective(9.0, 0.99), tpot=Objective(0.001, 0.99)))
    desk = desk_of(Wave(gpus=0, engines=2).ticks(40))
    desk.slo = book
    scene = desk.scene(arrange(120, 40, Facts(engines=2)))
    told = troubles(scene)
    assert len(told) == 1
    assert re.fullmatch(r"TPOT p99 [\d.]+ m?s, promised 1\.0 ms \(:800\d, :800\d\)", told[0])
    assert is_anything_odd(scene)
    said = "\n".join(painted(desk, 120, 40))
    assert f"▲ {told[0]}" in said


def test_an_engine_that_does_not_answer_is_named_and_then_not_everything_is_well() -> None:
    def silent(tick: Tick) -> Tick:
        engines = {key: replace(engine, state="down") for key, engine in tick.interval.engines.items()}
        return replace(tick, interval=replace(tick.interval, engines=engines))

    scene = desk_of(silent(tick) for tick in Wave(gpus=0, engines=1).ticks(4)).scene(arrange(120, 40, Facts(engines=1)))
    assert troubles(scene) == ["vLLM :8000 is down"]


@pytest.mark.parametrize("wave", [EVEN, replace(EVEN, lost_gpu=2)], ids=["all there", "one lost"])
def test_nothing_is_wrong_is_not_said_beside_a_lost_gpu(wave: Wave) -> None:
    def easy(tick: Tick) -> Tick:
        calm = replace(tick.labels[HOST], bottleneck=Bottleneck("demand", "demand", why="GPU busy 20 %"))
        return replace(tick, labels={**tick.labels, HOST: calm}, settled=())

    text = "\n".join(painted(desk_of(easy(tick) for tick in wave.ticks(8)), 120, 40))
    assert ("nothing is wrong" in text) == (wave.lost_gpu is None)
    assert "demand is the limit" in text
