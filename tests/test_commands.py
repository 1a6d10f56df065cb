"""The commands that do the work, from their arguments to what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.replay import Recording
from tests.patience import PATIENCE, until
from tests.test_cli import COMMAND, phasetop

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PHASETOP_")},
    "PHASETOP_ENGINE_DISCOVER": "no",
    "PHASETOP_GPU_ENABLED": "no",
    "PHASETOP_SAMPLING_INTERVAL": "250ms",
    "XDG_CONFIG_HOME": "/nowhere",
    "TERM": "xterm-256color",
}
START = 1_700_000_000


def page(second: int) -> str:
    line = {"t": START + second, "url": "http://e/metrics", "text": f"vllm:generation_tokens_total {100 * second}\n"}
    return json.dumps(line) + "\n"


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    file = tmp_path / "pages.jsonl"
    file.write_text("".join(page(second) for second in range(30)))
    return file


@pytest.fixture
def saved(pages: Path, tmp_path: Path) -> Path:
    result = phasetop("import", str(pages), "-o", str(tmp_path / "saved.db"))
    assert result.returncode == 0, result.stderr
    return tmp_path / "saved.db"


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command in the background; ended at the end if it has not ended by itself."""
    process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def intervals(path: Path) -> int:
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
    ):
        return int(db.execute("SELECT count(*) FROM interval").fetchone()[0])
    return 0


def wait_for_intervals(directory: Path, count: int) -> Path:
    """The recording file in `directory` once it holds so many intervals."""

    def found() -> list[Path]:
        return [file for file in directory.glob("phasetop-*.db") if intervals(file) >= count]

    until(found, f"{count} intervals in {directory}")
    return found()[0]


