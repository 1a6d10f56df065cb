"""The GPU table: one row a GPU where there is room, two to a row or a summary where there is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.style import Style

from collectors.model import gpu_entity
from dashboard.format import gibibytes, percent, whole
from dashboard.scene import Scene
from dashboard.widgets.bars import bar, phase_bar
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import Odd, odd_gpus

if TYPE_CHECKING:
    from collectors.readings import GpuReading

_GAP = 2
_HOT = 0.97
"""Of the temperature limit: from here on the number is marked."""


@dataclass(frozen=True, slots=True)
class Measure:
    """An activity figure under the name of what was really measured."""

    heading: str
    field: str


ACTIVITY = (
    Measure("SM", "sm_active_ratio"),
    Measure("tensor", "tensor_active_ratio"),
    Measure("DRAM", "dram_active_ratio"),
)
UTILIZATION = (Measure("kernel-active", "kernel_active_ratio"), Measure("memory-active", "memory_active_ratio"))


class GpusPanel(Panel):
    """Every GPU of the node, and the odd one out in a sentence."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("GPUs", palette.dim)
        gpus = [] if scene.tick is None else sorted(scene.tick.interval.gpus.values(), key=lambda gpu: gpu.index)
        if not gpus:
            return Drawing(title)
        odd = odd_gpus(scene)
        paired = 1 + (len(gpus) + 1) // 2
        if height >= len(gpus) + 1:
            lines = _table(scene, gpus, odd, width)
        elif height >= paired and width >= 70:
            lines = _pairs(scene, gpus, odd, width)
        else:
            lines = _summary(scene, gpus, odd, width)
        if odd is not None and len(lines) < height:
            lines.append(odd_sentence(scene, odd, width))
        well = sum(gpu.state == "ok" for gpu in gpus)
        right = Line().add(f"{well} of {len(gpus)}", palette.dim if well == len(gpus) else palette.warning)
        return Drawing(title, right, lines)


def odd_sentence(scene: Scene, odd: Odd, width: int) -> Line:
    palette = scene.palette
    glyph, style = odd_mark(scene, odd)
    line = Line().add(glyph, style).add(" ", palette.base)
    told = palette.strong if odd.critical else palette.warning
    return line.foreign(odd.text, told, width - 2, palette.glyphs.ellipsis)


def odd_mark(scene: Scene, odd: Odd) -> tuple[str, Style]:
    palette = scene.palette
    if odd.critical:
        return palette.glyphs.critical, palette.critical
    return palette.glyphs.warning, palette.warning


def measures_of(gpus: Sequence[GpuReading]) -> tuple[Measure, ...]:
    """SM, tensor and DRAM, unless only NVML's two fractions of time are known, which have their own names."""

    def is_known(measures: tuple[Measure, ...]) -> bool:
        return any(getattr(gpu, measure.field) is not None for gpu in gpus for measure in measures)

    return UTILIZATION if is_known(UTILIZATION) and not is_known(ACTIVITY) else ACTIVITY


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its heading, its width, and what it shows of a GPU."""

    heading: str
    width: int
    cell: Callable[[GpuReading], Line]
    right: bool = False


def _table(scene: Scene, gpus: Sequence[GpuReading], odd: Odd | None, width: int) -> list[Line]:
    palette = scene.palette
    columns = _columns(scene, gpus, odd, width)
    heading = Line()
    for column in columns:
        text = f"{column.heading:>{column.width}}" if column.right else f"{column.heading:<{column.width}}"
        heading.add(text, palette.dim).add(" " * _GAP, palette.base)
    lines = [heading]
    for gpu in gpus:
        line = Line()
        for column in columns:
            start = line.cells
            line.extend(column.cell(gpu)).to(start + column.width + _GAP, palette.base)
        lines.append(line)
    return lines


def _columns(scene: Scene, gpus: Sequence[GpuReading], odd: Odd | None, width: int) -> list[Column]:
    """The columns that fit, in their order on screen; the bars share what is left over."""
    palette = scene.palette
    number = Column("#", 2, lambda gpu: Line().add(f"{gpu.index:<2}", palette.text))
    chosen = _Chosen(width - 2 - _GAP - 2)
    measures = measures_of(gpus)
    wanted = [
        ("activity", sum(max(len(m.heading), 3) for m in measures) + _GAP * len(measures)),
        ("temperature", 3 + _GAP), ("power", 4 + _GAP), ("phase", 8 + _GAP), ("memory", 9 + _GAP),
        ("bars", 6 * len(measures)), ("limit", 5), ("clock", 5 + _GAP), ("nvlink", 6 + _GAP),
    ]  # fmt: skip
    for name, cost in wanted:
        chosen.take(name, cost)
    spare = min(28, (chosen.room + (6 * len(measures) if "bars" in chosen else 0)) // len(measures))
    columns = [number]
    if "phase" in chosen:
        columns.append(Column("phase", 8, lambda gpu: _phase(scene, gpu)))
    if "activity" in chosen:
        columns += [_activity(scene, m, spare if "bars" in chosen else 0, odd) for m in measures]
    if "memory" in chosen:
        columns.append(Column("memory GiB", 10, lambda gpu: _memory(scene, gpu)))
    if "power" in chosen:
        limit = "limit" in chosen
        columns.append(
            Column(
                "   W" if limit else "W",
                9 if limit else 4,
                lambda gpu: _power(scene, gpu, limit=limit),
                right=not limit,
            )
        )
    if "clock" in chosen:
        columns.append(Column("GHz", 4, lambda gpu: _clock(scene, gpu), right=True))
    if "nvlink" in chosen and any(gpu.nvlink_tx_bytes_per_second is not None for gpu in gpus):
        columns.append(Column("NVLink", 6, lambda gpu: _nvlink(scene, gpu), right=True))
    if "temperature" in chosen:
        columns.append(
            Column("°C" if palette.glyphs.arrow == "→" else "C", 3, lambda gpu: _heat(scene, gpu, odd), right=True)
        )
    return columns


class _Chosen:
    """Columns taken while there is room for them."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._names: set[str] = set()

    def take(self, name: str, cost: int) -> None:
        if cost <= self.room:
            self.room -= cost
            self._names.add(name)

    def __contains__(self, name: str) -> bool:
        return name in self._names


