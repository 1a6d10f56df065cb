from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from collectors.phase.calibrate import SURE_WINDOWS, CostModel
from collectors.phase.conclude import Split
from collectors.phase.doubt import stated_error, updated_misfit
from collectors.phase.evidence import Observation

SURE = CostModel(
    step=0.01, prompt_token=4e-5, error=0.01, windows=100, knows_decode=True, knows_prefill=True, prefill_share=0.2
)
SEEN = Observation(1, 1_000_000_000, 1.0, prompt=5000.0, generated=800.0, first=3.0, steps=80.0)
shares = st.floats(0.0, 1.0)


def calibrated(share: float, *, measured: bool = False) -> Split:
    return Split(share, 1.0 - share, 0.0, 0.0, ("decode-deficit",), 0.0, True, calibrated=True, measured=measured)


@given(shares, st.booleans(), st.floats(0.0, 1.0), st.integers(3, 180), st.floats(0.0, 1.0))
def test_a_stated_error_is_a_positive_ratio_of_at_most_a_half(
    share: float, measured: bool, misfit: float, windows: int, fit_error: float
) -> None:
    model = replace(SURE, windows=windows, error=fit_error)
    assert 0.0 < stated_error(calibrated(share, measured=measured), SEEN, model, misfit) <= 0.5


@given(shares, st.floats(0.0, 0.5))
def test_the_stated_error_widens_when_steps_were_guessed(share: float, misfit: float) -> None:
    guessed = replace(SEEN, guessed_steps=True)
    assert stated_error(calibrated(share), guessed, SURE, misfit) >= stated_error(calibrated(share), SEEN, SURE, misfit)


@given(shares, st.integers(3, SURE_WINDOWS - 1))
def test_the_stated_error_is_wider_while_few_windows_are_known(share: float, windows: int) -> None:
    cold = replace(SURE, windows=windows)
    assert stated_error(calibrated(share), SEEN, cold, 0.1) >= stated_error(calibrated(share), SEEN, SURE, 0.1)


@given(shares, st.floats(0.0, 0.4), st.floats(0.0, 0.4))
def test_the_stated_error_grows_with_what_recent_intervals_left_unexplained(share: float, a: float, b: float) -> None:
    less, more = sorted((a, b))
    one = calibrated(share)
    assert stated_error(one, SEEN, SURE, less) <= stated_error(one, SEEN, SURE, more)


def test_an_error_that_needs_no_costs_is_kept() -> None:
    bounded = Split(0.2, 0.8, 0.0, 0.0, ("bounds",), 0.15, True)
    assert stated_error(bounded, SEEN, SURE, 0.3) == 0.15


def test_the_misfit_of_intervals_that_the_costs_explain_goes_to_zero() -> None:
    explained = replace(SEEN, prompt=5000.0, steps=80.0)
    misfit: float | None = 0.5
    for _ in range(600):
        misfit = updated_misfit(misfit, calibrated(0.2), explained, SURE)
    assert misfit is not None
    assert misfit < 0.01


@given(st.floats(0.0, 1.0), st.floats(0.0, 20_000.0), st.floats(0.0, 200.0), shares)
def test_the_misfit_stays_a_ratio(before: float, prompt: float, steps: float, share: float) -> None:
    seen = replace(SEEN, prompt=prompt, steps=steps)
    misfit = updated_misfit(before, calibrated(share), seen, SURE)
    assert misfit is not None
    assert 0.0 <= misfit <= 1.0 + 1e-9
