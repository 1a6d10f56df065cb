"""What all nodes together come to, what stands out among them, and the fleet's own first line."""

from __future__ import annotations

from rich.style import Style

from collectors.fleet.totals import BUSY_AT_MOST, KV_AT_MOST, Balance, Totals
from collectors.fleet.watch import MAP_PROBLEM
from collectors.model import PHASES
from dashboard.fleet_board import FleetBoard
from dashboard.format import NANOSECONDS, clock, date, duration, interval_length, percent, zone_name
from dashboard.scene import Scene
from dashboard.widgets.line import Line, fit, wrap
from dashboard.widgets.panel import Drawing, Panel

Part = list[tuple[str, Style]]

_LATE = 1.8
"""Looks: what is older than so many of them is shown with its age."""


class FleetTotals(Panel):
    """GPUs by phase, power and tokens, money, what could be spared, and the balance of prefill and decode."""

    def __init__(self, name: str, board: FleetBoard) -> None:
        super().__init__(name)
        self._board = board

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, board = scene.palette, self._board
        totals, balanced = board.totals()
        title = Line().add("fleet" if not board.searched else "fleet, those listed", palette.dim)
        if not totals.nodes:
            return Drawing(title)
        parts = [*_parts(scene, totals), *(_balance(scene, one) for one in balanced)]
        lines = [_bar(scene, totals, width)] if height > 1 else []
        return Drawing(title, _count(scene, totals), [*lines, *_flowed(scene, parts, width, height - len(lines))])


def _count(scene: Scene, totals: Totals) -> Line:
    palette = scene.palette
    missing = totals.nodes - totals.there
    line = Line().add(f"{totals.there} of {totals.nodes} nodes", palette.warning if missing else palette.dim)
    return line.add(f"  {totals.gpus} GPUs", palette.dim)


def _bar(scene: Scene, totals: Totals, width: int) -> Line:
    """GPU time by phase over the whole width, each part named where there is room."""
    palette, glyphs = scene.palette, scene.palette.glyphs
    line = Line()
    full = "▆" if glyphs.decode is None else ""
    styles = {
        "prefill": (full or glyphs.prefill or "", palette.prefill),
        "decode": (full or glyphs.decode or "", palette.decode),
        "waiting": (glyphs.waiting, palette.waiting), "unknown": (glyphs.unknown, palette.unknown),
        "idle": (full or glyphs.idle, palette.idle),
    }  # fmt: skip
    reached, drawn = 0.0, 0
    for phase in ("prefill", "decode", "waiting", "unknown", "idle"):
        share = totals.share(phase)
        if share is None:
            return line.add("no GPU time is known", palette.dim)
        reached += share
        cells = min(width, round(reached * width)) - drawn
        line.add(styles[phase][0] * cells, styles[phase][1])
        drawn += cells
    return line


def _parts(scene: Scene, totals: Totals) -> list[Part]:
    palette, units = scene.palette, scene.units
    parts: list[Part] = []
    styles = {"prefill": palette.prefill, "decode": palette.decode}
    for phase in PHASES:
        share = totals.share(phase)
        if share is not None and (share >= 0.005 or phase in ("prefill", "decode", "idle")):
            gpus = totals.gpu_seconds[phase]
            parts.append([
                (f"{phase} ", palette.dim), (f"{percent(share).strip()} %", styles.get(phase, palette.bright)),
                (f" {gpus:.0f} GPUs", palette.dim),
            ])  # fmt: skip
    if totals.watts is not None:
        number, prefix = units.parted("fleet/watts", totals.watts)
        parts.append([(number.strip(), palette.bright), (f" {prefix}W", palette.dim)])
    if totals.generated_rate is not None:
        prompt, generated = units("fleet/prompt", totals.prompt_rate), units("fleet/generated", totals.generated_rate)
        parts.append([
            (prompt.strip(), palette.bright), (" in ", palette.dim), (generated.strip(), palette.bright),
            (" out tok/s", palette.dim),
        ])  # fmt: skip
    if totals.generated_per_joule is not None:
        parts.append([(f"{totals.generated_per_joule:.3g}", palette.bright), (" tokens out per joule", palette.dim)])
    if totals.cost_per_million is not None:
        parts.append([(f"{totals.cost_per_million:.2f}", palette.bright), (" per million tokens out", palette.dim)])
    if totals.running is not None:
        waiting = f"{totals.waiting:.0f}" if totals.waiting is not None else "-"
        parts.append([
            (f"{totals.running:.0f}", palette.bright), (" running ", palette.dim), (waiting, palette.bright),
            (" waiting", palette.dim),
        ])  # fmt: skip
    if totals.spare_gpus:
        limits = f" GPUs could be freed (at {BUSY_AT_MOST:.0%} busy, {KV_AT_MOST:.0%} KV)".replace("%", " %")
        parts.append([(f"{totals.spare_gpus}", palette.strong), (limits, palette.dim)])
    return parts


