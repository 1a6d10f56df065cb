"""`phasetop export`: serve a Prometheus page, and record too where that is asked for."""

from __future__ import annotations

import argparse

from dashboard.commands.common import configuration, log_argument, sampling_arguments
from dashboard.commands.log import OURSELVES, Log
from dashboard.commands.signals import Signals

_LOOK_SECONDS = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="ADDR:PORT", help="where to serve the page, 127.0.0.1:19417 by default")
    parser.add_argument("--record", metavar="DIR", help="record into this directory as well")
    log_argument(parser)
    sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    config = configuration(args).config
    from dashboard.commands.daemon import Daemon

    signals = Signals(reloads=True)
    log = Log(config.log.format)
    daemon = Daemon(config, log, serves=True)
    with daemon.running():
        log.info(OURSELVES, f"serving {daemon.url}metrics")
        while (asked := signals.wait(_LOOK_SECONDS)) != "stop":
            if asked == "reload":
                daemon.reload(lambda: configuration(args).config)
            daemon.look()
    return 0
