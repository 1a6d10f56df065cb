"""Splitting an engine's time into prefill, decode and idle, with evidence that arrives late.

Prompt counters move in one lump when a prompt ends, and on some engines the running gauge is 0
while the prompt is computed. So the time of an interval is split again with every later interval,
until nothing that may still come can change it, or ten seconds have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from operator import attrgetter, is_
from typing import NamedTuple

from collectors.model import Evidence
from collectors.phase.calibrate import CostModel
from collectors.phase.evidence import Observation, with_live_prompt

SETTLE_SECONDS = 10.0

IDLE_COUNTER_SECONDS = 1.0
"""How seldom an engine brings its idle counter up to date (SGLang: once a second)."""

_COUNTER_LAG = 0.5 * IDLE_COUNTER_SECONDS
"""Seconds that an idle counter is often short of an idle interval, because it is older on the later page than on the
earlier one; the whole time between two updates at most."""

_NEGLIGIBLE = 0.05
"""A part of the interval too small to change its label."""

_TRAILING_SECONDS = 0.5
"""By how much the figures of a GPU trail the pages of its engine at most."""

_THROUGHOUT = 0.95
"""Part of an interval from which a figure of busy time says that there were no gaps."""

_GIVEN = attrgetter("given")

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
class _Draft:
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
        return self.busy is not None and self.busy < _NEGLIGIBLE * self.seen.seconds and not self.seen.moved


class Splitting:
    """The splits of an engine's unsettled observations, made anew with each that comes.

    Evidence only reaches back: taking the oldest observation out changes nothing of the others, and
    what the earlier ones have claimed stands while the costs are the same.
    """

    def __init__(self) -> None:
        self._model: CostModel | None = None
        self._drafts: list[_Draft] = []

    def split(self, pending: Sequence[Observation], model: CostModel) -> list[Split]:
        """The splits of consecutive observations, the newest last, for each of which evidence may still come."""
        drafts, begin = self._continued(pending, model)
        for index in range(begin, len(drafts)):
            _reach_back(drafts, index, model)
        _look_ahead(drafts)
        later = 0.0
        splits = []
        for draft in reversed(drafts):
            updates = _updates(draft.seen, later)
            later += 0.0 if draft.seen.missing else draft.seen.seconds
            claims = (
                draft.claimed, draft.reached, draft.busy, draft.precedes_prompt, draft.is_late, draft.is_told,
                draft.short, updates,
            )  # fmt: skip
            found = draft.split
            if found is None or draft.claims != claims:
                found = draft.split = _conclude(draft, model, final=False, updates=updates)
                draft.claims = claims
            splits.append(found)
        splits.reverse()
        return splits

    def _continued(self, pending: Sequence[Observation], model: CostModel) -> tuple[list[_Draft], int]:
        """The drafts, and the index of the first whose evidence has not reached back yet."""
        known = self._drafts if model is self._model else []
        stands = len(known) <= len(pending) and all(map(is_, map(_GIVEN, known), pending))
        if stands:
            drafts = known + [_draft(seen, model) for seen in islice(pending, len(known), None)]
        else:
            kept = {id(draft.given): draft for draft in known}
            drafts = [kept.get(id(seen)) or _draft(seen, model) for seen in pending]
        self._model, self._drafts = model, drafts
        has_idle_counter = any(draft.seen.busy_source == "idle-counter" for draft in drafts)
        if stands and not has_idle_counter:
            return drafts, len(known)
        for draft in drafts:
            draft.busy, draft.claimed, draft.reached = draft.measured, 0.0, 0.0
        if has_idle_counter:
            _move_late_idle(drafts, model)
        return drafts, 0

    def first(self, model: CostModel) -> Split:
        """The split of the first observation, which gets no more evidence: what is still open in it is decided."""
        later = sum(draft.seen.seconds for draft in reversed(self._drafts[1:]) if not draft.seen.missing)
        first = self._drafts[0]
        return _conclude(first, model, final=True, updates=_updates(first.seen, later))

    def drop_first(self) -> None:
        """The first observation has been taken out."""
        del self._drafts[0]


def _look_ahead(drafts: list[_Draft]) -> None:
    """What the intervals after one tell of it.

    Silence is not idle when a request turns out to run while nothing lands: its prompt may have begun in it.
    It is, though an idle counter is a little short of it, when idle time follows.
    A GPU's figures trail, so idle stretches in the next ones may have been in this one.
    """
    under_way = is_told = False
    short = 0.0
    ahead = _TRAILING_SECONDS
    """Seconds to the next figure with idle stretches in it."""
    newest = drafts[-1] if drafts else None
    for draft in reversed(drafts):
        seen = draft.seen
        has_moved, is_idle = seen.moved, draft.is_proven_idle
        if seen.missing or has_moved:
            under_way = False
        elif seen.running and draft.claimed == draft.reached == 0.0:
            under_way = True
        draft.precedes_prompt, draft.is_told = under_way, is_told
        is_told = is_idle or has_moved
        if seen.busy_source == "gpu":
            is_ending = draft is newest and not seen.running
            draft.is_late = draft.has_gaps or is_ending or ahead < _TRAILING_SECONDS
            ahead = 0.0 if draft.has_gaps else ahead + seen.seconds
        if is_idle:
            short = 0.0
        elif seen.busy_source != "idle-counter" or draft.busy is None or has_moved or draft.claimed or draft.reached:
            short = inf
        else:
            short += draft.busy
        draft.short = short


def _updates(seen: Observation, later: float) -> int:
    """How often an idle counter was brought up to date after an interval, `later` seconds on; two is often enough.

    Its word on an interval is out only with the next update.
    """
    return min(2, int(later / (0.9 * IDLE_COUNTER_SECONDS))) if seen.busy_source == "idle-counter" else 2


def _draft(given: Observation, model: CostModel) -> _Draft:
    seen = with_live_prompt(given, model.flops_per_token)
    decode: float | None
    if seen.missing:
        decode = None
    elif seen.decode_seconds is not None:
        decode = min(seen.decode_seconds, seen.seconds)
    elif not seen.decodes:
        decode = 0.0
    elif model.knows_decode and seen.steps is not None:
        decode = min(seen.seconds, model.decode_seconds(seen.steps, seen.generated or 0.0, seen.kv_steps))
    else:
        decode = None
    has_gaps = seen.busy_source == "gpu" and (seen.busy or 0.0) < _THROUGHOUT * seen.seconds
    return _Draft(given, seen, decode, seen.busy, seen.busy, has_gaps)


def _move_late_idle(drafts: list[_Draft], model: CostModel) -> None:
    """An idle counter that is brought up to date once a second also counts the second before.

    Idle time that does not fit beside an interval's work belongs to the intervals before it.
    """
    carried = 0.0
    for draft in reversed(drafts):
        seen = draft.seen
        if seen.busy_source != "idle-counter" or seen.idle_seconds is None:
            carried = 0.0
            continue
        work = min(seen.seconds, (draft.decode or 0.0) + _lump_seconds(seen, model))
        idle = seen.idle_seconds + carried
        placed = min(idle, seen.seconds - work)
        draft.busy = seen.seconds - placed
        carried = min(idle - placed, IDLE_COUNTER_SECONDS)


def _lump_seconds(seen: Observation, model: CostModel) -> float:
    """Seconds of prefill that the prompts landed in this interval took, as far as is known."""
    if seen.prefill_seconds is not None:
        return seen.prefill_seconds
    if not seen.prompt:
        return 0.0
    if model.knows_prefill:
        return model.prefill_seconds(seen.prompt)
    return seen.ttft_mean or 0.0


def _reach_back(drafts: list[_Draft], landed: int, model: CostModel) -> None:
    """Prompts that landed in one interval claim time in it and in the silent ones before."""
    seen = drafts[landed].seen
    if seen.missing:
        return
    waited = seen.ttft_mean * seen.first if seen.ttft_mean is not None and seen.first else None
    if seen.prefill_seconds is not None:
        _claim(drafts, landed, seen.prefill_seconds)
    elif seen.prompt and model.knows_prefill:
        # No prompt was computed before its request came; unfinished ones, which operations tell of, may have been.
        reach = inf if waited is None or seen.flops is not None else waited
        _claim(drafts, landed, model.prefill_seconds(seen.prompt), reach)
    if seen.ttft_mean is not None and seen.first and seen.prompt != 0:  # None: prompts are not counted as they land
        _cover(drafts, landed, seen.ttft_mean, max(seen.ttft_mean, seen.ttft_longest or 0.0), seen.first)


def _claim(drafts: list[_Draft], landed: int, seconds: float, reach: float = inf) -> None:
    """Time that adds up: no two prompts' engine time is the same second.

    `reach` is how many seconds before the interval it may have begun.
    """
    for index in range(landed, -1, -1):
        draft = drafts[index]
        if seconds <= 0 or draft.is_proven_idle:
            return
        limit = draft.seen.seconds
        if index < landed:
            limit, reach = min(limit, reach), reach - limit
            if limit <= 0:
                return
        if draft.seen.missing:
            continue
        part = min(seconds, draft.room, limit)
        draft.claimed += part
        seconds -= part


def _cover(drafts: list[_Draft], landed: int, mean: float, longest: float, count: float) -> None:
    """Time a request waited for its first token: the engine was not idle then.

    A first token lands somewhere in its interval, on average in the middle of it; several in one
    interval cover it one after the other. Before it, the one that waited longest counts.
    """
    draft = drafts[landed]
    draft.reached = min(draft.seen.seconds, max(draft.reached, mean * count))
    remaining = longest - draft.seen.seconds / 2
    for index in range(landed - 1, -1, -1):
        earlier = drafts[index]
        if remaining <= 0 or earlier.is_proven_idle:
            return
        earlier.reached = max(earlier.reached, min(earlier.seen.seconds, remaining))
        remaining -= earlier.seen.seconds


def _conclude(draft: _Draft, model: CostModel, *, final: bool, updates: int) -> Split:
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


def _by_engine_seconds(draft: _Draft, final: bool) -> Split:
    seen = draft.seen
    decode = draft.decode or 0.0
    prefill = min(draft.claimed, seen.seconds - decode)
    rest = seen.seconds - prefill - decode
    # Without a later lump the rest is idle; a step in flight is counted when it ends.
    complete = final or rest <= _NEGLIGIBLE * seen.seconds
    return Split(prefill, decode, rest, 0.0, ("engine-seconds",), 0.03, complete)


def _by_prefill_seconds(draft: _Draft, model: CostModel, final: bool) -> Split:
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
    complete = final or (in_flight <= _NEGLIGIBLE * seen.seconds and model.knows_decode)
    if model.knows_decode and in_flight > (0.8 * decode if final else _NEGLIGIBLE * seen.seconds):
        # More time than the steps cost: a prompt is being computed whose seconds have not landed.
        evidence: tuple[Evidence, ...] = ("engine-seconds", "decode-deficit")
        return Split(prefill + in_flight, expected, idle, 0.0, evidence, 0.15, final)
    return Split(prefill, decode, idle, 0.0, ("engine-seconds",), 0.05, complete)


def _between_requests(draft: _Draft, prefill: float, model: CostModel, final: bool) -> Split:
    """Requests came or went: how much of the interval was busy is known only from the work itself."""
    seen = draft.seen
    decode = min(seen.seconds - prefill, _decode_estimate(draft))
    rest = seen.seconds - prefill - decode
    error = 0.05 if model.knows_decode else 0.2
    if final or rest <= _NEGLIGIBLE * seen.seconds:
        return Split(prefill, decode, rest, 0.0, ("engine-seconds",), error, model.knows_decode or final)
    return Split(prefill, decode, 0.0, rest, ("engine-seconds",), error, False)


def _decode_estimate(draft: _Draft) -> float:
    return draft.decode if draft.decode is not None else draft.seen.seconds - draft.claimed


def _without_decode(draft: _Draft, *, final: bool, updates: int) -> Split:
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


def _open_rest(draft: _Draft, prefill: float, evidence: tuple[Evidence, ...], final: bool) -> Split:
    """Nothing decoded, some prefill known: what of the rest was busy may still be told later."""
    seen = draft.seen
    rest = seen.seconds - prefill
    if rest <= _NEGLIGIBLE * seen.seconds:
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


def _by_deficit(draft: _Draft, model: CostModel, final: bool) -> Split:
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
    noise = max(_NEGLIGIBLE, 2 * model.error) * seen.seconds
    # Residual that no prompt accounts for is believed only on measured busy time and good costs.
    is_trusted = is_measured and model.is_sure and model.error < _GOOD_FIT and residual > noise
    prefill = residual if is_trusted else min(residual, cover)
    # Busy time that neither steps nor prompts explain is time between steps: it belongs to decode.
    decode = busy - prefill
    unexplained = seen.seconds - draft.decode - min(cover, residual) if draft.decode else 0.0
    complete = final or unexplained <= max(_NEGLIGIBLE, model.error) * seen.seconds
    rest = seen.seconds - busy
    if cover == 0.0 and prefill == 0.0:
        # Only generated tokens moved: that needs no calibration to be decode.
        return Split(0.0, decode, rest, 0.0, ("bounds", "decode-deficit"), 0.05, complete)
    evidence: tuple[Evidence, ...] = ("decode-deficit", "prefill-cost") if draft.claimed else ("decode-deficit",)
    if seen.flops is not None and model.flops_per_token > 0:
        evidence = ("intensity", *evidence)
    return Split(prefill, decode, rest, 0.0, evidence, 0.0, complete, calibrated=True, measured=is_trusted)


def _by_bounds(draft: _Draft, final: bool) -> Split:
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
