from __future__ import annotations

from collections.abc import Iterator

import pytest

from collectors.analysis.tally import Tally, tally_of
from collectors.histogram import merge
from collectors.model import Tick
from dashboard.app import PhasetopApp
from dashboard.frames import Arrangement
from dashboard.ranges import RangeSum
from dashboard.screens.range import RangePanel

from .support import FakeFeed, desk_of, shows, text_of
from .wave import Wave

WAVE = Wave(gpus=2, engines=1)
ALL = list(WAVE.ticks(300))


def test_a_range_adds_up_to_the_sum_of_its_intervals() -> None:
    part = ALL[30:200]
    ranged = RangeSum(part[0].interval.start, part[-1].interval.end, iter(part))
    ranged.run()
    found = ranged.summary
    expected = sum((tally_of(tick.interval, tick.labels) for tick in part), Tally())
    assert found.complete
    assert found.tally.ledger.intervals == 170
    assert found.tally.ledger.wall == pytest.approx(expected.ledger.wall)
    assert found.tally.energy.generated_tokens == pytest.approx(expected.energy.generated_tokens)
    every = merge(
        [engine.ttft for tick in part for engine in tick.interval.engines.values() if engine.ttft is not None]
    )
    assert every is not None
    assert found.latencies["ttft"].counts == every.counts


def test_a_range_that_cannot_be_read_to_its_end_says_so_and_keeps_what_it_has() -> None:
    def torn() -> Iterator[Tick]:
        yield from ALL[:64]
        raise OSError("the disk is gone")

    ranged = RangeSum(ALL[0].interval.start, ALL[-1].interval.end, torn())
    ranged.run()
    assert not ranged.summary.complete
    assert ranged.summary.problem == "the disk is gone"
    assert ranged.summary.tally.ledger.intervals == 64


def test_the_history_gives_a_range_whole_also_where_it_is_packed() -> None:
    desk = desk_of(ALL)
    start, end = ALL[10].interval.start, ALL[290].interval.start
    assert [tick.interval for tick in desk.between(start, end)] == [tick.interval for tick in ALL[10:290]]


def test_the_two_ends_may_be_put_in_any_order() -> None:
    desk = desk_of(ALL)
    assert desk.set_edge("A") is None
    desk.step(-50)
    edges = desk.set_edge("B")
    assert edges is not None
    assert edges[0] < edges[1]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_panel_fits_any_width(width: int) -> None:
    desk = desk_of(ALL)
    ranged = RangeSum(ALL[0].interval.start, ALL[-1].interval.end, iter(ALL))
    ranged.run()
    drawing = RangePanel(ranged).draw(desk.scene(Arrangement()), width, 30)
    text = "\n".join("".join(run for run, _, _ in line.runs) for line in drawing.lines)
    assert all(line.cells <= width for line in drawing.lines)
    assert "prefill" in text
    assert "first token" in text


async def test_a_and_b_sum_up_what_lies_between_and_escape_leads_back() -> None:
    feed = FakeFeed()
    app = PhasetopApp(feed, now=lambda: ALL[-1].interval.end)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        feed.give(*ALL)
        await pilot.pause()
        await pilot.press("shift+left", "shift+left", "A")
        assert "press B" in text_of(app)[-1]
        await pilot.press("shift+right", "B")
        shown = await shows(app, pilot, "recorded", "first token")
        assert "recorded" in shown[0]
        await pilot.press("escape")
        await pilot.pause()
        assert "phasetop" in text_of(app)[0]
