"""Tallies of a stretch of the history, made once an interval and added up in blocks.

A screen asks for the same hour every second. What has settled is added up in blocks of intervals, so
that a draw adds a hundred figures at most; what is not looked at yet is made a little at a time,
newest first, so that no draw takes long.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from collectors.analysis.roofline import Point, point_of
from collectors.analysis.tally import Tally, tally_of
from collectors.model import Tick
from dashboard.scene import Scene
from dashboard.state import History
from dashboard.widgets.axis import gutters

_BLOCK = 32
_SINGLES = 256
_BLOCKS = 512
_MADE_AT_ONCE = 400
"""Intervals looked at in one draw: some 50 ms, once."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Figures of a stretch of time. `points` are oldest first; `complete` when all of it has been looked at."""

    tally: Tally
    points: tuple[Point, ...]
    complete: bool

    def __add__(self, other: Stretch) -> Stretch:
        """This stretch and a later one."""
        return Stretch(self.tally + other.tally, self.points + other.points, self.complete and other.complete)


EMPTY = Stretch(Tally(), (), True)


class Tallies:
    """What has been made so far, by interval and by block of intervals."""

    def __init__(self) -> None:
        self._singles: OrderedDict[int, tuple[Tick | None, Stretch]] = OrderedDict()
        """With the tick it was made from, as long as that may settle."""
        self._blocks: OrderedDict[int, Stretch] = OrderedDict()
        self._scene: Scene | None = None
        self._asked: tuple[Tick | None, int, int] = (None, -1, -1)
        self._answer = EMPTY

    def visible(self, scene: Scene) -> Stretch:
        """The stretch that the scene's axis shows; where that is more than memory holds, what memory holds."""
        if scene.survey is not None:
            sequences = scene.history.tracks.sequences
            return self._asked_of(scene, sequences[0], sequences[-1]) if sequences else EMPTY
        shown = scene.columns(visible_columns(scene))
        firsts = [column.first_sequence for column in shown if column.first_sequence is not None]
        lasts = [column.last_sequence for column in shown if column.last_sequence is not None]
        if not firsts or not lasts:
            return EMPTY
        return self._asked_of(scene, firsts[0], lasts[-1])

    def _asked_of(self, scene: Scene, first: int, last: int) -> Stretch:
        asked = (scene.history.newest, first, last)
        is_known = self._asked[1:] == asked[1:] and self._asked[0] is asked[0]
        if scene is not self._scene and not (is_known and self._answer.complete):
            self._asked, self._answer = asked, self.over(scene.history, first, last)
        self._scene = scene
        return self._answer

    def over(self, history: History, first: int, last: int) -> Stretch:
        """The stretch from one interval to another, both included."""
        sequences = history.tracks.sequences
        low, high = history.tracks.row_of(first), history.tracks.row_of(last)
        if low is None or high is None:
            return EMPTY
        budget = _MADE_AT_ONCE
        parts: list[Stretch] = []
        row = high
        while row >= low:
            number = sequences[row] // _BLOCK
            begin = row
            while begin > low and sequences[begin - 1] // _BLOCK == number:
                begin -= 1
            is_whole = begin > low or sequences[low] % _BLOCK == 0
            block = self._blocks.get(number) if is_whole and row < high else None
            if block is None:
                members = list(sequences[begin : row + 1])
                block, made, settled = self._make(history, members, budget)
                budget -= made
                if is_whole and row < high and block.complete and settled:
                    self._keep(number, block)
            parts.append(block)
            row = begin - 1
            if budget <= 0 and row >= low:
                parts.append(Stretch(Tally(), (), False))
                break
        result = EMPTY
        for part in reversed(parts):
            result = result + part
        return result

    def _make(self, history: History, sequences: list[int], budget: int) -> tuple[Stretch, int, bool]:
        """The stretch of some neighbours, how many had to be looked at, and whether all have settled."""
        result, made, settled = EMPTY, 0, True
        for sequence in sequences:
            known = self._singles.get(sequence)
            if known is None or (known[0] is not None and known[0] is not history.tick(sequence)):
                tick = history.tick(sequence) if made < budget else None
                if tick is None:
                    # Not looked at yet; or older than what is kept in full, and then never.
                    result = result + Stretch(Tally(), (), made < budget)
                    continue
                made += 1
                is_final = all(label.settled for label in tick.labels.values())
                known = self._singles[sequence] = (None if is_final else tick, stretch_of(tick))
            self._singles.move_to_end(sequence)
            if len(self._singles) > _SINGLES:
                self._singles.popitem(last=False)
            settled = settled and known[0] is None
            result = result + known[1]
        return result, made, settled

    def _keep(self, number: int, block: Stretch) -> None:
        self._blocks[number] = block
        if len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)


def visible_columns(scene: Scene) -> int:
    """Columns of the axis that all screens share, whatever the width of the panel that asks."""
    header = scene.arrangement.places.get("header")
    if header is None:
        return 60
    width = header.width - (4 if scene.arrangement.framed else 0)
    sides = gutters(scene, width)
    return max(1, width - sides.left - sides.right)


def stretch_of(tick: Tick) -> Stretch:
    """One interval."""
    point = point_of(tick.interval, tick.labels)
    return Stretch(tally_of(tick.interval, tick.labels), () if point is None else (point,), True)
