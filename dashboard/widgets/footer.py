"""The last line: the keys that do something here, made from the bindings."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.scene import Scene
from dashboard.widgets.line import Line
from dashboard.widgets.panel import Drawing, Panel

_ALWAYS = 2
"""The last ones (help and quit) are kept when not all fit."""


class Footer(Panel):
    """Key and word pairs, as many as fit."""

    def draw(self, scene: Scene, width: int, height: int) -> Drawing:
        palette = scene.palette
        kept = list(scene.keys)
        while kept and _width(kept) > width:
            # Of those that may go the rightmost goes first, as the most important stand first.
            del kept[-_ALWAYS - 1 if len(kept) > _ALWAYS else 0]
        line = Line().add(" ", palette.base)
        for key, word in kept:
            line.add(key, palette.key).add(f" {word}", palette.dim).add("  ", palette.base)
        return Drawing(Line(), lines=[line])


def _width(keys: Sequence[tuple[str, str]]) -> int:
    return sum(len(key) + len(word) + 3 for key, word in keys) - 1
