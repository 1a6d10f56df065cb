"""History of single GPUs, engines and the host: one flat array of floats for each number that a screen draws.

To keep another number, add a line to one of the tables: its name, and where it comes from. A name is
then drawn with `dashboard.widgets.history`. Each costs 4 bytes an interval and entity: 14 kB an hour at 1 Hz.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from collectors.model import HOST, Tick, engine_entity, gpu_entity

NAN = math.nan

GPU_SERIES: Mapping[str, str] = {
    "sm": "sm_active_ratio", "tensor": "tensor_active_ratio", "dram": "dram_active_ratio",
    "kernel": "kernel_active_ratio", "memory_active": "memory_active_ratio", "power": "power_watts",
    "memory": "memory_used_bytes", "clock": "sm_clock_hertz", "temperature": "temperature_celsius",
}  # fmt: skip
"""Name of the series and field of GpuReading."""

HOST_SERIES: Mapping[str, str] = {
    "cpu": "cpu_ratio", "memory": "memory_used_bytes", "cpu_pressure": "cpu_pressure_ratio",
    "memory_pressure": "memory_pressure_ratio", "io_pressure": "io_pressure_ratio",
    "memory_pressure_full": "memory_pressure_full_ratio", "io_pressure_full": "io_pressure_full_ratio",
    "throttled": "cpu_throttled_ratio", "swap": "swap_used_bytes",
}  # fmt: skip
"""Name of the series and field of HostReading."""

HOST_RATES: Mapping[str, str] = {
    "network_in": "network_receive_bytes", "network_out": "network_transmit_bytes",
    "rdma_in": "rdma_receive_bytes", "rdma_out": "rdma_transmit_bytes",
    "disk_read": "disk_read_bytes", "disk_write": "disk_write_bytes",
}  # fmt: skip
"""Name of the series and field of HostReading that is an amount: kept per second."""

ENGINE_SERIES: Mapping[str, str] = {
    "running": "requests_running", "waiting": "requests_waiting", "kv_cache": "kv_cache_usage_ratio",
}  # fmt: skip
"""Name of the series and field of EngineReading."""

ENGINE_RATES: Mapping[str, str] = {
    "prompt": "prompt_tokens", "generation": "generation_tokens", "finished": "requests_finished",
    "preempted": "preemptions",
}  # fmt: skip
"""Name of the series and field of EngineReading that is an amount: kept per second."""

Getter = Callable[[Any], tuple[Any, ...]]


def _getter(table: Mapping[str, str]) -> Getter:
    return attrgetter(*table.values())  # of two fields and more, else it gives no tuple


class _Kind:
    """What is kept of one kind of reading: gauges as they are, amounts per second."""

    def __init__(self, gauges: Mapping[str, str], rates: Mapping[str, str]) -> None:
        self.names = (*gauges, *rates)
        self._gauges = _getter(gauges)
        self._rates = _getter(rates) if rates else None

    def values(self, reading: Any) -> tuple[float | None, ...]:
        if self._rates is None:
            return self._gauges(reading)
        seconds = reading.window_seconds
        amounts = self._rates(reading)
        rates = [None if amount is None or not seconds else amount / seconds for amount in amounts]
        return (*self._gauges(reading), *rates)


_GPU = _Kind(GPU_SERIES, {})
_HOST = _Kind(HOST_SERIES, HOST_RATES)
_ENGINE = _Kind(ENGINE_SERIES, ENGINE_RATES)


class Series:
    """The rows of `dashboard.tracks.Tracks`, told apart by entity; NaN where a number is missing."""

    def __init__(self) -> None:
        self._rows = 0
        self._tracks: dict[str, tuple[_Kind, list[array[float] | None]]] = {}
        """None for a number that never was there."""

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        known = (track for _, tracks in self._tracks.values() for track in tracks if track is not None)
        return sum(len(track) * track.itemsize for track in known)

    def append(self, tick: Tick) -> None:
        """Adds a row to every series there is."""
        interval = tick.interval
        if interval.host is not None:
            self._add(HOST, _HOST, _HOST.values(interval.host))
        for uuid, gpu in interval.gpus.items():
            if gpu.state != "lost":
                self._add(gpu_entity(uuid), _GPU, _GPU.values(gpu))
        for key, engine in interval.engines.items():
            if engine.state == "ok":
                self._add(engine_entity(key), _ENGINE, _ENGINE.values(engine))
        self._rows += 1
        for _, tracks in self._tracks.values():
            for track in tracks:
                if track is not None and len(track) < self._rows:
                    track.append(NAN)

    def value(self, entity: str, name: str, row: int) -> float | None:
        """One number of one row; None where it is missing."""
        track = self.track(entity, name)
        value = track[row] if track is not None and row < len(track) else NAN
        return value if value == value else None

    def track(self, entity: str, name: str) -> array[float] | None:
        """All rows of one series, NaN where missing; None where it never was there."""
        found = self._tracks.get(entity)
        return None if found is None else found[1][found[0].names.index(name)]

    def trim(self, rows: int) -> None:
        """Forgets the oldest rows, and entities of which nothing is left."""
        self._rows -= rows
        for entity, (_, tracks) in list(self._tracks.items()):
            for n, track in enumerate(tracks):
                if track is not None:
                    del track[:rows]
                    if all(value != value for value in track):
                        tracks[n] = None
            if not any(tracks):
                del self._tracks[entity]

    def _add(self, entity: str, kind: _Kind, values: Sequence[float | None]) -> None:
        found = self._tracks.get(entity)
        if found is None:
            found = self._tracks[entity] = (kind, [None] * len(kind.names))
        tracks = found[1]
        for n, value in enumerate(values):
            track = tracks[n]
            if track is not None:
                track.append(NAN if value is None else value)
            elif value is not None:
                track = tracks[n] = array("f", [NAN]) * self._rows
                track.append(value)
