from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.notation import format_duration, format_size, parse_duration, parse_size
from dashboard.timespec import parse_time

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


START = at("2026-10-24T01:00:00+02:00")
END = at("2026-10-25T12:00:00+01:00")  # the clocks went back at 03:00 that morning


def parse(text: str) -> int:
    return parse_time(text, start=START, end=END, zone=BERLIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m ago", "2026-10-25T11:50:00+01:00"),
        ("1.5h ago", "2026-10-25T10:30:00+01:00"),
        ("11:59", "2026-10-25T11:59:00+01:00"),
        ("11:59:30", "2026-10-25T11:59:30+01:00"),
        ("23:10", "2026-10-24T23:10:00+02:00"),
        ("3:12", "2026-10-25T03:12:00+01:00"),
        ("2026-10-24T14:00", "2026-10-24T14:00:00+02:00"),
        ("2026-10-25 06:00", "2026-10-25T06:00:00+01:00"),
        ("2026-10-24T14:00:00Z", "2026-10-24T14:00:00+00:00"),
        ("1795211379", "2026-11-20T21:49:39+00:00"),
    ],
)
def test_a_moment_is_read_in_the_time_zone_of_the_recording(text: str, expected: str) -> None:
    assert parse(text) == at(expected)


def test_fractions_of_epoch_seconds_count() -> None:
    assert parse("1795211379.5") == 1_795_211_379_500_000_000


@pytest.mark.parametrize("text", ["soon", "25:00", "12:61", "10 fortnights ago", "", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse(text)


def test_a_time_of_day_outside_the_recording_names_the_recording() -> None:
    hour = 3_600_000_000_000
    with pytest.raises(ValueError, match="does not occur between 2026-10-25 11:00:00 and 2026-10-25 12:00:00"):
        parse_time("03:12", start=END - hour, end=END, zone=BERLIN)


@given(
    moment=st.datetimes(min_value=datetime(2001, 9, 10), max_value=datetime(2200, 1, 1)),
    offset=st.integers(-12, 14),
)
def test_iso_moments_keep_every_microsecond(moment: datetime, offset: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(hours=offset)))
    nanoseconds = parse_time(aware.isoformat(), start=0, end=0, zone=UTC)
    assert datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000) == aware


@given(st.integers(1, 10**9))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@given(st.integers(0, 2**50))
def test_a_size_survives_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size
