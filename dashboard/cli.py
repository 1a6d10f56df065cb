"""The command line: `phasetop COMMAND ...`; without a command, `live`.

Standard output is data, standard error is narration. Exit codes: 0 fine, 1 failed, 2 wrong usage
or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from dashboard import __version__
from dashboard.commands.common import CommandFailed, UsageError

COMMANDS: Mapping[str, str] = {
    "live": "the dashboard of this machine (the default)",
    "export": "serve a Prometheus page, without a dashboard",
    "record": "record without a dashboard",
    "replay": "the dashboard of a recording, also of one still being written",
    "fleet": "the dashboard of many nodes, by Prometheus",
    "import": "saved metrics pages into a recording",
    "once": "measure one interval and print it",
    "dump": "a recording, or a stretch of it, in another form",
    "report": "what a recording says, and what to change",
    "diff": "two recordings, or two stretches of one, side by side",
    "repair": "save what can be read of a damaged recording",
    "demo": "the dashboard of a recording that ships with phasetop",
    "note": "put a note into a recording: what was changed, and when",
    "web": "the dashboard in a browser, with the extra phasetop[web]",
    "doctor": "what can be measured here, what cannot, why, and the remedy",
    "config": "check or show the configuration, or where it is looked for",
}
_MODULES: Mapping[str, str] = {"import": "import_pages"}  # `import` is a keyword
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def run() -> None:
    """The console script."""
    # Loading makes much that stays and hardly any garbage: to look for some all the time is a tenth of the start.
    gc.set_threshold(50_000)
    code = main(sys.argv[1:])
    _let_go(sys.stderr)
    sys.exit(code)


def _let_go(stream: TextIO | None) -> None:
    """Nothing more can be told on a terminal that went away, and that makes no failure of what went well."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code. Wrong flags raise SystemExit(2), as argparse does."""
    first = argv[0] if argv else ""
    if first in ("-h", "--help", "-V", "--version"):
        _top().parse_args(argv)
    named = bool(first) and not first.startswith("-")
    name, rest = (first, argv[1:]) if named else ("live", argv)
    try:
        if name not in COMMANDS:
            raise UsageError(_no_such_command(name))
        module = importlib.import_module(f"dashboard.commands.{_MODULES.get(name, name)}")
        summary = COMMANDS[name]
        parser = argparse.ArgumentParser(
            prog=f"phasetop {name}", description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
        )
        module.arguments(parser)
        code = int(module.run(parser.parse_args(rest)))
        sys.stdout.flush()
        return code
    except CommandFailed as failure:
        print(f"phasetop{' ' + name if name in COMMANDS else ''}: {failure}", file=sys.stderr)
        return failure.exit_code
    except BrokenPipeError:
        # Whoever read us has seen enough (`phasetop dump ... | head`); the last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        print(f"phasetop {name}: standard output cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _top() -> argparse.ArgumentParser:
    """What `phasetop --help` shows; the commands' own flags are declared by their modules."""
    parser = argparse.ArgumentParser(
        prog="phasetop",
        description="What the hardware's time goes into, prefill or decode, and what holds it back.",
        epilog="`phasetop COMMAND --help` lists the flags of one command.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"phasetop {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def _no_such_command(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
    return f'there is no command "{name}"; {remedy}'
