"""The machine's memory, limits and pressure in numbers."""

from __future__ import annotations

from collectors.readings import HostReading
from dashboard.format import GIB, MISSING, gibibytes, percent
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.widgets.bars import bar
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_NAME = 10
_PRESSED = 0.10
_STALLED = 0.02
_THROTTLED = 0.05


class MachinePanel(Panel):
    """Rows most important first."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Memory, limits, pressure", palette.dim)
        host = None if scene.tick is None else scene.tick.interval.host
        if host is None:
            return Drawing(title)
        lines = [
            _memory(palette, host, width),
            *_pressures(palette, host, width),
            _quota(palette, host, width),
            _limit(palette, host),
            _swap(palette, host),
            _waits(palette, host),
            *_disk(scene, host),
        ]
        return Drawing(title, Line(), [line for line in lines if line is not None][:height])


def _named(palette: Palette, name: str) -> Line:
    return Line().add(f"{name:<{_NAME}}", palette.dim)


def _memory(palette: Palette, host: HostReading, width: int) -> Line:
    used, total = host.memory_used_bytes, host.memory_total_bytes
    ratio = used / total if used is not None and total else None
    line = _named(palette, "memory").extend(bar(ratio, max(0, min(16, width - 34)), palette))
    line.add(gibibytes(used, 6), palette.bright)
    line.add(f" /{gibibytes(total, 5).strip()} GiB" if total else " GiB", palette.dim)
    return line.add(f"  {percent(ratio)}", palette.bright).add(" %", palette.dim) if ratio is not None else line


def _pressures(palette: Palette, host: HostReading, width: int) -> list[Line]:
    """The share of the time that some task waited, and that all of them did."""
    heading = _named(palette, "waiting").add("  some   all", palette.dim)
    rows = [heading]
    for name, some, full in (
        ("CPU", host.cpu_pressure_ratio, host.cpu_pressure_full_ratio),
        ("memory", host.memory_pressure_ratio, host.memory_pressure_full_ratio),
        ("disk", host.io_pressure_ratio, host.io_pressure_full_ratio),
    ):
        line = _named(palette, f"  {name}")
        pressed = some is not None and some >= _PRESSED
        stalled = full is not None and full >= _STALLED
        line.add(percent(some, 4), palette.strong if pressed else palette.bright)
        line.add(" %" if some is not None else "  ", palette.dim)
        line.add(percent(full, 4), palette.warning if stalled else palette.bright)
        line.add(" %" if full is not None else "", palette.dim)
        if stalled:
            line.add(f" {palette.glyphs.warning}", palette.warning)
        if name == "CPU" and full is None and width >= 42:
            line.add("  told of cgroups only", palette.faint)
        rows.append(line)
    return rows


def _quota(palette: Palette, host: HostReading, width: int) -> Line:
    line = _named(palette, "CPU quota")
    if host.cpu_quota_cores is None:
        return line.add("none", palette.text)
    line.add(f"{host.cpu_quota_cores:g}", palette.bright).add(" CPUs", palette.dim)
    held = host.cpu_throttled_ratio
    if held is None:
        return line
    style = palette.warning if held >= _THROTTLED else palette.bright
    glyph = f"{palette.glyphs.warning} " if held >= _THROTTLED else ""
    return line.add(f"   {glyph}held {percent(held, 1)}", style).add(" % of the time", palette.dim).cut(width)


def _limit(palette: Palette, host: HostReading) -> Line:
    line = _named(palette, "mem limit")
    if host.memory_limit_bytes is None:
        return line.add("none", palette.text)
    return line.add(f"{host.memory_limit_bytes / GIB:.1f}", palette.bright).add(" GiB, of the cgroup", palette.dim)


def _swap(palette: Palette, host: HostReading) -> Line:
    line = _named(palette, "swap")
    if host.swap_total_bytes == 0:
        return line.add("none", palette.text)
    line.add(gibibytes(host.swap_used_bytes, 5).strip(), palette.bright)
    return line.add(f" /{gibibytes(host.swap_total_bytes, 5).strip()} GiB", palette.dim)


def _waits(palette: Palette, host: HostReading) -> Line:
    """CPU time that was lost: waiting for a disk, and taken by a hypervisor."""
    line = _named(palette, "CPU lost")
    line.add(percent(host.cpu_iowait_ratio, 1), palette.bright).add(" % disk  ", palette.dim)
    return line.add(percent(host.cpu_steal_ratio, 1), palette.bright).add(" % hypervisor", palette.dim)


def _disk(scene: Scene, host: HostReading) -> list[Line]:
    palette = scene.palette
    if host.disk_read_bytes is None and host.disk_write_bytes is None:
        return []
    line = _named(palette, "disk")
    for word, amount in (("read", host.disk_read_bytes), ("write", host.disk_write_bytes)):
        value = amount / host.window_seconds if amount is not None and host.window_seconds else None
        number, prefix = scene.units.parted(f"machine/disk/{word}", value)
        line.add(f"{word} ", palette.dim).add(number if value is not None else f"{MISSING:>4}", palette.bright)
        line.add(f" {prefix}B/s  ", palette.dim)
    return [line]
