"""`phasetop doctor`: what can be measured here, what cannot, why, and the remedy."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dashboard.commands.common import config_argument, configuration, gpu_page_argument

if TYPE_CHECKING:
    from dashboard.config import Loaded
    from dashboard.doctor.finding import Finding


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    parser.add_argument("--ascii", action="store_true", help="mark levels with ASCII characters")
    parser.add_argument("--engine", metavar="URL", action="append", help="metrics page of an engine; repeatable")
    gpu_page_argument(parser)
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    from dashboard.doctor.finding import document, lines

    loaded = configuration(args)
    findings = _findings(loaded)
    if args.json:
        print(json.dumps(document(findings), ensure_ascii=False))
        return 0
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    for line in lines(findings, ascii_only=loaded.config.tui.ascii or encoding != "utf8"):
        print(line, flush=True)  # each as it is found: a driver or a page may take seconds
    return 0


def _findings(loaded: Loaded) -> Iterator[Finding]:
    from collectors.cgroup import find_limits
    from dashboard.doctor import gpus, pages, surroundings

    config = loaded.config
    yield from surroundings.program()
    yield from gpus.examine(config)
    yield from pages.examine(config)
    yield from surroundings.pressure()
    yield from surroundings.limits(find_limits())
    yield from surroundings.terminal(os.environ)
    yield from surroundings.recording(config)
    yield from surroundings.configuration(loaded)
