"""The selected engine over time: its phases, and its tokens, requests, KV cache and latencies below them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from collectors.model import EngineKey, engine_entity
from dashboard.engine_columns import EngineColumns, quantiles_of
from dashboard.engine_peers import tells_latencies
from dashboard.engine_rows import Choice, Row
from dashboard.format import latency, percent, whole
from dashboard.scene import Scene
from dashboard.tracks import Column
from dashboard.widgets.axis import Gutters, axis_line, cursor_column, events_line
from dashboard.widgets.engine_detail import LATENCY_NAMES, chosen_row, selected_name
from dashboard.widgets.history import HistoryPanel, TimeLine, drawn
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing
from dashboard.widgets.strip import paint


class EngineHistory(HistoryPanel):
    """On the axis of all screens, whose times stand in the last panel that has it."""

    def __init__(self, name: str, choice: Choice, columns: EngineColumns) -> None:
        super().__init__(name)
        self._choice = choice
        self._columns = columns

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        row = chosen_row(scene, self._choice)
        title = Line().add("History", palette.dim)
        if row is None:
            return Drawing(title)
        sides = self.sides(scene, width)
        columns = scene.columns(width - sides.left - sides.right)
        if not columns:
            return Drawing(title)
        right = Line().foreign(selected_name(row), palette.dim, max(0, width // 2), palette.glyphs.ellipsis)
        axis = "heat" not in scene.arrangement.places and height >= 3
        room = height - axis
        marks = room >= 6
        told = [line for line in self._lines(scene, row) if line.name != "KV" or _is_known(line, scene, columns)]
        phases = self._phases(scene, row, columns)
        known = any(any(column.seconds) for column in phases)
        strip = _strip_rows(room - marks, len(told)) if known else 0
        lines = _strip(scene, row, phases, sides, strip) if strip else []
        if marks:
            lines.append(events_line(scene, columns, sides))
        lines += drawn(scene, told, columns, sides, room - len(lines), with_axis=False)
        if axis:
            lines += [Line() for _ in range(room - len(lines))]
            lines.append(axis_line(scene, columns, sides))
        return Drawing(title, right, lines)

    def _phases(self, scene: Scene, row: Row, columns: Sequence[Column]) -> list[Column]:
        if scene.survey is not None:
            return scene.survey.phases([engine_entity(key) for key in row.keys], columns)
        return self._columns.phases(scene.history.tracks, row.keys, columns, scene.step)

    def _lines(self, scene: Scene, row: Row) -> list[TimeLine]:
        """Most important first; latencies only of an engine that tells any."""
        lines = [
            _tokens("in", row, "prompt"), _tokens("out", row, "generation"), _requests("running", row, "running"),
            _usage(row), _requests("waiting", row, "waiting"),
        ]  # fmt: skip
        if scene.survey is None and tells_latencies(scene.history, row):  # they are not summed up
            lines[4:4] = [self._latency(row, "tpot"), self._latency(row, "ttft")]
        return lines

    def _latency(self, row: Row, name: str) -> TimeLine:
        """The p99 of each column, all ranks together; the number is of the last minute."""

        def values(scene: Scene, columns: Sequence[Column]) -> Sequence[float]:
            observed = self._columns.latency(scene.history.tracks, row.keys, name, columns, scene.step)
            return list(quantiles_of(observed, 0.99))

        def number(scene: Scene) -> Line:
            palette, observed = scene.palette, scene.observed(row.keys, name)
            high = None if observed is None else observed.quantile(0.99)
            broken = scene.is_slow(row.reading.model, name, observed)
            style = palette.dim if high is None else palette.alert if broken else palette.bright
            line = Line().add(latency(high), style).add(" p99" if high is not None else "", palette.dim)
            return line.add(f" {palette.glyphs.warning}" if broken else "", palette.warning)

        return TimeLine(LATENCY_NAMES[name], values, number)


def _strip(scene: Scene, row: Row, phases: Sequence[Column], sides: Gutters, rows: int) -> list[Line]:
    palette = scene.palette
    lines = []
    for n, cells in enumerate(paint(phases, rows, palette, cursor_column(scene, phases))):
        name = "phase" if n == rows - 1 else ""
        line = Line().add(f"{name:<{sides.left}}"[: sides.left], palette.dim).extend(cells)
        if n == rows - 1:
            line.add("  ", palette.base).extend(_phase_words(scene, row).cut(max(0, sides.right - 2)))
        lines.append(line)
    return lines


def _strip_rows(room: int, lines: int) -> int:
    """Rows of the phase strip: a fourth of all, and what the lines below cannot share out evenly."""
    if room < 5:
        return 0
    least = min(4, max(1, room // 4))
    rest = room - least
    return min(6, least + (rest % lines if rest > lines else 0))


def _is_known(line: TimeLine, scene: Scene, columns: Sequence[Column]) -> bool:
    """Whether there is anything to draw: a page without a KV cache needs no line for it."""
    return not all(math.isnan(value) for value in line.values(scene, columns))


def _phase_words(scene: Scene, row: Row) -> Line:
    """The phase of the interval looked at, in a word and a number."""
    palette = scene.palette
    label = None if scene.tick is None else scene.tick.labels.get(engine_entity(row.keys[0]))
    if row.ranks > 1 or label is None:
        return Line()
    line = Line().add(label.phase.label, palette.phase(label.phase.label, settled=label.settled))
    share = label.phase.prefill_share
    if share is not None and label.phase.label in ("prefill", "decode", "mixed"):
        shown = 1 - share if label.phase.label == "decode" else share
        line.add(f" {percent(shown).strip()} %", palette.bright)
    return line


def _sums(scene: Scene, keys: Sequence[EngineKey], series: str, columns: Sequence[Column]) -> list[float]:
    """What the engines make together in each column; NaN where none of them tells."""
    if len(keys) == 1:
        return scene.averages(engine_entity(keys[0]), series, columns)
    each = [scene.averages(engine_entity(key), series, columns) for key in keys]
    return [_added(values) for values in zip(*each, strict=True)]


def _added(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else math.nan


def _tokens(name: str, row: Row, series: str) -> TimeLine:
    field = {"prompt": "prompt_tokens", "generation": "generation_tokens"}[series]

    def number(scene: Scene) -> Line:
        amount, seconds = getattr(row.reading, field), row.reading.window_seconds
        value = None if amount is None or not seconds else amount / seconds
        text, prefix = scene.units.parted(f"{row.name}/{series}", value)
        line = Line().add(text, scene.palette.bright if value is not None else scene.palette.dim)
        return line.add(f" {prefix}tok/s" if value is not None else "", scene.palette.dim)

    return TimeLine(name, lambda scene, columns: _sums(scene, row.keys, series, columns), number)


def _requests(name: str, row: Row, series: str) -> TimeLine:
    value = getattr(row.reading, f"requests_{series}")

    def number(scene: Scene) -> Line:
        return Line().add(whole(value, 4), scene.palette.bright if value is not None else scene.palette.dim)

    return TimeLine(name, lambda scene, columns: _sums(scene, row.keys, series, columns), number)


def _usage(row: Row) -> TimeLine:
    """The mean over the ranks: what each holds is not kept for every interval."""
    value = row.reading.kv_cache_usage_ratio

    def number(scene: Scene) -> Line:
        palette = scene.palette
        full = value is not None and value >= 0.95
        style = palette.alert if full else palette.bright if value is not None else palette.dim
        line = Line().add(percent(value, 4), style).add(" %", palette.dim)
        return line.add(f" {palette.glyphs.warning}" if full else "", palette.warning)

    def values(scene: Scene, columns: Sequence[Column]) -> Sequence[float]:
        return [total / len(row.keys) for total in _sums(scene, row.keys, "kv_cache", columns)]

    return TimeLine("KV", values, number, 1.0)
