"""`phasetop dump PATH --format jsonl|csv`: a recording as text."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.commands.common import CommandFailed, UsageError, moment

if TYPE_CHECKING:
    from collectors.replay import Recording

FORMATS = ("jsonl", "csv")
_MOMENT = '"10m ago", 03:12, 2026-05-01T03:12 or seconds since 1970'


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="a recording: a file or a directory")
    parser.add_argument(
        "--format", choices=FORMATS, required=True, help="JSON, one interval a line; or one table as CSV"
    )
    parser.add_argument("--table", metavar="NAME", help="with csv: host, gpu, engine, label, event or gap")
    parser.add_argument("--from", dest="start", metavar="T", help=f"first moment: {_MOMENT}")
    parser.add_argument("--to", dest="end", metavar="T", help="moment to stop before")
    parser.add_argument("--relabel", action="store_true", help="label anew by this version's rules")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    if (args.format == "csv") != bool(args.table):
        raise UsageError("--format csv needs --table NAME" if args.format == "csv" else "--table is for --format csv")
    from collectors.replay import Recording
    from collectors.store import RecordingError
    from dashboard.commands.common import narrate
    from exporters.dump import TABLES

    if args.table and args.table not in TABLES:
        raise UsageError(f'--table: there is no table "{args.table}"; there are {", ".join(TABLES)}')
    try:
        with Recording(args.path, relabel=args.relabel) as recording:
            for problem in recording.problems:
                narrate(problem)
            _write(args, recording)
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    return 0


def _write(args: argparse.Namespace, recording: Recording) -> None:
    from exporters.dump import dump_csv, dump_jsonl

    start, end = (moment(flag, text, recording) for flag, text in (("--from", args.start), ("--to", args.end)))
    with ExitStack() as closing:
        out = sys.stdout
        if args.output is not None:
            try:
                out = closing.enter_context(args.output.open("w", encoding="utf-8"))
            except OSError as error:
                raise CommandFailed(f"{args.output} cannot be written: {error.strerror}") from None
        if args.table:
            dump_csv(recording, args.table, out, start, end)
        else:
            dump_jsonl(recording, out, start, end)
