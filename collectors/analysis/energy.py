"""Energy and tokens by phase.

The energy of a GPU's interval is split as its seconds are: idle and waiting time have their part of
it. Tokens are those that cost work: prompt tokens computed here, and tokens generated.

A step that holds prompts and decodes has no unique split (a cost that two share has none). Two are
offered, and whoever shows one says which:

- *marginal*: prefill has what the step took beyond its decode part alone. This is what labels hold,
  and what users of the decoding requests pay in latency.
- *Shapley*: half of that, and half of what the prompts alone would have taken. It charges each side
  the mean over both orders of arrival, and the sum is exact (L. S. Shapley, A Value for n-Person
  Games, 1953); this is the one for money. What prompts alone take is measured in intervals that were
  prefill alone; without enough of them there is no Shapley split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.analysis.ledger import entity_seconds
from collectors.analysis.moments import ALONE_FROM, alone_cost
from collectors.analysis.sums import computed, merged, plus, ratio, total
from collectors.model import HOST, PHASES, Interval, Label, engine_entity, gpu_entity
from collectors.readings import EngineReading


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules and tokens over some intervals. Energies add up.

    `joules` is by phase, of the GPUs that count energy; None of them is missing alone, since all come
    from one counter: empty where none counts. `busy` holds the busy seconds by phase of the machine.
    `alone_*` are the intervals of prefill alone, as far as tokens were counted in them.
    """

    joules: Mapping[str, float] = field(default_factory=dict)
    busy_prefill: float = 0.0
    busy_decode: float = 0.0
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    cached_tokens: float | None = None
    alone_seconds: float = 0.0
    alone_tokens: float = 0.0
    alone_intervals: int = 0

    def __add__(self, other: Energy) -> Energy:
        return Energy(
            merged(self.joules, other.joules),
            self.busy_prefill + other.busy_prefill,
            self.busy_decode + other.busy_decode,
            plus(self.prompt_tokens, other.prompt_tokens),
            plus(self.generated_tokens, other.generated_tokens),
            plus(self.cached_tokens, other.cached_tokens),
            self.alone_seconds + other.alone_seconds,
            self.alone_tokens + other.alone_tokens,
            self.alone_intervals + other.alone_intervals,
        )

    @property
    def total_joules(self) -> float | None:
        return sum(self.joules.values()) if self.joules else None

    @property
    def joules_per_prompt_token(self) -> float | None:
        """Marginal: joules of prefill per prompt token computed."""
        return ratio(self.joules.get("prefill"), self.prompt_tokens)

    @property
    def joules_per_generated_token(self) -> float | None:
        """Marginal: joules of decode per generated token."""
        return ratio(self.joules.get("decode"), self.generated_tokens)

    @property
    def joules_per_token(self) -> float | None:
        """All joules, idle ones too, per token computed or generated."""
        return ratio(self.total_joules, plus(self.prompt_tokens, self.generated_tokens))

    @property
    def alone_seconds_per_token(self) -> float | None:
        """Busy seconds a prompt token takes when nothing decodes beside it; None where that was seldom seen."""
        return alone_cost(self.alone_seconds, self.alone_tokens, self.alone_intervals)


@dataclass(frozen=True, slots=True)
class Split:
    """A division of busy energy: `joules` of prefill and of decode, which sum to what both used."""

    prefill_joules: float
    decode_joules: float
    joules_per_prompt_token: float | None
    joules_per_generated_token: float | None


def shapley(marginal: float, alone: float, both: float) -> float:
    """The Shapley value of prefill in a cost shared with decode, in the unit of the three.

    `marginal` is what the whole took beyond decode alone, `alone` what prefill alone would take, `both`
    the whole. The result lies between 0 and the whole.
    """
    return min(both, max(0.0, (marginal + alone) / 2))


def shapley_split(energy: Energy) -> Split | None:
    """The Shapley split of the busy joules; None where there are none or prefill alone was not seen."""
    alone = energy.alone_seconds_per_token
    busy = energy.busy_prefill + energy.busy_decode
    if alone is None or energy.prompt_tokens is None or busy <= 0 or not energy.joules:
        return None
    both = energy.joules.get("prefill", 0.0) + energy.joules.get("decode", 0.0)
    seconds = shapley(energy.busy_prefill, alone * energy.prompt_tokens, busy)
    prefill = both * seconds / busy
    return Split(
        prefill,
        both - prefill,
        ratio(prefill, energy.prompt_tokens),
        ratio(both - prefill, energy.generated_tokens),
    )


def energy_of(interval: Interval, labels: Mapping[str, Label]) -> Energy:
    """The energy and the tokens of one interval."""
    joules: dict[str, float] = {}
    for uuid, gpu in interval.gpus.items():
        if gpu.energy_joules is None or gpu.instances:
            continue
        seconds = entity_seconds(labels.get(gpu_entity(uuid)), 1.0)
        joules = merged(joules, {phase: gpu.energy_joules * seconds[phase] for phase in PHASES})
    engines = [engine for engine in interval.engines.values() if engine.role != "router"]
    wall = entity_seconds(labels.get(HOST), interval.duration)
    alone = _alone(engines, labels)
    return Energy(
        joules=joules,
        busy_prefill=wall["prefill"],
        busy_decode=wall["decode"],
        prompt_tokens=total(computed_tokens(engine) for engine in engines),
        generated_tokens=total(engine.generation_tokens for engine in engines),
        cached_tokens=total(engine.prompt_tokens_cached for engine in engines),
        alone_seconds=alone[0],
        alone_tokens=alone[1],
        alone_intervals=int(alone[1] > 0),
    )


def computed_tokens(engine: EngineReading) -> float | None:
    """Prompt tokens computed here: neither cached nor transferred ones."""
    return computed(engine.prompt_tokens_computed, engine.prompt_tokens, engine.prompt_tokens_cached)


def _alone(engines: list[EngineReading], labels: Mapping[str, Label]) -> tuple[float, float]:
    """(busy seconds, prompt tokens) of the engines that did prefill alone."""
    seconds = tokens = 0.0
    for engine in engines:
        label = labels.get(engine_entity(engine.key))
        own = computed_tokens(engine)
        if label is None or not own or label.phase.prefill_share is None or engine.window_seconds is None:
            continue
        if label.phase.prefill_share >= ALONE_FROM and label.phase.busy_ratio:
            seconds += label.phase.busy_ratio * engine.window_seconds
            tokens += own
    return seconds, tokens
