"""llama.cpp's generated tokens as they are made, and exact whenever it rests.

Its count of generated tokens moves only when a request ends. What moves with every computed batch
is the sum of busy slots over batches: a decode step adds one for each slot that gets a token, a
batch of a prompt adds one for each busy slot though at most one of them gets a token. So tokens are
estimated from that sum, without the prompts' batches, and set right by the exact count: it is never
more than what was generated, and it is all of it whenever no request is running.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from collectors.engine.page import Series

ESTIMATE = Series("llamacpp:tokens_estimated_total", {})
"""Stands on a page beside llama.cpp's own series."""
_PROMPT_BATCH = 2048
"""Prompt tokens in a batch, unless the server was told otherwise."""
# Some agents drop the `_total`.
_NAMES = {
    "tokens_predicted": "ended",
    "n_decode": "batches",
    "n_busy_slots_per_decode": "busy",
    "prompt_tokens": "prompt",
    "requests_processing": "running",
}
LLAMACPP = ("llamacpp:", "llamacpp_")
"""What the names of its series begin with."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a page counts, of what matters here."""

    ended: float
    batches: float
    busy: float
    prompt: float
    running: float

    @property
    def slots(self) -> float:
        """Busy slots summed over all batches."""
        return self.busy * self.batches


@dataclass(slots=True)
class LiveTokens:
    """The running total of one server, page by page."""

    _before: _Counts | None = None
    _estimate: float = 0.0
    _told: float = 0.0

    def total(self, samples: Iterable[tuple[Series, float]]) -> float | None:
        """Tokens generated up to this page; never falls but after a restart. None until a page has all the counts."""
        now = _counts(samples)
        if now is None:
            return self._told if self._before is not None else None
        before, self._before = self._before, now
        if before is None or now.ended < before.ended or now.batches < before.batches:
            self._estimate = self._told = now.ended
            return self._told
        self._estimate += max(0.0, now.slots - before.slots - _of_prompts(now.prompt - before.prompt, now.running))
        self._estimate = now.ended if now.running == 0 else max(self._estimate, now.ended)
        self._told = max(self._told, self._estimate)
        return self._told


def _of_prompts(tokens: float, running: float) -> float:
    """Busy slots summed over the batches of that many prompt tokens, at most."""
    if tokens <= 0:
        return 0.0
    return (math.ceil(tokens / _PROMPT_BATCH) + 1) * max(1.0, running)


def _counts(samples: Iterable[tuple[Series, float]]) -> _Counts | None:
    found: dict[str, float] = {}
    for series, value in samples:
        name = series.name[9:].removesuffix("_total")
        if series.name[:9] in LLAMACPP and name in _NAMES and math.isfinite(value) and value >= 0:
            found[_NAMES[name]] = value
    return _Counts(**found) if len(found) == len(_NAMES) else None
