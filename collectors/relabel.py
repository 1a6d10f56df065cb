"""Labels made anew from recorded intervals, by the labeller that made them live."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from collectors.model import Interval, Label, Tick

_KEPT = 512
"""Intervals whose labels are kept; going further back begins anew at a checkpoint."""
_AHEAD = 256
"""An interval further ahead than this may be reached sooner from a later checkpoint."""


class LabellerLike(Protocol):
    """The part of `collectors.phase.label.Labeller` that is used here."""

    def push(self, interval: Interval) -> Tick: ...

    def flush(self) -> tuple[Label, ...]: ...


LabellerFactory = Callable[[dict[str, Any] | None], LabellerLike]
"""Makes a labeller that goes on from a checkpoint's state, or knows nothing yet (None)."""


def labeller(state: dict[str, Any] | None) -> LabellerLike:
    """The labeller itself, imported when the first label is wanted."""
    from collectors.phase.label import Labeller

    return Labeller(state=state)


class Relabeller:
    """Pushes intervals through a labeller, from one of them on, as far as someone asks.

    `fetch(after)` gives some of the intervals with a sequence number above `after`, in order, and
    none at the end of what there is so far.
    """

    def __init__(self, fetch: Callable[[int], Sequence[Interval]], labeller: LabellerLike, first: int) -> None:
        self._fetch = fetch
        self._labeller = labeller
        self._waiting: list[Interval] = []
        self._labels: OrderedDict[int, dict[str, Label]] = OrderedDict()
        self._pushed = first - 1
        self._is_flushed = False

    def reaches(self, sequence: int) -> bool:
        """True when the labels of an interval are at hand or near ahead."""
        return sequence in self._labels or self._pushed < sequence <= self._pushed + _AHEAD

    def labels(self, sequence: int, *, is_over: bool) -> Mapping[str, Label]:
        """The labels of an interval: settled, or provisional as far as the intervals go.

        With `is_over` nothing will come after the last interval, so that what is open settles.
        """
        while not self._is_settled(sequence):
            interval = self._next()
            if interval is None:
                if is_over and not self._is_flushed:
                    self._apply(self._labeller.flush())
                    self._is_flushed = True
                break
            tick = self._labeller.push(interval)
            self._pushed = interval.sequence
            self._labels[interval.sequence] = dict(tick.labels)
            self._apply(tick.settled)
            if len(self._labels) > _KEPT:
                self._labels.popitem(last=False)
        return self._labels.get(sequence, {})

    def _is_settled(self, sequence: int) -> bool:
        labels = self._labels.get(sequence)
        if labels is None:
            return sequence <= self._pushed
        return all(label.settled for label in labels.values())

    def _next(self) -> Interval | None:
        if not self._waiting:
            self._waiting = list(reversed(self._fetch(self._pushed)))
        return self._waiting.pop() if self._waiting else None

    def _apply(self, settled: Sequence[Label]) -> None:
        for label in settled:
            if label.sequence in self._labels:
                self._labels[label.sequence][label.entity] = label
