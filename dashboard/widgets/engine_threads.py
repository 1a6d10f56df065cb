"""The engines' processes and the busiest thread of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.readings import EngineReading
from dashboard.format import MISSING, percent
from dashboard.scene import Scene
from dashboard.widgets.bars import bar
from dashboard.widgets.line import Line, wrap
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import ENGINE_NAMES, place_of

_ENGINE, _PROCESS, _PID, _CORES, _THREAD = 18, 17, 9, 8, 18
_SPINS = 0.95
_SAID = "a thread at 100 % of a core is necessary for the host to be the limit, not sufficient: schedulers spin"


@dataclass(frozen=True, slots=True)
class Busy:
    """One process of an engine in one interval."""

    engine: str
    name: str
    pid: float | None
    cores: float | None
    thread: str | None
    ratio: float | None


def processes_of(engine: EngineReading) -> Iterator[Busy]:
    kind = ENGINE_NAMES.get(engine.engine or "", engine.engine or "engine")
    name = f"{kind} {place_of(engine.endpoint)}"

    def at(values: tuple[object, ...] | None, number: int) -> object:
        return values[number] if values is not None and number < len(values) else None

    for number, process in enumerate(engine.processes or ()):
        yield Busy(
            name,
            process,
            at(engine.process_ids, number),  # type: ignore[arg-type]
            at(engine.process_cores, number),  # type: ignore[arg-type]
            at(engine.process_threads, number),  # type: ignore[arg-type]
            at(engine.process_thread_ratios, number),  # type: ignore[arg-type]
        )


class EngineThreadsPanel(Panel):
    """One row a process, the busiest first; what a full core means is said."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Engine processes", palette.dim)
        if scene.tick is None:
            return Drawing(title)
        engines = list(scene.tick.interval.engines.values())
        if not engines:
            return Drawing(title, lines=[Line().add("no serving engine", palette.dim)])
        busy = [one for engine in engines for one in processes_of(engine)]
        right = _cores(scene, engines)
        if not busy:
            told = "not seen: the engine runs elsewhere, in another container, or may not be looked into"
            return Drawing(title, right, [Line().foreign(told, palette.dim, width, palette.glyphs.ellipsis)])
        busy.sort(key=lambda one: -(one.cores or 0.0))
        notes = wrap(_SAID, width) if any((one.ratio or 0.0) >= _SPINS for one in busy) else []
        notes = notes if len(notes) <= height - 2 else []
        room = max(1, height - 1 - len(notes))
        heading = Line()
        for name, cells in _columns(width):
            heading.add(f"{name:<{cells}}" if name in _WORDS else f"{name:>{cells}}", palette.dim)
        lines = [heading, *(_line(scene, one, width) for one in busy[:room])]
        lines += [Line().add(note, palette.dim) for note in notes]
        return Drawing(title, right, lines[:height])


_WORDS = ("engine", "process", "  busiest thread")


def _columns(width: int) -> list[tuple[str, int]]:
    """The columns that fit: the thread before the engine's name and the process id."""
    wanted = [("process", _PROCESS), ("cores", _CORES), ("  busiest thread", _THREAD + 2), ("of a core", 11)]
    if width >= 64 + _PID:
        wanted.insert(1, ("pid", _PID))
    if width >= 64 + _PID + _ENGINE:
        wanted.insert(0, ("engine", _ENGINE))
    return wanted


def _cores(scene: Scene, engines: list[EngineReading]) -> Line:
    """CPU time of all engines together, in cores."""
    used = [e.cpu_seconds / e.window_seconds for e in engines if e.cpu_seconds is not None and e.window_seconds]
    palette = scene.palette
    if not used:
        return Line()
    return Line().add(f"{sum(used):.2f}", palette.bright).add(" cores", palette.dim)


def _line(scene: Scene, one: Busy, width: int) -> Line:
    palette, dots = scene.palette, scene.palette.glyphs.ellipsis
    line = Line()
    for name, cells in _columns(width):
        start = line.cells
        match name:
            case "engine":
                line.foreign(one.engine, palette.dim, cells - 1, dots)
            case "process":
                line.foreign(one.name, palette.text, cells - 1, dots)
            case "pid":
                line.add(f"{MISSING if one.pid is None else f'{one.pid:.0f}':>{cells}}", palette.dim)
            case "cores":
                line.add(f"{MISSING if one.cores is None else f'{one.cores:.2f}':>{cells}}", palette.bright)
            case "of a core":
                line.add(percent(one.ratio, 4), palette.strong if (one.ratio or 0) >= _SPINS else palette.bright)
                line.add(" %" if one.ratio is not None else "", palette.dim)
                line.add("  ", palette.base).extend(bar(one.ratio, max(0, min(20, width - line.cells - 2)), palette))
            case _:
                line.add("  ", palette.base).foreign(one.thread or MISSING, palette.text, cells - 3, dots)
        line.to(start + cells, palette.base)
    return line
