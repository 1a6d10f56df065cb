"""All GPUs and GPU instances, one row each, and which of them is selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.style import Style
from textual import events
from textual.message import Message

from collectors.model import gpu_entity
from dashboard.format import duration, gibibytes, percent, whole
from dashboard.gpu_choice import GpuChoice, number
from dashboard.gpu_words import THROTTLED, cause, lost_reason
from dashboard.scene import Scene
from dashboard.widgets.bars import bar, phase_bar
from dashboard.widgets.gpus import measures_of, odd_sentence
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import Odd, no_gpu_reason, odd_gpus

if TYPE_CHECKING:
    from collectors.readings import GpuReading

_GAP = 2
_MARK = 2
_HOT = 0.97
"""Of the temperature limit: from here on the number is marked."""
_LONGEST_BAR = 16


class Selected(Message):
    """Somebody picked a GPU, or the next one up (-1) or down (1)."""

    def __init__(self, uuid: str | None = None, *, by: int = 0) -> None:
        super().__init__()
        self.uuid, self.by = uuid, by


class GpuTable(Panel):
    """A click selects a row, the wheel the next one."""

    def __init__(self, name: str, choice: GpuChoice) -> None:
        super().__init__(name)
        self._choice = choice

    def on_click(self, event: events.Click) -> None:
        scene, place = self._scene, self._place
        if scene is None or place is None:
            return
        gpus = self._choice.listed(scene.tick)
        first, count = window(scene, self._choice, gpus, place.inside.height)
        row = event.y - (place.top is not None) - 1
        if 0 <= row < count:
            self.post_message(Selected(gpus[first + row].uuid))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(Selected(by=-1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(Selected(by=1))

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, choice = scene.palette, self._choice
        title = Line().add("GPUs", palette.dim)
        everyone = [] if scene.tick is None else list(scene.tick.interval.gpus.values())
        if not everyone:
            text = f"no GPU: {no_gpu_reason(scene)}" if scene.tick is not None else "waiting for the first interval"
            return Drawing(title, lines=[Line().foreign(text, palette.text, width, palette.glyphs.ellipsis)])
        gpus = choice.listed(scene.tick)
        if choice.wanted:
            title.add(f"  with {choice.wanted}", palette.text)
        if choice.order:
            title.add(f"  by {choice.sorted_by.name}", palette.text)
        if not gpus:
            line = Line().foreign(f'none of {len(everyone)} has "{choice.wanted}"', palette.text, width)
            return Drawing(title, _count(scene, gpus, everyone), [line])
        odd = odd_gpus(scene)
        first, count = window(scene, choice, gpus, height)
        columns = _columns(scene, everyone, odd, width)
        lines = [_heading(scene, columns, choice)] if height > 1 else []
        here = choice.shown(scene.tick)
        lines += [
            _row(scene, gpu, columns, width, is_selected=here is not None and gpu.uuid == here.uuid)
            for gpu in gpus[first : first + count]
        ]
        if odd is not None and not odd.critical and len(lines) < height:
            lines.append(odd_sentence(scene, odd, width))
        return Drawing(title, _count(scene, gpus, everyone, (first, count)), lines)


def window(scene: Scene, choice: GpuChoice, gpus: Sequence[GpuReading], height: int) -> tuple[int, int]:
    """The first row that is shown, and how many: the selected one is among them."""
    count = min(len(gpus), max(1, height - 1))
    here = choice.shown(scene.tick)
    row = next((n for n, gpu in enumerate(gpus) if here is not None and gpu.uuid == here.uuid), 0)
    first = min(max(0, row - count // 2), len(gpus) - count)
    return first, count


def _count(
    scene: Scene, gpus: Sequence[GpuReading], everyone: Sequence[GpuReading], shown: tuple[int, int] | None = None
) -> Line:
    palette = scene.palette
    well = sum(gpu.state == "ok" for gpu in everyone)
    line = Line()
    if shown is not None and shown[1] < len(gpus):
        line.add(f"{shown[0] + 1}{palette.glyphs.dash}{shown[0] + shown[1]} of {len(gpus)}   ", palette.dim)
    elif len(gpus) < len(everyone):
        line.add(f"{len(gpus)} shown   ", palette.dim)
    return line.add(f"{well} of {len(everyone)} well", palette.dim if well == len(everyone) else palette.warning)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its heading, the order it belongs to, its width, and what it shows of a GPU."""

    heading: str
    order: str
    width: int
    cell: Callable[[GpuReading], Line]
    right: bool = False


