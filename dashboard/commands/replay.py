"""`phasetop replay PATH`: the dashboard of a recording, also of one that is still being written."""

from __future__ import annotations

import argparse
from pathlib import Path

from dashboard.commands.common import CommandFailed, config_argument, configuration
from dashboard.commands.playing import play, speed_of
from dashboard.commands.screen import screen_arguments, terminal_needed, ways


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
    speed = speed_of(args.speed, 1.0)
    terminal_needed(f"`phasetop dump {args.path} --format jsonl` prints the recording")
    chosen = ways(loaded)
    from collectors.replay import Recording
    from collectors.store import RecordingError

    try:
        recording = Recording(args.path, relabel=args.relabel)
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    with recording:
        return play(
            recording,
            loaded.config,
            chosen,
            at=args.at,
            speed=speed,
            playing=args.speed is not None,
            relabelled=args.relabel,
        )
