"""`phasetop repair FILE -o NEW`: save what can be read of a damaged recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from dashboard.commands.common import CommandFailed, narrate


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE", type=Path, help="a recording file that is torn or cut short")
    parser.add_argument("-o", "--output", metavar="NEW", type=Path, required=True, help="the file to make")


def run(args: argparse.Namespace) -> int:
    import sqlite3

    from collectors.replay import Recording
    from collectors.store import RecordingError
    from dashboard.timespec import shown
    from exporters.repair import repair

    try:
        done = repair(args.path, args.output)
        with Recording(args.output) as recording:
            zone = recording.zone
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    except FileExistsError as error:
        raise CommandFailed(f"{error.filename} exists; name another file, or remove it") from None
    except (OSError, sqlite3.Error) as error:
        raise CommandFailed(f"{args.output} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    lost = f"; {done.lost} before the last of them could not be read" if done.lost else ""
    span = f"from {shown(done.start, zone)} to {shown(done.end, zone)}"
    narrate(f"{args.output}: {done.saved} intervals, {span}{lost}")
    return 0
