from __future__ import annotations

import math
from datetime import UTC
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.format import (
    Units,
    clock,
    duration,
    gibibytes,
    latency,
    nice_ceiling,
    percent,
    scaled,
    short_gpu,
    whole,
    zone_name,
)

PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
amounts = st.floats(min_value=0, max_value=9.9e19, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "   0 "), (0.42, "0.42 "), (8.1, "8.10 "), (41, "41.0 "), (980, " 980 "), (999.6, "1.00k"), (1000, "1.00k"),
        (8123, "8.12k"), (23_456, "23.5k"), (999_499, " 999k"), (2.48e12, "2.48T"), (-41, " -41 "), (None, "   - "),
        (math.nan, "   - "),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_and_a_prefix_by_threes(value: float | None, text: str) -> None:
    assert scaled(value)[0] == text


@given(amounts, st.sampled_from([None, *PREFIXES]))
def test_a_scaled_number_is_five_wide_and_reads_as_what_it_is(value: float, previous: str | None) -> None:
    text, prefix = scaled(value, previous)
    assert len(text) == 5
    assert text[4].strip() == prefix
    read = float(text[:4]) * PREFIXES[prefix]
    assert read == pytest.approx(value, rel=0.0065, abs=0.0051)


@given(st.lists(st.floats(min_value=850, max_value=1200), min_size=2, max_size=30))
def test_a_number_that_wavers_around_a_thousand_changes_its_unit_once_at_most(values: list[float]) -> None:
    units = Units()
    shown = [units("tokens", value)[4] for value in values]
    assert sum(a != b for a, b in pairwise(shown)) <= 1


def test_the_units_of_two_numbers_are_remembered_apart() -> None:
    units = Units()
    units("in", 1200)
    assert units("in", 900) == "0.90k"
    assert units("out", 900) == " 900 "


@given(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), st.integers(3, 6))
def test_percents_keep_their_width(ratio: float | None, width: int) -> None:
    assert len(percent(ratio, width)) == width


def test_a_missing_ratio_is_a_dash_and_not_zero() -> None:
    assert percent(None) == "  -"
    assert percent(0.0) == "  0"
    assert percent(0.716) == " 72"
    assert percent(1.0, 2) == "100"


def test_a_whole_number_that_is_too_wide_is_shortened_and_never_cut() -> None:
    assert [whole(value, 3) for value in (999, 4100, 12_345, 123_456, 2.5e7)] == ["999", " 4k", "12k", "1e5", "25M"]
    assert [whole(value, 4) for value in (9999, 12_345, 999_999, 1.04e9)] == ["9999", " 12k", " 1e6", "1.0G"]
    assert whole(1e30, 3) == "  …"


@given(st.one_of(st.none(), st.floats(min_value=0, max_value=1e12)), st.integers(3, 8))
def test_whole_numbers_keep_their_width(value: float | None, width: int) -> None:
    assert len(whole(value, width)) == width


@given(st.one_of(st.none(), st.floats(min_value=0, max_value=1e6)))
def test_latencies_keep_their_width(seconds: float | None) -> None:
    assert len(latency(seconds)) == 7


def test_latencies_are_told_in_the_unit_people_use() -> None:
    assert latency(0.0241) == "  24 ms"
    assert latency(0.0031) == " 3.1 ms"
    assert latency(0.213) == "0.21 s "
    assert latency(12.34) == "12.3 s "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250 ms"), (38, "38 s"), (60, "1 min"), (178, "2 min 58 s"), (240, "4 min"), (1500, "25 min"),
        (3600, "1 h"), (3900, "1 h 5 min"), (200_000, "2 d 7 h"),
    ],
)  # fmt: skip
def test_durations_read_as_a_person_would_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_memory_is_told_in_gibibytes() -> None:
    assert gibibytes(81559 * 2**20) == " 80"
    assert gibibytes(3.25 * 2**30) == "3.2"
    assert gibibytes(None) == "  -"


def test_the_clock_shows_the_zone_it_is_asked_for() -> None:
    noon = 1_795_262_400_000_000_000
    assert clock(noon, UTC) == "12:00:00"
    assert clock(noon, ZoneInfo("Europe/Berlin")) == "13:00:00"
    assert zone_name(noon, ZoneInfo("Europe/Berlin")) == "CET"


@given(st.floats(min_value=1e-6, max_value=1e15))
def test_the_top_of_an_axis_is_near_and_never_below(value: float) -> None:
    top = nice_ceiling(value)
    assert value <= top <= value * 2.51


def test_makers_are_left_out_of_gpu_names() -> None:
    assert short_gpu("NVIDIA H100 80GB HBM3") == "H100 80GB HBM3"
