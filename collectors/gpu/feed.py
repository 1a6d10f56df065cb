"""The GPUs as one of the sampler's sources."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from collectors.gpu.sample import EARLY_SECONDS, GpuSample, joined
from collectors.model import Gap, GpuProcess
from collectors.readings import GpuReading, changed
from collectors.sources import Background, Harvest, SourceStatus

if TYPE_CHECKING:
    from collectors.gpu.occupants import Occupant  # loaded when there is a process to look up

NAME = "gpu"
_UNEVEN = 0.01
_LOOK_SECONDS = 10.0
"""Between two looks at processes that are the same ones: a program may rename itself."""


class Reader(Protocol):
    """What is needed of `collectors.gpu.worker.GpuSource`."""

    def start(self, arrived: threading.Event) -> None: ...
    def request(self, edge: float | None = None, next_at: float | None = None) -> None: ...
    def latest(self) -> GpuSample | None: ...
    @property
    def status(self) -> str | None: ...
    def stop(self) -> None: ...


class LookUp(Protocol):
    """Who processes are; may block."""

    def __call__(self, pids: Collection[int]) -> Mapping[int, Occupant]: ...


class GpuFeed:
    """Uses each sample for one interval. Without a new one the GPUs stay listed, as stale.

    A machine on which no GPU was ever seen has no gaps, only a status that says why.
    """

    name = NAME

    def __init__(self, reader: Reader, look_up: LookUp | None = None) -> None:
        """`look_up` says who some processes are; without it they are numbers."""
        self._reader = reader
        self._look_up = look_up
        self._pids: frozenset[int] = frozenset()
        self._looked_up: frozenset[int] = frozenset()
        self._looked_up_at = float("-inf")
        self._people = Background("gpu processes", self._find_people)
        self._occupants: Mapping[int, Occupant] = {}
        self._seen: GpuSample | None = None
        self._fresh: GpuSample | None = None
        self._known: tuple[GpuReading, ...] = ()
        self._asked_after: GpuSample | None = None
        self._is_answered = False
        self._edge = 0.0
        self._step = 0.0

    def start(self, arrived: threading.Event) -> None:
        self._people.start(threading.Event())  # names are not waited for: they may come an interval late
        self._reader.start(arrived)

    def request(self, edge: float) -> None:
        self._look()
        self._is_answered = self._fresh is not None and self._fresh.started >= edge - EARLY_SECONDS
        self._asked_after = self._seen
        self._reader.request(edge, self._next(edge))

    def _next(self, edge: float) -> float | None:
        """When the next edge will be, told from the last three when they were equally far apart."""
        step, self._edge = edge - self._edge, edge
        before, self._step = self._step, step
        return edge + step if abs(step - before) <= _UNEVEN * step else None

    def pending(self) -> bool:
        self._look()
        return not self._is_answered and self._seen is self._asked_after and self._reader.status is None

    def collect(self, edge: float) -> Harvest:
        self._look()
        sample, self._fresh = self._fresh, None
        if sample is None:
            return self._stale(edge)
        self._known = tuple(
            changed(reading, {"age_seconds": edge - sample.taken.get(reading.uuid, sample.started)})
            for reading in sample.readings
        )
        return Harvest(
            gpus=self._known,
            processes=sample.processes,
            gpu_processes=self._described(sample, edge),
            gaps=tuple(_losses(sample)),
        )

    def status(self) -> Sequence[SourceStatus]:
        trouble, seen = self._reader.status, self._seen
        return (
            SourceStatus(
                NAME,
                "ok" if trouble is None else "missing",
                trouble,
                # A machine without the driver has no GPUs that could fail to be read.
                None if seen is None and (trouble or "").endswith("not found") else "gpu",
                seen.ended - seen.started if seen is not None else None,
                seen.started if seen is not None else None,
            ),
        )

    def stop(self) -> None:
        self._reader.stop()
        self._people.stop()

    def _described(self, sample: GpuSample, edge: float) -> Mapping[str, tuple[GpuProcess, ...]]:
        """The processes on each GPU that was read, the largest first."""
        self._pids = frozenset(sample.processes)
        due = self._pids != self._looked_up or edge - self._looked_up_at >= _LOOK_SECONDS
        if self._look_up is not None and self._pids and due:
            self._looked_up, self._looked_up_at = self._pids, edge
            self._people.ask()
        self._occupants = self._people.take() or self._occupants
        on: dict[str, list[GpuProcess]] = {reading.uuid: [] for reading in sample.readings if reading.state == "ok"}
        for pid, uuids in sample.processes.items():
            who = self._occupants.get(pid)
            for uuid in uuids:
                process = GpuProcess(pid, memory_bytes=sample.process_memory.get((pid, uuid)))
                if who is not None:
                    process = replace(process, name=who.name, user=who.user, command=who.command, pod=who.pod)
                on.setdefault(uuid, []).append(process)
        return {uuid: tuple(sorted(some, key=lambda one: -(one.memory_bytes or 0.0))) for uuid, some in on.items()}

    def _find_people(self) -> Mapping[int, Occupant]:
        return self._look_up(self._pids) if self._look_up is not None else {}

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
        reason = self._reader.status or f"NVML has not answered for {age:.1f} s"
        gpus = tuple(
            GpuReading(
                uuid=known.uuid, index=known.index, name=known.name, source=known.source,
                state="lost" if known.state == "lost" else "stale", age_seconds=age,
                parent=known.parent, instance=known.instance, instances=known.instances,
                note=known.note if known.state == "lost" else reason,
            )
            for known in self._known
        )  # fmt: skip
        return Harvest(gpus=gpus, processes=self._seen.processes, gaps=(Gap(NAME, reason),))


def _losses(sample: GpuSample) -> Iterator[Gap]:
    """The GPUs that are lost, and those that NVML counts and may not be opened."""
    for reading in sample.readings:
        if reading.state == "lost":
            yield Gap(f"{NAME} {reading.uuid}", reading.note or "this GPU does not answer")
    shown = {f"index {reading.index}" for reading in sample.readings if reading.parent is None}
    for name, note in sample.notes.items():
        if name.startswith("index ") and name not in shown:
            yield Gap(f"{NAME} {name}", note)
