"""Keeps one NVML reader process alive, and says in one line when it cannot.

A state machine over children, a clock and a probe, stepped by one thread; nothing in it waits.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collectors.gpu.codes import LIBRARY_NOT_FOUND
from collectors.gpu.frames import FrameError
from collectors.gpu.process import Child, process_state
from collectors.text import clean

Message = dict[str, Any]

_CLOSING_SECONDS = 0.5
_CLOSING_POLL_SECONDS = 0.02
_LEAVING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """All in seconds."""

    start: float = 30.0
    """Without any sign of life while NVML starts: without persistence mode each GPU takes seconds."""
    restart: float = 8.0
    """The same of early attempts to start it again where it was ready within a second before."""
    hang: float = 7.0
    """Without any sign of life while a round is due. A slow driver shows one after each call."""
    answer: float = 3.0
    """After this long without an answer the status says so."""
    first_retry: float = 1.0
    early_retry: float = 5.0
    """The longest pause between two attempts at first, so that it works again soon after it can."""
    early: float = 600.0
    """How long after it last worked (or was first tried) attempts are early ones."""
    last_retry: float = 60.0
    healthy: float = 60.0
    """A reader that worked this long starts the retries from the first one again."""
    probe: float = 5.0
    """Between two looks at whether a driver has come or changed."""
    absent_retry: float = 600.0
    """Between two tries where there is no NVML library, whatever the probe says."""
    first_renewal: float = 20.0
    last_renewal: float = 3600.0
    """A reader that has lost a GPU is replaced after so long, later and later while that does not help."""
    kill: float = 2.0
    """After this long a killed process that is still there is called stuck."""


DEADLINES = Deadlines()


class Supervisor:
    """`spawn` starts a child or raises OSError; `probe` returns anything that changes when a driver does."""

    MOST_STUCK = 2

    def __init__(
        self,
        spawn: Callable[[], Child],
        probe: Callable[[], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        deadlines: Deadlines = DEADLINES,
    ) -> None:
        self._spawn = spawn
        self._probe = probe
        self._clock = clock
        self._deadlines = deadlines
        self._child: Child | None = None
        self._driver: str | None = None
        self._ready_at: float | None = None
        self._requests = 0
        self._asked_at: float | None = None
        self._moved_at = 0.0
        self._trouble: str | None = None
        self._retry_at = 0.0
        self._retry_seconds = deadlines.first_retry / 2
        self._probed: object = None
        self._probe_at = 0.0
        self._leaving: list[tuple[Child, float]] = []
        self._closed_at: float | None = None
        self._lost_since: float | None = None
        self._worked_at = clock()
        self._started_at = 0.0
        self._starts_quickly = False
        self._renewal_seconds = deadlines.first_renewal
        self._renewed_at = 0.0

    @property
    def listening_to(self) -> Child | None:
        """The child whose descriptor is worth waiting on."""
        return self._child if self._closed_at is None else None

    @property
    def driver_version(self) -> str | None:
        return self._driver

    def step(self, wanted: bool = False) -> tuple[list[Message], bool]:
        """Do all that is due. Returns the samples that arrived, and whether a wanted one is now asked for.

        A sample is asked for only when none is outstanding: a wish during one is dropped (True is
        returned), a wish before the reader is ready stays (False).
        """
        now = self._clock()
        self._see_off(now)
        if self._child is None and self._may_spawn(now):
            self._start(now)
        samples = self._listen(now)
        if not wanted or self._child is None or self._ready_at is None:
            return samples, False
        if self._asked_at is None:
            self._ask(now, {})
        return samples, True

    def ask_ahead(self, at: float) -> bool:
        """Ask for a sample to be taken at a moment to come, whatever this process is busy with then.

        False while another one is outstanding; a moment that has passed is forgotten (True).
        """
        if self._asked_at is not None:
            return False
        if self._child is not None and self._ready_at is not None and at > self._clock():
            self._ask(at, {"at": at})
        return True

    def _ask(self, at: float, when: Message) -> None:
        """A reader that is to wait until `at` is not silent before."""
        assert self._child is not None
        self._requests += 1
        self._asked_at = self._moved_at = at
        self._child.send({"id": self._requests, **when})

    def seconds_to_wait(self) -> float | None:
        """How long nothing is due unless the child speaks or a sample is wanted; None for ever."""
        now = self._clock()
        due: list[float] = []
        if self._child is None:
            due += [self._retry_at, self._probe_at] if len(self._leaving) < self.MOST_STUCK else []
        elif self._closed_at is not None:
            due.append(now + _CLOSING_POLL_SECONDS)
        elif (limit := self._silence_limit()) is not None:
            due.append(self._moved_at + limit)
        if self._leaving:
            due.append(now + 1.0)
        return max(0.0, min(due) - now) if due else None

    @property
    def status(self) -> str | None:
        """None when all is well, else what is wrong in one line."""
        now = self._clock()
        stuck = [f"{child.pid}" for child, since in tuple(self._leaving) if now - since >= self._deadlines.kill]
        if len(stuck) >= self.MOST_STUCK:
            return f"NVML readers {', '.join(stuck)} hang in the driver and cannot be killed; no other is started"
        if stuck:
            return f"an NVML reader (pid {stuck[0]}, state {process_state(int(stuck[0])) or '?'}) cannot be killed"
        trouble = self._trouble
        if trouble is not None:
            return trouble
        silent = self._silent_seconds(now)
        if silent >= self._deadlines.answer:
            return f"NVML has not answered for {silent:.0f} s"
        return None

    def end(self) -> list[Child]:
        """Let go of the child, which leaves by itself unless it hangs. Returns all that may still run."""
        child, self._child = self._child, None
        if child is not None:
            child.close()
        return [*([child] if child is not None else ()), *(stuck for stuck, _ in self._leaving)]

    def _see_off(self, now: float) -> None:
        """Reap those that have ended; kill those that were asked to leave and did not."""
        self._leaving = [(child, since) for child, since in self._leaving if child.exit_status() is None]
        for child, since in self._leaving:
            if now - since >= _LEAVING_SECONDS:
                child.kill()

    # -- starting

    def _may_spawn(self, now: float) -> bool:
        if len(self._leaving) >= self.MOST_STUCK:
            return False
        if now >= self._retry_at:
            return True
        if now >= self._probe_at:
            self._probe_at = now + self._deadlines.probe
            return self._probe() != self._probed
        return False

    def _start(self, now: float) -> None:
        self._probed = self._probe()
        self._ready_at = self._asked_at = None
        self._moved_at = self._started_at = now
        try:
            self._child = self._spawn()
        except OSError as error:
            self._plan_retry(now, f"cannot start the NVML reader: {error}")

    def _plan_retry(self, now: float, trouble: str, *, absent: bool = False) -> None:
        self._trouble = clean(trouble, 200)
        if self._ready_at is not None and now - self._ready_at >= self._deadlines.healthy:
            self._retry_seconds = self._deadlines.first_retry / 2
        longest = self._deadlines.early_retry if self._is_early(now) else self._deadlines.last_retry
        self._retry_seconds = min(self._retry_seconds * 2, longest)
        self._retry_at = now + (self._deadlines.absent_retry if absent else self._retry_seconds)
        self._probe_at = now + self._deadlines.probe

    def _is_early(self, now: float) -> bool:
        return now - self._worked_at < self._deadlines.early

    # -- listening

    def _listen(self, now: float) -> list[Message]:
        child = self._child
        if child is None:
            return []
        try:
            messages = child.receive()
        except FrameError as error:
            self._drop(now, f"the NVML reader sent nonsense ({error}); restarting it")
            return []
        if messages is None:
            self._closing(now, child)
            return []
        samples: list[Message] = []
        for message in messages:
            self._moved_at = max(now, self._moved_at)
            if message.get("kind") == "sample":
                self._asked_at, self._trouble = None, None
                self._worked_at = now
                samples.append(message)
                self._renew_for_a_lost_gpu(now, message)
                if self._child is None:
                    return samples
            elif message.get("kind") == "ready":
                self._ready_at = now
                self._starts_quickly = now - self._started_at < 1.0
                self._driver = clean(str(message.get("driver") or ""), 40) or None
            elif message.get("kind") == "gone":
                code = message.get("code")
                self._drop(now, str(message.get("reason") or "NVML is gone"), absent=code == LIBRARY_NOT_FOUND)
                return samples
        limit = self._silence_limit()
        if limit is not None and now - self._moved_at >= limit:
            silent = self._silent_seconds(now)
            self._drop(now, f"NVML has not answered for {silent:.0f} s; restarting its reader")
        return samples

    def _renew_for_a_lost_gpu(self, now: float, sample: Message) -> None:
        """NVML does not see a GPU again that it has lost, and keeps its device open, which is in the way of a reset.

        A new process does neither. It opens the other GPUs at once, so they miss a moment at most.
        """
        gpus = sample.get("gpus")
        lost = isinstance(gpus, list) and any(isinstance(gpu, dict) and gpu.get("state") == "lost" for gpu in gpus)
        if not lost:
            self._lost_since = None
            if now - self._renewed_at >= self._deadlines.last_renewal:
                self._renewal_seconds = self._deadlines.first_renewal
        elif self._lost_since is None:
            self._lost_since = now
        elif now - self._lost_since >= self._renewal_seconds and self._child is not None:
            self._renewal_seconds = min(self._renewal_seconds * 4, self._deadlines.last_renewal)
            self._child.close()
            self._leaving.append((self._child, now))
            self._child = self._ready_at = self._asked_at = self._lost_since = None
            self._retry_at = self._renewed_at = now

    def _closing(self, now: float, child: Child) -> None:
        """Its pipe is closed, so it is about to end: give it a moment to show its exit status."""
        self._closed_at = now if self._closed_at is None else self._closed_at
        status = child.exit_status()
        if status is not None or now - self._closed_at >= _CLOSING_SECONDS:
            self._drop(now, _why_it_ended(status))

    def _silence_limit(self) -> float | None:
        """How long the child may be silent in what it is doing; None when nothing is asked of it."""
        if self._ready_at is None:
            early = self._starts_quickly and self._is_early(self._started_at)
            return self._deadlines.restart if early else self._deadlines.start
        return self._deadlines.hang if self._asked_at is not None else None

    def _silent_seconds(self, now: float) -> float:
        """Since when an answer is outstanding (signs of life are no answer)."""
        asked_at = self._asked_at  # read once: another thread may be asking for the status
        if self._child is None:
            return 0.0
        if self._ready_at is None:
            return now - self._moved_at
        return now - asked_at if asked_at is not None else 0.0

    def _drop(self, now: float, trouble: str, *, absent: bool = False) -> None:
        child, self._child = self._child, None
        self._driver = self._closed_at = self._lost_since = None
        self._plan_retry(now, trouble, absent=absent)
        self._ready_at = self._asked_at = None
        if child is not None:
            child.close()
            child.kill()
            if child.exit_status() is None:
                self._leaving.append((child, now))


def _why_it_ended(status: int | None) -> str:
    if status is None:
        return "the NVML reader closed its end; restarting it"
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"the NVML reader was ended by {name}; restarting it"
    return f"the NVML reader ended with status {status}; restarting it"
