"""What a step costs: a bounded least-squares fit on the engine's own recent past.

    decode seconds  = a * steps + b * generated tokens + c * resident KV tokens * steps
    prefill seconds = d * prompt tokens computed

The four costs are learned from windows of about five seconds during which the engine was busy
throughout, so that their sum is the window's length. Physics bounds them (no cost is negative, a
prompt token never costs more than a decode step), and a ridge towards what pure windows show, or
else what the hardware makes likely, keeps the fit identifiable under saturated chunked prefill,
where every step is mixed.

A step that computes a part of a prompt besides decoding reads the weights while it computes: it
does not cost the sum of both. So steps with prompts get a cost of their own in the fit, and `d` is
what a prompt token adds to the time of a step beyond its decoding: the marginal cost, which is
what other requests wait for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any, NamedTuple

from collectors.median import median

WINDOW_SECONDS = 5.0
MAX_WINDOWS = 180
"""Fifteen minutes of windows; what is older is forgotten."""
MIN_WINDOWS = 3
SURE_WINDOWS = 20
"""Below this many windows every label that rests on the fit has low confidence."""

CPU_TOKENS_PER_STEP, GPU_TOKENS_PER_STEP = 20.0, 200.0
"""Prompt tokens that cost as much as one decode step, where the device's peaks are not known.

Measured: 14 and 18 on llama.cpp and vLLM on a CPU, 320 by the kernels of an RTX PRO 6000; the
ratio of peak compute to bandwidth is 150 to 300 operations a byte on data-centre GPUs.
"""

BUDGET_TOKENS = 2048
"""Tokens an engine computes in one step at most, by default (vLLM, SGLang, llama.cpp)."""

_REFIT_WINDOWS = 6
"""Once sure, the costs are fitted anew every half minute of busy time."""

_PRIOR_WINDOWS = 40
"""Windows that an earlier run's costs count for at most: never enough for high confidence."""
_PRIOR_ERROR = 0.15
"""Relative error up to which an earlier run's costs are believed to be those of this one."""

_MIN_TOKENS = 2000
"""Tokens before the engine's operations per token are taken as known."""

_RIDGE = (0.02, 0.05, 0.05, 0.02, 0.02)
"""Pull of each cost towards its prior; the second-order costs of batch and context are held tighter."""
_KNOWN_RIDGE = (0.02, 0.05, 0.15, 0.02, 0.02)
"""The same where the hardware tells what resident tokens cost."""
_MOST_WEIGHTS = 0.8
"""Share of the memory in use that weights take at most: an engine leaves some for its KV cache."""
_COLD_RIDGE = 0.05
"""Pull towards the prior while there are few windows; it fades out by `SURE_WINDOWS`."""
_STEP_RANGE = 2.0
"""How far the cost of a step may be from what the hardware makes likely, either way, as a factor."""
_MOST_PULL = 25.0
_SWEEPS = 200
_NOISE, _PROMPT_NOISE = 0.02, 0.05
"""Relative noise of a window without prefill, and of the cost of a prompt token in a window."""


class Hardware(NamedTuple):
    """What a device's data sheet says of its engine's costs before anything was measured.

    `tokens_per_step` is how many prompt tokens cost as much as a decode step: a step reads every
    weight once and a prompt token computes with every weight once. `bytes_per_second`
    is what a step reaches on all the engine's GPUs and `memory_bytes` what is in use on them,
    `kv_tokens` the size of its KV cache; 0 where unknown.
    """

    tokens_per_step: float = CPU_TOKENS_PER_STEP
    bytes_per_second: float = 0.0
    memory_bytes: float = 0.0
    kv_tokens: float = 0.0

    @property
    def is_known(self) -> bool:
        return min(self.bytes_per_second, self.memory_bytes, self.kv_tokens) > 0

    def kv_step(self, step: float) -> float:
        """Seconds a step takes longer for each resident token, by the bytes a token has in the KV cache.

        The cache is what is in use besides the weights; the weights are what a step reads.
        """
        weights = min(step * self.bytes_per_second, _MOST_WEIGHTS * self.memory_bytes)
        cache = self.memory_bytes - weights
        if weights <= 0 or cache <= 0 or self.kv_tokens <= 0:
            return 0.0
        return step * cache / self.kv_tokens / weights


