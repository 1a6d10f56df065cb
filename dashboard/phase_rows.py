"""The phases of engines as history: five bytes and a flag for each interval.

A share is kept to a 250th, finer than a cell of any strip shows.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from collectors.model import PHASES, Label, Phase, Tick
from collectors.phase.rules import phase_seconds

_WHOLE = 250
_NOTHING, _PROVISIONAL, _SETTLED = 0, 1, 2


class _Rows:
    """One engine."""

    def __init__(self, rows: int) -> None:
        self.shares = tuple(array("B", bytes(rows)) for _ in PHASES)
        self.state = array("B", bytes(rows))

    def append(self, label: Label | None) -> None:
        for track in self.shares:
            track.append(0)
        self.state.append(_NOTHING)
        if label is not None:
            self.write(len(self.state) - 1, label.phase)

    def write(self, row: int, phase: Phase) -> None:
        parts = phase_seconds(phase, 1.0)
        for track, name in zip(self.shares, PHASES, strict=True):
            track[row] = min(_WHOLE, max(0, round(parts[name] * _WHOLE)))
        self.state[row] = _SETTLED if phase.settled else _PROVISIONAL

    def trim(self, rows: int) -> None:
        for track in (*self.shares, self.state):
            del track[:rows]


class PhaseRows:
    """The rows of `dashboard.tracks.Tracks`, for each engine that has a label."""

    def __init__(self) -> None:
        self._rows = 0
        self._kept: dict[str, _Rows] = {}

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        return sum(len(one.state) * (len(PHASES) + 1) for one in self._kept.values())

    def append(self, tick: Tick) -> None:
        """Adds a row for every engine there is."""
        for entity in tick.labels:
            if entity.startswith("engine/") and entity not in self._kept:
                self._kept[entity] = _Rows(self._rows)
        for entity, rows in self._kept.items():
            rows.append(tick.labels.get(entity))
        self._rows += 1

    def settle(self, label: Label, row: int) -> None:
        """Puts a settled label in place of the provisional one."""
        kept = self._kept.get(label.entity)
        if kept is not None:
            kept.write(row, label.phase)

    def trim(self, rows: int) -> None:
        """Forgets the oldest rows, and engines of which nothing is left."""
        self._rows -= rows
        for entity, kept in list(self._kept.items()):
            kept.trim(rows)
            if not any(kept.state):
                del self._kept[entity]

    def seconds(
        self, entities: Sequence[str], first: int, weights: Sequence[float]
    ) -> tuple[tuple[float, float, float, float, float], bool]:
        """The phases' seconds of those engines together, and whether all is settled.

        `weights` are the seconds of the rows from `first` on. Where an engine has no label in a
        row there is nothing of it: the rest of the time is missing.
        """
        totals, settled = [0.0] * len(PHASES), True
        for entity in entities:
            kept = self._kept.get(entity)
            if kept is None:
                continue
            last = first + len(weights)
            for n, track in enumerate(kept.shares):
                totals[n] += sum([s * w for s, w in zip(track[first:last], weights, strict=True)]) / _WHOLE
            settled = settled and _PROVISIONAL not in kept.state[first:last]
        prefill, decode, idle, waiting, unknown = totals
        return (prefill, decode, idle, waiting, unknown), settled
