"""`phasetop web`: the dashboard in a browser, with the extra of that name."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys

from dashboard.commands.common import CommandFailed, UsageError, narrate

_SHOWN = ("live", "replay", "demo", "fleet")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="ADDR:PORT", default="127.0.0.1:19418", help="where to serve it, 127.0.0.1:19418 by default"
    )
    parser.add_argument(
        "--beyond-loopback", action="store_true",
        help="listen on an address that others reach: there is no password, and who sees the screen may press its keys",
    )  # fmt: skip
    parser.add_argument("--visitors", metavar="N", type=int, default=4, help="browsers at once, 1 to 64; 4 by default")
    parser.add_argument(
        "command", metavar="COMMAND ...", nargs=argparse.REMAINDER,
        help=f"what is shown, with its own flags: {', '.join(_SHOWN)}; live by default",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from dashboard.notation import parse_address

    try:
        address = parse_address(args.listen)
    except ValueError as error:
        raise UsageError(f"--listen: {error}") from None
    if not 1 <= args.visitors <= 64:
        raise UsageError(f"--visitors: {args.visitors} is out of range: it must be 1 to 64")
    shown = args.command or ["live"]
    if shown[0] not in _SHOWN:
        raise UsageError(f'"{shown[0]}" has no screen; {", ".join(_SHOWN)} have')
    try:
        from dashboard.web import WebServer, is_loopback
    except ModuleNotFoundError as missing:
        raise CommandFailed(f"{missing.name} is missing: pip install 'phasetop[web]'") from None
    if not is_loopback(address) and not args.beyond_loopback:
        raise UsageError(
            f"{address} can be reached from other machines, and there is no password: whoever sees the screen may "
            "press its keys. Forward the port instead (ssh -L 19418:127.0.0.1:19418 HOST), or say --beyond-loopback"
        )
    os.environ["LC_ALL"] = "C.UTF-8"  # a browser shows all there is, whatever the locale here
    command = [sys.executable, "-P", "-c", "from dashboard.cli import run; run()", *shown]

    def started(url: str) -> None:
        narrate(f"{url} shows phasetop {' '.join(shown)}; ctrl+c ends it")

    try:
        WebServer(shlex.join(command), address, visitors=args.visitors, started=started).serve()
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise CommandFailed(f"cannot listen on {address}: {reason}") from None
    return 0