def _heading(scene: Scene, columns: Sequence[_Column], choice: GpuChoice) -> Line:
    """The headings, that of the column it is sorted by bright."""
    palette = scene.palette
    line = Line().add(" " * _MARK, palette.base)
    for column in columns:
        heading = column.heading[: column.width]
        text = f"{heading:>{column.width}}" if column.right else f"{heading:<{column.width}}"
        is_sorted = bool(choice.order) and column.order == choice.sorted_by.column
        line.add(text, palette.strong if is_sorted else palette.dim).add(" " * _GAP, palette.base)
    return line


def _row(scene: Scene, gpu: GpuReading, columns: Sequence[_Column], width: int, *, is_selected: bool) -> Line:
    palette = scene.palette
    line = Line().add(palette.glyphs.playing if is_selected else " ", palette.strong).add(" ", palette.base)
    line.extend(columns[0].cell(gpu)).to(_MARK + columns[0].width + _GAP, palette.base)
    if gpu.state == "lost":
        line.add(palette.glyphs.critical, palette.critical).add(" ", palette.base)
        text = f"lost: {lost_reason(scene, gpu)}"
        return line.foreign(text, palette.strong, width - line.cells, palette.glyphs.ellipsis)
    for column in columns[1:]:
        start = line.cells
        cell = column.cell(gpu)
        if column.right:
            line.add(" " * (column.width - cell.cells), palette.base)
        line.extend(cell).to(start + column.width + _GAP, palette.base)
    return line


