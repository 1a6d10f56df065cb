"""What somebody marked of the time axis: moments to come back to, and the two ends of a range."""

from __future__ import annotations

from collectors.model import Interval


class Marks:
    """Moments are wall-clock nanoseconds."""

    def __init__(self) -> None:
        self.moments: tuple[int, ...] = ()
        """In order."""
        self._edges: dict[str, int] = {}

    def toggle(self, interval: Interval) -> int | None:
        """Marks an interval, or takes its mark away; the moment marked."""
        moment = interval.end - 1
        is_marked = moment in self.moments
        self.moments = tuple(sorted({*self.moments} - {moment} if is_marked else {*self.moments, moment}))
        return None if is_marked else moment

    def after(self, interval: Interval) -> int | None:
        """The next moment; behind the last one the first; None where none is marked."""
        return next((one for one in self.moments if one >= interval.end), next(iter(self.moments), None))

    def set_edge(self, name: str, interval: Interval | None) -> tuple[int, int] | None:
        """Puts A before, or B behind, an interval; both moments, in order, once both are there."""
        if interval is not None:
            self._edges[name] = interval.start if name == "A" else interval.end
        if len(self._edges) < 2:
            return None
        return min(self._edges.values()), max(self._edges.values())
