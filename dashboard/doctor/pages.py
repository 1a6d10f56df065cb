"""The metrics pages a session would read, configured and found, each read once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from collectors.clock import SystemClock
from collectors.engine.catalog import EMPTY_AT_FIRST
from collectors.engine.discover import Discovery, Found
from collectors.engine.endpoints import address_of, find_page
from collectors.engine.facts import engine_of_an_empty_page
from collectors.engine.networks import container_of
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.text import clean
from dashboard.access import fetcher_of
from dashboard.config import Config
from dashboard.doctor.engines import empty_page_findings, known_engines, page_findings
from dashboard.doctor.finding import Finding, Level

_TIMEOUT_SECONDS = 5.0
_NO_PAGE = "SGLang needs --enable-metrics, llama.cpp --metrics; else name the address of the page itself"


def examine(config: Config, discovery: Discovery | None = None) -> Iterator[Finding]:
    """Every page configured or found, and every engine that runs and cannot be read. `discovery` is for tests."""
    yield known_engines()
    discovery = discovery or Discovery(lambda found: None, SystemClock(), find_page=find_page)
    found = discovery.scan() if config.engine.discover else ()
    configured = {address_of(url) for url in config.engine.urls}
    others = [one for one in found if address_of(one.url) not in configured]
    if not configured and not others and not discovery.unread:
        searched = "none listens on this machine" if config.engine.discover else "engine.discover is off, none is named"
        yield Finding("engines", "note", searched, "name one elsewhere with --engine HOST:PORT")
    for url in config.engine.urls:
        yield from _page(config, url, Found(url))
    for one in others:
        yield from _page(config, one.url, one)
    for unread in discovery.unread:
        level: Level = "note" if unread.starting or unread.remedy is None else "missing"
        yield Finding("engines", level, clean(str(unread), 200), unread.remedy)
    if config.engine.discover:
        yield from _blind_spots()


def _blind_spots(proc: Path = Path("/proc"), running_as: int | None = None) -> Iterator[Finding]:
    """What this user, or this container, keeps from being seen."""
    if (running_as if running_as is not None else os.geteuid()) != 0:
        text = "other users' processes do not show their sockets: their engines are found by --port and by usual ports"
        yield Finding("engines", "note", text, "as root every engine is found, whatever port it listens on")
    if container_of(str(proc), "self") is not None:
        text = "this runs in a container: engines outside of its network and process namespaces are not seen"
        yield Finding("engines", "note", text, "run it with --network host and --pid host, or name them with --engine")


def _page(config: Config, url: str, found: Found) -> Iterator[Finding]:
    timeout = min(config.engine.timeout, _TIMEOUT_SECONDS)
    fetcher = fetcher_of(config, url, timeout=timeout)
    name = f"{url} (pid {found.root})" if found.root is not None else url
    try:
        with fetcher.within(2 * timeout):
            text = fetcher.fetch().text
    except PageProblem as problem:
        yield Finding("engines", "missing", f"{name}: {problem.reason}", _remedy(problem, found.switch))
    else:
        engine = None if text.strip() else _empty_at_first(config, found)
        yield from page_findings(url, text) if engine is None else empty_page_findings(url, engine)
    finally:
        fetcher.abort()


def _empty_at_first(config: Config, found: Found) -> str | None:
    """The engine behind an empty page, if it is one whose page may be."""
    if found.engine is not None:
        return found.engine if found.engine in EMPTY_AT_FIRST else None

    def fetch(address: str) -> Fetcher:
        return fetcher_of(config, found.url, address=address, timeout=_TIMEOUT_SECONDS)

    return engine_of_an_empty_page(found.url, fetch)


_AUTHORITIES = "or name it in engine.insecure, if the network in between is trusted"


def _remedy(problem: PageProblem, switch: str | None) -> str | None:
    """What to do, where the reason does not say it itself."""
    if problem.status in (401, 403):
        return "see [engine.token_files] and the tables after it in config.toml"
    if problem.status in (404, 501):
        return f"start the engine with {switch}" if switch is not None else _NO_PAGE
    if problem.refused:
        return "start the engine, or name the port it listens on"
    if problem.reason.startswith("TLS fails"):
        return _AUTHORITIES
    if problem.state == "down":
        return "check the address, and whether a firewall is in between"
    return None
