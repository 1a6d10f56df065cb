"""One recording file's tables as blocks of sums, most of them added up by SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from collectors.analysis.blocks import Block
from collectors.analysis.bucket_counts import counted
from collectors.analysis.detail import Detail
from collectors.analysis.queries import Queries
from collectors.analysis.roster import Roster
from collectors.clock import NANO
from collectors.model import HOST, PHASES
from collectors.phase.calibrate import CostModel
from collectors.store import open_reader, reading
from collectors.store_read import FileReader
from collectors.store_schema import HISTOGRAM_SUM_SCALE, LABEL_SCALE

MINUTE = 60 * NANO
_Seen = dict[tuple[str, str, str, int], list[str]]
"""Counts as they are stored, by entity, latency, bottleneck and layout."""


class Minute(NamedTuple):
    start: int
    first: int
    last: int
    intervals: int
    seconds: float
    begin: int
    end: int


class FileTables:
    """One recording file while it is read. Columns that it lacks count as not measured."""

    def __init__(self, path: Path, begin: int, until: int) -> None:
        self.path = path
        self._begin, self._until = begin, until
        self._connection: sqlite3.Connection | None = open_reader(path)
        with reading(path):
            self._prepare()

    def _prepare(self) -> None:
        connection = self._open
        self._entities = {number: str(name) for number, name in connection.execute("SELECT id, name FROM entity")}
        self._host = next((number for number, name in self._entities.items() if name == HOST), -1)
        self.rule_version = int(dict(connection.execute("SELECT key, value FROM meta")).get("rule_version", "0"))
        self._scales = {
            (source, name): scale
            for source, name, scale in connection.execute("SELECT source, name, scale FROM field WHERE scale > 0")
        }
        self._columns = {
            table: {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
            for table in ("gpu", "engine", "label", "gpu_facts", "engine_facts")
        }
        self._bounds = self._layouts(connection)
        verdicts = "SELECT id, phase, bottleneck, admission, bottleneck_confidence FROM verdict"
        self._verdicts = {row[0]: tuple(row[1:]) for row in connection.execute(verdicts)}
        self.minutes = self._find_minutes()
        self._rolled = self._roll_ups()
        self._queries = Queries(self._columns, self._verdicts)
        self._detail = Detail(connection, self._columns, self._scales, self._entities, self._host)

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError(f"{self.path} is closed")
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @staticmethod
    def _layouts(connection: sqlite3.Connection) -> dict[int, tuple[float, ...]]:
        layouts: dict[int, list[float]] = {}
        query = "SELECT layout, upper FROM histogram_bound ORDER BY layout, bucket"
        for layout, upper in connection.execute(query):
            layouts.setdefault(layout, []).append(float("inf") if upper is None else float(upper))
        return {layout: tuple(uppers) for layout, uppers in layouts.items()}

    def _find_minutes(self) -> list[Minute]:
        query = (
            f"SELECT start_ns / {MINUTE} AS minute, min(sequence), max(sequence), count(*), sum(seconds),"
            " min(start_ns), max(end_ns) FROM interval WHERE start_ns >= ? AND start_ns < ?"
            " GROUP BY minute ORDER BY minute"
        )
        rows = self._open.execute(query, (self._begin, self._until))
        return [Minute(row[0] * MINUTE, *row[1:]) for row in rows]

    def _roll_ups(self) -> dict[int, list[tuple[int, tuple[float, ...]]]]:
        """Phase seconds of each entity by the start of the minute."""
        sums = ", ".join(f"{phase}_seconds" for phase in PHASES)
        query = f"SELECT start_ns, entity, {sums} FROM minute WHERE start_ns >= ? AND start_ns + {MINUTE} <= ?"
        found: dict[int, list[tuple[int, tuple[float, ...]]]] = {}
        for row in self._open.execute(query, (self._begin, self._until)):
            found.setdefault(row[0], []).append((row[1], row[2:]))
        return found

    def costs(self) -> dict[str, CostModel]:
        """The costs in force at the end of what was read."""
        reader = FileReader(self.path)
        try:
            last = reader.read(self.minutes[-1].last, self.minutes[-1].last)
            return dict(last[0].costs) if last else {}
        finally:
            reader.close()

    # One block.

    def block(self, span: Sequence[Minute], looked_at: Sequence[Minute], roster: Roster) -> Block:
        """The sums over minutes that follow each other; `looked_at` are those of them to see in detail."""
        whole = Minute(
            span[0].start, min(one.first for one in span), max(one.last for one in span),
            sum(one.intervals for one in span), sum(one.seconds for one in span), span[0].begin, span[-1].end,
        )  # fmt: skip
        block = Block(whole.begin, whole.end)
        block.add(("seconds",), whole.seconds)
        block.add(("intervals",), float(whole.intervals))
        for minute in span:
            self._phases(block, minute)
        self._host_label(block, whole)
        self._gpus(block, whole, roster)
        self._engines(block, whole, roster)
        for minute in looked_at:
            self._gauges(block, minute)
            self._detail.look(block, minute.first, minute.last)
        return block

    def _rows(self, query: str, minute: Minute) -> list[tuple[Any, ...]]:
        return self._open.execute(query, (minute.first, minute.last)).fetchall()

    def _phases(self, block: Block, minute: Minute) -> None:
        rolled = self._rolled.get(minute.start)
        if rolled is None:
            rolled = [(row[0], row[1:]) for row in self._rows(self._queries.phases, minute)]
        for number, seconds in rolled:
            entity = self._entities[number]
            for phase, value in zip(PHASES, seconds, strict=True):
                block.add(("phase", entity, phase), value)

    def _host_label(self, block: Block, minute: Minute) -> None:
        left = minute.seconds
        for verdict, seconds, doubt, *shares in self._open.execute(
            self._queries.host, (self._host, minute.first, minute.last)
        ):
            _, name, admission, confidence = self._verdicts[verdict]
            left -= seconds
            block.add(("doubt",), doubt)
            block.add(("bottleneck", name), seconds)
            if admission is not None:
                block.add(("admission", admission), seconds)
            if confidence == "low" and any(shares):
                block.add(("inferred",), seconds)
            for resource, share in zip(self._queries.shares, shares, strict=True):
                if share:
                    block.add(("resource", resource), share / LABEL_SCALE)
        if left > 1e-6 * minute.seconds:
            block.add(("unlabelled",), left)

    def _gpus(self, block: Block, minute: Minute, roster: Roster) -> None:
        for number, facts, seconds, *values in self._rows(self._queries.gpu, minute):
            entity = self._entities[number]
            if roster.is_new("gpu", entity, (self.path, facts)):
                roster.learn_gpu(entity, self._fact("gpu", facts))
            if roster.is_divided(entity):
                continue  # its instances are counted
            joules, busy, prefill, doubt, unsplit, idle, waiting = values
            block.add(("gpu", entity, "seconds"), seconds)
            if joules is not None:
                scale = self._scales["gpu", "energy_joules"]
                busy, prefill = (busy or 0.0) / LABEL_SCALE, (prefill or 0.0) / LABEL_SCALE**2
                parts = {
                    "prefill": prefill, "decode": busy - prefill, "waiting": waiting or 0.0,
                    "idle": (joules - (unsplit or 0.0) - busy) + (idle or 0.0),
                    "unknown": (unsplit or 0.0) - (idle or 0.0) - (waiting or 0.0),
                }  # fmt: skip
                for phase, value in parts.items():
                    block.add(("joules", entity, phase), value / scale)
                block.add(("joules-error", entity), (doubt or 0.0) / LABEL_SCALE**2 / scale)

    def _gauges(self, block: Block, minute: Minute) -> None:
        """Gauges of GPUs, weighted with seconds."""
        if not self._queries.gpu_gauges:
            return
        for number, *values in self._rows(self._queries.gauges, minute):
            for index, name in enumerate(self._queries.gpu_gauges):
                weighted, weight = values[2 * index : 2 * index + 2]
                if weighted is not None:
                    block.add(("gpu", self._entities[number], name), weighted / self._scales["gpu", name])
                    block.add(("gpu", self._entities[number], f"{name}:seconds"), weight)

    def _engines(self, block: Block, minute: Minute, roster: Roster) -> None:
        queries = self._queries
        seen: _Seen = {}
        for row in self._rows(queries.engine, minute):
            number, facts, verdict, seconds, prefill, decode, doubt, kv_most, waiting_most, full, queued = row[:11]
            entity = self._entities[number]
            if roster.is_new("engine", entity, (self.path, facts)):
                roster.learn_engine(entity, self._fact("engine", facts))
            if roster.engines[entity].role == "router":
                continue  # it only passes requests on
            bottleneck = self._verdicts[verdict][1] if verdict is not None else "unknown"
            add = block.add
            add(("engine", entity, "seconds"), seconds)
            add(("engine", entity, "busy-prefill"), prefill)
            add(("engine", entity, "busy-decode"), decode)
            add(("engine", entity, "busy-error"), doubt)
            add(("engine", entity, "kv-full-seconds"), full)
            add(("engine", entity, "waiting-seconds"), queued)
            if kv_most is not None:
                block.top(("kv", entity), kv_most / self._scales["engine", "kv_cache_usage_ratio"])
            block.top(("waiting", entity), waiting_most)
            at = 11
            for name in queries.engine_amounts:
                if row[at] is not None:
                    add(("engine", entity, name), row[at] / self._scales["engine", name])
                at += 1
            for name in queries.engine_gauges:
                if row[at] is not None:
                    add(("engine", entity, name), row[at] / self._scales["engine", name])
                    add(("engine", entity, f"{name}:seconds"), row[at + 1])
                at += 2
            for name in queries.latencies:
                self._latency(block, (entity, name, bottleneck), row[at : at + 4], (number, verdict), minute, seen)
                at += 4
        self._observe(block, seen)

    def _latency(
        self, block: Block, of: tuple[str, str, str], told: Sequence[Any], which: tuple[int, int | None],
        minute: Minute, seen: _Seen,
    ) -> None:  # fmt: skip
        """Collects observations: `told` are the least and the greatest layout, the counts and their sum."""
        lowest, highest, counts, seconds = told
        if lowest is None:
            return
        entity, name, _ = of
        block.add(("latency-sum", entity, name), seconds / HISTOGRAM_SUM_SCALE)
        if lowest == highest:
            seen.setdefault((*of, lowest), []).append(counts)
            return
        query = (
            f"SELECT r.{name}_layout, r.{name}_counts FROM engine r LEFT JOIN label l ON l.sequence = r.sequence"
            f" AND l.entity = r.entity WHERE r.sequence BETWEEN ? AND ? AND r.entity = ? AND l.verdict IS ?"
            f" AND r.{name}_layout IS NOT NULL"
        )
        for layout, one in self._open.execute(query, (minute.first, minute.last, *which)):
            seen.setdefault((*of, layout), []).append(one)

    def _observe(self, block: Block, seen: _Seen) -> None:
        """Adds what was collected, by bucket."""
        for (entity, name, bottleneck, layout), counts in seen.items():
            bounds = self._bounds[layout]
            for bucket, count in counted(",".join(counts)).items():
                lower = bounds[bucket - 1] if bucket else 0.0
                block.add(("latency", entity, name, bottleneck, lower, bounds[bucket]), count)

    def _fact(self, source: str, number: int) -> dict[str, object]:
        """The texts and steady numbers of a reading, in base units."""
        cursor = self._open.execute(f"SELECT * FROM {source}_facts WHERE id = ?", (number,))
        row = cursor.fetchone()
        if row is None:
            raise LookupError("a row points to another that is not there")
        names = [one[0] for one in cursor.description]
        return {
            name: value / self._scales.get((source, name), 1) if isinstance(value, int) else value
            for name, value in zip(names, row, strict=True)
        }
