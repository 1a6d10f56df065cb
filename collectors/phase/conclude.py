"""What is concluded of one interval's time from all the evidence that has reached it so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from collectors.model import Evidence
from collectors.phase.calibrate import CostModel
from collectors.phase.evidence import Observation

IDLE_COUNTER_SECONDS = 1.0
"""How seldom an engine brings its idle counter up to date (SGLang: once a second)."""

_COUNTER_LAG = 0.5 * IDLE_COUNTER_SECONDS
"""Seconds that an idle counter is often short of an idle interval, because it is older on the later page than on the
earlier one; the whole time between two updates at most."""

NEGLIGIBLE = 0.05
"""A part of the interval too small to change its label."""

_STEP_SLACK = 1.35
"""Residual beyond calibrated decode that a lump's cost may explain, relative to that cost."""

_GOOD_FIT = 0.15
"""Relative error of the fitted costs below which they may contradict the prompt counters."""

FEW_STEPS = 3
"""So few steps in an interval may be batches of a long prompt as well as decode steps."""


class Split(NamedTuple):
    """One interval's seconds. They add up to the observation's; `unknown` is what nothing explains.

    `error` is the stated error of the prefill share, as far as it does not depend on fitted costs.
    `complete` says that no later evidence can change the label. `calibrated` says that the split
    rests on fitted costs, `measured` that its prefill is measured busy time less decoding.
    """

    prefill: float
    decode: float
    idle: float
    unknown: float
    evidence: tuple[Evidence, ...]
    error: float
    complete: bool
    calibrated: bool = False
    measured: bool = False

    @property
    def busy(self) -> float:
        return self.prefill + self.decode

    @property
    def share(self) -> float | None:
        return self.prefill / self.busy if self.busy > 0 else None


@dataclass(slots=True)
class Draft:
    """An interval being split: what is known of its decode time and of prefill reaching into it."""

    given: Observation
    seen: Observation
    """The same, with the prompt tokens that its operations were spent on."""
    decode: float | None
    measured: float | None
    busy: float | None
    """Measured busy time; an idle counter's may have been moved to where it belongs."""
    has_gaps: bool
    """Idle stretches measured by a GPU, whose figures trail by some tenths of a second."""
    claimed: float = 0.0
    reached: float = 0.0
    is_late: bool = False
    """A GPU's idle stretches, here or in what follows so closely that they may have been here."""
    precedes_prompt: bool = False
    """Silent, and what follows in silence is a prompt under way whose beginning is not told yet."""
    is_told: bool = False
    """The next interval was idle, or something was counted in it: no prompt is under way in silence."""
    short: float = 0.0
    """Seconds by which an idle counter is short of this silence and what follows, until it tells of idle time."""
    claims: tuple[object, ...] = ()
    split: Split | None = None
    """What was concluded from the claims the last time."""

    @property
    def room(self) -> float:
        """Seconds not yet spoken for, in which prefill may have been going on."""
        limit = self.seen.seconds if self.busy is None or self.has_gaps else self.busy
        return max(0.0, limit - (self.decode or 0.0) - self.claimed)

    @property
    def is_proven_idle(self) -> bool:
        return self.busy is not None and self.busy < NEGLIGIBLE * self.seen.seconds and not self.seen.moved


def conclude(draft: Draft, model: CostModel, *, final: bool, updates: int) -> Split:
    seen = draft.seen
    if draft.is_proven_idle:
        complete = final or (updates > 0 and not seen.missing)
        return Split(0.0, 0.0, seen.seconds, 0.0, (_idle_evidence(seen),), 0.02, complete=complete)
    if seen.missing:
        return Split(0.0, 0.0, 0.0, seen.seconds, (), 1.0, complete=final)
    if seen.is_uncounted:
        return Split(0.0, 0.0, 0.0, seen.seconds, (), 1.0, complete=True)
    if seen.prefill_seconds is not None and seen.decode_seconds is not None:
        return _by_engine_seconds(draft, final)
    if seen.prefill_seconds is not None:
        return _by_prefill_seconds(draft, model, final)
    if draft.decode is None:
        return _by_bounds(draft, final)
    if draft.decode == 0.0:
        return _without_decode(draft, final=final, updates=updates)
    return _by_deficit(draft, model, final)


def _idle_evidence(seen: Observation) -> Evidence:
    return "idle-counter" if seen.busy_source == "idle-counter" else "requests"


