"""The metrics pages a session would read, configured and found, each read once."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.clock import SystemClock
from collectors.engine.discover import Discovery, Found
from collectors.engine.endpoints import address_of, find_page
from collectors.engine.scrape import Fetcher, PageProblem
from dashboard.config import Config
from dashboard.doctor.engines import known_engines, page_findings
from dashboard.doctor.finding import Finding
from dashboard.session import authorization

_TIMEOUT_SECONDS = 5.0


def examine(config: Config) -> Iterator[Finding]:
    yield known_engines()
    found = _found() if config.engine.discover else ()
    configured = {address_of(url) for url in config.engine.urls}
    others = [one for one in found if address_of(one.url) not in configured]
    if not configured and not others:
        searched = "none listens on this machine" if config.engine.discover else "engine.discover is off, none is named"
        yield Finding("engines", "note", searched, "name one elsewhere with --engine HOST:PORT")
    for url in config.engine.urls:
        yield from _page(config, url, None)
    for one in others:
        yield from _page(config, one.url, one.switch)


def _found() -> tuple[Found, ...]:
    return Discovery(lambda found: None, SystemClock(), find_page=find_page).scan()


def _page(config: Config, url: str, switch: str | None) -> Iterator[Finding]:
    """`switch` is the flag that gives the engine its page, where it has none."""
    timeout = min(config.engine.timeout, _TIMEOUT_SECONDS)
    fetcher = Fetcher(url, timeout=timeout, headers=authorization(config.engine.token_files, url))
    try:
        text = fetcher.fetch().text
    except PageProblem as problem:
        yield Finding("engines", "missing", f"{url}: {problem.reason}", _remedy(problem, switch))
    else:
        yield from page_findings(url, text)
    finally:
        fetcher.abort()


def _remedy(problem: PageProblem, switch: str | None) -> str | None:
    if problem.status in (401, 403):
        return "name a file with its token in [engine.token_files]"
    if problem.status in (404, 501) and switch is not None:
        return f"start the engine with {switch}"
    return None
