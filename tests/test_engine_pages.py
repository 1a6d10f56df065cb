"""What is read from recorded pages of engines, against readings kept here.

Run as a module it writes the readings anew, for a person to compare with the pages:

    PHASETOP_TEST_DATA=... python -m tests.test_engine_pages
"""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.engine.reading import EngineSnapshot, engine_reading, new_memo, snapshots
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.engine.strangers import described
from collectors.histogram import Histogram
from collectors.readings import EngineReading

ROOT = os.environ.get("PHASETOP_TEST_DATA")
GOLDENS = Path(__file__).parent / "goldens" / "engine_pages.json"
_URL = "http://127.0.0.1:8000/metrics"
_LEFT_OUT = ("endpoint", "state", "window_seconds", "age_seconds", "cpu_seconds", "gpus")


def served(body: str) -> str:
    """A page's text as the program gets it, over HTTP."""
    answer = httpx.MockTransport(lambda request: httpx.Response(200, stream=httpx.ByteStream(body.encode())))
    return Fetcher(_URL, transport=answer).fetch().text


def since_start(snapshot: EngineSnapshot) -> EngineReading:
    """The reading of all that the page counts since its engine started."""
    nothing = replace(snapshot, values=dict.fromkeys(snapshot.values, 0.0), arrived=snapshot.arrived - 1)
    return engine_reading(nothing, snapshot, end=snapshot.arrived)


def summary(reading: EngineReading) -> dict[str, Any]:
    """The fields that are there; of a histogram its count and sum. Numbers to six digits."""
    found: dict[str, Any] = {}
    for entry in fields(reading):
        value = getattr(reading, entry.name)
        if value is None or entry.name in _LEFT_OUT:
            continue
        if isinstance(value, Histogram):
            value = {"count": value.count, "sum": float(f"{value.sum:.6g}")}
        found[entry.name] = float(f"{value:.6g}") if isinstance(value, float) else value
    return found


def read(body: str) -> list[dict[str, Any]] | str:
    """The engines of a page, or why there are none."""
    try:
        text = served(body)
    except PageProblem as problem:
        return problem.reason
    found = snapshots(_URL, text, 1.0, new_memo())
    return [summary(since_start(snapshot)) for snapshot in found] or described(text)


def page_of(path: Path) -> str:
    """A recorded page without the line that says where it comes from."""
    text = path.read_text(encoding="utf-8")
    return text.partition("\n")[2] if path.suffix == ".prom" else text


def recorded() -> list[Path]:
    return sorted(path for path in Path(ROOT, "expositions").iterdir() if path.is_file()) if ROOT else []


@pytest.mark.skipif(not ROOT, reason="PHASETOP_TEST_DATA is not set: no recorded pages here")
def test_every_recorded_page_reads_as_it_did_or_is_refused_with_its_name() -> None:
    goldens = json.loads(GOLDENS.read_text())
    found = {path.name: read(page_of(path)) for path in recorded() if path.name in goldens}
    assert found == {name: goldens[name] for name in found}
    assert len(found) >= 40


if __name__ == "__main__":
    GOLDENS.write_text(json.dumps({path.name: read(page_of(path)) for path in recorded()}, indent=1) + "\n")
