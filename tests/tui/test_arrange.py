from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.arrange import arrange
from dashboard.frames import Arrangement, Facts

widths, heights = st.integers(0, 300), st.integers(0, 100)
facts = st.builds(Facts, gpus=st.integers(0, 16), engines=st.integers(0, 8), replay=st.booleans())


@settings(max_examples=400)
@given(widths, heights, facts)
def test_every_cell_belongs_to_exactly_one_panel(width: int, height: int, there: Facts) -> None:
    covered = [[0] * width for _ in range(height)]
    for place in arrange(width, height, there).places.values():
        assert place.width > 0
        assert place.height > 0
        for y in range(place.y, place.y + place.height):
            for x in range(place.x, place.x + place.width):
                covered[y][x] += 1
    assert all(cell == 1 for row in covered for cell in row)


@settings(max_examples=200)
@given(widths, heights, facts)
def test_the_phase_panel_has_the_rows_it_divides(width: int, height: int, there: Facts) -> None:
    found = arrange(width, height, there)
    if found.strip:
        rows = found.strip + found.events + found.lines * found.line_height + found.axis + found.reason
        assert found.places["phase"].inside.height >= rows


@settings(max_examples=200)
@given(st.integers(60, 300), st.integers(16, 100), facts)
def test_neighbours_share_their_borders_and_every_arm_meets_another(width: int, height: int, there: Facts) -> None:
    """Each arm of a frame glyph meets the opposite arm in the next cell."""
    arms: dict[tuple[int, int], int] = {}
    for place in arrange(width, height, there).places.values():
        for edge, y in ((place.top, place.y), (place.bottom, place.y + place.height - 1)):
            for n, arm in enumerate(edge or ()):
                arms[place.x + n, y] = arm
        if place.top is not None:
            rows = range(place.y + 1, place.y + place.height - (place.bottom is not None))
            for x, drawn in ((place.x, place.left), (place.x + place.width - 1, place.right)):
                if drawn:
                    arms.update({(x, y): 5 for y in rows})
    for (x, y), arm in arms.items():
        for bit, dx, dy, opposite in ((1, 0, -1, 4), (2, 1, 0, 8), (4, 0, 1, 1), (8, -1, 0, 2)):
            if arm & bit:
                assert arms.get((x + dx, y + dy), 0) & opposite


def shown(found: Arrangement) -> set[str]:
    return set(found.places) - {"header", "footer", "scrubber"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((200, 50), {"phase", "verdict", "gpus", "engines", "host"}),
        ((120, 40), {"phase", "verdict", "gpus", "engines", "host"}),
        ((80, 24), {"phase", "verdict", "gpus", "engines"}),
        ((40, 10), {"phase", "verdict"}),
        ((20, 5), {"phase", "verdict"}),
        ((10, 1), {"phase"}),
    ],
)
def test_what_matters_least_goes_first(size: tuple[int, int], expected: set[str]) -> None:
    assert shown(arrange(*size, Facts(gpus=8, engines=1))) == expected


def test_at_80x24_the_host_goes_before_the_lines() -> None:
    eight = arrange(80, 24, Facts(gpus=8, engines=1))
    none = arrange(80, 24, Facts(gpus=0, engines=1))
    assert eight.lines == 0
    assert none.lines >= 3
    assert "host" not in none.places


def test_at_120x40_all_eight_gpus_have_a_row_and_the_odd_one_a_sentence() -> None:
    found = arrange(120, 40, Facts(gpus=8, engines=1))
    assert found.places["gpus"].inside.height == 10
    assert found.lines == 5


def test_a_machine_without_gpus_gives_the_room_to_others() -> None:
    found = arrange(120, 40, Facts(gpus=0, engines=1))
    assert "gpus" not in found.places
    assert found.reason
    assert found.strip > arrange(120, 40, Facts(gpus=8, engines=1)).strip


def test_a_replay_has_a_row_for_its_scrubber() -> None:
    assert arrange(80, 24, Facts(replay=True)).places["scrubber"].y == 22
    assert "scrubber" not in arrange(80, 24, Facts()).places
