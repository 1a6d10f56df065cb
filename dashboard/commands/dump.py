"""`phasetop dump PATH --format ...`: a recording, or a stretch of one, in another form."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dashboard.commands.common import MOMENTS, CommandFailed, UsageError, moment, narrate

if TYPE_CHECKING:
    from collectors.model import Tick
    from collectors.replay import Recording
    from exporters.redact import Redactor

FORMATS = ("jsonl", "csv", "openmetrics", "parquet", "recording")
_OF_TABLES = ("csv", "parquet")
_TO_FILES = ("parquet", "recording")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="a recording: a file or a directory")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        required=True,
        help="jsonl: one interval a line; csv, parquet: one table; openmetrics: for promtool tsdb create-blocks-from; "
        "recording: a stretch as a recording of its own",
    )
    parser.add_argument("--table", metavar="NAME", help="with csv and parquet: host, gpu, engine, label, event or gap")
    parser.add_argument("--from", dest="start", metavar="T", help=f"first moment: {MOMENTS}")
    parser.add_argument("--to", dest="end", metavar="T", help="moment to stop before")
    parser.add_argument("--every", metavar="15s", help="with openmetrics: at most one sample per so much time")
    parser.add_argument(
        "--redact", action="store_true", help="without names of hosts, models and users, command lines and notes"
    )
    parser.add_argument("--relabel", action="store_true", help="label anew by this version's rules")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    _check(args)
    import sqlite3

    from collectors.replay import Recording
    from collectors.store import RecordingError

    try:
        with Recording(args.path, relabel=args.relabel) as recording:
            for problem in recording.problems:
                narrate(problem)
            _dump(args, recording)
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    except FileExistsError as error:
        raise CommandFailed(f"{error.filename} exists; name another file, or remove it") from None
    except BrokenPipeError:
        raise
    except (OSError, sqlite3.Error) as error:
        place = args.output or "standard output"
        raise CommandFailed(f"{place} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be said before anything is opened."""
    from exporters.dump import TABLES

    if args.format in _OF_TABLES and not args.table:
        raise UsageError(f"--format {args.format} needs --table NAME")
    if args.format not in _OF_TABLES and args.table:
        raise UsageError("--table is for --format csv and --format parquet")
    if args.table and args.table not in TABLES:
        raise UsageError(f'--table: there is no table "{args.table}"; there are {", ".join(TABLES)}')
    if args.format in _TO_FILES and args.output is None:
        raise UsageError(f"--format {args.format} needs -o FILE")
    if args.every and args.format != "openmetrics":
        raise UsageError("--every is for --format openmetrics")


@dataclass(frozen=True, slots=True)
class _Watched:
    """The recording's ticks as they are to be written, with progress shown."""

    recording: Recording
    redactor: Redactor | None
    watch: Callable[[Iterator[Tick]], Iterator[Tick]]

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]:
        ticks = self.watch(self.recording.ticks(from_ns, to_ns))
        return ticks if self.redactor is None else map(self.redactor.tick, ticks)

    @property
    def host_name(self) -> str:
        name = self.recording.host_name
        return name if self.redactor is None else self.redactor.host(name)


def _dump(args: argparse.Namespace, recording: Recording) -> None:
    from dashboard.commands.progress import Progress

    start, end = (moment(flag, text, recording) for flag, text in (("--from", args.start), ("--to", args.end)))
    redactor = None
    if args.redact:
        from exporters.redact import Redactor

        redactor = Redactor()
    began = recording.start if start is None else start
    progress = Progress(args.format, began, recording.end if end is None else min(end, recording.end))
    if args.format == "recording":
        _excerpt(args.output, recording, start, end, redactor, progress)
        return
    watched = _Watched(recording, redactor, progress)
    if args.format == "parquet":
        _parquet(args, watched, start, end)
        return
    with ExitStack() as closing:
        out: TextIO = sys.stdout
        if args.output is not None:
            out = closing.enter_context(args.output.open("w", encoding="utf-8"))
        _text(args, watched, out, start, end)


def _text(args: argparse.Namespace, watched: _Watched, out: TextIO, start: int | None, end: int | None) -> None:
    if args.format == "csv":
        from exporters.dump import dump_csv

        dump_csv(watched, args.table, out, start, end)
    elif args.format == "jsonl":
        from exporters.dump import dump_jsonl

        dump_jsonl(watched, out, start, end)
    else:
        from dashboard import __version__
        from exporters.openmetrics_dump import dump_openmetrics

        labels = {"job": "phasetop", "instance": watched.host_name}
        dump_openmetrics(watched, out, start, end, every=_every(args.every), labels=labels, version=__version__)


def _every(text: str | None) -> float:
    from dashboard.notation import parse_duration

    if text is None:
        return 0.0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--every: {error}") from None


def _parquet(args: argparse.Namespace, watched: _Watched, start: int | None, end: int | None) -> None:
    try:
        from exporters.parquet_dump import dump_parquet
    except ImportError:
        raise CommandFailed("--format parquet needs pyarrow: pip install 'phasetop[parquet]'") from None
    dump_parquet(watched, args.table, args.output, start, end)


def _excerpt(
    output: Path,
    recording: Recording,
    start: int | None,
    end: int | None,
    redactor: Redactor | None,
    progress: Callable[[Iterator[Tick]], Iterator[Tick]],
) -> None:
    from dashboard import __version__
    from exporters.excerpt import SeveralRuns, write_excerpt

    try:
        made = write_excerpt(recording, output, start, end, redactor=redactor, version=__version__, watch=progress)
    except SeveralRuns as error:
        raise CommandFailed(f"{error}; name a directory that exists with -o") from None
    if not made.files:
        raise CommandFailed("nothing was recorded in that stretch of time")
    files = ", ".join(str(path) for path in made.files)
    narrate(f"{files}: {made.intervals} intervals")
