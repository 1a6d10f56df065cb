"""Finding a GPU exporter that runs on this machine, without knocking where it cannot be.

Only ports that exporters use by default are asked, only when somebody listens there and the
maker's driver is loaded, and what does not answer like one is left alone for ever longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collectors.clock import Clock
from collectors.engine.listeners import Listener, listeners
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.gpu.page_table import EXPORTERS

_PROBE_SECONDS = 2.0
_RETRY_SECONDS = 60.0
_RETRY_LIMIT_SECONDS = 900.0


@dataclass(slots=True)
class _Asked:
    inode: int
    is_page: bool
    again_at: float
    pause: float


def is_gpu_page(url: str) -> bool:
    """Whether a GPU exporter's page is served there. Takes seconds at worst.

    HEAD comes first: what does not know it is not asked for a page it may make at a cost.
    """
    from collectors.gpu.pages import exporter_of  # where no exporter listens it is never needed

    fetcher = Fetcher(url, timeout=_PROBE_SECONDS)
    try:
        with fetcher.within(2 * _PROBE_SECONDS):
            return fetcher.looks_like_a_page() and exporter_of(fetcher.fetch().text) is not None
    except PageProblem:
        return False
    finally:
        fetcher.close()


class PageSearch:
    """`look` gives the addresses of the exporters' pages that are there now. For one thread."""

    def __init__(
        self,
        clock: Clock,
        *,
        is_page: Callable[[str], bool] = is_gpu_page,
        listening: Callable[[], tuple[Listener, ...]] = listeners,
        exists: Callable[[str], bool] = lambda path: Path(path).exists(),
    ) -> None:
        self._clock = clock
        self._is_page = is_page
        self._listening = listening
        self._exists = exists
        self._asked: dict[tuple[str, int], _Asked] = {}

    def look(self) -> tuple[str, ...]:
        """Milliseconds, or seconds when somebody new listens."""
        ports = {
            exporter.port
            for exporter in EXPORTERS
            if exporter.port is not None and (not exporter.driver or any(map(self._exists, exporter.driver)))
        }
        every = [listener for listener in self._listening() if listener.port in ports]
        present = {(listener.address, listener.port) for listener in every}
        self._asked = {key: asked for key, asked in self._asked.items() if key in present}
        urls = {f"http://{listener.host}:{listener.port}/metrics": listener for listener in every}
        return tuple(url for url, listener in urls.items() if self._ask(listener, url))

    def _ask(self, listener: Listener, url: str) -> bool:
        key = (listener.address, listener.port)
        now = self._clock.monotonic()
        asked = self._asked.get(key)
        is_same = asked is not None and asked.inode == listener.inode
        if asked is not None and is_same and (asked.is_page or now < asked.again_at):
            return asked.is_page
        pause = min(asked.pause * 2, _RETRY_LIMIT_SECONDS) if asked is not None and is_same else _RETRY_SECONDS
        is_page = self._is_page(url)
        self._asked[key] = _Asked(listener.inode, is_page, self._clock.monotonic() + pause, pause)
        return is_page
