"""docs/analysis.md: its programs run, and its investigation is what the demo recording says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.doc_programs import need, told_by
from tests.test_cli import phasetop
from tests.test_report import labelled, recorded

PAGE = (Path(__file__).parents[1] / "docs" / "analysis.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("docs") / "a.db", map(labelled, range(300)))


def test_the_programs_for_notebooks_run(saved: Path, tmp_path: Path) -> None:
    need("pandas", "duckdb")
    told = []
    for name in ("before", "after"):
        told.append(tmp_path / f"{name}.json")
        assert phasetop("report", str(saved), "--format", "json", "-o", str(told[-1])).returncode == 0
    within, minutes = told_by(PROGRAMS[0], "[bool(share.dropna().between(0, 1).all()), len(minutes)]", recording=saved)
    assert (within, minutes) == (True, 6)
    first, last = told_by(PROGRAMS[1], "[float(by_share.iloc[0]), float(by_share.iloc[-1])]", recording=saved)
    assert last > first
    given = {"before_json": told[0], "after_json": told[1]}
    assert told_by(PROGRAMS[2], "bool((changed.change == 0).all())", **given)


def test_the_investigation_is_what_the_demo_says() -> None:
    commands = re.findall(r"```\nphasetop ((?:report|diff) demo:.*)\n```", PAGE)
    answers = re.findall(r"```\n((?:\*|  ).*?)```", PAGE, re.DOTALL)
    assert (len(commands), len(answers)) == (2, 3)
    told = _words(phasetop(*commands[0].split()).stdout)
    for line in (*answers[0].splitlines()[2:], *answers[1].splitlines()[1:]):
        assert _words(line) in told
    changed = _words(phasetop(*commands[1].split()).stdout)
    for line in answers[2].splitlines():
        assert _words(line) in changed


def _words(text: str) -> str:
    return " ".join(text.split())
