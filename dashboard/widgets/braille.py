"""A canvas of dots: two by four to a cell, drawn in braille."""

from __future__ import annotations

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a cell, by row and column (Unicode, Braille Patterns)."""


class Dots:
    """Dots of one kind on `width` by `height` cells; (0, 0) is the upper left dot."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.cells: dict[tuple[int, int], int] = {}
        """The dots of each cell (column, row) that has any, as the offset of its character from U+2800."""

    def put(self, x: int, y: int) -> None:
        """Sets a dot, which is left out where it lies off the canvas."""
        column, row = x // 2, y // 4
        if 0 <= column < self.width and 0 <= row < self.height:
            self.cells[column, row] = self.cells.get((column, row), 0) | _DOTS[y % 4][x % 2]
