"""One entity's interval, judged as often as more becomes known of its phase; most judgements stand as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.bottleneck.admission import Admission
from collectors.bottleneck.judge import judge, judged_again, rests_on_costs
from collectors.bottleneck.partition import Group, Signals, Wall, depends_on, mean_wall, partition
from collectors.model import Bottleneck, EngineKey, Phase, PhaseLabel
from collectors.phase.calibrate import CostModel
from collectors.phase.rules import Spent, phase_of, settled_as
from collectors.readings import EngineReading, GpuReading, HostReading

_NO_PHASE = Phase()


@dataclass(slots=True)
class Case:
    """An entity with the readings that make it up, and what was last made of them."""

    entity: str
    engines: Sequence[EngineReading]
    keys: tuple[EngineKey, ...]
    """Those of the engines."""
    gpus: Sequence[GpuReading]
    host: HostReading | None
    kept_out: Admission
    """What keeps requests out of the engines."""
    hardware: Signals | None = None
    """What those of the GPUs that answer say, where it is known already."""
    wall: Wall | None = None
    spent: Spent | None = None
    phase: Phase = _NO_PHASE
    _given: tuple[object, ...] = ()
    """All that the last judgement rests on besides the readings."""
    _bottleneck: Bottleneck | None = None
    _divided: tuple[object, ...] = ()
    """What the wall rests on besides the readings."""
    _asked: tuple[object, ...] = ()
    """What the judgement rests on besides the readings and the phase's confidence."""

    def find_phase(self, spent: Spent, settled: bool, previous: PhaseLabel | None, share: float | None) -> Phase:
        """The phase of the entity's seconds, by `phase_of`."""
        if settled and spent == self.spent:
            self.phase = settled_as(self.phase, spent, previous)
        else:
            self.phase = phase_of(spent, settled=settled, previous=previous, share=share)
        self.spent = spent
        return self.phase

    def judge(self, costs: CostModel, role: str | None, walls: tuple[Wall, ...] = ()) -> Bottleneck:
        """The bottleneck, given what is known of the phase by now. `walls` are those a machine's own consists of."""
        phase, has_requests = self.phase, self.spent is not None and self.spent.has_requests
        given = (
            phase.label, phase.busy_ratio, phase.prefill_share, phase.confidence, has_requests, costs, role, walls
        )  # fmt: skip
        if self._bottleneck is None or given != self._given:
            self._given = given
            self._bottleneck = self._judged(phase, has_requests, costs, role, walls)
        return self._bottleneck

    def _judged(
        self, phase: Phase, has_requests: bool, costs: CostModel, role: str | None, walls: tuple[Wall, ...]
    ) -> Bottleneck:
        if walls:
            if self._divided != walls:
                self.wall, self._divided = mean_wall(walls), walls
        elif self._divided != (has_requests, *depends_on(self.wall, phase, costs)):
            group = Group(has_requests, self.engines, self.gpus)
            self.wall = partition(group, phase, self.host, costs, self.hardware)
            self._divided = (has_requests, *depends_on(self.wall, phase, costs))
        wall, before = self.wall, self._bottleneck
        if before is not None and wall is not None and self._asked == self._asking(before, costs, role):
            return judged_again(before, phase, wall)
        found = judge(phase, self.engines, self.gpus, wall, costs, role, self.kept_out)
        self._asked = self._asking(found, costs, role)
        return found

    def _asking(self, found: Bottleneck, costs: CostModel, role: str | None) -> tuple[object, ...]:
        return self.wall, role, costs if rests_on_costs(found.name, self.engines) else None
