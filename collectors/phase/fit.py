"""The costs of an engine's steps, fitted to windows of its recent past.

    decode seconds  = a * steps + b * generated tokens + c * resident KV tokens * steps
    prefill seconds = d * prompt tokens computed

In windows during which the engine was busy throughout the sum is the window's length: a bounded
linear regression. Under load in which every window looks like the other, and where a prompt counts
in the window in which it ends though it was computed in the one before, the data alone would give
steps what is the prompts'. Three things keep the fit right:

- What is likely beforehand. A step reads every weight once and a prompt token computes with every
  weight once, so their costs have the ratio of the hardware's operations to its bytes; a resident
  token costs what its bytes are to those of the weights. The data may move each cost away from
  that, the further the more they tell (a normal prior).
- Prompt tokens are known with an error, at a window's edges and for preempted requests, whose
  second prompt is not counted. Its variance is taken out of theirs, or their cost would be too low.
- Decoding took no longer than the time there was, also in the fastest second of each window.

A step that computes a part of a prompt besides decoding reads the weights while it computes: it
does not cost the sum of both. So steps with prompts get a cost of their own in the fit, and `d` is
what a prompt token adds to the time of a step beyond its decoding: the marginal cost, which is
what other requests wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import hypot, inf, sqrt
from operator import mul
from typing import NamedTuple

from collectors.median import median
from collectors.phase.costs import UNCALIBRATED, UNKNOWN_HARDWARE, CostModel, Hardware, Stretch, Window
from collectors.phase.normal import Matrix, Normal

MIN_WINDOWS, MIN_WINDOWS_OF_KNOWN = 3, 1
"""Windows below which nothing is fitted, and the same of a device whose data sheet says what is likely."""

_BATCH_RATIO = 0.7
"""What a sequence adds to a step likely costs of what a prompt token computed with others does."""
_MIXED_RATIO = 0.3
"""What a step with a part of a prompt likely costs of a step, besides its prompt tokens: it reads the weights too."""
_SPREAD_KNOWN = (0.35, 1.0, 0.3, 0.5, 1.0)
"""How far each cost may be from what is likely beforehand: one standard deviation, as a ratio."""
_SPREAD_UNKNOWN = (1.0, 2.0, 1.0, 1.0, 1.0)
"""The same where the device is not known."""
_RESIDENT_STEP = 50_000.0
"""Resident tokens that cost as much as a step, where nothing is known of them: the order of magnitude."""

_NOISE, _PROMPT_NOISE = 0.006, 0.05
"""Relative noise of a window without prefill, and of the cost of a prompt token in a window."""
_EDGE = 0.41
"""Steps by which a window is off: one under way at either edge, evenly distributed (a standard deviation)."""
_UNDER_WAY = 2.0 / 3.0
"""Variance of the prompt tokens counted in the wrong window: one prompt under way at either edge, of its square."""
_UNEVEN = 2.0
"""Mean square of prompts' lengths, of the square of their mean."""
_USUAL_LENGTH = 500.0
"""Tokens of a prompt where it is not told how many prompts there were."""
_MOST_TAKEN_OUT = 0.8
"""Part of what prompt tokens tell that is taken out at most for what they are not known to."""

_PURE_PART = 0.1
"""Part of the windows in which nothing but decoding was counted, from which on that is believed of them."""
_COUNTED_TOO_MANY = 0.75
"""Steps that ended in a stretch of time beyond those that fit into it: the first began before it."""
_STRETCH_NOISE = 0.01
_HARDLY = 0.02
"""Share of a window that its prompts take at most for its seconds to be alike."""
_NEWEST = 12
"""Windows that tell the batch of now."""
_ALIKE = 0.67
"""Ratio of two batches, the smaller to the larger, down to which they are much the same."""
_ROUNDS = 6
_RANGE = 3.0
"""How far the cost of a step may be from what the hardware makes likely, either way, as a factor."""

Costs = list[float]
"""Of a step that only decodes, a token, a resident token, a prompt token, and a step with prompts besides those."""


class _Beforehand(NamedTuple):
    """What is likely of the costs before the windows have been compared, and within what."""

    likely: Costs
    spread: Costs
    least: Costs
    most: Costs


