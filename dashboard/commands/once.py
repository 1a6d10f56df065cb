"""`phasetop once`: measure one interval and print it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration, gpu_page_argument

if TYPE_CHECKING:
    from collectors.model import Tick


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
    from dashboard.nvml import nvml_reader

    nvml = nvml_reader(config)
    if nvml is not None:
        nvml.start()  # NVML takes the longest, in a process of its own: what follows is loaded meanwhile
    from dashboard.learned import LearnedCosts
    from dashboard.single import once

    written = _json if args.json else _words
    tick = once(config, window=window, nvml=nvml, meanwhile=written, learned=LearnedCosts.of_user())
    if tick is None:
        raise CommandFailed("the clock gave no interval: it was being set; try again")
    print(written()(tick))
    return 0


def _json() -> Callable[[Tick], str]:
    """Loads what writes an interval as JSON."""
    import json

    from collectors.document import document

    return lambda tick: json.dumps(document(tick), ensure_ascii=False)


def _words() -> Callable[[Tick], str]:
    """Loads what writes an interval for a person."""
    from dashboard.summary import summary

    return lambda tick: "\n".join(summary(tick))
