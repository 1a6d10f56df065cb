from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.histogram import Histogram, merge

BOUNDS = (0.1, 0.2, 0.5, 1.0)
counts = st.tuples(*[st.integers(0, 50)] * 5)


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    assert Histogram((1.0, 2.0), (0, 10, 0), 15.0).quantile(0.5) == pytest.approx(1.5)


def test_the_lowest_bucket_starts_at_zero() -> None:
    assert Histogram((1.0,), (4, 0), 2.0).quantile(0.5) == pytest.approx(0.5)


def test_a_quantile_above_every_bound_is_the_highest_bound() -> None:
    assert Histogram((1.0, 2.0), (0, 0, 3), 30.0).quantile(0.99) == 2.0


def test_nothing_observed_has_no_quantile_and_no_mean() -> None:
    empty = Histogram((1.0,), (0, 0), 0.0)
    assert empty.quantile(0.5) is None
    assert empty.mean is None


def test_counts_must_match_bounds() -> None:
    with pytest.raises(ValueError, match="2 bounds need 3 counts"):
        Histogram((1.0, 2.0), (1, 2), 1.0)


@given(counts, counts)
def test_merging_adds_every_bucket(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    merged = merge([Histogram(BOUNDS, a, 1.0), Histogram(BOUNDS, b, 2.0)])
    assert merged is not None
    assert merged.counts == tuple(x + y for x, y in zip(a, b, strict=True))
    assert merged.sum == 3.0


@given(counts, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_q(values: tuple[int, ...], one: float, other: float) -> None:
    histogram = Histogram(BOUNDS, values, 1.0)
    low, high = histogram.quantile(min(one, other)), histogram.quantile(max(one, other))
    if histogram.count == 0:
        assert low is None
        assert high is None
    else:
        assert low is not None
        assert high is not None
        assert 0.0 <= low <= high <= BOUNDS[-1]


def test_histograms_of_different_bounds_do_not_merge() -> None:
    assert merge([Histogram((1.0,), (1, 0), 1.0), Histogram((2.0,), (1, 0), 1.0)]) is None


@given(st.lists(st.floats(0.001, 30.0), min_size=1, max_size=8))
def test_the_longest_observation_is_never_overstated(waits: list[float]) -> None:
    bounds = (0.1, 1.0, 10.0)
    counts = [0, 0, 0, 0]
    for wait in waits:
        counts[sum(wait > bound for bound in bounds)] += 1
    longest = Histogram(bounds, tuple(counts), sum(waits)).longest
    assert longest is not None
    assert sum(waits) / len(waits) - 1e-9 <= longest <= max(waits) + 1e-9
