"""What holds the work back, with the numbers that say so."""

from __future__ import annotations

from collectors.model import Bottleneck, Interval, Phase
from collectors.phase.rules import Spent


def judge(interval: Interval, entity: str, phase: Phase, spent: Spent) -> Bottleneck:
    return Bottleneck()
