"""The selected GPU: its history on the common axis, its health in words, its processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import events
from textual.message import Message

from collectors.model import GpuProcess, gpu_entity
from dashboard.format import GIB, gibibytes, percent, whole
from dashboard.frames import SIDE_BY_SIDE
from dashboard.gpu_choice import GpuChoice, number, short_name
from dashboard.gpu_words import degrees, health
from dashboard.scene import Scene
from dashboard.widgets.gpus import ACTIVITY, measures_of
from dashboard.widgets.history import HistoryPanel, TimeLine, memory, quantity, ratio
from dashboard.widgets.line import Line, wrap
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import ENGINE_NAMES, place_of

if TYPE_CHECKING:
    from collectors.readings import GpuReading


class GpuHistory(HistoryPanel):
    """Activity, power, memory, clock and temperature of the selected GPU."""

    def __init__(self, name: str, choice: GpuChoice) -> None:
        super().__init__(name)
        self._choice = choice

    def title(self, scene: Scene) -> Line:
        gpu = self._choice.shown(scene.tick)
        line = Line()
        if gpu is None:
            return line.add("GPU", scene.palette.dim)
        line.add(f"GPU {number(gpu)}", scene.palette.text)
        return line.foreign(f"  {short_name(gpu)}", scene.palette.dim, 40, scene.palette.glyphs.ellipsis)

    def right(self, scene: Scene) -> Line:
        gpu = self._choice.shown(scene.tick)
        return Line() if gpu is None else Line().foreign(gpu.uuid, scene.palette.dim, 44)

    def lines(self, scene: Scene) -> Sequence[TimeLine]:
        gpu = self._choice.shown(scene.tick)
        return [] if gpu is None else _lines(scene, gpu)


def _lines(scene: Scene, gpu: GpuReading) -> list[TimeLine]:
    entity = gpu_entity(gpu.uuid)
    everyone = [] if scene.tick is None else list(scene.tick.interval.gpus.values())
    if measures_of(everyone) is ACTIVITY:
        activity = [
            ratio("SM", entity, "sm", "active"), ratio("tensor", entity, "tensor", "active"), _dram(entity, gpu),
        ]  # fmt: skip
    else:
        activity = [
            ratio("kernel-active", entity, "kernel", "of time"),
            ratio("memory-active", entity, "memory_active", "of time"),
        ]
    return [
        *activity,
        _limited(quantity("power", entity, "power", "W", gpu.power_limit_watts), gpu.power_limit_watts, "W"),
        memory("memory", entity, "memory", gpu.memory_total_bytes),
        quantity("clock", entity, "clock", "Hz", gpu.sm_clock_max_hertz),
        _heat(entity, gpu.temperature_limit_celsius),
    ]


def _dram(entity: str, gpu: GpuReading) -> TimeLine:
    """DRAM bandwidth: the share of the peak and, where that is known, how much it is."""
    plain, peak = ratio("DRAM", entity, "dram"), gpu.dram_peak_bytes_per_second

    def both(scene: Scene) -> Line:
        palette, value = scene.palette, scene.value(entity, "dram")
        place = scene.arrangement.places.get("history")
        if value is None or peak is None or place is None or place.width < SIDE_BY_SIDE:
            return plain.number(scene)
        text, prefix = scene.units.parted(f"{entity}/dram_rate", value * peak)
        line = Line().add(percent(value, 4), palette.bright).add(" % ", palette.dim)
        return line.add(text, palette.bright).add(f" {prefix}B/s", palette.dim)

    return TimeLine(plain.name, plain.values, both, 1.0)


def _heat(entity: str, limit: float | None) -> TimeLine:
    def number_of(scene: Scene) -> Line:
        palette, value = scene.palette, scene.value(entity, "temperature")
        line = Line().add(whole(value, 4), palette.bright if value is not None else palette.dim)
        return line.add(f" {degrees(palette.ascii)}" + (f"  of {limit:.0f}" if limit is not None else ""), palette.dim)

    top = limit * 1.2 if limit is not None else None  # above the limit there is something to see, too
    return TimeLine("heat", lambda scene, columns: scene.averages(entity, "temperature", columns), number_of, top)


def _limited(plain: TimeLine, limit: float | None, unit: str) -> TimeLine:
    """A number and, beside it, what it may be at most."""

    def number_of(scene: Scene) -> Line:
        line = plain.number(scene)
        return line.add(f"  of {limit:.0f} {unit}" if limit is not None else "", scene.palette.dim)

    return TimeLine(plain.name, plain.values, number_of, plain.top)


class GpuHealth(Panel):
    """What is wrong with the selected GPU; nothing wrong is said."""

    def __init__(self, name: str, choice: GpuChoice) -> None:
        super().__init__(name)
        self._choice = choice

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Health", palette.dim)
        gpu = self._choice.shown(scene.tick)
        if gpu is None:
            return Drawing(title)
        lines: list[Line] = []
        for said in health(scene, gpu):
            glyph, mark, style = {
                "bad": (palette.glyphs.critical, palette.critical, palette.strong),
                "odd": (palette.glyphs.warning, palette.warning, palette.bright),
                "well": (" ", palette.base, palette.dim),
            }[said.level]
            for n, part in enumerate(wrap(said.text, width - 2)):
                line = Line().add(glyph if n == 0 else " ", mark if n == 0 else palette.base).add(" ", palette.base)
                lines.append(line.foreign(part, style, width - 2, palette.glyphs.ellipsis))
        return Drawing(title, Line().add(f"GPU {number(gpu)}", palette.dim), lines)


_PID, _USER, _ENGINE, _MEMORY = 8, 10, 14, 6
_GAP = 2


class Scrolled(Message):
    """The wheel was turned over the processes."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by


