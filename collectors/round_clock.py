"""When the rounds of a saved table were, as far as the table tells."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

MIDNIGHT_SECONDS = 12 * 3600
"""A time of day that is so much earlier than the one before it is of the next day."""
_RECENT_SECONDS = 60.0


class RoundClock:
    """When each round was, in epoch seconds."""

    def __init__(self, path: Path, count: int, last: float | None, delay: float, *, nights: int = 0) -> None:
        """`count` rounds over `nights` midnights, the last one at `last`; `delay` apart where they tell no times."""
        written = path.stat().st_mtime
        self._delay = delay
        self._next = written - count * delay
        self._before: float | None = None
        self._day: datetime | None = None
        if last is not None and last <= 86_400:
            end = datetime.fromtimestamp(written)
            midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
            is_yesterday = last > (end - midnight).total_seconds() + _RECENT_SECONDS
            self._day = midnight - timedelta(days=nights + is_yesterday)

    def next(self, time: float | None) -> float:
        """`time` is what the round says: epoch seconds, seconds of the day, or nothing."""
        if time is None:
            self._next += self._delay
            return self._next
        if self._day is None:
            return time
        if self._before is not None and self._before - time > MIDNIGHT_SECONDS:
            self._day += timedelta(days=1)
        self._before = time
        return self._day.timestamp() + time
