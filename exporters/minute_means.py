"""The mean of every minute of the numbers that are drawn over long spans, made while recording."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from collectors.model import HOST, Interval, engine_entity, gpu_entity
from collectors.readings import Reading, field_specs
from collectors.store_schema import MINUTE, ROLLED, SOURCES

Row = tuple[str, str, tuple[float | None, ...]]
"""Source, entity, and a row of the source's table after the entity: start, seconds, means."""


class _Fields:
    """The numbers of one source, amounts per second."""

    def __init__(self, source: str, reading: type[Reading]) -> None:
        self.names = ROLLED[source]
        kinds = {spec.name: spec.kind for spec in field_specs(reading)}
        self._get = attrgetter(*self.names)
        self._amounts = tuple(n for n, name in enumerate(self.names) if kinds[name] == "amount")

    def values(self, reading: Any) -> Sequence[float | None]:
        values: Sequence[float | None] = self._get(reading)
        if not self._amounts:
            return values
        rates, seconds = list(values), reading.window_seconds
        for n in self._amounts:
            amount = rates[n]
            rates[n] = amount / seconds if amount is not None and seconds else None
        return rates


_FIELDS: Mapping[str, _Fields] = {source.name: _Fields(source.name, source.reading) for source in SOURCES}


class _Sums:
    """One entity in one minute."""

    __slots__ = ("known", "seconds", "sums")

    def __init__(self, count: int) -> None:
        self.seconds = 0.0
        self.sums = [0.0] * count
        self.known = [0.0] * count

    def add(self, values: Sequence[float | None], seconds: float) -> None:
        self.seconds += seconds
        sums, known = self.sums, self.known
        for n, value in enumerate(values):
            if value is not None:
                sums[n] += value * seconds
                known[n] += seconds

    def means(self) -> Iterator[float | None]:
        for total, seconds in zip(self.sums, self.known, strict=True):
            mean = total / seconds if seconds else math.nan
            yield mean if math.isfinite(mean) else None


_Minute = dict[tuple[str, str], _Sums]
"""By source and entity."""


class MinuteMeans:
    """Sums readings by minute and entity, and gives each minute out when a later one has begun.

    An interval counts in the minute it starts in. Of GPUs that are lost and engines that do not answer nothing
    counts. Where the clock steps back into a minute that was given out, what follows of it is left out.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}

    def interval(self, interval: Interval) -> None:
        start = interval.start - interval.start % MINUTE
        minute = self._minutes.get(start)
        if minute is None:
            minute = self._minutes[start] = {}
        seconds = interval.duration
        if interval.host is not None:
            self._add(minute, "host", HOST, interval.host, seconds)
        for uuid, gpu in interval.gpus.items():
            if gpu.state != "lost":
                self._add(minute, "gpu", gpu_entity(uuid), gpu, seconds)
        for key, engine in interval.engines.items():
            if engine.state == "ok":
                self._add(minute, "engine", engine_entity(key), engine, seconds)

    @staticmethod
    def _add(minute: _Minute, source: str, entity: str, reading: Reading, seconds: float) -> None:
        fields, key = _FIELDS[source], (source, entity)
        sums = minute.get(key)
        if sums is None:
            sums = minute[key] = _Sums(len(fields.names))
        sums.add(fields.values(reading), seconds)

    def complete(self) -> Iterator[Row]:
        """The minutes before the newest one; each is given once."""
        while len(self._minutes) > 1:
            start = next(iter(self._minutes))
            yield from self._rows(start, self._minutes.pop(start))

    def rest(self) -> Iterator[Row]:
        """Every minute not given yet: the recording ends here."""
        for start, minute in self._minutes.items():
            yield from self._rows(start, minute)
        self._minutes.clear()

    @staticmethod
    def _rows(start: int, minute: _Minute) -> Iterator[Row]:
        for (source, entity), sums in minute.items():
            yield source, entity, (start, sums.seconds, *sums.means())
