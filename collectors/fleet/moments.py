"""A node's exported figures at two moments, turned back into the interval between them.

The exporter's names follow the tables of the readings, so that the way back is the same table. Amounts
are differences of counters: a counter that went back began anew, and that amount is missing. Phases and
bottlenecks are those of the *settled* time that was counted between the two moments; they have no stated
error, since the page tells none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.histogram import Histogram
from collectors.model import (
    BOTTLENECK_NAMES,
    HOST,
    PHASE_LABELS,
    Bottleneck,
    BottleneckName,
    Gap,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.phase.rules import IDLE_BELOW, share_label
from collectors.promql import Labels
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs, rounded

_PREFIX = "phasetop_"
_READINGS: Mapping[str, type[Reading]] = {"host": HostReading, "gpu": GpuReading, "engine": EngineReading}
_IDENTITY = frozenset({"index", "uuid", "endpoint", "engine", "engine_index", "state"})
_SPLITS: Mapping[str, tuple[str, str]] = {
    "phase_seconds_total": ("phase", "phase"),
    "phase_label_seconds_total": ("label", "label"),
    "bottleneck_seconds_total": ("bottleneck", "bottleneck"),
}
_LEAST_SETTLED = 0.05
"""Of the interval: less settled time than that says nothing about it."""
_MOST_ENTITIES = 512
_MOST_XIDS = 20
"""Error reports of one code in one interval that are told apart."""
EXPORTER = "exporter"
"""The gap source of an interval in which a node's phasetop was started anew."""
_BEGUN_ANEW = (Gap(EXPORTER, "phasetop was started anew: what it counted until then is not known"),)

Entity = tuple[str, ...]
"""("host",), ("gpu", uuid) or ("engine", endpoint, engine index)."""

Place = tuple[str, Entity, str, str]
"""(kind, entity, field, part) of one series: what its number is."""


def _families() -> dict[str, tuple[str, str, str]]:
    """Sample name -> (kind, scope, field)."""
    found: dict[str, tuple[str, str, str]] = {}
    for scope, reading in _READINGS.items():
        for spec in field_specs(reading):
            name = f"{_PREFIX}{scope}_{spec.name}"
            if spec.name in _IDENTITY:
                continue
            if spec.kind == "gauge":
                found[name] = ("gauge", scope, spec.name)
            elif spec.kind == "amount":
                found[f"{name}_total"] = ("total", scope, spec.name)
            elif spec.kind == "histogram":
                for part in ("bucket", "sum", "count"):
                    found[f"{name}_seconds_{part}"] = (part, scope, spec.name)
        for suffix, (split, _) in _SPLITS.items():
            found[f"{_PREFIX}{scope}_{suffix}"] = (split, scope, split)
    for scope in ("gpu", "engine"):
        found[f"{_PREFIX}{scope}_state"] = ("state", scope, "state")
        found[f"{_PREFIX}{scope}_info"] = ("info", scope, "info")
    found[f"{_PREFIX}gpu_xid_errors_total"] = ("xid", "gpu", "xid_codes")
    return found


_FAMILIES = _families()
WANTED = frozenset(_FAMILIES)
"""Names of the samples that are of use."""
SELECTOR = f"{_PREFIX}(host|gpu|engine)_.+"
"""A regular expression for their names."""


def place_of(name: str, labels: Labels) -> Place | None:
    """Where a series belongs; None when it is nothing that a reading holds."""
    family = _FAMILIES.get(name)
    if family is None:
        return None
    kind, scope, what = family
    entity: Entity = ("host",)
    if scope == "gpu":
        entity = ("gpu", labels.get("uuid", ""))
    elif scope == "engine":
        entity = ("engine", labels.get("endpoint", ""), labels.get("engine_index", ""))
    part = ""
    if kind in ("phase", "label", "bottleneck", "state", "xid"):
        part = labels.get(kind, "")
    elif kind == "bucket":
        part = labels.get("le", "")
    return kind, entity, what, part


@dataclass(slots=True)
class Moment:
    """All that a page said at one moment; `identity` holds the labels that describe an entity."""

    numbers: dict[Place, float] = field(default_factory=dict)
    identity: dict[Entity, Labels] = field(default_factory=dict)

    def put(self, place: Place, labels: Labels, value: float) -> None:
        kind, entity = place[0], place[1]
        if kind == "info":
            self.identity[entity] = {**self.identity.get(entity, {}), **labels}
        elif kind == "state":
            if value > 0.5:
                self.identity[entity] = {**self.identity.get(entity, {}), **labels}
        else:
            self.numbers[place] = value

    def __bool__(self) -> bool:
        return bool(self.numbers)


