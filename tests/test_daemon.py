"""A daemon that is told to read its configuration anew, and to end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.replay import Recording
from tests.patience import PATIENCE, until
from tests.test_cli import COMMAND
from tests.test_commands import ENVIRONMENT, is_closed, wait_for_intervals

ANSWERS = {"read anew", "not taken up"}


class Running:
    """An `export` with a configuration file, and the lines of its log."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.file = folder / "config.toml"
        environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("PHASETOP_")}
        command = [*COMMAND, "export", "--config", str(self.file), "--log-format", "json", *arguments]
        self.process = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(json.loads(line))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()

    def told(self, words: str, since: int = 0) -> dict[str, str]:
        """The first line with these words, waited for."""

        def found() -> list[dict[str, str]]:
            return [line for line in self.log[since:] if words in line["message"]]

        until(found, lambda: f"{words!r} in {self.log}")
        return found()[0]

    def reload(self, text: str) -> None:
        """Write another configuration, have it read, and wait for the answer."""
        since = len(self.log)
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: any(ANSWERS & set(line["message"].split("; ")) for line in self.log[since:]))

    def url(self, since: int = 0) -> str:
        return self.told("serving ", since)["message"].split()[-1]


def page(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (one.rpartition(" ") for one in lines if one[:1] != "#")}


def seconds_measured(url: str) -> float:
    found = page(url)
    return sum(value for name, value in found.items() if name.startswith("phasetop_host_phase_label_seconds_total"))


def is_refused(url: str) -> bool:
    try:
        page(url)
    except OSError as error:
        return "refused" in str(error)
    return False


def configured(listen: str, record: str = "first", *more: str) -> str:
    return "\n".join(
        [
            '[sampling]\ninterval = "250ms"\n[gpu]\nenabled = false\n[engine]\ndiscover = false',
            f'[record]\ndirectory = "{record}"\n[server]\nlisten = "{listen}"',
            *more,
        ]
    )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "config.toml").write_text(configured("127.0.0.1:0"))
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.end()


def test_a_wrong_configuration_is_told_whole_and_changes_nothing(daemon: Running) -> None:
    url = daemon.url()
    daemon.reload('[sampling]\ninterval = "1y"\n[server]\nlisten = 7\n[recrod]\n')
    wrong = [line["message"] for line in daemon.log if line["source"] == "configuration"]
    assert len(wrong) == 5, wrong
    assert [
        key for key in ("sampling.interval", "server.listen", "recrod") if not any(key in one for one in wrong)
    ] == []
    assert wrong[-1] == "not taken up; the one before stays in force"
    before = seconds_measured(url)
    until(lambda: seconds_measured(url) > before)


def test_counters_go_on_when_what_is_measured_changes_and_the_recording_says_why_time_is_missing(
    daemon: Running, tmp_path: Path
) -> None:
    url = daemon.url()
    until(lambda: seconds_measured(url) >= 1.0)
    before = seconds_measured(url)
    daemon.reload(configured("127.0.0.1:0").replace("250ms", "500ms"))
    assert daemon.told("read anew")["message"] == "read anew; changed: sampling.interval"
    until(lambda: seconds_measured(url) >= before + 1.0)
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE) == 0
    with Recording(tmp_path / "first") as recording:
        ticks = list(recording.ticks(recording.start, recording.end))
    sequences = [tick.interval.sequence for tick in ticks]
    assert sequences == list(range(1, len(ticks) + 1))
    assert {tick.interval.end - tick.interval.start for tick in ticks} == {250_000_000, 500_000_000}
    first = next(tick.interval for tick in ticks if tick.interval.end - tick.interval.start == 500_000_000)
    assert [gap.reason.partition(": ")[2] for gap in first.gaps if gap.source == "sampler"] in (
        ["the configuration was read anew"],
        [],  # nothing was missed
    )


def test_another_directory_begins_another_recording_and_the_first_one_is_finished_with_its_labels(
    daemon: Running, tmp_path: Path
) -> None:
    first = wait_for_intervals(tmp_path / "first", 2)
    daemon.reload(configured("127.0.0.1:0", "second"))
    second = wait_for_intervals(tmp_path / "second", 2)
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE) == 0
    assert is_closed(first)
    assert is_closed(second)
    with Recording(first) as left, Recording(second) as begun:
        assert all(tick.labels["host"].settled for tick in left.ticks(left.start, left.end))
        assert begun.start == left.end


def test_a_directory_that_cannot_be_written_leaves_the_recording_where_it_was(daemon: Running, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = daemon.url()
    daemon.reload(configured("127.0.0.1:0", "file"))
    assert daemon.told("not taken up")
    assert page(url)
    file = wait_for_intervals(tmp_path / "first", 2)
    assert not is_closed(file)


def test_an_address_in_use_keeps_the_old_one_and_a_free_one_takes_its_place(daemon: Running) -> None:
    import socket

    old = daemon.url()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon.reload(configured(address))
        assert "the port is in use" in daemon.told("cannot listen")["message"]
    until(lambda: seconds_measured(old) >= 0.5)
    before, since = seconds_measured(old), len(daemon.log)
    daemon.reload(configured(address))
    assert daemon.url(since) == f"http://{address}/metrics"
    assert seconds_measured(f"http://{address}/metrics") >= before
    until(lambda: is_refused(old))


def test_other_credentials_at_the_same_address_are_asked_for_without_a_moment_of_silence(
    daemon: Running, tmp_path: Path
) -> None:
    url = daemon.url()
    (tmp_path / "token").write_text("a-token")
    failures: list[Exception] = []
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            request = urllib.request.Request(url, headers={"Authorization": "Bearer a-token"})
            try:
                urllib.request.urlopen(request, timeout=PATIENCE).close()
            except OSError as failure:
                failures.append(failure)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    daemon.reload(configured("127.0.0.1:0") + '\nbearer_token_file = "token"')
    daemon.told("serving ", 2)
    done.set()
    scraper.join()
    assert failures == []
    with pytest.raises(urllib.error.HTTPError, match="401"):
        page(url)


def test_it_ends_within_a_second_with_its_files_finished(daemon: Running, tmp_path: Path) -> None:
    file = wait_for_intervals(tmp_path / "first", 2)
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE) == 0
    assert is_closed(file)


def test_record_ends_when_its_terminal_goes_away_and_reads_its_configuration_anew_while_it_is_there(
    tmp_path: Path,
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*COMMAND, "record", str(tmp_path / "rec")], ENVIRONMENT)
    file = wait_for_intervals(tmp_path / "rec", 1)
    os.kill(pid, signal.SIGHUP)
    seen = b""
    while b"nothing changed" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert is_closed(file)