def _by_engine_seconds(draft: Draft, final: bool) -> Split:
    seen = draft.seen
    decode = draft.decode or 0.0
    prefill = min(draft.claimed, seen.seconds - decode)
    rest = seen.seconds - prefill - decode
    # Without a later lump the rest is idle; a step in flight is counted when it ends.
    complete = final or rest <= NEGLIGIBLE * seen.seconds
    return Split(prefill, decode, rest, 0.0, ("engine-seconds",), 0.03, complete)


def _by_prefill_seconds(draft: Draft, model: CostModel, final: bool) -> Split:
    """Prefill is counted by the engine; the other busy seconds are decode if anything was decoded."""
    seen = draft.seen
    prefill = min(draft.claimed, seen.seconds)
    if not seen.decodes:
        return _open_rest(draft, prefill, ("engine-seconds",), final)
    if not model.knows_decode and (seen.steps or 0.0) < FEW_STEPS:
        # A batch of a long prompt or a slow decode step: nothing tells them apart yet.
        return Split(prefill, 0.0, 0.0, seen.seconds - prefill, ("engine-seconds",), 0.5, final)
    if draft.busy is None:
        return _between_requests(draft, prefill, model, final)
    decode = max(0.0, draft.busy - prefill)
    idle = seen.seconds - prefill - decode
    expected = _decode_estimate(draft) if model.knows_decode else decode
    in_flight = decode - expected
    complete = final or (in_flight <= NEGLIGIBLE * seen.seconds and model.knows_decode)
    if model.knows_decode and in_flight > (0.8 * decode if final else NEGLIGIBLE * seen.seconds):
        # More time than the steps cost: a prompt is being computed whose seconds have not landed.
        evidence: tuple[Evidence, ...] = ("engine-seconds", "decode-deficit")
        return Split(prefill + in_flight, expected, idle, 0.0, evidence, 0.15, final)
    return Split(prefill, decode, idle, 0.0, ("engine-seconds",), 0.05, complete)


def _between_requests(draft: Draft, prefill: float, model: CostModel, final: bool) -> Split:
    """Requests came or went: how much of the interval was busy is known only from the work itself."""
    seen = draft.seen
    decode = min(seen.seconds - prefill, _decode_estimate(draft))
    rest = seen.seconds - prefill - decode
    error = 0.05 if model.knows_decode else 0.2
    if final or rest <= NEGLIGIBLE * seen.seconds:
        return Split(prefill, decode, rest, 0.0, ("engine-seconds",), error, model.knows_decode or final)
    return Split(prefill, decode, 0.0, rest, ("engine-seconds",), error, False)


def _decode_estimate(draft: Draft) -> float:
    return draft.decode if draft.decode is not None else draft.seen.seconds - draft.claimed


def _without_decode(draft: Draft, *, final: bool, updates: int) -> Split:
    """Nothing was decoded: the busy part is prefill, and only how much of it is busy is open."""
    cover = min(draft.seen.seconds, max(draft.claimed, draft.reached))
    evidence: tuple[Evidence, ...] = ("bounds", "latency") if draft.reached > 0 else ("bounds",)
    if draft.is_late and not draft.seen.moved and not draft.seen.running and not final:
        # The GPU trails: it was busy with what the interval before has counted, unless a prompt has begun in silence.
        prefill = cover if draft.is_told or draft.seen.running_before else max(draft.busy or 0.0, cover)
        return Split(prefill, 0.0, draft.seen.seconds - prefill, 0.0, evidence, 0.05, complete=draft.is_told)
    if draft.busy is not None and not (final or updates) and draft.seen.seconds < 0.9 * IDLE_COUNTER_SECONDS:
        # Too short an interval for the idle counter to have spoken.
        return Split(cover, 0.0, 0.0, draft.seen.seconds - cover, evidence, 0.5, complete=False)
    if draft.short <= _COUNTER_LAG:
        return Split(0.0, 0.0, draft.seen.seconds, 0.0, ("idle-counter",), 0.05, complete=final or updates > 1)
    if draft.short <= IDLE_COUNTER_SECONDS and updates:
        # A whole update is missing between two stretches of idle time; it may come late, or work may land after all.
        return Split(0.0, 0.0, draft.seen.seconds, 0.0, ("idle-counter",), 0.05, complete=final)
    if draft.busy is not None and updates:
        prefill = max(draft.busy, cover)
        return Split(prefill, 0.0, draft.seen.seconds - prefill, 0.0, evidence, 0.05, complete=True)
    return _open_rest(draft, cover, evidence, final)


