"""The verdict: words first, then the evidence, then what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.model import Label
from dashboard.format import clock
from dashboard.scene import Scene
from dashboard.troubles import is_anything_odd, troubles
from dashboard.widgets.line import Line, wrap
from dashboard.widgets.panel import Drawing, Panel
from dashboard.words import Verdict, missing_reason, says_fine, verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """The label the verdict is made from; `earlier` when it is not the interval looked at."""

    label: Label | None
    earlier: bool = False


def judged(scene: Scene) -> Judged:
    """The label of the interval looked at.

    Live, while the evidence for the newest interval has not arrived (its label is provisional and
    unknown), the newest settled one speaks, and the title says of when it is.
    """
    label = scene.label
    if scene.mode == "live" and label is not None and not label.settled and label.phase.label == "unknown":
        settled = scene.history.last_settled(label.sequence)
        if settled is not None:
            return Judged(settled, earlier=True)
    return Judged(label)


class VerdictPanel(Panel):
    """What the time goes into and what holds the work back."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        chosen = judged(scene)
        if scene.tick is None:
            return Drawing(Line().add("Verdict", palette.dim))
        wrong = troubles(scene)
        is_odd = bool(wrong) or (says_fine(chosen.label) and is_anything_odd(scene))
        said = verdict(chosen.label, missing_reason(scene), is_odd=is_odd)
        lines = _headline(scene, said, chosen.label, wrong, width, height)
        for text in said.advice:
            room = height - len(lines)
            if room <= 0:
                break
            parts = wrap(text, width - 2)
            if len(parts) > room:
                parts = [*parts[: room - 1], " ".join(parts[room - 1 :])]
            for n, part in enumerate(parts):
                line = Line().add(f"{palette.glyphs.arrow} " if n == 0 else "  ", palette.dim)
                lines.append(line.foreign(part, palette.text, width - 2, palette.glyphs.ellipsis))
        return Drawing(Line().add("Verdict", palette.dim), _confidence(scene, chosen), lines)


def _headline(
    scene: Scene, said: Verdict, label: Label | None, wrong: Sequence[str], width: int, height: int
) -> list[Line]:
    """The words, what is wrong besides, and the evidence; what fits stands behind the words, the rest below."""
    palette = scene.palette
    phase = "unknown" if label is None else label.phase.label
    strong = palette.strong + palette.phase(phase) if phase in ("prefill", "decode") else palette.strong
    words = said.phase + said.joint + said.limit
    line = Line()
    if len(words) > width:
        lines = [Line().add(part, palette.strong) for part in wrap(words, width)[: max(1, height)]]
    else:
        line.add(said.phase, strong).add(said.joint, palette.text).add(said.limit, palette.strong)
        lines = [line]
    gap = "  " if said.limit else " "
    if wrong:
        told = _wrong(scene, wrong, width)
        if line.cells and line.cells + 2 + told.cells <= width:
            line.add("  ", palette.base).extend(told)
            gap = "  "
        elif len(lines) < height:
            lines.append(told)
            line = told
    if not said.evidence:
        return lines
    room = width - line.cells - 2
    if line.cells and room >= 24 and (len(wrap(said.evidence, room)) == 1 or len(lines) >= height):
        line.add(gap, palette.base).foreign(said.evidence, palette.dim, room, palette.glyphs.ellipsis)
    elif len(lines) < height:
        lines.append(Line().foreign(said.evidence, palette.dim, width, palette.glyphs.ellipsis))
    return lines


def _wrong(scene: Scene, wrong: Sequence[str], width: int) -> Line:
    """The first of what is wrong, and how much more there is."""
    palette = scene.palette
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    line = Line().add(f"{palette.glyphs.warning} ", palette.warning)
    line.foreign(wrong[0], palette.warning, max(0, width - line.cells - len(more)), palette.glyphs.ellipsis)
    return line.add(more, palette.warning).cut(width)


def _confidence(scene: Scene, chosen: Judged) -> Line:
    """How sure, and whether it can still change."""
    palette, label = scene.palette, chosen.label
    line = Line()
    if label is None:
        return line
    if chosen.earlier:
        tick = scene.history.tick(label.sequence)
        when = clock(tick.interval.end, scene.zone) if tick is not None else "earlier"
        line.add(f"as of {when}, newer evidence not in yet   ", palette.text)
    elif not label.settled:
        line.add("provisional   ", palette.text)
    if label.phase.label == "unknown":
        return line
    line.add(f"{label.phase.confidence} confidence", palette.dim)
    if label.phase.error is not None and label.phase.prefill_share is not None:
        line.add(f"   ±{round(label.phase.error * 100)} points", palette.dim)
    return line
