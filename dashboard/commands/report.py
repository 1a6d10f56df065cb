"""`phasetop report PATH`: what a recording, or what exporters told a Prometheus, says: text, JSON or one page."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.commands.common import (
    MOMENTS,
    CommandFailed,
    UsageError,
    config_argument,
    configuration,
    moment,
    narrate,
)
from dashboard.commands.prometheus import prometheus_arguments, span_of, study_of

if TYPE_CHECKING:
    from collectors.analysis.figures import Report
    from collectors.analysis.settings import Settings
    from collectors.replay import Recording
    from dashboard.config import Config, Fleet

FORMATS = ("text", "json", "html")
WIDTH = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help="a recording: a file or a directory; demo:NAME for one that ships"
    )
    prometheus_arguments(parser)
    parser.add_argument("--node", metavar="NAME", help="there, one node as `phasetop fleet` names it; else all of them")
    parser.add_argument("--format", choices=FORMATS, default="text", help="html: one page that needs no network")
    parser.add_argument(
        "--from", dest="start", metavar="T", help=f"first moment: {MOMENTS}; an hour before the last of a Prometheus"
    )
    parser.add_argument("--to", dest="end", metavar="T", help="moment to stop before; now of a Prometheus")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there instead of to standard output")
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from collectors.store import RecordingError

    config = configuration(args).config
    settings = settings_of(config)
    if args.path is None:
        write(rendered(_asked(args, config.fleet, settings), args.format), args.output)
        return 0
    if args.prometheus or args.node:
        raise UsageError("a recording and --prometheus (or --node) exclude one another")
    try:
        with ExitStack() as closing:
            made = _made(args, opened(args.path, closing), settings)
            made = replace(made, source=replace(made.source, path=args.path))
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    write(rendered(made, args.format), args.output)
    return 0


def _asked(args: argparse.Namespace, fleet: Fleet, settings: Settings) -> Report:
    """The report on what exporters told a Prometheus."""
    from collectors.analysis.report import report_of
    from dashboard.commands.progress import Bar

    if fleet.prometheus is None:
        raise UsageError("name a recording, or a Prometheus (--prometheus URL, or prometheus in [fleet])")
    span = span_of(args.start, args.end, ("--from", "--to"))
    bar = Bar("report", *(round(one * 1e9) for one in span))
    try:
        return report_of(study_of(fleet, args.node, span, settings, bar.see))
    finally:
        bar.clear()


def opened(told: str, closing: ExitStack) -> Recording:
    """A recording by its path, or a shipped one as demo:NAME. Raises RecordingError, UsageError."""
    from collectors.replay import Recording

    path = Path(told)
    if told.startswith("demo:") and not path.exists():
        from dashboard.commands.demo import DEMOS, unpacked

        name = told.removeprefix("demo:")
        if name not in DEMOS:
            raise UsageError(f'there is no demo "{name}"; there are {", ".join(DEMOS)}')
        path = unpacked(name, Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="phasetop-demo-"))))
    recording = closing.enter_context(Recording(path))
    for problem in recording.problems:
        narrate(problem)
    return recording


def settings_of(config: Config) -> Settings:
    """Prices and promises as configured."""
    from collectors.analysis.settings import Prices, Settings
    from dashboard.objectives import slo_book

    told = config.report
    prices = Prices(told.gpu_hour_price, told.electricity_price, told.pue, told.currency)
    return Settings(prices, slo_book(config.slo))


def _made(args: argparse.Namespace, recording: Recording, settings: Settings) -> Report:
    from collectors.analysis.report import report
    from collectors.analysis.study import Nothing
    from dashboard.commands.progress import Bar

    start, end = (moment(flag, text, recording) for flag, text in (("--from", args.start), ("--to", args.end)))
    began = recording.start if start is None else start
    bar = Bar("report", began, recording.end if end is None else min(end, recording.end))
    try:
        return report(recording, settings, start, end, seen=bar.see)
    except Nothing:
        raise CommandFailed("nothing was recorded in that stretch of time") from None
    finally:
        bar.clear()


def rendered(made: Report, form: str) -> str:
    if form == "json":
        from exporters.report_json import report_json

        return report_json(made)
    if form == "html":
        from exporters.report_html import report_html

        return report_html(made)
    from exporters.report_text import report_text

    return report_text(made, terminal_width())


def terminal_width() -> int:
    """Of the terminal where there is one; a width for files otherwise."""
    return min(140, shutil.get_terminal_size((WIDTH, 24)).columns) if sys.stdout.isatty() else WIDTH


def write(text: str, output: Path | None) -> None:
    """To a file or to standard output. Raises CommandFailed when the file cannot be written."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{output} cannot be written: {error.strerror or error}") from None
    narrate(f"{output}: {len(text.encode()) / 1e3:.0f} kB")
