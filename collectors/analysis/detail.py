"""Sums that need each interval by itself: products of what happened in the same second.

How latency follows prefill, what each phase uses of the hardware, what prefill takes when it is alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from collectors.analysis.blocks import Block
from collectors.analysis.moments import Moments
from collectors.store_schema import HISTOGRAM_SUM_SCALE, LABEL_SCALE, quoted

_ENGINE = (
    "generation_tokens", "prompt_tokens", "prompt_tokens_computed", "prompt_tokens_cached", "steps", "decode_steps",
    "requests_running", "flops", "read_bytes", "write_bytes",
)  # fmt: skip


class Detail:
    """Looks at the intervals of one file one by one."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        columns: Mapping[str, set[str]],
        scales: Mapping[tuple[str, str], int],
        entities: Mapping[int, str],
        host: int,
    ) -> None:
        self._connection = connection
        self._entities = entities
        self._host = host
        self._engine_fields = [name for name in _ENGINE if name in columns["engine"]]
        self._engine_scales = [scales["engine", name] for name in self._engine_fields]
        ratio = f"/ {LABEL_SCALE}.0"
        has_tpot = "tpot_counts" in columns["engine"]
        told = ("r.tpot_counts", "r.tpot_sum") if has_tpot else ("NULL", "NULL")
        self._engines = (
            f"SELECT r.entity, i.seconds * l.busy_ratio {ratio}, l.prefill_share {ratio}, {', '.join(told)}"
            + "".join(f", r.{quoted(name)}" for name in self._engine_fields)
            + " FROM engine r JOIN interval i ON i.sequence = r.sequence"
            " JOIN label l ON l.sequence = r.sequence AND l.entity = r.entity WHERE r.sequence BETWEEN ? AND ?"
            " AND l.busy_ratio IS NOT NULL AND l.prefill_share IS NOT NULL"
        )
        self._hosts = (
            f"SELECT i.sequence, i.seconds, l.busy_ratio {ratio}, l.prefill_share {ratio} FROM interval i"
            " JOIN label l ON l.sequence = i.sequence AND l.entity = ? WHERE i.sequence BETWEEN ? AND ?"
        )
        has_energy = "energy_joules" in columns["gpu"]
        energy = f"sum(r.energy_joules) / {scales['gpu', 'energy_joules']}.0" if has_energy else "NULL"
        activity = [
            f"avg(r.{name}) / {scales['gpu', name]}.0" if name in columns["gpu"] else "NULL"
            for name in ("tensor_active_ratio", "dram_active_ratio")
        ]
        self._gpus = (
            f"SELECT r.sequence, {', '.join(activity)}, {energy} FROM gpu r"
            " WHERE r.sequence BETWEEN ? AND ? GROUP BY r.sequence"
        )

    def look(self, block: Block, first: int, last: int) -> None:
        """Adds the intervals of a range of sequence numbers."""
        hosts: dict[int, tuple[float, float, float]] = {}
        moments = Moments()
        for sequence, seconds, busy, share in self._connection.execute(self._hosts, (self._host, first, last)):
            block.add(("detail",), seconds)
            if busy is not None:  # idle and waiting intervals have no share, and nothing to split
                split = (0.0, 0.0) if share is None else (busy * share, busy * (1.0 - share))
                hosts[sequence] = (seconds * split[0], seconds * split[1], seconds)
        for number, busy, share, counts, seconds, *values in self._connection.execute(self._engines, (first, last)):
            amounts = {
                name: None if value is None else value / scale
                for name, value, scale in zip(self._engine_fields, values, self._engine_scales, strict=True)
            }
            entity, p = self._entities[number], busy * share
            moments.engine(entity, p, busy - p, amounts)
            if counts is not None and seconds is not None:
                observed = sum(json.loads(counts).values())
                moments.delay(entity, p, observed, seconds / HISTOGRAM_SUM_SCALE, amounts)
        for sequence, tensor, dram, joules in self._connection.execute(self._gpus, (first, last)):
            if sequence in hosts:
                p, d, seconds = hosts[sequence]
                moments.power(p, d, max(0.0, seconds - p - d), joules)
                moments.use("compute", p, d, None if tensor is None else tensor * seconds)
                moments.use("memory-bandwidth", p, d, None if dram is None else dram * seconds)
        moments.add_to(block)
