"""Prefill and decode on instances of their own: how many of each, and whether to do it at all.

An instance for prefill computes prompts with nothing decoded beside them; one for decode runs the largest
batch B that meets the latency promised and fits into its KV cache. With prompts at p tokens a second of t
seconds each alone, tokens at g a second and a step of B sequences of T(B) seconds,

    prefill instances : decode instances = p t : g T(B) / B

at equal utilisation of both (the balance of DistServe, Y. Zhong et al., OSDI 2024, with costs calibrated on
the recording instead of profiled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.analysis.totals import Totals
from collectors.bottleneck.predict import tells_batches
from collectors.phase.calibrate import CostModel

KV_TO = 0.90
"""KV cache use a decode instance is planned for."""
_REACH = 2.0
"""Batches up to so many times the largest seen are predicted."""
LITTLE, MUCH = 0.10, 0.25
"""Share of the time per token that prefill adds: below, disaggregation gains little; above, it may pay."""
_LOPSIDED = 8.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`ratio` is prefill instances for each decode instance, at a batch of `batch` sequences and `tpot` seconds
    a token. `prefill_load` and `decode_load` are instance-seconds per second of what was recorded. `now` is
    the same ratio at the batch of the recording itself. `limit` says what bounds the batch."""

    ratio: float
    low: float
    high: float
    batch: float
    tpot: float
    prefill_load: float
    decode_load: float
    limit: str
    is_alone_measured: bool


def prefill_seconds_per_token(totals: Totals, engines: Sequence[str], costs: CostModel) -> tuple[float, bool] | None:
    """Seconds a prompt token takes on an instance of its own, and whether that was measured.

    Where prefill was never alone, its cost beside decode is the least it can be.
    """
    alone = totals.alone(engines)
    if alone is not None:
        return alone, True
    split, tokens = totals.busy_split(engines), totals.computed(engines)
    if split is not None and tokens and split[0] > 0:
        return split[0] / tokens, False
    return (costs.prompt_token, False) if costs.knows_prefill else None


def plan(
    totals: Totals, engines: Sequence[str], costs: CostModel, promised: float | None, batch: float | None = None
) -> Plan | None:
    """The plan for the engines of one model; None where costs, tokens or batches are not known.

    `promised` is the time per token to keep; `batch` sets the decode batch instead of the largest one.
    """
    prompts, generated = totals.computed(engines), totals.generated(engines)
    prefill = prefill_seconds_per_token(totals, engines, costs)
    if not prompts or not generated or prefill is None or not costs.is_sure or not costs.knows_decode:
        return None
    resident = _resident(totals, engines)
    if costs.kv_step and resident is None:
        return None
    slope = costs.token + costs.kv_step * (resident or 0.0)
    limit = "as given"
    if batch is None:
        found = _largest(totals, engines, costs, promised, slope, resident)
        if found is None:
            return None
        batch, limit = found
    step = costs.step + slope * batch
    if step <= 0:
        return None
    prefill_load = prompts / totals.seconds * prefill[0]
    decode_load = generated / totals.seconds * step / batch
    doubt = max(0.1, costs.error)
    # What prefill takes alone is at least its cost beside decode: then the error is to one side.
    upper = 1.0 + doubt if prefill[1] else 1.5 + doubt
    ratio = prefill_load / decode_load
    return Plan(
        ratio, ratio * (1.0 - doubt), ratio * upper, batch, step, prefill_load, decode_load, limit, prefill[1]
    )  # fmt: skip


def _resident(totals: Totals, engines: Sequence[str]) -> float | None:
    """KV tokens of a running request, mean."""
    tokens = running = 0.0
    for entity in engines:
        use, count = totals.mean(entity, "kv_cache_usage_ratio"), totals.mean(entity, "requests_running")
        size = totals.roster.engines[entity].kv_tokens
        if use is None or not count or not size:
            continue
        tokens += use * size
        running += count
    return tokens / running if running else None


def _largest(
    totals: Totals, engines: Sequence[str], costs: CostModel, promised: float | None, slope: float,
    resident: float | None,
) -> tuple[float, str] | None:  # fmt: skip
    """The largest batch, and what keeps it from being larger."""
    candidates: list[tuple[float, str]] = []
    if not tells_batches(costs):
        return (costs.batch_high, "the only batch seen") if costs.batch_high else None
    candidates.append((_REACH * costs.batch_high, "twice the largest batch seen"))
    if promised is not None and slope > 0:
        if promised <= costs.step:
            return None
        candidates.append(((promised - costs.step) / slope, "the time per token promised"))
    sizes = [totals.roster.engines[entity].kv_tokens for entity in engines]
    known = [size for size in sizes if size]
    if known and resident:
        candidates.append((KV_TO * min(known) / resident, "the KV cache"))
    batch, why = min(candidates)
    return (max(1.0, batch), why)


def verdict(
    added_share: float | None, tpot_met: float | None, promised_share: float, found: Plan | None, engines: int,
    is_split: bool,
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """Whether to disaggregate, in a sentence, and the reasons."""
    if is_split:
        return "Prefill and decode are on instances of their own already.", ()
    reasons: list[str] = []
    if added_share is None:
        return "Whether disaggregation would pay cannot be told: what prefill adds to a token was not measured.", ()
    reasons.append(f"prefill adds {added_share * 100:.0f} % to the time per token")
    if tpot_met is not None:
        reasons.append(f"{tpot_met * 100:.1f} % of the tokens are within the SLO, promised {promised_share * 100:g} %")
    if found is not None and not 1 / _LOPSIDED <= found.ratio <= _LOPSIDED:
        side = "decode" if found.ratio < 1 else "prefill"
        many = max(found.ratio, 1 / found.ratio)
        reasons.append(f"one instance would have to be matched by {many:.0f} for {side}; fewer leave one side idle")
    if engines < 2:
        reasons.append("one engine was recorded: two pools need at least two")
    is_kept = tpot_met is None or tpot_met >= promised_share
    if added_share < LITTLE or (is_kept and added_share < MUCH):
        return "Do not disaggregate: there is little to gain.", tuple(reasons)
    if is_kept:
        return "Disaggregation is not needed to keep the SLO; it would make token times more even.", tuple(reasons)
    return "Disaggregation may pay: try a smaller prefill chunk first, then two pools.", tuple(reasons)
