from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collectors.processes import CpuMeter, Process, ProcessTable, ancestors, descendants, read_process, sockets_of
from tests.live_support import plant, plant_process, plant_socket


def test_a_process_is_read_whatever_its_name_holds(tmp_path: Path) -> None:
    plant_process(tmp_path, 7, ["/usr/bin/x", "--port", "1"], parent=3)
    assert read_process(str(tmp_path), 7) == Process(7, 3, ("/usr/bin/x", "--port", "1"))


def test_a_program_that_renamed_itself_leaves_one_argument(tmp_path: Path) -> None:
    plant_process(tmp_path, 7, ["VLLM::EngineCore", "", "", ""])
    process = read_process(str(tmp_path), 7)
    assert process is not None
    assert process.arguments == ("VLLM::EngineCore",)


def test_kernel_threads_and_processes_that_are_gone_are_none(tmp_path: Path) -> None:
    plant(tmp_path, {"2/cmdline": "", "2/stat": "2 (kthreadd) S 0"})
    assert read_process(str(tmp_path), 2) is None
    assert read_process(str(tmp_path), 3) is None


def test_a_process_between_fork_and_exec_is_looked_at_again(tmp_path: Path) -> None:
    table = ProcessTable(str(tmp_path))
    plant_process(tmp_path, 9, ["bash", "run.sh"])
    table.refresh()
    plant_process(tmp_path, 9, ["llama-server"])
    assert table.refresh()[9].arguments == ("llama-server",)


def test_a_program_that_renames_itself_late_is_noticed_in_time(tmp_path: Path) -> None:
    table = ProcessTable(str(tmp_path))
    plant_process(tmp_path, 9, ["bash"])
    for _ in range(5):
        table.refresh()
    plant_process(tmp_path, 9, ["vllm"])
    for _ in range(24):
        processes = table.refresh()
    assert processes[9].arguments == ("vllm",)


def test_a_process_that_ended_is_forgotten(tmp_path: Path) -> None:
    table = ProcessTable(str(tmp_path))
    plant_process(tmp_path, 9, ["a"])
    assert 9 in table.refresh()
    for name in ("cmdline", "stat"):
        (tmp_path / "9" / name).unlink()
    (tmp_path / "9").rmdir()
    assert 9 not in table.refresh()


def test_descendants_are_all_generations_and_the_root() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}
    processes = {pid: Process(pid, parent, ("x",)) for pid, parent in parents.items()}
    assert descendants(processes, 10) == {10, 11, 12}


def test_ancestors_are_all_that_are_known_and_not_the_process_itself() -> None:
    processes = {pid: Process(pid, parent, ("x",)) for pid, parent in {10: 1, 11: 10, 12: 11, 20: 21, 21: 20}.items()}
    assert ancestors(processes, 12) == {11, 10, 1}
    assert ancestors(processes, 20) == {21}
    assert ancestors(processes, 99) == frozenset()


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 30)), st.integers(1, 30))
def test_descendants_and_ancestors_end_even_where_parents_form_a_circle(parents: dict[int, int], root: int) -> None:
    processes = {pid: Process(pid, parent, ("x",)) for pid, parent in parents.items()}
    found = descendants(processes, root)
    assert root in found
    assert found <= {root, *parents}
    assert root not in ancestors(processes, root)


def test_cpu_time_is_what_the_processes_used_between_two_looks(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    meter = CpuMeter(str(tmp_path))
    plant_process(tmp_path, 1, ["a"], ticks=5 * ticks)
    plant_process(tmp_path, 2, ["b"], ticks=7 * ticks)
    assert meter.seconds({1, 2, 3}) is None
    plant_process(tmp_path, 1, ["a"], ticks=6 * ticks)
    plant_process(tmp_path, 2, ["b"], ticks=7 * ticks)
    assert meter.seconds({1, 2, 3}) == 1.0


def test_a_process_id_used_again_does_not_bring_its_past_along(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    meter = CpuMeter(str(tmp_path))
    plant_process(tmp_path, 1, ["a"], ticks=0, started=100)
    meter.seconds({1})
    plant_process(tmp_path, 1, ["b"], ticks=50 * ticks, started=900)
    assert meter.seconds({1}) is None


def test_a_process_that_ends_takes_nothing_back(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    meter = CpuMeter(str(tmp_path))
    plant_process(tmp_path, 1, ["a"], ticks=0)
    plant_process(tmp_path, 2, ["b"], ticks=100 * ticks)
    meter.seconds({1, 2})
    plant_process(tmp_path, 1, ["a"], ticks=2 * ticks)
    (tmp_path / "2" / "stat").unlink()
    assert meter.seconds({1, 2}) == 2.0


def test_sockets_are_those_of_all_the_processes_that_may_be_looked_into(tmp_path: Path) -> None:
    plant_socket(tmp_path, 5, 1234)
    plant_socket(tmp_path, 6, 99)
    (tmp_path / "6" / "fd" / "4").symlink_to("/dev/null")
    assert sockets_of(str(tmp_path), (5, 6, 7)) == {1234, 99}
    assert sockets_of(str(tmp_path), (7,)) is None


def test_a_real_child_and_its_socket_are_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        child = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(listening.fileno(),),
        )
        try:
            assert child.stdout is not None
            child.stdout.readline()  # before that its command line may not be there yet
            assert child.pid in descendants(ProcessTable().refresh(), os.getpid())
            inode = os.fstat(listening.fileno()).st_ino
            assert inode in (sockets_of("/proc", (child.pid,)) or ())
        finally:
            child.communicate(b"\n", timeout=30)
