"""Saved metrics pages and `dmon` tables to intervals: what `phasetop import` reads.

A file of pages holds one JSON object a line, optionally gzip-compressed: `t` (epoch seconds when the page
was asked for), `dur` (seconds until it had arrived), `text` (the page), `url`, `status`, `error`;
all but `t` and `text` may be absent. The last page that had arrived before an edge closes the
interval, as it would have live. Pages are of serving engines or of GPU exporters, in any mixture.
Tables of `nvidia-smi dmon` and `dcgmi dmon` (`dmon.py`) and of `nvidia-smi --query-gpu` (`smi_query.py`) are told by
their headers.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from collectors.clock import NANO
from collectors.dmon import DmonError, Round, is_dmon, rounds
from collectors.dmon_table import DmonTable
from collectors.engine.catalog import EMPTY_AT_FIRST
from collectors.engine.reading import (
    EngineMemo,
    EngineSnapshot,
    empty_snapshot,
    engine_reading,
    new_memo,
    snapshots,
)
from collectors.gpu.pages import GpuPage
from collectors.model import EngineKey, Gap, Interval
from collectors.ownership import assign_gpus
from collectors.readings import EngineReading, GpuReading, rounded
from collectors.smi_query import header_of, query_rounds
from collectors.text import clean

_PAUSE_SECONDS = 60.0
"""Without a page for so long, the recording is taken to have been paused, and a new run begins."""

_HEADER_WITHIN = 20
"""Lines, from the beginning of a file, within which the header of a table must be."""
_REFUSED = "refused"
"""What every client's error says, in one form or another, when nobody listens at an address."""


class ImportFailed(Exception):
    """Nothing could be imported. The message says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class SavedPage:
    """One line of an import file. `arrived` is epoch seconds; `text` is None when the page failed."""

    arrived: float
    endpoint: str
    text: str | None
    problem: str | None
    round: Round | None = None
    """Of a file of `dmon`, instead of a text."""


def import_intervals(
    paths: Sequence[Path],
    *,
    interval: float = 1.0,
    engine: str | None = None,
    dmon_delay: float = 1.0,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[Interval]:
    """The intervals of saved pages, merged from several files by time of arrival.

    `interval` is in seconds; `engine` is the URL to give pages that name none; `dmon_delay` is the
    seconds between two rounds of a `dmon` file that does not tell its times. Lines that cannot be read
    are told to `warn`, each with file and line, and passed over.

    Raises:
        ImportFailed: a file cannot be opened, or no page of a known engine or GPU exporter is in any.
    """
    if interval <= 0:
        raise ImportFailed(f"an interval of {interval:g} s is not positive; give e.g. --interval 1s")
    assembler = _Assembler(round(interval * NANO))
    files = []
    for path in paths:
        reader = _table_reader(path)
        files.append(_pages(path, engine, warn) if reader is None else _rounds(path, reader, dmon_delay, warn))
    pages = heapq.merge(*files, key=lambda page: page.arrived)
    for page in pages:
        yield from assembler.put(page)
    yield from assembler.end()
    if not assembler.anything_seen:
        names = ", ".join(str(path) for path in paths)
        raise ImportFailed(
            f"no page of a known engine or GPU exporter in {names}; `phasetop doctor` lists those that are known"
        )


def _pages(path: Path, engine: str | None, warn: Callable[[str], None]) -> Iterator[SavedPage]:
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield _page(json.loads(line), path, engine)
                except (ValueError, TypeError, KeyError) as problem:
                    warn(f"{path}:{number}: not a saved page ({clean(str(problem))}); passed over")
    except (OSError, EOFError) as problem:
        raise ImportFailed(f"{path}: cannot be read: {clean(str(problem))}") from problem


def _table_reader(path: Path) -> Callable[..., Iterator[Round]] | None:
    """What reads the table in a file; None where it holds none, but pages."""
    try:
        with _open(path) as lines:
            for line in islice(lines, _HEADER_WITHIN):
                if line.lstrip().startswith("{"):
                    continue
                if is_dmon(line):
                    return rounds
                if header_of(line):
                    return query_rounds
            return None
    except (OSError, EOFError) as problem:
        raise ImportFailed(f"{path}: cannot be read: {clean(str(problem))}") from problem


def _rounds(
    path: Path, reader: Callable[..., Iterator[Round]], delay: float, warn: Callable[[str], None]
) -> Iterator[SavedPage]:
    try:
        for one in reader(path, partial(_open, path), delay=delay, warn=warn):
            yield SavedPage(one.time, path.name, None, None, one)
    except DmonError as problem:
        raise ImportFailed(str(problem)) from problem
    except (OSError, EOFError) as problem:
        raise ImportFailed(f"{path}: cannot be read: {clean(str(problem))}") from problem


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if compressed:
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _page(line: Any, path: Path, engine: str | None) -> SavedPage:
    if not isinstance(line, dict):
        raise TypeError("the line is no JSON object")
    arrived = float(line["t"]) + float(line.get("dur") or 0.0)
    if not 0 < arrived < 1e11:
        raise ValueError("t is not a time in epoch seconds")
    endpoint = clean(str(line.get("url") or engine or path.name), 200)
    status = line.get("status")
    text = line.get("text")
    if isinstance(text, str) and status in (None, 200):
        return SavedPage(arrived, endpoint, text, None)
    return SavedPage(arrived, endpoint, None, clean(str(line.get("error") or f"HTTP {status}")))


@dataclass(slots=True)
class _Endpoint:
    memo: EngineMemo = field(default_factory=new_memo)
    newest: dict[EngineKey, EngineSnapshot] = field(default_factory=dict)
    closed: dict[EngineKey, EngineSnapshot] = field(default_factory=dict)
    gpus: GpuPage | DmonTable = field(default_factory=GpuPage)
    problem: str | None = None
    empty_at: float | None = None
    """When the last empty page had arrived. Some engines' pages are empty until their first request."""

    def put(self, page: SavedPage) -> bool:
        """Take a page or a round. False when it is of nothing that is known."""
        if page.round is not None:
            if not isinstance(self.gpus, DmonTable):
                self.gpus = DmonTable()
            self.gpus.put(page.round)
            return True
        text = page.text
        if text is None or isinstance(self.gpus, DmonTable):
            return False
        if self.gpus.exporter is None:
            found = snapshots(page.endpoint, text, page.arrived, self.memo)
            if not found and not text.strip():
                self.empty_at = page.arrived
            for snapshot in found:
                if snapshot.engine in EMPTY_AT_FIRST and self.empty_at is not None:
                    self.closed[snapshot.key] = empty_snapshot(page.endpoint, snapshot.engine, self.empty_at)
                self.newest[snapshot.key] = snapshot
            if found:
                self.empty_at = None
            if self.newest:
                return bool(found)
        return self.gpus.put(text, page.arrived)

    def ended(self) -> None:
        """Nobody listened any more: whoever does later counts from 0, and is compared with nothing."""
        self.newest = {key: replace(snapshot, is_comparable=False) for key, snapshot in self.newest.items()}
        self.closed = dict(self.newest)
        self.empty_at = None


