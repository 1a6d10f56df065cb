"""Differences between JSON values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.patch import difference, patched

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=12,
)


@given(JSON, JSON)
def test_the_difference_makes_the_new_value_of_the_old_also_through_json(old: Any, new: Any) -> None:
    patch = json.loads(json.dumps(difference(old, new)))
    made = patched(old, patch)
    assert made == new


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 12), st.lists(st.integers(0, 3), max_size=4))
def test_a_history_that_moves_on_costs_only_what_is_new(history: list[int], dropped: int, added: list[int]) -> None:
    moved = history[dropped:] + added
    patch = difference({"history": history}, {"history": moved})
    assert patched({"history": history}, patch) == {"history": moved}
    if patch is not None and "is" not in patch["keys"]["history"]:
        assert len(patch["keys"]["history"]["add"]) <= len(moved)


def test_a_window_of_nine_hundred_that_moves_by_sixty_is_told_in_sixty() -> None:
    old = {"levels": [number / 7 for number in range(900)]}
    new = {"levels": [number / 7 for number in range(60, 960)]}
    assert difference(old, new) == {"keys": {"levels": {"drop": 60, "add": new["levels"][-60:]}}}


def test_keys_in_another_order_are_another_value_since_what_reads_them_may_go_by_order() -> None:
    old, new = {"a": 1, "b": 2}, {"b": 2, "a": 3}
    assert list(patched(old, difference(old, new))) == ["b", "a"]


@pytest.mark.parametrize("patch", [{"items": [None]}, {"drop": "x", "add": []}, 5, [], {}])
def test_what_is_no_patch_to_this_value_is_refused(patch: Any) -> None:
    with pytest.raises(ValueError, match="not the difference"):
        patched({"a": 1}, patch)
