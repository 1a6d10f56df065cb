from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.phase.calibrate import Calibration
from collectors.phase.costs import UNCALIBRATED, CostModel, Hardware, Window
from collectors.phase.fit import fit
from collectors.phase.normal import Normal

COSTS = CostModel(step=0.020, token=0.0001, kv_step=0.0, prompt_token=0.0001)
DEVICE = Hardware(tokens_per_step=200.0, bytes_per_second=1e12)


def lumpy(count: int, seed: int, length: float) -> list[Window]:
    """Windows of five seconds; a prompt under way at an edge was partly computed in another window than it ends in."""
    chance = random.Random(seed)
    windows, ahead = [], 0.0
    for _ in range(count):
        prompts = chance.randrange(2, 10)
        under_way = chance.uniform(0.0, length)
        computed = prompts * length - ahead + under_way
        steps = (5.0 - COSTS.prefill_seconds(computed)) / (COSTS.step + 20 * COSTS.token)
        windows.append(Window(steps, 20 * steps, 0.0, prompts * length, 5.0, 0.0, prompts))
        ahead = under_way
    return windows


def decode_seconds(model: CostModel, windows: Sequence[Window]) -> float:
    return sum(model.decode_seconds(one.steps, one.generated, one.kv_steps) for one in windows)


@pytest.mark.parametrize("seed", range(5))
def test_prompts_that_end_in_another_window_than_they_were_computed_in_do_not_make_steps_dearer(seed: int) -> None:
    windows = lumpy(100, seed, length=3000.0)
    assert decode_seconds(fit(windows, DEVICE), windows) == pytest.approx(decode_seconds(COSTS, windows), rel=0.06)


def test_the_fastest_second_bounds_what_a_step_costs() -> None:
    alike = Window(100, 2000, 0.0, 8_000, 5.0, 0.0, 8)
    slow = fit([alike] * 30, Hardware(tokens_per_step=1000.0, bytes_per_second=1e12))
    fast = alike._replace(fast_steps=45.0, fast_generated=900.0, fast_seconds=1.0)
    bounded = fit([fast] * 30, Hardware(tokens_per_step=1000.0, bytes_per_second=1e12))
    assert slow.decode_seconds(45, 900, 0.0) > 1.1
    assert bounded.decode_seconds(44, 880, 0.0) <= 1.02


def test_windows_that_are_all_alike_leave_the_costs_at_the_ratio_of_the_device() -> None:
    model = fit([Window(50, 1000, 0.0, 40_000, 5.0, 0.0, 20)] * 40, DEVICE)
    assert model.prompt_token * DEVICE.tokens_per_step == pytest.approx(model.step, rel=0.35)
    assert model.decode_error > 0.02


def test_more_windows_of_many_kinds_tell_the_costs_better() -> None:
    few, many = lumpy(5, 1, length=500.0), lumpy(150, 1, length=500.0)
    assert fit(many, DEVICE).decode_error < fit(few, DEVICE).decode_error


def test_the_fastest_stretch_of_a_window_is_found_whatever_the_interval() -> None:
    for parts in (1, 4):
        calibration = Calibration()
        for second in range(5):
            steps = 80.0 if second == 3 else 40.0
            for _ in range(parts):
                calibration.add(Window(steps / parts, steps / parts, 0.0, 0.0, 1.0 / parts))
        (window,) = calibration.windows
        assert window.fastest.rate == pytest.approx(80.0)


@given(
    st.lists(st.tuples(*[st.floats(0.0, 3.0)] * 3), max_size=20),
    st.tuples(*[st.floats(-1.0, 1.0)] * 3),
)
def test_a_solution_stays_within_its_bounds(rows: list[tuple[float, ...]], likely: tuple[float, ...]) -> None:
    normal = Normal(likely)
    for row in rows:
        normal.add(row, 4.0)
    low, high = [0.0, -0.5, 0.25], [0.5, 0.5, 2.0]
    for value, least, most in zip(normal.solution(low, high), low, high, strict=True):
        assert least - 1e-9 <= value <= most + 1e-9


def test_the_inverse_is_the_inverse() -> None:
    normal = Normal([0.0, 0.0])
    normal.add([1.0, 2.0], 1.0)
    inverse = normal.inverse()
    for i in range(2):
        for j in range(2):
            value = sum(normal.gram[i][k] * inverse[k][j] for k in range(2))
            assert value == pytest.approx(1.0 if i == j else 0.0)


def test_one_window_is_enough_where_the_device_is_known_and_three_where_it_is_not() -> None:
    window = Window(150, 3000, 0.0, 10_000, 5.0, 0.0, 10)
    model = fit([window], DEVICE)
    assert model.knows_decode
    assert model.decode_seconds(150, 3000, 0.0) + model.prefill_seconds(10_000) == pytest.approx(5.0)
    assert not model.is_sure
    assert fit([window, window]) is UNCALIBRATED


def test_prompts_whose_number_is_not_told_do_not_look_dear() -> None:
    """Engines that count prompt tokens but no first tokens."""
    windows = [one._replace(prompts=0.0) for one in lumpy(60, 3, length=300.0)]
    assert fit(windows, DEVICE).prompt_token == pytest.approx(COSTS.prompt_token, rel=0.4)


def test_seconds_that_look_fast_without_prompts_to_explain_it_bound_nothing() -> None:
    """Pages that are not stamped to the moment: some seconds seem to hold more steps than any does."""
    steady = [Window(200 + index % 3, 4000, 0.0, 0.0, 5.0) for index in range(60)]
    uneven = [one._replace(fast_steps=50.0, fast_generated=1000.0, fast_seconds=1.0) for one in steady]
    assert decode_seconds(fit(uneven), uneven) == pytest.approx(5.0 * 60, rel=0.05)