class _Assembler:
    """Closes whole, wall-aligned intervals as pages arrive."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._endpoints: dict[str, _Endpoint] = {}
        self._sequence = 0
        self._start: int | None = None
        self._last_arrival = 0.0
        self.anything_seen = False

    def put(self, page: SavedPage) -> Iterator[Interval]:
        at = int(page.arrived * NANO)
        if self._start is None:
            self._start = at - at % self._length
        elif page.arrived - self._last_arrival > _PAUSE_SECONDS:
            yield self._close()
            self._start = at - at % self._length
            for endpoint in self._endpoints.values():
                endpoint.closed.clear()
                endpoint.newest.clear()
                endpoint.empty_at = None
                endpoint.gpus = DmonTable() if isinstance(endpoint.gpus, DmonTable) else GpuPage()
        while at >= self._start + self._length:
            yield self._close()
        self._last_arrival = max(self._last_arrival, page.arrived)
        endpoint = self._endpoints.setdefault(page.endpoint, _Endpoint())
        endpoint.problem = page.problem
        if page.problem is not None and _REFUSED in page.problem.lower():
            endpoint.ended()
        if endpoint.put(page):
            self.anything_seen = True

    def end(self) -> Iterator[Interval]:
        if self._start is not None:
            yield self._close()

    def _close(self) -> Interval:
        if self._start is None:
            raise RuntimeError("no page has arrived yet")
        start, self._start = self._start, self._start + self._length
        engines: list[EngineReading] = []
        gpus: dict[str, GpuReading] = {}
        gaps: list[Gap] = []
        seconds = self._length / NANO
        for name, endpoint in self._endpoints.items():
            readings = list(_readings(endpoint, self._start / NANO))
            accelerators = endpoint.gpus.readings(self._start / NANO, patience=seconds)
            engines += readings
            gpus.update((reading.uuid, rounded(reading)) for reading in accelerators)
            if any(one.state != "ok" for one in readings) or any(one.state != "ok" for one in accelerators):
                gaps.append(Gap(name, endpoint.problem or "no page arrived in this interval"))
        self._sequence += 1
        owned = assign_gpus(engines, tuple(gpus.values()), processes={}, trees={}, configured={})
        by_key = {reading.key: reading for reading in owned}
        return Interval(self._sequence, start, self._start, seconds, gpus=gpus, engines=by_key, gaps=tuple(gaps))


def _readings(endpoint: _Endpoint, end: float) -> Iterable[EngineReading]:
    for key, newest in endpoint.newest.items():
        previous = endpoint.closed.get(key)
        fresh = newest is not previous
        state = "ok" if fresh else ("down" if endpoint.problem else "stale")
        comparable = previous if previous is not None and (previous.is_comparable or not fresh) else None
        yield rounded(engine_reading(comparable, newest if fresh else None, end=end, state=state))
        endpoint.closed[key] = newest
