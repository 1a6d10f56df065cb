"""Where each panel of the Overview lies on a screen of any size: what matters least goes first.

Rows are given out in the order of `_wishes`: the strip and the verdict before all else, then the
engines and the GPUs, then detail, the host last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from dashboard.frames import (
    SIDE_BY_SIDE,
    Arrangement,
    Facts,
    Rows,
    Shelf,
    is_framed,
    is_tiny,
    placed,
    rows_for_panels,
    tiny,
)

PAIRED_GPUS = 76
"""Columns from which two GPUs fit in one row of the compact table."""
MOST_STRIP_ROWS = 16
_LEAST_STRIP = 5
"""Rows of the strip without which no measurements stand below it on screens that are about something else."""


@lru_cache(maxsize=16)
def arrange(width: int, height: int, facts: Facts) -> Arrangement:
    """The arrangement for a terminal of that size; every cell belongs to exactly one panel."""
    if width < 1 or height < 1:
        return Arrangement()
    if is_tiny(width, height):
        return tiny(width, height, ("phase", "verdict"))
    rows = Rows(rows_for_panels(width, height, replay=facts.replay))
    for name, target in _wishes(width, facts):
        rows.grant(name, target, titled=name in _PANELS)
    return _placed(width, height, facts, rows)


def alone(width: int, height: int, facts: Facts) -> Arrangement:
    """The phase panel with all the rows there are."""
    if width < 1 or height < 1:
        return Arrangement()
    if is_tiny(width, height):
        return tiny(width, height, ("phase",))
    inner = rows_for_panels(width, height, replay=facts.replay) - 1
    most = most_lines(facts)
    tall = inner - 3 * most - 3 >= MOST_STRIP_ROWS // 2
    lines = (most if inner - most - 2 >= 3 else 0) * (3 if tall else 1)
    return Arrangement(
        places=placed(width, height, (Shelf(inner, (("phase", 0),)),), replay=facts.replay),
        strip=inner - lines - 2 - (not facts.gpus),
        events=True,
        lines=most if lines else 0,
        line_height=3 if tall else 1,
        axis=True,
        reason=not facts.gpus,
        framed=is_framed(width, height),
    )


_PANELS = ("strip", "verdict", "gpus", "engines", "host")


def most_lines(facts: Facts) -> int:
    """Measurements under the strip: three of the GPUs and two of tokens, or CPU, tokens and requests."""
    return 5 if facts.gpus else 4


def with_lines(arrangement: Arrangement, rows: int, facts: Facts) -> Arrangement:
    """The arrangement with a phase panel of so many rows: the strip and its axis, and where there are rows for both,
    events and measurements between them."""
    lines = most_lines(facts)
    beside = lines + 2
    if rows - beside < _LEAST_STRIP:
        return replace(arrangement, strip=max(1, rows - (rows >= 3)), axis=rows >= 3, events=False)
    tall = 2 if rows - beside - lines >= MOST_STRIP_ROWS // 2 else 1
    strip = rows - 2 - lines * tall
    return replace(arrangement, strip=strip, axis=True, events=True, lines=lines, line_height=tall)


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


def _placed(width: int, height: int, facts: Facts, rows: Rows) -> Arrangement:
    framed = is_framed(width, height)
    phase = rows["strip"] + rows["events"] + rows["lines"] + rows["axis"] + rows["reason"]
    beside = width >= SIDE_BY_SIDE and framed and rows["engines"] >= 4
    host_width = min(64, max(40, width // 3))
    shelves = [Shelf(phase, (("phase", 0),))]
    for name in ("verdict", "gpus", "engines", "host"):
        if rows[name]:
            panels = ((name, 0), ("host", host_width)) if name == "engines" and beside else ((name, 0),)
            shelves.append(Shelf(rows[name], panels))
    most = most_lines(facts)
    tall = rows["lines"] > most
    return Arrangement(
        places=placed(width, height, shelves, replay=facts.replay),
        strip=rows["strip"],
        events=bool(rows["events"]),
        lines=most if tall else rows["lines"],
        line_height=2 if tall else 1,
        axis=bool(rows["axis"]),
        reason=bool(rows["reason"]),
        framed=framed,
    )
