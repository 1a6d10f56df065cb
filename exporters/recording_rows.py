"""Readings and labels as rows of a recording."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from collectors.histogram import Histogram
from collectors.model import BOTTLENECK_NAMES, WHY_SEPARATOR, Event, Gap, Interval, Label, engine_entity, gpu_entity
from collectors.model import HOST as HOST_ENTITY
from collectors.readings import FieldSpec, Reading
from collectors.store_schema import (
    HISTOGRAM_SUM_SCALE,
    LABEL_RATIOS,
    LABEL_SCALE,
    SHARES,
    SOURCES,
    Source,
    histogram_columns,
    quoted,
)

Row = tuple[Any, ...]

_REMEMBERED = 4096
"""Distinct texts of one kind kept in memory; beyond that all are forgotten and written again."""

_LARGEST = 2**63 - 1

MISSING = -(2**63)
"""Stands for NULL among numbers on their way into a row. Binding None costs Python's sqlite3 half a
microsecond each time, since it looks for an adapter; comparing in SQL costs a tenth."""

_NUMBER = f"NULLIF(?, {MISSING})"
_TEXT = "NULLIF(?, '')"


class Interned:
    """Rows of texts that stand once in a table and are pointed to by number.

    What is forgotten is written again under another number, which readers do not notice.
    """

    def __init__(self, table: str, columns: int, expand: Callable[[int, Row], Iterable[Row]] | None = None) -> None:
        self._insert = f"INSERT INTO {table} VALUES ({', '.join('?' * (columns + 1))})"
        self._expand = expand
        self._numbers: dict[Row, int] = {}
        self._last = 0

    def number(self, connection: sqlite3.Connection, texts: Row) -> int:
        known = self._numbers.get(texts)
        if known is not None:
            return known
        if len(self._numbers) >= _REMEMBERED:
            self.forget()
        self._last += 1
        rows = [(self._last, *texts)] if self._expand is None else self._expand(self._last, texts)
        connection.executemany(self._insert, rows)
        self._numbers[texts] = self._last
        return self._last

    def forget(self) -> None:
        """To be called when a transaction was rolled back: its rows are gone."""
        self._numbers.clear()


class _Entities:
    """Names of entities, each of which has one number throughout a file."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, connection: sqlite3.Connection, name: str) -> int:
        known = self._numbers.get(name)
        if known is not None:
            return known
        if len(self._numbers) >= _REMEMBERED:
            self._numbers.clear()
        row = connection.execute("SELECT id FROM entity WHERE name = ?", (name,)).fetchone()
        if row is None:
            insert = "INSERT INTO entity (name) VALUES (?) RETURNING id"
            row = connection.execute(insert, (name,)).fetchone()
        number = self._numbers[name] = int(row[0])
        return number

    def forget(self) -> None:
        self._numbers.clear()


def _layout_rows(number: int, layout: Row) -> list[Row]:
    field, bounds = layout
    return [(number, bucket, upper, field) for bucket, upper in enumerate((*bounds, None))]


class _SourceRows:
    """How one kind of reading becomes its row; made once, since it runs for every reading of every interval."""

    def __init__(self, source: Source) -> None:
        self.source = source
        columns = ["sequence", "entity", "facts", *(quoted(spec.name) for spec in (*source.numbers, *source.lists))]
        values = ["?", "?", "?", *(_NUMBER for _ in source.numbers), *(_TEXT for _ in source.lists)]
        for spec in source.histograms:
            columns += histogram_columns(spec.name)
            values += (_NUMBER, _TEXT, _NUMBER)
        self.insert = f"INSERT INTO {source.name} ({', '.join(columns)}) VALUES ({', '.join(values)})"
        self._facts = Interned(source.facts, len(source.texts) + len(source.steady_lists) + len(source.steady))
        self._known_facts: dict[Row, int] = {}
        self._numbers = attrgetter(*(spec.name for spec in source.numbers))
        self._scales = tuple(spec.scale for spec in source.numbers)
        self._lists_from = len(source.texts)
        self._steady_from = len(source.texts) + len(source.steady_lists)
        self._steady_scales = tuple(spec.scale for spec in source.steady)
        self._fact_values = attrgetter(*(spec.name for spec in (*source.texts, *source.steady_lists, *source.steady)))

    def facts(self, connection: sqlite3.Connection, reading: Reading, careful: bool) -> int:
        """The number of the row of facts, remembered by the reading's own values since it is asked for every time."""
        values: Row = self._fact_values(reading)
        known = self._known_facts.get(values)
        if known is not None:
            return known
        if len(self._known_facts) >= _REMEMBERED:
            self._known_facts.clear()
        texts = [_text(value) for value in values[: self._lists_from]]
        if careful:
            texts = [None if text is None else sound(text) for text in texts]
        for spec, value in zip(self.source.steady_lists, values[self._lists_from :], strict=False):
            texts.append(_list(value, spec, careful) or None)
        steady = scaled(values[self._steady_from :], self._steady_scales, careful)
        row = (*texts, *(None if value == MISSING else value for value in steady))
        number = self._known_facts[values] = self._facts.number(connection, row)
        return number

    def forget(self) -> None:
        self._facts.forget()
        self._known_facts.clear()

    def numbers(self, reading: Reading, careful: bool) -> list[int]:
        return scaled(self._numbers(reading), self._scales, careful)

    def lists(self, reading: Reading, careful: bool) -> list[str]:
        return [_list(getattr(reading, spec.name), spec, careful) for spec in self.source.lists]


