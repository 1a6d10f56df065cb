"""Every CPU of the machine as one cell, NUMA nodes apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style

from collectors.cores import cpu_numbers
from collectors.readings import HostReading
from dashboard.format import gibibytes, percent
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_RIGHT = 8
_NARROW, _BROAD = 40, 96
"""Columns from which names stand beside the cells, and from which they have as much room as on the time axis."""
_WIDEST = 8
"""Cells of one CPU at most, where there are few of them."""
_FULL = 0.95
_BUSY = 0.5


@dataclass(frozen=True, slots=True)
class Node:
    """Some CPUs: the name of what they have in common, and how busy each was, None where it is offline."""

    name: str
    ratios: tuple[float | None, ...]


def nodes_of(host: HostReading) -> list[Node]:
    """The CPUs by NUMA node; those that no node has come last."""
    ratios = host.cpu_core_ratios
    if not ratios:
        return []
    lists = [cpu_numbers(cpus) for cpus in host.numa_cpus or ()]
    if len(lists) < 2:
        return [Node("CPUs", ratios)]
    nodes, taken = [], set[int]()
    for number, cpus in enumerate(lists):
        own = [cpu for cpu in cpus if cpu < len(ratios) and cpu not in taken]
        taken.update(own)
        nodes.append(Node(f"node {number}", tuple(ratios[cpu] for cpu in own)))
    rest = tuple(ratio for cpu, ratio in enumerate(ratios) if cpu not in taken and ratio is not None)
    return [*(node for node in nodes if node.ratios), *([Node("others", rest)] if rest else [])]


def _sides(width: int) -> tuple[int, int]:
    return (10 if width >= _BROAD else 8, _RIGHT) if width >= _NARROW else (0, 0)


def rows_needed(host: HostReading | None, width: int) -> int:
    """Rows that all CPUs take at that inner width; 1 where none is known."""
    if host is None or not host.cpu_core_ratios:
        return 1
    room = max(1, width - sum(_sides(width)))
    return max(1, sum(-(-len(node.ratios) // room) for node in nodes_of(host)))


class CoresPanel(Panel):
    """A map of the CPUs; in a single line the machine in numbers."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("CPUs", palette.dim)
        host = None if scene.tick is None else scene.tick.interval.host
        if host is None:
            reason = next((s.reason for s in scene.statuses if s.source == "host" and s.reason), None)
            words = reason or ("not sampled" if scene.tick is not None else "waiting for the first interval")
            return Drawing(title, lines=[Line().foreign(words, palette.dim, width)])
        nodes = nodes_of(host)
        if "footer" not in scene.arrangement.places:  # a terminal for lines only
            return Drawing(title, lines=[_summary(palette, host), *_map(palette, nodes, width, height - 1)[0]][:height])
        if not nodes:
            return Drawing(title, _right(palette, host), [Line().add("single CPUs not measured", palette.dim)])
        lines, shared = _map(palette, nodes, width, height)
        title.add(f", {shared} a cell" if shared > 1 else "", palette.dim)
        return Drawing(title, _right(palette, host), lines)


def _summary(palette: Palette, host: HostReading) -> Line:
    line = Line().add("CPU ", palette.dim).add(percent(host.cpu_ratio, 2), palette.bright).add("% mem ", palette.dim)
    line.add(gibibytes(host.memory_used_bytes, 5).strip(), palette.bright)
    return line.add(f"/{gibibytes(host.memory_total_bytes, 5).strip()}G", palette.dim)


def _right(palette: Palette, host: HostReading) -> Line:
    line = Line()
    known = [ratio for ratio in host.cpu_core_ratios or () if ratio is not None]
    full = sum(ratio >= _FULL for ratio in known)
    if full:
        line.add(f"{full}", palette.bright).add(f" of {len(known)} full   ", palette.dim)
    line.add(percent(host.cpu_ratio, 1), palette.bright).add(" % busy", palette.dim)
    if host.cpu_cores is not None:
        line.add(f" of {host.cpu_cores:g} CPUs", palette.dim)
    if host.load_1m is not None:
        line.add("   load ", palette.dim).add(f"{host.load_1m:.1f}", palette.bright)
    return line


def _map(palette: Palette, nodes: Sequence[Node], width: int, height: int) -> tuple[list[Line], int]:
    """The cells of all CPUs, and how many CPUs share one: where they do not fit a cell shows the mean of several."""
    if not nodes or height < 1:
        return [], 1
    left, right = _sides(width)
    room = max(1, width - left - right)
    if len(nodes) > height:
        nodes = [Node("CPUs", tuple(ratio for node in nodes for ratio in node.ratios))]
    longest = max(len(node.ratios) for node in nodes)
    rows = max(1, height // len(nodes))
    shared = -(-longest // (rows * room))
    cells = -(-longest // shared)
    wide = min(_WIDEST, room // cells) if cells <= room else 1
    step = room // wide
    lines: list[Line] = []
    for node in nodes:
        shown = _shared(node.ratios, shared)
        for start in range(0, len(shown), step):
            line = Line()
            if left:
                line.add(f"{node.name if start == 0 else '':<{left}}"[:left], palette.dim)
            for ratio in shown[start : start + step]:
                glyph, style = _cell(palette, ratio)
                line.add(glyph * max(1, wide - 1), style).add(" " if wide > 1 else "", palette.base)
            if right and start == 0:
                line.to(left + min(cells, step) * wide + 1, palette.base)
                line.add(percent(_mean(node.ratios), 4), palette.bright).add(" %", palette.dim)
            lines.append(line)
    return lines, shared


def _shared(ratios: Sequence[float | None], count: int) -> list[float | None]:
    if count == 1:
        return list(ratios)
    return [_mean(ratios[start : start + count]) for start in range(0, len(ratios), count)]


def _mean(ratios: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return sum(known) / len(known) if known else None


def _cell(palette: Palette, ratio: float | None) -> tuple[str, Style]:
    """Level by glyph as well as by strength; a measured 0 has a baseline, an offline CPU a dot."""
    levels = palette.glyphs.levels
    if ratio is None:
        return palette.glyphs.unknown, palette.faint
    glyph = levels[max(1, min(len(levels) - 1, round(ratio * (len(levels) - 1))))]
    if ratio >= _FULL:
        return glyph, palette.strong
    return glyph, palette.bar if ratio >= _BUSY else palette.line
