"""The last line: the keys that do something here, made from the bindings."""

from __future__ import annotations

from dashboard.scene import Scene
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel


class Footer(Panel):
    """Key and word pairs, as many as fit, the last one (quit) always."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        line = Line().add(" ", palette.base)
        keys = list(scene.keys)
        if not keys:
            return Drawing(Line(), lines=[line])
        *others, last = keys
        needed = len(last[0]) + len(last[1]) + 3
        for key, word in others:
            if line.cells + len(key) + len(word) + 3 + needed <= width:
                line.add(key, palette.key).add(f" {word}", palette.dim).add("  ", palette.base)
        if line.cells + needed - 2 <= width:
            line.add(last[0], palette.key).add(f" {last[1]}", palette.dim)
        return Drawing(Line(), lines=[line])
