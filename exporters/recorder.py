"""Ticks to a recording, on a thread of its own.

The sampler's thread hands ticks over and never waits. When they cannot be written (disk full,
read-only, no permission, a file system without write-ahead log) recording pauses, says why in one
line, and goes on by itself in a new file once it can.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.model import Interval, Label, Tick
from collectors.store_schema import MINUTE
from collectors.text import clean
from collectors.timezone import local_zone_name
from exporters.recording_directory import Limits, RecordingDirectory, is_curable, why_not
from exporters.recording_file import Origin
from exporters.retention import AlreadyRecording

__all__ = ["AlreadyRecording", "Recorder"]

_QUEUE = 64
_LABELS_KEPT = 4096
_RETRY_SECONDS = (1.0, 30.0)
_CLOSE_SECONDS = 10.0
_TELL_DROPS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Item:
    """What the writer gets: a tick, or labels alone when the data ended."""

    tick: Tick | None
    labels: tuple[Label, ...]
    checkpoint: Mapping[str, Any] | None = None
    beginning: Mapping[str, Any] | None = None
    """The state from which the labels of this tick, a session's first, come."""


class Recorder:
    """A sink that records into a directory until it is closed.

    `checkpoint` is the labeller's method of that name. It is called on the thread that calls `put`,
    once a minute, so that it runs between two pushes and never beside one; its result must not
    change afterwards. It may be set later than here, since sinks are made before the labeller. `beginning`
    is its state before its first interval, which is the first to be put; needed where it knows something then.

    `byte_cap`, `age_cap_seconds` and `reserve_bytes` are those of `Limits`; `retry_seconds` is how
    long a pause lasts before the first retry, and at most.

    Raises AlreadyRecording when another process records into the directory. Every other trouble is
    told by `status` and tried again.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host_name: str,
        byte_cap: int,
        age_cap_seconds: float,
        version: str = "",
        checkpoint: Callable[[], Mapping[str, Any]] | None = None,
        beginning: Mapping[str, Any] | None = None,
        queue_limit: int = _QUEUE,
        reserve_bytes: int | None = None,
        retry_seconds: tuple[float, float] = _RETRY_SECONDS,
    ) -> None:
        self.directory = directory
        self.checkpoint = checkpoint
        self._queue_limit = queue_limit
        self._reserve_bytes = reserve_bytes
        self._retry_seconds = retry_seconds
        self._beginning = beginning
        self._checkpoint_minute: int | None = None
        self._checkpoint_problem: str | None = None
        self._changed = threading.Condition()
        self._queue: deque[_Item] = deque()
        self._orphans: deque[Label] = deque(maxlen=_LABELS_KEPT)
        self._closing = False
        self._paused: str | None = None
        self._pauses = 0
        self._written = 0
        self._dropped = 0
        self._last_drop = float("-inf")

        origin = Origin(host_name, local_zone_name(), uuid.uuid4().hex, phasetop_version=version)
        self._files = RecordingDirectory(directory, origin, Limits(byte_cap, age_cap_seconds, reserve_bytes))
        try:
            self._files.open()
        except OSError as problem:
            self._paused = why_not(problem, directory)
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def limit(self, *, byte_cap: int, age_cap_seconds: float) -> None:
        """Other caps than at first; files beyond them go with the next intervals."""
        self._files.limit(Limits(byte_cap, age_cap_seconds, self._reserve_bytes))

    def put(self, tick: Tick) -> None:
        """Hands a tick over. Never waits: when the disk cannot keep up, the oldest waiting tick is dropped."""
        beginning = self._beginning
        if beginning is not None:
            beginning = {**beginning, "next_sequence": tick.interval.sequence}
            self._beginning = None
        self._append(_Item(tick, tick.settled, self._due_checkpoint(tick.interval), beginning))

    def settle(self, labels: Iterable[Label]) -> None:
        """Labels that settled without a further interval: what `Labeller.flush()` gives at the end."""
        self._append(_Item(None, tuple(labels)))

    def close(self, timeout: float = _CLOSE_SECONDS) -> bool:
        """Writes what is queued, finishes the file and lets the directory go.

        False when the disk did not answer within `timeout` seconds; what was committed is safe.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def status(self) -> str | None:
        """None when all is well, else what is wrong in one line."""
        with self._changed:
            if self._paused is not None:
                return f"recording paused: {self._paused}"
            if time.monotonic() - self._last_drop < _TELL_DROPS_SECONDS:
                return f"recording: {self.directory} is too slow, {self._dropped} intervals were dropped"
            if self._checkpoint_problem is not None:
                return f"recording without the estimator's state: {self._checkpoint_problem}"
            return None

    @property
    def written(self) -> int:
        """Intervals committed so far: these survive the process being killed."""
        return self._written

    @property
    def dropped(self) -> int:
        """Intervals that were never written, because the disk was too slow or recording paused."""
        return self._dropped

    def _due_checkpoint(self, interval: Interval) -> Mapping[str, Any] | None:
        minute = interval.end // MINUTE
        if self.checkpoint is None or minute == self._checkpoint_minute:
            return None
        self._checkpoint_minute = minute
        try:
            return self.checkpoint()
        except Exception as problem:  # a sink does not fail its caller, and the interval is good without
            self._checkpoint_problem = f"{type(problem).__name__}: {clean(str(problem))}"
            return None

    def _append(self, item: _Item) -> None:
        with self._changed:
            if self._closing:
                return
            if len(self._queue) >= self._queue_limit:
                self._drop(self._queue.popleft())
            self._queue.append(item)
            self._changed.notify_all()

    def _drop(self, item: _Item) -> None:
        """The interval is lost, but not the labels of earlier ones, which may well be recorded."""
        self._orphans.extend(item.labels)
        if item.tick is not None:
            self._dropped += 1
            if self._paused is None:
                self._last_drop = time.monotonic()

    # From here on: the writer's thread.

    def _work(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._write(item)
            except Exception as problem:  # whatever it is, the sampler and the screens go on
                self._pause(problem, item)
            else:
                self._pauses = 0
                self._paused = None
        try:
            self._files.close()
        except Exception as problem:
            self._paused = why_not(problem, self.directory)

    def _next(self) -> _Item | None:
        """The next item once it may be tried; None when closing and there is nothing left to try."""
        with self._changed:
            retry_at = time.monotonic() + self._retry_delay() if self._pauses else 0.0
            while not self._closing:
                wait = retry_at - time.monotonic()
                if self._queue and wait <= 0:
                    break
                self._changed.wait(wait if self._queue else None)
            if self._closing and self._pauses:
                while self._queue:
                    self._drop(self._queue.popleft())
            return self._queue.popleft() if self._queue else None

    def _retry_delay(self) -> float:
        first, most = self._retry_seconds
        return float(min(most, first * 2 ** min(self._pauses - 1, 16)))

    def _write(self, item: _Item) -> None:
        with self._changed:
            labels = (*self._orphans, *item.labels)
            self._orphans.clear()
        if item.tick is None:
            self._files.settle(labels)
        else:
            self._files.write(item.tick, labels, item.checkpoint, item.beginning)
            self._written += 1

    def _pause(self, problem: Exception, item: _Item) -> None:
        self._files.abandon()
        with self._changed:
            self._pauses += 1
            self._paused = why_not(problem, self.directory)
            if is_curable(problem) and len(self._queue) < self._queue_limit:
                self._queue.appendleft(item)
            else:
                self._drop(item)