def is_closed(file: Path) -> bool:
    """Whether the recording was finished: nothing beside the file, and marked complete."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        complete = database.execute("SELECT value FROM meta WHERE key = 'complete'").fetchone()
    return complete == ("1",) and not file.with_name(f"{file.name}-wal").exists()


def test_pages_become_a_recording_that_is_dumped_as_the_same_intervals(saved: Path) -> None:
    result = phasetop("dump", str(saved), "--format", "jsonl")
    assert result.returncode == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["start"] for line in lines] == [START + second for second in range(30)]
    assert [line["engines"][0]["generation_tokens"] for line in lines] == [None, *[100.0] * 29]
    assert all(line["phase"]["settled"] for line in lines)
    events = phasetop("dump", str(saved), "--format", "csv", "--table", "event").stdout
    assert "engine-up" in events


def test_an_existing_recording_is_not_written_over(pages: Path, saved: Path) -> None:
    before = saved.read_bytes()
    result = phasetop("import", str(pages), "-o", str(saved))
    assert (result.returncode, result.stderr) == (
        1,
        f"phasetop import: {saved} exists; name another file, or remove it\n",
    )
    assert saved.read_bytes() == before


def test_an_import_into_a_directory_makes_a_file_that_replay_finds_there(pages: Path, tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    assert phasetop("import", str(pages), "-o", str(tmp_path / "rec")).returncode == 0
    with Recording(tmp_path / "rec") as recording:
        assert len(recording) == 30


def test_a_file_of_something_else_is_told_with_a_few_lines_and_no_recording_is_left(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("nonsense\n" * 500)
    result = phasetop("import", str(wrong), "-o", str(tmp_path / "x.db"))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) < 15
    assert "490 more lines could not be read" in result.stderr
    assert not (tmp_path / "x.db").exists()


def test_an_import_that_fails_leaves_no_half_made_file_in_the_way(tmp_path: Path) -> None:
    pages = tmp_path / "pages.jsonl"
    pages.write_text(
        json.dumps({"t": 1.7e9, "text": "node_load1 0.5\n"}) + "\n" + json.dumps({"t": 1.7e9 + 9, "text": "x 1\n"})
    )
    for _ in range(2):
        result = phasetop("import", str(pages), "-o", str(tmp_path / "saved.db"))
        assert result.returncode == 1
        assert "exists" not in result.stderr
        assert not (tmp_path / "saved.db").exists()


def test_a_dump_can_be_cut_by_moments_and_written_to_a_file(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = ["--format", "csv", "--table", "engine", "--from", str(START + 10), "--to", "10s ago", "-o", str(out)]
    result = phasetop("dump", str(saved), *arguments)
    assert (result.returncode, result.stdout) == (0, "")
    assert len(out.read_text().splitlines()) == 1 + 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "csv"), "--format csv needs --table NAME"),
        (("--format", "jsonl", "--table", "gpu"), "--table is for --format csv"),
        (("--format", "csv", "--table", "gpus"), 'there is no table "gpus"; there are host, gpu'),
        (("--format", "jsonl", "--from", "soon"), '--from: "soon" is not a moment'),
    ],
)
def test_a_dump_that_makes_no_sense_is_wrong_usage(saved: Path, arguments: tuple[str, ...], message: str) -> None:
    result = phasetop("dump", str(saved), *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    result = phasetop("dump", str(tmp_path), "--format", "jsonl")
    assert (result.returncode, result.stdout) == (1, "")
    assert "no recording in this directory yet" in result.stderr


def test_a_note_stands_in_the_recording_at_its_moment(saved: Path) -> None:
    noted = phasetop("note", str(saved), "deployed \x1b[2J1.4.2", "--at", str(START + 5))
    assert (noted.returncode, noted.stderr) == (0, f"noted in {saved}: deployed \ufffd[2J1.4.2\n")
    with Recording(saved) as recording:
        events = recording.events(recording.start, recording.end)
    assert [(event.time, event.text) for event in events if event.kind == "note"] == [
        ((START + 5) * 10**9, "deployed \ufffd[2J1.4.2")
    ]


def test_a_note_in_a_recording_that_has_ended_needs_a_moment_within_it(saved: Path) -> None:
    ended = phasetop("note", str(saved), "late")
    assert (ended.returncode, ended.stderr) == (
        2,
        "phasetop note: this recording has ended; say with --at when it happened\n",
    )
    early = phasetop("note", str(saved), "early", "--at", "2001-09-09T01:46:41Z")
    assert early.returncode == 1
    assert "nothing was recorded yet at that moment" in early.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_recording_is_finished_when_the_process_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    with running("record", str(tmp_path / "rec")) as process:
        file = wait_for_intervals(tmp_path / "rec", 2)
        assert phasetop("note", str(tmp_path / "rec"), "while it is written").returncode == 0
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
    assert is_closed(file)
    with Recording(file) as recording:
        assert [event.text for event in recording.events(recording.start, recording.end + 10**10)] == [
            "while it is written"
        ]


def test_a_recording_of_a_given_length_ends_by_itself(tmp_path: Path) -> None:
    result = subprocess.run(
        [*COMMAND, "record", str(tmp_path), "--for", "1s"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (file,) = tmp_path.glob("phasetop-*.db")
    assert intervals(file) >= 1
    assert is_closed(file)


def test_two_processes_do_not_record_into_one_directory(tmp_path: Path) -> None:
    with running("record", str(tmp_path / "rec")):
        wait_for_intervals(tmp_path / "rec", 1)
        second = phasetop("record", str(tmp_path / "rec"), "--for", "1s")
    assert second.returncode == 1
    assert "record" in second.stderr


def test_a_directory_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = phasetop("record", str(tmp_path / "file" / "rec"))
    assert result.returncode == 1
    assert str(tmp_path / "file") in result.stderr


def test_export_serves_records_and_ends_when_told(tmp_path: Path) -> None:
    with running("export", "--listen", "127.0.0.1:0", "--record", str(tmp_path / "rec")) as process:
        assert process.stderr is not None
        told = [process.stderr.readline(), process.stderr.readline()]
        url = next(line.split()[-1] for line in told if " serving " in line)
        file = wait_for_intervals(tmp_path / "rec", 2)
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            text = answer.read().decode()
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert "phasetop_host_phase_seconds_total" in text
    assert is_closed(file)


def test_an_address_in_use_is_told() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = phasetop("export", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.returncode == 1
    assert "the port is in use" in result.stderr


def test_one_interval_is_printed_as_json_or_as_text() -> None:
    found = phasetop("once", "--json", "--window", "250ms", environment=ENVIRONMENT)
    assert (found.returncode, found.stderr) == (0, "")
    interval = json.loads(found.stdout)
    assert interval["schema"] == 1
    assert interval["duration"] == pytest.approx(0.25, abs=0.2)
    assert interval["host"]["memory_total_bytes"] > 0
    text = phasetop("once", "--window", "250ms", environment=ENVIRONMENT)
    assert [line.split()[0] for line in text.stdout.splitlines()[1:3]] == ["phase", "host"]


def test_doctor_tells_one_finding_a_line_and_the_same_as_json() -> None:
    text = phasetop("doctor", "--ascii", environment=ENVIRONMENT)
    assert text.returncode == 0
    assert text.stdout.isascii()
    topics = [line.split()[1] for line in text.stdout.splitlines()]
    assert {"phasetop", "gpu", "engines", "host", "terminal", "recording", "config"} == set(topics)
    found = json.loads(phasetop("doctor", "--json", environment=ENVIRONMENT).stdout)
    assert [finding["topic"] for finding in found["findings"]] == topics


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """What a terminal showed up to and including `wanted`."""
    seen = b""
    deadline = time.monotonic() + PATIENCE
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                seen += os.read(descriptor, 65536)
    assert wanted in seen, seen[-2000:]
    return seen


@pytest.mark.parametrize("leaving", ["key", "signal"])
def test_the_dashboard_draws_and_leaves_with_its_recording_finished(tmp_path: Path, leaving: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*COMMAND, "live", "--record", str(tmp_path / "rec")], ENVIRONMENT)
    try:
        read_until(terminal, b"Phase")
        file = wait_for_intervals(tmp_path / "rec", 1)
        if leaving == "key":
            os.write(terminal, b"q")
        else:
            os.kill(pid, signal.SIGTERM)
        read_until(terminal, b"\x1b[?1049l")  # the alternate screen is left: the terminal is as it was
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert is_closed(file)


def test_what_is_wrong_with_keys_is_told_with_file_and_line_and_the_names_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[tui.keys]\n"view.togle" = "x"\n"copy" = "g"\n')
    wrong = phasetop("config", "check", "--config", str(file), environment=ENVIRONMENT)
    assert wrong.returncode == 2
    assert f"{file}:2: tui.keys.view.togle: nothing has that name; did you mean view.toggle?" in wrong.stderr
    assert f"{file}:3: tui.keys.copy: g is the key of view.go_to as well" in wrong.stderr
    listed = phasetop("config", "keys", environment=ENVIRONMENT).stdout
    assert "view.toggle          space" in listed
