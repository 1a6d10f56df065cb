"""All engines' pages as one source: those of the configuration, and those that come and go.

Pages are told apart by address; 127.0.0.1, ::1 and localhost are one machine. A page that was
found and whose engine has ended stays listed as down for a while, so that a restart is seen as
one; a configured page stays for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from collectors.clock import Clock
from collectors.engine.discover import Found
from collectors.engine.endpoint import Endpoint
from collectors.engine.facts import engine_of_an_empty_page
from collectors.engine.reading import new_memo, snapshots
from collectors.engine.scrape import Fetcher, PageProblem, is_loopback
from collectors.model import Gap
from collectors.readings import EngineReading
from collectors.sources import Harvest, SourceStatus

KEEP_SECONDS = 600.0
_PROBE_SECONDS = 2.0

Address = tuple[str, int, str]


def address_of(url: str) -> Address:
    """(host, port, path) by which two URLs are the same page."""
    parts = urlsplit(url)
    host = "loopback" if is_loopback(url) else (parts.hostname or "")
    return (host, parts.port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/"))


def find_page(base: str, paths: Sequence[str]) -> str | None:
    """The first of some paths whose page is an engine's, as a URL. Asks carefully; takes seconds at worst."""
    for path in paths:
        fetcher = _probe(base + path)
        try:
            with fetcher.within(2 * _PROBE_SECONDS):
                if not fetcher.looks_like_a_page():
                    continue
                page = fetcher.fetch()
        except PageProblem as problem:
            if problem.status is None:
                return None  # nobody there, or nobody who answers in HTTP: no other path will do better
            continue
        finally:
            fetcher.close()
        if snapshots(fetcher.url, page.text, page.arrived, new_memo()):
            return fetcher.url
        if not page.text.strip() and engine_of_an_empty_page(fetcher.url, _probe) is not None:
            return fetcher.url
    return None


def _probe(url: str) -> Fetcher:
    return Fetcher(url, timeout=_PROBE_SECONDS)


class Endpoints:
    """Every known page. `update` may be called from any thread; the rest is the sampler's."""

    name = "engines"

    def __init__(
        self,
        clock: Clock,
        make: Callable[[str, str | None], Endpoint],
        *,
        urls: Iterable[str] = (),
        add_found: bool = True,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        """`make` builds the endpoint of a URL, with what it looks like. `urls` are configured pages.

        Without `add_found`, what discovery finds only tells whose processes the configured pages are.
        """
        self._clock = clock
        self._make = make
        self._add_found = add_found
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._configured: dict[Address, Endpoint] = {address_of(url): make(url, None) for url in urls}
        self._found: dict[Address, Endpoint] = {}
        self._roots: dict[Address, int | None] = {}
        self._vanished: dict[Address, float] = {}
        self._arrived: threading.Event | None = None

    def start(self, arrived: threading.Event) -> None:
        with self._lock:
            self._arrived = arrived
            for endpoint in self._every():
                endpoint.start(arrived)

    def stop(self) -> None:
        with self._lock:
            for endpoint in self._every():
                endpoint.stop()

    def update(self, found: Sequence[Found]) -> None:
        """Take over what discovery sees now: all of it, not what changed."""
        with self._lock:
            seen = {address_of(one.url): one for one in found}
            for address, one in seen.items():
                self._see(address, one)
            now = self._clock.monotonic()
            for address in self._found.keys() - seen.keys():
                self._miss(address, now)

    def request(self, edge: float) -> None:
        for endpoint in self._snapshot():
            endpoint.request(edge)

    def pending(self) -> bool:
        return any(endpoint.pending() for endpoint in self._snapshot())

    def collect(self, edge: float) -> Harvest:
        readings: list[EngineReading] = []
        gaps: list[Gap] = []
        endpoints = self._snapshot()
        for endpoint in endpoints:
            found, gap = endpoint.collect(edge)
            readings.extend(found)
            if gap is not None:
                gaps.append(gap)
        trees = {endpoint.url: endpoint.pids for endpoint in endpoints if endpoint.pids}
        return Harvest(engines=tuple(readings), trees=trees, gaps=tuple(gaps))

    def status(self) -> Sequence[SourceStatus]:
        return [endpoint.status() for endpoint in self._snapshot()]

    def _every(self) -> list[Endpoint]:
        return [*self._configured.values(), *self._found.values()]

    def _snapshot(self) -> list[Endpoint]:
        with self._lock:
            return self._every()

    def _see(self, address: Address, one: Found) -> None:
        self._vanished.pop(address, None)
        endpoint = self._configured.get(address) or self._found.get(address)
        if endpoint is None:
            if not self._add_found:
                return
            endpoint = self._found[address] = self._make(one.url, one.engine)
            if self._arrived is not None:
                endpoint.start(self._arrived)
        elif one.root is not None and self._roots.get(address, one.root) != one.root:
            endpoint.restarted()
        if one.root is not None:
            self._roots[address] = one.root
        endpoint.pids = one.pids
        endpoint.engine = endpoint.engine or one.engine
        endpoint.switch = one.switch

    def _miss(self, address: Address, now: float) -> None:
        endpoint = self._found[address]
        endpoint.pids = frozenset()
        since = self._vanished.setdefault(address, now)
        if not endpoint.fails:
            self._vanished[address] = now
        elif now - since > self._keep_seconds:
            endpoint.stop()
            del self._found[address], self._vanished[address]
            self._roots.pop(address, None)
