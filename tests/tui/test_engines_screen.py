"""The Engines screen: as text at many sizes, its words and marks, and the running app under keys and mouse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot

from collectors.model import EngineKey, Gap, Tick
from collectors.readings import EngineReading
from collectors.slo import SloBook
from dashboard.app import PhasetopApp
from dashboard.desk import Desk
from dashboard.engine_rows import ORDERS
from dashboard.screens.base import Dashboard
from dashboard.screens.engines import EnginesScreen
from dashboard.widgets.latency_heat import TITLES
from dashboard.widgets.panel import Panel

from .examples import ALL_FIELDS, HOSTILE, thinned
from .goldens import Golden, check
from .ranks import LLAMACPP, PROMISED, URL, rank, ticks
from .support import FakeFeed, desk_of, painted, painted_screen, text_of
from .wave import SECOND, START, Wave

SIZES = ((20, 5), (40, 10), (80, 24), (120, 40), (200, 50))


def ranks_desk(slo: SloBook = PROMISED, **more: object) -> Desk:
    desk = desk_of(ticks(), **more)  # type: ignore[arg-type]
    desk.slo = slo
    return desk


def prepared(
    selected: EngineKey | None = None, latency: str = "ttft", order: str = "engine", wanted: str = ""
) -> Callable[[Dashboard], None]:
    def prepare(screen: Dashboard) -> None:
        assert isinstance(screen, EnginesScreen)
        choice = screen.choice
        choice.selected, choice.latency, choice.order, choice.wanted = selected, latency, order, wanted

    return prepare


def draw(size: tuple[int, int] = (120, 40), desk: Desk | None = None, **chosen: object) -> list[str]:
    return painted_screen(EnginesScreen, desk or ranks_desk(), *size, prepare=prepared(**chosen))  # type: ignore[arg-type]


def goldens() -> Iterator[Golden]:
    for width, height in SIZES:
        yield f"engines-{width}x{height}", partial(draw, (width, height))
    yield "engines-80x24-ascii", lambda: draw((80, 24), ranks_desk(ascii=True))
    yield "engines-120x40-mono", lambda: draw((120, 40), ranks_desk(colors="mono"), selected=rank(2), latency="tpot")
    yield "engines-120x40-llamacpp", partial(draw, (120, 40), selected=(LLAMACPP, "0"))
    yield "engines-80x24-none", lambda: draw((80, 24), desk_of(Wave(gpus=0, engines=0).ticks(20)))


@pytest.mark.parametrize("golden", [name for name, _ in goldens()])
def test_the_screen_looks_as_it_was_looked_at(golden: str) -> None:
    check(golden, dict(goldens())[golden]())


@settings(max_examples=50, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 100)),
    engines=st.integers(0, 8),
    as_ranks=st.booleans(),
    kept=st.sets(st.sampled_from(ALL_FIELDS)),
    state=st.sampled_from(["ok", "blocked", "stale", "down"]),
    order=st.sampled_from(sorted(ORDERS)),
    latency=st.sampled_from(sorted(TITLES)),
    wanted=st.sampled_from(["", "vllm", "8003", "nothing like it"]),
    moved=st.integers(-3, 12),
    back=st.integers(0, 5),
    look=st.sampled_from(["color", "mono", "ascii"]),
    alone=st.sampled_from([None, "engines", "detail", "history", "heat"]),
)
def test_no_machine_and_no_size_breaks_the_screen(
    size: tuple[int, int], engines: int, as_ranks: bool, kept: set[str], state: str, order: str, latency: str,
    wanted: str, moved: int, back: int, look: str, alone: str | None,
) -> None:  # fmt: skip
    made = ticks(engines, 6) if as_ranks else list(Wave(gpus=1, engines=engines).ticks(6, first=10))
    desk = desk_of(
        [thinned(tick, kept, ("ok", state)) for tick in made],
        colors="mono" if look == "mono" else "truecolor", ascii=look == "ascii",
    )  # fmt: skip
    desk.slo = PROMISED
    if back:
        desk.step(-back)

    def prepare(screen: Dashboard) -> None:
        assert isinstance(screen, EnginesScreen)
        prepared(None, latency, order, wanted)(screen)
        screen._alone = alone
        tick = desk.tick()
        screen.choice.move([] if tick is None else screen.choice.rows(tick.interval.engines), moved)

    lines = painted_screen(EnginesScreen, desk, *size, prepare=prepare)
    assert len(lines) == size[1]
    if look == "ascii":
        assert all(line.isascii() for line in lines)


def test_ranks_stand_below_what_they_make_together() -> None:
    lines = draw()
    (head,) = [n for n, line in enumerate(lines) if "vLLM :8000, 4 ranks" in line and "▶" in line]
    assert [line.split()[1:3] for line in lines[head + 1 : head + 5]] == [["rank", str(n)] for n in range(4)]
    assert "llama.cpp :8080" in lines[head + 5]
    column = lines[head - 1].index(" run") + 4
    running = [int(line[column - 4 : column]) for line in lines[head : head + 5]]
    assert running[0] == sum(running[1:])


def test_the_rank_with_more_to_do_is_named_with_its_figures() -> None:
    (line,) = [line for line in draw((160, 40)) if "load of its peers" in line]
    assert "▲ rank 2 carries 2." in line
    assert "requests 51 (the others 23), KV 80 % (33 %)" in line
    assert "TPOT" in line


def test_ranks_in_balance_are_said_to_be() -> None:
    desk = desk_of(ticks(odd=None))
    assert any("the 4 ranks are in balance: requests 23, KV 33 %" in line for line in draw(desk=desk))


def test_what_is_slower_than_promised_is_marked_by_glyph_weight_and_words() -> None:
    desk = ranks_desk()
    text = "\n".join(draw(desk=desk, selected=rank(2)))
    assert "p99 within 0.40 s   ▲ broken: " in text
    assert " ┄┄┄" in text
    assert "400 ms ┄" in text
    kept = "\n".join(draw(desk=ranks_desk(SloBook()), selected=rank(2)))
    assert "promised" in kept  # the heading
    assert "broken" not in kept
    assert "┄" not in kept


def test_quantiles_are_of_all_ranks_merged() -> None:
    """One slow rank of four: its own p99 is higher than that of all, which is higher than that of the others."""
    lines = draw((200, 50))
    end = lines[2].index("p99", lines[2].index("TPOT")) + len("p99")

    def p99(line: str) -> float:
        number, unit = line[end - 7 : end].split()
        return float(number) * (0.001 if unit == "ms" else 1.0)

    together, *ranks = [p99(line) for line in lines[3:8]]
    assert max(ranks) == ranks[2] > together > max(ranks[0], ranks[1], ranks[3])


def test_an_engine_without_latencies_says_so_and_leaves_the_room_to_others() -> None:
    text = "\n".join(draw(selected=(LLAMACPP, "0")))
    assert "latency   its page tells none" in text
    assert "─ Latency" not in text
    assert "─ KV" not in text


def test_an_engine_that_is_down_keeps_its_row_with_the_reason() -> None:
    *made, last = ticks()
    engines = dict(last.interval.engines)
    engines[LLAMACPP, "0"] = EngineReading(endpoint=LLAMACPP, engine_index="0", engine="llamacpp", state="down")
    gap = Gap(LLAMACPP, "connection refused")
    desk = desk_of([*made, replace(last, interval=replace(last.interval, engines=engines, gaps=(gap,)))])
    assert any("llama.cpp :8080" in line and "▲ down: connection refused" in line for line in draw(desk=desk))


def test_names_from_outside_are_shown_as_they_are_and_cut() -> None:
    for name in (HOSTILE, "m" * 10_000, "漢" * 5_000):
        for size in SIZES:
            draw(size, desk_of(Wave(engines=2, model=name).ticks(5)))
    text = "\n".join(draw((200, 50), desk_of(Wave(model=HOSTILE).ticks(5))))
    assert "[/] [bold red]x[/bold] [@click=quit]" in text


def test_sorting_puts_the_largest_first_and_keeps_ranks_together() -> None:
    lines = draw(order="waiting")
    assert "by waiting" in lines[1]
    assert [line.split()[2] for line in lines[4:8]] == ["2", "0", "1", "3"]
    assert "llama.cpp" in lines[8]
    assert next(line.split()[2] for line in draw((200, 50), order="TPOT p99")[4:8]) == "2"


def test_a_filter_shows_what_it_hides_in_the_title() -> None:
    lines = draw(wanted="8080")
    assert "filter 8080   1 shown of 5" in lines[1]
    assert "llama.cpp :8080" in lines[3]
    assert any("no engine has" in line for line in draw(wanted="zephyr"))


def test_the_overview_marks_what_is_slower_than_promised() -> None:
    desk = desk_of(Wave().ticks(60))
    assert not any("▲" in line for line in painted(desk, 120, 40) if "TTFT" in line)
    desk.slo = PROMISED
    (line,) = [line for line in painted(desk, 120, 40) if "TTFT  " in line]
    assert "s ▲" in line
    several = desk_of(Wave(engines=3).ticks(60))
    several.slo = PROMISED
    assert sum("▲" in line for line in painted(several, 160, 40) if "vLLM :800" in line) >= 3


@asynccontextmanager
async def running(size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[PhasetopApp, FakeFeed, Pilot[None]]]:
    feed, made = FakeFeed(), ticks(seconds=60)
    app = PhasetopApp(feed, now=lambda: START + 60 * SECOND, slo=PROMISED)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        feed.give(*made)
        await pilot.press("3")
        await pilot.pause()
        yield app, feed, pilot


async def seen(app: PhasetopApp, pilot: Pilot[None], *keys: str) -> str:
    await pilot.press(*keys)
    await pilot.pause()
    return "\n".join(text_of(app))


async def test_keys_select_engines_and_latencies() -> None:
    async with running() as (app, _, pilot):
        assert "─ vLLM :8000, 4 ranks together ─" in await seen(app, pilot)
        assert "─ rank 1 of :8000 ─" in await seen(app, pilot, "down", "down")
        assert "─ rank 0 of :8000 ─" in await seen(app, pilot, "up")
        assert "Latency  Time per output token" in await seen(app, pilot, "l")
        assert "Latency  Time in queue" in await seen(app, pilot, "l")
        assert "by tokens in" in await seen(app, pilot, "s")
        assert "─ llama.cpp :8080 ─" in await seen(app, pilot, *["down"] * 9)


async def test_a_filter_is_typed_and_taken_back() -> None:
    async with running() as (app, _, pilot):
        assert "filter 8080" in await seen(app, pilot, "slash", *"8080", "enter")
        assert "filter" not in (await seen(app, pilot, "slash", *["backspace"] * 4, "enter")).splitlines()[1]


async def test_a_click_selects_a_row() -> None:
    async with running() as (app, _, pilot):
        await pilot.click(app.screen.query_one("EngineTable"), offset=(10, 4))
        assert "─ rank 1 of :8000 ─" in await seen(app, pilot)


async def test_a_look_back_shows_that_interval_and_moves_nothing() -> None:
    async with running() as (app, _, pilot):
        before = [(panel.name, panel.region) for panel in app.screen.query(Panel)]
        text = await seen(app, pilot, *["left"] * 20)
        assert "12:00:40" in text
        assert [(panel.name, panel.region) for panel in app.screen.query(Panel)] == before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("look", [{}, {"ascii": True}, {"colors": "mono"}, {"colors": "16"}])
async def test_every_size_and_look_runs(size: tuple[int, int], look: dict[str, object]) -> None:
    feed = FakeFeed()
    app = PhasetopApp(feed, now=lambda: START + 30 * SECOND, **look)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        feed.give(*ticks(seconds=30))
        text = await seen(app, pilot, "3", "down", "l", "s")
        assert [len(line) for line in text.splitlines()] == [size[0]] * size[1]


async def test_another_second_repaints_few_cells() -> None:
    """What stands still is not sent again: with nothing new but a second, less than a fifth of the screen."""
    async with running() as (app, feed, pilot):
        painted: list[int] = []
        for panel in app.screen.query(Panel):
            original = panel.refresh

            def counting(*regions: object, original: Callable[..., object] = original, **more: object) -> object:
                painted.extend(region.width * region.height for region in regions)  # type: ignore[attr-defined]
                return original(*regions, **more)

            panel.refresh = counting  # type: ignore[method-assign,assignment]
        last: Tick = ticks(seconds=61)[-1]
        feed.give(last)
        await pilot.pause()
        assert 0 < sum(painted) < 120 * 40 / 2


def test_the_page_of_ranks_is_named_once() -> None:
    assert sum(URL in line for line in draw()) == 1
