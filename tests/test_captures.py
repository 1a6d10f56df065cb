"""Pages recorded from real engines, whose phases the client that made the load wrote down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.captures import score

ROOT = os.environ.get("PHASETOP_TEST_DATA")

pytestmark = pytest.mark.skipif(not ROOT, reason="PHASETOP_TEST_DATA is not set: no captures here")


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp", "llama.cpp-2025-08", "sglang"])
@pytest.mark.parametrize("interval", [1.0, 0.5])
def test_pure_phases_of_recorded_engines_are_labelled_right(engine: str, interval: float) -> None:
    found = score(Path(ROOT or "", "captures", engine, "run-a"), interval=interval)
    assert found.intervals >= 60
    assert found.right >= 0.95 * found.intervals
    assert found.false <= 0.02 * found.intervals
