"""A live session over every bad page at once."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace

from collectors.model import Tick
from collectors.sources import SourceStatus
from dashboard.config import Config
from dashboard.session import LiveSession
from tests.bad_pages import BAD_PAGES, serve_all
from tests.patience import PATIENCE

TICKS = 10


def configured(base: Config, urls: tuple[str, ...]) -> Config:
    """A configuration that reads these pages and looks for nothing else."""
    return replace(
        base,
        sampling=replace(base.sampling, interval=0.5),
        gpu=replace(base.gpu, enabled=False),
        engine=replace(base.engine, discover=False, urls=urls, timeout=2.0),
    )


class _Counting:
    """Has enough after some ticks, when every page that is only odd has been read, however slow the machine is."""

    def __init__(self, odd: Collection[str]) -> None:
        self.ticks: list[Tick] = []
        self.enough = threading.Event()
        self._unread = set(odd)

    def put(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self._unread -= {one.endpoint for one in tick.interval.engines.values() if one.state == "ok"}
        if len(self.ticks) >= TICKS and not self._unread:
            self.enough.set()


def measured(base: Config) -> tuple[Mapping[str, str], list[Tick], list[SourceStatus]]:
    """The pages' addresses by name, some ticks, and what the session says of its sources then."""
    sinks: list[_Counting] = []
    kept: list[Mapping[str, str]] = []
    lines: list[SourceStatus] = []

    def use(urls: Mapping[str, str]) -> None:
        kept.append(urls)
        sink = _Counting([url for name, url in urls.items() if BAD_PAGES[name].says is None])
        sinks.append(sink)
        session = LiveSession(configured(base, tuple(urls.values())), [sink])
        session.start()
        try:
            assert sink.enough.wait(2 * PATIENCE)
            lines.extend(session.status())
        finally:
            session.stop()

    serve_all(use)
    return kept[0], sinks[0].ticks, lines
