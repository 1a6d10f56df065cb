"""Reading one recording file: rows back to intervals, labels and events.

Nothing is kept but small caches of repeated texts, so memory does not depend on a file's length.
Texts are cleaned again on the way in: a file may come from anywhere.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from collectors.model import PHASE_LABELS, WHY_SEPARATOR, Bottleneck, Event, Gap, Interval, Label, Phase
from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading, GpuReading, HostReading
from collectors.store import open_reader, reading
from collectors.store_find import Finder, one
from collectors.store_older import STEPS, Steps
from collectors.store_readings import RANGE, TEXT_LIMIT, Remembered, SourceReader, cleaned, columns_of
from collectors.store_schema import LABEL_RATIOS, LABEL_SCALE, SHARES, SOURCES
from collectors.text import clean

T = TypeVar("T")

LATEST = 2**62
"""Nanoseconds since 1970 that no time of a recording reaches: the year 2116."""
_LONGEST_SECONDS = 1e10


@dataclass(frozen=True, slots=True)
class Stored:
    """One interval as it stands in a file. `labels` are settled, and empty where none was stored."""

    interval: Interval
    labels: Mapping[str, Label]
    events: tuple[Event, ...]
    costs: Mapping[str, CostModel] = field(default_factory=dict)


class PhaseRow(NamedTuple):
    """One interval's settled phase of one entity; None where no label is stored. Times in wall-clock ns."""

    sequence: int
    start: int
    end: int
    seconds: float
    phase: Phase | None


def _require_times(rows: Sequence[tuple[Any, ...]]) -> None:
    """Raises ValueError when one of the rows, (number, start, end, seconds, ...), is no stretch of time."""
    for _, start, end, seconds, *_ in rows:
        if not (0 <= start < LATEST and 0 <= end < LATEST and 0.0 <= seconds < _LONGEST_SECONDS):
            raise ValueError("its times are none")


