"""`phasetop live`: the dashboard of this machine."""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dashboard.commands.common import all_is_loaded, configuration, sampling_arguments
from dashboard.commands.screen import run_app, screen_arguments, terminal_needed, ways

if TYPE_CHECKING:
    from collectors.model import Event
    from collectors.sources import SourceStatus
    from dashboard.config import Config
    from dashboard.session import LiveFeed, Sink
    from dashboard.state import Deliver

_NOTE_PAUSES = (0.2, 0.5, 1.0, 0.0)
"""Seconds to wait after each attempt to write a note."""


def arguments(parser: argparse.ArgumentParser) -> None:
    sampling_arguments(parser)
    parser.add_argument("--record", metavar="DIR", help="record what is shown into this directory")
    parser.add_argument("--listen", metavar="ADDR:PORT", help="serve a Prometheus page as well")
    screen_arguments(parser)


def run(args: argparse.Namespace) -> int:
    loaded = configuration(args)
    config = loaded.config
    terminal_needed("`phasetop once` prints one interval; `phasetop record` and `phasetop export` need no terminal")
    from collectors.text import clean
    from collectors.timezone import local_zone_name, zone_of
    from dashboard.app import PhasetopApp
    from dashboard.objectives import slo_book
    from dashboard.past import find_past

    chosen = ways(loaded)
    with ExitStack() as closing:
        app = PhasetopApp(
            _feed(args, config, closing),
            title_host=clean(os.uname().nodename),
            ascii=config.tui.ascii,
            zone=zone_of(local_zone_name()),
            interval=config.sampling.interval,
            note=_notes(config) if args.record else None,
            slo=slo_book(config.slo),
            past=find_past(config.record.directory, os.environ, clean(os.uname().nodename)),
            ways=chosen,
        )
        return run_app(app, mouse=config.tui.mouse)


def _feed(args: argparse.Namespace, config: Config, closing: ExitStack) -> _LateFeed:
    """The session's feed. What else gets its ticks is opened, and complained about, before the screen is taken."""
    from dashboard.learned import LearnedCosts

    sinks: list[Sink] = []
    learned = LearnedCosts.of_user()
    closing.callback(learned.close)
    also: Callable[[], Sequence[SourceStatus]] = learned.status
    page = None
    if args.listen:
        from dashboard.commands.outputs import serve_page

        page = serve_page(config)
        closing.callback(page.server.stop)
        sinks.append(page.sink)
    if args.record and config.record.directory is not None:
        from dashboard.commands.outputs import close_recorder, open_recorder, recorder_status

        labeller = learned.labeller()
        recorder = open_recorder(config, config.record.directory, labeller)
        closing.callback(close_recorder, recorder, labeller)
        sinks.append(recorder)

        def also() -> Sequence[SourceStatus]:
            return [*(line for line in recorder_status(recorder) if line.state != "ok"), *learned.status()]

    def make() -> LiveFeed:
        from dashboard.session import LiveFeed

        feed = LiveFeed(config, [*sinks, learned], labeller=learned.labeller())
        if page is not None:
            page.sink.watch(feed.health)
        return feed

    return _LateFeed(make, also)


def _notes(config: Config) -> Callable[[str, int], Event] | None:
    """Writes a note into the recording that this session makes. Raises OSError with what is wrong."""
    directory = config.record.directory
    if directory is None:
        return None

    def note(text: str, moment: int) -> Event:
        from collectors.store import RecordingError
        from exporters.notes import add_note

        for pause in _NOTE_PAUSES:
            try:
                return add_note(directory, text, moment)
            except RecordingError as problem:
                failure = problem
                time.sleep(pause)  # the interval itself may not have been written yet
        raise OSError(str(failure))

    return note


class _LateFeed:
    """A live session that is loaded when the first frame is on the screen: sooner would delay that."""

    live = True

    def __init__(self, make: Callable[[], LiveFeed], also: Callable[[], Sequence[SourceStatus]]) -> None:
        """`make` is called once, on a thread; `also` gives lines of what the session knows nothing about."""
        self._make = make
        self._also = also
        self._lock = threading.Lock()
        self._feed: LiveFeed | None = None
        self._stopped = False

    def start(self, deliver: Deliver) -> None:
        threading.Thread(target=self._start, args=(deliver,), name="session-start", daemon=True).start()

    def _start(self, deliver: Deliver) -> None:
        feed = self._make()
        with self._lock:
            if not self._stopped:
                self._feed = feed
                feed.start(deliver)
        all_is_loaded()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            feed = self._feed
        if feed is not None:
            feed.stop()

    def status(self) -> Sequence[SourceStatus]:
        return [*(self._feed.status() if self._feed is not None else ()), *self._also()]
