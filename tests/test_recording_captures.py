from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.recording_captures import outcome

DATA = os.environ.get("PHASETOP_TEST_DATA", "")
CAPTURES = sorted((Path(DATA) / "captures").glob("*/run-a")) if DATA else []


@pytest.mark.parametrize(
    "capture",
    CAPTURES or [pytest.param(None, marks=pytest.mark.skip(reason="PHASETOP_TEST_DATA names no captures"))],
    ids=lambda path: path and path.parent.name,
)
def test_live_stored_and_relabelled_labels_of_a_capture_are_the_same_to_the_bit(capture: Path) -> None:
    found = outcome(capture)
    assert found.labels > 300
    assert found.is_same, found
