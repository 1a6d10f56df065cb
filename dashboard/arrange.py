"""Where each panel lies on a screen of any size: what matters least goes first.

Rows are given out in the order of `_wishes`: the strip and the verdict before all else, then the
engines and the GPUs, then detail, the host last. Pure arithmetic, so that every size from 1x1 up
can be tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

NARROWEST_FRAME = 60
LOWEST_FRAME = 16
SIDE_BY_SIDE = 100
PAIRED_GPUS = 76
"""Columns from which two GPUs fit in one row of the compact table."""
MOST_STRIP_ROWS = 16

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

    places: dict[str, Place] = field(default_factory=dict)
    strip: int = 0
    events: bool = False
    lines: int = 0
    line_height: int = 1
    axis: bool = False
    reason: bool = False
    """A row that says why there is no GPU."""
    framed: bool = False


@lru_cache(maxsize=16)
def arrange(width: int, height: int, facts: Facts) -> Arrangement:
    """The arrangement for a terminal of that size; every cell belongs to exactly one panel."""
    if width < 1 or height < 1:
        return Arrangement()
    if width < 24 or height < 8:
        return _tiny(width, height)
    framed = width >= NARROWEST_FRAME and height >= LOWEST_FRAME
    rows = _Rows(height - 2 - framed - facts.replay)
    for name, target in _wishes(width, facts):
        rows.grant(name, target, titled=name in _PANELS)
    return _placed(width, height, facts, framed, rows)


def _tiny(width: int, height: int) -> Arrangement:
    """A line of shares; above it who and when, below it the verdict, as rows allow."""
    names = ["phase"] if height == 1 else ["phase", "verdict"] if height == 2 else ["header", "phase", "verdict"]
    places = {name: Place(0, y, width, 1) for y, name in enumerate(names)}
    if "verdict" in places:
        y = places["verdict"].y
        places["verdict"] = Place(0, y, width, height - y)
    return Arrangement(places)


_PANELS = ("strip", "verdict", "gpus", "engines", "host")


class _Rows:
    """Rows given out so far. A panel's first rows cost one more for its title."""

    def __init__(self, spare: int) -> None:
        self.spare = spare
        self.given: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self.given.get(name, 0)

    def grant(self, name: str, target: int, *, titled: bool) -> None:
        if target <= self[name]:
            return
        cost = target - self[name] + (titled and name not in self.given)
        if cost <= self.spare:
            self.spare -= cost
            self.given[name] = target


def most_lines(facts: Facts) -> int:
    """Measurements under the strip: three of the GPUs and two of tokens, or CPU, tokens and requests."""
    return 5 if facts.gpus else 4


def _wishes(width: int, facts: Facts) -> Iterator[tuple[str, int]]:
    """(what, rows it would like), most important first."""
    n, wide, most = facts.gpus, width >= SIDE_BY_SIDE, most_lines(facts)
    paired = 1 + (n + 1) // 2
    engine_rows = 2 if facts.engines == 1 else 1 + min(facts.engines, 3) if facts.engines else 1
    yield from (("strip", 3), ("verdict", 1), ("axis", 1), ("engines", engine_rows))
    if n:
        yield "gpus", 1
    else:
        yield "reason", 1
    yield from (("verdict", 2), ("events", 1))
    if n and width >= PAIRED_GPUS:
        yield from (("gpus", paired), ("gpus", paired + 1))
    yield from (("strip", 4), ("strip", 5))
    if n:
        yield "gpus", n + 1
    yield from (("lines", 3), ("verdict", 3))
    if n:
        yield "gpus", n + 2
    yield "engines", 5 if facts.engines == 1 else facts.engines + 1
    yield "engines", 6 if wide else 5
    if not wide:
        yield "host", 6
    yield from (("strip", 6), ("lines", most), ("strip", 8), ("verdict", 4), ("lines", 2 * most))
    yield from (("strip", rows) for rows in range(9, MOST_STRIP_ROWS + 1))


def _placed(width: int, height: int, facts: Facts, framed: bool, rows: _Rows) -> Arrangement:
    phase = rows["strip"] + rows["events"] + rows["lines"] + rows["axis"] + rows["reason"]
    stacked: list[tuple[str, int]] = [("phase", phase)]
    stacked += [(name, rows[name]) for name in ("verdict", "gpus", "engines", "host") if rows[name]]
    stacked[-1] = (stacked[-1][0], stacked[-1][1] + rows.spare)
    beside = width >= SIDE_BY_SIDE and framed and rows["engines"] >= 4
    host_width = min(64, max(40, width // 3))
    boxes: dict[str, tuple[int, int, int, int]] = {}
    y = 1
    for name, inner in stacked:
        wide = width - host_width if name == "engines" and beside else width
        boxes[name] = (0, y, wide, inner + 1)
        if name == "engines" and beside:
            boxes["host"] = (wide, y, host_width, inner + 1)
        y += inner + 1
    places = _framed(boxes, width, y) if framed else _ruled(boxes)
    places["header"] = Place(0, 0, width, 1)
    if facts.replay:
        places["scrubber"] = Place(0, height - 2, width, 1)
    places["footer"] = Place(0, height - 1, width, 1)
    most = most_lines(facts)
    tall = rows["lines"] > most
    return Arrangement(
        places=places,
        strip=rows["strip"],
        events=bool(rows["events"]),
        lines=most if tall else rows["lines"],
        line_height=2 if tall else 1,
        axis=bool(rows["axis"]),
        reason=bool(rows["reason"]),
        framed=framed,
    )


def _ruled(boxes: dict[str, tuple[int, int, int, int]]) -> dict[str, Place]:
    """Panels under plain rules, for screens too small for frames."""
    return {name: Place(x, y, w, h, top=(LEFT | RIGHT,) * w) for name, (x, y, w, h) in boxes.items()}


def _framed(boxes: dict[str, tuple[int, int, int, int]], width: int, bottom: int) -> dict[str, Place]:
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
