"""All the GPUs of this machine as one source: NVML's child process and exporters' pages together.

A configured page is always read. One that was found is read only where NVML does not give all
there is to know: on a machine whose GPUs all have GPM an exporter is left in peace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from collectors.clock import Clock
from collectors.gpu.feed import NAME, GpuFeed
from collectors.gpu.merge import StuckProfiling, merged
from collectors.model import Gap
from collectors.readings import GpuReading
from collectors.sources import Background, Harvest, SourceStatus

if TYPE_CHECKING:
    from collectors.gpu.page_reader import PageReader  # loaded by whoever makes one

_SEARCH_SECONDS = 30.0
_STUCK = "its profiling figures stay at 0 while kernels run: restart DCGM"


class Gpus:
    """`nvml` is None where NVML is not to be read; `search` gives addresses of pages found here, None: no search."""

    name = NAME

    def __init__(
        self,
        nvml: GpuFeed | None,
        make: Callable[[str], PageReader],
        *,
        urls: Iterable[str] = (),
        search: Callable[[], tuple[str, ...]] | None = None,
        clock: Clock,
    ) -> None:
        self._nvml = nvml
        self._make = make
        self._clock = clock
        self._configured = [make(url) for url in urls]
        self._found: dict[str, PageReader] = {}
        self._search = Background("gpu page search", search) if search is not None else None
        self._searched: float | None = None
        self._arrived: threading.Event | None = None
        self._stuck = StuckProfiling()
        self._is_stuck = False
        self._needs_pages = True

    def start(self, arrived: threading.Event) -> None:
        self._arrived = arrived
        if self._nvml is not None:
            self._nvml.start(arrived)
        if self._search is not None:
            self._search.start(arrived)
        for reader in self._configured:
            reader.start(arrived)

    def request(self, edge: float) -> None:
        self._take_found()
        if self._nvml is not None:
            self._nvml.request(edge)
        if self._search is not None and self._needs_pages and self._is_search_due(edge):
            self._searched = edge
            self._search.ask()
        for reader in self._read_now():
            reader.request(edge)

    def pending(self) -> bool:
        return (
            (self._nvml is not None and self._nvml.pending())
            or (self._search is not None and self._search.busy)
            or any(reader.pending() for reader in self._read_now())
        )

    def collect(self, edge: float) -> Harvest:
        harvest = self._nvml.collect(edge) if self._nvml is not None else Harvest()
        self._needs_pages = not _all_have_gpm(harvest.gpus)
        pages, gaps = _readings_of(self._read_now(), edge)
        pages, self._is_stuck = self._stuck.without(pages, harvest.gpus)
        return replace(harvest, gpus=merged(harvest.gpus, pages), gaps=(*harvest.gaps, *gaps))

    def status(self) -> Sequence[SourceStatus]:
        lines = list(self._nvml.status()) if self._nvml is not None else []
        readers = [reader.status() for reader in self._read_now()]
        if self._is_stuck:
            readers = [replace(line, state="stuck", reason=line.reason or _STUCK) for line in readers]
        if self._nvml is not None and any(line.state == "ok" for line in readers):
            # A page stands in for NVML: that there is no NVIDIA driver here is then no trouble.
            lines = [line for line in lines if line.state == "ok" or not (line.reason or "").endswith("not found")]
        return [*lines, *readers]

    def stop(self) -> None:
        if self._nvml is not None:
            self._nvml.stop()
        if self._search is not None:
            self._search.stop()
        for reader in (*self._configured, *self._found.values()):
            reader.stop()

    def _read_now(self) -> list[PageReader]:
        found = list(self._found.values()) if self._needs_pages else []
        return [*self._configured, *found]

    def _is_search_due(self, edge: float) -> bool:
        return self._searched is None or edge - self._searched >= _SEARCH_SECONDS * 0.98

    def _take_found(self) -> None:
        urls = self._search.take() if self._search is not None else None
        if urls is None:
            return
        configured = {reader.url for reader in self._configured}
        for gone in self._found.keys() - set(urls):
            if self._found[gone].fails:
                self._found.pop(gone).stop()
        for url in urls:
            if url not in self._found and url not in configured:
                reader = self._found[url] = self._make(url)
                if self._arrived is not None:
                    reader.start(self._arrived)


def _all_have_gpm(gpus: Sequence[GpuReading]) -> bool:
    working = [gpu for gpu in gpus if gpu.state == "ok" and not gpu.instances]
    return bool(working) and all(gpu.source == "gpm" for gpu in working)


def _readings_of(readers: Sequence[PageReader], edge: float) -> tuple[list[GpuReading], list[Gap]]:
    """What all the pages say; of a GPU that is on several the first counts."""
    rows: dict[str, GpuReading] = {}
    gaps: list[Gap] = []
    for reader in readers:
        found, gap = reader.collect(edge)
        for row in found:
            known = rows.get(row.uuid)
            if known is None or (known.state != "ok" and row.state == "ok"):
                rows[row.uuid] = row
        if gap is not None:
            gaps.append(gap)
    return list(rows.values()), gaps
