"""`phasetop note DIR TEXT`: put a note into a recording."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dashboard.commands.common import CommandFailed, UsageError, moment, narrate

_RECENT_NS = 60_000_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="DIR", type=Path, help="a recording: a directory or a file")
    parser.add_argument("text", metavar="TEXT", help='what happened, such as "deployed 1.4.2"')
    parser.add_argument("--at", metavar="T", help="when it happened, now if not given; as in `phasetop replay --at`")


def run(args: argparse.Namespace) -> int:
    from collectors.replay import Recording
    from collectors.store import RecordingError
    from exporters.notes import add_note

    if not args.text.strip():
        raise UsageError("TEXT must not be empty")
    now = time.time_ns()
    try:
        with Recording(args.path) as recording:
            at = moment("--at", args.at, recording)
            if at is None and now > recording.end + _RECENT_NS:
                raise UsageError("this recording has ended; say with --at when it happened")
        event = add_note(args.path, args.text, now if at is None else at)
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    narrate(f"noted in {args.path}: {event.text}")
    return 0
