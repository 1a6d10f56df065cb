"""Labels that a recording does not hold, or that are wanted anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collectors.model import RULE_VERSION, Interval, Label
from collectors.relabel import LabellerFactory, Relabeller
from collectors.replay_parts import Part, Parts
from collectors.store import reading
from collectors.store_read import FileReader

_CHUNK = 64
_TAIL = 1000
"""Intervals without stored labels are labelled when a checkpoint lies at most so many before them."""
_WARM_UP = 600
"""Intervals to learn from where there is no checkpoint near."""


class LabelMaker:
    """Labels intervals of a recording by pushing those before them, from a checkpoint on.

    With `everywhere`, any interval is labelled, however far the checkpoint. Otherwise only those
    that may still be settling, or were when their writer was killed.
    """

    def __init__(self, parts: Parts, factory: LabellerFactory, *, everywhere: bool) -> None:
        self._parts = parts
        self._factory = factory
        self._everywhere = everywhere
        self._relabeller: Relabeller | None = None
        self._chain = -1

    def labels(self, part: Part, sequence: int, *, is_live: bool) -> Mapping[str, Label]:
        """Labels of an interval of the part, by the part's own number; empty where there are none to be had.

        With `is_live` the last part may still go on, so that what is open in it stays provisional.
        """
        is_over = not (is_live and part.chain == self._parts.all[-1].chain)
        with reading(part.path):  # a state or figures that no labeller can have made or taken
            relabeller = self._relabeller_for(part, sequence)
            return {} if relabeller is None else relabeller.labels(sequence, is_over=is_over)

    def learned_before(self, part: Part, sequence: int) -> tuple[int, dict[str, Any] | None]:
        """Where to go on from to reach an interval, by the recording's numbers, and the state to begin with."""
        chain = self._parts.chain(part)
        at, state = self._checkpoint(chain, part, sequence - part.offset)
        if at is None or state is None:
            return chain[0].first, None
        return at + part.offset, {**state, "next_sequence": at + part.offset}

    def _relabeller_for(self, part: Part, sequence: int) -> Relabeller | None:
        relabeller = self._relabeller
        if relabeller is None or self._chain != part.chain or not relabeller.reaches(sequence):
            self._relabeller = None
            relabeller = self._begin(part, sequence)
            self._relabeller, self._chain = relabeller, part.chain
        return relabeller

    def _begin(self, part: Part, sequence: int) -> Relabeller | None:
        chain = self._parts.chain(part)
        first = chain[0].extent.first
        at, state = self._checkpoint(chain, part, sequence)
        begin = first if at is None else max(first, at)
        if not self._everywhere and sequence - begin > _TAIL:
            if sequence <= part.settled:
                return None
            begin, state = max(first, sequence - _WARM_UP), None
        number = part.chain
        return Relabeller(lambda after: self._intervals(number, after), self._factory(state), begin)

    def _checkpoint(self, chain: list[Part], part: Part, sequence: int) -> tuple[int | None, dict[str, Any] | None]:
        """The newest checkpoint at or before an interval; none when other rules made it."""
        upto = reversed(chain[: chain.index(part) + 1])
        found = self._parts.ask(upto, lambda _, reader: reader.find.checkpoint(sequence))
        if found is None or found[1] != RULE_VERSION:
            return None, None
        return found[0], found[2]

    def _intervals(self, chain: int, after: int) -> Sequence[Interval]:
        """Some of a chain's intervals after one, by their own numbers."""

        def find(part: Part, reader: FileReader) -> list[Interval] | None:
            first = reader.find.next(after)
            return None if first is None else reader.intervals(first, first + _CHUNK - 1)

        parts = [part for part in self._parts.all if part.chain == chain and part.extent.last > after]
        return self._parts.ask(parts, find) or []
