"""Phase and bottleneck time, advanced by settled labels only.

Intervals wait here until the last of their labels has settled and are then booked whole and in
order. So there is one moment, `settled_until`, up to which every counter is complete and beyond
which none has anything: what makes the page comparable with a recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from collectors.model import HOST, Interval, Label, Phase, Tick, engine_entity, gpu_entity
from collectors.readings import EngineReading
from exporters.accounts import TOKEN_PHASES, Account

PhaseSplit = Callable[[Phase, float], Mapping[str, float]]
"""A phase and its interval's seconds -> seconds by phase, which sum to them."""

# Labels settle 10 s after their interval at the latest. An interval still without one long after that
# is booked with what there is: one source's silence must not hold up all the others.
OVERDUE_SECONDS = 30.0
_PENDING_LIMIT = 1024


@dataclass(slots=True)
class _Pending:
    """An interval that waits for labels, and the accounts its entities had then."""

    interval: Interval
    accounts: Mapping[str, Account]
    alive: tuple[Account, ...]
    began: float
    awaiting: set[str]
    labels: dict[str, Label] = field(default_factory=dict)


class Ledger:
    """Books settled intervals into accounts. Not thread-safe."""

    def __init__(self, split: PhaseSplit) -> None:
        self._split = split
        self._pending: dict[int, _Pending] = {}
        self._elapsed = 0.0
        self.settled_until: int | None = None

    def push(self, tick: Tick, accounts: Mapping[str, Account], alive: tuple[Account, ...] = ()) -> None:
        """Take in a tick with the accounts of its entities, by entity name.

        `alive` are the accounts whose entity was there to be measured; they know how many of these
        intervals are still to be booked. Labels of intervals that were never pushed, or are booked
        already, change nothing.
        """
        interval = tick.interval
        self._elapsed += interval.duration
        self._pending[interval.sequence] = _Pending(interval, accounts, alive, self._elapsed, set(tick.labels))
        for account in alive:
            account.unsettled += 1
        for label in tick.settled:
            pending = self._pending.get(label.sequence)
            if pending is not None:
                pending.labels[label.entity] = label
                pending.awaiting.discard(label.entity)
        self._book_what_is_due()

    def _book_what_is_due(self) -> None:
        for sequence, pending in list(self._pending.items()):
            overdue = self._elapsed - pending.began > OVERDUE_SECONDS or len(self._pending) > _PENDING_LIMIT
            if pending.awaiting and not overdue:
                return
            del self._pending[sequence]
            self._book(pending)

    def _book(self, pending: _Pending) -> None:
        interval = pending.interval
        for waited in pending.alive:
            waited.unsettled -= 1
        joules = {gpu_entity(uuid): gpu.energy_joules for uuid, gpu in interval.gpus.items()}
        engines = {engine_entity(key): engine for key, engine in interval.engines.items()}
        for entity, label in pending.labels.items():
            account = pending.accounts.get(entity)
            if account is None:
                continue
            seconds = {phase: max(0.0, part) for phase, part in self._split(label.phase, interval.duration).items()}
            _add(account.phase, seconds)
            account.label[label.phase.label] += interval.duration
            account.bottleneck[label.bottleneck.name] += interval.duration
            engine = engines.get(entity)
            if engine is not None:
                _add_tokens(account, engine)
                _add_joules(account, own_joules(interval, engine), seconds)
            elif entity != HOST:
                _add_joules(account, joules.get(entity), seconds)
        self.settled_until = interval.end


def own_joules(interval: Interval, engine: EngineReading) -> float | None:
    """Energy of the engine's GPUs in joules; None when one is shared with another engine or unmeasured.

    A GPU that several engines share used its energy for all of them, and nothing tells how much for
    which.
    """
    if not engine.gpus:
        return None
    users = Counter(uuid for other in interval.engines.values() for uuid in set(other.gpus))
    total = 0.0
    for uuid in engine.gpus:
        gpu = interval.gpus.get(uuid)
        if users[uuid] > 1 or gpu is None or gpu.energy_joules is None:
            return None
        total += gpu.energy_joules
    return total


def _add_tokens(account: Account, engine: EngineReading) -> None:
    for phase, tokens in zip(TOKEN_PHASES, (engine.prompt_tokens_computed, engine.generation_tokens), strict=True):
        if tokens is not None:
            account.tokens[phase] = account.tokens.get(phase, 0.0) + tokens


def _add_joules(account: Account, joules: float | None, seconds: Mapping[str, float]) -> None:
    """Split one interval's energy as its seconds; all of it `unknown` when there are none."""
    if joules is None:
        return
    duration = sum(seconds.values())
    if not account.joules:
        account.joules.update(dict.fromkeys(account.phase, 0.0))
    if duration > 0:
        _add(account.joules, {phase: joules * part / duration for phase, part in seconds.items()})
    else:
        account.joules["unknown"] += joules


def _add(totals: dict[str, float], amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        totals[name] += amount
