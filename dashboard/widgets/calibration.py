"""The calibrated costs of each engine: what a step and a token take, and how well that explains its past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.model import engine_entity
from collectors.phase.calibrate import MAX_WINDOWS, SURE_WINDOWS, WINDOW_SECONDS, CostModel
from collectors.readings import EngineReading
from dashboard.format import MISSING
from dashboard.scene import Scene
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import ENGINE_NAMES, place_of

_NAME = 22
_GAP = 2
_WELL = 0.05
_BADLY = 0.15
"""Root-mean-square residual up to which a fit is good, and from which it is poor."""


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    width: int
    rank: int
    """What goes first when not all fit is highest."""


_COLUMNS = (
    _Column("step", 9, 0), _Column("+ sequence", 10, 3), _Column("+ KV token", 10, 4), _Column("prompt token", 12, 1),
    _Column("FLOP/token", 10, 6), _Column("fit", 8, 2), _Column("windows", 8, 5),
)  # fmt: skip


class CalibrationPanel(Panel):
    """One row an engine."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Calibration", palette.dim)
        if scene.tick is None:
            return Drawing(title)
        engines = list(scene.tick.interval.engines.values())
        if not engines:
            return Drawing(title, lines=[Line().add("no serving engine to calibrate", palette.dim)])
        right = Line().add(f"{WINDOW_SECONDS:g} s windows, {MAX_WINDOWS} at most", palette.dim)
        columns = _fitting(width)
        heading = Line().add(f"{'engine':<{_NAME}}", palette.dim)
        for column in columns:
            heading.add(f"{column.heading:>{column.width + _GAP}}", palette.dim)
        rows = [_row(scene, engine, columns) for engine in engines]
        notes = _notes(scene, engines, width)
        room = max(1, height - 1 - min(1, len(notes)))
        lines = [heading, *rows[:room], *notes]
        return Drawing(title, right, lines[:height])


def _fitting(width: int) -> list[_Column]:
    room = width - _NAME
    kept = set()
    for column in sorted(_COLUMNS, key=lambda column: column.rank):
        if column.width + _GAP <= room:
            room -= column.width + _GAP
            kept.add(column.heading)
    return [column for column in _COLUMNS if column.heading in kept]


def _row(scene: Scene, engine: EngineReading, columns: Sequence[_Column]) -> Line:
    palette = scene.palette
    name = f"{ENGINE_NAMES.get(engine.engine or '', engine.engine or 'engine')} {place_of(engine.endpoint)}"
    if engine.engine_index not in ("", "0"):
        name += f" #{engine.engine_index}"
    line = Line().foreign(name, palette.text, _NAME - 1, palette.glyphs.ellipsis).to(_NAME, palette.base)
    model = scene.tick.costs.get(engine_entity(engine.key)) if scene.tick is not None else None
    for column in columns:
        text = MISSING if model is None else _cell(model, column.heading)
        line.add(f"{text:>{column.width + _GAP}}", palette.dim if text == MISSING else palette.bright)
    return line


def _cell(model: CostModel, heading: str) -> str:
    match heading:
        case "step":
            return _seconds(model.step) if model.knows_decode else MISSING
        case "+ sequence":
            return _seconds(model.token) if model.knows_decode else MISSING
        case "+ KV token":
            return _seconds(model.kv_step) if model.knows_decode else MISSING
        case "prompt token":
            return _seconds(model.prompt_token) if model.knows_prefill else MISSING
        case "FLOP/token":
            return f"{model.flops_per_token:.2g}" if model.flops_per_token > 0 else MISSING
        case "fit":
            return f"±{model.error * 100:.0f} %" if model.windows else MISSING
        case _:
            return str(model.windows) if model.windows else MISSING


def _seconds(value: float) -> str:
    """A cost in the unit that shows three digits of it."""
    if value <= 0:
        return "0"
    for factor, unit in ((1e3, "ms"), (1e6, "us"), (1e9, "ns"), (1e12, "ps")):
        if value * factor >= 0.995 or unit == "ps":
            return f"{value * factor:.3g} {unit}"
    return MISSING


def _notes(scene: Scene, engines: Sequence[EngineReading], width: int) -> list[Line]:
    """How sure all this is, in words, for the first engine."""
    palette = scene.palette
    model = scene.tick.costs.get(engine_entity(engines[0].key)) if scene.tick is not None else None
    if model is None or not model.windows:
        text = "not calibrated yet: it takes three 5 s windows in which the engine was busy throughout"
    else:
        quality = "explains its past well" if model.error <= _WELL else "fair" if model.error <= _BADLY else "poor"
        sure = "" if model.is_sure else f"; confidence stays low below {SURE_WINDOWS} windows"
        text = f"the fit {quality}{sure}" if quality.startswith("explains") else f"the fit is {quality}{sure}"
        if model.batch_high:
            text += f"; batches up to {model.batch_high:.0f} were seen"
    return [Line().foreign(text, palette.dim, width, palette.glyphs.ellipsis)]