def _balance(scene: Scene, balance: Balance) -> Part:
    palette = scene.palette
    part: Part = [
        (f"{fit(balance.model, 24)} ", palette.text), ("prefill:decode ", palette.dim),
        (f"{balance.prefill_gpus}:{balance.decode_gpus}", palette.bright),
    ]  # fmt: skip
    if balance.is_good:
        return [*part, (" balanced", palette.dim)]
    advice = f" {scene.palette.glyphs.arrow} {balance.best_prefill_gpus}:{balance.best_decode_gpus}"
    busy = f" (busy {balance.prefill_busy:.0%} : {balance.decode_busy:.0%})".replace("%", " %")
    return [*part, (advice, palette.strong), (busy, palette.dim)]


def _flowed(scene: Scene, parts: list[Part], width: int, height: int) -> list[Line]:
    """One after the other, over as many lines as there are."""
    lines: list[Line] = []
    line = Line()
    for part in parts:
        made = Line()
        for text, style in part:
            made.foreign(text, style, width)
        if line.cells and line.cells + 3 + made.cells > width:
            lines.append(line)
            line = Line()
        if line.cells:
            line.add("   ", scene.palette.base)
        line.extend(made)
    return [*lines, line][: max(0, height)]


class FleetFindings(Panel):
    """What could not be had, and the nodes that differ from their peers, the worst first."""

    def __init__(self, name: str, board: FleetBoard) -> None:
        super().__init__(name)
        self._board = board

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, state = scene.palette, self._board.state
        glyphs = palette.glyphs
        told = [(glyphs.warning, palette.warning, line, palette.warning) for line in problems(self._board)]
        for finding in state.findings:
            is_critical = finding.weight == "critical"
            mark = (glyphs.critical, palette.critical) if is_critical else (glyphs.warning, palette.warning)
            told.append((*mark, finding.text, palette.text))
        title = Line().add("what stands out", palette.dim)
        if not told:
            text = "nothing: every node is like its peers" if state.snapshot is not None else ""
            return Drawing(title, lines=[Line().add(text[:width], palette.dim)])
        lines: list[Line] = []
        for glyph, mark_style, text, style in told:
            for number, words in enumerate(wrap(text, width - 2)):
                lead = Line().add(glyph if number == 0 else " ", mark_style if number == 0 else palette.base)
                lines.append(lead.add(" ", palette.base).foreign(words, style, width - 2))
        more = max(0, len(lines) - height)
        right = (
            Line().add(f"{len(told)}", palette.dim) if not more else Line().add(f"{len(told)}, more below", palette.dim)
        )
        return Drawing(title, right, lines[:height])


def problems(board: FleetBoard) -> list[str]:
    """Why what is shown is not all there is now, a line each."""
    state = board.state
    lines = [] if state.snapshot is None else [*state.snapshot.problems, *state.snapshot.warnings]
    if state.problem is not None and not any(state.problem.removeprefix(MAP_PROBLEM) in line for line in lines):
        lines.insert(0, state.problem)
    return lines


class FleetHeader(Panel):
    """Where the figures come from, how old they are, and the time."""

    def __init__(self, name: str, board: FleetBoard) -> None:
        super().__init__(name)
        self._board = board

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette, board = scene.palette, self._board
        right = self._state(scene, width)
        line = Line().add(" " if width >= 40 else "", palette.base).add("phasetop fleet", palette.strong)
        room = width - right.cells - line.cells - 4
        if room >= 12:
            line.add("  ", palette.base).foreign(board.where, palette.text, room, palette.glyphs.ellipsis)
        if line.cells + right.cells < width:
            line.to(width - right.cells, palette.base).extend(right)
        return Drawing(Line(), lines=[line])

    def _state(self, scene: Scene, width: int) -> Line:
        palette, board, glyphs = scene.palette, self._board, scene.palette.glyphs
        line, snapshot = Line(), board.state.snapshot
        failed = problems(board)
        if board.at is not None:
            moment = round(board.at * NANOSECONDS)
            day = f"{date(moment, scene.zone)} " if width >= 100 else ""
            line.add(f"{glyphs.cursor} {day}{clock(moment, scene.zone)}", palette.strong)
            if snapshot is not None and abs(snapshot.at - board.at) > 1:
                line.add("  asking", palette.dim)
        elif snapshot is None:
            line.add("no data" if failed else "starting", palette.warning if failed else palette.dim)
        elif (age := max(0.0, scene.now / NANOSECONDS - snapshot.at)) > _LATE * board.refresh:
            line.add(f"{glyphs.warning} {duration(age)} old", palette.warning)
        else:
            line.add(glyphs.live, palette.decode).add(" live", palette.text)
        if width >= 72:
            line.add(f"  {interval_length(board.column_step)} a column", palette.dim)
            if board.state.is_filling:
                line.add(" filling", palette.dim)
        if width >= 40:
            line.add("   " if width >= 60 else " ", palette.base).add(clock(scene.now, scene.zone), palette.bright)
        if width >= 60:
            line.add(f" {zone_name(scene.now, scene.zone)}", palette.dim)
        return line.add(" " if width >= 40 else "", palette.base)
