"""A GPU exporter's page over time: what it says of each GPU, and how old that is.

    page = GpuPage()
    page.put(text, arrived)        # True when it is a page of a known exporter
    page.readings(edge, patience=3.0)

An exporter repeats its figures until it measures again, 30 s later by default, and does not say
so. That is seen from the page itself: the time between two pages whose figures differ is how long
they cover. What is counted is compared between such pages only, and told once.

Pure: the same for pages read live and for saved ones.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.engine.page import PageMemo, Series, read_page
from collectors.gpu.page_dcgm import NANOSECONDS_BY_HELP, XID
from collectors.gpu.page_rows import Exporter, GpuIdentity, Row, Values
from collectors.gpu.page_table import EXPORTERS, OF_AN_INSTANCE
from collectors.gpu.page_xids import Counts, counts_of, new_reports
from collectors.gpu.peaks import PeakBook
from collectors.median import median
from collectors.readings import FieldSpec, GpuReading, field_specs

_SPECS: Mapping[str, FieldSpec] = {spec.name: spec for spec in field_specs(GpuReading)}
_AMOUNTS = frozenset(name for name, spec in _SPECS.items() if spec.kind == "amount")
_LIMITS: Mapping[str, tuple[float, float]] = {
    "ratio": (0.0, 1.01), "watts": (0.0, 10_000.0), "celsius": (-40.0, 150.0), "hertz": (0.0, 5e10),
    "bytes": (0.0, 1e15), "bytes_per_second": (0.0, 1e13), "joules": (0.0, 1e15),
    "count": (0.0, 2.0**48),
}  # fmt: skip
"""By unit, what can be: the rest is garbage, and missing."""
_INTERMEDIATE: Mapping[str, tuple[float, float]] = {
    "_free": _LIMITS["bytes"], "_reserved": _LIMITS["bytes"], "_utilisation": (0.0, 100.0),
    "_reasons": (0.0, 2.0**32), XID: (0.0, 9999.0),
}  # fmt: skip
_ROWS: Mapping[str, tuple[tuple[Exporter, Row], ...]] = {
    family: tuple((exporter, row) for exporter in EXPORTERS for row in exporter.rows if family in row.families)
    for family in {family for exporter in EXPORTERS for row in exporter.rows for family in row.families}
}
_HELP = re.compile(r"^# HELP (\w+) .*\(in ns\)", re.MULTILINE)
_CHANGES = 8
"""Times between changes that the exporter's interval is the median of."""
_PAUSE_SECONDS = 300.0
"""Pages further apart are not compared."""

Key = tuple[str, str]
"""(UUID, GPU instance or "")."""


@dataclass(frozen=True, slots=True)
class _Figures:
    """One GPU on one page: present values, and totals of what is counted, in the fields' own units."""

    identity: GpuIdentity
    present: Mapping[str, float]
    totals: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _State:
    """What a page's figures amount to since the page with other ones before it."""

    arrived: float
    gap: float | None = None
    figures: Mapping[Key, _Figures] = field(default_factory=dict)
    values: Mapping[Key, Values] = field(default_factory=dict)
    xids: Mapping[str, str] = field(default_factory=dict)
    """The error reports that are new since then, by UUID of the GPU."""
    xid_counts: Counts = field(default_factory=dict)