def tick_of(before: Moment, now: Moment, *, sequence: int, start: int, end: int, seconds: float, name: str) -> Tick:
    """The interval between two moments (wall-clock ns), which is `seconds` long, with its labels."""
    by_entity: dict[Entity, dict[str, Any]] = {}
    splits: dict[Entity, dict[str, dict[str, float]]] = {}
    buckets: dict[tuple[Entity, str], list[tuple[float, float]]] = {}
    for place, value in now.numbers.items():
        kind, entity, what, part = place
        if kind == "gauge":
            by_entity.setdefault(entity, {})[what] = value
            continue
        earlier = before.numbers.get(place)
        if kind == "xid":
            _report(by_entity.setdefault(entity, {}), part, value, earlier)
            continue
        if earlier is None or value < earlier:
            continue  # first seen, or begun anew: how much of it came within the interval is not known
        amount = value - earlier
        if kind == "total":
            by_entity.setdefault(entity, {})[what] = amount
        elif kind == "bucket":
            buckets.setdefault((entity, what), []).append((_bound(part), amount))
        elif kind in ("phase", "label", "bottleneck"):
            splits.setdefault(entity, {}).setdefault(kind, {})[part] = amount
    for (entity, what), counts in buckets.items():
        made = _histogram(counts, _amount(before, now, ("sum", entity, what, "")))
        if made is not None:
            by_entity.setdefault(entity, {})[what] = made
    host = _host(name, by_entity.get(("host",), {}), seconds)
    gpus = dict(_gpu(entity, now, by_entity, seconds) for entity in _known("gpu", now, by_entity))
    engines = dict(_engine(entity, now, by_entity, seconds) for entity in _known("engine", now, by_entity))
    gaps = _BEGUN_ANEW if _began_anew(before, now) else ()
    interval = Interval(sequence, start, end, seconds, host, gpus, engines, gaps)
    labels = {
        entity_name: _label(sequence, entity_name, splits.get(entity, {}), seconds)
        for entity, entity_name in [
            (("host",), HOST),
            *((("gpu", uuid), gpu_entity(uuid)) for uuid in gpus),
            *((("engine", *key), engine_entity(key)) for key in engines),
        ]
    }
    return Tick(interval, labels, tuple(labels.values()))


def _report(values: dict[str, Any], code: str, value: float, earlier: float | None) -> None:
    """Adds the reports of a code that came. A code's series is there from its first report on: it counts from 0."""
    times = value if earlier is None or value < earlier else value - earlier
    if times >= 1:
        told = [values["xid_codes"]] if "xid_codes" in values else []
        values["xid_codes"] = ",".join([*told, *[code] * min(round(times), _MOST_XIDS)])


def _machine_seconds(moment: Moment) -> Iterator[tuple[Place, float]]:
    """The machine's own time, which every exporter counts from its first page on and which never stands still."""
    return ((place, value) for place, value in moment.numbers.items() if place[:2] == ("phase", ("host",)))


def _began_anew(before: Moment, now: Moment) -> bool:
    return any(value < before.numbers.get(place, 0.0) for place, value in _machine_seconds(now))


def is_same_page(before: Moment, now: Moment) -> bool:
    """Whether nothing was scraped between two moments: a server tells the last page for a while yet."""
    counted = dict(_machine_seconds(now))
    return bool(counted) and counted == dict(_machine_seconds(before))


def _amount(before: Moment, now: Moment, place: Place) -> float | None:
    earlier, value = before.numbers.get(place), now.numbers.get(place)
    return None if earlier is None or value is None or value < earlier else value - earlier


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _histogram(counts: list[tuple[float, float]], total: float | None) -> Histogram | None:
    """From cumulative amounts by bound. None where they are no histogram, or nothing was observed."""
    counts = sorted(pair for pair in counts if pair[0] == pair[0])
    if not counts or counts[-1][0] != float("inf"):
        return None
    below, own = 0.0, []
    for _, reached in counts:
        if reached < below - 0.5:
            return None
        own.append(max(0, round(reached - below)))
        below = reached
    if not sum(own) or total is None:
        return None
    return Histogram(tuple(bound for bound, _ in counts[:-1]), tuple(own), total)


