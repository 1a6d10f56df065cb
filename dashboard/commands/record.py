"""`phasetop record DIR`: record without a dashboard."""

from __future__ import annotations

import argparse
import math
import time

from dashboard.commands.common import UsageError, configuration, log_argument, sampling_arguments
from dashboard.commands.log import OURSELVES, Log
from dashboard.commands.signals import Signals

_LOOK_SECONDS = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", metavar="DIR", help="directory to record into; made if need be")
    parser.add_argument("--for", dest="length", metavar="10m", help="stop after so much has been recorded")
    log_argument(parser)
    sampling_arguments(parser)


def _length(text: str | None) -> float:
    """Seconds to record; infinite when none were asked for."""
    from dashboard.notation import parse_duration

    try:
        return parse_duration(text) if text else math.inf
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None


def run(args: argparse.Namespace) -> int:
    config = configuration(args).config
    seconds = _length(args.length)
    from dashboard.commands.daemon import Daemon

    directory = config.record.directory
    if directory is None:
        raise UsageError("DIR must not be empty")
    signals = Signals(reloads=True)
    log = Log(config.log.format)
    daemon = Daemon(config, log, serves=False)
    log.info(OURSELVES, f"until stopped{f', or for {args.length}' if args.length else ' with Ctrl-C'}")
    with daemon.running():
        wanted = seconds / config.sampling.interval
        # The first interval begins at the next whole edge, and some may be missed: time counts then.
        deadline = time.monotonic() + seconds + 2 * config.sampling.interval
        while (asked := signals.wait(_LOOK_SECONDS)) != "stop":
            if asked == "reload":
                daemon.reload(lambda: configuration(args).config)
            daemon.look()
            if daemon.recordings.written >= wanted or time.monotonic() >= deadline:
                break
    written = daemon.recordings.written
    log.info(OURSELVES, f"{written} intervals are in {directory}; look at them with `phasetop replay {directory}`")
    return 0 if written else 1