def _phase(scene: Scene, gpu: GpuReading) -> Line:
    label = scene.tick.labels.get(gpu_entity(gpu.uuid)) if scene.tick else None
    if gpu.state == "lost":
        return Line().add("lost", scene.palette.critical)
    return phase_bar(label, 8, scene.palette)


def _activity(scene: Scene, measure: Measure, width: int, odd: Odd | None) -> Column:
    palette = scene.palette
    total = max(len(measure.heading), 3 + (width + 1 if width else 0))

    def cell(gpu: GpuReading) -> Line:
        value = getattr(gpu, measure.field)
        named = odd is not None and gpu.uuid in odd.uuids
        line = Line()
        if width:
            line.extend(bar(value, width, palette, palette.warning if named else None)).add(" ", palette.base)
        return line.add(percent(value), palette.bright if value is not None else palette.dim)

    return Column(measure.heading, total, cell)


def _memory(scene: Scene, gpu: GpuReading) -> Line:
    palette = scene.palette
    line = Line().add(gibibytes(gpu.memory_used_bytes), palette.bright)
    return line.add(f" /{gibibytes(gpu.memory_total_bytes).strip()}", palette.dim)


def _power(scene: Scene, gpu: GpuReading, *, limit: bool) -> Line:
    palette = scene.palette
    line = Line().add(whole(gpu.power_watts, 4), palette.bright)
    return line.add(f" /{whole(gpu.power_limit_watts, 3).strip()}", palette.dim) if limit else line


def _clock(scene: Scene, gpu: GpuReading) -> Line:
    hertz = gpu.sm_clock_hertz
    return Line().add("   -" if hertz is None else f"{hertz / 1e9:4.2f}"[:4], scene.palette.text)


def _nvlink(scene: Scene, gpu: GpuReading) -> Line:
    rates = (gpu.nvlink_tx_bytes_per_second, gpu.nvlink_rx_bytes_per_second)
    known = [rate for rate in rates if rate is not None]
    text = scene.units(f"nvlink/{gpu.uuid}", sum(known) if known else None)
    return Line().add(f"{text:>6}", scene.palette.text)


def _heat(scene: Scene, gpu: GpuReading, odd: Odd | None) -> Line:
    """The temperature and, beside it, the mark of a GPU that needs a look."""
    palette = scene.palette
    limit, heat = gpu.temperature_limit_celsius, gpu.temperature_celsius
    hot = heat is not None and limit is not None and heat >= limit * _HOT
    line = Line().add(whole(heat, 3), palette.warning if hot else palette.bright)
    if odd is not None and gpu.uuid in odd.uuids:
        glyph, style = odd_mark(scene, odd)
        return line.add(" ", palette.base).add(glyph, style)
    return line.add(" ", palette.base).add(palette.glyphs.warning, palette.warning) if hot else line


def _pairs(scene: Scene, gpus: Sequence[GpuReading], odd: Odd | None, width: int) -> list[Line]:
    """Two GPUs to a row: phase, activity, memory, power and temperature as numbers."""
    palette = scene.palette
    rows = (len(gpus) + 1) // 2
    half = (width - _GAP) // 2
    blocks = [_table(scene, part, odd, half) for part in (gpus[:rows], gpus[rows:])]
    lines = []
    for y in range(rows + 1):
        line = Line()
        for n, block in enumerate(blocks):
            if y < len(block):
                line.to(n * (half + _GAP), palette.base).extend(block[y])
        lines.append(line)
    return lines


def _summary(scene: Scene, gpus: Sequence[GpuReading], odd: Odd | None, width: int) -> list[Line]:
    """All GPUs in one line: the mean of each measure, and the odd one out."""
    palette = scene.palette
    line = Line()
    for measure in measures_of(gpus):
        known = [value for gpu in gpus if (value := getattr(gpu, measure.field)) is not None]
        line.add(f"{measure.heading} ", palette.dim).add(
            percent(sum(known) / len(known) if known else None, 2), palette.bright
        )
        line.add(" %  ", palette.dim)
    power = [gpu.power_watts for gpu in gpus if gpu.power_watts is not None]
    if power:
        number, prefix = scene.units.parted("gpus/power", sum(power))
        line.add(number.strip(), palette.bright).add(f" {prefix}W  ", palette.dim)
    if odd is None:
        return [line]
    if line.cells + len(odd.text) + 2 > width:
        return [odd_sentence(scene, odd, width)]
    return [line.extend(odd_sentence(scene, odd, width - line.cells))]
