"""`config.toml` is documentation in force: it must say what the code does, key by key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dashboard.config import Config, load
from dashboard.config_schema import KINDS

FILE = Path(__file__).parent.parent / "config.toml"
TEXT = FILE.read_text()


def comment_above(key: str) -> str:
    """The comment that stands over a key, or over the group of keys it belongs to."""
    section, _, name = key.partition(".")
    lines = TEXT.splitlines()
    try:
        at = lines.index(f"[{key}]")
        block = lines[at + 1 :]
        return "\n".join(block[: next((n for n, line in enumerate(block) if not line.startswith("#")), len(block))])
    except ValueError:
        start = lines.index(f"[{section}]")
    at = next(n for n in range(start, len(lines)) if re.match(rf"{name}\s*=", lines[n]))
    while not lines[at - 1].startswith("#"):
        at -= 1
    first = at
    while lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first:at])


def test_it_holds_every_default() -> None:
    assert load(environment={}, files=(), config_file=FILE).config == Config()


def test_it_holds_every_key_and_no_other() -> None:
    document = tomllib.loads(TEXT)
    assert [f"{section}.{key}" for section, table in document.items() for key in table] == list(KINDS)


@pytest.mark.parametrize("key", KINDS)
def test_the_comment_over_each_key_says_what_is_accepted_and_why(key: str) -> None:
    comment = comment_above(key).replace("\n# ", " ")
    assert KINDS[key].allowed in comment
    assert len(comment) > len(KINDS[key].allowed) + 40
