"""What lies before the start of a live session: the recording that a process beside it makes, or the session itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.text import clean

if TYPE_CHECKING:
    from collectors.replay import Recording
    from dashboard.replaying import Replaying


class NothingEarlier(Exception):
    """Nothing is recorded of that time. The message says so in one line, and what could be done."""


@dataclass(frozen=True, slots=True)
class Past:
    """A recording to look back in. `begin` makes a feed that starts at a moment of it (wall-clock ns)."""

    start: int
    begin: Callable[[int], Replaying]


FindPast = Callable[[int], Past]
"""Finds what is recorded of the time before a moment; may block, and raises NothingEarlier."""


def find_past(configured: Path | None, environment: Mapping[str, str], host_name: str) -> FindPast:
    """Looks for recordings of this machine that are being made now. `configured` is the configuration's directory."""

    def find(before: int) -> Past:
        from collectors.replay import Recording, RecordingError
        from collectors.writers import recorded_directories

        trouble = ""
        for directory in recorded_directories(configured, environment):
            try:
                recording = Recording(directory)
            except RecordingError as problem:
                trouble = f": {problem}"
                continue
            if recording.host_name == host_name and recording.start < before:
                origin = f"history from {clean(str(directory))}"
                return Past(recording.start, partial(_feed, recording, origin))
            recording.close()
        raise NothingEarlier(f"nothing earlier{trouble}" if trouble else _NOTHING)

    return find


def _feed(recording: Recording, origin: str, at: int) -> Replaying:
    from dashboard.replay_feed import ReplayFeed

    return ReplayFeed(recording, at=at, origin=origin)


_NOTHING = "nothing earlier is recorded; `phasetop record DIR` beside this keeps a history to go back into"


@dataclass(frozen=True, slots=True)
class Found:
    """A recording, the moment of it to begin at, and what to do there."""

    past: Past
    at: int
    then: Callable[[Replaying], None]


class LookBack:
    """Looks for the past on a thread of its own, one wish at a time."""

    def __init__(self, find: FindPast | None) -> None:
        self._find = find
        self._is_looking = False
        self._answers: deque[Found | str] = deque()

    @property
    def is_possible(self) -> bool:
        return self._find is not None

    def wish(self, before: int, at: int, then: Callable[[Replaying], None], wake: Callable[[], None]) -> bool:
        """Asks for what lies before a moment, to be seen at another; False where nothing can be found or is looked for.

        `wake` is called from the thread when there is an answer, `then` gets the feed once it is seen.
        """
        find = self._find
        if find is None or self._is_looking:
            return False
        self._is_looking = True

        def look() -> None:
            try:
                self._answers.append(Found(find(before), at, then))
            except (NothingEarlier, OSError) as problem:
                self._answers.append(clean(str(problem)))
            wake()

        threading.Thread(target=look, name="look-back", daemon=True).start()
        return True

    def answer(self) -> Found | str | None:
        """What was found, or why nothing was; None as long as there is no answer."""
        if not self._answers:
            return None
        self._is_looking = False
        return self._answers.popleft()