class RowWriter:
    """Inserts intervals and labels through one connection, inside the caller's transactions.

    With `careful`, values that a column cannot hold (not finite, beyond 64 bits) become missing and
    texts that are no Unicode lose what is not; without it they raise ValueError or OverflowError.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._entities = _Entities()
        self._sources = tuple(_SourceRows(source) for source in SOURCES)
        self._layouts = Interned("histogram_bound", 3, _layout_rows)
        self._verdicts = Interned("verdict", 8)
        self._phrases = Interned("phrase", 1)
        self._known_spellings: dict[tuple[str, ...], str] = {}
        self._causes = Interned("gap_cause", 2)

    def forget(self) -> None:
        """A transaction was rolled back: numbers handed out in it point to nothing."""
        self._entities.forget()
        self._known_spellings.clear()
        for interned in (self._layouts, self._verdicts, self._phrases, self._causes):
            interned.forget()
        for rows in self._sources:
            rows.forget()

    def entity(self, name: str) -> int:
        return self._entities.number(self._connection, name)

    def interval(self, interval: Interval, careful: bool) -> None:
        connection = self._connection
        moment = (interval.sequence, interval.start, interval.end, interval.duration)
        connection.execute("INSERT INTO interval VALUES (?, ?, ?, ?)", moment)
        host, gpus, engines = self._sources
        sequence = interval.sequence
        if interval.host is not None:
            self._readings(host, sequence, [(HOST_ENTITY, interval.host)], careful)
        if interval.gpus:
            self._readings(gpus, sequence, [(gpu_entity(gpu.uuid), gpu) for gpu in interval.gpus.values()], careful)
        if interval.engines:
            named = [(engine_entity(engine.key), engine) for engine in interval.engines.values()]
            self._readings(engines, sequence, named, careful)
        if interval.gaps:
            self._gaps(sequence, interval.gaps, careful)

    def _readings(
        self, rows: _SourceRows, sequence: int, readings: Iterable[tuple[str, Reading]], careful: bool
    ) -> None:
        connection = self._connection
        values: list[Row] = []
        for name, reading in readings:
            entity = self.entity(sound(name) if careful else name)
            facts = rows.facts(connection, reading, careful)
            row: list[Any] = [
                sequence, entity, facts, *rows.numbers(reading, careful), *rows.lists(reading, careful)
            ]  # fmt: skip
            for spec in rows.source.histograms:
                histogram: Histogram | None = getattr(reading, spec.name)
                if histogram is None or (careful and not _fits(histogram)):
                    row += (MISSING, "", MISSING)
                    continue
                layout = self._layouts.number(connection, (spec.name, histogram.bounds))
                row += (layout, _counts(histogram), round(histogram.sum * HISTOGRAM_SUM_SCALE))
            values.append(tuple(row))
        connection.executemany(rows.insert, values)

    def _gaps(self, sequence: int, gaps: tuple[Gap, ...], careful: bool) -> None:
        rows = []
        for position, gap in enumerate(gaps):
            texts = (sound(gap.source), sound(gap.reason)) if careful else (gap.source, gap.reason)
            rows.append((sequence, position, self._causes.number(self._connection, texts)))
        self._connection.executemany("INSERT INTO gap VALUES (?, ?, ?)", rows)

    def labels(self, labels: Iterable[Label], careful: bool) -> None:
        self._connection.executemany(_INSERT_LABEL, [self._label(label, careful) for label in labels])

    def _label(self, label: Label, careful: bool) -> Row:
        phase, bottleneck = label.phase, label.bottleneck
        verdict = (
            phase.label,
            phase.confidence,
            ",".join(phase.evidence),
            phase.rule_version,
            bottleneck.name,
            bottleneck.resource,
            bottleneck.admission,
            bottleneck.confidence,
        )
        name = sound(label.entity) if careful else label.entity
        shares = bottleneck.shares.get
        ratios = [
            phase.prefill_share,
            phase.busy_ratio,
            phase.error,
            phase.unknown_ratio,
            *map(shares, BOTTLENECK_NAMES),
        ]
        return (
            label.sequence,
            self.entity(name),
            self._verdicts.number(self._connection, verdict),
            self._spelled(tuple(bottleneck.why.split(WHY_SEPARATOR)) if bottleneck.why else (), careful),
            self._spelled(bottleneck.advice, careful),
            *(
                [storable(ratio, LABEL_SCALE) for ratio in ratios]
                if careful
                else [MISSING if ratio is None else round(ratio * LABEL_SCALE) for ratio in ratios]
            ),
        )

    def _spelled(self, phrases: tuple[str, ...], careful: bool) -> str:
        """The phrases' numbers as a JSON array."""
        known = self._known_spellings.get(phrases)
        if known is not None:
            return known
        if len(self._known_spellings) >= _REMEMBERED:
            self._known_spellings.clear()
        numbers = [self._phrases.number(self._connection, (sound(one) if careful else one,)) for one in phrases]
        spelling = self._known_spellings[phrases] = f"[{','.join(map(str, numbers))}]"
        return spelling

    def events(self, sequence: int, events: Iterable[Event], careful: bool) -> None:
        self._connection.executemany(
            "INSERT INTO event (sequence, time_ns, kind, entity, text) VALUES (?, ?, ?, ?, ?)",
            [
                (sequence, event.time, event.kind, *map(sound if careful else str, (event.entity, event.text)))
                for event in events
            ],
        )


