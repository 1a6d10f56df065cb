"""Rendering the Prometheus page from what the sink knows at one moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from collectors.pods import Pod
from collectors.readings import EngineReading, FieldSpec, GpuReading, HostReading
from exporters import families
from exporters.accounts import Account
from exporters.exposition import Exposition, Family, HistogramTotal, label_pairs
from exporters.families import Scope
from exporters.health import CollectorHealth

_MOST_PODS = 256


@dataclass(frozen=True, slots=True)
class Subject:
    """One entity as the page shows it.

    `reading` is None when it was not measured: then only its state is shown, and its settled
    counters as long as `counters` says so.
    """

    account: Account
    reading: HostReading | GpuReading | EngineReading | None
    state: str
    counters: bool


@dataclass(frozen=True, slots=True)
class PageState:
    """Everything a page is rendered from.

    `pods` has the containers on each GPU by the labels of its account; `elapsed` is the seconds of intervals so far.
    """

    build: str
    subjects: Mapping[Scope, Sequence[Subject]]
    health: Sequence[CollectorHealth] = ()
    pods: Mapping[str, Sequence[Pod]] = field(default_factory=dict)
    elapsed: float = 0.0
    settled_until: int | None = None


def render(state: PageState, openmetrics: bool) -> bytes:
    page = Exposition(openmetrics)
    write_page(page, state)
    return page.page()


def write_page(page: Exposition, state: PageState) -> None:
    """All families and samples of a page, in the page's order."""
    page.write(families.BUILD_INFO, [(state.build, 1.0)])
    _write_health(page, state.health)
    if state.settled_until is not None:
        page.write(families.SETTLED_TIMESTAMP, [("", state.settled_until / 1e9)])
    for scope, subjects in state.subjects.items():
        _write_identity(page, scope, subjects)
        if scope == "gpu":
            page.write(families.GPU_POD, [(pairs, 1.0) for pairs in _pod_pairs(state.pods)])
        _write_settled(page, scope, [subject.account for subject in subjects if subject.counters])
        measured = [(subject.account, subject.reading) for subject in subjects if subject.reading is not None]
        for spec, family in families.FIELDS[scope]:
            _write_field(page, spec, family, measured, state.elapsed)


def _write_health(page: Exposition, health: Sequence[CollectorHealth]) -> None:
    labelled = [(label_pairs((("collector", one.collector), ("endpoint", one.endpoint))), one) for one in health]
    page.write(families.COLLECTOR_SUCCESS, [(pairs, float(one.success)) for pairs, one in labelled])
    durations = [(pairs, one.duration_seconds) for pairs, one in labelled]
    page.write(families.COLLECTOR_DURATION, _present(durations))
    last_samples = [(pairs, one.last_sample) for pairs, one in labelled]
    page.write(families.COLLECTOR_LAST_SAMPLE, _present(last_samples))


def _present(samples: Sequence[tuple[str, float | None]]) -> Iterator[tuple[str, float]]:
    """The samples that have a value; what could not be measured has no series."""
    return ((pairs, float(value)) for pairs, value in samples if value is not None and math.isfinite(value))


def _write_identity(page: Exposition, scope: Scope, subjects: Sequence[Subject]) -> None:
    if scope not in families.STATE:
        return
    names = families.STATES[scope]
    page.write_by(
        families.STATE[scope],
        "state",
        [(subject.account.labels, {name: float(name == subject.state) for name in names}) for subject in subjects],
    )
    if scope == "gpu":  # also of a GPU that is lost: that is when they matter
        accounts = [subject.account for subject in subjects]
        page.write_by(families.XID_ERRORS, "xid", [(account.labels, account.xids) for account in accounts])
        page.write_by(families.XID_LAST, "xid", [(account.labels, account.xid_times) for account in accounts])
    page.write(
        families.INFO[scope],
        [
            (f"{subject.account.labels},{_info_pairs(subject.reading, families.INFO_FIELDS[scope])}", 1.0)
            for subject in subjects
            if subject.reading is not None
        ],
    )


def _info_pairs(reading: Any, names: Sequence[str]) -> str:
    return label_pairs((name, _text(getattr(reading, name))) for name in names)


def _pod_pairs(pods: Mapping[str, Sequence[Pod]]) -> Iterator[str]:
    """The label sets of containers, each once, and not more of them than a node can have to do with."""
    names = families.GPU_POD.labels[-4:]
    labelled = (
        f"{gpu},{label_pairs(zip(names, map(_text, (one.namespace, one.name, one.container, one.uid)), strict=True))}"
        for gpu, containers in pods.items()
        for one in containers
    )
    return islice(dict.fromkeys(labelled), _MOST_PODS)


def _text(value: str | tuple[str, ...] | None) -> str:
    return ",".join(value) if isinstance(value, tuple) else value or ""


def _write_settled(page: Exposition, scope: Scope, accounts: Sequence[Account]) -> None:
    page.write_by(families.PHASE_SECONDS[scope], "phase", [(a.labels, a.phase) for a in accounts])
    page.write_by(families.LABEL_SECONDS[scope], "label", [(a.labels, a.label) for a in accounts])
    page.write_by(families.BOTTLENECK_SECONDS[scope], "bottleneck", [(a.labels, a.bottleneck) for a in accounts])
    if scope in families.PHASE_JOULES:
        page.write_by(families.PHASE_JOULES[scope], "phase", [(a.labels, a.joules) for a in accounts])
    if scope == "engine":
        page.write_by(families.PHASE_TOKENS, "phase", [(a.labels, a.tokens) for a in accounts])


def _write_field(
    page: Exposition, spec: FieldSpec, family: Family, measured: Sequence[tuple[Account, Any]], elapsed: float
) -> None:
    name = spec.name
    if spec.kind == "gauge":
        page.write(family, _present([(account.labels, getattr(reading, name)) for account, reading in measured]))
        return
    shown = [account for account, _ in measured if account.current(name, elapsed)]
    if spec.kind == "histogram":
        histograms: list[tuple[str, HistogramTotal]] = [(a.labels, a.histograms[name]) for a in shown]
        page.write_histograms(family, histograms)
    else:
        page.write(family, [(account.labels, account.amounts[name]) for account in shown])
