"""Which interval of a recording is meant: so many on, so much later, at a moment."""

from __future__ import annotations

from collectors.model import Tick
from dashboard.format import NANOSECONDS, clock, date
from dashboard.scrub import Readable


def stepped(recording: Readable, tick: Tick, intervals: int) -> Tick:
    """So many intervals on (or back, below 0) from one, or as far as there are any."""
    read = recording.next if intervals > 0 else recording.previous
    for _ in range(abs(intervals)):
        further = read(tick.interval.sequence)
        if further is None:
            break
        tick = further
    return tick


def skipped(recording: Readable, tick: Tick, seconds: float) -> Tick | None:
    """So much later, or earlier, and by one interval at least, so that a gap does not hold it."""
    here = tick.interval
    found = recording.tick_at(here.start + round(seconds * NANOSECONDS))
    if found is None:
        found = recording.tick(recording.first_sequence)
    if found is not None and (found.interval.sequence - here.sequence) * seconds <= 0:
        return stepped(recording, tick, 1 if seconds > 0 else -1)
    return found


def nearest(recording: Readable, time_ns: int) -> Tick | None:
    """The interval of a moment; that of the recording's end, or start, for one outside of it."""
    return recording.tick_at(min(time_ns, recording.end)) or recording.tick(recording.first_sequence)


def outside(recording: Readable, time_ns: int) -> str | None:
    """That a moment is not in the recording, and what is; None for one that is."""
    if recording.start <= time_ns <= recording.end:
        return None
    zone = recording.zone
    span = f"{date(recording.start, zone)} {clock(recording.start, zone)} to {clock(recording.end, zone)}"
    return f"{date(time_ns, zone)} {clock(time_ns, zone)} is outside of the recording, {span}"
