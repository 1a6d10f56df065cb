"""What a user installs and reads first must be true: pins, licence, README and CI say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dashboard import __version__
from dashboard.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pinned() -> list[str]:
    return [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def test_constraints_are_exact_versions_and_name_no_host() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in pinned())


def test_every_declared_dependency_is_pinned_once() -> None:
    project = PYPROJECT["project"]
    declared = [
        *project["dependencies"],
        *(one for extra in ("test", "lint") for one in project["optional-dependencies"][extra]),
    ]
    pins = [canonical(line) for line in pinned()]
    assert len(pins) == len(set(pins))
    assert {canonical(one) for one in declared} <= set(pins)


def test_no_other_lock_file_stands_beside_the_constraints() -> None:
    assert not (ROOT / "uv.lock").exists()


def test_the_wheel_holds_the_three_packages_and_the_documented_configuration() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["collectors", "exporters", "dashboard"]
    assert wheel["force-include"] == {"config.toml": "dashboard/config.toml"}
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_ci_ends_with_the_readmes_own_test_command() -> None:
    command = CI.rstrip().splitlines()[-1]
    assert command.endswith("pytest -q")
    assert f"\n{command}\n" in README


def test_ci_tries_every_command_in_the_wheel() -> None:
    assert f"for command in {' '.join(COMMANDS)}; do" in CI


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_shows_every_command(command: str) -> None:
    assert f"phasetop {command}" in README


def test_the_readme_links_only_to_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_changelog_stands_at_unreleased_above_this_version() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
