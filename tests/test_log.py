"""What a daemon tells its log, and how it looks there."""

from __future__ import annotations

import io
import json
import os

import pytest

from collectors.sources import SourceStatus
from dashboard.commands.log import Level, Log, Narrator

AT = 1_795_232_796.25


def told_by(statuses: list[list[SourceStatus]]) -> list[tuple[Level, str, str]]:
    """What is told when the sources are so, one look after the other."""
    told: list[tuple[Level, str, str]] = []
    now: list[SourceStatus] = []
    narrator = Narrator(lambda: now, lambda *line: told.append(line))
    for look in statuses:
        now[:] = look
        narrator.look()
    return told


def test_a_source_is_told_of_when_its_state_changes_and_not_while_it_stays() -> None:
    url = "http://e/metrics"
    states = [
        ("stale", "not read yet"),
        ("ok", None),
        ("stale", "slow"),
        ("ok", None),
        ("down", "connection refused"),
        ("down", "connection refused, again"),
        ("stale", "slow"),
        ("ok", None),
    ]
    assert told_by([[SourceStatus(url, state, reason)] for state, reason in states]) == [
        ("info", url, "is read"),
        ("warning", url, "connection refused"),
        ("info", url, "ok"),
    ]


def test_that_the_machine_is_well_is_not_worth_a_line_until_it_was_not() -> None:
    missing = SourceStatus("gpu", "missing", "NVML has not answered for 7 s")
    looks = [[SourceStatus("gpu", "ok")], [missing], [SourceStatus("gpu", "ok")]]
    assert told_by(looks) == [("warning", "gpu", "NVML has not answered for 7 s"), ("info", "gpu", "ok")]


def test_a_source_that_has_not_been_sampled_yet_is_not_called_well() -> None:
    missing = SourceStatus("gpu", "missing", "not found")
    begun_anew = SourceStatus("gpu", "ok", collector="gpu")
    assert told_by([[missing], [begun_anew], [missing]]) == [("warning", "gpu", "not found")]


def test_pages_and_troubles_that_are_gone_are_told_once() -> None:
    url, trouble = SourceStatus("http://e/metrics", "ok"), SourceStatus("pid 7", "unread", "start it with --metrics")
    assert sorted(told_by([[url, trouble], [], []])[2:]) == [
        ("info", "http://e/metrics", "is no longer looked at"),
        ("info", "pid 7", "that is over"),
    ]


def test_text_has_time_and_level_and_one_line_whatever_is_told() -> None:
    stream = io.StringIO()
    log = Log(stream=stream, now=lambda: AT)
    log.line("warning", "engine\x1b[2J", "two\nlines")
    log.line("info", "phasetop", "serving")
    assert stream.getvalue() == (
        "2026-11-21T03:46:36.250Z warning engine\ufffd[2J: two\ufffdlines\n2026-11-21T03:46:36.250Z info    serving\n"
    )


def test_json_is_an_object_a_line_with_time_level_source_and_message() -> None:
    stream = io.StringIO()
    Log("json", stream=stream, now=lambda: AT).line("error", "server", 'a "quoted" word')
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue()) == {
        "time": "2026-11-21T03:46:36.250Z", "level": "error", "source": "server", "message": 'a "quoted" word',
    }  # fmt: skip


def test_the_journal_gets_the_level_as_it_wants_it_and_no_second_time() -> None:
    reading, writing = os.pipe()
    status = os.fstat(writing)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading) as journal:
        log = Log(stream=stream, environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        log.line("warning", "gpu", "lost")
        assert journal.readline() == "<4>gpu: lost\n"


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_log_that_is_closed_ends_nobody(format: str) -> None:
    stream = io.StringIO()
    log = Log(format, stream=stream)
    stream.close()
    log.line("info", "phasetop", "still here")