def fit(windows: Iterable[Window], hardware: Hardware = UNKNOWN_HARDWARE) -> CostModel:
    """The cost model of some windows; `UNCALIBRATED` when there are too few of them."""
    rows = list(windows)
    needed = MIN_WINDOWS_OF_KNOWN if hardware.is_device_known else MIN_WINDOWS
    if len(rows) < needed:
        return UNCALIBRATED
    decode_rows = [row for row in rows if row.steps > 0]
    prompt_rows = [row for row in rows if row.prompt > 0]
    ceiling = _prompt_token_ceiling(rows)
    costs, covariance = _regression(rows, _beforehand(rows, ceiling, hardware))
    step, token, kv_step = costs[:3]
    prompt_token = _prompt_cost(rows, costs, ceiling)
    knows_prefill = len(prompt_rows) >= needed and prompt_token > 0
    busy = sum(row.busy for row in rows)
    model = CostModel(
        step=step,
        token=token,
        kv_step=kv_step,
        prompt_token=prompt_token,
        windows=len(rows),
        # A fit that gives prompts no cost although they came has not told the two apart.
        knows_decode=len(decode_rows) >= needed and step + token > 0 and (knows_prefill or not prompt_rows),
        knows_prefill=knows_prefill,
        batch_low=min((row.generated / row.steps for row in decode_rows), default=0.0),
        batch_high=max((row.generated / row.steps for row in decode_rows), default=0.0),
        prefill_share=min(1.0, prompt_token * sum(row.prompt for row in rows) / busy),
        prompts_per_token=sum(row.prompt for row in rows) / max(1.0, sum(row.generated for row in rows)),
        decode_error=_decode_error(rows, covariance),
    )
    return replace(model, error=misfit_of(rows, model))


def misfit_of(rows: Sequence[Window], model: CostModel) -> float:
    """Root-mean-square of what the costs leave unexplained, relative to each window's length."""
    squares = 0.0
    for row in rows:
        explained = model.decode_seconds(row.steps, row.generated, row.kv_steps) + model.prefill_seconds(row.prompt)
        squares += (explained / row.busy - 1.0) ** 2
    return sqrt(squares / len(rows))


