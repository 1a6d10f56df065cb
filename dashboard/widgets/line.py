"""One line of cells under construction: text and styles in, one strip out.

Equal neighbours are merged, because each run of cells costs about forty bytes on the wire. Every
segment has a style: Textual's filters and the terminal both need one.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Run = tuple[str, Style, int]
"""Text, its style, and its width in cells."""


class Line:
    """Appends left to right; `cells` is the width so far.

    Text given to `add` must be one cell per character (numbers, our own words, block glyphs).
    Text from outside goes through `foreign`, which measures it and cuts it.
    """

    __slots__ = ("cells", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.cells = 0

    def add(self, text: str, style: Style) -> Line:
        if not text:
            return self
        cells = len(text)
        self.cells += cells
        runs = self.runs  # as in _append, without the call: a frame is a thousand of these
        if runs and (last := runs[-1])[1] is style:
            runs[-1] = (last[0] + text, style, last[2] + cells)
        else:
            runs.append((text, style, cells))
        return self

    def foreign(self, text: str, style: Style, limit: int, ellipsis: str = "…") -> Line:
        """Text that came from outside, cut to `limit` cells; wide characters count as two."""
        cut = fit(text, limit, ellipsis)
        if cut:
            self._append(cut, style, cell_len(cut))
        return self

    def to(self, column: int, style: Style, fill: str = " ") -> Line:
        """Fills up to a column; nothing when it is already passed."""
        return self.add(fill * (column - self.cells), style)

    def extend(self, other: Line) -> Line:
        if other.runs:
            (text, style, cells), *rest = other.runs
            self._append(text, style, cells)
            self.runs += rest
            self.cells += other.cells - cells
        return self

    def cut(self, width: int) -> Line:
        """This line, or the first `width` cells of it; half a wide character is a blank."""
        if self.cells <= width:
            return self
        line = Line()
        for text, style, cells in self.runs:
            room = width - line.cells
            if cells <= room:
                line._append(text, style, cells)
            else:
                if room > 0:
                    line._append(set_cell_size(text, room), style, room)
                break
        return line

    def strip(self) -> Strip:
        return Strip([Segment(text, style) for text, style, _ in self.runs], self.cells)

    def _append(self, text: str, style: Style, cells: int) -> None:
        self.cells += cells
        if self.runs:
            before, before_style, before_cells = self.runs[-1]
            if before_style is style:
                self.runs[-1] = (before + text, style, before_cells + cells)
                return
        self.runs.append((text, style, cells))


def fit(text: str, limit: int, ellipsis: str = "…") -> str:
    """`text` in at most `limit` cells; what is cut ends in an ellipsis."""
    if limit <= 0:
        return ""
    if cell_len(text) <= limit:
        return text
    return set_cell_size(text, limit - 1).rstrip() + ellipsis


def wrap(text: str, width: int) -> list[str]:
    """Words over lines of at most `width` cells; a longer word is cut."""
    if width <= 0:
        return []
    lines: list[str] = []
    current = ""
    for word in text.split():
        joined = f"{current} {word}" if current else word
        if cell_len(joined) <= width:
            current = joined
        else:
            if current:
                lines.append(current)
            current = fit(word, width)
    return [*lines, current] if current else lines
