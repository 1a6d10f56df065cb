"""`phasetop report` and `phasetop diff`, from their arguments to what they leave behind."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from dashboard.commands.progress import Bar
from tests.prom_server import prom_server
from tests.test_cli import phasetop
from tests.test_exported import Fake
from tests.test_report import START, labelled, recorded

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("report") / "a.db", map(labelled, range(300)))


def test_a_report_is_text_on_standard_output_and_nothing_else(saved: Path) -> None:
    result = phasetop("report", str(saved))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"report  {saved}\n")
    assert "Computed with: GPU hour 2.5 USD" in result.stdout


def test_a_report_takes_a_stretch_and_a_configuration(saved: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[report]\ngpu_hour_price = 4\ncurrency = "EUR"\n')
    begin = START // SECOND + 60
    result = phasetop(
        "report", str(saved), "--format", "json", "--from", str(begin), "--to", str(begin + 90), "--config", str(config)
    )
    told = json.loads(result.stdout)
    assert told["source"]["intervals"] == 90
    assert told["settings"]["GPU hour"] == "4 EUR"


def test_a_page_goes_into_a_file(saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = phasetop("report", str(saved), "--format", "html", "-o", str(page))
    assert (result.returncode, result.stdout) == (0, "")
    assert page.read_text().startswith("<!doctype html>")


def test_a_stretch_without_an_interval_is_an_error_that_says_so(saved: Path) -> None:
    moment = str(START // SECOND + 30)
    result = phasetop("report", str(saved), "--from", moment, "--to", moment)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "phasetop report: nothing was recorded in that stretch of time\n"


def test_what_is_no_recording_is_an_error_that_says_so(tmp_path: Path) -> None:
    result = phasetop("report", str(tmp_path / "none.db"))
    assert result.returncode == 1
    assert "no such file" in result.stderr


def test_an_output_that_cannot_be_written_is_an_error(saved: Path, tmp_path: Path) -> None:
    result = phasetop("report", str(saved), "-o", str(tmp_path / "none" / "x.txt"))
    assert result.returncode == 1
    assert "cannot be written" in result.stderr


def test_two_stretches_of_one_recording_are_compared(saved: Path) -> None:
    begin = START // SECOND
    result = phasetop("diff", f"{saved}@..{begin + 150}", f"{saved}@{begin + 150}..", "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["a"]["intervals"], told["b"]["intervals"]) == (150, 150)
    assert {group["title"] for group in told["groups"]} >= {"time", "energy", "latency"}


def test_a_stretch_without_dots_is_wrong_usage(saved: Path) -> None:
    result = phasetop("diff", f"{saved}@10m", str(saved))
    assert result.returncode == 2
    assert "write PATH@FROM..TO" in result.stderr


def test_a_report_on_a_prometheus_takes_the_same_moments_and_forms() -> None:
    with prom_server(Fake()) as server:
        result = phasetop(
            "report", "--prometheus", server.url, "--from", "1795176000", "--to", "1795179600", "--format", "json"
        )
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["source"]["host"], told["source"]["seconds"], told["source"]["intervals"]) == ("n1", 3600.0, 60)
    figures = {figure["key"]: figure for section in told["sections"] for figure in section["figures"]}
    assert figures["prefill_share"]["value"] == pytest.approx(0.2)


def test_two_stretches_of_a_prometheus_are_compared() -> None:
    with prom_server(Fake()) as server:
        result = phasetop(
            "diff",
            "--prometheus",
            server.url,
            "@1795176000..1795177800",
            "n1@1795177800..1795179600",
            "--format",
            "json",
        )
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert [told[one]["seconds"] for one in "ab"] == [1800.0, 1800.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report",), "name a recording, or a Prometheus"),
        (("report", "a.db", "--prometheus", "http://127.0.0.1:9"), "exclude one another"),
        (("report", "a.db", "--node", "n1"), "exclude one another"),
        (("report", "--prometheus", "http://127.0.0.1:9", "--from", "1m ago", "--to", "1h ago"), "must be before --to"),
        (("report", "--prometheus", "http://127.0.0.1:9", "--from", "soon"), "is not a moment"),
        (("diff", "--prometheus", "http://127.0.0.1:9", "n1", "n2"), "write [NODE]@FROM..TO"),
    ],
)
def test_what_makes_no_sense_of_a_prometheus_is_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    result = phasetop(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--node", "n2"), "there was no node 'n2' in that time; there were n1"),
        (("--match", 'job="none"'), 'no exporter\'s series with job="none" in that stretch of time'),
    ],
)
def test_what_a_prometheus_does_not_have_is_an_error_that_says_so(more: tuple[str, ...], said: str) -> None:
    with prom_server(Fake()) as server:
        result = phasetop("report", "--prometheus", server.url, "--from", "1795176000", "--to", "1795179600", *more)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"{server.url}: {said}" in result.stderr


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_done_within_a_second_shows_no_bar() -> None:
    out = _Terminal()
    bar = Bar("report", 0, 100, out=out)
    bar.see(50)
    bar.clear()
    assert out.getvalue() == ""
