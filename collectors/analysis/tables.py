"""A recording's tables as blocks of sums: one pass, a minute at a time, most of it added up by SQLite.

Whole minutes take their phase seconds from the roll-ups; everything else is summed from the rows. A day
of 8 GPUs and 2 engines is 2 million rows, which nothing written in Python adds up in seconds: so the
sums are made in SQL, and what needs each interval by itself (`collectors.analysis.detail`) is looked at
in every n-th minute of a long recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

from collectors.analysis.read import Read
from collectors.analysis.tables_file import MINUTE, FileTables
from collectors.store import reading

_FOREVER = 2**62
_BLOCKS = 360
"""Of so many blocks at most a recording is made: what is in memory does not grow with it."""
_DETAIL_INTERVALS = 7200
"""About so many intervals are looked at one by one, spread evenly over the recording."""


def read(
    paths: Sequence[Path],
    from_ns: int | None = None,
    to_ns: int | None = None,
    *,
    seen: Callable[[int], None] = lambda _: None,
) -> Read:
    """Reads the intervals that start within [from, to) out of recording files, given in order of time.

    `seen` is told how far it has come, in wall-clock ns. Raises RecordingError when a file cannot be read.
    """
    begin, until = from_ns or 0, _FOREVER if to_ns is None else to_ns
    found = Read()
    files = [FileTables(path, begin, until) for path in paths]
    try:
        count = sum(minute.intervals for file in files for minute in file.minutes)
        found.stride = max(1, round(count / _DETAIL_INTERVALS))
        found.minutes_each = max(1, ceil(sum(len(file.minutes) for file in files) / _BLOCKS))
        for file in files:
            with reading(file.path):
                for at in range(0, len(file.minutes), found.minutes_each):
                    span = file.minutes[at : at + found.minutes_each]
                    looked_at = [one for one in span if one.start // MINUTE % found.stride == 0]
                    found.blocks.append(file.block(span, looked_at, found.roster))
                    seen(span[-1].end)
            if file.minutes:
                found.rule_versions.add(file.rule_version)
                found.costs.update(file.costs())
            file.close()
        found.intervals = count
    finally:
        for file in files:
            file.close()
    every = [minute for file in files for minute in file.minutes]
    found.seconds = sum(minute.seconds for minute in every)
    found.start = min((minute.begin for minute in every), default=0)
    found.end = max((minute.end for minute in every), default=0)
    return found
