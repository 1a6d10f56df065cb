"""A live session over every bad page at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from collectors.model import Tick
from collectors.sources import SourceStatus
from dashboard.config import Config
from dashboard.session import LiveSession
from tests.bad_pages import serve_all

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
    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.enough = threading.Event()

    def put(self, tick: Tick) -> None:
        self.ticks.append(tick)
        if len(self.ticks) >= TICKS:
            self.enough.set()


def measured(base: Config) -> tuple[Mapping[str, str], list[Tick], list[SourceStatus]]:
    """The pages' addresses by name, some ticks, and what the session says of its sources then."""
    sink = _Counting()
    kept: list[Mapping[str, str]] = []
    lines: list[SourceStatus] = []

    def use(urls: Mapping[str, str]) -> None:
        kept.append(urls)
        session = LiveSession(configured(base, tuple(urls.values())), [sink])
        session.start()
        try:
            assert sink.enough.wait(90)
            lines.extend(session.status())
        finally:
            session.stop()

    serve_all(use)
    return kept[0], sink.ticks, lines
