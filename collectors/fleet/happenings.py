"""What happened on a node: the events that a session there would find, as far as its exporter tells of them.

Lost and returned GPUs, error reports (XIDs), engines that came and went, throttling, full KV caches, broken
objectives and changes of the dominant phase are there. An engine that was started anew between two scrapes
is not: the exporter's counters go on over that. Throttling is what was seen at the moment of a scrape.
"""

from __future__ import annotations

from collectors.fleet.moments import EXPORTER
from collectors.model import Event, Tick
from collectors.slo import SloBook
from collectors.watch import Watch


class Happenings:
    """Feed it a node's intervals in order. The first one, and one in which the exporter began anew, tells nothing."""

    def __init__(self, book: SloBook | None = None) -> None:
        self._book = book
        self._watch: Watch | None = None

    def push(self, tick: Tick) -> tuple[Event, ...]:
        is_first = self._watch is None or any(gap.source == EXPORTER for gap in tick.interval.gaps)
        if self._watch is None or is_first:
            self._watch = Watch(self._book)
        found = self._watch.push(tick)
        return () if is_first else found
