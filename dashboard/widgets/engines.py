"""The engines: one in detail, several as a table, and in one line what is wrong with any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.model import Tick, engine_entity
from dashboard.format import NANOSECONDS, duration, latency, percent, whole
from dashboard.scene import QUANTILE_SECONDS, Scene
from dashboard.widgets.bars import bar, phase_bar
from dashboard.widgets.line import Line, wrap
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import ENGINE_NAMES, place_of

if TYPE_CHECKING:
    from collectors.readings import EngineReading

_GAP = 2
_LABEL = 12
_SECOND = 40
"""Where the second half of a row begins."""


class EnginesPanel(Panel):
    """What each serving engine takes in and gives out, and how long its requests wait."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        engines = [] if scene.tick is None else list(scene.tick.interval.engines.values())
        title = Line().add("Engine" if len(engines) == 1 else "Engines", palette.dim)
        absent = absent_lines(scene, engines)
        if not engines:
            return Drawing(title, lines=absent or no_engine_lines(scene, width))
        if len(engines) == 1:
            engine = engines[0]
            lines = _detail(scene, engine, width, max(1, height - len(absent)))
            right = Line().foreign(_name(engine), palette.dim, max(0, width // 2), palette.glyphs.ellipsis)
        else:
            lines = _table(scene, engines, width, height - len(absent))
            right = Line().add(f"{sum(e.state == 'ok' for e in engines)} of {len(engines)}", palette.dim)
        return Drawing(title, right, [*lines, *absent])


def no_engine_lines(scene: Scene, width: int) -> list[Line]:
    if scene.playback is not None:
        text = "no serving engine in this recording"
    else:
        text = "no serving engine found on this host; it is looked for all the time, --engine URL names one elsewhere"
    return [Line().foreign(part, scene.palette.dim, width) for part in wrap(text, width)]


def _name(engine: EngineReading) -> str:
    kind = ENGINE_NAMES.get(engine.engine or "", engine.engine or "engine")
    rank = f" #{engine.engine_index}" if engine.engine_index not in ("", "0") else ""
    return f"{kind}{rank} {place_of(engine.endpoint)}"


def absent_lines(scene: Scene, engines: Sequence[EngineReading]) -> list[Line]:
    """One line for each endpoint that is not well and has no reading in this interval."""
    known = {engine.endpoint for engine in engines}
    palette = scene.palette
    lines = []
    for status in scene.statuses:
        if status.state == "ok" or status.source in ("host", "gpu") or status.source in known:
            continue
        line = (
            Line().foreign(place_of(status.source), palette.text, 24, palette.glyphs.ellipsis).add("  ", palette.base)
        )
        line.add(f"{palette.glyphs.warning} ", palette.warning).add(status.state, palette.warning)
        lines.append(line.foreign(f": {status.reason}" if status.reason else "", palette.text, 60))
    return lines


def trouble_line(scene: Scene, engine: EngineReading, width: int) -> Line | None:
    """One line for an engine that is down, blocked or stale; None for one that is well."""
    if engine.state == "ok":
        return None
    palette = scene.palette
    line = Line().add(f"{palette.glyphs.warning} {engine.state}", palette.warning)
    reason = _reason(scene, engine)
    if reason is None and engine.age_seconds is not None:
        reason = f"last page {duration(engine.age_seconds)} old"
    if reason:
        line.foreign(f": {reason}", palette.text, width - line.cells, palette.glyphs.ellipsis)
    return line


def _reason(scene: Scene, engine: EngineReading) -> str | None:
    for gap in scene.tick.interval.gaps if scene.tick else ():
        if engine.endpoint and engine.endpoint in gap.source:
            return gap.reason
    for status in scene.statuses:
        if status.source == engine.endpoint and status.reason:
            return status.reason
    return None


def rate(engine: EngineReading, amount: float | None) -> float | None:
    """Per second, over the real time the amount covers."""
    if amount is None or not engine.window_seconds:
        return None
    return amount / engine.window_seconds


def _detail(scene: Scene, engine: EngineReading, width: int, height: int) -> list[Line]:
    trouble = trouble_line(scene, engine, width)
    palette = scene.palette
    lines = [trouble] if trouble is not None else []
    lines.append(_tokens(scene, engine, width))
    lines.append(_requests(scene, engine, width))
    if len(lines) >= height:
        return lines
    ticks = scene.recent(QUANTILE_SECONDS)
    if height >= 6:
        lines.append(Line())
    pairs = (("TTFT", "ttft", "queue", "queue"), ("TPOT", "tpot", "request", "e2e"))
    for left, left_field, right, right_field in pairs:
        line = _latencies(scene, engine, left, left_field)
        if width >= _SECOND + 33:
            line.to(_SECOND, palette.base)
            line.extend(_latencies(scene, engine, right, right_field, label=9))
        lines.append(line)
    lines.append(_counts(scene, engine, ticks))
    return lines[:height]


def _label(scene: Scene, text: str) -> Line:
    return Line().add(f"{text:<{_LABEL}}", scene.palette.dim)


def _tokens(scene: Scene, engine: EngineReading, width: int) -> Line:
    palette, units = scene.palette, scene.units
    key = f"{engine.endpoint}#{engine.engine_index}"
    line = _label(scene, "tokens/s")
    for word, amount in (("in", engine.prompt_tokens), ("out", engine.generation_tokens)):
        value = rate(engine, amount)
        line.add(f"{word} ", palette.dim).add(units(f"{key}/{word}", value), palette.bright).add("   ", palette.base)
    if width >= _SECOND + 31:
        line.to(_SECOND, palette.base).add("computed ", palette.dim)
        line.add(units(f"{key}/computed", rate(engine, engine.prompt_tokens_computed)), palette.bright)
        line.add("  cached ", palette.dim).add(percent(_cached(engine), 3), palette.bright).add(" %", palette.dim)
    return line


def _cached(engine: EngineReading) -> float | None:
    """The share of prompt tokens that needed no computing here."""
    if not engine.prompt_tokens or engine.prompt_tokens_cached is None:
        return engine.prefix_cache_hit_ratio
    return min(1.0, engine.prompt_tokens_cached / engine.prompt_tokens)


def _requests(scene: Scene, engine: EngineReading, width: int) -> Line:
    palette = scene.palette
    line = _label(scene, "requests")
    line.add("run ", palette.dim).add(f"{whole(engine.requests_running, 4)}", palette.bright).add("   ", palette.base)
    waiting = engine.requests_waiting
    line.add("wait", palette.dim).add(whole(waiting, 5), palette.bright if waiting is not None else palette.dim)
    usage = engine.kv_cache_usage_ratio
    full = usage is not None and usage >= 0.95
    if width - line.cells >= 22:
        line.to(_SECOND if width >= _SECOND + 24 else line.cells + 3, palette.base).add("KV cache ", palette.dim)
        line.extend(bar(usage, min(20, width - line.cells - 7), palette, palette.warning if full else None))
        line.add(percent(usage, 4), palette.warning if full else palette.bright).add(" %", palette.dim)
    return line


def _latencies(scene: Scene, engine: EngineReading, name: str, field: str, label: int = _LABEL) -> Line:
    """p50 and p99 of the last minute, marked where more is slower than was promised."""
    palette = scene.palette
    observed = scene.observed((engine.key,), field)
    slow = scene.is_slow(engine.model, field, observed)
    line = Line().add(f"{name:<{label}}", palette.dim)
    for word, q in (("p50", 0.5), ("p99", 0.99)):
        value = None if observed is None else observed.quantile(q)
        marked = slow and word == "p99"
        style = palette.dim if value is None else palette.alert if marked else palette.bright
        line.add(f"{word} ", palette.dim).add(latency(value), style)
        line.add(f"{palette.glyphs.warning} " if marked else "  ", palette.warning)
    return line


def _counts(scene: Scene, engine: EngineReading, ticks: Sequence[Tick]) -> Line:
    """Over the time of the latencies: what ended, what was thrown out, and how long that time is."""
    palette = scene.palette
    readings = [reading for tick in ticks if (reading := tick.interval.engines.get(engine.key)) is not None]
    line = Line().add(f"{'finished':<{_LABEL}}", palette.dim)
    finished = [reading.requests_finished for reading in readings if reading.requests_finished is not None]
    preempted = [reading.preemptions for reading in readings if reading.preemptions is not None]
    line.add(whole(sum(finished) if finished else None, 4), palette.bright)
    line.add("    preempted ", palette.dim)
    line.add(whole(sum(preempted) if preempted else None, 4), palette.bright)
    covered = (ticks[-1].interval.end - ticks[0].interval.start) / NANOSECONDS if ticks else 0.0
    return line.to(_SECOND, palette.base).add(f"over {duration(min(covered, QUANTILE_SECONDS))}", palette.dim)


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    width: int
    cell: Callable[[EngineReading], Line]


def _table(scene: Scene, engines: Sequence[EngineReading], width: int, height: int) -> list[Line]:
    """One row an engine; the columns that matter least go first, and what does not fit is counted."""
    palette = scene.palette
    columns = _columns(scene, engines, width)
    heading = Line()
    for column in columns:
        text = (
            f"{column.heading:<{column.width}}" if column.heading == "engine" else f"{column.heading:>{column.width}}"
        )
        heading.add(text[: column.width], palette.dim).add(" " * _GAP, palette.base)
    shown = len(engines) if len(engines) < height else max(0, height - 2)
    rest = engines[shown:]
    lines = [heading] if height > 1 else []
    lines += [_row(scene, engine, columns, width) for engine in engines[:shown]]
    if rest:
        lines.append(_rest(scene, rest, width))
    return lines


def _rest(scene: Scene, rest: Sequence[EngineReading], width: int) -> Line:
    bad = sum(engine.state != "ok" for engine in rest)
    told = f", {bad} of them not well" if bad else ""
    return Line().foreign(f"and {len(rest)} more{told}", scene.palette.dim, width)


def _row(scene: Scene, engine: EngineReading, columns: Sequence[_Column], width: int) -> Line:
    palette = scene.palette
    line = columns[0].cell(engine).to(columns[0].width + _GAP, palette.base)
    trouble = trouble_line(scene, engine, width - line.cells)
    if trouble is not None:
        return line.extend(trouble)
    for column in columns[1:]:
        cell = column.cell(engine)
        line.add(" " * (column.width - cell.cells), palette.base).extend(cell).add(" " * _GAP, palette.base)
    return line


def _columns(scene: Scene, engines: Sequence[EngineReading], width: int) -> list[_Column]:
    palette, units = scene.palette, scene.units
    name = min(28, max(len(_name(engine)) for engine in engines), max(8, width // 4))

    def entity(engine: EngineReading) -> str:
        return engine_entity(engine.key)

    def number(value: float | None, digits: int) -> Line:
        return Line().add(whole(value, digits), palette.bright if value is not None else palette.dim)

    def tokens(engine: EngineReading, word: str, amount: float | None) -> Line:
        return Line().add(units(f"{entity(engine)}/{word}", rate(engine, amount)), palette.bright)

    def phase(engine: EngineReading) -> Line:
        label = scene.tick.labels.get(entity(engine)) if scene.tick else None
        return phase_bar(label, 8, palette)

    def cache(engine: EngineReading) -> Line:
        usage = engine.kv_cache_usage_ratio
        line = bar(usage, 6, palette).add(" ", palette.base)
        return line.add(percent(usage), palette.bright if usage is not None else palette.dim)

    def quantile(engine: EngineReading, field: str) -> Line:
        observed = scene.observed((engine.key,), field)
        middle, high = (None, None) if observed is None else (observed.quantile(0.5), observed.quantile(0.99))
        slow = scene.is_slow(engine.model, field, observed)
        line = Line().add(latency(middle).strip().rjust(7), palette.bright)
        line.add(latency(high).strip().rjust(8), palette.alert if slow else palette.bright)
        return line.add(palette.glyphs.warning if slow else " ", palette.warning)

    wanted = [
        (0, _Column("phase", 8, phase)),
        (1, _Column("in/s", 5, lambda e: tokens(e, "in", e.prompt_tokens))),
        (2, _Column("out/s", 5, lambda e: tokens(e, "out", e.generation_tokens))),
        (6, _Column("cached", 6, lambda e: Line().add(percent(_cached(e), 4), palette.bright).add(" %", palette.dim))),
        (3, _Column("run", 4, lambda e: number(e.requests_running, 4))),
        (3, _Column("wait", 4, lambda e: number(e.requests_waiting, 4))),
        (4, _Column("KV cache", 10, cache)),
        (7, _Column("TTFT p50, p99 ", 16, lambda e: quantile(e, "ttft"))),
        (5, _Column("TPOT p50, p99 ", 16, lambda e: quantile(e, "tpot"))),
    ]
    room = width - name - _GAP
    kept: set[int] = set()
    for n, (_, column) in sorted(enumerate(wanted), key=lambda item: item[1][0]):
        if column.width + _GAP <= room + _GAP:
            room -= column.width + _GAP
            kept.add(n)
    first = _Column("engine", name, lambda e: Line().foreign(_name(e), palette.text, name, palette.glyphs.ellipsis))
    return [first, *(column for n, (_, column) in enumerate(wanted) if n in kept)]
