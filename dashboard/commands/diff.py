"""`phasetop diff A[@FROM..TO] B[@FROM..TO]`: two recordings, or two stretches of one, side by side."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration, moment
from dashboard.commands.prometheus import prometheus_arguments, span_of, study_of
from dashboard.commands.report import FORMATS, opened, settings_of, terminal_width, write

if TYPE_CHECKING:
    from collectors.analysis.figures import Difference
    from collectors.analysis.settings import Settings
    from collectors.replay import Recording
    from dashboard.config import Fleet

_FORM = "a recording, or a stretch of one: PATH@FROM..TO, either end optional; with --prometheus [NODE]@FROM..TO"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help=f"before: {_FORM}")
    parser.add_argument("b", metavar="B", help="after: likewise")
    prometheus_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="html: one page that needs no network")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there instead of to standard output")
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from collectors.analysis.diff import difference
    from collectors.analysis.study import Nothing, study
    from collectors.store import RecordingError
    from dashboard.commands.progress import Bar

    config = configuration(args).config
    settings = settings_of(config)
    if args.prometheus:
        write(rendered(_asked(args, config.fleet, settings), args.format), args.output)
        return 0
    try:
        with ExitStack() as closing:
            stretches = [_stretch(name, told, closing) for name, told in (("A", args.a), ("B", args.b))]
            ends = [(one[0].start if one[1] is None else one[1], one[0].end if one[2] is None else one[2])
                    for one in stretches]  # fmt: skip
            bar = Bar("diff", min(begin for begin, _ in ends), max(end for _, end in ends))
            closing.callback(bar.clear)
            first, second = (study(one[0], settings, one[1], one[2], seen=bar.see) for one in stretches)
            made = difference(first, second)
            made = replace(made, a=replace(made.a, path=args.a), b=replace(made.b, path=args.b))
    except Nothing:
        raise CommandFailed("nothing was recorded in one of the two stretches of time") from None
    except RecordingError as error:
        raise CommandFailed(str(error)) from None
    write(rendered(made, args.format), args.output)
    return 0


def _asked(args: argparse.Namespace, fleet: Fleet, settings: Settings) -> Difference:
    """The difference of two stretches of what exporters told a Prometheus, of the same nodes or of others."""
    from collectors.analysis.diff import difference
    from dashboard.commands.progress import Bar

    stretches = []
    for name, told in (("A", args.a), ("B", args.b)):
        node, _, span = told.rpartition("@")
        start, dots, end = span.partition("..")
        if "@" not in told or not dots:
            raise UsageError(f"{name}: with --prometheus write [NODE]@FROM..TO, not {told!r}")
        stretches.append((node or None, span_of(start or None, end or None, (f"{name}: FROM", "TO"))))
    spans = [span for _, span in stretches]
    bar = Bar("diff", round(min(one[0] for one in spans) * 1e9), round(max(one[1] for one in spans) * 1e9))
    try:
        return difference(*(study_of(fleet, node, span, settings, bar.see) for node, span in stretches))
    finally:
        bar.clear()


def _stretch(name: str, told: str, closing: ExitStack) -> tuple[Recording, int | None, int | None]:
    """A recording and the wall-clock ns between which it is looked at."""
    path, at, span = told.rpartition("@")
    if not at or Path(told).exists():
        path, span = told, ""
    start, dots, end = span.partition("..")
    if span and not dots:
        raise UsageError(f"{name}: write PATH@FROM..TO; there is no .. in {span!r}")
    recording = opened(path, closing)
    return recording, moment(name, start or None, recording), moment(name, end or None, recording)


def rendered(made: Difference, form: str) -> str:
    if form == "json":
        from exporters.report_json import difference_json

        return difference_json(made)
    if form == "html":
        from exporters.report_html import difference_html

        return difference_html(made)
    from exporters.report_text import difference_text

    return difference_text(made, terminal_width())
