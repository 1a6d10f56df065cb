"""One engine through time: its open intervals, and what the settled ones have taught of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from collectors.clock import NANO
from collectors.model import Confidence, PhaseLabel
from collectors.phase.calibrate import Calibration, Window
from collectors.phase.conclude import FEW_STEPS, Split
from collectors.phase.doubt import stated_error, updated_misfit
from collectors.phase.evidence import NO_PROMPTS, Observation, spread, with_live_prompt
from collectors.phase.rules import Spent
from collectors.phase.settle import SETTLE_SECONDS, Splitting
from collectors.phase.topology import Flows

_COLD_SECONDS = 20.0
"""How long an engine is watched before anything is said of it with confidence: a few windows of the fit."""
_WIDE_ERROR = 0.25
"""Stated error of a share above which its label may as well be the next one."""
_GOOD_ERROR, _MANY_WINDOWS = 0.05, 50
"""A fit that leaves less unexplained of so many windows is sure."""
_MUTE_SECONDS = 60.0
"""How long the silence of an engine is doubted that computed a prompt in longer silence than labels wait for."""
_CACHED_MANY = 10
"""Cached tokens per computed one from which an interval's prompts were cache look-ups more than prefill."""


@dataclass(slots=True)
class EngineTrack:
    """What is known of one engine: its costs, its last settled label, and its unsettled intervals."""

    calibration: Calibration = field(default_factory=Calibration)
    previous: PhaseLabel | None = None
    watched_seconds: float = 0.0
    last_settled: Observation | None = None
    settled_to: int = 0
    last_seen: int = 0
    pending: deque[Observation] = field(default_factory=deque)
    splitting: Splitting = field(default_factory=Splitting)
    splits: list[Split] = field(default_factory=list)
    flows: Flows = field(default_factory=Flows)
    last_sign: int | None = None
    """End (wall, ns) of the last settled interval in which anything was counted, or a request ran."""
    mute_until: int = 0
    """Up to when (wall, ns) silence is not taken for idleness: a prompt was lately computed in longer silence."""

    @property
    def newest(self) -> Observation | None:
        """The last interval the engine was heard in: what its next page is compared with."""
        heard = next((one for one in reversed(self.pending) if one.is_heard), None)
        return heard or self.last_settled

    def push(self, seen: Observation, duration: float) -> None:
        if self._was_mute(seen):
            self.mute_until = seen.end + int(_MUTE_SECONDS * NANO)
        silent = list(takewhile(lambda one: one.missing, reversed(self.pending)))
        if silent and not seen.missing and seen.seconds > 1.5 * duration:
            parts = spread({one.sequence: one for one in reversed(silent)}, seen)
            for _ in silent:
                self.pending.pop()
            self.pending.extend(parts[sequence] for sequence in sorted(parts))
        else:
            self.pending.append(seen)
        self.last_seen = seen.end
        self.resplit()

    def _was_mute(self, seen: Observation) -> bool:
        """Whether a prompt that lands now was computed in longer silence than labels wait for.

        It need not have been: while others decode, a request may wait long for its first token.
        """
        if (seen.ttft_longest or 0.0) <= SETTLE_SECONDS:
            return False
        signs = (one.end for one in reversed(self.pending) if one.moved or one.running)
        last = next(signs, self.last_sign)
        return last is None or seen.end - seen.seconds * NANO - last >= SETTLE_SECONDS * NANO

    def resplit(self) -> None:
        self.splits = self.splitting.split(self.pending, self.calibration.model)

    def spent(self, one: Split, seen: Observation) -> Spent:
        error = stated_error(one, seen, self.calibration.model, self.calibration.misfit)
        confidence = self._confidence(one, error)
        has_requests = bool(seen.waiting) or seen.runs_throughout
        return Spent(one.prefill, one.decode, one.idle, one.unknown, error, confidence, one.evidence, has_requests)

    def _confidence(self, one: Split, error: float) -> Confidence:
        model = self.calibration.model
        is_new = self.watched_seconds < _COLD_SECONDS and self.calibration.prior is None
        if is_new or (one.calibrated and not model.is_sure) or error > _WIDE_ERROR:
            return "low"
        if one.calibrated:
            return "high" if model.error < _GOOD_ERROR and model.windows >= _MANY_WINDOWS else "medium"
        return "high" if "engine-seconds" in one.evidence or "idle-counter" in one.evidence else "medium"

    def settle_first(self, *, final: bool) -> Spent:
        """Takes the oldest interval out, learns from it, and gives its final seconds."""
        seen = self.pending[0]
        one = self.splitting.first(self.calibration.model) if final else self.splits[0]
        if one.evidence == ("silence",) and seen.end < self.mute_until:
            one = one._replace(idle=0.0, unknown=seen.seconds, evidence=(), error=1.0)
        spent = self.spent(one, seen)
        self.calibration.misfit = updated_misfit(self.calibration.misfit, one, seen, self.calibration.model)
        self._learn(seen, one)
        self.watched_seconds += seen.seconds
        if self.last_settled is None or seen.is_heard:
            self.last_settled = seen
        if seen.moved or seen.running:
            self.last_sign = seen.end
        self.settled_to = seen.end
        self.pending.popleft()
        self.splits = self.splits[1:]
        self.splitting.drop_first()
        return spent

    def catch_up(self) -> None:
        """Fits the costs anew where what has settled calls for it, and splits the open intervals by them."""
        if self.calibration.refit():
            self.resplit()

    def _learn(self, seen: Observation, one: Split) -> None:
        """Gives an interval to the calibration when it can be learned from: busy from end to end."""
        if seen.flops is not None:
            self.calibration.count(seen.flops, (seen.prompt or 0.0) + (seen.generated or 0.0))
            seen = with_live_prompt(seen, self.calibration.model.flops_per_token)
        waited = (seen.ttft_mean or 0.0) * (seen.first or 0.0)
        work = Window(
            seen.steps or 0.0,
            seen.generated or 0.0,
            seen.kv_steps,
            seen.prompt or 0.0,
            seen.seconds,
            waited,
            (seen.first or 0.0) + seen.preempted,
            seen.guessed_prompt,
        )
        if seen.prefill_seconds is not None:
            # The engine counts prefill itself; steps may be batches of a long prompt whose seconds
            # have not landed, so only intervals that plainly decode tell what a step costs.
            if one.decode >= 0.95 * seen.seconds and work.steps >= FEW_STEPS and not seen.prompt:
                self.calibration.add(work)
        elif (seen.cached or 0.0) > _CACHED_MANY * work.prompt:
            # Looking up and attending over cached tokens costs time that no computed token explains.
            self.calibration.interrupt()
        elif seen.busy_source == "gpu" and seen.busy is not None and not seen.missing:
            # The GPU's own busy time: neither gaps between steps nor idle stretches are in it.
            self.calibration.add(work._replace(busy=seen.busy), seen.seconds)
        elif seen.is_busy_throughout or one.busy >= 0.95 * seen.seconds:
            self.calibration.add(work)
        else:
            self.calibration.interrupt()

    def to_json(self) -> dict[str, Any]:
        """What settled intervals have taught, without the open ones."""
        last = self.last_settled
        return {
            "calibration": self.calibration.to_json(),
            "flows": self.flows.to_json(),
            "previous": self.previous,
            "watched_seconds": self.watched_seconds,
            "last_sign": self.last_sign,
            "mute_until": self.mute_until,
            "last_seen": self.settled_to or self.last_seen,
            "running": last.running if last else None,
            "missing": last.missing if last else True,
            "resident": last.resident if last else None,
            "recent_prompts": list(last.recent_prompts if last else NO_PROMPTS),
        }

    @classmethod
    def from_json(cls, state: dict[str, Any], sequence: int) -> EngineTrack:
        """The track whose last settled interval had that sequence."""
        seen, missing = state["last_seen"], state["missing"]
        tokens, prompts = state["recent_prompts"]
        last = Observation(
            sequence,
            seen,
            1.0,
            missing,
            resident=state["resident"],
            running=state["running"],
            recent_prompts=(tokens, prompts),
        )
        return cls(
            calibration=Calibration.from_json(state["calibration"]),
            previous=state["previous"],
            watched_seconds=state["watched_seconds"],
            last_settled=last,
            settled_to=seen,
            flows=Flows(*state["flows"]),
            last_sign=state["last_sign"],
            mute_until=state["mute_until"],
        )
