"""The phase panel: the strip, events under it, measurements on the same axis, and the axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.model import PHASES, Phase
from collectors.phase.rules import phase_seconds
from dashboard.format import NANOSECONDS, clock, duration, nice_ceiling, percent, whole
from dashboard.scene import Scene
from dashboard.tracks import LINES, Column
from dashboard.widgets.axis import (
    AxisPanel,
    Gutters,
    axis_line,
    cursor_column,
    events_line,
    gaps_of,
    gutters,
    nvml_only,
)
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing
from dashboard.widgets.strip import paint, spark
from dashboard.words import no_gpu_reason

_SHOWN_PHASES = ("prefill", "decode", "waiting", "unknown", "gap", "idle")
_ALWAYS = {"prefill", "decode", "idle"}


class PhasePanel(AxisPanel):
    """The signature of the screen: what the time went into, one column a fixed step of it."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        if scene.arrangement.strip == 0:
            return Drawing(Line(), lines=[shares_line(scene, width)])
        sides = gutters(scene, width)
        columns = scene.columns(width - sides.left - sides.right)
        title = Line().add("Phase", scene.palette.dim)
        if not columns:
            return Drawing(title, lines=_waiting(scene, height))
        lines = _strip(scene, columns, sides)
        if scene.arrangement.events:
            lines.append(events_line(scene, columns, sides))
        lines += _measurements(scene, columns, sides, width)
        if scene.arrangement.reason:
            lines.append(_reason(scene, sides, width))
        if scene.arrangement.axis:
            lines.append(axis_line(scene, columns, sides))
        return Drawing(title, _shares(scene, columns, width), lines)


