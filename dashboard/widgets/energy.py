"""Energy and tokens of each phase over the visible stretch."""

from __future__ import annotations

from collectors.analysis.energy import Energy, shapley_split
from collectors.analysis.sums import plus, ratio
from dashboard.format import MISSING, percent, scaled
from dashboard.palette import Palette
from dashboard.scene import Scene
from dashboard.tallies import Tallies
from dashboard.widgets.ledger import stretch_words
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_NAME = 15
_COLUMN = 9
_COLUMNS = ("prefill", "decode", "rest", "all")


class EnergyPanel(Panel):
    """One column a phase: joules, tokens, joules a token. Which split is shown is said."""

    def __init__(self, name: str, tallies: Tallies) -> None:
        super().__init__(name)
        self._tallies = tallies

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        title = Line().add("Energy and tokens", palette.dim)
        stretch = self._tallies.visible(scene)
        if not stretch.tally.ledger.intervals:
            return Drawing(title)
        right = Line().add(stretch_words(scene, stretch), palette.dim)
        shown = [name for name in _COLUMNS if _NAME + _COLUMN * (1 + _COLUMNS.index(name)) <= width]
        rows = _rows(palette, stretch.tally.energy, stretch.tally.ledger.seconds, shown)
        return Drawing(title, right, [*rows[:height]])


def _rows(palette: Palette, energy: Energy, seconds: float, shown: list[str]) -> list[Line]:
    heading = Line().to(_NAME, palette.base)
    for name in shown:
        style = palette.phase(name) if name in ("prefill", "decode") else palette.dim
        heading.add(f"{name:>{_COLUMN}}", style)
    rest = sum(value for phase, value in energy.joules.items() if phase not in ("prefill", "decode"))
    joules = {
        "prefill": energy.joules.get("prefill"), "decode": energy.joules.get("decode"),
        "rest": rest if energy.joules else None, "all": energy.total_joules,
    }  # fmt: skip
    tokens = {"prefill": energy.prompt_tokens, "decode": energy.generated_tokens}
    both = plus(energy.prompt_tokens, energy.generated_tokens)
    rates = {name: ratio(value, seconds) for name, value in tokens.items()}
    cost = {
        "prefill": energy.joules_per_prompt_token, "decode": energy.joules_per_generated_token,
        "all": energy.joules_per_token,
    }  # fmt: skip
    split = shapley_split(energy)
    money = {
        "prefill": None if split is None else split.joules_per_prompt_token,
        "decode": None if split is None else split.joules_per_generated_token,
    }
    shares = {name: ratio(value, energy.total_joules) for name, value in joules.items() if name != "all"}
    lines = [
        heading,
        _row(palette, "energy", {n: _with_unit(v, "J") for n, v in joules.items() if v is not None}, shown),
        _row(palette, "share", {n: f"{percent(v).strip()} %" for n, v in shares.items() if v is not None}, shown),
        _row(palette, "tokens", _numbers({**tokens, "all": both}), shown),
        _row(palette, "tokens/s", _numbers({**rates, "all": ratio(both, seconds)}), shown),
        _row(palette, "J/token", {n: _joules(v) for n, v in cost.items() if v is not None}, shown),
    ]
    if not energy.joules:
        return [*lines, Line().add("no GPU counts its energy", palette.dim)]
    if split is None:
        return [*lines, Line().add("split: marginal (Shapley: no prefill alone seen)", palette.dim)]
    lines.append(_row(palette, "J/token Shapley", {n: _joules(v) for n, v in money.items() if v is not None}, shown))
    return [*lines, Line().add("J/token: marginal, what prefill adds to decode", palette.dim)]


def _numbers(values: dict[str, float | None]) -> dict[str, str]:
    return {name: scaled(value)[0].strip() for name, value in values.items() if value is not None}


def _joules(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1000:.3g} mJ" if value >= 0.001 else f"{value * 1e6:.3g} uJ"
    return _with_unit(value, "J")


def _with_unit(value: float, unit: str) -> str:
    """Three digits, and the unit with its prefix behind a blank."""
    text, prefix = scaled(value)
    return f"{text[:4].strip()} {prefix}{unit}"


def _row(palette: Palette, name: str, values: dict[str, str], shown: list[str]) -> Line:
    """Numbers under their phases; what is missing is a dash, what makes no sense there is blank."""
    line = Line().add(f"{name:<{_NAME}}", palette.dim)
    for column in shown:
        text = values.get(column)
        if text is None and column in ("prefill", "decode"):
            line.add(f"{MISSING:>{_COLUMN}}", palette.dim)
        else:
            line.add(f"{text or '':>{_COLUMN}}", palette.bright)
    return line
