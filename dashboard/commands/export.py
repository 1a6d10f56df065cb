"""`phasetop export`: serve a Prometheus page, and record too where that is asked for."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dashboard.commands.common import StopSignals, all_is_loaded, configuration, narrate, sampling_arguments

if TYPE_CHECKING:
    from dashboard.session import Sink

_LOOK_SECONDS = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="ADDR:PORT", help="where to serve the page, 127.0.0.1:19417 by default")
    parser.add_argument("--record", metavar="DIR", help="record into this directory as well")
    sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    config = configuration(args).config
    from dashboard.commands.outputs import Narrator, close_recorder, open_recorder, recorder_status, serve_page
    from dashboard.learned import LearnedCosts
    from dashboard.session import LiveSession

    stop = StopSignals()
    learned = LearnedCosts.of_user()
    labeller = learned.labeller()
    with ExitStack() as closing:
        closing.callback(learned.close)
        page = serve_page(config)
        closing.callback(page.server.stop)
        sinks: list[Sink] = [page.sink]
        recorder = None
        if config.record.directory is not None:
            recorder = open_recorder(config, config.record.directory, labeller)
            closing.callback(close_recorder, recorder, labeller)
            sinks.append(recorder)
            narrate(f"recording into {config.record.directory}")
        session = LiveSession(config, [*sinks, learned], labeller=labeller)
        narrator = Narrator(
            lambda: [*session.status(), *(recorder_status(recorder) if recorder else ()), *learned.status()]
        )
        session.start()
        closing.callback(session.stop)
        all_is_loaded()
        narrate(f"serving {page.address.url}metrics")
        while not stop.wait(_LOOK_SECONDS):
            narrator.look()
    return 0
