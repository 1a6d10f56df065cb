"""From seconds to a label: the thresholds, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

from collectors.model import RULE_VERSION, Confidence, Evidence, Phase, PhaseLabel

PREFILL_FROM, DECODE_TO = 0.60, 0.40
HYSTERESIS = 0.05
"""A label is left only when the share is this far past its threshold: between 0.35 and 0.65.

A settled label is left sooner, when the share is past the threshold by a quarter of its stated error:
it is about its own interval, and the one before is hardly evidence of it.
"""
_SETTLED_SLACK = 0.25

IDLE_BELOW = 0.05
"""Busy share of the time below which an entity is idle."""
WAITING_BELOW = 0.20
"""Busy share of the time below which requests that are present wait for something else than computing."""
UNKNOWN_ABOVE = 0.5
"""Unexplained share of the time above which the rest does not stand for the whole."""


class Spent(NamedTuple):
    """Where some seconds of one entity went, with what is known of how sure that is."""

    prefill: float
    decode: float
    idle: float
    unknown: float
    error: float
    confidence: Confidence
    evidence: tuple[Evidence, ...]
    has_requests: bool = False

    @property
    def busy(self) -> float:
        return self.prefill + self.decode

    @property
    def seconds(self) -> float:
        return self.prefill + self.decode + self.idle + self.unknown

    @property
    def share(self) -> float | None:
        return self.prefill / self.busy if self.busy > 0 else None


def share_label(share: float, previous: PhaseLabel | None = None, slack: float = HYSTERESIS) -> PhaseLabel:
    """The label of a prefill share, keeping the previous one within `slack` of a threshold."""
    if share >= PREFILL_FROM + slack or (share >= PREFILL_FROM and previous not in ("mixed", "decode")):
        return "prefill"
    if share <= DECODE_TO - slack or (share <= DECODE_TO and previous not in ("mixed", "prefill")):
        return "decode"
    if previous == "prefill" and share > PREFILL_FROM - slack:
        return "prefill"
    if previous == "decode" and share < DECODE_TO + slack:
        return "decode"
    return "mixed"


def phase_of(spent: Spent, *, settled: bool, previous: PhaseLabel | None = None, share: float | None = None) -> Phase:
    """The phase of one entity's interval. `share` replaces the own share for the label alone."""
    prefill, decode, idle, unknown, error, confidence, evidence, has_requests = spent
    busy = prefill + decode
    seconds = busy + idle + unknown
    if seconds <= 0 or unknown > UNKNOWN_ABOVE * seconds:
        return Phase("unknown", settled, evidence=evidence)
    busy_ratio = round(busy / seconds, 4) if busy < seconds else 1.0
    own_share = None
    if busy > 0:
        own_share = round(prefill / busy, 4) if prefill else 0.0
    unexplained = round(unknown / seconds, 4) if unknown else 0.0
    label: PhaseLabel
    if has_requests and busy_ratio < WAITING_BELOW:
        label = "waiting"
    elif busy_ratio < IDLE_BELOW or own_share is None:
        if busy + unknown >= IDLE_BELOW * seconds:
            return Phase("unknown", settled, evidence=evidence)  # what is not explained may have been busy
        label = "idle"
    else:
        slack = min(HYSTERESIS, _SETTLED_SLACK * error) if settled else HYSTERESIS
        label = share_label(own_share if share is None else share, previous, slack)
        error = round(min(1.0, error), 4)
        return Phase(label, settled, own_share, busy_ratio, error, confidence, evidence, RULE_VERSION, unexplained)
    return Phase(label, settled, None, busy_ratio, None, confidence, evidence, RULE_VERSION, unexplained)


def settled_as(before: Phase, spent: Spent, previous: PhaseLabel | None) -> Phase:
    """`phase_of` for good, where the provisional phase was of the same seconds: only its label may change."""
    label = before.label
    if before.prefill_share is not None:
        label = share_label(before.prefill_share, previous, min(HYSTERESIS, _SETTLED_SLACK * spent.error))
    return Phase(
        label, True, before.prefill_share, before.busy_ratio, before.error, before.confidence, before.evidence,
        RULE_VERSION, before.unknown_ratio,
    )  # fmt: skip


def phase_seconds(phase: Phase, duration: float) -> dict[str, float]:
    """Seconds of an interval by phase: busy time split by share, what nothing explains unknown, the rest idle.

    In idle and waiting intervals all that is explained is idle or waiting. The values sum to `duration`.
    """
    seconds = {"prefill": 0.0, "decode": 0.0, "idle": 0.0, "waiting": 0.0, "unknown": 0.0}
    if phase.label == "unknown" or phase.busy_ratio is None:
        seconds["unknown"] = duration
        return seconds
    unknown = min((phase.unknown_ratio or 0.0) * duration, duration)
    busy = min(phase.busy_ratio * duration, duration - unknown)
    seconds["unknown"] = unknown
    if phase.label in ("idle", "waiting"):
        seconds[phase.label] = duration - unknown
    elif phase.prefill_share is None:
        seconds["unknown"], seconds["idle"] = unknown + busy, duration - unknown - busy
    else:
        seconds["prefill"] = busy * phase.prefill_share
        seconds["decode"] = busy - seconds["prefill"]
        seconds["idle"] = duration - unknown - busy
    return seconds
