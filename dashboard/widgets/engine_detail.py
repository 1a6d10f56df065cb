"""The selected engine in numbers: what it is, its latencies, its requests and its KV cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from collectors.histogram import Histogram
from collectors.model import Tick
from collectors.slo import Objective
from dashboard.engine_peers import tells_latencies
from dashboard.engine_rows import Choice, Row
from dashboard.format import NANOSECONDS, duration, interval_length, latency, percent, whole
from dashboard.scene import QUANTILE_SECONDS, Scene
from dashboard.widgets.bars import bar
from dashboard.widgets.engine_table import engine_name, free_tokens, quantile_cell, summed
from dashboard.widgets.engines import trouble_line
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import place_of

LATENCY_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "queue": "queue", "e2e": "request"}
"""What the latencies are called where there is little room."""
_LABEL = 10
_QUANTILES = 33
"""Cells of "p50 p99 seen in 1 min"."""
_ENDINGS = (
    ("stopped", "requests_stopped"), ("at length", "requests_cut_off"), ("aborted", "requests_aborted"),
    ("failed", "requests_failed"), ("rejected", "requests_rejected"),
)  # fmt: skip
_REASONS = (
    ("for room", "requests_waiting_capacity"), ("put off", "requests_waiting_deferred"),
    ("for KV transfer", "requests_waiting_transfer"),
)  # fmt: skip


class EngineDetail(Panel):
    """One engine, one rank, or all ranks of a page together."""

    def __init__(self, name: str, choice: Choice) -> None:
        super().__init__(name)
        self._choice = choice

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        row = chosen_row(scene, self._choice)
        if row is None:
            return Drawing(Line().add("Selected engine", palette.dim))
        title = Line().add(selected_name(row), palette.text)
        model = row.reading.model
        right = Line().foreign(model or "", palette.dim, max(0, width - title.cells - 12), palette.glyphs.ellipsis)
        ticks = scene.recent(QUANTILE_SECONDS)
        lines = list(_lines(scene, row, ticks, width, height))
        return Drawing(title, right, [line.cut(width) for line in lines[:height]])


def chosen_row(scene: Scene, choice: Choice) -> Row | None:
    """The row that is looked at."""
    return None if scene.tick is None else choice.row(choice.rows(scene.tick.interval.engines))


def selected_name(row: Row) -> str:
    if row.ranks > 1:
        return f"{engine_name(row)}, {row.ranks} ranks together"
    return f"{engine_name(row)} of {place_of(row.reading.endpoint)}" if row.is_rank else engine_name(row)


def _lines(scene: Scene, row: Row, ticks: Sequence[Tick], width: int, height: int) -> Iterator[Line]:
    """What matters most comes in few rows too; the order on screen is fixed."""
    trouble = trouble_line(scene, row.reading, width)
    if trouble is not None:
        yield trouble
    room = height - (trouble is not None)
    if not tells_latencies(scene.history, row):
        if room >= 4:
            yield _facts(scene, row, width)
        yield _label(scene, "latency").add("its page tells none", scene.palette.dim)
        room += 3  # what the table of latencies would take
    else:
        if room >= 7:
            yield _facts(scene, row, width)
        if room >= 5:
            yield _latency_heading(scene, ticks, width)
        for name in LATENCY_NAMES if room >= 8 else ("ttft", "tpot"):
            yield _latency(scene, row, name, width) if room >= 5 else _short_latency(scene, row, name, width)
    yield _requests(scene, row, ticks, width)
    if room >= 4:
        yield _cache(scene, row, width)
    if room >= 6:
        yield _endings(scene, row, ticks)


def _label(scene: Scene, text: str) -> Line:
    return Line().add(f"{text:<{_LABEL}}", scene.palette.dim)


def _facts(scene: Scene, row: Row, width: int) -> Line:
    """What it is and how it was started, as far as its page tells."""
    palette, reading = scene.palette, row.reading
    parallel = [
        f"{word}{count:g}"
        for word, count in (("TP", reading.tensor_parallel), ("PP", reading.pipeline_parallel))
        if count
    ]
    facts = [
        f"version {reading.version}" if reading.version else None,
        f"role {reading.role}" if reading.role else None,
        " ".join(parallel) or None,
        f"weights {reading.dtype}" if reading.dtype else None,
        f"KV cache {reading.kv_cache_dtype}" if reading.kv_cache_dtype else None,
        f"context {scene.units('context', reading.max_length_tokens).strip()}" if reading.max_length_tokens else None,
        f"{len(reading.gpus)} GPU{'s' * (len(reading.gpus) > 1)}" if reading.gpus else None,
        reading.endpoint,
    ]
    line = Line()
    for fact in facts:
        if fact is not None and width - line.cells > 3:
            line.add("  " if line.cells else "", palette.base)
            line.foreign(fact, palette.text, min(60, width - line.cells), palette.glyphs.ellipsis)
    return line


def _latency_heading(scene: Scene, ticks: Sequence[Tick], width: int) -> Line:
    """The interval looked at, then the minute up to it, then what is promised."""
    palette = scene.palette
    covered = (ticks[-1].interval.end - ticks[0].interval.start) / NANOSECONDS if ticks else 0.0
    line = Line().add(" " * _LABEL, palette.base)
    windows = [duration(min(covered, QUANTILE_SECONDS))]
    if width >= _LABEL + 2 * _QUANTILES:
        windows.insert(0, interval_length(scene.interval))
    for window in windows:
        line.add(f"{'p50':>7}{'p99':>8}{'seen':>6}", palette.dim).add(f" in {window}"[:12].ljust(12), palette.faint)
    start = _objective_start(width)
    if start is not None:
        line.to(start, palette.base).add("promised", palette.dim)
    return line


def _objective_start(width: int) -> int | None:
    """Where the objective stands; None without room for it."""
    start = _LABEL + _QUANTILES * (2 if width >= _LABEL + 2 * _QUANTILES else 1) + 1
    return start if width >= start + 14 else None


def _latency(scene: Scene, row: Row, name: str, width: int) -> Line:
    """Quantiles of the interval looked at and of the minute up to it, and what was promised."""
    palette = scene.palette
    observed, promised = scene.observed(row.keys, name), scene.slo.of(row.reading.model).of(name)
    met = None if promised is None else promised.met(observed)
    line = _label(scene, LATENCY_NAMES[name])
    if width >= _LABEL + 2 * _QUANTILES:
        line.extend(_quantiles(scene, getattr(row.reading, name), broken=False)).add(" " * 12, palette.base)
    line.extend(_quantiles(scene, observed, broken=met is False))
    start = _objective_start(width)
    if start is not None and promised is not None:
        line.to(start, palette.base).extend(_judged(scene, promised, observed, met, width - start))
    elif start is None and met is False:
        line.add(f" {palette.glyphs.warning}", palette.warning)
    return line


def _short_latency(scene: Scene, row: Row, name: str, width: int) -> Line:
    """Where there is no room for a heading: the minute alone, with its words."""
    palette = scene.palette
    observed, promised = scene.observed(row.keys, name), scene.slo.of(row.reading.model).of(name)
    met = None if promised is None else promised.met(observed)
    line = _label(scene, LATENCY_NAMES[name])
    for word, q in (("p50", 0.5), ("p99", 0.99)):
        value = None if observed is None else observed.quantile(q)
        style = palette.dim if value is None else palette.alert if met is False and q == 0.99 else palette.bright
        line.add(f"{word} ", palette.dim).add(latency(value), style).add(" ", palette.base)
    if promised is None or width - line.cells < 16:
        return line.add(palette.glyphs.warning if met is False else "", palette.warning)
    return line.add("  ", palette.base).extend(_judged(scene, promised, observed, met, width - line.cells))


def _quantiles(scene: Scene, observed: Histogram | None, *, broken: bool) -> Line:
    palette = scene.palette
    line = quantile_cell(palette, observed, 0.5, palette.bright).add(" ", palette.base)
    line.extend(quantile_cell(palette, observed, 0.99, palette.alert if broken else palette.bright))
    return line.add(whole(None if observed is None else observed.count, 6), palette.text)


def _judged(scene: Scene, promised: Objective, observed: Histogram | None, met: bool | None, width: int) -> Line:
    """The objective, and whether it is met: words, a glyph and weight, not the hue alone."""
    palette = scene.palette
    line = Line().add(f"{promised.name} within {latency(promised.seconds).strip()}", palette.text)
    reached = None if observed is None else observed.quantile(promised.quantile)
    if met is None:
        told = "nothing observed" if reached is None else "too few to say"
        return line.add(f"   {told}" if width >= line.cells + 20 else "", palette.dim)
    if met:
        return line.add("   kept", palette.dim)
    line.add(f"   {palette.glyphs.warning} ", palette.warning)
    return line.add(f"broken: {latency(reached).strip()}", palette.alert)


def _requests(scene: Scene, row: Row, ticks: Sequence[Tick], width: int) -> Line:
    palette, reading = scene.palette, row.reading
    line = _label(scene, "requests")
    line.add("run ", palette.dim).add(whole(reading.requests_running, 4), palette.bright)
    if reading.requests_limit is not None:
        line.add(f" of {whole(reading.requests_limit, 5).strip()}", palette.dim)
    line.add("   wait ", palette.dim).add(whole(reading.requests_waiting, 3), palette.bright)
    reasons = [(word, value) for word, field in _REASONS if (value := getattr(reading, field)) is not None]
    if any(value for _, value in reasons):
        told = ", ".join(f"{value:.0f} {word}" for word, value in reasons if value)
        line.add(f" ({told})", palette.text)
    if reading.requests_paused:
        line.add("   paused ", palette.dim).add(whole(reading.requests_paused, 3), palette.bright)
    preempted = summed(ticks, row.keys, "preemptions")
    line.add("   preempted ", palette.dim).add(whole(preempted, 3), palette.bright if preempted else palette.text)
    if reading.lora_running and width - line.cells >= 16:
        line.add("   adapters ", palette.dim).add(whole(reading.lora_running, 2), palette.bright)
    return line


def _cache(scene: Scene, row: Row, width: int) -> Line:
    palette, reading, units = scene.palette, row.reading, scene.units
    usage, capacity, free = reading.kv_cache_usage_ratio, reading.kv_cache_tokens, free_tokens(row)
    full = usage is not None and usage >= 0.95
    line = _label(scene, "KV cache")
    if usage is None and capacity is None:
        return line.add("-", palette.dim)
    line.extend(bar(usage, min(20, max(0, width - 60)), palette, palette.warning if full else None))
    line.add(percent(usage, 4), palette.alert if full else palette.bright if usage is not None else palette.dim)
    line.add(" %", palette.dim)
    if capacity is not None:
        line.add("  room for ", palette.dim).add(units("free", free).strip() or "-", palette.bright)
        line.add(f" of {units('capacity', capacity).strip()} tokens", palette.dim)
    hits = reading.prefix_cache_hit_ratio
    if hits is not None and width - line.cells >= 24:
        line.add("   prefix hits ", palette.dim).add(percent(hits, 3), palette.bright).add(" %", palette.dim)
    accepted = reading.spec_acceptance_ratio
    if accepted is not None and width - line.cells >= 24:
        line.add("   drafts accepted ", palette.dim).add(percent(accepted, 3), palette.bright).add(" %", palette.dim)
    return line


def _endings(scene: Scene, row: Row, ticks: Sequence[Tick]) -> Line:
    """How requests ended in the last minute, by reason; errors are marked."""
    palette = scene.palette
    line = _label(scene, "ended")
    line.add(whole(summed(ticks, row.keys, "requests_finished"), 4), palette.bright).add(" in all", palette.dim)
    for word, field in _ENDINGS:
        count = summed(ticks, row.keys, field)
        if count is None:
            continue
        bad = bool(count) and word in ("failed", "rejected")
        line.add(f"   {word} ", palette.dim)
        if bad:
            line.add(f"{palette.glyphs.warning} ", palette.warning)
        line.add(whole(count, 4), palette.alert if bad else palette.bright)
    return line
