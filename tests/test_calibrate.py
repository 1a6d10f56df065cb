from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.phase.calibrate import MIN_WINDOWS, UNCALIBRATED, Calibration, CostModel, Window, fit

COSTS = CostModel(step=0.010, token=0.0002, kv_step=0.0, prompt_token=0.0005)


def window(steps: float, generated: float, prompt: float, noise: float = 0.0) -> Window:
    busy = COSTS.decode_seconds(steps, generated, 0.0) + COSTS.prefill_seconds(prompt)
    return Window(steps, generated, 0.0, prompt, busy * (1 + noise))


def test_pure_windows_of_both_phases_give_both_costs_back() -> None:
    windows = [window(400, 400 * batch, 0) for batch in (1, 4, 8)] + [window(0, 0, 10_000)] * 3
    model = fit(windows)
    assert model.decode_seconds(100, 400, 0.0) == pytest.approx(COSTS.decode_seconds(100, 400, 0.0), rel=0.05)
    assert model.prefill_seconds(1000) == pytest.approx(COSTS.prefill_seconds(1000), rel=0.02)
    assert model.error < 0.05


def test_mixed_windows_with_enough_variety_give_the_costs_back() -> None:
    chance = random.Random(1)
    windows = [window(chance.uniform(50, 400), chance.uniform(200, 1600), chance.uniform(500, 9000)) for _ in range(60)]
    model = fit(windows)
    assert model.prefill_seconds(1000) == pytest.approx(COSTS.prefill_seconds(1000), rel=0.15)
    assert model.is_sure


def test_no_prompt_token_costs_more_than_the_wait_for_its_first_token() -> None:
    saturated = Window(steps=100, generated=800, kv_steps=0.0, prompt=1000, busy=5.0, waited=0.4)
    assert fit([saturated] * 10).prompt_token <= 0.4 / 1000


def test_too_few_windows_are_no_calibration() -> None:
    assert fit([window(100, 400, 0)] * (MIN_WINDOWS - 1)) is UNCALIBRATED


def test_decode_alone_teaches_nothing_of_prefill() -> None:
    model = fit([window(400, 1600, 0)] * 5)
    assert model.knows_decode
    assert not model.knows_prefill


@given(
    st.lists(
        st.tuples(
            st.integers(0, 500),
            st.integers(0, 5000),
            st.integers(0, 10**9),
            st.integers(0, 20_000),
            st.floats(4.9, 6.0),
        ),
        min_size=MIN_WINDOWS,
        max_size=30,
    )
)
@settings(deadline=None)
def test_costs_are_never_negative_and_a_prompt_token_never_exceeds_a_step(rows: list[tuple[float, ...]]) -> None:
    model = fit([Window(*row) for row in rows])
    assert min(model.step, model.token, model.kv_step, model.prompt_token) >= 0
    if model.step + model.token > 0:
        assert model.prompt_token <= model.step + model.token + 1e-12


def test_a_window_is_closed_after_five_seconds_and_dropped_when_interrupted() -> None:
    calibration = Calibration()
    for _ in range(4):
        calibration.add(Window(100, 400, 0.0, 0.0, 1.0))
    calibration.interrupt()
    for _ in range(5):
        calibration.add(Window(100, 400, 0.0, 0.0, 1.0))
    assert len(calibration.windows) == 1


def test_a_calibration_read_back_from_json_is_the_same() -> None:
    calibration = Calibration()
    for index in range(37):
        calibration.add(Window(90 + index, 400, 1e6 + index, 100.0 * (index % 3), 1.0, 0.1 * index))
    assert calibration.refit()
    assert not calibration.refit()
    again = Calibration.from_json(calibration.to_json())
    assert again.model == calibration.model
    again.add(Window(1, 2, 3, 4, 5.0))
    calibration.add(Window(1, 2, 3, 4, 5.0))
    assert (again.refit(), calibration.refit()) == (True, True)
    assert again.model == calibration.model
