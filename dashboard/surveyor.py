"""Reads long spans of a recording, some columns at a time, so that what the keys ask for need not wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from dashboard.format import NANOSECONDS
from dashboard.scrub import StripPart, SummedUp
from dashboard.survey import SUMMED_UP, Means, Span, Survey, Surveyed, lines_of
from dashboard.tracks import TOLERANCE, Column

_READ_SECONDS = 10_800
"""So much of a recording is read at once: some milliseconds."""
_WINDOWS_KEPT = 2
"""Columns are remembered over about so many widths of the screen."""
_LATE = 120 * NANOSECONDS
"""The end of a recording that grows is summed up so much later."""


class Surveyor:
    """One span at a time; columns of the same step are remembered for the next span."""

    def __init__(self, recording: SummedUp) -> None:
        self._recording = recording
        self._span: Span | None = None
        self._engines: frozenset[str] = frozenset()
        self._known: dict[int, Surveyed] = {}

    def wish(self, span: Span | None, engines: frozenset[str]) -> None:
        """What `read` is to go on with; `engines` are the entities whose phases are wanted, too. None: nothing."""
        before = self._span
        if span is None or before is None or before.step != span.step:
            self._known.clear()
            self._engines = frozenset()
        if not engines <= self._engines:
            self._known.clear()
            self._engines |= engines
        self._span = span
        if span is not None and len(self._known) > _WINDOWS_KEPT * span.count:
            wanted = range(span.first, span.last + 1)
            self._known = {number: self._known[number] for number in wanted if number in self._known}

    @property
    def is_pending(self) -> bool:
        return next(self._missing(), None) is not None

    def renew(self) -> None:
        """The recording has grown: its last columns are read again."""
        if self._span is not None:
            changing = self._recording.end - _LATE
            for number in [one for one in self._known if (one + 1) * self._span.step > changing]:
                del self._known[number]

    def read_on(self, go_on: Callable[[], bool]) -> None:
        """Reads until all is known, or something else is to be done. Raises RecordingError."""
        while self.is_pending:
            self.read()
            if not go_on():
                break

    def survey(self) -> Survey | None:
        """What is known of the span by now."""
        return None if self._span is None else Survey(self._span, dict(self._known))

    def read(self) -> None:
        """Reads some of the missing columns, the newest first. Raises RecordingError."""
        span = self._span
        last = next(self._missing(), None)
        if span is None or last is None:
            return
        most = max(1, _READ_SECONDS * NANOSECONDS // span.step)
        first = last
        while first > max(span.first, last - most + 1) and first - 1 not in self._known:
            first -= 1
        self._take(first, last - first + 1, span.step)

    def _missing(self) -> Iterator[int]:
        if self._span is not None:
            newest_first = range(self._span.last, self._span.first - 1, -1)
            yield from (number for number in newest_first if number not in self._known)

    def _take(self, first: int, count: int, step: int) -> None:
        recording, begin = self._recording, first * step
        end = begin + count * step
        means = recording.means(begin, step, count)
        each = [_means_at(means, column) for column in range(count)]
        hosts = recording.strip(begin, end, count)
        engines = {entity: recording.strip(begin, end, count, entity=entity) for entity in sorted(self._engines)}
        for n, (part, known) in enumerate(zip(hosts, each, strict=True)):
            lines = lines_of(known)
            own = {entity: _column(parts[n], lines) for entity, parts in engines.items()}
            self._known[first + n] = Surveyed(_column(part, lines), own, known)


def _means_at(means: Mapping[str, Mapping[str, Sequence[float]]], column: int) -> Means:
    return {
        entity: {name: values[column] for name, values in fields.items() if not math.isnan(values[column])}
        for entity, fields in means.items()
    }


def _column(part: StripPart, lines: tuple[float, ...]) -> Column:
    seconds = (part.prefill, part.decode, part.idle, part.waiting, part.unknown)
    number = SUMMED_UP if any(seconds) else None
    # What rounding leaves is no gap.
    gap = part.gap if part.gap > (part.end - part.start) / NANOSECONDS * TOLERANCE else 0.0
    return Column(part.start, seconds, gap, False, lines, number, number)