class GpuProcesses(Panel):
    """The processes on the selected GPU, the largest first; command lines come with their secrets masked."""

    def __init__(self, name: str, choice: GpuChoice) -> None:
        super().__init__(name)
        self._choice = choice

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Processes", palette.dim)
        gpu = self._choice.shown(scene.tick)
        if gpu is None or scene.tick is None:
            return Drawing(title)
        found = scene.tick.interval.gpu_processes.get(gpu.uuid, ())
        if not found:
            parts = wrap(_none(scene, gpu), width)
            return Drawing(title, lines=[Line().foreign(part, palette.dim, width) for part in parts])
        ordered = sorted(found, key=lambda process: -(process.memory_bytes or 0.0))
        known = [process.memory_bytes for process in ordered if process.memory_bytes is not None]
        total = f"   {sum(known) / GIB:.1f} GiB" if known else ""
        room = max(1, height - (height > 1))
        above = min(self._choice.above, max(0, len(ordered) - room))
        shown = ordered[above : above + room]
        part = f"{above + 1}{palette.glyphs.dash}{above + len(shown)} of " if len(shown) < len(ordered) else ""
        right = Line().add(f"{part}{len(ordered)} on GPU {number(gpu)}{total}", palette.dim)
        return Drawing(title, right, _table(scene, shown, width, height))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(Scrolled(1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(Scrolled(-1))


def _none(scene: Scene, gpu: GpuReading) -> str:
    if scene.playback is not None:
        return "processes are not recorded"
    if gpu.state == "lost":
        return "a lost GPU does not tell"
    newest, shown = scene.history.newest, scene.tick
    is_kept = shown is None or shown.interval.gpu_processes
    if not is_kept and newest is not None and newest.interval.gpu_processes:
        return "processes are kept for the last minutes only"
    if gpu.source not in (None, "gpm", "nvml"):
        return "none, or an exporter's page alone tells of this GPU"
    return "none"


def _table(scene: Scene, processes: Sequence[GpuProcess], width: int, height: int) -> list[Line]:
    """Command, pid and memory always, then engine and user as there is room."""
    palette = scene.palette
    room = width - _PID - _MEMORY - 2 * _GAP
    has_engine = any(process.engine for process in processes) and room >= _ENGINE + _GAP + 12
    room -= _ENGINE + _GAP if has_engine else 0
    has_user = any(process.user for process in processes) and room >= _USER + _GAP + 12
    heading = Line().add(f"{'pid':>{_PID}}", palette.dim).add(" " * _GAP, palette.base)
    heading.add(f"{'GiB':>{_MEMORY}}", palette.dim).add(" " * _GAP, palette.base)
    if has_engine:
        heading.add(f"{'engine':<{_ENGINE + _GAP}}", palette.dim)
    if has_user:
        heading.add(f"{'user':<{_USER + _GAP}}", palette.dim)
    lines = [heading.add("command", palette.dim)] if height > 1 else []
    for process in processes:
        line = Line().add(f"{process.pid:>{_PID}}", palette.text).add(" " * _GAP, palette.base)
        line.add(gibibytes(process.memory_bytes, _MEMORY), palette.bright).add(" " * _GAP, palette.base)
        for there, text, cells in (
            (has_engine, _engine(scene, process), _ENGINE),
            (has_user, process.user or "-", _USER),
        ):
            if there:
                start = line.cells
                line.foreign(text, palette.text, cells, palette.glyphs.ellipsis).to(start + cells + _GAP, palette.base)
        told = process.command or process.name
        style = palette.text if told else palette.dim
        if process.pod is not None and process.pod.name:
            told = f"{process.pod.namespace}/{process.pod.name} {told or ''}"
        told = told or "not visible from here (another container or user)"
        lines.append(line.foreign(told, style, width - line.cells, palette.glyphs.ellipsis))
    return lines


def _engine(scene: Scene, process: GpuProcess) -> str:
    """The engine a process belongs to, by kind and place."""
    if not process.engine or scene.tick is None:
        return "-"
    kind = next((e.engine for e in scene.tick.interval.engines.values() if e.endpoint == process.engine), None)
    return " ".join(filter(None, (ENGINE_NAMES.get(kind or "", kind), place_of(process.engine))))