def _prompt_token_ceiling(rows: Sequence[Window]) -> float:
    """Seconds a prompt token costs at most: nobody's prompt took longer than its first token.

    Requests that queue wait much longer than they compute, so the least loaded tenth tells most.
    """
    ratios = sorted(row.waited / row.prompt for row in rows if row.prompt > 0 and row.waited > 0)
    return ratios[len(ratios) // 10] if ratios else inf


def _beforehand(rows: Sequence[Window], ceiling: float, hardware: Hardware) -> _Beforehand:
    """Costs that windows of one phase alone show; else what physics makes of mixed ones.

    A window counts as pure when the other kind of work could not have filled a tenth of it.
    """
    steps_only = [row for row in rows if row.steps > 0 and row.prompt < 0.1 * row.generated]
    if len(steps_only) < max(MIN_WINDOWS, _PURE_PART * len(rows)):
        steps_only = []  # so few may be parts of a prompt longer than a window
    prompts_only = [row.busy / row.prompt for row in rows if row.prompt > 0 and row.steps == 0]
    mixed = [row for row in rows if row.steps > 0 and row.prompt > 0]
    step = _step_by_ratios(steps_only or mixed, hardware)
    by_ratio = step / hardware.tokens_per_step
    if prompts_only:
        prompt = median(prompts_only)
    elif steps_only and mixed and not hardware.is_device_known:
        prompt = median((row.busy - min(row.steps * step, 0.9 * row.busy)) / row.prompt for row in mixed)
    else:
        prompt = by_ratio
    prompt = min(prompt, ceiling)
    kv_step = hardware.kv_step(step)
    likely = [step, _BATCH_RATIO * by_ratio, kv_step, prompt, _MIXED_RATIO * step]
    shares = _SPREAD_KNOWN if hardware.is_device_known else _SPREAD_UNKNOWN
    spread = [share * cost for share, cost in zip(shares, likely, strict=True)]
    spread[2] = spread[2] or step / _RESIDENT_STEP
    spread[4] = step
    least, most = [0.0] * len(likely), [inf, inf, inf, ceiling, inf]
    if hardware.is_device_known and step > 0:
        least[0], most[0] = step / _RANGE, step * _RANGE
    return _Beforehand(likely, spread, least, most)


def _step_by_ratios(rows: Sequence[Window], hardware: Hardware) -> float:
    """Seconds of a decode step, by the ratios that physics sets between it and what else took time.

    A step that computes a part of a prompt as well reads the weights while it computes, so it costs
    what its prompt tokens cost. What resident tokens cost depends on how large the weights are, and
    so on the step itself: a few rounds bring the two together. 0 where nothing was decoded.
    """
    if not rows:
        return 0.0
    step = kv_ratio = 0.0
    for _ in range(4):
        step = median(
            row.busy
            / (
                row.steps
                - row.mixed
                + kv_ratio * row.kv_steps
                + (row.prompt + _BATCH_RATIO * row.generated) / hardware.tokens_per_step
            )
            for row in rows
        )
        kv_ratio = hardware.kv_step(step) / step
    return step


def _regression(rows: Sequence[Window], beforehand: _Beforehand) -> tuple[Costs, Matrix]:
    """The costs, and the covariance of their errors. Everything in it is in units of the spread beforehand."""
    spread = beforehand.spread
    likely, low, high = (
        [_over(cost, unit) for cost, unit in zip(costs, spread, strict=True)]
        for costs in (beforehand.likely, beforehand.least, beforehand.most)
    )
    table = [_scaled(_columns(row), spread, row.busy) for row in rows]
    prompts = sum(row.prompts for row in rows)
    length = sum(row.prompt for row in rows) / prompts if prompts else _USUAL_LENGTH
    doubts = [_prompt_variance(row, length, beforehand.likely[3]) for row in rows]
    weights = [1.0 / _variance(row, beforehand.likely, doubt) for row, doubt in zip(rows, doubts, strict=True)]
    unsteady = _unsteadiness(rows, beforehand.likely[3])
    stretches = [_scaled(_decode_columns(one), spread, one.seconds) for one in _stretches(rows, unsteady)]
    trust = 1.0
    while True:
        normal = Normal(likely)
        for columns, weight in zip(table, weights, strict=True):
            normal.add(columns, weight * trust)
        doubted = trust * spread[3] ** 2 * sum(weight * doubt for weight, doubt in zip(weights, doubts, strict=True))
        normal.gram[3][3] -= min(doubted, _MOST_TAKEN_OUT / normal.inverse()[3][3])
        found, normal = _not_beyond(normal, stretches, hypot(_STRETCH_NOISE, unsteady - 1.0), low, high)
        squares = sum(weight * (_dot(row, found) - 1.0) ** 2 for row, weight in zip(table, weights, strict=True))
        unexpected = squares / max(1, len(rows) - len(found))
        if trust < 1.0 or unexpected <= 1.0:
            break
        trust = 1.0 / unexpected  # noisier than supposed: what is likely beforehand counts for more
    covariance = [
        [value * spread[i] * spread[j] for j, value in enumerate(line)] for i, line in enumerate(normal.inverse())
    ]
    return [value * unit for value, unit in zip(found, spread, strict=True)], covariance


def _not_beyond(
    normal: Normal, stretches: Sequence[Sequence[float]], noise: float, low: Sequence[float], high: Sequence[float]
) -> tuple[list[float], Normal]:
    """The solution by which decoding took no longer than there was time: stretches count where it would have."""
    found, held = normal.solution(low, high), normal
    active: list[Sequence[float]] = []
    for _ in range(_ROUNDS):
        beyond = [one for one in stretches if _dot(one, found) > 1.0]
        if beyond == active:
            break
        active = beyond
        held = normal.with_rows(active, 1.0 / noise**2)
        found = held.solution(low, high)
    return found, held


def _unsteadiness(rows: Sequence[Window], prompt_token: float) -> float:
    """How much faster the fastest second of a window looks than its prompts explain: 1 where they do.

    Pages that are not stamped to the moment, and steps that were guessed, make some seconds look faster than any is.
    Asked are all windows, whose prompts may cost more than is likely, and those that hardly had a prompt, during
    which a long one may have been under way: the one that says less has it.
    """
    all_of_them: list[float] = []
    hardly: list[float] = []
    for row in rows:
        if row.steps > 0 and row.fastest.steps > 0:
            share = min(1.0, row.prompt * prompt_token / row.busy)
            ratio = row.fastest.rate / row.whole.rate * (1.0 - share)
            all_of_them.append(ratio)
            if share < _HARDLY:
                hardly.append(ratio)
    return max(1.0, min(median(all_of_them), median(hardly))) if hardly else 1.0


def _stretches(rows: Sequence[Window], unsteady: float) -> list[Stretch]:
    """Stretches of time with the steps that fit into them, of batches like the newest ones.

    A mixture of experts reads the less for one more sequence, the more there are: a line that is right for one
    batch is above what much smaller and much larger ones take.
    """
    found: list[Stretch] = []
    newest = median([row.generated / row.steps for row in rows if row.steps > 0][-_NEWEST:] or [0.0])
    for row in rows:
        for one, too_fast in ((row.fastest, unsteady), (row.whole, 1.0)):
            if one.steps > 1.0 and one.seconds > 0 and _ALIKE * newest <= one.generated / one.steps <= newest / _ALIKE:
                fit_in = (1.0 - _COUNTED_TOO_MANY / one.steps) / too_fast
                found.append(Stretch(one.steps * fit_in, one.generated * fit_in, one.kv_steps * fit_in, one.seconds))
    return found


def _columns(row: Window) -> tuple[float, ...]:
    """What each cost is multiplied with."""
    mixed = row.mixed
    return row.steps - mixed, row.generated, row.kv_steps, row.prompt, mixed


def _decode_columns(one: Stretch | Window) -> tuple[float, ...]:
    """The same of decoding alone."""
    return one.steps, one.generated, one.kv_steps, 0.0, 0.0


def _prompt_variance(row: Window, length: float, prompt_token: float) -> float:
    """Variance of the prompt tokens of a window, relative to its length squared (tokens per second)."""
    share = min(1.0, row.prompt * prompt_token / row.busy)
    at_edges = _UNDER_WAY * share * _UNEVEN * length**2
    return (at_edges + row.guessed) / row.busy**2


def _variance(row: Window, likely: Costs, doubt: float) -> float:
    """Variance of a window's length as its work explains it, relative to its length."""
    share = min(1.0, row.prompt * likely[3] / row.busy)
    edges = _EDGE * likely[0] / row.busy
    return float(_NOISE**2 + (_PROMPT_NOISE * share) ** 2 + edges**2 + likely[3] ** 2 * doubt)


def _prompt_cost(rows: Sequence[Window], costs: Costs, ceiling: float) -> float:
    """Seconds a prompt token took, such that over all windows the work adds up to the time."""
    step, token, kv_step = costs[:3]
    prompt = sum(row.prompt for row in rows)
    if prompt <= 0:
        return 0.0
    left = sum(
        row.busy - step * row.steps - token * row.generated - kv_step * row.kv_steps for row in rows if row.prompt > 0
    )
    most = min(ceiling, step + token) if step + token > 0 else ceiling
    return min(max(0.0, left / prompt), most)


def _decode_error(rows: Sequence[Window], covariance: Matrix) -> float:
    """Standard deviation of the decode seconds of all the windows together, relative to their length."""
    busy = sum(row.busy for row in rows)
    work = [sum(column) / busy for column in zip(*(_decode_columns(row) for row in rows), strict=True)]
    variance = _dot(work, [_dot(line, work) for line in covariance])
    return min(1.0, sqrt(max(0.0, variance)))


def _scaled(columns: Sequence[float], spread: Sequence[float], seconds: float) -> list[float]:
    return [column * unit / seconds for column, unit in zip(columns, spread, strict=True)]


def _over(value: float, unit: float) -> float:
    return value / unit if unit > 0 else 0.0


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum(map(mul, one, other)))