class GpuPage:
    """One page. Times are seconds of any one clock; `book` gives the GPUs' peaks."""

    def __init__(self, book: PeakBook | None = None) -> None:
        self._book = book or PeakBook()
        self.exporter: Exporter | None = None
        """Whose page it is, from the first one that was recognised."""
        self._memo = PageMemo(wanted=_ROWS.__contains__)
        self._samples: list[tuple[Series, float]] = []
        self._arrived: float | None = None
        self._state: _State | None = None
        self._first = True
        self._gaps: deque[float] = deque(maxlen=_CHANGES)
        self._told = True

    @property
    def interval(self) -> float | None:
        """How often the exporter measures, in seconds; None until two of its measurements were seen to begin."""
        return median(self._gaps) if self._gaps else None

    @property
    def families(self) -> frozenset[str]:
        """The known families on the newest page."""
        return frozenset(series.name for series, _ in self._samples)

    def put(self, text: str, arrived: float) -> bool:
        """Take a page that had arrived at that time. False when it holds nothing of a known exporter."""
        samples = read_page(text, self._memo)
        if not samples:
            return False
        if self._arrived is not None and arrived - self._arrived > _PAUSE_SECONDS:
            self._forget()
        self._arrived = arrived
        if samples != self._samples:
            self._samples = samples
            self._change(text, arrived)
        return True

    def readings(self, edge: float, *, patience: float) -> tuple[GpuReading, ...]:
        """Every GPU at that moment; without a page for `patience` seconds they are stale."""
        state = self._state
        if state is None or self._arrived is None:
            return ()
        stale = edge - self._arrived > patience
        readings = tuple(self._reading(state, key, edge, stale) for key in state.values)
        if not stale:
            self._told = True
        return readings

    def _forget(self) -> None:
        self._samples, self._state, self._first = [], None, True

    def _change(self, text: str, arrived: float) -> None:
        self.exporter = _exporter_of(self._samples) or self.exporter
        if self.exporter is None:
            return
        before, gap = self._state, None
        if before is not None:
            gap = arrived - before.arrived
            if not self._first:  # the first page may have been of any age
                self._gaps.append(gap)
            self._first = False
        figures = _figures(self.exporter, self._samples, text)
        values = {key: _values(self.exporter, one, before, key, gap) for key, one in figures.items()}
        counts = counts_of(self._samples, self.exporter.identity)
        self._state = _State(arrived, gap, figures, values, _new_xids(figures, counts, before), counts)
        self._told = False

    def _reading(self, state: _State, key: Key, edge: float, stale: bool) -> GpuReading:
        assert self.exporter is not None  # there is no state without one
        identity = state.figures[key].identity
        age = max(0.0, edge - state.arrived)
        reading = GpuReading(
            uuid=f"MIG-{identity.uuid}/{identity.instance}" if identity.instance else identity.uuid,
            index=identity.index if identity.index is not None else _position(state.figures, identity.uuid),
            name=f"{identity.name} MIG {identity.profile}" if identity.name and identity.profile else identity.name,
            source=self.exporter.source,
            state="stale" if stale else "ok",
            age_seconds=age,
            parent=identity.uuid if identity.instance else None,
            instance=identity.instance,
            instances=_instances(state.figures, key),
        )
        if stale:
            return reading
        values: dict[str, Any] = dict(state.values[key])
        if self._told:
            values = {name: value for name, value in values.items() if name not in _AMOUNTS}
        peak = self._book.of(reading.name)
        return replace(
            reading,
            window_seconds=None if self._told else state.gap,
            activity_window_seconds=self.interval,
            activity_age_seconds=age,
            dram_peak_bytes_per_second=peak.dram,
            tensor_peak_flops_per_second=peak.tensor,
            peak_source=peak.source,
            xid_codes=None if self._told or identity.instance else state.xids.get(identity.uuid),
            **values,
        )


def exporter_of(text: str) -> Exporter | None:
    """Whose page this is; None when it is of no known exporter of GPUs."""
    return _exporter_of(read_page(text, PageMemo(wanted=_ROWS.__contains__)))


def _exporter_of(samples: Iterable[tuple[Series, float]]) -> Exporter | None:
    """The one with the most series here that say which GPU they are of."""
    counts: dict[str, int] = {}
    titles = {exporter.title: exporter for exporter in EXPORTERS}
    for series, _ in samples:
        for exporter in {exporter.title: exporter for exporter, _ in _ROWS[series.name]}.values():
            if exporter.identity(series.labels) is not None:
                counts[exporter.title] = counts.get(exporter.title, 0) + 1
    return titles[max(counts, key=lambda title: counts[title])] if counts else None


