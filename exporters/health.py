"""How each source fares, for `phasetop_collector_*`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.model import Interval


@dataclass(frozen=True, slots=True)
class CollectorHealth:
    """The state of one source. `endpoint` is empty for sources that have none.

    `duration_seconds` is how long its last sample took, `last_sample` when that was in seconds
    since 1970; None where it is not known.
    """

    collector: str
    endpoint: str
    success: bool
    duration_seconds: float | None = None
    last_sample: float | None = None


class HealthFromTicks:
    """Derives the state of the sources from intervals alone; sample durations stay unknown.

    A GPU source is reported once there was a GPU or a gap said why there is none.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}
        self._now: dict[tuple[str, str], bool] = {}

    def put(self, interval: Interval) -> None:
        ages = {source: list(ages) for source, ages in _samples(interval)}
        if ("gpu", "") in self._last:
            ages.setdefault(("gpu", ""), [])
        self._now = {source: bool(good) for source, good in ages.items()}
        self._last = {source: at for source, at in self._last.items() if source in ages}
        for source, good in ages.items():
            if good:
                self._last[source] = interval.end / 1e9 - min(good)

    def __call__(self) -> tuple[CollectorHealth, ...]:
        return tuple(
            CollectorHealth(collector, endpoint, success, None, self._last.get((collector, endpoint)))
            for (collector, endpoint), success in self._now.items()
        )


def _samples(interval: Interval) -> Iterator[tuple[tuple[str, str], list[float]]]:
    """Each source of the interval with the ages in seconds of the good samples it gave."""
    yield ("host", ""), [0.0] if interval.host is not None else []
    if interval.gpus or any(gap.source == "gpu" for gap in interval.gaps):
        yield ("gpu", ""), [gpu.age_seconds or 0.0 for gpu in interval.gpus.values() if gpu.state == "ok"]
    for endpoint in dict.fromkeys(endpoint for endpoint, _ in interval.engines):
        ranks = [engine for (at, _), engine in interval.engines.items() if at == endpoint]
        yield ("engine", endpoint), [rank.age_seconds or 0.0 for rank in ranks if rank.state == "ok"]