_LABEL_COLUMNS = ("sequence", "entity", "verdict", "why", "advice", *LABEL_RATIOS, *(column for _, column in SHARES))
_INSERT_LABEL = (
    f"INSERT INTO label ({', '.join(_LABEL_COLUMNS)})"
    f" VALUES (?, ?, ?, ?, ?, {', '.join(_NUMBER for _ in _LABEL_COLUMNS[5:])})"
)


def _text(value: str | tuple[str, ...] | None) -> str | None:
    return ",".join(value) if isinstance(value, tuple) else value


def _list(values: Sequence[Any] | None, spec: FieldSpec, careful: bool) -> str:
    """A list as a JSON array of texts or of scaled integers; "" stands for a missing one."""
    if values is None:
        return ""
    if spec.unit == "text":
        texts = [sound(one) if careful and one is not None else one for one in values]
        return json.dumps(texts, separators=(",", ":"), ensure_ascii=False)
    numbers = scaled(values, (spec.scale,) * len(values), careful)
    return f"[{','.join(['null' if one == MISSING else str(one) for one in numbers])}]"


def _fits(histogram: Histogram) -> bool:
    return (
        all(math.isfinite(bound) for bound in histogram.bounds)
        and all(count >= 0 for count in histogram.counts)
        and histogram.count <= _LARGEST
        and storable(histogram.sum, HISTOGRAM_SUM_SCALE) != MISSING
    )


def _counts(histogram: Histogram) -> str:
    """The buckets that have observations, as a JSON object."""
    return "{" + ",".join([f'"{bucket}":{count}' for bucket, count in enumerate(histogram.counts) if count]) + "}"


def scaled(values: Sequence[float | None], scales: Sequence[int], careful: bool) -> list[int]:
    """The values as stored integers, or MISSING."""
    pairs = zip(values, scales, strict=True)
    if careful:
        return [storable(value, scale) for value, scale in pairs]
    return [MISSING if value is None else round(value * scale) for value, scale in pairs]


def storable(value: float | None, scale: int) -> int:
    """The scaled integer, or MISSING when it is not finite or does not fit 64 bits."""
    if value is None:
        return MISSING
    try:
        scaled = round(value * scale)
    except (ValueError, OverflowError):
        return MISSING
    return scaled if -_LARGEST <= scaled <= _LARGEST else MISSING


def sound(text: str) -> str:
    """The text without code points that no encoding of Unicode has."""
    return text.encode("utf-8", "replace").decode()
