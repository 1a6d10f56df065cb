"""The host: CPU, memory, pressure and network of the machine, and the power its GPUs draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.format import GIB, gibibytes, percent
from dashboard.scene import Scene
from dashboard.widgets.bars import bar
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

if TYPE_CHECKING:
    from collectors.readings import EngineReading, HostReading

_LABEL = 8
_POWERS = {"": 1.0, "k": 1e3, "M": 1e6}
_FLOW = 15
"""Columns of one rate: its word, its number and its unit."""
_PRESSED = 0.10
_THROTTLED = 0.05


class HostPanel(Panel):
    """Rows most important first, so that a low panel keeps what matters."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Host", palette.dim)
        host = None if scene.tick is None else scene.tick.interval.host
        if host is None:
            reason = next((s.reason for s in scene.statuses if s.source == "host" and s.reason), None)
            return Drawing(
                title, lines=[Line().foreign(reason or "not sampled", palette.dim, width)] if scene.tick else []
            )
        right = Line()
        if host.cpu_cores is not None:
            right.add(f"{host.cpu_cores:g} CPUs", palette.dim)
        if host.load_1m is not None:
            right.add(f"   load {host.load_1m:.1f}", palette.dim)
        rows: list[Line | None] = [_cpu(scene, host, width), _memory(scene, host, width)]
        rows += [_engine_cpu(scene), _pressure(scene, host), _network(scene, host), _power(scene), _disk(scene, host)]
        return Drawing(title, right, [row for row in rows if row is not None])


def _named(scene: Scene, name: str) -> Line:
    return Line().add(f"{name:<{_LABEL}}", scene.palette.dim)


def _bar_width(width: int) -> int:
    return max(0, min(24, width - _LABEL - 16))


def _cpu(scene: Scene, host: HostReading, width: int) -> Line:
    palette = scene.palette
    line = _named(scene, "CPU").extend(bar(host.cpu_ratio, _bar_width(width), palette))
    line.add(percent(host.cpu_ratio, 5), palette.bright).add(" %", palette.dim)
    held = host.cpu_throttled_ratio
    if held is not None and held >= _THROTTLED:
        line.add(f" {palette.glyphs.warning} held {percent(held, 1)} %", palette.warning)
    return line


def _memory(scene: Scene, host: HostReading, width: int) -> Line:
    palette = scene.palette
    used, total = host.memory_used_bytes, host.memory_total_bytes
    ratio = used / total if used is not None and total else None
    line = _named(scene, "memory").extend(bar(ratio, _bar_width(width), palette))
    line.add(gibibytes(used, 5), palette.bright)
    return line.add(f" /{total / GIB:.0f} GiB" if total else " GiB", palette.dim)


def _engine_cpu(scene: Scene) -> Line | None:
    """CPU time of the engines' processes, in cores."""
    engines: list[EngineReading] = list(scene.tick.interval.engines.values()) if scene.tick else []
    cores = [e.cpu_seconds / e.window_seconds for e in engines if e.cpu_seconds is not None and e.window_seconds]
    if not cores:
        return None
    palette = scene.palette
    line = _named(scene, "engine").add(f"{sum(cores):5.2f}", palette.bright)
    return line.add(" cores" if sum(cores) >= 1.995 else " of a core", palette.dim)


def _pressure(scene: Scene, host: HostReading) -> Line | None:
    parts = (("cpu", host.cpu_pressure_ratio), ("io", host.io_pressure_ratio), ("mem", host.memory_pressure_ratio))
    if all(value is None for _, value in parts):
        return None
    palette = scene.palette
    line = _named(scene, "PSI")
    for word, value in parts:
        pressed = value is not None and value >= _PRESSED
        line.add(word, palette.dim).add(percent(value, 4), palette.strong if pressed else palette.bright)
        line.add("  " if word != "mem" else " %", palette.dim)
    return line


def _flow(
    scene: Scene, name: str, host: HostReading, words: tuple[str, str], amounts: tuple[float | None, ...]
) -> Line:
    palette, seconds = scene.palette, host.window_seconds
    line = _named(scene, name)
    for n, (word, amount) in enumerate(zip(words, amounts, strict=True)):
        value = amount / seconds if amount is not None and seconds else None
        number, prefix = scene.units.parted(f"host/{name}/{word}", value)
        line.to(_LABEL + n * _FLOW, palette.base).add(f"{word:<4}", palette.dim)
        line.add(number, palette.bright).add(f" {prefix}B/s", palette.dim)
    return line


def _network(scene: Scene, host: HostReading) -> Line:
    amounts = (host.network_receive_bytes, host.network_transmit_bytes)
    return _flow(scene, "net", host, ("in", "out"), amounts)


def _disk(scene: Scene, host: HostReading) -> Line | None:
    amounts = (host.disk_read_bytes, host.disk_write_bytes)
    return None if amounts == (None, None) else _flow(scene, "disk", host, ("rd", "wr"), amounts)


def _power(scene: Scene) -> Line | None:
    """The GPUs' power of what they may draw, and what one generated token costs."""
    if scene.tick is None:
        return None
    gpus = scene.tick.interval.gpus.values()
    drawn = [gpu.power_watts for gpu in gpus if gpu.power_watts is not None]
    if not drawn:
        return None
    palette, units = scene.palette, scene.units
    number, prefix = units.parted("host/power", sum(drawn))
    line = _named(scene, "power").add(number, palette.bright)
    limits = [gpu.power_limit_watts for gpu in gpus if gpu.power_limit_watts is not None]
    if len(limits) == len(drawn) and prefix in _POWERS:
        line.add(f" /{sum(limits) / _POWERS[prefix]:.3g}", palette.dim)
    line.add(f" {prefix}W", palette.dim)
    joules = [gpu.energy_joules for gpu in gpus if gpu.energy_joules is not None]
    tokens = [e.generation_tokens for e in scene.tick.interval.engines.values() if e.generation_tokens]
    if joules and tokens:
        line.add(f"  {sum(joules) / sum(tokens):5.2f}", palette.bright).add(" J/token", palette.dim)
    return line
