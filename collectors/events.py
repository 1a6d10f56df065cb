"""What happened between two intervals: engines and GPUs that came, went, started anew or reported errors.

Pure, so that a live session, an import and a recording find the same events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from collectors.gpu.xid_words import xid_words
from collectors.model import Event, EventKind, Interval, engine_entity, gpu_entity
from collectors.readings import EngineReading

CLOCK = "clock"
"""The gap source, and the entity, of a clock that stepped and of a machine that slept."""

_TOTALS = ("prompt_tokens", "generation_tokens", "steps", "requests_finished")
_COMPARED_SECONDS = 50.0
"""Pages up to this far apart are compared with each other, unless another process serves the later one."""


def events_between(previous: Interval | None, current: Interval) -> tuple[Event, ...]:
    """The events that became visible with `current`. `previous` is the interval handed on before it.

    An engine that is there for the first time is an `engine-up` too.
    """
    return (*_clock(current), *_engines(previous, current), *_gpus(previous, current))


def _clock(current: Interval) -> Iterator[Event]:
    for gap in current.gaps:
        if gap.source == CLOCK:
            yield Event(current.start, "clock-step", CLOCK, gap.reason)


def _engines(previous: Interval | None, current: Interval) -> Iterator[Event]:
    reasons = {gap.source: gap.reason for gap in current.gaps}
    for key, now in current.engines.items():
        before = previous.engines.get(key) if previous is not None else None
        rank = "" if now.engine_index == "0" else f" #{now.engine_index}"
        name = f"{now.engine or 'engine'} at {now.endpoint}{rank}"
        kind: EventKind
        if now.state == "ok" and (before is None or before.state == "down"):
            kind, text = "engine-up", f"{name} is up"
        elif now.state == "down" and before is not None and before.state != "down":
            kind, text = "engine-down", f"{name} is down: {reasons.get(now.endpoint, 'nobody answers')}"
        elif before is not None and (_started_anew(before, now) or _came_back_anew(before, now)):
            kind, text = "engine-restart", f"{name} counts from 0 again"
        else:
            continue
        yield Event(current.end, kind, engine_entity(key), text)


def _started_anew(before: EngineReading, now: EngineReading) -> bool:
    """Both pages came, and they cannot be compared: totals went back, or another process answers."""
    if before.state != "ok" or now.state != "ok" or before.window_seconds is None:
        return False
    return any(getattr(before, name) is not None and getattr(now, name) is None for name in _TOTALS)


def _came_back_anew(before: EngineReading, now: EngineReading) -> bool:
    """A page came after a while without one, too soon after the last to be left uncompared for its age alone."""
    known = before.age_seconds is not None and before.age_seconds < _COMPARED_SECONDS
    return before.state in ("blocked", "stale") and now.state == "ok" and now.window_seconds is None and known


def _gpus(previous: Interval | None, current: Interval) -> Iterator[Event]:
    for uuid, now in current.gpus.items():
        name = f"GPU {now.index}" + (f" ({now.name})" if now.name else "")
        for code, times in Counter((now.xid_codes or "").split(",")).items():
            if code.isdecimal() and len(code) < 6:
                often = f" ({times} times)" if times > 1 else ""
                yield Event(current.end, "xid", gpu_entity(uuid), f"{name}: {xid_words(int(code))}{often}")
        before = previous.gpus.get(uuid) if previous is not None else None
        if before is None or (before.state == "lost") == (now.state == "lost") or now.state == "stale":
            continue
        if now.state == "lost":
            yield Event(current.end, "gpu-lost", gpu_entity(uuid), f"{name} is lost")
        else:
            yield Event(current.end, "gpu-back", gpu_entity(uuid), f"{name} is back")
