"""What an engine's steps cost, learned from its own recent past and kept up to date.

Windows of about five seconds during which the engine was busy throughout are kept for a quarter of
an hour, and the costs fitted to them anew every half minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from collectors.phase.costs import (
    NO_STRETCH,
    SUMS,
    SURE_WINDOWS,
    UNCALIBRATED,
    UNKNOWN_HARDWARE,
    CostModel,
    Hardware,
    Stretch,
    Window,
)
from collectors.phase.fit import MIN_WINDOWS, fit, misfit_of

__all__ = [
    "MIN_WINDOWS",
    "SURE_WINDOWS",
    "UNCALIBRATED",
    "UNKNOWN_HARDWARE",
    "Calibration",
    "CostModel",
    "Hardware",
    "Window",
    "fit",
]

WINDOW_SECONDS = 5.0
MAX_WINDOWS = 180
"""Fifteen minutes of windows; what is older is forgotten."""
STRETCH_SECONDS = 0.9
"""How long a part of a window is whose steps are looked at on their own."""

_REFIT_WINDOWS = 6
"""Once sure, the costs are fitted anew every half minute of busy time."""

_PRIOR_WINDOWS = 40
"""Windows that an earlier run's costs count for at most: never enough for high confidence."""
_PRIOR_ERROR = 0.15
"""Relative error up to which an earlier run's costs are believed to be those of this one."""

_MIN_TOKENS = 2000
"""Tokens before the engine's operations per token are taken as known."""
_BUSY = Window._fields.index("busy")


@dataclass(slots=True)
class Calibration:
    """The windows of one engine and the model fitted to them."""

    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=MAX_WINDOWS))
    model: CostModel = UNCALIBRATED
    hardware: Hardware = UNKNOWN_HARDWARE
    misfit: float | None = None
    """What the costs lately left unexplained in an interval, relative to its busy time."""
    _open: list[float] = field(default_factory=lambda: [0.0] * SUMS)
    _stretch: Stretch = NO_STRETCH
    _fastest: Stretch = NO_STRETCH
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

    def add(self, work: Window, seconds: float | None = None) -> None:
        """One interval that was busy throughout, of so many seconds where that is not the busy time."""
        for index in range(SUMS):
            self._open[index] += work[index]
        self._stretch = _extended(self._stretch, work, work.busy if seconds is None else seconds)
        if self._stretch.seconds >= STRETCH_SECONDS:
            self._fastest = max(self._fastest, self._stretch, key=lambda one: one.rate)
            self._stretch = NO_STRETCH
        if self._open[_BUSY] < WINDOW_SECONDS:
            return
        sums: list[float] = [*self._open, *self._fastest]
        window = Window(*sums)
        self.windows.append(window)
        self.interrupt()
        self._since_fit += 1

    @property
    def _is_due(self) -> bool:
        """Whether windows were completed that call for other costs."""
        is_learning = not self.model.is_sure or self.prior is not None
        return self._since_fit >= (1 if is_learning else _REFIT_WINDOWS)

    def refit(self) -> bool:
        """Fits the costs anew where enough windows were completed, which takes milliseconds; whether it did."""
        if not self._is_due:
            return False
        flops_per_token = self._flops / self._tokens if self._tokens >= _MIN_TOKENS else 0.0
        fitted = replace(fit(self.windows, self.hardware), flops_per_token=flops_per_token)
        if self.prior is not None and (fitted.is_sure or not _explains(self.prior, self.windows)):
            self.prior = None
        self.model = fitted if self.prior is None else self.prior
        self._since_fit = 0
        return True

    def interrupt(self) -> None:
        """The engine was not busy throughout, or is not known to have been: the open window is dropped."""
        self._open = [0.0] * SUMS
        self._stretch = self._fastest = NO_STRETCH

    def to_json(self) -> dict[str, Any]:
        return {
            "windows": [list(window) for window in self.windows],
            "open": [*self._open, *self._stretch, *self._fastest],
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
        size = len(Stretch._fields)
        sums, stretches = state["open"][:SUMS], state["open"][SUMS:]
        opened = (list(sums), Stretch(*stretches[:size]), Stretch(*stretches[size:]))
        rest = (state["since_fit"], state["flops"], state["tokens"])
        return cls(windows, model, Hardware(*state["hardware"]), state["misfit"], *opened, *rest, prior)


def _extended(stretch: Stretch, work: Window, seconds: float) -> Stretch:
    return Stretch(
        stretch.steps + work.steps,
        stretch.generated + work.generated,
        stretch.kv_steps + work.kv_steps,
        stretch.seconds + seconds,
    )


def _explains(model: CostModel, windows: Iterable[Window]) -> bool:
    """Whether costs learned elsewhere account for the time of some windows, or those are too few to tell."""
    rows = list(windows)
    if len(rows) < MIN_WINDOWS:
        return True
    return misfit_of(rows, model) <= max(_PRIOR_ERROR, 2 * model.error)
