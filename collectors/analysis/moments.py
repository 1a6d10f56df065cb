"""Products of what happened in the same stretch of time: what regressions over stretches are made of.

A stretch is one interval of a recording, or one step of a Prometheus. The relations are linear in the
seconds of prefill and of decode, so that a stretch may be of any length.
"""

from __future__ import annotations

from collections.abc import Mapping

from collectors.analysis.blocks import Block

ALONE_FROM = 0.98
"""Prefill share from which a stretch counts as prefill alone."""

USES = ("compute", "memory-bandwidth", "engine-flops", "engine-bytes")
"""Resources whose use is separated by phase: tensor and DRAM activity of the GPUs (ratios of time), and
operations and bytes that the engines estimate (per GPU and second)."""
POWER = ("pp", "pd", "pi", "dd", "di", "ii", "py", "dy", "iy", "p", "d", "i", "y")
"""Products of the seconds of prefill (p), decode (d) and the rest (i), and of all GPUs' joules (y)."""
USE = ("n", "p", "d", "pp", "pd", "dd", "py", "dy", "pm", "dm")
DELAY = ("w", "x", "b", "xx", "xb", "bb", "y", "xy", "by", "yy")
"""Sums of the weights, prefill seconds a decode step (x), the batch (b) and the time per token (y)."""


def add_power(block: Block, p: float, d: float, i: float, joules: float | None) -> None:
    """`p`, `d` and `i` are seconds of the machine in prefill, decode and neither; `joules` are of all its GPUs."""
    if joules is None:
        return
    y = joules
    values = (p * p, p * d, p * i, d * d, d * i, i * i, p * y, d * y, i * y, p, d, i, y)
    for name, value in zip(POWER, values, strict=True):
        block.add(("power", name), value)


def add_use(block: Block, resource: str, p: float, d: float, amount: float | None) -> None:
    """An amount that `p` seconds of prefill and `d` of decode used."""
    if amount is None or p + d <= 0:
        return
    mean = amount / (p + d)
    values = (1.0, p, d, p * p, p * d, d * d, p * amount, d * amount, p * mean, d * mean)
    for name, value in zip(USE, values, strict=True):
        block.add(("use", resource, name), value)


def add_engine(block: Block, entity: str, p: float, d: float, amounts: Mapping[str, float | None]) -> None:
    """An engine's seconds of prefill and decode, with what it did in them.

    `amounts` are the engine's amounts by the names of their fields; `requests_running` is the mean.
    """
    flops, moved = amounts.get("flops"), amounts.get("read_bytes")
    if flops:
        add_use(block, "engine-flops", p, d, flops)
    if moved:
        add_use(block, "engine-bytes", p, d, moved + (amounts.get("write_bytes") or 0.0))
    tokens = computed(amounts)
    if tokens and p + d > 0 and p >= ALONE_FROM * (p + d):
        block.add(("alone", entity, "seconds"), p + d)
        block.add(("alone", entity, "tokens"), tokens)
        block.add(("alone", entity, "intervals"), 1.0)


def computed(amounts: Mapping[str, float | None]) -> float | None:
    """Prompt tokens computed here: neither cached nor transferred ones."""
    told, prompts = amounts.get("prompt_tokens_computed"), amounts.get("prompt_tokens")
    if told is not None or prompts is None:
        return told
    return max(0.0, prompts - (amounts.get("prompt_tokens_cached") or 0.0))


def add_delay(
    block: Block, entity: str, prefill: float, count: float, seconds: float, amounts: Mapping[str, float | None]
) -> None:
    """`count` observations of the time per token that took `seconds` together, beside `prefill` seconds of prefill."""
    running, generated = amounts.get("requests_running"), amounts.get("generation_tokens")
    steps = amounts.get("decode_steps") or amounts.get("steps")
    if not steps and generated and running:
        steps = generated / running
    if not count or not steps:
        return
    y, x = seconds / count, prefill / steps
    b = generated / steps if generated else 0.0
    for name, value in zip(DELAY, (1.0, x, b, x * x, x * b, b * b, y, x * y, b * y, y * y), strict=True):
        block.add(("delay", entity, name), count * value)
