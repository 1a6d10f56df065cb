"""What replay needs of a recording, and the whole of it as one strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Protocol, runtime_checkable

from collectors.model import HOST, RULE_VERSION, Event, Tick
from dashboard.event_kinds import ALARMS, WARNINGS
from dashboard.scene import ScrubberCell


class StripPart(Protocol):
    """Seconds by phase in one column of the whole recording."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def prefill(self) -> float: ...
    @property
    def decode(self) -> float: ...
    @property
    def idle(self) -> float: ...
    @property
    def waiting(self) -> float: ...
    @property
    def unknown(self) -> float: ...
    @property
    def gap(self) -> float: ...


class Readable(Protocol):
    """What is needed of `collectors.replay.Recording`. Moments are wall-clock nanoseconds."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def first_sequence(self) -> int: ...
    @property
    def last_sequence(self) -> int: ...
    @property
    def interval_length(self) -> float: ...
    @property
    def host_name(self) -> str: ...
    @property
    def zone(self) -> tzinfo: ...
    @property
    def live(self) -> bool: ...
    @property
    def problems(self) -> tuple[str, ...]: ...
    def refresh(self) -> bool: ...
    def tick(self, sequence: int) -> Tick | None: ...
    def tick_at(self, time_ns: int) -> Tick | None: ...
    def next(self, sequence: int) -> Tick | None: ...
    def previous(self, sequence: int) -> Tick | None: ...
    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]: ...
    def next_phase_change(self, time_ns: int) -> int | None: ...
    def previous_phase_change(self, time_ns: int) -> int | None: ...
    def next_gap(self, time_ns: int) -> int | None: ...
    def previous_gap(self, time_ns: int) -> int | None: ...
    def next_event(self, time_ns: int) -> int | None: ...
    def previous_event(self, time_ns: int) -> int | None: ...
    def events(self, from_ns: int, to_ns: int) -> list[Event]: ...
    def strip(self, from_ns: int, to_ns: int, columns: int) -> Sequence[StripPart]: ...
    def close(self) -> None: ...


@runtime_checkable
class SummedUp(Protocol):
    """A recording that has also summed up what is in it by the minute, for long spans."""

    @property
    def end(self) -> int: ...
    def strip(self, from_ns: int, to_ns: int, columns: int, *, entity: str = HOST) -> Sequence[StripPart]: ...
    def means(self, from_ns: int, step: int, columns: int) -> Mapping[str, Mapping[str, Sequence[float]]]: ...


_MOST_EVENTS = 2000
_MOST_MARKED = 0.25
"""Share of the columns; beyond it only what needs a person is marked, so that the phases stay to be seen."""


class Described(Protocol):
    """What a recording says of itself and of the rules that made its labels."""

    @property
    def description(self) -> str: ...
    @property
    def rule_versions(self) -> frozenset[int]: ...


def origin(recording: Described, *, relabelled: bool = False, rules: int = RULE_VERSION) -> str:
    """Where the figures on the screen come from, and whose labels they are where these are not today's."""
    parts = [recording.description] if recording.description else []
    others = sorted(recording.rule_versions - {rules})
    stored = ", ".join(map(str, others))
    if relabelled and others:
        parts.append(f"labels made anew by rules {rules}, the overview strip's are stored ones by {stored}")
    elif relabelled:
        parts.append("labels made anew")
    elif others and others[-1] > rules:
        parts.append(f"labels by rules {stored}, newer than this phasetop's {rules}")
    elif others:
        parts.append(f"labels by rules {stored}, today's are {rules}: see --relabel")
    return "; ".join(parts)


def read_events(recording: Readable) -> tuple[Event, ...]:
    """What happened in the whole recording, oldest first; the newest where there is very much."""
    return tuple(recording.events(recording.start, recording.end + 1)[-_MOST_EVENTS:])


def _columns_of(events: Iterable[Event], start: int, end: int, count: int) -> set[int]:
    return {min(count - 1, max(0, (event.time - start) * count // (end - start))) for event in events}


def read_strip(recording: Readable, count: int) -> tuple[ScrubberCell, ...]:
    """The recording in `count` columns. A column that is mostly gap shows as one."""
    start, end = recording.start, recording.end
    # Changes of phase are told by the colours already.
    loud = [event for event in recording.events(start, end) if event.kind != "phase-change"]
    marked = _columns_of(loud, start, end, count)
    if len(marked) > count * _MOST_MARKED:
        marked = _columns_of([event for event in loud if event.kind in ALARMS | WARNINGS], start, end, count)
    cells = []
    for x, part in enumerate(recording.strip(start, end, count)):
        seconds = (part.prefill, part.decode, part.idle, part.waiting, part.unknown)
        cells.append(ScrubberCell(seconds, part.gap > sum(seconds), x in marked))
    return tuple(cells)
