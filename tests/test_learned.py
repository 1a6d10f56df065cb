from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import FakeClock
from collectors.learned import FILE_NAME, MAX_AGE_SECONDS, MAX_SETS, load, save, state_directory
from collectors.model import Interval, Label, Tick, engine_entity
from collectors.phase.calibrate import CostModel
from collectors.phase.label import Labeller
from collectors.phase.priors import find, identity
from collectors.readings import HostReading
from collectors.sources import Harvest, SourceStatus
from dashboard.config import Config
from dashboard.learned import LearnedCosts
from dashboard.session import Parts
from dashboard.single import once
from tests.making import ENDPOINT, decoding, gpu, intervals, reading, ttft

COSTS = CostModel(
    step=0.018, token=0.0001, kv_step=1e-8, prompt_token=2e-5, error=0.02, windows=60, knows_decode=True,
    knows_prefill=True,
)  # fmt: skip
NOW = 1_790_000_000.0
ENGINE = engine_entity((ENDPOINT, "0"))


def under_load(count: int, *, model: str = "tiny") -> list[Interval]:
    """An engine that decodes and computes a prompt every third second, at 20 ms a step."""
    kinds = [
        decoding(steps=50, batch=8, model=model),
        decoding(steps=49, batch=9, model=model),
        decoding(steps=30, batch=8, prompt_tokens_computed=800.0, first_tokens=1.0, ttft=ttft(1, 0.4), model=model),
    ]
    return intervals([kinds[index % 3] for index in range(count)])


def settled(labeller: Labeller, made: list[Interval]) -> list[Label]:
    labels = [label for one in made for label in labeller.push(one).settled]
    return [label for label in (*labels, *labeller.flush()) if label.entity == ENGINE]


def learned_by_a_run() -> dict[str, CostModel]:
    labeller = Labeller()
    settled(labeller, under_load(150))
    return labeller.learned()


def test_a_run_learns_the_costs_of_its_engine_under_a_name_of_its_own() -> None:
    learned = learned_by_a_run()
    assert list(learned) == [identity(decoding(model="tiny"), [])]
    assert all(costs.is_sure for costs in learned.values())


def test_a_restart_under_load_is_labelled_at_once_with_what_was_learned_before() -> None:
    mixed = under_load(6)[2:]
    cold = [tick.labels[ENGINE].phase for tick in map(Labeller().push, mixed)]
    warm_labeller = Labeller(priors=learned_by_a_run())
    warm = [tick.labels[ENGINE].phase for tick in map(warm_labeller.push, mixed)]
    assert "decode-deficit" not in {kind for phase in cold for kind in phase.evidence}
    assert all("decode-deficit" in phase.evidence for phase in warm[1:])
    assert {phase.confidence for phase in warm} <= {"medium", "low"}  # what an earlier run learned is never certain


def test_labels_that_rest_on_an_earlier_run_are_made_again_to_the_bit_from_any_checkpoint() -> None:
    priors, made = learned_by_a_run(), under_load(40)
    whole = {label.sequence: label for label in settled(Labeller(priors=priors), made)}
    for cut in (1, 2, 7, 25):
        labeller = Labeller(priors=priors)
        for interval in made[:cut]:
            labeller.push(interval)
        state = json.loads(json.dumps(labeller.checkpoint()))
        again = settled(Labeller(state=state), [one for one in made if one.sequence >= state["next_sequence"]])
        assert again
        assert again == [whole[label.sequence] for label in again]


def test_costs_that_do_not_explain_this_run_are_given_up() -> None:
    wrong = {name: replace(costs, step=costs.step * 3) for name, costs in learned_by_a_run().items()}
    labeller = Labeller(priors=wrong)
    settled(labeller, under_load(60))
    right = learned_by_a_run()
    (found,) = labeller.costs().values()
    assert found.decode_seconds(100, 800, 0) == pytest.approx(
        next(iter(right.values())).decode_seconds(100, 800, 0), rel=0.2
    )


def test_costs_of_another_model_or_card_are_not_taken() -> None:
    card = gpu(name="NVIDIA L4", power_limit_watts=72.0)
    name = identity(reading(model="tiny"), [card])
    assert name is not None
    priors = {name: COSTS}
    assert find(priors, reading(model="tiny"), [card]) == COSTS
    assert find(priors, reading(model="tiny"), []) == COSTS  # the GPUs have not been heard of yet
    assert find(priors, reading(model="small"), [card]) is None
    assert find(priors, reading(model="tiny", tensor_parallel=2.0), [card]) is None
    assert find(priors, reading(model="tiny"), [gpu(name="NVIDIA L40S")]) is None
    assert find(priors, reading(), [card]) is None


def test_without_gpus_costs_are_taken_only_when_they_are_the_only_ones_that_fit() -> None:
    names = [identity(reading(model="tiny"), [gpu(name=name)]) for name in ("NVIDIA L4", "NVIDIA A10")]
    assert find({str(name): COSTS for name in names}, reading(model="tiny"), []) is None


def test_what_is_saved_is_loaded_and_other_sets_stay(tmp_path: Path) -> None:
    path = tmp_path / "state" / FILE_NAME
    save(path, {"a": COSTS}, NOW)
    save(path, {"b": replace(COSTS, step=0.5)}, NOW + 5)
    found = load(path, NOW + 10)
    assert {name: kept.costs for name, kept in found.items()} == {"a": COSTS, "b": replace(COSTS, step=0.5)}
    assert [entry.name for entry in path.parent.iterdir()] == [FILE_NAME]