def _known(scope: str, now: Moment, by_entity: Mapping[Entity, Any]) -> list[Entity]:
    found = {entity: None for entity in (*now.identity, *by_entity) if entity[0] == scope}
    return list(found)[:_MOST_ENTITIES]


def _host(name: str, values: dict[str, Any], seconds: float) -> HostReading:
    return rounded(HostReading(name=name, **{**values, "window_seconds": seconds}))


def _text(labels: Labels, name: str) -> str | None:
    return labels.get(name) or None


def _gpu(entity: Entity, now: Moment, by_entity: Mapping[Entity, dict[str, Any]], seconds: float) -> tuple[
    str, GpuReading
]:  # fmt: skip
    known = now.identity.get(entity, {})
    number = known.get("gpu", "")
    values = {**by_entity.get(entity, {}), "window_seconds": seconds}
    reading = GpuReading(
        uuid=entity[1], index=int(number) if number.isascii() and number.isdecimal() else 0, name=_text(known, "name"),
        source=_text(known, "source"), parent=_text(known, "parent"), instance=_text(known, "instance"),
        page_fields=_text(known, "page_fields"), peak_source=_text(known, "peak_source"),
        recovery_action=_text(known, "recovery_action"),
        state=known.get("state", "ok") or "ok",
    )  # fmt: skip
    return entity[1], rounded(replace(reading, **values))


def _engine(entity: Entity, now: Moment, by_entity: Mapping[Entity, dict[str, Any]], seconds: float) -> tuple[
    tuple[str, str], EngineReading
]:  # fmt: skip
    known = now.identity.get(entity, {})
    values = {**by_entity.get(entity, {}), "window_seconds": seconds}
    reading = EngineReading(
        endpoint=entity[1], engine_index=entity[2], engine=_text(known, "engine"), model=_text(known, "model"),
        role=_text(known, "role"), version=_text(known, "version"), dtype=_text(known, "dtype"),
        kv_cache_dtype=_text(known, "kv_cache_dtype"), late_fields=_text(known, "late_fields"),
        state=known.get("state", "ok") or "ok", gpus=tuple(one for one in known.get("gpus", "").split(",") if one),
    )  # fmt: skip
    return (entity[1], entity[2]), rounded(replace(reading, **values))


def _label(sequence: int, entity: str, splits: Mapping[str, Mapping[str, float]], seconds: float) -> Label:
    return Label(
        sequence, entity, phase_of_seconds(splits, seconds), _bottleneck(splits.get("bottleneck", {}), seconds)
    )


def phase_of_seconds(splits: Mapping[str, Mapping[str, float]], seconds: float) -> Phase:
    """The phase of settled seconds. Counted by label as well, the label that had most of them is theirs."""
    spent = splits.get("phase", {})
    total = sum(spent.values())
    if total < _LEAST_SETTLED * seconds or spent.get("unknown", 0.0) > 0.5 * total:
        return Phase("unknown", settled=True)
    busy = spent.get("prefill", 0.0) + spent.get("decode", 0.0)
    share = round(spent.get("prefill", 0.0) / busy, 4) if busy > 0 else None
    named = splits.get("label", {})
    most = max(named, key=lambda name: named[name], default="")
    if most in PHASE_LABELS and named[most] > 0:
        label: PhaseLabel = most
    elif spent.get("waiting", 0.0) > 0.5 * total:
        label = "waiting"
    elif share is None or busy < IDLE_BELOW * total:
        label = "idle"
    else:
        label = share_label(share)
    return Phase(label, True, share, round(min(1.0, busy / total), 4), None, "medium")


def _bottleneck(spent: Mapping[str, float], seconds: float) -> Bottleneck:
    total = sum(spent.values())
    if total < _LEAST_SETTLED * seconds:
        return Bottleneck()
    name = max(spent, key=lambda one: spent[one])
    if name not in BOTTLENECK_NAMES or name == "unknown":
        return Bottleneck()
    found: BottleneckName = name
    shares = {one: part / total for one, part in spent.items() if part > 0}
    why = ", ".join(
        f"{one} {share * 100:.0f} %" for one, share in sorted(shares.items(), key=lambda item: -item[1])[:3]
    )
    return Bottleneck(found, found, None, shares, "medium", f"of the settled time: {why}")
