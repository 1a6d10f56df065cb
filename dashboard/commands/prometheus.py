"""What commands that ask a Prometheus share: flags, the client, and reports on what exporters told it."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from collectors.clock import NANO
from dashboard.commands.common import CommandFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from collectors.analysis.settings import Settings
    from collectors.analysis.study import Study
    from collectors.engine.credentials import Credentials
    from collectors.promql import PromClient
    from dashboard.config import Fleet

_PATIENCE = 60.0
"""Seconds for an answer: one about a day takes a server longer than one about now."""
_DAY, _HOUR = 86_400, 3600


def prometheus_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prometheus", metavar="URL", help="the Prometheus to ask, or what speaks its API")
    parser.add_argument("--match", metavar="MATCHERS", help="""the nodes' series there, 'job="phasetop"' by default""")
    parser.add_argument("--token-file", metavar="FILE", help="file with the bearer token that is asked for")
    parser.add_argument("--token-env", metavar="NAME", help="environment variable with that token")
    parser.add_argument("--header-file", metavar="FILE", help="file of `Name: value` lines to send along")
    parser.add_argument("--ca-file", metavar="FILE", help="authorities that may have signed its certificate (PEM)")
    parser.add_argument("--insecure", action="store_true", help="do not verify its certificate")


def credentials_of(fleet: Fleet, userinfo: str | None = None) -> Credentials:
    from collectors.engine.credentials import Credentials

    return Credentials(
        userinfo=userinfo, token_variable=fleet.token_env, token_file=fleet.token_file, header_file=fleet.header_file
    )


def client_of(fleet: Fleet, timeout: float) -> PromClient:
    """A client for the configured server, which gives up after so many seconds."""
    from collectors.promql import PromClient

    url = fleet.prometheus
    credentials = credentials_of(fleet, getattr(url, "userinfo", None))
    return PromClient(
        str(url), headers=credentials, verify=fleet.ca_file or not fleet.insecure, timeout=timeout,
        lookback=fleet.lookback,
    )  # fmt: skip


def span_of(start: str | None, end: str | None, flags: tuple[str, str]) -> tuple[float, float]:
    """The moments that two texts name, in seconds since 1970: up to now, and an hour, where they are not given.

    A time of day is its latest occurrence. Raises UsageError.
    """
    now = time.time_ns()
    until = now if end is None else _moment(flags[1], end, now)
    begin = until - _HOUR * NANO if start is None else _moment(flags[0], start, now)
    if begin >= until:
        raise UsageError(f"{flags[0]}: it must be before {flags[1]}")
    return begin / NANO, until / NANO


def _moment(flag: str, text: str, now: int) -> int:
    from collectors.timezone import local_zone_name, zone_of
    from dashboard.timespec import parse_time

    try:
        return parse_time(text, start=now - _DAY * NANO, end=now, zone=zone_of(local_zone_name()))
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None


def study_of(
    fleet: Fleet, node: str | None, span: tuple[float, float], settings: Settings, seen: Callable[[int], None]
) -> Study:
    """What the exporters told between two moments, of one node or of all. Raises CommandFailed."""
    from collectors.analysis.exported import NoSuchNode, Stretch, study
    from collectors.analysis.study import Nothing
    from collectors.fleet.queries import Target
    from collectors.promql import PromProblem
    from collectors.timezone import local_zone_name

    with ExitStack() as closing:
        client = client_of(fleet, max(_PATIENCE, fleet.timeout))
        closing.callback(client.close)
        stretch = Stretch(Target(fleet.match, fleet.node_labels), *span, node)
        try:
            return study(client, stretch, settings, time_zone=local_zone_name(), seen=seen)
        except PromProblem as problem:
            raise CommandFailed(f"{fleet.prometheus}: {problem.reason}") from None
        except NoSuchNode as problem:
            raise CommandFailed(f"{fleet.prometheus}: {problem}") from None
        except Nothing:
            raise CommandFailed(
                f"{fleet.prometheus}: no exporter's series with {fleet.match} in that stretch of time (see --match)"
            ) from None
