from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.palette import Palette, palette
from dashboard.tracks import LINES, Column
from dashboard.widgets.line import Line
from dashboard.widgets.strip import paint, spark, stack

COLOR, MONO, LETTERS = palette("truecolor"), palette("mono"), palette("truecolor", ascii=True)
NOTHING = (math.nan,) * len(LINES)

parts = st.tuples(*[st.floats(0, 2)] * 5)
columns = st.lists(
    st.builds(
        lambda seconds, gap, provisional: Column(0, seconds, gap, provisional, NOTHING, 0, 0),
        parts, st.sampled_from([0.0, 0.0, 1.0]), st.booleans(),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


def column(
    prefill: float = 0, decode: float = 0, idle: float = 0, waiting: float = 0, unknown: float = 0, gap: float = 0,
    provisional: bool = False, sequence: int | None = 0,
) -> Column:  # fmt: skip
    return Column(0, (prefill, decode, idle, waiting, unknown), gap, provisional, NOTHING, sequence, sequence)


def text(lines: list[Line]) -> list[str]:
    return ["".join(run for run, _, _ in line.runs) for line in lines]


def drawn(one: Column, shown: Palette, rows: int = 4) -> str:
    """The cells of a single column, bottom first."""
    return "".join(text(paint([one], rows, shown, None)))[::-1]


@given(columns, st.integers(1, 16))
def test_every_row_is_as_wide_as_there_are_columns(shown: list[Column], rows: int) -> None:
    for used in (COLOR, MONO, LETTERS):
        lines = paint(shown, rows, used, None)
        assert len(lines) == rows
        assert all(line.cells == len(shown) for line in lines)


@given(parts, st.sampled_from([0.0, 0.5]), st.integers(1, 16))
def test_heights_are_the_shares_of_time_to_half_an_eighth(
    seconds: tuple[float, float, float, float, float], gap: float, rows: int
) -> None:
    prefill, decode, idle, waiting, unknown = seconds
    one = Column(0, seconds, gap, False, NOTHING, 0, 0)
    total = sum(seconds) + gap
    heights = dict(stack(one, rows))
    assert sum(heights.values()) <= rows * 8
    if total > 0.01:
        for name, part in (("decode", decode), ("prefill", prefill), ("waiting", waiting), ("unknown", unknown)):
            assert heights.get(name, 0) / (rows * 8) == pytest.approx(part / total, abs=1.01 / (rows * 8))
        assert 1 - sum(heights.values()) / (rows * 8) == pytest.approx(idle / total, abs=0.51 / (rows * 8))


def test_decode_stands_under_prefill_and_idle_is_empty_above() -> None:
    assert drawn(column(prefill=0.25, decode=0.5, idle=0.25), LETTERS) == "ddp "
    assert drawn(column(prefill=0.25, decode=0.5, idle=0.25), MONO) == "██▒ "


def test_idle_unknown_waiting_and_gap_are_told_apart_without_colour() -> None:
    assert drawn(column(idle=1), COLOR) == "▁   "
    assert drawn(column(unknown=1), COLOR) == "····"
    assert drawn(column(waiting=1), COLOR) == "░░░░"
    assert drawn(column(gap=1, sequence=None), COLOR) == "╱╱╱╱"


def test_before_the_first_interval_there_is_nothing() -> None:
    assert drawn(column(sequence=None), COLOR) == "    "


def test_a_column_half_covered_is_half_hatched() -> None:
    assert drawn(column(decode=1, gap=1), COLOR) == "██╱╱"


def test_provisional_columns_are_dimmed() -> None:
    lines = paint([column(decode=1), column(decode=1, provisional=True)], 1, COLOR, None)
    (first, settled, _), (second, provisional, _) = lines[0].runs
    assert first == second == "█"
    assert settled is COLOR.strip.decode_on_decode[0]
    assert provisional is COLOR.strip.decode_on_decode[1]


def test_the_cursor_is_a_line_through_its_column() -> None:
    lines = paint([column(decode=1)] * 3, 2, COLOR, 1)
    assert text(lines) == ["█│█", "█│█"]


def test_cells_that_can_share_a_run_do() -> None:
    """Full decode cells are drawn in the style of the boundary cells beside them."""
    mixed = [column(decode=1), column(decode=0.9, prefill=0.1), column(decode=1), column(decode=0.8, prefill=0.2)]
    assert len(paint(mixed, 1, COLOR, None)[0].runs) == 1


@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 1e6)), min_size=1, max_size=60), st.integers(1, 3))
@settings(max_examples=60)
def test_sparks_are_as_wide_as_their_values(values: list[float], rows: int) -> None:
    for line in spark(values, 1000.0, COLOR, [False] * len(values), None, rows):
        assert line.cells == len(values)


def test_a_measured_zero_has_a_baseline_and_a_missing_value_has_none() -> None:
    row = spark([0.0, math.nan, 0.5, 1.0], 1.0, COLOR, [False, False, False, True], None)[0]
    assert text([row]) == ["▁ ▄╱"]


def test_two_rows_have_twice_the_levels() -> None:
    assert text(spark([0.25, 0.75, 1.0], 1.0, COLOR, [False] * 3, None, rows=2)) == [" ▃▇", "▄██"]
