"""Time zones by name: a recording's times of day are those of the machine that made it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")
_LOCALTIME = Path("/etc/localtime")


def local_zone_name() -> str:
    """This machine's time zone: "Europe/Berlin", or its present offset ("+02:00") where it has no name."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name and _LOCALTIME.is_symlink():
        name = str(_LOCALTIME.resolve()).partition("zoneinfo/")[2]
    if name and _named(name) is not None:
        return name
    offset = datetime.now().astimezone().strftime("%z")
    return f"{offset[:3]}:{offset[3:5]}"


def zone_of(name: str) -> tzinfo:
    """The zone of a name from `local_zone_name`; UTC when this machine does not know it."""
    if found := _OFFSET.fullmatch(name):
        minutes = int(found[2]) * 60 + int(found[3])
        return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes)) if minutes < 24 * 60 else UTC
    return _named(name) or UTC


def _named(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return None