class FileReader:
    """Reads one file. Raises RecordingError when it cannot be opened or what it holds makes no sense.

    With `damaged` a file that was cut short is opened, too, for what is left of it.
    """

    def __init__(self, path: Path, *, damaged: bool = False, older: Steps = STEPS) -> None:
        self.path = path
        self._connection = open_reader(path, damaged=damaged, older=older)
        try:
            with reading(path):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        connection = self._connection
        self.find = Finder(connection, self.path)
        self.meta: Mapping[str, str] = {
            clean(key): clean(value, TEXT_LIMIT)
            for key, value in connection.execute("SELECT key, value FROM meta LIMIT 100")
        }
        self._host, self._gpu, self._engine = (SourceReader(connection, source) for source in SOURCES)
        self._entities = Remembered(self._load_entity)
        self._layouts = Remembered(self._load_layout)
        self._verdicts = Remembered(self._load_verdict)
        self._phrases = Remembered(self._load_phrase)
        self._spellings = Remembered(self._spelled)
        self._causes = Remembered(self._load_cause)
        self._names: Remembered[str, str] = Remembered(lambda name: clean(name, TEXT_LIMIT))
        self._models: Remembered[str, CostModel | None] = Remembered(_cost_model)
        present = columns_of(connection, "label")
        self._shares = tuple(name for name, column in SHARES if column in present)
        self._ratios = [column if column in present else None for column in LABEL_RATIOS]
        ratios = [*self._ratios, *(column for _, column in SHARES if column in present)]
        self._select_labels = (
            "SELECT r.sequence, r.entity, r.verdict, r.why, r.advice"
            + "".join(f", r.{column} / {LABEL_SCALE}.0" if column else ", NULL" for column in ratios)
            + f" FROM label r {RANGE} ORDER BY r.sequence, r.entity"
        )

    def close(self) -> None:
        self._connection.close()

    def read(self, first: int, last: int) -> list[Stored]:
        """The intervals of a range of sequence numbers, all of it in memory: give it a small one."""
        with reading(self.path), self._snapshot():
            intervals = self._intervals(first, last)
            labels = _grouped(self._labels(first, last))
            events = _grouped(self._events(first, last))
            costs = self._costs(first, last)
        return [
            Stored(
                interval,
                {label.entity: label for label in labels.get(interval.sequence, ())},
                tuple(events.get(interval.sequence, ())),
                costs.at(interval.sequence),
            )
            for interval in intervals
        ]

    def _costs(self, first: int, last: int) -> _Costs:
        """Calibrated costs from an interval on: those in force at its start, and those that follow."""
        begin = "SELECT max(sequence), name, value FROM coefficients WHERE sequence <= ? GROUP BY name"
        follow = "SELECT sequence, name, value FROM coefficients WHERE sequence > ? AND sequence <= ? ORDER BY sequence"
        rows = [*self._connection.execute(begin, (first,)), *self._connection.execute(follow, (first, last))]
        return _Costs([(sequence, self._names[name], self._models[value]) for sequence, name, value in rows])

    def intervals(self, first: int, last: int) -> list[Interval]:
        """The intervals of a range of sequence numbers alone."""
        with reading(self.path), self._snapshot():
            return self._intervals(first, last)

    def _intervals(self, first: int, last: int) -> list[Interval]:
        query = f"SELECT r.sequence, r.start_ns, r.end_ns, r.seconds FROM interval r {RANGE} ORDER BY r.sequence"
        moments = self._connection.execute(query, (first, last)).fetchall()
        _require_times(moments)
        hosts = dict(self._host.rows(first, last, self._layouts))
        gpus = _grouped(self._gpu.rows(first, last, self._layouts))
        engines = _grouped(self._engine.rows(first, last, self._layouts))
        gaps = _grouped(self._gaps(first, last))
        return [
            Interval(
                sequence,
                start,
                end,
                seconds,
                cast(HostReading | None, hosts.get(sequence)),
                {gpu.uuid: gpu for gpu in cast(Sequence[GpuReading], gpus.get(sequence, ()))},
                {engine.key: engine for engine in cast(Sequence[EngineReading], engines.get(sequence, ()))},
                tuple(gaps.get(sequence, ())),
            )
            for sequence, start, end, seconds in moments
        ]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Several queries see the same state of a file that is being written. Ends soon: it pins the log."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _gaps(self, first: int, last: int) -> Iterator[tuple[int, Gap]]:
        query = f"SELECT r.sequence, r.cause FROM gap r {RANGE} ORDER BY r.sequence, r.position"
        for sequence, cause in self._connection.execute(query, (first, last)).fetchall():
            yield sequence, self._causes[cause]

    def _labels(self, first: int, last: int) -> Iterator[tuple[int, Label]]:
        names = self._shares
        for row in self._connection.execute(self._select_labels, (first, last)).fetchall():
            phase, resource = self._verdicts[row[2]]
            why = WHY_SEPARATOR.join(self._spellings[row[3]])
            shares = {name: share for name, share in zip(names, row[9:], strict=True) if share is not None}
            yield (
                row[0],
                Label(
                    row[0],
                    self._entities[row[1]],
                    Phase(phase[0], True, row[5], row[6], row[7], phase[1], phase[2], phase[3], row[8]),
                    Bottleneck(
                        resource[0], resource[1], resource[2], shares, resource[3], why, self._spellings[row[4]]
                    ),
                ),
            )

    def _events(self, first: int, last: int) -> Iterator[tuple[int, Event]]:
        query = f"SELECT r.sequence, r.time_ns, r.kind, r.entity, r.text FROM event r {RANGE} ORDER BY r.id"
        for row in self._connection.execute(query, (first, last)).fetchall():
            yield row[0], _event(row[1:])

    def events(self, from_ns: int, to_ns: int, limit: int) -> list[Event]:
        """Events within [from, to), oldest first."""
        query = (
            "SELECT time_ns, kind, entity, text FROM event WHERE time_ns >= ? AND time_ns < ?"
            " ORDER BY time_ns, id LIMIT ?"
        )
        with reading(self.path):
            return [_event(row) for row in self._connection.execute(query, (from_ns, to_ns, limit))]

    def phases(self, entity: str, from_ns: int, to_ns: int) -> list[PhaseRow]:
        """The phases of the intervals that start within [from, to).

        Asks for one label per interval by its key, which costs a tenth of reading every entity's.
        """
        query = (
            "SELECT i.sequence, i.start_ns, i.end_ns, i.seconds, l.verdict,"
            + ", ".join(f"l.{column} / {LABEL_SCALE}.0" if column else "NULL" for column in self._ratios)
            + " FROM interval i LEFT JOIN label l ON l.sequence = i.sequence AND l.entity = ?"
            " WHERE i.start_ns >= ? AND i.start_ns < ?"
        )
        with reading(self.path):
            rows = self._connection.execute(query, (self.find.number_of(entity), from_ns, to_ns)).fetchall()
            _require_times(rows)
            return [
                PhaseRow(row[0], row[1], row[2], row[3], None if row[4] is None else self._phase(row)) for row in rows
            ]

    def _phase(self, row: tuple[Any, ...]) -> Phase:
        label, confidence, evidence, rule_version = self._verdicts[row[4]][0]
        return Phase(label, True, row[5], row[6], row[7], confidence, evidence, rule_version, row[8])

    def _load_entity(self, number: int) -> str:
        return clean(one(self._connection, "SELECT name FROM entity WHERE id = ?", number)[0], TEXT_LIMIT)

    def _load_layout(self, number: int) -> tuple[float, ...]:
        query = "SELECT upper FROM histogram_bound WHERE layout = ? ORDER BY bucket"
        uppers = [row[0] for row in self._connection.execute(query, (number,))]
        if not uppers or uppers[-1] is not None or None in uppers[:-1]:
            raise ValueError("a histogram's bounds are not complete")
        return tuple(uppers[:-1])

    def _load_verdict(self, number: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        columns = "phase, confidence, evidence, rule_version, bottleneck, resource, admission, bottleneck_confidence"
        row = one(self._connection, f"SELECT {columns} FROM verdict WHERE id = ?", number)
        label, confidence, evidence, rule_version, *bottleneck = row
        told = tuple(clean(name) for name in evidence.split(",")) if evidence else ()
        phase = (label if label in PHASE_LABELS else "unknown", clean(confidence), told, rule_version)
        return phase, tuple(cleaned(text) for text in bottleneck)

    def _spelled(self, phrases: str) -> tuple[str, ...]:
        """The phrases of a JSON array of their numbers."""
        return () if phrases == "[]" else tuple(self._phrases[int(number)] for number in phrases[1:-1].split(","))

    def _load_phrase(self, number: int) -> str:
        return clean(one(self._connection, "SELECT text FROM phrase WHERE id = ?", number)[0], TEXT_LIMIT)

    def _load_cause(self, number: int) -> Gap:
        source, reason = one(self._connection, "SELECT source, reason FROM gap_cause WHERE id = ?", number)
        return Gap(clean(source, TEXT_LIMIT), clean(reason, TEXT_LIMIT))


class _Costs:
    """Costs over a range of intervals, asked for in order."""

    def __init__(self, changes: list[tuple[int, str, CostModel | None]]) -> None:
        self._changes = changes
        self._done = 0
        self._now: Mapping[str, CostModel] = {}

    def at(self, sequence: int) -> Mapping[str, CostModel]:
        while self._done < len(self._changes) and self._changes[self._done][0] <= sequence:
            _, name, model = self._changes[self._done]
            self._done += 1
            if model is not None:
                self._now = {**self._now, name: model}
        return self._now


def _cost_model(stored: str) -> CostModel | None:
    """Costs as they are stored, None for what makes none; what a version did not keep yet has its default."""
    values = json.loads(stored)
    if not isinstance(values, dict) or "step" not in values:
        return None
    known: dict[str, Any] = {}
    for entry in fields(CostModel):
        usual: Any = entry.default
        value = values.get(entry.name, usual)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        known[entry.name] = type(usual)(value)
    return CostModel(**known)


def _event(row: tuple[Any, ...]) -> Event:
    time_ns, kind, entity, text = row
    return Event(time_ns, cast(Any, clean(kind)), clean(entity, TEXT_LIMIT), clean(text, TEXT_LIMIT))


def _grouped(pairs: Iterator[tuple[int, T]]) -> dict[int, list[T]]:
    groups: dict[int, list[T]] = defaultdict(list)
    for sequence, value in pairs:
        groups[sequence].append(value)
    return groups
