"""`phasetop fleet`: many nodes in one terminal, from a Prometheus or from their exporters."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration
from dashboard.commands.prometheus import client_of, credentials_of, prometheus_arguments
from dashboard.commands.screen import run_app, screen_arguments, terminal_needed, ways

if TYPE_CHECKING:
    from collectors.fleet.watch import FleetSource
    from collectors.slo import SloBook
    from dashboard.config import Fleet, Loaded
    from dashboard.fleet_app import OpenNode

_ACCESS = ("token_file", "token_env", "header_file", "ca_file", "insecure")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", metavar="HOST:PORT", nargs="*", help="exporters to read directly, 64 at most")
    parser.add_argument("--targets", metavar="FILE", type=Path, help="exporters from a file_sd file (JSON or YAML)")
    prometheus_arguments(parser)
    parser.add_argument("--price", metavar="N", help="what an hour of one GPU costs, in any currency")
    parser.add_argument("--refresh", metavar="10s", help="from one look to the next, 1s to 10m")
    screen_arguments(parser)
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    loaded = configuration(args)
    is_direct = bool(args.nodes) or args.targets is not None
    fleet = _for_exporters(loaded) if is_direct else loaded.config.fleet
    if is_direct and args.prometheus:
        raise UsageError("--prometheus and exporters to read directly exclude one another")
    if not is_direct and fleet.prometheus is None:
        raise UsageError("name a Prometheus (--prometheus URL, or prometheus in [fleet]), or exporters as HOST:PORT")
    from dashboard.objectives import slo_book

    book = slo_book(loaded.config.slo)
    source, where, open_node = (
        _direct(args.nodes, args.targets, fleet, book) if is_direct else _prometheus(fleet, book)
    )  # fmt: skip
    terminal_needed("phasetop report --prometheus URL writes figures of all nodes")
    from collectors.fleet.watch import FleetWatch
    from collectors.timezone import local_zone_name, zone_of
    from dashboard.fleet_app import FleetApp
    from dashboard.fleet_board import FleetBoard

    board = FleetBoard(price=fleet.gpu_hour_price, where=where, has_past=source.has_past,
                       scrape_interval=source.scrape_interval, refresh=fleet.refresh)  # fmt: skip
    app = FleetApp(
        lambda take: FleetWatch(source, take, interval=fleet.refresh),
        board,
        open_node,
        ascii=loaded.config.tui.ascii,
        zone=zone_of(local_zone_name()),
        slo=book,
        ways=ways(loaded),
    )
    return run_app(app, mouse=loaded.config.tui.mouse)


def _for_exporters(loaded: Loaded) -> Fleet:
    """The settings for exporters read directly.

    Where a file or the environment names a Prometheus, what stands beside it is that server's: its token is
    for no exporter, and neither is the leave not to verify certificates. Flags are meant for what they stand by.
    """
    fleet = loaded.config.fleet
    if fleet.prometheus is None:
        return fleet
    usual = type(fleet)()
    servers = [name for name in _ACCESS if not loaded.origins[f"fleet.{name}"].source.startswith("--")]
    return replace(fleet, **{name: getattr(usual, name) for name in servers})


def _prometheus(fleet: Fleet, book: SloBook) -> tuple[FleetSource, str, OpenNode]:
    from collectors.clock import NANO
    from collectors.fleet.past import NodePast
    from collectors.fleet.prometheus import PrometheusFleet
    from collectors.fleet.queries import Target
    from collectors.timezone import local_zone_name, zone_of
    from dashboard.replay_feed import ReplayFeed

    target = Target(fleet.match, fleet.node_labels)
    source = PrometheusFleet(client_of(fleet, fleet.timeout), target)

    def open_node(name: str, at: float | None) -> ReplayFeed:
        past = NodePast(
            client_of(fleet, fleet.timeout), target, source.key_of(name), name=name, step=source.scrape_interval,
            zone=zone_of(local_zone_name()), book=book, at=at or time.time(),
        )  # fmt: skip
        begin = None if at is None else round(at * NANO)
        feed = ReplayFeed(past, at=begin, origin=f"from {fleet.prometheus}", in_parts=True)
        if at is None:
            feed.to_end()
        return feed

    return source, str(fleet.prometheus), open_node


def _direct(nodes: list[str], targets: Path | None, fleet: Fleet, book: SloBook) -> tuple[FleetSource, str, OpenNode]:
    from collectors.fleet.direct import DirectFleet
    from collectors.fleet.targets import TargetsProblem, read_targets
    from dashboard.notation import page_url

    try:
        listed: list[tuple[str, dict[str, str]]] = [(page_url(one), {}) for one in nodes]
        if targets is not None:
            listed += [(page_url(one), dict(labels)) for one, labels in read_targets(targets)]
    except (ValueError, TargetsProblem) as problem:
        raise UsageError(str(problem)) from None
    except OSError as problem:
        raise CommandFailed(f"{targets} cannot be read: {problem.strerror}") from None
    unique = dict(listed)
    if not 1 <= len(unique) <= DirectFleet.MOST:
        raise UsageError(
            f"{len(unique)} exporters: from 1 to {DirectFleet.MOST} are read directly; a Prometheus is for more"
        )
    source = DirectFleet(
        unique, interval=fleet.refresh, timeout=fleet.timeout, headers=credentials_of(fleet),
        verify=fleet.ca_file or not fleet.insecure, book=book,
    )  # fmt: skip
    where = f"{len(unique)} exporter{'s' if len(unique) > 1 else ''}, read directly"
    return source, where, source.open