def _figures(exporter: Exporter, samples: Iterable[tuple[Series, float]], text: str) -> dict[Key, _Figures]:
    in_nanoseconds = {found[1] for found in _HELP.finditer(text)}
    found: dict[Key, dict[Row, dict[str, list[tuple[str | None, float]]]]] = {}
    identities: dict[Key, GpuIdentity] = {}
    for series, value in samples:
        if exporter.is_blank(value) or (series.name in NANOSECONDS_BY_HELP and series.name not in in_nanoseconds):
            continue
        identity = exporter.identity(series.labels)
        if identity is None:
            continue
        for owner, row in _ROWS[series.name]:
            if owner is exporter and all(series.labels.get(name) == wanted for name, wanted in row.where.items()):
                whose = identity if row.name in OF_AN_INSTANCE else replace(identity, instance=None, profile=None)
                key = (whose.uuid, whose.instance or "")
                identities.setdefault(key, whose)
                if whose.instance:  # the GPU it is a part of has a row too, if only to say so
                    parent = replace(whose, instance=None, profile=None)
                    identities.setdefault((whose.uuid, ""), parent)
                families = found.setdefault(key, {}).setdefault(row, {})
                families.setdefault(series.name, []).append((identity.part, value * row.factor))
    return {key: _Figures(identity, *_present_and_totals(found.get(key, {}))) for key, identity in identities.items()}


def _present_and_totals(rows: Mapping[Row, Mapping[str, list[tuple[str | None, float]]]]) -> tuple[Values, Values]:
    present: Values = {}
    totals: Values = {}
    for row, families in rows.items():
        family = next(name for name in row.families if name in families)
        value = _combined(row, families[family])
        if row.counted:
            totals[row.name] = value
        elif can_be(row.name, value):
            present[row.name] = value
    return present, totals


def _combined(row: Row, parts: list[tuple[str | None, float]]) -> float:
    values = [value for _, value in parts]
    if row.combine == "sum":
        return sum(values)
    if row.combine == "mean":
        return sum(values) / len(values)
    if row.combine == "max":
        return max(values)
    if row.combine == "whole":
        whole = [value for part, value in parts if part is None]
        return whole[0] if whole else sum(values)
    return values[0]


def can_be(name: str, value: float) -> bool:
    """Whether a value lies within what is possible for its field (a ratio, for fields that are only intermediate)."""
    low, high = _INTERMEDIATE.get(name) or _LIMITS[_SPECS[name].unit if name in _SPECS else "ratio"]
    return low <= value <= high


def _values(exporter: Exporter, now: _Figures, before: _State | None, key: Key, gap: float | None) -> Values:
    """The fields of one GPU: what is there, and what was counted since `before`."""
    values: Values = dict(now.present)
    earlier = before.figures.get(key) if before is not None else None
    if earlier is not None and gap:
        for name, total in now.totals.items():
            grown = total - earlier.totals[name] if name in earlier.totals else -1.0
            amount = grown if name in _AMOUNTS else grown / gap
            if grown >= 0 and can_be(name, amount):
                values[name] = amount
    exporter.complete(values)
    return {
        name: min(value, 1.0) if _SPECS[name].unit == "ratio" else value
        for name, value in values.items()
        if name in _SPECS and can_be(name, value)
    }


def _new_xids(figures: Mapping[Key, _Figures], counts: Counts, before: _State | None) -> dict[str, str]:
    """By UUID, from the counts where there are any; else new is a last code that differs from the page before."""
    if before is None:
        return {}
    earlier = {key: one.present.get(XID) for key, one in before.figures.items()}
    found = {key: one.present.get(XID) for key, one in figures.items()}
    changed = {
        uuid: f"{code:.0f}"
        for (uuid, instance), code in found.items()
        if code and earlier.get((uuid, instance)) is not None and code != earlier[uuid, instance]
    }
    return {uuid: codes for uuid, codes in {**changed, **new_reports(counts, before.xid_counts)}.items() if codes}


def _position(figures: Mapping[Key, _Figures], uuid: str) -> int:
    """Which GPU of the page it is, where the page gives no numbers."""
    return list(dict.fromkeys(one for one, _ in figures)).index(uuid)


def _instances(figures: Mapping[Key, _Figures], key: Key) -> int | None:
    """How many GPU instances the page shows of this GPU; None when it has none, or is one."""
    uuid, instance = key
    if instance:
        return None
    return sum(1 for other, part in figures if other == uuid and part) or None
