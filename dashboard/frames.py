"""The frame of every screen: header, panels that share their borders, scrubber and footer, at any size.

A screen says which panels stand in which rows (`Shelf`); where their cells and their borders lie
follows from that. Pure arithmetic, so that every size from 1x1 up can be tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

NARROWEST_FRAME = 60
LOWEST_FRAME = 16
NARROWEST = 24
LOWEST = 8
"""Below these there are no panels, only lines."""
SIDE_BY_SIDE = 100

UP, RIGHT, DOWN, LEFT = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to show."""

    gpus: int = 0
    engines: int = 0
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Inside:
    x: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Place:
    """The cells a panel owns, and the pieces of the shared frame among them.

    `top` and `bottom` are the arms (up 1, right 2, down 4, left 8) of each cell of that border, None
    where the panel has none.
    """

    x: int
    y: int
    width: int
    height: int
    top: tuple[int, ...] | None = None
    bottom: tuple[int, ...] | None = None
    left: bool = False
    right: bool = False

    @property
    def inside(self) -> Inside:
        """What is left for content, one blank cell kept beside a border."""
        x = 2 if self.left else 0
        height = self.height - (self.top is not None) - (self.bottom is not None)
        spare = 2 if self.right else 1 if self.left else 0
        return Inside(x, max(0, self.width - x - spare), max(0, height))


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A place for each panel that is shown, and how the phase panel divides its rows."""

    places: Mapping[str, Place] = field(default_factory=dict)
    strip: int = 0
    events: bool = False
    lines: int = 0
    line_height: int = 1
    axis: bool = False
    reason: bool = False
    """A row that says why there is no GPU."""
    framed: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """Panels side by side. `rows` are those inside the borders.

    `panels` are (name, columns) from the left; 0 columns, for one of them, is what the others leave.
    """

    rows: int
    panels: tuple[tuple[str, int], ...]


class Rows:
    """Rows given out so far. A panel's first rows cost one more for its title."""

    def __init__(self, spare: int) -> None:
        self.spare = spare
        self.given: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self.given.get(name, 0)

    def grant(self, name: str, target: int, *, titled: bool = True) -> None:
        """Up to `target` rows for a name, or none of them where they do not fit."""
        if target <= self[name]:
            return
        cost = target - self[name] + (titled and name not in self.given)
        if cost <= self.spare:
            self.spare -= cost
            self.given[name] = target


def is_tiny(width: int, height: int) -> bool:
    """Whether there is room for lines only."""
    return width < NARROWEST or height < LOWEST


def is_framed(width: int, height: int) -> bool:
    """Whether panels stand in frames; else they stand under rules."""
    return width >= NARROWEST_FRAME and height >= LOWEST_FRAME


def rows_for_panels(width: int, height: int, *, replay: bool) -> int:
    """Rows that shelves may share, the title row of each included."""
    return height - 2 - is_framed(width, height) - replay


def tiny(width: int, height: int, names: Sequence[str]) -> Arrangement:
    """A line for each of the names, the last one with all that is left; the header comes first from three rows up."""
    chosen = list(names[:height])
    if height > len(chosen):
        chosen.insert(0, "header")
    places = {name: Place(0, y, width, 1) for y, name in enumerate(chosen)}
    last = chosen[-1]
    places[last] = Place(0, len(chosen) - 1, width, height - len(chosen) + 1)
    return Arrangement(places)


def placed(width: int, height: int, shelves: Sequence[Shelf], *, replay: bool) -> Mapping[str, Place]:
    """The places of the panels on those shelves, top down, with header, scrubber and footer around them.

    The last shelf gets the rows that are left over. Every cell belongs to exactly one panel.
    """
    return _placed(width, height, tuple(shelves), replay)


@lru_cache(maxsize=32)
def _placed(width: int, height: int, shelves: tuple[Shelf, ...], replay: bool) -> Mapping[str, Place]:
    framed = is_framed(width, height)
    spare = rows_for_panels(width, height, replay=replay) - sum(shelf.rows + 1 for shelf in shelves)
    boxes: dict[str, tuple[int, int, int, int]] = {}
    y = 1
    for shelf in shelves:
        rows = shelf.rows + (spare if shelf is shelves[-1] else 0)
        taken = sum(columns for _, columns in shelf.panels)
        x = 0
        for name, columns in shelf.panels:
            wide = columns or width - taken
            boxes[name] = (x, y, wide, rows + 1)
            x += wide
        y += rows + 1
    places = _framed(boxes, width, y) if framed else _ruled(boxes)
    places["header"] = Place(0, 0, width, 1)
    if replay:
        places["scrubber"] = Place(0, height - 2, width, 1)
    places["footer"] = Place(0, height - 1, width, 1)
    return places


def _ruled(boxes: Mapping[str, tuple[int, int, int, int]]) -> dict[str, Place]:
    """Panels under plain rules, for screens too small for frames."""
    return {name: Place(x, y, w, h, top=(LEFT | RIGHT,) * w) for name, (x, y, w, h) in boxes.items()}


def _framed(boxes: Mapping[str, tuple[int, int, int, int]], width: int, bottom: int) -> dict[str, Place]:
    """Panels that share their borders; `bottom` is the row of the last border."""
    arms: dict[tuple[int, int], int] = {}
    for x, y, w, h in boxes.values():
        right, below = min(x + w, width - 1), y + h
        for row in (y, below):
            for column in range(x, right + 1):
                arm = (LEFT if column > x else 0) | (RIGHT if column < right else 0)
                arms[column, row] = arms.get((column, row), 0) | arm
        for column in (x, right):
            for row in range(y, below + 1):
                arm = (UP if row > y else 0) | (DOWN if row < below else 0)
                arms[column, row] = arms.get((column, row), 0) | arm
    places = {}
    for name, (x, y, w, h) in boxes.items():
        last = y + h == bottom
        places[name] = Place(
            x=x,
            y=y,
            width=w,
            height=h + last,
            top=tuple(arms[column, y] for column in range(x, x + w)),
            bottom=tuple(arms[column, bottom] for column in range(x, x + w)) if last else None,
            left=True,
            right=x + w == width,
        )
    return places
