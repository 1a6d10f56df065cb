"""Splitting an engine's time into prefill, decode and idle, with evidence that arrives late.

Prompt counters move in one lump when a prompt ends, and on some engines the running gauge is 0
while the prompt is computed. So the time of an interval is split again with every later interval,
until nothing that may still come can change it, or ten seconds have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import inf
from operator import attrgetter, is_

from collectors.phase.calibrate import CostModel
from collectors.phase.conclude import IDLE_COUNTER_SECONDS, Draft, Split, conclude
from collectors.phase.evidence import Observation, with_live_prompt

SETTLE_SECONDS = 10.0

_TRAILING_SECONDS = 0.5
"""By how much the figures of a GPU trail the pages of its engine at most."""

_THROUGHOUT = 0.95
"""Part of an interval from which a figure of busy time says that there were no gaps."""

_GIVEN = attrgetter("given")


class Splitting:
    """The splits of an engine's unsettled observations, made anew with each that comes.

    Evidence only reaches back: taking the oldest observation out changes nothing of the others, and
    what the earlier ones have claimed stands while the costs are the same.
    """

    def __init__(self) -> None:
        self._model: CostModel | None = None
        self._drafts: list[Draft] = []

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
                found = draft.split = conclude(draft, model, final=False, updates=updates)
                draft.claims = claims
            splits.append(found)
        splits.reverse()
        return splits

    def _continued(self, pending: Sequence[Observation], model: CostModel) -> tuple[list[Draft], int]:
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
        return conclude(first, model, final=True, updates=_updates(first.seen, later))

    def drop_first(self) -> None:
        """The first observation has been taken out."""
        del self._drafts[0]


def _look_ahead(drafts: list[Draft]) -> None:
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


def _draft(given: Observation, model: CostModel) -> Draft:
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
    return Draft(given, seen, decode, seen.busy, seen.busy, has_gaps)


def _move_late_idle(drafts: list[Draft], model: CostModel) -> None:
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


def _reach_back(drafts: list[Draft], landed: int, model: CostModel) -> None:
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


def _claim(drafts: list[Draft], landed: int, seconds: float, reach: float = inf) -> None:
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


def _cover(drafts: list[Draft], landed: int, mean: float, longest: float, count: float) -> None:
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
