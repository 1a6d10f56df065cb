"""The estimator's state in a recording: once whole, then what changed."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from typing import Any

from collectors.patch import difference

_WHOLE_EVERY = 60
"""At most this many differences are put on top of each other."""


class CheckpointWriter:
    """Stores a labeller's checkpoints, inside the caller's transactions.

    A checkpoint is what `Labeller.checkpoint()` gives: JSON of which `next_sequence` and
    `rule_version` are read here. Where it has `coefficients` (name -> JSON), each set that changed
    is stored as a row of its own, too.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._since_whole = 0
        self._coefficients: dict[str, str] = {}
        self._latest: Mapping[str, Any] | None = None

    def put(self, state: Mapping[str, Any]) -> None:
        sequence = int(state["next_sequence"])
        base = None
        stored: Any = state
        if self._latest is not None and self._since_whole < _WHOLE_EVERY:
            base = int(self._latest["next_sequence"])
            if base == sequence:
                return  # nothing has settled since
            stored = difference(dict(self._latest), dict(state))
        blob = zlib.compress(json.dumps(stored, separators=(",", ":")).encode(), 6)
        row = (sequence, int(state["rule_version"]), base, blob)
        self._connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?)", row)
        self._since_whole = 0 if base is None else self._since_whole + 1
        self._latest = state
        self._put_coefficients(sequence, state.get("coefficients") or {})

    def _put_coefficients(self, sequence: int, sets: Mapping[str, Any]) -> None:
        for name, value in sets.items():
            text = json.dumps(value, separators=(",", ":"))
            if self._coefficients.get(name) != text:
                self._coefficients[name] = text
                row = (sequence, name, text)
                self._connection.execute("INSERT OR REPLACE INTO coefficients VALUES (?, ?, ?)", row)