def test_sets_are_bounded_in_number_and_age(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    for index in range(MAX_SETS + 5):
        save(path, {f"set {index}": COSTS}, NOW + index)
    assert len(load(path, NOW + MAX_SETS)) == MAX_SETS
    assert "set 0" not in load(path, NOW + MAX_SETS)
    assert load(path, NOW + MAX_AGE_SECONDS + 1000) == {}


def test_no_file_is_no_costs(tmp_path: Path) -> None:
    assert load(tmp_path / FILE_NAME, NOW) == {}


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x00\xff", b"[]", b'{"layout": 1}', b'{"layout": 2, "sets": {}}', b"[" * 100_000, b"x" * 1_000_001],
)
def test_a_damaged_file_is_passed_over_with_one_line_and_written_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(damage)
    kept = LearnedCosts(tmp_path, clock=lambda: NOW)
    kept.labeller()
    assert [line.source for line in kept.status()] == ["calibration"]
    assert "\n" not in str(kept.problem)
    save(path, {"a": COSTS}, NOW)
    assert load(path, NOW)["a"].costs == COSTS


@given(st.binary(max_size=200), st.integers(0, 600))
def test_any_damage_within_a_file_is_told_or_harmless(damage: bytes, at: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE_NAME
        save(path, {"a": COSTS, "b": COSTS}, NOW)
        whole = path.read_bytes()
        at %= len(whole)
        path.write_bytes(whole[:at] + damage + whole[at + len(damage) :])
        try:
            found = load(path, NOW)
        except ValueError:
            return
        for kept in found.values():
            assert kept.costs.step >= 0
            assert isinstance(kept.costs.windows, int)


def test_a_session_keeps_what_it_learned_for_the_next(tmp_path: Path) -> None:
    first = LearnedCosts(tmp_path, clock=lambda: NOW)
    for interval in under_load(150):
        first.put(Tick(first.labeller().push(interval).interval))
    first.close()
    second = LearnedCosts(tmp_path, clock=lambda: NOW + 60)
    second.labeller().push(under_load(1)[0])
    assert second.labeller().costs()
    assert second.status() == []


def test_a_session_writes_every_few_minutes_and_not_only_at_its_end(tmp_path: Path) -> None:
    now = [NOW]
    kept = LearnedCosts(tmp_path, clock=lambda: now[0])
    for interval in under_load(150):
        kept.labeller().push(interval)
    now[0] += 301
    kept.put(Tick(under_load(1)[0]))
    assert kept._writer is not None
    kept._writer.join()
    assert load(tmp_path / FILE_NAME, now[0])


def test_a_directory_that_cannot_be_written_is_told_and_harms_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    kept = LearnedCosts(blocked, clock=lambda: NOW)
    for interval in under_load(150):
        kept.labeller().push(interval)
    kept.close()
    assert "cannot be written" in str(kept.problem)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/phasetop", "HOME": "/root"}, "/var/lib/phasetop"),
        ({"XDG_STATE_HOME": "/home/a/state", "HOME": "/home/a"}, "/home/a/state/phasetop"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/state/phasetop"),
        ({}, None),
    ],
)
def test_the_state_directory_is_the_services_or_the_users(environment: dict[str, str], expected: str | None) -> None:
    assert state_directory(environment) == (Path(expected) if expected else None)


class MixedLoad:
    """An engine whose steps compute prompts besides decoding, in every interval."""

    name = "mixed load"

    def start(self, arrived: threading.Event) -> None: ...
    def request(self, edge: float) -> None: ...
    def stop(self) -> None: ...

    def pending(self) -> bool:
        return False

    def status(self) -> Sequence[SourceStatus]:
        return ()

    def collect(self, edge: float) -> Harvest:
        (engine,) = under_load(3)[2].engines.values()
        return Harvest(host=HostReading(name="node"), engines=(engine,))


def test_one_interval_alone_is_labelled_with_the_costs_of_earlier_runs(tmp_path: Path) -> None:
    save(tmp_path / FILE_NAME, learned_by_a_run(), NOW)
    written = (tmp_path / FILE_NAME).read_bytes()
    found = []
    for learned in (None, LearnedCosts(tmp_path, clock=lambda: NOW)):
        tick = once(Config(), clock=FakeClock(), parts=Parts([MixedLoad()]), learned=learned)
        assert tick is not None
        found.append(tick.labels[ENGINE].phase)
    cold, warm = found
    assert "decode-deficit" not in cold.evidence
    assert "decode-deficit" in warm.evidence
    assert warm.error is not None
    assert cold.error is None or warm.error < cold.error
    assert (tmp_path / FILE_NAME).read_bytes() == written


def test_one_interval_alone_says_why_costs_of_earlier_runs_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("half a fi")
    learned = LearnedCosts(tmp_path, clock=lambda: NOW)
    tick = once(Config(), clock=FakeClock(), parts=Parts([MixedLoad()]), learned=learned)
    assert tick is not None
    assert [gap.source for gap in tick.interval.gaps if "passed over" in gap.reason] == ["calibration"]
