"""Who was measured: the GPUs and engines of a recording, by entity, with what stays the same for hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.model import gpu_entity
from collectors.text import clean

_TEXT_LIMIT = 256

NO_ENGINE = "no engine known"
"""What the time of a GPU is booked under that no engine is known to run on."""


@dataclass(slots=True)
class Gpu:
    """A GPU as last described. Watts, hertz, bytes/s and flop/s; None where not known."""

    name: str | None = None
    source: str | None = None
    power_limit: float | None = None
    clock_max: float | None = None
    memory: float | None = None
    dram_peak: float | None = None
    tensor_peak: float | None = None
    peak_source: str | None = None
    is_divided: bool = False
    count: int = 1
    """GPUs of the kind, where a fleet's are told together."""


@dataclass(slots=True)
class Engine:
    """An engine as last described."""

    engine: str | None = None
    model: str | None = None
    role: str | None = None
    version: str | None = None
    dtype: str | None = None
    gpus: tuple[str, ...] = ()
    """Entities of its GPUs."""
    kv_tokens: float | None = None
    requests_limit: float | None = None
    late_fields: frozenset[str] = frozenset()
    count: int = 1
    """Engines of the kind, where a fleet's are told together."""

    @property
    def title(self) -> str:
        """The model, or the engine's kind where it names none."""
        return self.model or self.engine or "an engine"


@dataclass(slots=True)
class Roster:
    """Everyone by entity."""

    is_fleet: bool = False
    """Whether GPUs and engines are told by kind: then nothing tells which worked for which."""
    gpus: dict[str, Gpu] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    _known: dict[tuple[str, str], Any] = field(default_factory=dict)

    def is_new(self, kind: str, entity: str, facts: object) -> bool:
        """Whether these facts of an entity are other than the ones last seen."""
        if self._known.get((kind, entity)) == facts:
            return False
        self._known[kind, entity] = facts
        return True

    def is_divided(self, entity: str) -> bool:
        return self.gpus[entity].is_divided

    def learn_gpu(self, entity: str, facts: Mapping[str, Any]) -> None:
        known = self.gpus.setdefault(entity, Gpu())
        known.name = _text(facts.get("name")) or known.name
        known.source = _text(facts.get("source")) or known.source
        known.power_limit = facts.get("power_limit_watts") or known.power_limit
        known.clock_max = facts.get("sm_clock_max_hertz") or known.clock_max
        known.memory = facts.get("memory_total_bytes") or known.memory
        known.dram_peak = facts.get("dram_peak_bytes_per_second") or known.dram_peak
        known.tensor_peak = facts.get("tensor_peak_flops_per_second") or known.tensor_peak
        known.peak_source = _text(facts.get("peak_source")) or known.peak_source
        known.is_divided = bool(facts.get("instances"))

    def learn_engine(self, entity: str, facts: Mapping[str, Any]) -> None:
        known = self.engines.setdefault(entity, Engine())
        for name in ("engine", "model", "role", "version", "dtype"):
            setattr(known, name, _text(facts.get(name)) or getattr(known, name))
        gpus = _text(facts.get("gpus"), 4096)
        if gpus:
            known.gpus = tuple(gpu_entity(uuid) for uuid in gpus.split(","))
        known.kv_tokens = facts.get("kv_cache_tokens") or known.kv_tokens
        known.requests_limit = facts.get("requests_limit") or known.requests_limit
        known.late_fields = frozenset((_text(facts.get("late_fields")) or "").split(",")) - {""}

    def models(self) -> dict[str, list[str]]:
        """Engines by the name of what they serve."""
        found: dict[str, list[str]] = {}
        for entity, engine in self.engines.items():
            if engine.role != "router":
                found.setdefault(engine.title, []).append(entity)
        return found

    def model_of_gpu(self, gpu: str) -> str:
        """What a GPU worked for: the models of the engines on it; of a fleet, what it is."""
        if self.is_fleet:
            return self.gpus[gpu].name or "GPUs"
        titles = {engine.title for engine in self.engines.values() if gpu in engine.gpus}
        return " and ".join(sorted(titles)) if titles else NO_ENGINE


def _text(value: object, limit: int = _TEXT_LIMIT) -> str | None:
    return clean(str(value), limit) if value else None
