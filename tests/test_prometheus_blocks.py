from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.prometheus_blocks import asked
from tests.recording_support import Estimator, interval, recording_file, ticks


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_prometheus_over_blocks_of_a_dump_gives_the_recordings_shares(tmp_path: Path) -> None:
    file = tmp_path / "one.db"
    labeller = Estimator()
    recording_file(file, ticks(map(interval, range(200)), labeller), checkpoints=labeller)
    engines, worst = asked(file, tmp_path)
    assert [engine["endpoint"] for engine in engines] == ["http://127.0.0.1:8000/metrics"]
    assert 0.2 < engines[0]["prefill_share"] < 0.8
    assert worst < 0.5, "points; rate() does not see what the first sample already counts, of 200"
