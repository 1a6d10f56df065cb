"""All that adds up of some intervals, in one value: ledger, energy and resource mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.analysis.energy import Energy, energy_of
from collectors.analysis.ledger import Ledger, ledger_of
from collectors.analysis.resources import ResourceMix, mix_of
from collectors.model import Interval, Label


@dataclass(frozen=True, slots=True)
class Tally:
    """Figures of some intervals. Tallies add up."""

    ledger: Ledger = field(default_factory=Ledger)
    energy: Energy = field(default_factory=Energy)
    mix: ResourceMix = field(default_factory=ResourceMix)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.ledger + other.ledger, self.energy + other.energy, self.mix + other.mix)


def tally_of(interval: Interval, labels: Mapping[str, Label]) -> Tally:
    return Tally(ledger_of(interval, labels), energy_of(interval, labels), mix_of(interval, labels))
