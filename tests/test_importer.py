from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from collectors.importer import ImportFailed, import_intervals
from tests.gpu_pages import dcgm_page
from tests.making import SECOND, vllm_page


def saved(path: Path, lines: Iterable[dict[str, Any] | str], *, compress: bool = False) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    return path


def page(t: float, **fields: Any) -> dict[str, Any]:
    return {"t": t, "dur": 0.01, "text": vllm_page(**fields), "url": "http://one:8000/metrics"}


def test_the_last_page_before_an_edge_closes_the_interval(tmp_path: Path) -> None:
    pages = [page(100.1, prompt=0), page(100.9, prompt=50), page(101.2, prompt=60), page(101.8, prompt=80)]
    first, second = import_intervals([saved(tmp_path / "a.jsonl", pages)])
    assert (first.start, first.end) == (100 * SECOND, 101 * SECOND)
    (reading,) = second.engines.values()
    assert reading.prompt_tokens_computed == 30
    assert reading.window_seconds == pytest.approx(0.9)


def test_a_page_counts_when_it_has_arrived_and_not_when_it_was_asked_for(tmp_path: Path) -> None:
    slow = page(100.9, prompt=99) | {"dur": 0.5}
    made = list(import_intervals([saved(tmp_path / "a.jsonl", [page(100.1), slow])]))
    assert [interval.start // SECOND for interval in made] == [100, 101]
    assert next(iter(made[1].engines.values())).prompt_tokens_computed == 99


def test_what_an_engine_counts_after_a_page_that_was_empty_at_first_counts_from_nothing(tmp_path: Path) -> None:
    texts = {100.5: "", 101.5: "", 102.5: "tgi_request_input_length_sum 700\n"}
    lines = [{"t": t, "text": text, "url": "http://one/metrics"} for t, text in texts.items()]
    *_, last = import_intervals([saved(tmp_path / "a.jsonl", lines)])
    (reading,) = last.engines.values()
    assert (reading.engine, reading.prompt_tokens, reading.window_seconds) == ("tgi", 700.0, 1.0)


def test_compressed_files_and_plain_ones_are_merged_by_time(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.jsonl.gz", [page(100.5), page(102.5, prompt=7)], compress=True)
    other = saved(tmp_path / "b.jsonl", [page(t) | {"url": "http://two:8000/metrics"} for t in (100.6, 101.6, 102.6)])
    made = list(import_intervals([one, other]))
    assert len(made) == 3
    assert {key[0] for key in made[2].engines} == {"http://one:8000/metrics", "http://two:8000/metrics"}


def test_an_interval_without_a_page_is_marked_and_says_why(tmp_path: Path) -> None:
    failed = {"t": 101.5, "error": "connection refused"}
    lines = [page(100.5) | {"url": "x"}, failed | {"url": "x"}, page(102.5) | {"url": "x"}]
    made = list(import_intervals([saved(tmp_path / "a.jsonl", lines)]))
    (reading,) = made[1].engines.values()
    assert reading.state == "down"
    assert reading.prompt_tokens is None
    assert made[1].gaps[0].reason == "connection refused"
    assert next(iter(made[2].engines.values())).state == "ok"


def test_an_engine_that_ended_is_compared_with_nothing_when_it_is_back(tmp_path: Path) -> None:
    refused = {
        "t": 101.5,
        "url": "http://one:8000/metrics",
        "error": "ConnectionRefusedError(111, 'Connection refused')",
    }
    back = [page(102.5, prompt=900), page(103.5, prompt=950)]
    pages = [page(99.5), page(100.5, prompt=20), refused, *back]
    states = [next(iter(one.engines.values())) for one in import_intervals([saved(tmp_path / "a.jsonl", pages)])]
    assert [one.state for one in states] == ["ok", "ok", "down", "ok", "ok"]
    assert [one.prompt_tokens_computed for one in states] == [None, 20, None, None, 50]
    late = {"t": 101.5, "url": "http://one:8000/metrics", "error": "timed out"}
    pages = [page(99.5), page(100.5, prompt=20), late, *back]
    states = [next(iter(one.engines.values())) for one in import_intervals([saved(tmp_path / "b.jsonl", pages)])]
    assert [one.prompt_tokens_computed for one in states] == [None, 20, None, 880, 50]


def test_a_damaged_line_is_told_with_its_place_and_costs_nothing_else(tmp_path: Path) -> None:
    told: list[str] = []
    path = saved(tmp_path / "a.jsonl", [page(100.5), "{broken", '["list"]', page(101.5, prompt=5)])
    made = list(import_intervals([path], warn=told.append))
    assert len(made) == 2
    assert [message.split(": ")[0] for message in told] == [f"{path}:2", f"{path}:3"]


def test_a_long_pause_begins_a_new_run_without_filling_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jsonl", [page(100.5, prompt=1), page(100_000.5, prompt=900)])
    made = list(import_intervals([path]))
    assert len(made) == 2
    assert [interval.sequence for interval in made] == [1, 2]
    assert next(iter(made[1].engines.values())).prompt_tokens is None


def test_a_file_without_any_engine_page_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jsonl", [{"t": 1.0, "text": "up 1"}])
    with pytest.raises(ImportFailed, match="no page of a known engine"):
        list(import_intervals([path]))


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="nowhere"):
        list(import_intervals([tmp_path / "nowhere.jsonl"]))


def test_a_truncated_gzip_file_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.gz", [page(100.0 + i / 4, prompt=i) for i in range(200)], compress=True)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImportFailed, match="cannot be read"):
        list(import_intervals([path]))


@pytest.mark.parametrize("length", [0.25, 0.5, 2.0])
def test_intervals_are_whole_and_aligned_to_the_wall_clock(tmp_path: Path, length: float) -> None:
    path = saved(tmp_path / "a.jsonl", [page(100.1 + i / 4, prompt=i) for i in range(40)])
    made = list(import_intervals([path], interval=length))
    for earlier, later in itertools.pairwise(made):
        assert later.start == earlier.end
    assert all(interval.start % round(length * SECOND) == 0 for interval in made)


def test_pages_of_a_gpu_exporter_become_the_gpus_of_the_intervals(tmp_path: Path) -> None:
    gpu_pages = [
        {"t": 100.2 + second, "url": "http://one:9400/metrics", "text": dcgm_page(DEV_POWER_USAGE=200.0 + second)}
        for second in range(4)
    ]
    path = saved(tmp_path / "a.jsonl", [page(100.5 + second, prompt=second) for second in range(4)])
    gpus = saved(tmp_path / "b.jsonl", gpu_pages)
    made = list(import_intervals([path, gpus]))
    (gpu,) = made[-1].gpus.values()
    assert (gpu.source, gpu.state, gpu.power_watts, gpu.dram_active_ratio) == ("dcgm", "ok", 203.0, 0.75)
    assert gpu.activity_window_seconds == pytest.approx(1.0)
    assert next(iter(made[-1].engines.values())).gpus == (gpu.uuid,)


def test_pages_of_a_gpu_exporter_alone_can_be_imported(tmp_path: Path) -> None:
    pages = [{"t": 100.5, "text": dcgm_page()}, {"t": 102.5, "text": dcgm_page()}]
    first, between, last = import_intervals([saved(tmp_path / "a.jsonl", pages)])
    assert [next(iter(one.gpus.values())).state for one in (first, between, last)] == ["ok", "stale", "ok"]
    assert [gap.reason for gap in between.gaps] == ["no page arrived in this interval"]
