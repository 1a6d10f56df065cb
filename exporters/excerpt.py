"""A stretch of a recording as a recording of its own.

Intervals, labels, gaps and events are those of the original; roll-ups are made anew of what the
stretch holds. One file is made for each run of the recorder in it, because what the estimator had
learned in one run is not what it knew in the next.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collectors.model import RULE_VERSION, Tick
from collectors.phase.label import Labeller, phase_seconds
from collectors.replay import Recording
from collectors.store import file_name
from collectors.store_schema import MINUTE
from exporters.recording_file import Origin, RecordingFile
from exporters.redact import Redactor


class SeveralRuns(Exception):
    """The stretch spans several runs of the recorder, and there is one file to put them in."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What was written: the files, and how many intervals in all."""

    files: tuple[Path, ...]
    intervals: int


def write_excerpt(
    recording: Recording,
    output: Path,
    start: int | None = None,
    end: int | None = None,
    *,
    redactor: Redactor | None = None,
    version: str = "",
    watch: Callable[[Iterator[Tick]], Iterator[Tick]] = iter,
) -> Excerpt:
    """Writes the intervals that start within [start, end), in wall-clock ns.

    `output` is a new file, or a directory that exists, in which files are named as a recorder names
    them. `watch` is handed the ticks as they pass by. Labels made anew in the first ten seconds of
    an excerpt may differ from the stored ones, which rest on intervals before it.

    Raises SeveralRuns before anything is written; FileExistsError, OSError, sqlite3.Error or
    RecordingError when a file cannot be made.
    """
    runs = [run for run in recording.runs() if _touches(recording, run, start, end)]
    if len(runs) > 1 and not output.is_dir():
        raise SeveralRuns(f"the stretch spans {len(runs)} runs of the recorder, each of which makes a file")
    writers: list[_Writer] = []
    try:
        for tick in watch(recording.ticks(start, end)):
            run = next((run for run in runs if run[0] <= tick.interval.sequence <= run[1]), None)
            if not writers or (run is not None and writers[-1].last_of_run < tick.interval.sequence):
                last = run[1] if run is not None else tick.interval.sequence
                writers.append(_Writer(recording, output, tick, last, redactor, version))
            writers[-1].put(tick)
        for writer in writers:
            writer.close()
    except BaseException:
        for writer in writers:
            writer.abandon()
        raise
    return Excerpt(tuple(writer.file.path for writer in writers), sum(writer.file.intervals for writer in writers))


def _touches(recording: Recording, run: tuple[int, int], start: int | None, end: int | None) -> bool:
    first, last = recording.tick(run[0]), recording.tick(run[1])
    if first is None or last is None:
        return False
    return (end is None or first.interval.start < end) and (start is None or last.interval.start >= start)


class _Writer:
    """One run's file, and a labeller beside it for the checkpoints."""

    def __init__(
        self, recording: Recording, output: Path, first: Tick, last_of_run: int, redactor: Redactor | None, version: str
    ) -> None:
        self.last_of_run = last_of_run
        self._redactor = redactor
        self._minute: int | None = None
        self._labeller = _caught_up(recording, first.interval.sequence)
        host_name = recording.host_name if redactor is None else redactor.host(recording.host_name)
        path = output / file_name(first.interval.start) if output.is_dir() else output
        rules = min(recording.rule_versions)
        origin = Origin(host_name, recording.time_zone, uuid.uuid4().hex, phasetop_version=version, rule_version=rules,
                        description="" if redactor is not None else recording.description)  # fmt: skip
        self.file = RecordingFile(path, origin, first.interval, phase_seconds=phase_seconds)

    def put(self, tick: Tick) -> None:
        # The state before the interval: pushing it again leads to what is pushed here.
        state = self._due_state(tick)
        if self._labeller is not None:
            self._labeller.push(tick.interval)
        written = tick if self._redactor is None else self._redactor.tick(tick)
        if state is not None and self._redactor is not None:
            state = self._redactor.state(state)
        self.file.write(
            replace(written, settled=tuple(one for one in written.settled if one.settled)), checkpoint=state
        )

    def _due_state(self, tick: Tick) -> dict[str, Any] | None:
        minute = tick.interval.start // MINUTE
        if self._labeller is None or minute == self._minute:
            return None
        self._minute = minute
        return self._labeller.checkpoint()

    def close(self) -> None:
        self.file.close()

    def abandon(self) -> None:
        self.file.abandon()


def _caught_up(recording: Recording, sequence: int) -> Labeller | None:
    """A labeller that has seen what came before an interval; None where other rules made the labels."""
    if recording.rule_versions != {RULE_VERSION}:
        return None
    at, state = recording.learned_before(sequence)
    labeller = Labeller(state=state)
    for interval in recording.intervals(at, sequence - 1):
        labeller.push(interval)
    return labeller