UNKNOWN_HARDWARE = Hardware()


class Window(NamedTuple):
    """Sums over one busy window.

    `kv_steps` is resident KV tokens times steps; `busy` is seconds; `waited` is seconds that the
    requests whose prompts these are waited for their first token, 0 where it is not known.
    """

    steps: float
    generated: float
    kv_steps: float
    prompt: float
    busy: float
    waited: float = 0.0
    prompts: float = 0.0

    @property
    def mixed(self) -> float:
        """About how many of the steps computed a part of a prompt as well."""
        return min(self.steps, self.prompts + self.prompt / BUDGET_TOKENS)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds per unit of work, with how well they explain the past.

    `flops_per_token` is what the engine's own estimate of operations comes to per token computed,
    0 where it keeps none. `error` is the root-mean-square of the windows' residuals relative to
    their length; `windows` is how many there were. Without decode in them `knows_decode` is False
    and the decode costs must not be asked.
    """

    step: float = 0.0
    token: float = 0.0
    kv_step: float = 0.0
    prompt_token: float = 0.0
    flops_per_token: float = 0.0
    error: float = 1.0
    windows: int = 0
    knows_decode: bool = False
    knows_prefill: bool = False
    batch_low: float = 0.0
    batch_high: float = 0.0
    """The smallest and the largest batch of the windows, in generated tokens a step. Beyond them the costs are
    extrapolated, and where they are much the same the costs of a step and of a sequence were not told apart."""
    prompts_per_token: float = 0.0
    """Prompt tokens computed for each generated one, over all the windows."""
    prefill_share: float = 0.0
    """Share of the windows' time that prompts took."""

    def decode_seconds(self, steps: float, generated: float, kv_steps: float) -> float:
        return self.step * steps + self.token * generated + self.kv_step * kv_steps

    def prefill_seconds(self, prompt_tokens: float) -> float:
        return self.prompt_token * prompt_tokens

    @property
    def is_sure(self) -> bool:
        return self.windows >= SURE_WINDOWS


UNCALIBRATED = CostModel()


