"""The bottleneck of a stretch of time, from the judgements on its intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.bottleneck.judge import headline, named_resource
from collectors.model import Bottleneck, BottleneckName

_KEPT_OUT_FROM = 1 / 3
"""Share of the time from which what kept requests out is said to have done so over all of it."""


@dataclass(frozen=True, slots=True)
class Period:
    """What some seconds were limited by: mean shares, the names by the rules for one interval.

    `admission_ratio` tells for each reason how much of the time it kept requests out; `names` how
    much of the time each headline held.
    """

    seconds: float
    name: BottleneckName
    resource: BottleneckName
    admission: BottleneckName | None
    shares: dict[str, float] = field(default_factory=dict)
    admission_ratio: dict[str, float] = field(default_factory=dict)
    names: dict[str, float] = field(default_factory=dict)


def over(judged: Iterable[tuple[Bottleneck, float]]) -> Period:
    """The period that some judgements, each with its seconds, make up; without any, unknown.

    Shares are averaged over time before a resource is named, so that a host that is late in every
    other interval is not lost.
    """
    total = 0.0
    shares: dict[str, float] = {}
    kept_out: dict[str, float] = {}
    names: dict[str, float] = {}
    for bottleneck, seconds in judged:
        total += seconds
        names[bottleneck.name] = names.get(bottleneck.name, 0.0) + seconds
        for name, value in (bottleneck.shares or {"unknown": 1.0}).items():
            shares[name] = shares.get(name, 0.0) + value * seconds
        if bottleneck.admission is not None:
            kept_out[bottleneck.admission] = kept_out.get(bottleneck.admission, 0.0) + seconds
    if total <= 0:
        return Period(0.0, "unknown", "unknown", None)
    shares, kept_out, names = (
        {name: value / total for name, value in one.items()} for one in (shares, kept_out, names)
    )
    resource = named_resource(shares)
    admission: BottleneckName | None = None
    if kept_out.get("kv-capacity", 0.0) >= _KEPT_OUT_FROM:
        admission = "kv-capacity"
    elif kept_out.get("scheduler", 0.0) >= _KEPT_OUT_FROM:
        admission = "scheduler"
    return Period(total, headline(resource, admission, shares), resource, admission, shares, kept_out, names)
