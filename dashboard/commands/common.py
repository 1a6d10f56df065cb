"""What several commands share: how they fail, and the flags that set configuration."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.replay import Recording
    from dashboard.config import ConfigError, Loaded


MOMENTS = '"10m ago", 03:12, 2026-05-01T03:12 or seconds since 1970'
"""What a moment may be given as, in the words of a help text."""


class CommandFailed(Exception):
    """The command could not do its work. The message says what, where and what to do."""

    exit_code = 1


class UsageError(CommandFailed):
    """The command was asked for something it cannot do as asked."""

    exit_code = 2


def narrate(message: str) -> None:
    """A line for the person at the terminal; standard output is kept for data."""
    print(message, file=sys.stderr, flush=True)


def config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, help="a configuration file read after the standard ones")


def sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that measures."""
    parser.add_argument("--interval", metavar="1s", help="from one sample to the next, 250ms to 1m")
    parser.add_argument(
        "--engine", metavar="URL", action="append", help="metrics page of an engine, besides those found; repeatable"
    )
    gpu_page_argument(parser)
    config_argument(parser)


def log_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-format", metavar="text|json", help="how standard error is written, text by default")


def gpu_page_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu-page",
        metavar="URL",
        action="append",
        help="metrics page of a GPU exporter, besides those found; repeatable",
    )


# Attribute of the parsed arguments -> (flag, key it sets, value when the flag takes none).
_FLAGS: Mapping[str, tuple[str, str, bool | None]] = {
    "interval": ("--interval", "sampling.interval", None),
    "engine": ("--engine", "engine.urls", None),
    "gpu_page": ("--gpu-page", "gpu.pages", None),
    "record": ("--record", "record.directory", None),
    "listen": ("--listen", "server.listen", None),
    "log_format": ("--log-format", "log.format", None),
    "prometheus": ("--prometheus", "fleet.prometheus", None),
    "match": ("--match", "fleet.match", None),
    "token_file": ("--token-file", "fleet.token_file", None),
    "token_env": ("--token-env", "fleet.token_env", None),
    "header_file": ("--header-file", "fleet.header_file", None),
    "ca_file": ("--ca-file", "fleet.ca_file", None),
    "insecure": ("--insecure", "fleet.insecure", True),
    "price": ("--price", "fleet.gpu_hour_price", None),
    "refresh": ("--refresh", "fleet.refresh", None),
    "ascii": ("--ascii", "tui.ascii", True),
    "no_mouse": ("--no-mouse", "tui.mouse", False),
}


def configuration(args: argparse.Namespace) -> Loaded:
    """The configuration with this command's flags on top. Raises UsageError with everything wrong."""
    from dashboard.config import ConfigError, Flag, load

    flags = {
        key: Flag(flag, value if fixed is None else fixed)
        for name, (flag, key, fixed) in _FLAGS.items()
        if (value := getattr(args, name, None))
    }
    try:
        return load(environment=os.environ, config_file=args.config, flags=flags)
    except ConfigError as error:
        raise UsageError(listed(error)) from None


def listed(error: ConfigError) -> str:
    """All the problems of a configuration, one a line."""
    if len(error.problems) == 1:
        return str(error.problems[0])
    return "\n  ".join(["the configuration cannot be used:", *(str(problem) for problem in error.problems)])


def moment(flag: str, text: str | None, recording: Recording) -> int | None:
    """The moment a flag names in a recording, in wall-clock ns; None when the flag was not given."""
    from dashboard.timespec import parse_time

    if text is None:
        return None
    try:
        return parse_time(text, start=recording.start, end=recording.end, zone=recording.zone)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None


def all_is_loaded() -> None:
    """For a command that goes on: collections come as often as usual, and leave alone what is there by now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 10)  # Python's own
