"""One interval, measured at once: what `phasetop once` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from collectors.clock import Clock, SystemClock
from collectors.model import Gap, Interval, Tick
from collectors.sources import SourceStatus
from dashboard.config import Config
from dashboard.learned import LearnedCosts
from dashboard.session import LiveSession, Parts, parts_of

if TYPE_CHECKING:
    from collectors.gpu.worker import GpuSource
    from collectors.phase.label import Labeller

_WARM_UP_SECONDS = 3.0
_PATIENCE_SECONDS = 2.0
"""Where one interval is all there will be, a late page is better than none."""


def once(
    config: Config,
    *,
    window: float = 1.0,
    clock: Clock | None = None,
    parts: Parts | None = None,
    nvml: GpuSource | None = None,
    meanwhile: Callable[[], object] = lambda: None,
    learned: LearnedCosts | None = None,
) -> Tick | None:
    """Measure one interval of `window` seconds, beginning now and not at a whole edge.

    Everything is asked once beforehand, so that what is counted has something to count from. Labels
    are settled with what there is. None only when the clock gave no two edges. `nvml` is as in
    `parts_of`; `meanwhile` is called when the window has begun, for what can be prepared in it. What an
    interval of mixed load was spent on is known only where an engine's costs are: `learned` has those
    of earlier runs. One interval adds nothing to them.
    """
    clock = clock or SystemClock()
    config = replace(
        config,
        sampling=replace(config.sampling, interval=window),
        engine=replace(config.engine, min_interval=min(config.engine.min_interval, window)),  # or no second page
    )
    parts = parts or parts_of(config, clock, nvml)
    learned = learned or LearnedCosts(None)
    taken = _Taken()
    session = LiveSession(config, [taken], clock=clock, parts=parts, labeller=taken, patience=_PATIENCE_SECONDS)
    session.sampler.start_sources()
    parts.look()
    session.sampler.warm_up(_WARM_UP_SECONDS)
    session.sampler.align_to_now()
    try:
        while taken.tick is None and session.sampler.step():
            learned.labeller()  # loads what labels, while the window passes
            meanwhile()
        statuses = [*session.status(), *learned.status()]
    finally:
        session.stop()
    return None if taken.tick is None else _settled(_with_reasons(taken.tick, statuses), learned.labeller())


def _with_reasons(tick: Tick, statuses: Sequence[SourceStatus]) -> Tick:
    """The tick with what a session has in its statuses and a single interval lacks.

    That is why there is no GPU, and which engines run here and cannot be read.
    """
    interval = tick.interval
    told = {gap.source for gap in interval.gaps}
    if interval.gpus or any(source.startswith("gpu") for source in told):
        told.add("gpu")
    reasons = tuple(
        Gap(one.source, one.reason)
        for one in statuses
        if one.state != "ok" and one.reason is not None and one.source not in told
    )
    return replace(tick, interval=replace(interval, gaps=(*interval.gaps, *reasons)))


def _settled(bare: Tick, labeller: Labeller) -> Tick:
    """A single interval with the labels it has when nothing comes after it."""
    try:
        tick = labeller.push(bare.interval)
    except Exception:  # the readings are worth showing without labels
        return bare
    labels = {**tick.labels, **{label.entity: label for label in labeller.flush()}}
    return replace(tick, labels=labels, events=(*tick.events, *bare.events))


class _Taken:
    """Takes the one tick there is, and leaves it without labels for now."""

    tick: Tick | None = None

    def push(self, interval: Interval) -> Tick:
        return Tick(interval)

    def catch_up(self) -> None: ...

    def put(self, tick: Tick) -> None:
        self.tick = tick
