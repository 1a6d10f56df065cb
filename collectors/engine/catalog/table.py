"""The terms a catalogue of engines is written in.

A field lists its alternatives in order of preference; the first one whose samples are on the page
is used, so that a renamed or missing series degrades one field and nothing else.

An alternative is written as selectors of samples: `name`, `name{label=value}`,
`name{label^=prefix}`, `name{label!=value}`; `a + b`, `a - b` and `a * b` join two. `name@label`
reads a label's value; `name@#label` counts the comma-separated items of a label, on the series
with the highest value where that value is the time of its last change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Moves = Literal["step", "first-token", "admission", "request-end", "report", "log", "record", "constant"]
"""When a series advances: every engine step; when a request gets its first token; when it is
accepted or scheduled; when it ends; when the engine's statistics are collected, which may wait for
some request to end; at the engine's own reporting interval; at every engine step too, but only where
the configuration has its records of them read; never."""

MOVES: Mapping[Moves, str] = {
    "step": "at every engine step",
    "first-token": "when a request gets its first token",
    "admission": "when a request is accepted or scheduled",
    "request-end": "when a request ends",
    "report": "when the engine collects its statistics, which may wait for a request to end",
    "log": "at the engine's own reporting interval",
    "record": "at every engine step, where the configuration has the engine's records of its steps read",
    "constant": "never",
}

LATE: frozenset[Moves] = frozenset({"request-end", "report"})
"""Moves that say nothing about the interval they are seen in: the work may be a minute old."""

UNASSURED: frozenset[Moves] = LATE | {"record"}
"""Moves by which an engine's work need not be seen as it is done: that nothing moves is no sign of rest."""

WITHIN_INTERVAL: frozenset[str] = frozenset(
    {
        "prompt_tokens", "prompt_tokens_computed", "prompt_tokens_cached", "generation_tokens", "first_tokens",
        "steps", "decode_steps", "prefill_seconds", "decode_seconds",
    }
)  # fmt: skip
"""Amounts that are read as the work of their own interval. Where an engine counts one of them late,
the reading says so in `late_fields`."""

Kind = Literal["engine", "server", "gateway"]
"""An engine computes tokens itself. A server may stand around an engine whose own series are on the
same page, and then gives way to it. A gateway only passes requests on."""

GATEWAY_ROLE = "router"
"""The role in a reading of what passes requests on and computes nothing."""

Combine = Literal["sum", "max"]
Operator = Literal["+", "-", "*"]
_How = Literal["=", "^=", "!="]

_SELECTOR = re.compile(
    r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<label>\w+)(?P<how>[\^!]?=)(?P<value>[^}]*)\})?"
    r"(?:@(?P<items>#)?(?P<info>\w+))?$"
)


@dataclass(frozen=True, slots=True)
class Selector:
    """Chooses the series of one sample name, optionally by one label; `info` names a label to read instead."""

    name: str
    label: str | None = None
    how: str = "="
    value: str = ""
    info: str | None = None
    counts_items: bool = False

    @classmethod
    def parse(cls, text: str) -> Selector:
        found = _SELECTOR.match(text.strip())
        if found is None:
            raise ValueError(f"not a selector: {text!r}")
        how = found["how"] or "="
        return cls(found["name"], found["label"], how, found["value"] or "", found["info"], bool(found["items"]))

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.label is None:
            return True
        value = labels.get(self.label)
        if self.how == "!=":
            return value != self.value
        return value is not None and (value.startswith(self.value) if self.how == "^=" else value == self.value)


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to get a field: selectors joined by one operator, when they move, and base units per unit."""

    text: str
    selectors: tuple[Selector, ...]
    operator: Operator
    moves: Moves
    scale: float = 1.0

    @classmethod
    def parse(cls, text: str, moves: Moves, scale: float = 1.0) -> Alternative:
        operator: Operator = "*" if " * " in text else "-" if " - " in text else "+"
        selectors = tuple(Selector.parse(part) for part in text.split(f" {operator} "))
        return cls(text, selectors, operator, moves, scale)


@dataclass(frozen=True, slots=True)
class Row:
    """A field of `EngineReading` and where an engine's page has it.

    `combine` tells what several series of one gauge make. `zero_is_missing` is for series that
    stand on the page at 0 when the engine does not keep them.
    """

    field: str
    alternatives: tuple[Alternative, ...]
    combine: Combine = "sum"
    zero_is_missing: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's table.

    `prefixes` are the name prefixes its samples may carry, the first being the one the rows are
    written with. `markers` are selectors of which one must be on the page, where the names alone
    may be anybody's. `index_label` tells ranks apart. Series that differ only in a label of
    `replica_labels` repeat one count for every process of a group: the first is taken. Series with
    a value of a label in `part_labels` are parts of the one that has it empty: they are left out.
    `also_read` are names of samples that no row reads and something else does.
    `running_is_live` says that `requests_running` = 0 really means that nothing runs (elsewhere the
    gauge is published after a step, or seldom). `empty_at_first` says that its page has nothing on it
    until the first request.
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    rows: tuple[Row, ...]
    kind: Kind = "engine"
    markers: tuple[Selector, ...] = ()
    model_labels: tuple[str, ...] = ("model_name",)
    index_label: str | None = None
    replica_labels: tuple[str, ...] = ()
    part_labels: tuple[str, ...] = ()
    role_label: str | None = None
    roles: Mapping[str, str] | None = None
    running_is_live: bool = False
    empty_at_first: bool = False
    also_read: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Source = tuple[str, Moves] | tuple[str, Moves, float]


def row(field: str, *sources: Source, combine: Combine = "sum", zero_is_missing: bool = False) -> Row:
    """A row from its alternatives, each (text, when it moves) or (text, when, base units per unit)."""
    return Row(field, tuple(Alternative.parse(*source) for source in sources), combine, zero_is_missing)


def markers(*texts: str) -> tuple[Selector, ...]:
    return tuple(Selector.parse(text) for text in texts)
