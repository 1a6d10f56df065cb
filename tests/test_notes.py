"""Notes in a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.model import HOST, Event, Tick
from collectors.replay import Recording
from collectors.store import NotARecording, RecordingError
from exporters.notes import add_note
from tests.patience import until
from tests.recording_support import SECOND, START, interval, recorder, recording_file, ticks


def test_a_note_goes_into_a_recording_while_it_is_written_and_its_follower_sees_it(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    for number in range(10):
        one.put(Tick(interval(number)))
    until(lambda: one.written == 10)
    with Recording(tmp_path) as recording:
        moment = START + 7 * SECOND + 5
        event = add_note(tmp_path, "  deployed 1.4.2\n", moment)
        assert event == Event(moment, "note", HOST, "deployed 1.4.2")
        assert recording.refresh()
        tick = recording.tick(7)
        assert tick is not None
        assert tick.events == (event,)
    one.put(Tick(interval(10)))
    one.close()
    assert (one.written, one.status) == (11, None)


def test_a_note_goes_into_the_file_that_was_being_written_at_that_moment(tmp_path: Path) -> None:
    first = 12 * 3600 - 10
    one = recorder(tmp_path)
    for tick in ticks(map(interval, range(first, first + 20))):
        one.put(tick)
    one.close()
    moment = interval(first + 3).start
    add_note(tmp_path, "before midnight", moment)
    with Recording(sorted(tmp_path.glob("*.db"))[0]) as recording:
        assert [event.text for event in recording.events(0, recording.end)] == ["before midnight"]
        assert recording.next_event(recording.start) == moment


def test_a_note_is_one_clean_line(tmp_path: Path) -> None:
    path = recording_file(tmp_path / "one.db", ticks([interval(0)]))
    assert add_note(path, "red\x1b[31m\nalert", START).text == "red\ufffd[31m\ufffdalert"
    with pytest.raises(ValueError, match="needs a text"):
        add_note(path, " \n", START)


def test_a_note_that_fits_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARecording, match="no recording in this directory yet"):
        add_note(tmp_path, "x", START)
    path = recording_file(tmp_path / "one.db", ticks([interval(0)]))
    with pytest.raises(RecordingError, match="nothing was recorded yet at that moment"):
        add_note(path, "x", START - 1)
    with pytest.raises(NotARecording, match="no such file"):
        add_note(tmp_path / "two.db", "x", START)
