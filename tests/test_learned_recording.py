"""A recording of a session that began with an earlier run's costs holds them."""

from __future__ import annotations

from pathlib import Path

from collectors.model import Label
from collectors.phase.label import Labeller
from collectors.replay import Recording
from exporters.recorder import Recorder
from tests.test_learned import ENGINE, learned_by_a_run, under_load


def test_labels_made_anew_from_a_recording_that_began_with_learned_costs_are_the_same_to_the_bit(
    tmp_path: Path,
) -> None:
    labeller = Labeller(priors=learned_by_a_run())
    recorder = Recorder(
        tmp_path,
        host_name="node",
        byte_cap=1 << 28,
        age_cap_seconds=1e6,
        checkpoint=labeller.checkpoint,
        beginning=labeller.checkpoint(),
    )
    shown: dict[int, Label] = {}
    made = under_load(25)
    for interval in made:
        tick = labeller.push(interval)
        shown.update({label.sequence: label for label in tick.settled if label.entity == ENGINE})
        recorder.put(tick)
    rest = labeller.flush()
    shown.update({label.sequence: label for label in rest if label.entity == ENGINE})
    recorder.settle(rest)
    assert recorder.close()
    with Recording(tmp_path) as stored, Recording(tmp_path, relabel=True) as anew:
        for interval in made:
            kept, again = stored.tick_at(interval.start), anew.tick_at(interval.start)
            assert kept is not None
            assert again is not None
            assert kept.labels[ENGINE] == again.labels[ENGINE] == shown[interval.sequence]
    assert "decode-deficit" in shown[2].phase.evidence