@dataclass(slots=True)
class Calibration:
    """The windows of one engine and the model fitted to them."""

    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=MAX_WINDOWS))
    model: CostModel = UNCALIBRATED
    hardware: Hardware = UNKNOWN_HARDWARE
    misfit: float | None = None
    """What the costs lately left unexplained in an interval, relative to its busy time."""
    _open: list[float] = field(default_factory=lambda: [0.0] * len(Window._fields))
    _since_fit: int = 0
    _flops: float = 0.0
    _tokens: float = 0.0
    prior: CostModel | None = None
    """Costs of an earlier run, in use until this run's own are sure, or the prior does not explain its windows."""

    def start_from(self, prior: CostModel) -> None:
        """Begins with what an earlier run of the same engine on the same GPUs has learned. Not after a first window."""
        if not self.windows:
            self.prior = self.model = replace(prior, windows=min(prior.windows, _PRIOR_WINDOWS))

    def count(self, flops: float, tokens: float) -> None:
        """Operations and tokens of any interval, busy throughout or not; used with the next fit."""
        self._flops += flops
        self._tokens += tokens

    def add(self, work: Window) -> None:
        """One interval that was busy throughout. Fits anew when enough windows were completed."""
        for index, value in enumerate(work):
            self._open[index] += value
        window = Window(*self._open)
        if window.busy < WINDOW_SECONDS:
            return
        self.windows.append(window)
        self._open = [0.0] * len(Window._fields)
        self._since_fit += 1
        if not self.model.is_sure or self.prior is not None or self._since_fit >= _REFIT_WINDOWS:
            flops_per_token = self._flops / self._tokens if self._tokens >= _MIN_TOKENS else 0.0
            fitted = replace(fit(self.windows, self.hardware), flops_per_token=flops_per_token)
            if self.prior is not None and (fitted.is_sure or not _explains(self.prior, self.windows)):
                self.prior = None
            self.model = fitted if self.prior is None else self.prior
            self._since_fit = 0

    def interrupt(self) -> None:
        """The engine was not busy throughout, or is not known to have been: the open window is dropped."""
        self._open = [0.0] * len(Window._fields)

    def to_json(self) -> dict[str, Any]:
        return {
            "windows": [list(window) for window in self.windows],
            "open": list(self._open),
            "hardware": list(self.hardware),
            "misfit": self.misfit,
            "since_fit": self._since_fit,
            "flops": self._flops,
            "tokens": self._tokens,
            "model": asdict(self.model),
            "prior": asdict(self.prior) if self.prior is not None else None,
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Calibration:
        windows = deque((Window(*values) for values in state["windows"]), maxlen=MAX_WINDOWS)
        model = CostModel(**state["model"])
        prior = CostModel(**state["prior"]) if state["prior"] is not None else None
        rest = (list(state["open"]), state["since_fit"], state["flops"], state["tokens"])
        return cls(windows, model, Hardware(*state["hardware"]), state["misfit"], *rest, prior)


def _explains(model: CostModel, windows: Iterable[Window]) -> bool:
    """Whether costs learned elsewhere account for the time of some windows, or those are too few to tell."""
    rows = list(windows)
    if len(rows) < MIN_WINDOWS:
        return True
    return _misfit(rows, model) <= max(_PRIOR_ERROR, 2 * model.error)


def _misfit(rows: Sequence[Window], model: CostModel) -> float:
    """Root-mean-square of what the costs leave unexplained, relative to each window's length."""
    squares = 0.0
    for row in rows:
        explained = model.decode_seconds(row.steps, row.generated, row.kv_steps) + model.prefill_seconds(row.prompt)
        squares += (explained / row.busy - 1.0) ** 2
    return float((squares / len(rows)) ** 0.5)


def fit(windows: Iterable[Window], hardware: Hardware = UNKNOWN_HARDWARE) -> CostModel:
    """The cost model of some windows; `UNCALIBRATED` when there are too few of them."""
    rows = list(windows)
    if len(rows) < MIN_WINDOWS:
        return UNCALIBRATED
    decode_rows = [row for row in rows if row.steps > 0]
    prompt_rows = [row for row in rows if row.prompt > 0]
    ceiling = _prompt_token_ceiling(rows)
    prior = _prior(rows, ceiling, hardware)
    weights = [_weight(row, prior[3]) for row in rows]
    ridge = _KNOWN_RIDGE if hardware.is_known else _RIDGE
    costs = _bounded_ridge(rows, prior, ridge, ceiling, weights, trusts_prior=hardware.bytes_per_second > 0)
    costs[3] = _prompt_cost(rows, costs, ceiling)
    step, token, kv_step, prompt_token, _ = costs
    knows_prefill = len(prompt_rows) >= MIN_WINDOWS and costs[3] > 0
    model = CostModel(
        step=step,
        token=token,
        kv_step=kv_step,
        prompt_token=prompt_token,
        windows=len(rows),
        # A fit that gives prompts no cost although they came has not told the two apart.
        knows_decode=len(decode_rows) >= MIN_WINDOWS and costs[0] + costs[1] > 0 and (knows_prefill or not prompt_rows),
        knows_prefill=knows_prefill,
        batch_low=min((row.generated / row.steps for row in decode_rows), default=0.0),
        batch_high=max((row.generated / row.steps for row in decode_rows), default=0.0),
        prefill_share=min(1.0, prompt_token * sum(row.prompt for row in rows) / sum(row.busy for row in rows)),
        prompts_per_token=sum(row.prompt for row in rows) / max(1.0, sum(row.generated for row in rows)),
    )
    return replace(model, error=_misfit(rows, model))


def _prompt_token_ceiling(rows: Sequence[Window]) -> float:
    """Seconds a prompt token costs at most: nobody's prompt took longer than its first token.

    Requests that queue wait much longer than they compute, so the least loaded tenth tells most.
    """
    ratios = sorted(row.waited / row.prompt for row in rows if row.prompt > 0 and row.waited > 0)
    return ratios[len(ratios) // 10] if ratios else inf


def _prior(rows: Sequence[Window], ceiling: float, hardware: Hardware) -> list[float]:
    """Costs that windows of one phase alone show; else what physics makes of mixed ones.

    A window counts as pure when the other kind of work could not have filled a tenth of it. A step
    reads every weight once and a prompt token computes with every weight once, so a step costs as
    much as `tokens_per_step` prompt tokens: the hardware's ratio of compute to memory bandwidth.
    """
    step_only = [row for row in rows if row.steps > 0 and row.prompt < 0.1 * row.generated]
    prompt_only = [row.busy / row.prompt for row in rows if row.prompt > 0 and row.steps == 0]
    mixed = [row for row in rows if row.steps > 0 and row.prompt > 0]
    step = _step_by_ratios(step_only, hardware) if step_only else None
    prompt = median(prompt_only) if prompt_only else None
    if prompt is None and mixed:
        if step is None:
            step = _step_by_ratios(mixed, hardware)
            kv_step = hardware.kv_step(step)
            prompt = median(
                max(0.0, row.busy - row.steps * step - row.kv_steps * kv_step) / row.prompt for row in mixed
            )
        else:
            prompt = median((row.busy - min(row.steps * step, 0.9 * row.busy)) / row.prompt for row in mixed)
    prompt = min(prompt, ceiling) if prompt is not None else 0.0
    if step is None and mixed:
        step = median(max(row.busy - row.prompt * prompt, 0.1 * row.busy) / row.steps for row in mixed)
    step = step or 0.0
    alone = prompt + sum(row.mixed for row in mixed) * step / sum(row.prompt for row in mixed) if mixed else prompt
    return [step, 0.0, hardware.kv_step(step), alone, 0.0]


def _step_by_ratios(rows: Sequence[Window], hardware: Hardware) -> float:
    """Seconds of a decode step, by the ratios that physics sets between it and what else took time.

    A step that computes a part of a prompt as well reads the weights while it computes, so it costs
    what its prompt tokens cost. What resident tokens cost depends on how large the weights are, and
    so on the step itself: a few rounds bring the two together.
    """
    step = kv_ratio = 0.0
    for _ in range(4):
        step = median(
            row.busy / (row.steps - row.mixed + kv_ratio * row.kv_steps + row.prompt / hardware.tokens_per_step)
            for row in rows
        )
        kv_ratio = hardware.kv_step(step) / step
    return step


def _weight(row: Window, prompt_token: float) -> float:
    """How much a window tells of the costs: the less, the more of it was prefill.

    What a prompt token costs varies with the chunk, the context before it and what is decoded in
    the same step; a decode step's cost does not. So a window's noise grows with its prefill.
    """
    prefill = min(1.0, row.prompt * prompt_token / row.busy)
    return 1.0 / (1.0 + (_PROMPT_NOISE * prefill / _NOISE) ** 2)


def _prompt_cost(rows: Sequence[Window], costs: Sequence[float], ceiling: float) -> float:
    """Seconds a prompt token took, such that over all windows the work adds up to the time."""
    step, token, kv_step, fitted, _ = costs
    prompt = sum(row.prompt for row in rows)
    if prompt <= 0:
        return fitted
    left = sum(
        row.busy - step * row.steps - token * row.generated - kv_step * row.kv_steps for row in rows if row.prompt > 0
    )
    most = min(ceiling, step + token) if step + token > 0 else ceiling
    return min(max(0.0, left / prompt), most)


def _bounded_ridge(
    rows: Sequence[Window],
    prior: Sequence[float],
    ridge: Sequence[float],
    ceiling: float,
    weights_of_rows: Sequence[float],
    *,
    trusts_prior: bool = False,
) -> list[float]:
    """Coordinate descent on the normal equations of min |A x - B|^2 + |ridge (x - prior)|^2, x >= 0.

    Columns are scaled to at most 1, rows to the window's length, so that one ridge suits all.
    """
    table = [_columns(row) for row in rows]
    scales = [max(column) for column in zip(*table, strict=True)]
    scales[0] = max(row.steps for row in rows)
    active = [index for index in range(len(scales)) if scales[index] > 0]
    size = len(active)
    gram = [[0.0] * size for _ in range(size)]
    target = [0.0] * size
    for columns, row, weight in zip(table, rows, weights_of_rows, strict=True):
        scaled = [columns[index] / (scales[index] * row.busy) for index in active]
        for i in range(size):
            value = scaled[i] * weight
            target[i] += value
            line = gram[i]
            for j in range(i + 1):
                line[j] += value * scaled[j]
    for i in range(size):
        for j in range(i):
            gram[j][i] = gram[i][j]
    scaled_prior = [prior[index] * scales[index] for index in active]
    coldness = max(0.0, 1.0 - len(rows) / SURE_WINDOWS)
    mean_busy = max(1e-9, sum(row.busy for row in rows) / len(rows))
    mean_weight = sum(weights_of_rows) / len(rows)
    strength = len(rows) * mean_weight / mean_busy**2
    pulls = list(ridge)
    if trusts_prior:
        pulls[0] *= _unidentified(rows)
    weights = [(pulls[index] ** 2 + coldness * _COLD_RIDGE**2) * strength for index in active]
    highest = (_STEP_RANGE * prior[0] if trusts_prior and prior[0] > 0 else inf, inf, inf, ceiling, inf)
    lowest = (prior[0] / _STEP_RANGE if trusts_prior else 0.0, 0.0, 0.0, 0.0, 0.0)
    limits = [highest[index] * scales[index] for index in active]
    floors = [lowest[index] * scales[index] for index in active]
    x = list(scaled_prior)
    for _ in range(_SWEEPS):
        moved = 0.0
        for i in range(size):  # hundreds of times a fit: comparisons, because calls would double its time
            line, before, pull = gram[i], x[i], weights[i]
            others = -line[i] * before
            for value, at in zip(line, x, strict=True):
                others += value * at
            best = (target[i] - others + pull * scaled_prior[i]) / (line[i] + pull)
            if not best > floors[i]:
                best = floors[i]
            if best > limits[i]:
                best = limits[i]
            x[i] = best
            step = best - before if best > before else before - best
            if step > moved:
                moved = step
        if moved < 1e-12:
            break
    costs = [0.0] * len(scales)
    for position, index in enumerate(active):
        costs[index] = x[position] / scales[index]
    return costs


def _unidentified(rows: Sequence[Window]) -> float:
    """How much more the prior of a decode step counts, because hardly a step decodes alone."""
    steps = sum(row.steps for row in rows)
    alone = steps - sum(row.mixed for row in rows)
    return min(_MOST_PULL, max(1.0, (steps / max(1e-9, 2.0 * alone)) ** 2))


def _columns(row: Window) -> tuple[float, float, float, float, float]:
    """What each cost is multiplied with: steps that only decode, tokens, context, prompt tokens, mixed steps."""
    mixed = row.mixed
    return row.steps - mixed, row.generated, row.kv_steps, row.prompt, mixed
