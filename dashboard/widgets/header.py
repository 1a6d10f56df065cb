"""The first line: what is looked at, and whether it is now."""

from __future__ import annotations

from collections import Counter

from dashboard.format import NANOSECONDS, clock, counted, date, duration, interval_length, short_gpu, zone_name
from dashboard.scene import Scene
from dashboard.widgets.line import Line, fit
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import ENGINE_NAMES

_STALLED_INTERVALS = 3.0
_STALLED_SECONDS = 3.0


class Header(Panel):
    """Host, GPUs, engine and model on the left; state, interval and clock on the right."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        base = scene.palette.base
        right = _state(scene, width)
        line = Line().add(" " if width >= 40 else "", base).add("phasetop", scene.palette.strong)
        if width < 24:
            right = _state(scene, width - line.cells - 1)
        for n, part in enumerate(_parts(scene)):
            room = width - right.cells - line.cells - 4
            if room < min(len(part), 12):
                break
            line.add("  ", base)
            style = scene.palette.text if n == 0 else scene.palette.dim
            line.foreign(part, style, room, scene.palette.glyphs.ellipsis)
        if line.cells + right.cells < width:
            line.to(width - right.cells, base).extend(right)
        return Drawing(Line(), lines=[line])


def _parts(scene: Scene) -> list[str]:
    """Most important first; all but the first are dim."""
    parts = [scene.host_name] if scene.host_name else []
    if scene.origin:
        parts.append(scene.origin)
    if scene.tick is None:
        return parts
    there = scene.tick.interval.gpus.values()
    gpus = Counter(fit(short_gpu(gpu.name or "GPU"), 24) for gpu in there if gpu.parent is None)
    instances = sum(gpu.parent is not None for gpu in there)
    if instances:
        gpus[f"MIG instance{'s' if instances > 1 else ''}"] = instances
    parts.append(counted(gpus) if gpus else "no GPU")
    engines = list(scene.tick.interval.engines.values())
    kinds = Counter(
        " ".join(filter(None, (ENGINE_NAMES.get(e.engine or "", e.engine), e.version))) or "engine" for e in engines
    )
    if kinds:
        parts.append(counted(kinds) if len(engines) > 1 else next(iter(kinds)))
    models = list(dict.fromkeys(e.model for e in engines if e.model))
    if models:
        parts.append(fit(models[0], 32) + (f" +{len(models) - 1}" if len(models) > 1 else ""))
    return parts


def _state(scene: Scene, width: int) -> Line:
    palette, glyphs = scene.palette, scene.palette.glyphs
    line = Line()
    end = scene.tick.interval.end if scene.tick is not None else None
    stalled = _stalled(scene)
    if scene.playback is not None:
        moving = scene.playback.playing
        line.add(glyphs.playing if moving else glyphs.paused, palette.decode if moving else palette.bright)
        line.add(" following" if scene.playback.following else " replay", palette.text)
        line.add(f" {scene.playback.speed:g}×", palette.dim)
    elif scene.mode == "inspect" and end is not None:
        ago = max(0, scene.now - end) / NANOSECONDS
        line.add(f"{glyphs.cursor} {clock(end, scene.zone)}", palette.strong).add(
            f"  {duration(ago)} ago", palette.text
        )
    elif scene.mode == "paused" and end is not None:
        line.add(f"{glyphs.paused} paused at {clock(end, scene.zone)}", palette.strong)
        behind = scene.view.behind()
        line.add(f"  +{behind}" if behind else "", palette.dim)
    elif stalled is not None:
        line.add(f"{glyphs.warning} no data for {duration(stalled)}", palette.warning)
    elif scene.mode == "live" and end is not None:
        line.add(glyphs.live, palette.decode).add(" live", palette.text)
    else:
        line.add("starting", palette.dim)
    if width >= 72:
        line.add(f"  {interval_length(scene.interval)}", palette.dim)
    if width >= 40:
        moment = scene.playback.position if scene.playback is not None else scene.now
        if scene.playback is not None and width >= 100:
            line.add("   ", palette.base).add(date(moment, scene.zone), palette.dim).add(" ", palette.base)
        else:
            line.add("   " if width >= 60 else " ", palette.base)
        line.add(clock(moment, scene.zone), palette.bright)
    if width >= 60:
        line.add(f" {zone_name(scene.now, scene.zone)}", palette.dim)
    return line.add(" " if width >= 40 else "", palette.base)


def _stalled(scene: Scene) -> float | None:
    """Seconds without a new interval, when that is longer than it should be."""
    newest = scene.history.newest
    if scene.mode != "live" or newest is None:
        return None
    silent = (scene.now - newest.interval.end) / NANOSECONDS
    return silent if silent > max(_STALLED_SECONDS, _STALLED_INTERVALS * scene.interval) else None
