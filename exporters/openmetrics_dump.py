"""A recording as OpenMetrics with timestamps: what a Prometheus that had scraped every interval would have.

`promtool tsdb create-blocks-from openmetrics` makes blocks of it. The format wants a family in one
piece, and in it each series in one piece, while a recording comes interval by interval; so series
are gathered in a temporary file as they come, and put in order at the end. What is in memory does
not depend on how much is dumped.
"""

from __future__ import annotations

import codecs
import tempfile
from array import array
from collections.abc import Iterable, Mapping
from typing import IO, TextIO

from collectors.clock import NANO
from collectors.model import Tick
from exporters.dump import Ticks
from exporters.exposition import Exposition, Family, label_pairs
from exporters.prometheus import PrometheusSink

_BUFFERED = 32 << 20
"""Characters of samples kept in memory before they go to the temporary file."""
_COPY = 1 << 20


class _Series:
    """The samples of one series (of a histogram: all its lines) so far."""

    __slots__ = ("leads", "pieces", "waiting")

    def __init__(self) -> None:
        self.leads: dict[str, str] = {}  # name and labels on the page -> the same with the added labels
        self.waiting: list[str] = []
        self.pieces = array("Q")  # offset and length of each piece in the temporary file, in turn


class _TimedExposition(Exposition):
    """Takes pages one after another and gives them as one page with times."""

    def __init__(self, spool: IO[bytes], labels: Mapping[str, str]) -> None:
        super().__init__(openmetrics=True)
        self._spool = spool
        self._spooled = 0
        self._extra = label_pairs(labels.items())
        self._families: dict[str, tuple[Family, dict[str, _Series]]] = {}
        self._buffered = 0
        self.time = ""

    def _append(self, family: Family, lines: list[str]) -> None:
        if not lines:
            return
        if family.name not in self._families:
            self._families[family.name] = (family, {})
        series = self._families[family.name][1]
        if family.kind == "histogram":
            self._add_histograms(series, family, lines)
            return
        for line in lines:
            key, _, value = line.rpartition(" ")
            self._add(series, key, value, key)

    def _add_histograms(self, series: dict[str, _Series], family: Family, lines: list[str]) -> None:
        """The lines of one histogram end with its count, whose labels tell it from the others."""
        last = f"{family.name}_count"
        begun = 0
        for index, line in enumerate(lines):
            if line.startswith(last):
                labels = line.rpartition(" ")[0]
                for part in lines[begun : index + 1]:
                    key, _, value = part.rpartition(" ")
                    self._add(series, labels, value, key)
                begun = index + 1

    def _add(self, series: dict[str, _Series], belongs_to: str, value: str, key: str) -> None:
        one = series.get(belongs_to)
        if one is None:
            one = series[belongs_to] = _Series()
        lead = one.leads.get(key)
        if lead is None:
            lead = one.leads[key] = self._with_extra(key)
        sample = f"{lead} {value} {self.time}\n"
        one.waiting.append(sample)
        self._buffered += len(sample)

    def _with_extra(self, key: str) -> str:
        if not self._extra:
            return key
        name, brace, labels = key.partition("{")
        return f"{name}{{{self._extra},{labels}" if brace else f"{name}{{{self._extra}}}"

    def spool(self, *, everything: bool = False) -> None:
        """Puts what waits into the temporary file once it is much."""
        if self._buffered < _BUFFERED and not everything:
            return
        for _, series in self._families.values():
            for one in series.values():
                if one.waiting:
                    written = self._spool.write("".join(one.waiting).encode("utf-8", "replace"))
                    one.pieces.extend((self._spooled, written))
                    self._spooled += written
                    one.waiting.clear()
        self._buffered = 0

    def copy_to(self, out: TextIO) -> None:
        """Writes the page in the order the format wants."""
        self.spool(everything=True)
        for family, series in self._families.values():
            out.write(family.head(openmetrics=True) + "\n")
            for one in series.values():
                for offset, length in zip(one.pieces[::2], one.pieces[1::2], strict=True):
                    self._copy_piece(out, offset, length)
        out.write("# EOF\n")

    def _copy_piece(self, out: TextIO, offset: int, length: int) -> None:
        self._spool.seek(offset)
        decoder = codecs.getincrementaldecoder("utf-8")()
        while length:
            block = self._spool.read(min(_COPY, length))
            length -= len(block)
            out.write(decoder.decode(block))


def dump_openmetrics(
    recording: Ticks,
    out: TextIO,
    start: int | None = None,
    end: int | None = None,
    *,
    every: float = 0.0,
    labels: Mapping[str, str] | None = None,
    version: str = "",
) -> int:
    """Writes the intervals that start within [start, end), in wall-clock ns; how many were read.

    Counters begin at 0 with the first of them. Samples stand at the ends of intervals, at most one
    per `every` seconds of wall time; counters count every interval in any case. `labels` are added
    to all series, as a scrape would add `job` and `instance`.
    """
    sink = PrometheusSink(version=version, clock=lambda: 0.0)
    with tempfile.TemporaryFile(prefix="phasetop-") as spool:
        page = _TimedExposition(spool, labels or {})
        count = 0
        tick: Tick | None = None
        shown: int | None = None
        for tick in _onwards(recording.ticks(start, end)):
            sink.put(tick)
            count += 1
            if shown is None or tick.interval.end - shown >= every * NANO:
                shown = _show(page, sink, tick)
        if tick is not None and shown != tick.interval.end:
            _show(page, sink, tick)
        page.copy_to(out)
    return count


def _show(page: _TimedExposition, sink: PrometheusSink, tick: Tick) -> int:
    page.time = f"{tick.interval.end / NANO:.3f}"
    sink.write(page)
    page.spool()
    return tick.interval.end


def _onwards(ticks: Iterable[Tick]) -> Iterable[Tick]:
    """Leaves out what a clock that stepped back recorded a second time: a series cannot go back in time."""
    newest = 0
    for tick in ticks:
        if tick.interval.end > newest:
            newest = tick.interval.end
            yield tick
