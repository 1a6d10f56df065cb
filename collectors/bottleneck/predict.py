"""What a change of one lever would do to an engine, by the costs calibrated on its own past.

A step of a batch of B sequences with K resident KV tokens takes `a + b B + c K` of GPU time, every
generated token brings r prompt tokens of `d` seconds each with it, and between two steps the host takes g:

    time per output token = a + b B + c K + d r B + g
    tokens per second     = B / time per output token

K grows with B, r does not. The form is that of a saturated engine: more concurrent sequences are
of use only while requests wait. Costs learned from batches of one size do not tell `a` from `b B`;
`tells_batches` says whether they do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading

_MOST_HOST = 0.9
"""Share of the time the host may take before a prediction is no use."""
_SPREAD = 1.5
"""Ratio of the largest to the smallest batch from which the cost of a sequence is told from that of a step."""


@dataclass(frozen=True, slots=True)
class Load:
    """An engine at work: `batch` sequences a step, `resident` KV tokens, `prompts` computed prompt
    tokens a generated one, `gap` seconds of the host between two steps."""

    batch: float
    resident: float
    prompts: float = 0.0
    gap: float = 0.0

    def scaled(self, factor: float) -> Load:
        """The same requests, so many times as many at once."""
        return replace(self, batch=self.batch * factor, resident=self.resident * factor)


@dataclass(frozen=True, slots=True)
class Effect:
    """Seconds per output token and tokens per second, now and then."""

    before: Load
    after: Load
    tpot_before: float
    tpot_after: float

    @property
    def gain(self) -> float:
        """Tokens per second gained, relative to now."""
        now, then = self.before.batch / self.tpot_before, self.after.batch / self.tpot_after
        return then / now - 1.0


def load_of(engine: EngineReading, costs: CostModel, host_share: float) -> Load | None:
    """The load an engine is under; None where costs or readings do not support a prediction.

    `host_share` is the share of wall time in which the GPU waited for the host.
    """
    if not (costs.is_sure and costs.knows_decode and engine.requests_running):
        return None
    batch = engine.requests_running
    resident = 0.0
    if costs.kv_step:
        if engine.kv_cache_usage_ratio is None or not engine.kv_cache_tokens:
            return None
        resident = engine.kv_cache_usage_ratio * engine.kv_cache_tokens
    if host_share > _MOST_HOST or (costs.prompts_per_token and not costs.knows_prefill):
        return None
    prompts = costs.prompts_per_token
    step = costs.decode_seconds(1, batch, resident) + costs.prefill_seconds(prompts * batch)
    if step <= 0:
        return None
    return Load(batch, resident, prompts, step * host_share / (1.0 - host_share))


def tells_batches(costs: CostModel) -> bool:
    """Whether the costs were learned from batches different enough to say what another batch would cost."""
    return costs.batch_low > 0 and costs.batch_high >= _SPREAD * costs.batch_low


def tpot(load: Load, costs: CostModel) -> float:
    """Seconds per output token under a load."""
    decode = costs.decode_seconds(1, load.batch, load.resident)
    return decode + costs.prefill_seconds(load.prompts * load.batch) + load.gap


def effect(before: Load, after: Load, costs: CostModel, costs_after: CostModel | None = None) -> Effect:
    """What going from one load to another does; `costs_after` where the change alters the costs too."""
    return Effect(before, after, tpot(before, costs), tpot(after, costs_after or costs))


def chunk_step(load: Load, costs: CostModel, chunk: float) -> float:
    """Seconds of a step that computes `chunk` prompt tokens beside its decoding."""
    return costs.decode_seconds(1, load.batch, load.resident) + costs.prefill_seconds(chunk) + load.gap
