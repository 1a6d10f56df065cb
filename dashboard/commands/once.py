"""`phasetop once`: measure one interval and print it."""

from __future__ import annotations

import argparse
import json

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration, gpu_page_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the interval as one JSON object")
    parser.add_argument("--window", metavar="1s", default="1s", help="how long to measure, 250ms to 1m")
    parser.add_argument("--engine", metavar="URL", action="append", help="metrics page of an engine; repeatable")
    gpu_page_argument(parser)
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from dashboard.config_schema import KINDS

    config = configuration(args).config
    try:
        window = KINDS["sampling.interval"].read(args.window, Path())
    except ValueError as error:
        raise UsageError(f"--window: {error}") from None
    from dashboard.session import once

    tick = once(config, window=window)
    if tick is None:
        raise CommandFailed("the clock gave no interval: it was being set; try again")
    if args.json:
        from collectors.document import document

        print(json.dumps(document(tick), ensure_ascii=False))
    else:
        from dashboard.summary import summary

        print("\n".join(summary(tick)))
    return 0
