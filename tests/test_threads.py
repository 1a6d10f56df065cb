from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.threads import MOST_PROCESSES, ThreadMeter
from tests.live_support import plant

TICKS = os.sysconf("SC_CLK_TCK")


def plant_task(root: Path, path: str, name: str, seconds: float, started: int = 100) -> None:
    half = round(seconds * TICKS / 2)
    fields = ["S", "1", *["0"] * 9, str(half), str(half), *["0"] * 6, str(started), "0", "0"]
    plant(root, {f"{path}/stat": f"{path.rpartition('/')[2]} ({name}) {' '.join(fields)}\n"})


def test_the_first_look_tells_nothing(tmp_path: Path) -> None:
    plant_task(tmp_path, "7", "engine", 5.0)
    assert ThreadMeter(str(tmp_path)).busiest({7}, 0.0) == ()


def test_the_busiest_thread_of_a_process_is_named_with_its_share_of_a_core(tmp_path: Path) -> None:
    meter = ThreadMeter(str(tmp_path))
    plant_task(tmp_path, "7", "VLLM::EngineCor", 10.0)
    plant_task(tmp_path, "7/task/7", "VLLM::EngineCor", 9.0)
    plant_task(tmp_path, "7/task/8", "a) b (c", 1.0)
    meter.busiest({7}, 0.0)
    meter.busiest({7}, 1.0)  # now its threads are known
    plant_task(tmp_path, "7", "VLLM::EngineCor", 12.4)
    plant_task(tmp_path, "7/task/7", "VLLM::EngineCor", 11.0)
    plant_task(tmp_path, "7/task/8", "a) b (c", 1.4)
    (load,) = meter.busiest({7}, 3.0)
    assert (load.pid, load.name, load.thread) == (7, "VLLM::EngineCor", "VLLM::EngineCor")
    assert load.cores == pytest.approx(1.2)
    assert load.thread_ratio == pytest.approx(1.0)


def test_a_thread_that_becomes_busy_is_found_at_a_later_full_look(tmp_path: Path) -> None:
    meter = ThreadMeter(str(tmp_path))
    for tid in range(20, 40):
        plant_task(tmp_path, f"7/task/{tid}", f"old{tid}", 50.0 - tid)
    plant_task(tmp_path, "7/task/90", "late", 0.0)
    names = set()
    for second in range(30):
        plant_task(tmp_path, "7", "engine", float(second))
        plant_task(tmp_path, "7/task/90", "late", float(second))
        names |= {load.thread for load in meter.busiest({7}, float(second))}
    assert "late" in names


def test_only_the_busiest_processes_are_told_and_the_busiest_comes_first(tmp_path: Path) -> None:
    meter = ThreadMeter(str(tmp_path))
    pids = range(1, 20)
    for pid in pids:
        plant_task(tmp_path, str(pid), f"p{pid}", 0.0)
    meter.busiest(pids, 0.0)
    for pid in pids:
        plant_task(tmp_path, str(pid), f"p{pid}", pid / 10)
    loads = meter.busiest(pids, 1.0)
    assert [load.name for load in loads] == [f"p{pid}" for pid in range(19, 19 - MOST_PROCESSES, -1)]


def test_a_process_id_used_again_does_not_bring_its_past_along(tmp_path: Path) -> None:
    meter = ThreadMeter(str(tmp_path))
    plant_task(tmp_path, "7", "old", 0.0)
    meter.busiest({7}, 0.0)
    plant_task(tmp_path, "7", "new", 50.0, started=900)
    assert meter.busiest({7}, 1.0) == ()


def test_a_process_that_ends_in_between_is_left_out(tmp_path: Path) -> None:
    meter = ThreadMeter(str(tmp_path))
    plant_task(tmp_path, "7", "a", 0.0)
    meter.busiest({7, 8}, 0.0)
    (tmp_path / "7" / "stat").unlink()
    assert meter.busiest({7, 8}, 1.0) == ()
    assert meter.busiest({7, 8}, 1.0) == (), "no time has passed"


def test_this_process_and_its_threads_are_seen() -> None:
    meter = ThreadMeter()
    meter.busiest({os.getpid()}, 0.0)
    (load,) = meter.busiest({os.getpid()}, 1.0)
    assert load.pid == os.getpid()
    assert load.cores >= 0.0
