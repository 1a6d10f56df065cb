"""Local time that is the same wherever tests run. Importing `utc` is enough: it is used by every test of the module."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

__all__ = ["utc"]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
