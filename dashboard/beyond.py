"""Where the next of something is in memory, before (-1) or after (1) what is looked at: numbers of intervals."""

from __future__ import annotations

from collections.abc import Callable

from dashboard.state import View
from dashboard.tracks import Tracks

Find = Callable[[View, int], int | None]


def event(view: View, direction: int) -> int | None:
    """The interval of an event; phase changes are not among them."""
    here = view.shown()
    known = [placed.sequence for placed in view.history.events if placed.event.kind != "phase-change"]
    further = [number for number in known if here is not None and (number - here) * direction > 0]
    return min(further, key=lambda number: number * direction, default=None)


def phase_change(view: View, direction: int) -> int | None:
    """The interval with which another phase became the largest."""
    return _row(view, direction, Tracks.next_change)


def gap(view: View, direction: int) -> int | None:
    """The interval before which time is missing."""
    return _row(view, direction, Tracks.next_gap)


def _row(view: View, direction: int, find: Callable[[Tracks, int, int], int | None]) -> int | None:
    tracks, here = view.history.tracks, view.shown()
    row = None if here is None else tracks.row_of(here)
    found = None if row is None else find(tracks, row, direction)
    return None if found is None else tracks.sequences[found]
