"""`phasetop record DIR`: record without a dashboard."""

from __future__ import annotations

import argparse
import math
import time

from dashboard.commands.common import (
    CommandFailed,
    StopSignals,
    UsageError,
    all_is_loaded,
    configuration,
    narrate,
    sampling_arguments,
)

_LOOK_SECONDS = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", metavar="DIR", help="directory to record into; made if need be")
    parser.add_argument("--for", dest="length", metavar="10m", help="stop after so much has been recorded")
    sampling_arguments(parser)


def _length(text: str | None) -> float:
    """Seconds to record; infinite when none were asked for."""
    from dashboard.config_values import parse_duration

    try:
        return parse_duration(text) if text else math.inf
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None


def run(args: argparse.Namespace) -> int:
    config = configuration(args).config
    seconds = _length(args.length)
    from dashboard.commands.outputs import Narrator, close_recorder, open_recorder, recorder_status
    from dashboard.learned import LearnedCosts
    from dashboard.session import LiveSession

    directory = config.record.directory
    if directory is None:
        raise UsageError("DIR must not be empty")
    stop = StopSignals()
    learned = LearnedCosts.of_user()
    labeller = learned.labeller()
    recorder = open_recorder(config, directory, labeller)
    if (problem := recorder.status) is not None:
        recorder.close()
        raise CommandFailed(problem)
    session = LiveSession(config, [recorder, learned], labeller=labeller)
    narrate(f"recording into {directory}{f' for {args.length}' if args.length else ', until stopped with Ctrl-C'}")
    session.start()
    all_is_loaded()
    try:
        narrator = Narrator(lambda: [*session.status(), *recorder_status(recorder), *learned.status()])
        wanted = seconds / config.sampling.interval
        # The first interval begins at the next whole edge, and some may be missed: time counts then.
        deadline = time.monotonic() + seconds + 2 * config.sampling.interval
        while not stop.wait(_LOOK_SECONDS) and recorder.written < wanted and time.monotonic() < deadline:
            narrator.look()
    finally:
        session.stop()
        learned.close()
        close_recorder(recorder, labeller)
    narrate(f"{recorder.written} intervals are in {directory}; look at them with `phasetop replay {directory}`")
    return 0 if recorder.written else 1
