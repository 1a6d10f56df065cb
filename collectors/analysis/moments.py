"""Products of what happened in the same stretch of time: what regressions over stretches are made of.

A stretch is one interval of a recording, or one step of a Prometheus. The relations are linear in the
seconds of prefill and of decode, so that a stretch may be of any length.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add

from collectors.analysis.blocks import Block, Key
from collectors.analysis.sums import computed, ratio

ALONE_FROM = 0.98
"""Prefill share from which a stretch counts as prefill alone."""
_ALONE_TOKENS, _ALONE_STRETCHES = 2000.0, 3
"""Prompt tokens and stretches of prefill alone that are needed before their cost is taken as known."""

POWER = ("pp", "pd", "pi", "dd", "di", "ii", "py", "dy", "iy", "p", "d", "i", "y")
"""Products of the seconds of prefill (p), decode (d) and the rest (i), and of all GPUs' joules (y)."""
USE = ("n", "p", "d", "pp", "pd", "dd", "py", "dy", "pm", "dm")
"""The same with how much a resource was used (y): `compute` and `memory-bandwidth` are tensor and DRAM activity of the
GPUs (ratios of time), `engine-flops` and `engine-bytes` what engines estimate (per GPU and second)."""
DELAY = ("w", "x", "b", "xx", "xb", "bb", "y", "xy", "by", "yy")
"""Sums of the weights, prefill seconds a decode step (x), the batch (b) and the time per token (y)."""
ALONE = ("seconds", "tokens", "intervals")
_NAMES = {"power": POWER, "use": USE, "delay": DELAY, "alone": ALONE}

Amounts = Mapping[str, float | None]
"""Of an engine in a stretch, by the names of their fields; `requests_running` is the mean."""


class Moments:
    """Sums of products over stretches, to be added to a block at once."""

    def __init__(self) -> None:
        self._sums: dict[Key, tuple[float, ...]] = {}

    def add_to(self, block: Block) -> None:
        for kind, values in self._sums.items():
            block.add_all(kind, _NAMES[str(kind[0])], values)

    def _add(self, kind: Key, values: tuple[float, ...]) -> None:
        before = self._sums.get(kind)
        self._sums[kind] = values if before is None else tuple(map(add, before, values))

    def power(self, p: float, d: float, i: float, joules: float | None) -> None:
        """`p`, `d` and `i` are seconds of the machine in prefill, decode and neither; `joules` are of all its GPUs."""
        if joules is not None:
            y = joules
            self._add(("power",), (p * p, p * d, p * i, d * d, d * i, i * i, p * y, d * y, i * y, p, d, i, y))

    def use(self, resource: str, p: float, d: float, amount: float | None) -> None:
        """An amount that `p` seconds of prefill and `d` of decode used."""
        if amount is None or p + d <= 0:
            return
        mean = amount / (p + d)
        values = (1.0, p, d, p * p, p * d, d * d, p * amount, d * amount, p * mean, d * mean)
        self._add(("use", resource), values)

    def engine(self, entity: str, p: float, d: float, amounts: Amounts) -> None:
        """An engine's seconds of prefill and decode, with what it did in them."""
        flops, moved = amounts.get("flops"), amounts.get("read_bytes")
        if flops:
            self.use("engine-flops", p, d, flops)
        if moved:
            self.use("engine-bytes", p, d, moved + (amounts.get("write_bytes") or 0.0))
        tokens = computed(*(amounts.get(f"prompt_tokens{which}") for which in ("_computed", "", "_cached")))
        if tokens and p + d > 0 and p >= ALONE_FROM * (p + d):
            self._add(("alone", entity), (p + d, tokens, 1.0))

    def delay(self, entity: str, prefill: float, count: float, seconds: float, amounts: Amounts) -> None:
        """`count` times per token that took `seconds` together, beside `prefill` seconds of prefill."""
        running, generated = amounts.get("requests_running"), amounts.get("generation_tokens")
        steps = amounts.get("decode_steps") or amounts.get("steps")
        if not steps and generated and running:
            steps = generated / running
        if not count or not steps:
            return
        w, y, x, b = count, seconds / count, prefill / steps, generated / steps if generated else 0.0
        wx, wb, wy = w * x, w * b, w * y
        self._add(("delay", entity), (w, wx, wb, wx * x, wx * b, wb * b, wy, wx * y, wb * y, wy * y))


def alone_cost(seconds: float | None, tokens: float | None, stretches: float | None) -> float | None:
    """Seconds a prompt token takes with nothing decoded beside it; None where that was seldom seen."""
    if (tokens or 0.0) < _ALONE_TOKENS or (stretches or 0.0) < _ALONE_STRETCHES:
        return None
    return ratio(seconds, tokens)
