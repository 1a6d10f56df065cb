"""Normal equations of a small linear regression, with bounds; a handful of unknowns need no numpy."""

from __future__ import annotations

from collections.abc import Sequence

Matrix = list[list[float]]


class Normal:
    """The minimum of |A x - 1|^2 + |x - likely|^2, row by row.

    Each unknown is in units of how far it may be from what is likely.
    """

    def __init__(self, likely: Sequence[float]) -> None:
        size = len(likely)
        self.gram: Matrix = [[1.0 if i == j else 0.0 for j in range(size)] for i in range(size)]
        self.target = list(likely)

    def add(self, row: Sequence[float], weight: float) -> None:
        """A row of A whose right-hand side is 1."""
        for i, factor in enumerate(row):
            if factor:
                value = factor * weight
                self.target[i] += value
                line = self.gram[i]
                for j, other in enumerate(row):
                    line[j] += value * other

    def with_rows(self, rows: Sequence[Sequence[float]], weight: float) -> Normal:
        """The same with more rows; this one stays as it is."""
        more = Normal(self.target)
        more.gram = [list(line) for line in self.gram]
        for row in rows:
            more.add(row, weight)
        return more

    def solution(self, low: Sequence[float], high: Sequence[float]) -> list[float]:
        """The unknowns within their bounds: those beyond are put on them one at a time, the farthest first."""
        fixed: dict[int, float] = {}
        while True:
            found = self._solved(fixed)
            beyond = [(max(low[i] - value, value - high[i]), i) for i, value in enumerate(found) if i not in fixed]
            excess, index = max(beyond, default=(0.0, 0))
            if excess <= 0.0:
                return found
            fixed[index] = low[index] if found[index] < low[index] else high[index]

    def inverse(self) -> Matrix:
        """The inverse of the gram matrix: the covariance of the unknowns."""
        size = len(self.target)
        return _eliminated(self.gram, [[1.0 if i == j else 0.0 for j in range(size)] for i in range(size)])

    def _solved(self, fixed: dict[int, float]) -> list[float]:
        free = [i for i in range(len(self.target)) if i not in fixed]
        right = [[self.target[i] - sum(self.gram[i][j] * value for j, value in fixed.items())] for i in free]
        solved = _eliminated([[self.gram[i][j] for j in free] for i in free], right)
        found = [fixed.get(i, 0.0) for i in range(len(self.target))]
        for i, (value,) in zip(free, solved, strict=True):
            found[i] = value
        return found


def _eliminated(matrix: Matrix, right: Matrix) -> Matrix:
    """What the matrix, symmetric and positive definite, must be multiplied with for the right-hand sides."""
    lines = [[*line, *sides] for line, sides in zip(matrix, right, strict=True)]
    size = len(lines)
    for pivot in range(size):
        head = lines[pivot]
        inverse = 1.0 / head[pivot]
        head[:] = [value * inverse for value in head]
        for index, line in enumerate(lines):
            factor = line[pivot]
            if index != pivot and factor:
                line[:] = [value - factor * above for value, above in zip(line, head, strict=True)]
    return [line[size:] for line in lines]
