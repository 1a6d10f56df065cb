"""Moments as people write them: "10m ago", "03:12", an ISO date and time, seconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from collectors.clock import NANO
from dashboard.notation import parse_duration

_EPOCH = re.compile(r"\d{9,11}(?:\.\d+)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str, *, start: int, end: int, zone: tzinfo | None) -> int:
    """The moment `text` means, as wall-clock nanoseconds, in a recording that spans `start` to `end`.

    "10m ago" counts back from the recording's end, which is now while it is being written. A time
    of day is its latest occurrence within the recording. Times without an offset are in `zone`, the
    recording's time zone (None: this machine's). Raises ValueError with what can be written, or
    when a time of day does not occur in the recording; other moments may lie outside of it.
    """
    text = text.strip()
    if text.endswith(" ago"):
        return end - round(parse_duration(text.removesuffix(" ago")) * NANO)
    if _EPOCH.fullmatch(text):
        return round(float(text) * NANO)
    if clock := _CLOCK.fullmatch(text):
        return _latest(text, _time_of_day(text, clock), start, end, zone)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f'"{text}" is not a moment: write "10m ago", a time such as 03:12, a date and time such as '
            "2026-05-01T03:12, or seconds since 1970"
        ) from None
    return _nanoseconds(moment, zone)


def _time_of_day(text: str, clock: re.Match[str]) -> time:
    try:
        return time(int(clock[1]), int(clock[2]), int(clock[3] or 0))
    except ValueError:
        raise ValueError(f'"{text}" is not a time of day') from None


def _latest(text: str, wanted: time, start: int, end: int, zone: tzinfo | None) -> int:
    first = datetime.fromtimestamp(start / NANO, zone).date()
    day = datetime.fromtimestamp(end / NANO, zone).date()
    while day >= first:
        moment = _nanoseconds(datetime.combine(day, wanted), zone)
        if start <= moment <= end:
            return moment
        day = date.fromordinal(day.toordinal() - 1)
    raise ValueError(f"{text} does not occur between {shown(start, zone)} and {shown(end, zone)}")


def _nanoseconds(moment: datetime, zone: tzinfo | None) -> int:
    """Whole microseconds, computed without a float so that no digit is lost."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
    return (moment - _1970) // timedelta(microseconds=1) * 1000


def shown(nanoseconds: int, zone: tzinfo | None) -> str:
    """A moment in whole seconds, as it can be given again."""
    return datetime.fromtimestamp(nanoseconds / NANO, zone).strftime("%Y-%m-%d %H:%M:%S")
