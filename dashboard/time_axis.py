"""The time axis of what is looked at: how much time it shows, and where a long recording's columns come from."""

from __future__ import annotations

from dashboard.format import NANOSECONDS
from dashboard.replaying import Replaying
from dashboard.scene import usual_step
from dashboard.state import History, View
from dashboard.survey import Span, Survey
from dashboard.zoom import KEPT, LongView, coarser, finer, is_long, is_step

_READ_AROUND_SECONDS = 300.0
"""So much of what lies before the interval looked at is read in full where the axis shows more than memory holds."""


class TimeAxis:
    """One view, live or of a recording, on an axis of so many columns."""

    def __init__(self, replay: Replaying | None, interval: float) -> None:
        self.replay = replay
        self.view = View(History())
        self.columns = 90
        """Columns of the time axis on the screen."""
        self._interval = interval
        self._long_view = LongView()

    @property
    def column_step(self) -> int:
        """Nanoseconds in one column."""
        return self.view.step or usual_step(self._length())

    @property
    def visible(self) -> int:
        """Nanoseconds on the time axis; one column less than there are, as the newest is seldom full."""
        return self.column_step * max(1, self.columns - 1)

    @property
    def is_long(self) -> bool:
        """Whether the axis shows columns that the recording has summed up."""
        return self._sums_up and is_long(self.column_step, self._length())

    @property
    def _sums_up(self) -> bool:
        return self.replay is not None and self.replay.sums_up

    def fit(self, columns: int, scrubber: int) -> None:
        """How many columns the time axis and the scrubber have; a recording is asked for what they show."""
        self.columns = columns
        if self.replay is not None:
            is_long = self.is_long
            self.replay.resize(scrubber, _READ_AROUND_SECONDS if is_long else self.visible / NANOSECONDS)
            self.replay.overlook(self._span() if is_long else None)

    def _span(self) -> Span:
        assert self.replay is not None
        return self._long_view.span(self.replay.playback(), self.column_step, self.columns)

    def survey(self) -> Survey | None:
        """The columns the axis shows, as far as they are known, where they were summed up."""
        if self.replay is None or not self.is_long:
            return None
        span, known = self._span(), self.replay.playback().survey
        return Survey(span, known.known if known is not None and known.span.step == span.step else {})

    @property
    def history(self) -> History:
        return self.view.history

    def recall_step(self, step: int) -> None:
        """Begins at a zoom that there is."""
        if is_step(step, replay=self._sums_up):
            self.view.step = step

    def zoom(self, direction: int) -> None:
        """Closer (1) down to 10 s, away (-1) up to the whole history, or to the usual step (0)."""
        here, replay = self.column_step, self._sums_up
        if not direction:
            step = usual_step(self._length())
        elif direction > 0:
            step = finer(here, self.columns)
        else:
            step = coarser(here, self.columns, self._whole(), replay=replay)
        self.view.step = here
        if replay and is_long(step, self._length()):
            self.view.step = step  # what is in memory, and looked at in there, stays as it is
        else:
            self.view.zoom(step, self.columns)
        if not direction:
            self.view.step = None

    def _whole(self) -> int:
        """How much there is to see, in nanoseconds."""
        if self.replay is not None:
            playback = self.replay.playback()
            length = playback.end - playback.start
            return length if self.replay.sums_up else min(KEPT, length)
        tracks = self.history.tracks
        return min(KEPT, tracks.ends[-1] - tracks.start()) if len(tracks) else 0

    def _length(self) -> float:
        return self.replay.interval if self.replay is not None else self._interval