def _waiting(scene: Scene, height: int) -> list[Line]:
    """Before the first interval: the screen is there, the numbers are on their way."""
    lines = [Line() for _ in range(max(0, (height - 1) // 2))]
    return [*lines, Line().add("  waiting for the first interval", scene.palette.dim)]


def _totals(columns: Sequence[Column]) -> dict[str, float]:
    totals = dict(zip(PHASES, (sum(parts) for parts in zip(*(c.seconds for c in columns), strict=True)), strict=True))
    totals["gap"] = sum(column.gap for column in columns)
    return totals


def _shares(scene: Scene, columns: Sequence[Column], width: int) -> Line:
    """Shares over the visible window, which doubles as the legend; shorter where there is less room."""
    palette, totals = scene.palette, _totals(columns)
    total = sum(totals.values())
    if not total:
        return Line()
    # The newest column is seldom full: whole columns are named, so that the title stands still.
    known = sum(not column.empty for column in columns) * scene.step / NANOSECONDS
    length = duration(known if known - total < 2 * scene.step / NANOSECONDS else total)
    shown = [(name, share) for name in _SHOWN_PHASES if (share := totals[name] / total) >= 0.005 or name in _ALWAYS]
    line = Line()
    for window, letters, gap in (
        (f"last {length}", 9, 3),
        (f"last {length}", 9, 2),
        ("", 9, 2),
        ("", 3, 1),
        ("", 1, 1),
    ):
        line = Line().add(window, palette.dim)
        for name, share in shown:
            line.add(" " * gap if line.cells else "", palette.base).add(f"{name[:letters]} ", palette.dim)
            line.add(percent(share, 2), palette.phase(name) if name in ("prefill", "decode") else palette.bright)
            line.add(" %" if letters > 3 else "", palette.dim)
        if line.cells + 12 <= width:
            break
    return line


def shares_line(scene: Scene, width: int) -> Line:
    """The smallest view of all: the shares of the interval looked at, in one line."""
    palette = scene.palette
    label = scene.label
    if label is None or scene.tick is None:
        return Line().add("waiting", palette.dim)
    shares = _interval_shares(label.phase, scene.tick.interval.duration)
    line = Line()
    for name, letter in (("prefill", "P"), ("decode", "D"), ("waiting", "W"), ("unknown", "?"), ("idle", "I")):
        share = shares.get(name, 0.0)
        if name in _ALWAYS or share >= 0.005:
            word = f"{name} " if width >= 50 else f"{letter} "
            style = palette.phase(name, settled=label.settled)
            line.add(" " if line.cells else "", palette.base).add(word, palette.dim)
            line.add(f"{percent(share, 2)}%", style)
    return line


def _interval_shares(phase: Phase, seconds: float) -> dict[str, float]:
    parts = phase_seconds(phase, seconds)
    total = sum(parts.values()) or 1.0
    return {name: value / total for name, value in parts.items()}


def _strip(scene: Scene, columns: Sequence[Column], sides: Gutters) -> list[Line]:
    palette, rows = scene.palette, scene.arrangement.strip
    painted = paint(columns, rows, palette, cursor_column(scene, columns))
    beside = _interval_lines(scene, sides.right, rows)
    lines = []
    for row, cells in enumerate(painted):
        line = Line()
        if sides.left:
            text = "100 %" if row == 0 else "  0 %" if row == rows - 1 else "share" if row == rows // 2 else ""
            line.add(f"{text:<{sides.left}}", palette.dim if text == "share" else palette.faint)
        line.extend(cells)
        if row < len(beside):
            line.extend(beside[row])
        lines.append(line)
    return lines


def _interval_lines(scene: Scene, width: int, rows: int) -> list[Line]:
    """Right of the strip: the shares of the interval looked at, in numbers."""
    palette, label, tick = scene.palette, scene.label, scene.tick
    if width < 16 or rows < 4 or label is None or tick is None:
        return []
    when = "now" if scene.mode == "live" else clock(tick.interval.end, scene.zone)
    lines = [Line().add(f"  {when:>6}" if len(when) < 6 else f"  {when}", palette.dim)]
    shares = _interval_shares(label.phase, tick.interval.duration)
    for name in ("prefill", "decode", "waiting", "unknown", "idle"):
        share = shares[name]
        if name in _ALWAYS or share >= 0.005:
            line = Line().add("  ", palette.base)
            line.add(percent(share, 4), palette.phase(name, settled=label.settled)).add(f" % {name}", palette.dim)
            lines.append(line)
    return lines[:rows]


@dataclass(frozen=True, slots=True)
class _Measurement:
    """One line under the strip: its name, its track, and whether it is a ratio of 1."""

    name: str
    track: str
    ratio: bool


_ACTIVITY = (_Measurement("SM", "sm", True), _Measurement("tensor", "tensor", True), _Measurement("DRAM", "dram", True))
_NVML = (
    _Measurement("kernel-active", "kernel", True), _Measurement("memory-active", "memory", True),
    _Measurement("power", "power", False),
)  # fmt: skip
_TOKENS = (_Measurement("prompt", "prompt", False), _Measurement("output", "generation", False))
_HOST = _Measurement("CPU", "cpu", True)


def _chosen(scene: Scene) -> tuple[_Measurement, ...]:
    tick = scene.tick
    if tick is None or not tick.interval.gpus:
        sampled = tick is None or tick.interval.host is not None
        return (*((_HOST,) if sampled else ()), *_TOKENS, _Measurement("running", "running", False))
    return (*(_NVML if nvml_only(scene) else _ACTIVITY), *_TOKENS)


def _measurements(scene: Scene, columns: Sequence[Column], sides: Gutters, width: int) -> list[Line]:
    palette = scene.palette
    tall = scene.arrangement.line_height
    chosen = _chosen(scene)[: scene.arrangement.lines]
    gaps = gaps_of(columns)
    cursor = cursor_column(scene, columns)
    lines = []
    for measurement in chosen:
        track = LINES.index(measurement.track)
        values = [column.lines[track] for column in columns]
        top = 1.0 if measurement.ratio else nice_ceiling(max((v for v in values if v == v), default=0.0))
        drawn = spark(values, top, palette, gaps, cursor, tall)
        for row, cells in enumerate(drawn):
            last = row == len(drawn) - 1
            line = Line()
            if sides.left:
                line.add(f"{measurement.name if last else '':<{sides.left}}", palette.dim)
            line.extend(cells)
            if sides.right and last:
                line.extend(_value(scene, measurement, sides.right))
            lines.append(line)
    # Rows that were granted and have nothing to show stay blank, so that the axis does not jump.
    return lines + [Line() for _ in range(scene.arrangement.lines * tall - len(lines))]


def _value(scene: Scene, measurement: _Measurement, width: int) -> Line:
    """The value of the interval looked at, right of its line."""
    palette, units = scene.palette, scene.units
    row = None if scene.tick is None else scene.history.tracks.row_of(scene.tick.interval.sequence)
    if row is None:
        return Line()
    value = scene.history.tracks.value(row, measurement.track)
    wide = width >= 19
    line = Line().add("  ", palette.base)
    if measurement.ratio:
        line.add(percent(value, 4), palette.bright).add(" %", palette.dim)
        if wide:
            line.extend(_explained(scene, measurement, row))
        return line
    if measurement.track == "running":
        return line.add(whole(value, 4), palette.bright).add(" requests", palette.dim)
    number, prefix = units.parted(measurement.track, value)
    unit = "W" if measurement.track == "power" else "tok/s"
    return line.add(number, palette.bright).add(f" {prefix}{unit}" if value is not None else "", palette.dim)


def _explained(scene: Scene, measurement: _Measurement, row: int) -> Line:
    """What the percents are of."""
    palette, line = scene.palette, Line()
    if measurement.track == "dram":
        rate = scene.history.tracks.value(row, "dram_rate")
        if rate is None:
            return line.add(" active", palette.dim)
        number, prefix = scene.units.parted("dram_rate", rate)
        return line.add(f" {number}", palette.bright).add(f" {prefix}B/s", palette.dim)
    if measurement.track == "cpu":
        host = scene.tick.interval.host if scene.tick else None
        return line.add(f" of {host.cpu_cores:g}" if host is not None and host.cpu_cores else "", palette.dim)
    return line.add(" of time" if measurement.track in ("kernel", "memory") else " active", palette.dim)


def _reason(scene: Scene, sides: Gutters, width: int) -> Line:
    palette = scene.palette
    line = Line()
    if sides.left:
        line.add(f"{'GPU':<{sides.left}}", palette.dim)
    return line.foreign(f"no GPU: {no_gpu_reason(scene)}", palette.text, width - line.cells, palette.glyphs.ellipsis)
