"""Writing metric families in Prometheus' text format 0.0.4 and in OpenMetrics 1.0.

A preformatted writer: label sets are escaped once per entity and reused, so that a page of a
thousand samples costs about a millisecond. It creates no metric objects and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

FamilyKind = Literal["gauge", "counter", "histogram", "info"]

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SUFFIX: Mapping[FamilyKind, str] = {"gauge": "", "counter": "_total", "histogram": "", "info": "_info"}
_LABEL_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_TEXT_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    `name` is without the suffix its kind demands (`_total`, `_info`); `sample` has it. `unit` is
    the name's own last part where that is a unit, else empty. `labels` are the label names.
    """

    name: str
    kind: FamilyKind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name its samples carry (a histogram's have one more suffix)."""
        return self.name + _SUFFIX[self.kind]

    def head(self, openmetrics: bool) -> str:
        """The TYPE and HELP lines, and UNIT in OpenMetrics."""
        if openmetrics:
            unit = f"# UNIT {self.name} {self.unit}\n" if self.unit else ""
            return f"# TYPE {self.name} {self.kind}\n{unit}# HELP {self.name} {self.help.translate(_LABEL_ESCAPES)}"
        kind = "gauge" if self.kind == "info" else self.kind
        return f"# HELP {self.sample} {self.help.translate(_TEXT_HELP_ESCAPES)}\n# TYPE {self.sample} {kind}"


class HistogramTotal:
    """Observations per bucket since the series began; starts anew when the bounds change."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, counts: Sequence[int], total: float) -> None:
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.sum += total


def label_pairs(labels: Iterable[tuple[str, str]]) -> str:
    """`a="1",b="2"`: the escaped inside of a label set, without braces."""
    return ",".join(f'{name}="{value.translate(_LABEL_ESCAPES)}"' for name, value in labels)


class Exposition:
    """One page being written. Families without samples leave no trace."""

    def __init__(self, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._blocks: list[str] = []

    def write(self, family: Family, samples: Iterable[tuple[str, float]]) -> None:
        """Add one family; each sample is its label pairs and its value."""
        name = family.sample
        lines = [f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}" for pairs, value in samples]
        self._append(family, lines)

    def write_by(self, family: Family, label: str, samples: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Add one family whose samples are told apart by one more label with values of our own."""
        name = family.sample
        lines = [
            f'{name}{{{pairs},{label}="{key}"}} {value!r}' if pairs else f'{name}{{{label}="{key}"}} {value!r}'
            for pairs, values in samples
            for key, value in values.items()
        ]
        self._append(family, lines)

    def write_histograms(self, family: Family, samples: Iterable[tuple[str, HistogramTotal]]) -> None:
        """Add one family of classic histograms, buckets cumulative as the format wants them."""
        name = family.name
        lines: list[str] = []
        for pairs, histogram in samples:
            lead, labels = (f"{pairs},", f"{{{pairs}}}") if pairs else ("", "")
            reached = list(accumulate(histogram.counts))
            lines += [
                f'{name}_bucket{{{lead}le="{float(bound)!r}"}} {count}'
                for bound, count in zip(histogram.bounds, reached, strict=False)
            ]
            lines.append(f'{name}_bucket{{{lead}le="+Inf"}} {reached[-1]}')
            lines.append(f"{name}_sum{labels} {histogram.sum!r}")
            lines.append(f"{name}_count{labels} {reached[-1]}")
        self._append(family, lines)

    def _append(self, family: Family, lines: list[str]) -> None:
        if lines:
            self._blocks.append(family.head(self._openmetrics))
            self._blocks += lines

    def page(self) -> bytes:
        ending = "\n# EOF\n" if self._openmetrics else "\n"
        return ("\n".join(self._blocks) + ending).encode("utf-8", "replace")
