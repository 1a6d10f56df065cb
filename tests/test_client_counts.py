"""A recording compared with what the engine's client wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.captures import score_recorded
from benchmarks.client_counts import client_of, recorded_of, report
from tests.making import SECOND, intervals, reading, ttft
from tests.recording_support import recording_file, ticks

START = 1_700_000_000.0
ENDLESS = float("inf")


def request(sent: float, first: float, prompt: int, cached: int, generated: int) -> dict[str, Any]:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    chunks = [round((first - sent) * 1e3) + 50 * index for index in range(generated)]
    return {"t_send": sent, "t_first": first, "t_end": first + 1, "usage": usage, "chunk_ms": chunks}


def compared(tmp_path: Path, *, recorded_tokens: float) -> dict[str, Any]:
    requests = [request(START + 0.5 + 0.01 * i, START + 0.8 + 0.01 * i, 100, 30, 5) for i in range(30)]
    log = tmp_path / "log.jsonl"
    lines = [{"phase": "mixed", "requests": requests[:20]}, *requests[20:], {"t_send": START + 1, "error": "refused"}]
    log.write_text("\n".join(json.dumps(line) for line in lines))
    landed = reading(
        prompt_tokens=3000.0,
        prompt_tokens_cached=900.0,
        prompt_tokens_computed=2100.0,
        generation_tokens=recorded_tokens,
        first_tokens=30.0,
        ttft=ttft(30, 0.3),
    )
    made = intervals([reading(prompt_tokens=None), landed, reading()], first=0)
    path = recording_file(tmp_path / "phasetop-20231114T000000Z.db", ticks(made))
    client = client_of([log], 0.0, ENDLESS)
    assert client.without_usage == 1
    assert made[0].start == round(START) * SECOND
    ((name, recorded),) = recorded_of(path, None, 0.0, ENDLESS).items()
    return report(name, client, recorded)


def test_counts_that_agree_and_counts_that_do_not_are_told_apart(tmp_path: Path) -> None:
    counts = compared(tmp_path, recorded_tokens=149.0)["counts"]
    assert counts["prompt_tokens"] == {"recorded": 3000.0, "client": 3000, "missing": 1}
    assert (counts["prompt_tokens_cached"]["client"], counts["prompt_tokens_computed"]["client"]) == (900, 2100)
    assert counts["generation_tokens"] == {"recorded": 149.0, "client": 150, "missing": 0}
    assert "requests_finished" not in counts  # no interval had it


def test_quantiles_are_compared_in_buckets_over_everything_and_by_the_minute(tmp_path: Path) -> None:
    rows = compared(tmp_path, recorded_tokens=150.0)["quantiles"]
    assert {(row["name"], row["over"]) for row in rows} == {("ttft", "all"), ("ttft", "minute 0")}
    assert all(row["apart"] == 0 and row["observations"] == 30 for row in rows)
    assert all(abs(row["client"] - 0.3) < 1e-6 for row in rows)


def test_requests_outside_the_time_asked_for_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(request(START + i, START + i + 1, 10, 0, 1)) for i in range(5)))
    assert client_of([log], START + 1, START + 3).sums["requests"] == 2


def test_labels_of_a_recording_are_scored_where_the_phase_is_known(tmp_path: Path) -> None:
    made = intervals([reading(prompt_tokens_computed=2000.0) for _ in range(6)], first=0)
    path = recording_file(tmp_path / "phasetop-20231114T000000Z.db", ticks(made))
    truth = {"phase": "prefill", "t0": START, "t_stop_issuing": START + 5.0, "t1": START + 6.0, "requests": []}
    (tmp_path / "truth.jsonl").write_text(json.dumps(truth))
    found = score_recorded(path, tmp_path)
    assert found.intervals == 4  # the first second of a phase and what is after it are left out
    assert sum(found.settled["prefill"].values()) == 4
    assert score_recorded(path, tmp_path, endpoint="http://other").intervals == 0
