"""A report, or the difference of two, for a terminal: plain text of any width from 80 columns on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from collectors.analysis.figures import Change, Difference, Figure, Plot, Report, Section, Source, Table
from collectors.timezone import zone_of
from exporters.report_values import MISSING, Style, seconds

_LONG = 72_000.0
"""Seconds from which times of day are shown with their day."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_RIGHT = frozenset({"seconds", "joules", "ratio", "tokens", "count", "money", "money_per_million", "per_second"})


def report_text(report: Report, width: int = 100) -> str:
    """The whole report; `width` columns at most, where single words allow."""
    return "\n".join(_Text(style_of(report.source, report.settings), width).report(report)) + "\n"


def difference_text(difference: Difference, width: int = 100) -> str:
    return "\n".join(_Text(style_of(difference.a, difference.settings), width).difference(difference)) + "\n"


def style_of(source: Source, settings: Sequence[tuple[str, str]]) -> Style:
    """The style for what a source holds: its currency, its time zone."""
    price = dict(settings).get("GPU hour", "")
    return Style(price.split(" ")[-1], zone_of(source.time_zone), source.end - source.start > _LONG)


class _Text:
    def __init__(self, style: Style, width: int) -> None:
        self._style = style
        self._width = max(80, width)

    def report(self, report: Report) -> Iterator[str]:
        yield from self._source(report.source, "report")
        yield ""
        for line in report.summary:
            yield from self._wrapped(line, "* ", "  ")
        for section in report.sections:
            yield from self._section(section)
        yield from self._settings(report.settings)

    def difference(self, difference: Difference) -> Iterator[str]:
        yield from self._source(difference.a, "A")
        yield from self._source(difference.b, "B")
        yield ""
        for line in difference.summary:
            yield from self._wrapped(line, "* ", "  ")
        for title, changes in difference.groups:
            yield from self._changes(title, changes)
        for title, changes in difference.fingerprint:
            yield from self._changes(f"fingerprint: {title}", changes)
        yield ""
        for note in difference.notes:
            yield from self._wrapped(note, "", "")
        yield from self._settings(difference.settings)

    def _source(self, source: Source, what: str) -> Iterator[str]:
        style = self._style
        day = Style(style.currency, style.zone, True)
        yield f"{what}  {source.path}"
        told = (
            f"{source.host or 'host not named'}, {day.time(source.start)} to {day.time(source.end)}"
            f" ({source.time_zone}), {seconds(source.seconds)} in {source.intervals} intervals"
        )
        yield from self._wrapped(told, "  ", "    ")
        for line in (*source.machines, *source.notes):
            yield from self._wrapped(line, "  ", "    ")

    def _settings(self, settings: Sequence[tuple[str, str]]) -> Iterator[str]:
        yield ""
        told = ", ".join(f"{name} {value}" for name, value in settings)
        yield from self._wrapped(f"Computed with: {told}.", "", "  ")

    def _wrapped(self, text: str, first: str, rest: str) -> Iterator[str]:
        yield from textwrap.wrap(
            text, self._width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        ) or [first]  # fmt: skip

    def _heading(self, title: str) -> Iterator[str]:
        yield ""
        yield f"{title} " + "─" * max(0, self._width - len(title) - 1)

    def _section(self, section: Section) -> Iterator[str]:
        yield from self._heading(section.title)
        if section.text:
            yield from self._wrapped(section.text, "", "")
        for plot in section.plots:
            yield from self._strip(plot)
        known = [figure for figure in section.figures if figure.value is not None]
        if known:
            yield ""
            yield from self._figures(known)
        for table in section.tables:
            yield from self._table(table)
        for figure in section.figures:
            if figure.value is None:
                yield from self._wrapped(f"{MISSING} {figure.title}: {figure.missing}", "  ", "    ")
        for line in section.advice:
            yield from self._wrapped(line, "→ ", "  ")

    def _figures(self, figures: Sequence[Figure]) -> Iterator[str]:
        titles = min(44, max(len(figure.title) for figure in figures))
        values = [self._style.value(figure.value, figure.unit) for figure in figures]
        columns = max(map(len, values))
        for figure, value in zip(figures, values, strict=True):
            bounds = self._style.bounds(figure)
            told = [f"{bounds}" if bounds else "", figure.confidence or "", figure.evidence, figure.note]
            line = f"  {figure.title:<{titles}}  {value:>{columns}}   "
            yield from self._wrapped("; ".join(part for part in told if part), line, " " * (titles + columns + 7))

    def _table(self, table: Table) -> Iterator[str]:
        yield ""
        yield f"  {table.title}"
        cells = [
            [self._style.value(cell, column.unit) for cell, column in zip(row, table.columns, strict=True)]
            for row in table.rows
        ]
        heads = [column.title for column in table.columns]
        widths = [max(len(row[at]) for row in [heads, *cells]) for at in range(len(heads))]
        over = sum(widths) + 2 * len(widths) + 2 - self._width
        if over > 0 and table.columns[0].unit == "text":
            widths[0] = max(12, widths[0] - over)
        for row in [heads, *cells]:
            parts = []
            for at, text in enumerate(row):
                shown = text if len(text) <= widths[at] else text[: widths[at] - 1] + "…"
                is_number = table.columns[at].unit in _RIGHT
                parts.append(f"{shown:>{widths[at]}}" if is_number else f"{shown:<{widths[at]}}")
            yield f"    {'  '.join(parts)}".rstrip()
        if table.note:
            yield from self._wrapped(table.note, "    ", "    ")

    def _strip(self, plot: Plot) -> Iterator[str]:
        """Shares over time as one line of blocks each; other plots are for pages."""
        if plot.kind != "bands" or not plot.series:
            return
        names = max(len(one.name) for one in plot.series)
        room = self._width - names - 4
        yield ""
        for one in plot.series:
            if any(one.values):
                yield f"  {one.name:<{names}}  {''.join(_columns(one.values, room))}"
        left, right = self._style.time(plot.x[0]), self._style.time(plot.x[-1])
        length = min(room, len(plot.x) - 1)
        yield f"  {'':{names}}  {left}{right:>{max(len(right) + 1, length - len(left))}}"

    def _changes(self, title: str, changes: Sequence[Change]) -> Iterator[str]:
        rows = [change for change in changes if change.a is not None or change.b is not None]
        if not rows:
            return
        yield from self._heading(title)
        heads = ("", "A", "B", "B - A", "", "95 % of B - A")
        cells = [heads, *(change_cells(change, self._style) for change in rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
        for row in cells:
            left = f"{row[0]:<{widths[0]}}"
            rest = "  ".join(f"{row[at]:>{widths[at]}}" for at in range(1, 5))
            yield f"  {left}  {rest}  {row[5]}".rstrip()


def change_cells(change: Change, style: Style) -> tuple[str, str, str, str, str, str]:
    """Title, A, B, the difference, its relative size with the verdict, and its bounds."""
    a, b = style.value(change.a, change.unit), style.value(change.b, change.unit)
    if change.difference is None:
        return change.title, a, b, "", "", ""
    if change.unit == "ratio":
        difference = f"{change.difference * 100:+.1f} pp"
    else:
        sign = "+" if change.difference > 0 else ""
        difference = sign + style.value(change.difference, change.unit)
    relative = "" if change.relative is None or change.unit == "ratio" else f"{change.relative * 100:+.1f} %"
    if change.is_more_than_noise:
        mark = "changed" if change.better is None else ("better" if _is_good(change) else "WORSE")
        relative = f"{relative} {mark}".strip()
    bounds = ""
    if change.low is not None and change.high is not None:
        if change.unit == "ratio":
            bounds = f"{change.low * 100:+.1f} to {change.high * 100:+.1f} pp"
        else:
            bounds = f"{style.value(change.low, change.unit)} to {style.value(change.high, change.unit)}"
        if not change.is_more_than_noise:
            bounds += "  noise"
    elif change.is_more_than_noise is None:
        bounds = "too short to tell"
    return change.title, a, b, difference, relative, bounds


def _is_good(change: Change) -> bool:
    return (change.difference or 0.0) > 0 if change.better == "up" else (change.difference or 0.0) < 0


def _columns(values: Sequence[float | None], room: int) -> Iterator[str]:
    """Means over equal parts, as blocks; a blank where nothing is known, a dot for nothing."""
    count = min(room, len(values))
    for column in range(count):
        part = values[len(values) * column // count : len(values) * (column + 1) // count]
        known = [value for value in part if value is not None]
        if not known:
            yield " "
            continue
        mean = sum(known) / len(known)
        yield "·" if mean < 0.005 else _BLOCKS[min(7, int(mean * 8))]
