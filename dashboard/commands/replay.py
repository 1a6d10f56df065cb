"""`phasetop replay PATH`: the dashboard of a recording, also of one that is still being written."""

from __future__ import annotations

import argparse
from pathlib import Path

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration, moment
from dashboard.commands.screen import run_app, screen_arguments, terminal_needed, ways

_SPEEDS = (0.25, 64.0)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="a recording: a file or a directory")
    parser.add_argument(
        "--at", metavar="T", help='where to begin: "10m ago", 03:12, 2026-05-01T03:12, seconds since 1970; else the end'
    )
    parser.add_argument(
        "--speed", metavar="N", type=float, help="play at once, N recorded seconds a second, 0.25 to 64"
    )
    parser.add_argument("--relabel", action="store_true", help="label anew by this version's rules")
    screen_arguments(parser)
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    loaded = configuration(args)
    config = loaded.config
    if args.speed is not None and not _SPEEDS[0] <= args.speed <= _SPEEDS[1]:
        raise UsageError(f"--speed: {args.speed:g} is out of range: it must be {_SPEEDS[0]:g} to {_SPEEDS[1]:g}")
    terminal_needed(f"`phasetop dump {args.path} --format jsonl` prints the recording")
    chosen = ways(loaded)
    from collectors.replay import Recording
    from collectors.store import RecordingError

    try:
        recording = Recording(args.path, relabel=args.relabel)
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    with recording:
        at = moment("--at", args.at, recording)
        from dashboard.app import PhasetopApp
        from dashboard.objectives import slo_book
        from dashboard.replay_feed import ReplayFeed
        from dashboard.scrub import origin

        feed = ReplayFeed(recording, at=at, speed=args.speed or 1.0, playing=args.speed is not None,
                          origin=origin(recording, relabelled=args.relabel))  # fmt: skip
        app = PhasetopApp(
            feed,
            title_host=feed.host_name,
            ascii=config.tui.ascii,
            zone=feed.zone,
            interval=feed.interval,
            slo=slo_book(config.slo),
            ways=chosen,
        )
        return run_app(app, mouse=config.tui.mouse)
