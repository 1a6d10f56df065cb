"""What a step costs: a bounded least-squares fit on the engine's own recent past.

    decode seconds  = a * steps + b * generated tokens + c * resident KV tokens * steps
    prefill seconds = d * prompt tokens computed

The four costs are learned from windows of about five seconds during which the engine was busy
throughout, so that their sum is the window's length. Physics bounds them (no cost is negative, a
prompt token never costs more than a decode step), and a ridge towards what pure windows show keeps
the fit identifiable under saturated chunked prefill, where every step is mixed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from statistics import median
from typing import Any, NamedTuple

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

_REFIT_WINDOWS = 6
"""Once sure, the costs are fitted anew every half minute of busy time."""

_MIN_TOKENS = 2000
"""Tokens before the engine's operations per token are taken as known."""

_RIDGE = (0.02, 0.05, 0.05, 0.02)
"""Pull of each cost towards its prior; the second-order costs of batch and context are held tighter."""
_COLD_RIDGE = 0.05
"""Pull towards the prior while there are few windows; it fades out by `SURE_WINDOWS`."""
_SWEEPS = 200


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
    tokens_per_step: float = CPU_TOKENS_PER_STEP
    _open: list[float] = field(default_factory=lambda: [0.0] * len(Window._fields))
    _since_fit: int = 0
    _flops: float = 0.0
    _tokens: float = 0.0

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
        if not self.model.is_sure or self._since_fit >= _REFIT_WINDOWS:
            flops_per_token = self._flops / self._tokens if self._tokens >= _MIN_TOKENS else 0.0
            self.model = replace(fit(self.windows, self.tokens_per_step), flops_per_token=flops_per_token)
            self._since_fit = 0

    def interrupt(self) -> None:
        """The engine was not busy throughout, or is not known to have been: the open window is dropped."""
        self._open = [0.0] * len(Window._fields)

    def to_json(self) -> dict[str, Any]:
        return {
            "windows": [list(window) for window in self.windows],
            "open": list(self._open),
            "tokens_per_step": self.tokens_per_step,
            "since_fit": self._since_fit,
            "flops": self._flops,
            "tokens": self._tokens,
            "model": asdict(self.model),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Calibration:
        windows = deque((Window(*values) for values in state["windows"]), maxlen=MAX_WINDOWS)
        model = CostModel(**state["model"])
        rest = (list(state["open"]), state["since_fit"], state["flops"], state["tokens"])
        return cls(windows, model, state["tokens_per_step"], *rest)


def fit(windows: Iterable[Window], tokens_per_step: float = CPU_TOKENS_PER_STEP) -> CostModel:
    """The cost model of some windows; `UNCALIBRATED` when there are too few of them.

    `tokens_per_step` is how many prompt tokens cost as much as a decode step by the hardware alone.
    """
    rows = list(windows)
    if len(rows) < MIN_WINDOWS:
        return UNCALIBRATED
    decode_rows = [row for row in rows if row.steps > 0]
    prompt_rows = [row for row in rows if row.prompt > 0]
    ceiling = _prompt_token_ceiling(rows)
    prior = _prior(rows, ceiling, tokens_per_step)
    scales = [max((row[column] for row in rows), default=0.0) for column in range(4)]
    costs = _bounded_ridge(rows, prior, scales, ceiling)
    step, token, kv_step, prompt_token = costs
    squares = 0.0
    for row in rows:
        explained = step * row.steps + token * row.generated + kv_step * row.kv_steps + prompt_token * row.prompt
        squares += (explained / row.busy - 1.0) ** 2
    error = (squares / len(rows)) ** 0.5
    knows_prefill = len(prompt_rows) >= MIN_WINDOWS and costs[3] > 0
    return CostModel(
        step=step,
        token=token,
        kv_step=kv_step,
        prompt_token=prompt_token,
        error=error,
        windows=len(rows),
        # A fit that gives prompts no cost although they came has not told the two apart.
        knows_decode=len(decode_rows) >= MIN_WINDOWS and costs[0] + costs[1] > 0 and (knows_prefill or not prompt_rows),
        knows_prefill=knows_prefill,
        batch_low=min((row.generated / row.steps for row in decode_rows), default=0.0),
        batch_high=max((row.generated / row.steps for row in decode_rows), default=0.0),
        prompts_per_token=sum(row.prompt for row in rows) / max(1.0, sum(row.generated for row in rows)),
    )


def _prompt_token_ceiling(rows: Sequence[Window]) -> float:
    """Seconds a prompt token costs at most: nobody's prompt took longer than its first token.

    Requests that queue wait much longer than they compute, so the least loaded tenth tells most.
    """
    ratios = sorted(row.waited / row.prompt for row in rows if row.prompt > 0 and row.waited > 0)
    return ratios[len(ratios) // 10] if ratios else inf


def _prior(rows: Sequence[Window], ceiling: float, tokens_per_step: float) -> list[float]:
    """Costs that windows of one phase alone show; else what physics makes of mixed ones.

    A window counts as pure when the other kind of work could not have filled a tenth of it. A step
    reads every weight once and a prompt token computes with every weight once, so a step costs as
    much as `tokens_per_step` prompt tokens: the hardware's ratio of compute to memory bandwidth.
    """
    step_only = [row.busy / row.steps for row in rows if row.steps > 0 and row.prompt < 0.1 * row.generated]
    prompt_only = [row.busy / row.prompt for row in rows if row.prompt > 0 and row.steps == 0]
    mixed = [row for row in rows if row.steps > 0 and row.prompt > 0]
    step = median(step_only) if step_only else None
    prompt = median(prompt_only) if prompt_only else None
    if prompt is None and mixed:
        if step is None:
            prompt = median(row.busy / (tokens_per_step * row.steps + row.prompt) for row in mixed)
        else:
            prompt = median((row.busy - min(row.steps * step, 0.9 * row.busy)) / row.prompt for row in mixed)
    prompt = min(prompt, ceiling) if prompt is not None else 0.0
    if step is None and mixed:
        step = median(max(row.busy - row.prompt * prompt, 0.1 * row.busy) / row.steps for row in mixed)
    return [step or 0.0, 0.0, 0.0, prompt]


def _bounded_ridge(
    rows: Sequence[Window], prior: Sequence[float], scales: Sequence[float], ceiling: float
) -> list[float]:
    """Coordinate descent on the normal equations of min |A x - B|^2 + |ridge (x - prior)|^2, x >= 0.

    Columns are scaled to at most 1, rows to the window's length, so that one ridge suits all.
    """
    active = [index for index in range(4) if scales[index] > 0]
    size = len(active)
    gram = [[0.0] * size for _ in range(size)]
    target = [0.0] * size
    for row in rows:
        scaled = [row[index] / (scales[index] * row.busy) for index in active]
        for i in range(size):
            value = scaled[i]
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
    weights = [(_RIDGE[index] ** 2 + coldness * _COLD_RIDGE**2) * len(rows) / mean_busy**2 for index in active]
    limits = [ceiling * scales[index] if index == 3 else inf for index in active]
    x = list(scaled_prior)
    for _ in range(_SWEEPS):
        moved = 0.0
        for i in range(size):  # hundreds of times a fit: comparisons, because calls would double its time
            line, before, pull = gram[i], x[i], weights[i]
            others = -line[i] * before
            for value, at in zip(line, x, strict=True):
                others += value * at
            best = (target[i] - others + pull * scaled_prior[i]) / (line[i] + pull)
            if not best > 0.0:
                best = 0.0
            if best > limits[i]:
                best = limits[i]
            x[i] = best
            step = best - before if best > before else before - best
            if step > moved:
                moved = step
        if moved < 1e-12:
            break
    costs = [0.0] * 4
    for position, index in enumerate(active):
        costs[index] = x[position] / scales[index]
    if costs[0] + costs[1] > 0:
        costs[3] = min(costs[3], costs[0] + costs[1])
    return costs
