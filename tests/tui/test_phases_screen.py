"""The Phases screen: as text at many sizes, what each figure says, and what it says when nothing was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.analysis.tally import tally_of
from collectors.model import Phase, Tick, engine_entity
from collectors.phase.calibrate import CostModel
from dashboard.app import PhasetopApp
from dashboard.archive import pack, unpack
from dashboard.desk import Desk
from dashboard.screens.phases import PhasesScreen
from dashboard.screens.table import entry
from dashboard.tallies import Tallies

from .examples import ALL_FIELDS, phases, thinned
from .goldens import Golden, check
from .machine import COSTS, with_machine
from .support import FakeFeed, desk_of, painted_screen, text_of
from .wave import Wave

SIZES = ((20, 5), (40, 10), (80, 24), (120, 40), (200, 50))


def ticks(seconds: int = 250, wave: Wave | None = None) -> list[Tick]:
    return [with_machine(tick) for tick in (wave or Wave()).ticks(seconds)]


def draw(size: tuple[int, int] = (120, 40), desk: Desk | None = None) -> list[str]:
    return painted_screen(PhasesScreen, desk or desk_of(ticks()), *size)


def screen(size: tuple[int, int] = (120, 40), desk: Desk | None = None) -> str:
    return "\n".join(draw(size, desk))


def goldens() -> Iterator[Golden]:
    for width, height in SIZES:
        yield f"phases-{width}x{height}", partial(draw, (width, height))
    yield "phases-80x24-ascii", lambda: draw((80, 24), desk_of(ticks(), ascii=True))
    yield "phases-120x40-mono", lambda: draw((120, 40), desk_of(ticks(), colors="mono"))
    yield "phases-120x40-nvml", lambda: draw((120, 40), desk_of(ticks(wave=Wave(activity_source="nvml"))))
    yield "phases-80x24-bare", lambda: draw((80, 24), desk_of(Wave(gpus=0, engines=0).ticks(20)))


@pytest.mark.parametrize("golden", [name for name, _ in goldens()])
def test_the_screen_looks_as_it_was_looked_at(golden: str) -> None:
    check(golden, dict(goldens())[golden]())


def test_the_verdict_comes_first_then_its_evidence_then_what_to_change() -> None:
    text = screen()
    order = [text.index(said) for said in ("bound by memory bandwidth", "DRAM 74 % of peak", "→ more concurrent")]
    assert order == sorted(order)


def test_each_figure_says_what_it_is_of() -> None:
    text = screen((200, 50))
    for said in (
        "989 TFLOP/s   ridge 295 FLOP/B", "tensor and DRAM activity x peak: an upper bound", "% of attainable",
        "limited by", "memory bandwidth", "per second of each phase, by least squares", "tensor active",
        "split: marginal (Shapley: no prefill alone seen)", "12.3 ms", "20.7 us", "±3 %", "explains its past well",
    ):  # fmt: skip
        assert said in text, said


def test_without_activity_the_roofline_says_not_measured_and_what_it_takes() -> None:
    text = screen(desk=desk_of(ticks(wave=Wave(activity_source="nvml"))))
    assert "not measured" in text
    assert "--enable-mfu-metrics" in text
    row = next(line for line in text.splitlines() if "compute " in line and "│" in line and "%" not in line)
    assert row.count("-") >= 2


def test_what_the_engine_estimates_is_said_to_be_the_engines() -> None:
    made = []
    for tick in ticks(40):
        engines = {
            key: replace(engine, flops=4e14, read_bytes=2e12, write_bytes=1e10)
            for key, engine in tick.interval.engines.items()
        }
        made.append(replace(tick, interval=replace(tick.interval, engines=engines)))
    assert "by the engine's own estimate of operations and bytes" in screen((200, 50), desk_of(made))


def test_an_engine_that_is_not_calibrated_has_dashes() -> None:
    text = screen(desk=desk_of(Wave().ticks(30)))
    assert "not calibrated yet" in text
    row = next(line for line in text.splitlines() if "vLLM :8000" in line and "- " in line)
    assert not any(character.isdigit() for character in row.replace(":8000", ""))


def test_costs_that_are_not_known_yet_are_dashes_beside_those_that_are() -> None:
    tick = ticks(30)[-1]
    entity = engine_entity(next(iter(tick.interval.engines)))
    half = CostModel(step=0.01, error=0.3, windows=5, knows_decode=True)
    text = screen(desk=desk_of([replace(tick, costs={entity: half})]))
    assert "10 ms" in text
    assert "the fit is poor; confidence stays low below 20 windows" in text


def test_the_ledger_is_of_the_stretch_that_the_strip_shows() -> None:
    desk = desk_of(ticks())
    tallies = Tallies()
    draw((120, 40), desk)
    scene = desk.scene(PhasesScreen(desk, entry("phases")).wanted(120, 40))
    shown = scene.columns(desk.columns)
    stretch = tallies.visible(scene)
    assert stretch.complete
    for n, name in enumerate(("prefill", "decode", "idle", "waiting", "unknown")):
        assert stretch.tally.ledger.wall[name] == pytest.approx(sum(column.seconds[n] for column in shown), abs=1.1)


def test_a_stretch_is_the_sum_of_its_intervals_however_often_it_is_asked_for() -> None:
    made = ticks(160)
    desk = desk_of(made)
    tallies = Tallies()
    history = desk.history
    first, last = made[3].interval.sequence, made[-1].interval.sequence
    while not (stretch := tallies.over(history, first, last)).complete:
        pass
    labels = {tick.interval.sequence: history.tick(tick.interval.sequence) for tick in made[3:]}
    expected = sum(
        tally_of(tick.interval, tick.labels).ledger.wall["prefill"] for tick in labels.values() if tick is not None
    )
    assert stretch.tally.ledger.wall["prefill"] == pytest.approx(expected)
    assert tallies.over(history, first, last).tally.ledger.wall == pytest.approx(dict(stretch.tally.ledger.wall))
    assert stretch.tally.ledger.intervals == len(made) - 3


def test_labels_that_settle_replace_what_was_provisional() -> None:
    made = ticks(60)
    desk = desk_of(made[:-1])
    tallies = Tallies()
    number = made[-12].interval.sequence
    before = tallies.over(desk.history, number, made[-2].interval.sequence)
    desk.arrive(made[-1])
    desk.receive()
    after = tallies.over(desk.history, number, made[-2].interval.sequence)
    settled = desk.history.tick(number)
    assert settled is not None
    assert before.tally.ledger.seconds == after.tally.ledger.seconds
    fresh = Tallies().over(desk.history, number, made[-2].interval.sequence)
    assert after.tally.ledger.wall == pytest.approx(dict(fresh.tally.ledger.wall))


def test_an_hour_is_added_up_a_little_at_a_time_and_what_is_shown_says_so() -> None:
    desk = desk_of(ticks(900))
    tallies = Tallies()
    first, last = desk.history.tracks.sequences[0], desk.history.tracks.sequences[-1]
    stretch = tallies.over(desk.history, first, last)
    assert not stretch.complete
    for _ in range(10):
        stretch = tallies.over(desk.history, first, last)
    assert stretch.complete
    assert stretch.tally.ledger.intervals == len(desk.history)


def test_packed_ticks_keep_their_costs_and_lists() -> None:
    made = ticks(20)
    assert [replace(tick, settled=()) for tick in made] == list(unpack(pack(made)))
    assert unpack(pack(made))[0].costs == {engine_entity(("http://127.0.0.1:8000/metrics", "0")): COSTS}


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 100)),
    gpus=st.integers(0, 16),
    engines=st.integers(0, 8),
    kept=st.sets(st.sampled_from(ALL_FIELDS)),
    states=st.tuples(st.sampled_from(["ok", "stale", "lost"]), st.sampled_from(["ok", "blocked", "stale", "down"])),
    phase=phases,
    flops=st.sampled_from([None, 0.0, 1.0, 1e15, 1e300]),
    back=st.integers(0, 3),
    look=st.sampled_from(["color", "mono", "ascii"]),
)
def test_no_machine_and_no_size_breaks_the_screen(
    size: tuple[int, int], gpus: int, engines: int, kept: set[str], states: tuple[str, str], phase: Phase,
    flops: float | None, back: int, look: str,
) -> None:  # fmt: skip
    made = []
    for tick in Wave(gpus=gpus, engines=engines, hot_gpu=1).ticks(4, first=10):
        thin = thinned(with_machine(tick), kept, states)
        engined = {key: replace(engine, flops=flops, read_bytes=flops) for key, engine in thin.interval.engines.items()}
        thin = replace(thin, interval=replace(thin.interval, engines=engined))
        labels = {entity: replace(label, phase=phase) for entity, label in thin.labels.items()}
        made.append(replace(thin, labels=labels, settled=()))
    desk = desk_of(made, colors="mono" if look == "mono" else "truecolor", ascii=look == "ascii")
    if back:
        desk.step(-back)
    lines = draw(size, desk)
    assert len(lines) == size[1]
    if look == "ascii":
        assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (120, 40), (200, 50)])
async def test_the_key_5_shows_it_in_the_running_app(size: tuple[int, int]) -> None:
    feed = FakeFeed()
    made = ticks(30)
    app = PhasetopApp(feed, now=lambda: made[-1].interval.end)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press("5")
        feed.give(*made)
        await pilot.pause()
        await pilot.pause()
        lines = text_of(app)
        assert [len(line) for line in lines] == [size[0]] * size[1]
        if size[0] >= 80:
            text = "\n".join(lines)
            assert "Roofline" in text
            for _ in range(3):
                await pilot.press("m")
                await pilot.pause()
                assert [len(line) for line in text_of(app)] == [size[0]] * size[1]
