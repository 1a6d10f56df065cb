"""`phasetop import FILE... -o RECORDING`: saved metrics pages into a recording."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration, narrate

if TYPE_CHECKING:
    from collectors.model import Interval
    from collectors.slo import SloBook
    from exporters.recording_file import RecordingFile

_CHECKPOINT_NS = 60_000_000_000
_COMPLAINTS = 10


class _Complaints:
    """Tells the first few; a file of another kind would otherwise bring one a line."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, message: str) -> None:
        self.count += 1
        if self.count <= _COMPLAINTS:
            narrate(message)

    def end(self) -> None:
        if self.count > _COMPLAINTS:
            narrate(f"{self.count - _COMPLAINTS} more lines could not be read")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path,
        help='JSON lines, also .gz: {"t": epoch seconds, "text": page}; or what nvidia-smi dmon, dcgmi dmon'
        " or nvidia-smi --query-gpu printed",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="RECORDING", required=True, type=Path, help="file to make, or a directory for it"
    )
    parser.add_argument("--interval", metavar="1s", default="1s", help="length of the intervals to make")
    parser.add_argument("--engine", metavar="URL", help="address of pages whose lines name none")
    parser.add_argument(
        "--dmon-delay", metavar="1s", default="1s", help="between two rounds of such a table that tells no times"
    )
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from collectors.importer import ImportFailed, import_intervals
    from collectors.store import RecordingError
    from dashboard.config_schema import KINDS
    from dashboard.notation import parse_duration

    try:
        seconds = KINDS["sampling.interval"].read(args.interval, Path())
    except ValueError as error:
        raise UsageError(f"--interval: {error}") from None
    try:
        delay = parse_duration(args.dmon_delay)
    except ValueError as error:
        raise UsageError(f"--dmon-delay: {error}") from None
    if delay <= 0:
        raise UsageError("--dmon-delay: more than nothing is meant")
    from dashboard.objectives import slo_book

    # Of the configuration only the promised latencies matter here: its intervals are those of sampling.
    objectives = slo_book(configuration(argparse.Namespace(config=args.config)).config.slo)
    complaints = _Complaints()
    intervals = import_intervals(args.files, interval=seconds, engine=args.engine, dmon_delay=delay, warn=complaints)
    try:
        written, path = _record(intervals, args.output, objectives)
    except (ImportFailed, RecordingError) as error:
        raise CommandFailed(str(error)) from None
    except FileExistsError as error:
        raise CommandFailed(f"{error.filename} exists; name another file, or remove it") from None
    except OSError as error:
        raise CommandFailed(f"{args.output} cannot be written: {error.strerror}") from None
    finally:
        complaints.end()
    narrate(f"{path}: {written} intervals; look at them with `phasetop replay {path}`")
    return 0


def _record(intervals: Iterator[Interval], output: Path, objectives: SloBook) -> tuple[int, Path]:
    """Label the intervals and write them; how many there were, and the file they are in."""
    from dataclasses import replace

    from collectors.phase.label import Labeller
    from collectors.store import remove
    from collectors.watch import Watch

    labeller, watch = Labeller(), Watch(objectives)
    file: RecordingFile | None = None
    checkpoint_due = 0
    try:
        for interval in intervals:
            tick = labeller.push(interval)
            tick = replace(tick, events=(*tick.events, *watch.push(tick)))
            if file is None:
                file = _begin(output, interval)
            is_due = interval.end >= checkpoint_due
            if is_due:
                checkpoint_due = interval.end + _CHECKPOINT_NS
            file.write(tick, checkpoint=labeller.checkpoint() if is_due else None)
        if file is None:  # the importer refuses input without a single page, so this says what it would have said
            raise CommandFailed("there is no page to import")
        file.settle(labeller.flush())
        file.close()
    except BaseException:
        if file is not None:  # half a conversion is nobody's recording, and would be in the way of the next try
            file.abandon()
            remove(file.path)
        raise
    return file.intervals, file.path


def _begin(output: Path, first: Interval) -> RecordingFile:
    import uuid

    from collectors.phase.label import phase_seconds
    from collectors.store import file_name
    from collectors.timezone import local_zone_name
    from dashboard import __version__
    from exporters.recording_file import Origin, RecordingFile

    path = output / file_name(first.start) if output.is_dir() else output
    origin = Origin("imported", local_zone_name(), uuid.uuid4().hex, phasetop_version=__version__)
    return RecordingFile(path, origin, first, phase_seconds=phase_seconds)
