from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.model import PHASE_LABELS, PhaseLabel
from collectors.phase.rules import Spent, phase_of, phase_seconds, share_label

seconds = st.floats(0, 10)


def spent(prefill: float = 0.0, decode: float = 0.0, idle: float = 0.0, unknown: float = 0.0, **fields: bool) -> Spent:
    return Spent(prefill, decode, idle, unknown, 0.05, "high", ("engine-seconds",), **fields)


@pytest.mark.parametrize(
    ("share", "label"),
    [(1.0, "prefill"), (0.6, "prefill"), (0.59, "mixed"), (0.41, "mixed"), (0.4, "decode"), (0.0, "decode")],
)
def test_labels_follow_the_thresholds(share: float, label: PhaseLabel) -> None:
    assert share_label(share) == label


@pytest.mark.parametrize(
    ("previous", "share", "label"),
    [
        ("prefill", 0.56, "prefill"),
        ("prefill", 0.54, "mixed"),
        ("mixed", 0.62, "mixed"),
        ("mixed", 0.66, "prefill"),
        ("decode", 0.44, "decode"),
        ("decode", 0.46, "mixed"),
        ("mixed", 0.38, "mixed"),
        ("mixed", 0.34, "decode"),
        ("idle", 0.60, "prefill"),
    ],
)
def test_a_label_is_kept_near_its_threshold(previous: PhaseLabel, share: float, label: PhaseLabel) -> None:
    assert share_label(share, previous) == label


@given(st.floats(0, 1), st.sampled_from(PHASE_LABELS))
def test_far_from_the_thresholds_the_past_does_not_matter(share: float, previous: PhaseLabel) -> None:
    if share >= 0.65 or share <= 0.35 or 0.45 <= share <= 0.55:
        assert share_label(share, previous) == share_label(share)


def test_eight_thousand_prompt_tokens_in_little_time_are_not_prefill() -> None:
    phase = phase_of(spent(prefill=0.3, decode=0.7), settled=True)
    assert phase.label == "decode"
    assert phase.prefill_share == pytest.approx(0.3)


@pytest.mark.parametrize("unknown", [0.5, 0.3, 0.05])
def test_time_that_nothing_explains_is_never_called_idle(unknown: float) -> None:
    phase = phase_of(spent(idle=1.0 - unknown, unknown=unknown), settled=True)
    assert (phase.label, phase.busy_ratio) == ("unknown", None)


def test_a_trace_of_what_is_unknown_does_not_hide_that_it_was_idle() -> None:
    assert phase_of(spent(prefill=0.01, idle=0.96, unknown=0.03), settled=True).label == "idle"


def test_hardly_busy_and_no_requests_is_idle() -> None:
    phase = phase_of(spent(prefill=0.02, idle=0.98), settled=True)
    assert phase.label == "idle"
    assert phase.prefill_share is None


def test_requests_present_and_hardly_busy_is_waiting_and_never_idle() -> None:
    assert phase_of(spent(decode=0.01, idle=0.99, has_requests=True), settled=True).label == "waiting"


def test_mostly_unexplained_time_is_unknown_without_a_share() -> None:
    phase = phase_of(spent(prefill=0.3, unknown=0.7), settled=True)
    assert phase.label == "unknown"
    assert phase.prefill_share is None
    assert phase.busy_ratio is None


def test_what_nothing_explains_beside_known_work_is_unknown_and_not_idle() -> None:
    phase = phase_of(spent(prefill=0.1, decode=0.4, idle=0.2, unknown=0.3), settled=True)
    assert (phase.label, phase.unknown_ratio) == ("decode", 0.3)
    assert phase_seconds(phase, 10.0) == pytest.approx(
        {"prefill": 1.0, "decode": 4.0, "idle": 2.0, "waiting": 0.0, "unknown": 3.0}
    )


@given(seconds, seconds, seconds, seconds, st.booleans())
def test_seconds_by_phase_add_up_to_the_interval(p: float, d: float, i: float, u: float, requests: bool) -> None:
    one = spent(p, d, i, u, has_requests=requests)
    phase = phase_of(one, settled=True)
    parts = phase_seconds(phase, 2.0)
    assert set(parts) == {"prefill", "decode", "idle", "waiting", "unknown"}
    assert sum(parts.values()) == pytest.approx(2.0)
    assert all(value >= 0 for value in parts.values())
