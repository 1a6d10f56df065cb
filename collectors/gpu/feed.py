"""The GPUs as one of the sampler's sources."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from collectors.gpu.sample import GpuSample, joined
from collectors.model import Gap
from collectors.readings import GpuReading
from collectors.sources import Harvest, SourceStatus

NAME = "gpu"


class Reader(Protocol):
    """What is needed of `collectors.gpu.worker.GpuSource`."""

    def start(self, arrived: threading.Event) -> None: ...
    def request(self) -> None: ...
    def latest(self) -> GpuSample | None: ...
    @property
    def status(self) -> str | None: ...
    def stop(self) -> None: ...


class GpuFeed:
    """Uses each sample for one interval. Without a new one the GPUs stay listed, as stale.

    A machine on which no GPU was ever seen has no gaps, only a status that says why.
    """

    name = NAME

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen: GpuSample | None = None
        self._fresh: GpuSample | None = None
        self._known: tuple[GpuReading, ...] = ()
        self._asked_after: GpuSample | None = None

    def start(self, arrived: threading.Event) -> None:
        self._reader.start(arrived)

    def request(self, edge: float) -> None:
        self._look()
        self._reader.request()
        self._asked_after = self._seen

    def pending(self) -> bool:
        self._look()
        return self._seen is self._asked_after and self._reader.status is None

    def collect(self, edge: float) -> Harvest:
        self._look()
        sample, self._fresh = self._fresh, None
        if sample is None:
            return self._stale(edge)
        age = max(0.0, edge - sample.started)
        self._known = tuple(replace(reading, age_seconds=age) for reading in sample.readings)
        return Harvest(gpus=self._known, processes=sample.processes)

    def status(self) -> Sequence[SourceStatus]:
        trouble = self._reader.status
        return (SourceStatus(NAME, "ok" if trouble is None else "missing", trouble),)

    def stop(self) -> None:
        self._reader.stop()

    def _look(self) -> None:
        """Take what has come. The reader joins only samples nobody took; from here on that is done here."""
        latest = self._reader.latest()
        if latest is not None and latest is not self._seen:
            self._fresh = latest if self._fresh is None else joined(self._fresh, latest)
            self._seen = latest

    def _stale(self, edge: float) -> Harvest:
        if not self._known or self._seen is None:
            return Harvest()
        age = max(0.0, edge - self._seen.started)
        gpus = tuple(
            GpuReading(
                uuid=known.uuid, index=known.index, name=known.name, source=known.source,
                state="lost" if known.state == "lost" else "stale", age_seconds=age,
            )
            for known in self._known
        )  # fmt: skip
        reason = self._reader.status or f"NVML has not answered for {age:.1f} s"
        return Harvest(gpus=gpus, processes=self._seen.processes, gaps=(Gap(NAME, reason),))
