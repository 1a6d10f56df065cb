"""What the Engines screen is made from: packed latencies and phases, ranks together, who is out of step, bands."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.histogram import Histogram, merge
from collectors.model import EngineKey, Interval, Label, Phase, Tick, engine_entity
from collectors.readings import EngineReading
from dashboard.engine_columns import EngineColumns
from dashboard.engine_rows import Choice, rows_of, together
from dashboard.latency_rows import LatencyRows
from dashboard.rank_words import Standing, balance
from dashboard.state import History
from dashboard.widgets.latency_heat import bands

from .ranks import URL, rank, ticks
from .wave import SECOND, START, Wave

NARROW = (0.1, 1.0, 10.0)
counts = st.tuples(*[st.integers(0, 50)] * (len(NARROW) + 1))


def reading(index: str = "0", **fields: object) -> EngineReading:
    return EngineReading(endpoint=URL, engine_index=index, **fields)  # type: ignore[arg-type]


def tick(n: int, *readings: EngineReading) -> Tick:
    begins = START + n * SECOND
    return Tick(Interval(n, begins, begins + SECOND, 1.0, engines={one.key: one for one in readings}))


def seen(*numbers: int, bounds: tuple[float, ...] = NARROW) -> Histogram:
    return Histogram(bounds, numbers, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.one_of(st.none(), counts), st.one_of(st.none(), counts)), min_size=1, max_size=40),
    cut=st.integers(0, 39),
    first=st.integers(0, 39),
    last=st.integers(0, 40),
)
def test_packed_latencies_are_what_merging_the_readings_gives(
    rows: list[tuple[tuple[int, ...] | None, tuple[int, ...] | None]], cut: int, first: int, last: int
) -> None:
    kept = LatencyRows()
    for n, both in enumerate(rows):
        kept.append(tick(n, *(reading(str(i), ttft=seen(*c) if c else None) for i, c in enumerate(both))))
    cut = min(cut, len(rows))
    kept.trim(cut)
    rest = rows[cut:]
    last = min(last, len(rest))
    expected = merge([seen(*one) for both in rest[first:last] for one in both if one is not None])
    found = kept.merged([rank(0), rank(1)], "ttft", first, last)
    if expected is None or not any(expected.counts):
        assert found is None
    else:
        assert found is not None
        assert found.counts == expected.counts


def test_engines_whose_bounds_differ_are_not_added() -> None:
    kept = LatencyRows()
    kept.append(tick(0, reading("0", ttft=seen(1, 2, 3, 4)), reading("1", ttft=seen(1, 2, bounds=(5.0,)))))
    assert kept.merged([rank(0), rank(1)], "ttft", 0, 1) is None
    assert kept.merged([rank(1)], "ttft", 0, 1) == seen(1, 2, bounds=(5.0,))


def test_an_engine_that_comes_back_with_other_bounds_begins_anew() -> None:
    kept = LatencyRows()
    kept.append(tick(0, reading(ttft=seen(1, 2, 3, 4))))
    kept.append(tick(1, reading(ttft=seen(7, 0, bounds=(5.0,)))))
    assert kept.merged([rank(0)], "ttft", 0, 2) == seen(7, 0, bounds=(5.0,))
    assert kept.span([rank(0)], "ttft") == (0, 0)


def test_hostile_histograms_take_no_memory() -> None:
    kept = LatencyRows()
    bounds = tuple(float(n) for n in range(100_000))
    kept.append(tick(0, reading(ttft=Histogram(bounds, (1,) * 100_001, 0.0))))
    kept.append(tick(1, reading(tpot=seen(10**30, 0, 0, 0))))
    assert kept.nbytes < 1000
    assert kept.merged([rank(0)], "tpot", 0, 2) is not None


def test_an_hour_of_a_busy_engine_stays_small() -> None:
    history = History()
    history.extend(Wave(gpus=0, engines=1).ticks(150))
    tracks = history.tracks
    assert (tracks.latencies.nbytes + tracks.engine_phases.nbytes) / len(tracks) * 3600 < 500_000


def test_rows_stay_in_step_with_the_axis_when_the_oldest_go() -> None:
    history = History(keep_seconds=60)
    for n in range(700):
        history.append(tick(n, reading(ttft=seen(n % 7, 1, 0, 0))))
    tracks = history.tracks
    assert len(tracks.latencies) == len(tracks.engine_phases) == len(tracks) < 400
    row = tracks.row_of(690)
    assert row is not None
    assert tracks.latencies.merged([rank(0)], "ttft", row, row + 1) == seen(690 % 7, 1, 0, 0)


def test_columns_count_every_observation_once() -> None:
    history = History()
    history.extend(ticks(seconds=80))
    tracks = history.tracks
    step = 2 * SECOND
    columns = tracks.columns(tracks.ends[-1], step, 40)
    made = EngineColumns()
    for _ in range(2):  # the second time from what is kept
        found = made.latency(tracks, [rank(0), rank(1)], "tpot", columns, step)
        total = sum(one.count for one in found if one is not None)
        whole = tracks.latencies.merged([rank(0), rank(1)], "tpot", 0, len(tracks))
        assert whole is not None
        assert total == whole.count


def test_a_phase_that_settles_late_replaces_the_provisional_one_in_its_column() -> None:
    history = History()
    entity = engine_entity(rank(0))
    for n in range(4):
        label = Label(n, entity, Phase("decode", False, 0.0, 1.0), Wave().bottleneck(n))
        history.append(replace(tick(n, reading()), labels={entity: label}))
    tracks, made = history.tracks, EngineColumns()
    columns = tracks.columns(tracks.ends[-1], SECOND, 4)
    assert all(column.provisional for column in made.phases(tracks, [rank(0)], columns, SECOND))
    settled = Label(1, entity, Phase("prefill", True, 1.0, 1.0), Wave().bottleneck(1))
    history.append(replace(tick(4, reading()), settled=(settled,)))
    column = made.phases(tracks, [rank(0)], tracks.columns(tracks.ends[-1], SECOND, 5), SECOND)[1]
    assert column.seconds == pytest.approx((1.0, 0.0, 0.0, 0.0, 0.0))
    assert not column.provisional


def test_time_without_a_label_is_a_gap() -> None:
    history = History()
    history.append(tick(0, reading()))
    tracks = history.tracks
    (column,) = EngineColumns().phases(tracks, [rank(0)], tracks.columns(tracks.ends[-1], SECOND, 1), SECOND)
    assert column.gap == pytest.approx(1.0)


def test_ranks_together_add_amounts_and_weigh_kv_by_capacity() -> None:
    one = reading("0", generation_tokens=10.0, requests_running=2.0, window_seconds=1.0, model="m", version="1",
                  kv_cache_usage_ratio=0.5, kv_cache_tokens=100.0, ttft=seen(1, 0, 0, 0))  # fmt: skip
    other = reading("1", generation_tokens=5.0, requests_running=1.0, window_seconds=1.0, model="m", version="2",
                    kv_cache_usage_ratio=1.0, kv_cache_tokens=300.0, ttft=seen(0, 2, 0, 0), state="stale")  # fmt: skip
    both = together([one, other])
    assert (both.generation_tokens, both.requests_running, both.kv_cache_tokens) == (15.0, 3.0, 400.0)
    assert both.kv_cache_usage_ratio == pytest.approx(0.875)
    assert both.ttft == seen(1, 2, 0, 0)
    assert (both.model, both.version, both.state) == ("m", None, "stale")
    assert both.preemptions is None


def test_ranks_are_in_the_order_of_their_numbers() -> None:
    rows = rows_of([reading(str(n)) for n in (10, 2, 0, 1)])
    assert [row.name[1] for row in rows] == ["*", "0", "1", "2", "10"]


def test_a_selection_that_is_gone_falls_back_to_the_first_row() -> None:
    choice = Choice(selected=rank(3))
    rows = choice.rows({one.key: one for one in (reading("0"), reading("1"))})
    assert choice.row(rows) is rows[0]
    choice.move(rows, 99)
    assert choice.selected == rank(1)
    assert choice.row([]) is None


def standing(n: int, load: float | None = 5.0, kv: float | None = None, tpot: float | None = None) -> Standing:
    return Standing(rank(n), load, kv, None, tpot)


NAMES: dict[EngineKey, str] = {rank(n): f"rank {n}" for n in range(8)}


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ([standing(0)], None),
        ([standing(0, 10.0), standing(1, 11.0), standing(2, 30.0)],
         "rank 2 carries 2.9 times the load of its peers: requests 30 (the others 10)"),
        ([standing(0, 10.0), standing(1, 11.0), standing(2, 1.0)],
         "rank 2 carries 90 % less than its peers: requests 1.0 (the others 10)"),
        ([standing(0, 12.0), standing(1, 4.0)],
         "rank 0 carries 3.0 times the load of its peers: requests 12 (the others 4.0)"),
        ([standing(0, 0.0), standing(1, 0.0), standing(2, 8.0)],
         "rank 2 carries nearly all of the load: requests 8.0 (the others 0.0)"),
        ([standing(0, 1.0), standing(1, 0.2), standing(2, 1.5)],
         "the 3 ranks are in balance: requests 0.2 to 1.5"),
        ([standing(0, kv=0.2), standing(1, kv=0.3), standing(2, kv=0.9)],
         "rank 2 has its KV cache fuller than its peers: requests 5.0 (the others 5.0), KV 90 % (25 %)"),
        ([standing(0, tpot=0.02), standing(1, tpot=0.02), standing(2, tpot=0.05)],
         "rank 2 takes 2.5 times as long per token as its peers: requests 5.0 (the others 5.0), TPOT 50 ms (20 ms)"),
        ([standing(0, None), standing(1, None)], None),
    ],
)  # fmt: skip
def test_the_rank_out_of_step_is_named_against_the_median_of_the_others(
    ranks: list[Standing], said: str | None
) -> None:
    found = balance(ranks, NAMES)
    assert (None if found is None else found.text) == said


@settings(max_examples=200, deadline=None)
@given(
    last=st.integers(0, 40),
    span=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    rows=st.integers(1, 60),
    limit=st.one_of(st.none(), st.integers(0, 40)),
)
def test_bands_hold_every_bucket_once_and_never_both_sides_of_the_promise(
    last: int, span: tuple[int, int], rows: int, limit: int | None
) -> None:
    bounds = tuple(float(n + 1) for n in range(last))
    lowest, highest = sorted(min(end, last) for end in span)
    if limit is not None:
        limit = min(limit, last)
        lowest, highest = min(lowest, limit), max(highest, limit)
    shown = bands(bounds, lowest, highest, rows, limit)
    assert 1 <= len(shown) <= rows
    assert all(one.last == other.first for one, other in pairwise(shown))
    assert shown[0].first <= lowest
    assert shown[-1].last > highest
    if limit is not None and len(shown) > 1:
        assert not any(band.first <= limit < band.last - 1 for band in shown)