def _columns(scene: Scene, gpus: Sequence[GpuReading], odd: Odd | None, width: int) -> list[_Column]:
    """The columns that fit, in their order on screen; what is left over makes the bars longer."""
    palette = scene.palette
    measures = measures_of(gpus)
    name = max(len(number(gpu)) for gpu in gpus)
    degrees = "C" if palette.ascii else "°C"
    activity = {
        f"activity {n}": _activity(scene, m.heading, m.field, max(3, len(m.heading)), odd)
        for n, m in enumerate(measures)
    }
    every: dict[str, _Column] = {
        "phase": _Column("phase", "", 8, lambda gpu: _phase(scene, gpu)),
        **activity,
        "memory": _Column("GiB", "memory", 8, lambda gpu: _memory(scene, gpu, 0)),
        "power": _Column("   W", "power", 9, lambda gpu: _power(scene, gpu, 0)),
        "heat": _Column(degrees, "temperature", 3, lambda gpu: _heat(scene, gpu), right=True),
        "clock": _Column("GHz", "", 4, lambda gpu: _clock(scene, gpu)),
        "throttled": _Column("throttled", "throttled", 14, lambda gpu: _throttled(scene, gpu)),
        "source": _Column("source", "", 10, lambda gpu: _source(scene, gpu)),
    }
    room = width - _MARK - name - _GAP
    kept: set[str] = set()
    for key in (*activity, "heat", "power", "throttled", "memory", "phase", "source", "clock"):
        cost = every[key].width + _GAP
        if cost <= room + _GAP:
            room -= cost
            kept.add(key)
    barred = [key for key in (*activity, "memory", "power") if key in kept]
    room += _GAP
    for group in (list(activity), ["memory"], ["power"]):  # bars for activity before bars for the rest
        chosen = [key for key in group if key in barred]
        if chosen and room >= 6 * len(chosen):
            length = min(_LONGEST_BAR, room // (len(chosen) if group != ["memory"] or "power" not in kept else 2))
            length = max(6, length)
            room -= length * len(chosen)
            for key in chosen:
                every[key] = _with_bar(scene, every[key], key, gpus, odd, length)
    first = _Column("#", "#", name, lambda gpu: Line().add(f"{number(gpu):<{name}}", palette.text))
    return [first, *(column for key, column in every.items() if key in kept)]


def _with_bar(
    scene: Scene, plain: _Column, key: str, gpus: Sequence[GpuReading], odd: Odd | None, length: int
) -> _Column:
    """The column with a bar of `length - 1` cells before its number."""
    if key == "memory":
        return _Column("memory GiB", plain.order, plain.width + length, lambda gpu: _memory(scene, gpu, length))
    if key == "power":
        return _Column("power W", plain.order, plain.width + length, lambda gpu: _power(scene, gpu, length))
    measure = next(m for m in measures_of(gpus) if m.heading == plain.heading)
    width = max(len(measure.heading), length + 3)
    return _activity(scene, measure.heading, measure.field, width, odd, length)


def _barred(scene: Scene, ratio: float | None, length: int, text: str, style: Style | None, *, known: bool) -> Line:
    palette, line = scene.palette, Line()
    if length:
        line.extend(bar(ratio, length - 1, palette, style)).add(" ", palette.base)
    return line.add(text, palette.bright if known else palette.dim)


def _activity(scene: Scene, heading: str, field: str, width: int, odd: Odd | None, length: int = 0) -> _Column:
    palette = scene.palette

    def cell(gpu: GpuReading) -> Line:
        value = getattr(gpu, field)
        named = odd is not None and gpu.uuid in odd.uuids and field in ("dram_active_ratio", "kernel_active_ratio")
        style = palette.warning if named else None
        return _barred(scene, value, length, percent(value), style, known=value is not None)

    order = {"kernel-active": "SM"}.get(heading, heading)
    return _Column(heading, order, width, cell)


def _phase(scene: Scene, gpu: GpuReading) -> Line:
    label = scene.tick.labels.get(gpu_entity(gpu.uuid)) if scene.tick else None
    return phase_bar(label, 8, scene.palette)


def _memory(scene: Scene, gpu: GpuReading, length: int) -> Line:
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    ratio = used / total if used is not None and total else None
    line = _barred(scene, ratio, length, gibibytes(used), None, known=used is not None)
    return line.add(f" /{gibibytes(total).strip()}" if total is not None else "", scene.palette.dim)


def _power(scene: Scene, gpu: GpuReading, length: int) -> Line:
    drawn, limit = gpu.power_watts, gpu.power_limit_watts
    ratio = drawn / limit if drawn is not None and limit else None
    line = _barred(scene, ratio, length, whole(drawn, 4), None, known=drawn is not None)
    return line.add(f" /{whole(limit, 3).strip()}" if limit is not None else "", scene.palette.dim)


def _heat(scene: Scene, gpu: GpuReading) -> Line:
    limit, heat = gpu.temperature_limit_celsius, gpu.temperature_celsius
    hot = heat is not None and limit is not None and heat >= limit * _HOT
    style = scene.palette.warning if hot else scene.palette.bright if heat is not None else scene.palette.dim
    return Line().add(whole(heat, 3), style)


def _clock(scene: Scene, gpu: GpuReading) -> Line:
    hertz = gpu.sm_clock_hertz
    text = "   -" if hertz is None else f"{hertz / 1e9:4.2f}"[:4]
    return Line().add(text, scene.palette.bright if hertz is not None else scene.palette.dim)


def _throttled(scene: Scene, gpu: GpuReading) -> Line:
    """The cause that held the clocks down most, and for which share of the time."""
    palette, found = scene.palette, cause(gpu)
    if found is None:
        return Line()
    word, share = found
    marked = share >= THROTTLED
    line = Line().add(f"{palette.glyphs.warning} " if marked else "  ", palette.warning)
    return line.add(f"{word.removesuffix(' cap')} {percent(share, 1)} %", palette.warning if marked else palette.dim)


def _source(scene: Scene, gpu: GpuReading) -> Line:
    """Where the figures come from, and how old they are when that is worth a word."""
    palette = scene.palette
    if gpu.state == "stale":
        age = f" {duration(gpu.age_seconds)}" if gpu.age_seconds is not None else ""
        return Line().add(palette.glyphs.warning, palette.warning).add(f" old{age}", palette.warning)
    age_seconds = gpu.activity_age_seconds if gpu.activity_age_seconds is not None else gpu.age_seconds
    is_old = age_seconds is not None and age_seconds > 2 * scene.interval
    line = Line().foreign(gpu.source or "-", palette.dim, 6 if is_old else 10)
    if is_old and age_seconds is not None:
        line.add(f" {duration(age_seconds)}"[:6], palette.text)
    return line
