"""What is left of a damaged recording can be saved."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from collectors.document import document
from collectors.replay import Recording
from collectors.salvage import Salvage
from collectors.store import DamagedRecording, NotARecording, RecordingError
from dashboard.cli import main
from exporters.repair import repair
from tests.recording_support import Estimator, estimator, interval, recording_file, ticks

LENGTH = 600


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "one.db"
    labeller = Estimator()
    return recording_file(path, ticks(map(interval, range(LENGTH)), labeller), checkpoints=labeller)


@pytest.fixture(scope="module")
def documents(whole: Path) -> dict[float, dict[str, object]]:
    """What the whole recording says, by the start of the interval."""
    with Recording(whole) as recording:
        return {document(tick)["start"]: document(tick) for tick in recording.ticks()}


def readings(said: dict[str, object]) -> dict[str, object]:
    """An interval's readings without what was concluded from them."""
    return {name: value for name, value in said.items() if name not in ("phase", "bottleneck", "gpus", "engines")}


def saved_from(damaged: Path, output: Path) -> list[dict[str, object]]:
    repair(damaged, output)
    with Recording(output, labeller_factory=estimator) as recording:
        return [document(tick) for tick in recording.ticks()]


def test_a_file_cut_short_gives_a_true_beginning_the_longer_the_more_is_left(
    whole: Path, documents: dict[float, dict[str, object]], tmp_path: Path
) -> None:
    content = whole.read_bytes()
    counts = []
    for parts in (7, 8, 9):
        damaged = tmp_path / f"cut-{parts}.db"
        damaged.write_bytes(content[: len(content) * parts // 10 // 4096 * 4096])
        with pytest.raises(DamagedRecording, match="phasetop repair"):
            Recording(damaged)
        saved = saved_from(damaged, tmp_path / f"saved-{parts}.db")
        assert [said["start"] for said in saved] == list(documents)[: len(saved)]
        assert all(readings(said) == readings(documents[said["start"]]) for said in saved)  # type: ignore[index]
        counts.append(len(saved))
    assert 0 < counts[0] < counts[1] < counts[2] < LENGTH


def test_of_a_file_cut_off_soon_after_its_beginning_nothing_can_be_saved_and_that_is_said(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "cut.db"
    damaged.write_bytes(whole.read_bytes()[: 2 * 4096])
    assert main(["repair", str(damaged), "-o", str(tmp_path / "saved.db")]) == 1
    assert capsys.readouterr().err.endswith("too little of it is whole; nothing can be saved from it\n")
    assert not (tmp_path / "saved.db").exists()


def test_a_hole_in_the_middle_loses_what_stood_there_and_nothing_else(
    whole: Path, documents: dict[float, dict[str, object]], tmp_path: Path
) -> None:
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = os.urandom(4096)
    damaged = tmp_path / "hole.db"
    damaged.write_bytes(content)
    done = repair(damaged, tmp_path / "saved.db")
    assert LENGTH - 100 < done.saved <= LENGTH
    assert done.saved + done.lost <= LENGTH
    with Recording(tmp_path / "saved.db", labeller_factory=estimator) as recording:
        for tick in recording.ticks():
            said = document(tick)
            assert readings(said) == readings(documents[said["start"]])


def test_a_sound_file_is_saved_whole(whole: Path, documents: dict[float, dict[str, object]], tmp_path: Path) -> None:
    assert saved_from(whole, tmp_path / "saved.db") == list(documents.values())


def test_bytes_flipped_anywhere_end_in_a_new_file_or_a_refusal(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    dice = random.Random(20261121)
    for number in range(12):
        damaged = bytearray(content)
        for _ in range(dice.choice((1, 64, 1024))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path, output = tmp_path / f"flipped-{number}.db", tmp_path / f"saved-{number}.db"
        path.write_bytes(damaged)
        try:
            done = repair(path, output)
        except RecordingError as raised:
            refused = str(raised)
        else:
            refused = ""
        assert refused.startswith(f"{path}: ") or output.exists()
        if not refused:
            with Recording(output, labeller_factory=estimator) as recording:
                assert len(list(recording.ticks())) == done.saved > 0


def test_what_is_no_recording_has_nothing_to_save(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(NotARecording, match="not an SQLite file"):
        Salvage(path)


def test_the_command_says_what_was_saved_and_changes_nothing_it_was_given(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, output = tmp_path / "cut.db", tmp_path / "saved.db"
    damaged.write_bytes(whole.read_bytes()[: 4096 * 90])
    before = damaged.read_bytes()
    assert main(["repair", str(damaged), "-o", str(output)]) == 0
    assert damaged.read_bytes() == before
    assert " intervals, from 20" in capsys.readouterr().err
    assert main(["repair", str(damaged), "-o", str(output)]) == 1
    assert f"{output} exists" in capsys.readouterr().err
