"""What has been counted for each GPU, each engine and the host since this process started.

An account outlives the readings of its entity, so that counters resume where they stood when the
same GPU or engine returns. The number of accounts is bounded.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import TypeVar

from collectors.histogram import Histogram
from collectors.model import BOTTLENECK_NAMES, PHASE_LABELS, PHASES
from collectors.readings import EngineReading, GpuReading, Reading
from exporters.exposition import HistogramTotal, label_pairs
from exporters.families import FIELDS, SCOPES, Scope

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")

TOKEN_PHASES = ("prefill", "decode")

_AMOUNTS: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {scope: tuple(spec.name for spec, _ in FIELDS[scope] if spec.kind == "amount") for scope in SCOPES}
)
_HISTOGRAMS: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {scope: tuple(spec.name for spec, _ in FIELDS[scope] if spec.kind == "histogram") for scope in SCOPES}
)
_STALE_INTERVALS = 3.0
_UNKNOWN_ENGINE = "unknown"
_XID_CODES = 64

# A total that was last added to this long ago says nothing about now: its series goes until it moves again.
FORGET_SECONDS = 60.0


class Account:
    """The running totals of one entity.

    `labels` are its escaped label pairs. `phase`, `label` and `bottleneck` are settled seconds;
    `tokens` and `joules` settled amounts by phase, empty until some were measured. `unsettled` is
    the number of intervals it was there in whose label has not settled. `xids` counts a GPU's
    error reports by code, and `xid_times` says when the newest came, in seconds since 1970.
    """

    __slots__ = ("_last", "amounts", "bottleneck", "histograms", "joules", "label", "labels", "phase", "tokens",
                 "unsettled", "xid_times", "xids")  # fmt: skip

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.amounts: dict[str, float] = {}
        self.histograms: dict[str, HistogramTotal] = {}
        self._last: dict[str, float] = {}
        self.phase: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.label: dict[str, float] = dict.fromkeys(PHASE_LABELS, 0.0)
        self.bottleneck: dict[str, float] = dict.fromkeys(BOTTLENECK_NAMES, 0.0)
        self.tokens: dict[str, float] = {}
        self.joules: dict[str, float] = {}
        self.unsettled = 0
        self.xids: dict[str, float] = {}
        self.xid_times: dict[str, float] = {}

    def report(self, codes: str | None, at: float) -> None:
        """Count error reports: comma-separated codes that had come by `at`, in seconds since 1970."""
        for code in codes.split(",") if codes else ():
            if code.isdecimal() and (code in self.xids or len(self.xids) < _XID_CODES):
                self.xids[code] = self.xids.get(code, 0.0) + 1.0
                self.xid_times[code] = at

    def count(self, scope: Scope, reading: Reading, now: float) -> None:
        """Add a reading's amounts. `now` is the seconds of intervals so far.

        Amounts that are negative or not finite are left out: a counter never goes back.
        """
        for name in _AMOUNTS[scope]:
            value: float | None = getattr(reading, name)
            if value is not None and 0.0 <= value < math.inf:
                self.amounts[name] = self.amounts.get(name, 0.0) + value
                self._last[name] = now
        for name in _HISTOGRAMS[scope]:
            histogram: Histogram | None = getattr(reading, name)
            if histogram is not None:
                total = self.histograms.get(name)
                if total is None or total.bounds != histogram.bounds:
                    total = self.histograms[name] = HistogramTotal(histogram.bounds)
                total.add(histogram.counts, histogram.sum)
                self._last[name] = now

    def current(self, name: str, now: float) -> bool:
        """Whether the field's total was added to lately enough to be shown."""
        last = self._last.get(name)
        return last is not None and now - last <= FORGET_SECONDS


def is_there(reading: GpuReading | EngineReading) -> bool:
    """Whether the entity is there to be measured, be it late: neither lost nor down nor blocked."""
    return reading.state in ("ok", "stale")


def is_measured(reading: GpuReading | EngineReading, duration: float) -> bool:
    """Whether the reading describes its interval: it is well, or stale by at most three intervals."""
    if reading.state == "ok":
        return True
    age = reading.age_seconds
    return reading.state == "stale" and age is not None and age <= _STALE_INTERVALS * duration


class Accounts:
    """The accounts of everything seen, the longest unseen forgotten beyond `limit` of a kind."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self.host = Account("")
        self.gpus: OrderedDict[str, Account] = OrderedDict()
        self._engines: OrderedDict[tuple[str, str, str], Account] = OrderedDict()
        self._engine_names: OrderedDict[tuple[str, str], str] = OrderedDict()

    def gpu(self, reading: GpuReading) -> Account:
        """The account of a GPU, by its UUID; its index label follows the newest reading."""
        account = self._find(self.gpus, reading.uuid)
        account.labels = label_pairs((("gpu", str(reading.index)), ("uuid", reading.uuid)))
        return account

    def engine(self, reading: EngineReading) -> Account:
        """The account of an engine; one that does not say its name now keeps the one it last said."""
        name = reading.engine or self._engine_names.get(reading.key, _UNKNOWN_ENGINE)
        if name != _UNKNOWN_ENGINE:
            self._engine_names[reading.key] = name
            self._engine_names.move_to_end(reading.key)
            _bound(self._engine_names, self._limit)
        account = self._find(self._engines, (reading.endpoint, name, reading.engine_index))
        if not account.labels:
            account.labels = label_pairs(
                (("endpoint", reading.endpoint), ("engine", name), ("engine_index", reading.engine_index))
            )
        return account

    def _find(self, kept: OrderedDict[_Key, Account], key: _Key) -> Account:
        account = kept.get(key)
        if account is None:
            account = kept[key] = Account("")
            _bound(kept, self._limit)
        else:
            kept.move_to_end(key)
        return account


def _bound(kept: OrderedDict[_Key, _Value], limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)