def _open_rest(draft: Draft, prefill: float, evidence: tuple[Evidence, ...], final: bool) -> Split:
    """Nothing decoded, some prefill known: what of the rest was busy may still be told later."""
    seen = draft.seen
    rest = seen.seconds - prefill
    if rest <= NEGLIGIBLE * seen.seconds:
        return Split(prefill, 0.0, rest, 0.0, evidence, 0.05, complete=True)
    if draft.busy is not None or seen.runs_throughout or (seen.running and not final):
        # Requests run and nothing is generated: a prompt is being computed.
        busy = draft.busy if draft.busy is not None else seen.seconds
        more = max(0.0, busy - prefill)
        return Split(prefill + more, 0.0, rest - more, 0.0, (*evidence, "requests"), 0.10, complete=final)
    if final and not seen.running and not seen.running_before and not draft.precedes_prompt:
        # Neither a counter nor a later first token speaks of these seconds: nothing ran.
        told: tuple[Evidence, ...] = (*evidence, "silence") if prefill > 0 else ("silence",)
        return Split(prefill, 0.0, rest, 0.0, told, 0.05, complete=True)
    # A request came or went within the interval, or may yet turn out to have been there.
    return Split(prefill, 0.0, 0.0, rest, evidence if prefill > 0 else (), 0.5, complete=final)


def _by_deficit(draft: Draft, model: CostModel, final: bool) -> Split:
    """Calibrated decode time, and prefill in what is left of the busy time."""
    seen = draft.seen
    decode = draft.decode or 0.0
    cover = max(draft.claimed * _STEP_SLACK, draft.reached)
    is_measured = draft.busy is not None and not draft.is_late
    if draft.is_late and (model.knows_prefill or not (seen.prompt or draft.reached)):
        # The costs of what was done tell the busy time better than a GPU that trails.
        busy = min(seen.seconds, decode + draft.claimed)
    elif draft.busy is not None:
        busy = max(draft.busy, decode)
    elif seen.runs_throughout:
        busy = seen.seconds
    else:
        busy = min(seen.seconds, decode + cover)
    residual = busy - decode
    noise = max(NEGLIGIBLE, 2 * model.error) * seen.seconds
    # Residual that no prompt accounts for is believed only on measured busy time and good costs.
    is_trusted = is_measured and model.is_sure and model.error < _GOOD_FIT and residual > noise
    prefill = residual if is_trusted else min(residual, cover)
    # Busy time that neither steps nor prompts explain is time between steps: it belongs to decode.
    decode = busy - prefill
    unexplained = seen.seconds - draft.decode - min(cover, residual) if draft.decode else 0.0
    complete = final or unexplained <= max(NEGLIGIBLE, model.error) * seen.seconds
    rest = seen.seconds - busy
    if cover == 0.0 and prefill == 0.0:
        # Only generated tokens moved: that needs no calibration to be decode.
        return Split(0.0, decode, rest, 0.0, ("bounds", "decode-deficit"), 0.05, complete)
    evidence: tuple[Evidence, ...] = ("decode-deficit", "prefill-cost") if draft.claimed else ("decode-deficit",)
    if seen.flops is not None and model.flops_per_token > 0:
        evidence = ("intensity", *evidence)
    return Split(prefill, decode, rest, 0.0, evidence, 0.0, complete, calibrated=True, measured=is_trusted)


def _by_bounds(draft: Draft, final: bool) -> Split:
    """Something was decoded and no cost is known yet: only what bounds the share is used."""
    seen = draft.seen
    cover = min(seen.seconds, max(draft.claimed, draft.reached))
    busy = seen.seconds if draft.busy is None else draft.busy
    if cover == 0.0:
        return Split(0.0, busy, seen.seconds - busy, 0.0, ("bounds",), 0.10, complete=final)
    # Prefill took between none and all of the time that first tokens were waited for, and never
    # more of the busy time than prompt tokens have of prompt tokens and steps.
    prompt, steps = seen.prompt or 0.0, seen.steps or seen.continued or 0.0
    most = min(cover, busy * prompt / (prompt + steps)) if seen.prompt is not None and prompt + steps else cover
    share_range = most / busy if busy else 1.0
    if share_range <= 0.4:
        return Split(most / 2, busy - most / 2, seen.seconds - busy, 0.0, ("bounds",), share_range / 2, final)
    return Split(0.0, 0.0, 0.0, seen.seconds, ("bounds",), 1.0, complete=final)
