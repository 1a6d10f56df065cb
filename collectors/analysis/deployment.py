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
from typing import NamedTuple

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
ALONE_ERROR = 0.05
"""Relative error, at least, of what prefill takes alone where that was seen."""
_UNSEEN = 0.2
"""Relative error of what prefill takes alone where it was never seen alone (simulations: 4 to 21 % too little)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`ratio` is prefill instances for each decode instance, at a batch of `batch` sequences and `tpot` seconds
    a token. `prefill_load` and `decode_load` are instance-seconds per second of what was recorded. `limit` says
    what bounds the batch."""

    ratio: float
    low: float
    high: float
    batch: float
    tpot: float
    prefill_load: float
    decode_load: float
    limit: str
    is_alone_measured: bool


class Alone(NamedTuple):
    """Seconds a prompt token takes on an instance of its own, with bounds; `is_measured` where that was seen."""

    seconds: float
    low: float
    high: float
    is_measured: bool


def alone_cost(totals: Totals, engines: Sequence[str], costs: CostModel) -> Alone | None:
    """What prompts cost where nothing is decoded beside them.

    Where that was never seen it follows from what they add to decode steps, d a token, and from what a step
    costs, a: a step of decodes has read the weights already, so that a prompt of n tokens alone takes at least
    max(a, n d), and about n d + a where prompts seldom share a step, which is what is taken.
    """
    alone = totals.alone(engines)
    if alone is not None:
        doubt = max(ALONE_ERROR, costs.error) * alone
        return Alone(alone, alone - doubt, alone + doubt, True)
    split, tokens = totals.busy_split(engines), totals.computed(engines)
    prompts = totals.engine("first_tokens", engines)
    if split is None or not tokens or split[0] <= 0:
        return None
    marginal = split[0] / tokens
    if not prompts or not costs.knows_decode:
        return Alone(marginal, marginal, 2.0 * marginal, False)
    step = costs.step * prompts / tokens
    low, high = max(step, marginal), marginal + step
    return Alone(high, low, (1.0 + _UNSEEN) * high, False)


def plan(
    totals: Totals, engines: Sequence[str], costs: CostModel, promised: float | None, batch: float | None = None
) -> Plan | None:
    """The plan for the engines of one model; None where costs, tokens or batches are not known.

    `promised` is the time per token to keep; `batch` sets the decode batch instead of the largest one.
    """
    prompts, generated = totals.computed(engines), totals.generated(engines)
    prefill = alone_cost(totals, engines, costs)
    if not prompts or not generated or prefill is None or not costs.is_sure or not costs.knows_decode:
        return None
    resident = totals.resident(engines)
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
    prefill_load = prompts / totals.seconds * prefill.seconds
    decode_load = generated / totals.seconds * step / batch
    doubt = max(0.1, costs.error)
    ratio = prefill_load / decode_load
    uncounted = 1.0 + totals.recomputed(engines)  # what was computed again made prompts look cheap and steps dear
    return Plan(
        ratio, ratio * prefill.low / prefill.seconds * (1.0 - doubt),
        ratio * prefill.high / prefill.seconds * (1.0 + doubt) * uncounted,
        batch, step, prefill_load, decode_load, limit, prefill.is_measured,
    )  # fmt: skip


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
        met = f"{tpot_met * 100:.{1 if abs(tpot_met - promised_share) >= 0.001 else 3}f}"
        reasons.append(f"{met} % of the tokens are within the SLO, promised {promised_share * 100:g} %")
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
