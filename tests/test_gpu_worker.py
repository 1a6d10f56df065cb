"""The whole way: a real child process, the real pynvml, the stand-in library, faults switched while it runs."""

from __future__ import annotations

import ctypes.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.gpu.process import process_state
from collectors.gpu.sample import GpuSample
from collectors.gpu.supervisor import Deadlines
from collectors.gpu.worker import GpuSource
from collectors.readings import GpuReading
from tests.nvml_stub.build import Stub
from tests.nvml_stub.support import stub_or_skip
from tests.patience import PATIENCE, until

ROOT = Path(__file__).resolve().parents[1]
PATIENT = Deadlines(start=60.0, restart=60.0, hang=60.0, answer=60.0, first_retry=0.05, early_retry=0.2, kill=60.0)
"""Tries again soon, and takes no slow machine for a driver that hangs."""
STEADY = (
    "stage 1000000 sm=0.8 tensor=0.2 dram=0.6 occupancy=0.3 kernel=1 memory=0.7 power=500"
    " sm_mhz=1700 memory_mhz=2600 celsius=60 memory_celsius=70"
)
OLD_DRIVER_LACKS = (
    "nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlGpmSampleGet", "nvmlGpmMetricsGet", "nvmlGpmSampleFree",
    "nvmlDeviceGetTemperatureV", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMarginTemperature",
)  # fmt: skip

Start = Callable[..., GpuSource]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = stub_or_skip(tmp_path)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    return stub


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts sources, and stops them at the end."""
    sources: list[GpuSource] = []

    def begin(library: Path, deadlines: Deadlines = PATIENT, arrived: threading.Event | None = None) -> GpuSource:
        sources.append(GpuSource(library=str(library), deadlines=deadlines))
        sources[-1].start(arrived)
        return sources[-1]

    yield begin
    for source in sources:
        source.stop()


def next_sample(source: GpuSource) -> GpuSample:
    """A sample that arrives from now on, asking until one does."""
    before = source.latest()
    found: list[GpuSample] = []

    def came() -> bool:
        source.request()
        latest = source.latest()
        if latest is not None and latest is not before:
            found.append(latest)
        return bool(found)

    until(came, f"a sample (status: {source.status})")
    return found[0]


def assert_energy(reading: GpuReading, first: GpuSample, last: GpuSample) -> None:
    """500 W, from some moment of the one round to some moment of the other: a busy machine makes rounds long."""
    assert reading.energy_joules is not None
    assert 500 * (last.started - first.ended) - 0.01 <= reading.energy_joules
    assert reading.energy_joules <= 500 * (last.ended - first.started) + 0.01


def says(source: GpuSource, *texts: str) -> None:
    """Ask for samples until the status has these texts in it."""

    def said() -> bool:
        source.request()
        status = source.status or ""
        return all(text in status for text in texts)

    until(said, f"a status with {texts} in it")


def gone(pid: int) -> bool:
    return process_state(pid) in ("", "Z")


def test_eight_gpus_are_read_through_the_child(stub: Stub, start: Start) -> None:
    stub.script("gpus 8", STEADY, "process@2 4711 1000000000")
    source = start(stub.library)
    before = next_sample(source)
    sample = next_sample(source)
    assert [reading.index for reading in sample.readings] == list(range(8))
    for reading in sample.readings:
        assert reading.source == "gpm"
        assert reading.dram_active_ratio == pytest.approx(0.6)
        assert reading.window_seconds == pytest.approx(sample.taken[reading.uuid] - before.taken[reading.uuid])
        assert sample.started <= sample.taken[reading.uuid] <= sample.ended
        assert_energy(reading, before, sample)
    assert sample.processes == {4711: (sample.readings[2].uuid,)}
    assert sample.started <= sample.ended <= sample.arrived
    assert source.status is None
    assert source.driver_version == "580.65.06"


def test_samples_that_nobody_fetched_are_part_of_the_next_one(stub: Stub, start: Start) -> None:
    stub.script("gpus 1", STEADY)
    arrived = threading.Event()
    source = start(stub.library, arrived=arrived)
    first = next_sample(source)
    for _ in range(3):
        arrived.clear()
        source.request()
        assert arrived.wait(PATIENCE)
    last = source.latest()
    assert last is not None
    (reading,) = last.readings
    assert reading.window_seconds == pytest.approx(last.taken[reading.uuid] - first.taken[reading.uuid])
    assert_energy(reading, first, last)


def test_a_hanging_call_is_a_status_line_and_a_new_reader_and_then_all_is_well(stub: Stub, start: Start) -> None:
    stub.script("gpus 2", STEADY)
    source = start(stub.library, replace(PATIENT, hang=1.5))
    next_sample(source)
    first = source.reader_pid
    stub.script("gpus 2", STEADY, "hang@1 nvmlDeviceGetUtilizationRates")
    says(source, "NVML has not answered for", "restarting its reader")
    assert first is not None
    until(lambda: gone(first), "the end of the hanging reader")
    stub.script("gpus 2", STEADY)
    until(lambda: next_sample(source) is not None and source.status is None, "recovery")
    assert source.reader_pid != first


def test_stop_returns_while_nvml_hangs_and_leaves_no_process(stub: Stub, start: Start) -> None:
    stub.script("gpus 1", STEADY)
    source = start(stub.library, Deadlines())
    next_sample(source)
    pid = source.reader_pid
    stub.script("gpus 1", "hang *")
    source.request()
    until(lambda: stub.calls().get("nvmlGpmSampleGet", 0) >= 3, "a call that hangs")
    source.stop()  # would wait as long as the call does
    assert pid is not None
    until(lambda: gone(pid), "the end of the reader")


def test_stop_while_nvml_starts_forever_leaves_no_process(stub: Stub, start: Start) -> None:
    stub.script("hang nvmlInitWithFlags")
    source = start(stub.library, Deadlines())
    until(lambda: stub.calls().get("nvmlInitWithFlags", 0) == 1, "the call that hangs")
    pid = source.reader_pid
    source.stop()
    assert pid is not None
    until(lambda: gone(pid), "the end of the reader")


def test_a_crash_of_the_library_costs_the_reader_and_nothing_else(stub: Stub, start: Start) -> None:
    stub.script("gpus 2", STEADY)
    source = start(stub.library)
    next_sample(source)
    stub.script("gpus 2", STEADY, "crash nvmlDeviceGetMemoryInfo_v2")
    says(source, "SIGSEGV")
    assert source.latest() is not None
    stub.script("gpus 2", STEADY)
    assert len(next_sample(source).readings) == 2
    until(lambda: next_sample(source) is not None and source.status is None, "recovery")


def test_a_killed_reader_is_replaced(stub: Stub, start: Start) -> None:
    stub.script("gpus 1", STEADY)
    source = start(stub.library)
    next_sample(source)
    pid = source.reader_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: source.reader_pid not in (None, pid), "another reader")
    assert next_sample(source).readings[0].state == "ok"


def test_library_and_driver_of_two_versions_are_named_and_tried_again(stub: Stub, start: Start) -> None:
    stub.script("fail nvmlInitWithFlags 18")
    source = start(stub.library)
    says(source, "NVML library and loaded driver differ in version")
    stub.script("gpus 1", STEADY)
    assert len(next_sample(source).readings) == 1


def test_a_driver_that_goes_and_comes_back_is_a_status_in_between(stub: Stub, start: Start) -> None:
    stub.script("gpus 2", STEADY)
    source = start(stub.library)
    next_sample(source)
    stub.script("gpus 2", STEADY, "fail * 9")
    says(source, "the NVIDIA driver is not loaded")
    stub.script("gpus 2", "order 1 0", STEADY)
    sample = next_sample(source)
    assert {reading.index: reading.uuid[-1] for reading in sample.readings} == {0: "1", 1: "0"}
    until(lambda: next_sample(source) is not None and source.status is None, "recovery")


def test_a_gpu_that_is_gone_after_a_restart_keeps_its_row(stub: Stub, start: Start) -> None:
    stub.script("gpus 2", STEADY)
    source = start(stub.library)
    next_sample(source)
    pid = source.reader_pid
    stub.script("gpus 1", STEADY)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: source.reader_pid not in (None, pid), "another reader")
    assert [(row.index, row.state) for row in next_sample(source).readings] == [(0, "ok"), (1, "lost")]


def test_a_lost_gpu_comes_back_through_a_new_reader_where_the_old_one_never_sees_it_again(
    stub: Stub, start: Start
) -> None:
    stub.script("gpus 2", STEADY)
    source = start(stub.library, replace(PATIENT, first_renewal=0.1))
    next_sample(source)

    def states() -> list[str]:
        return [reading.state for reading in next_sample(source).readings]

    stub.script("gpus 2", STEADY, "fail@1 * 15")
    until(lambda: states() == ["ok", "lost"], "a lost GPU")
    stub.script("gpus 2", STEADY, "fail@1 nvmlDeviceGetHandleByUUID 15")
    until(lambda: states() == ["ok", "ok"], "its return")
    assert source.status is None


def test_an_old_driver_that_lacks_symbols_gives_what_it_has(tmp_path: Path, stub: Stub, start: Start) -> None:
    old = stub_or_skip(tmp_path, OLD_DRIVER_LACKS)
    old.script("gpus 1", STEADY, "field 269 3", "field 270 3", "field 271 3", "value threshold 90", "value reasons 128")
    source = start(old.library)
    next_sample(source)
    sample = next_sample(source)
    (reading,) = sample.readings
    assert reading.source == "nvml"
    assert "driver" in sample.notes[reading.uuid]
    assert reading.sm_active_ratio is None
    assert reading.temperature_celsius == 60.0
    assert reading.temperature_limit_celsius == 90.0
    assert reading.memory_used_bytes is not None
    assert (reading.throttle_power_ratio, reading.throttle_hardware_ratio) == (0.0, 1.0)


def test_error_reports_come_with_the_sample_after_them_and_once(stub: Stub, start: Start) -> None:
    stub.script("gpus 2", STEADY)
    source = start(stub.library)
    next_sample(source)
    until(lambda: stub.calls().get("nvmlDeviceRegisterEvents", 0) == 2, "registration")
    seen: list[tuple[int, str]] = []

    def reported(how_many: int) -> bool:
        seen.extend((row.index, row.xid_codes) for row in next_sample(source).readings if row.xid_codes)
        return sum(len(codes.split(",")) for _, codes in seen) >= how_many

    stub.script("gpus 2", STEADY, "xid@1 31 1", "xid@1 31 2", "xid@0 79 3")
    until(lambda: reported(3), "three reports")
    next_sample(source)
    by_gpu = {gpu: ",".join(codes for index, codes in seen if index == gpu) for gpu in (0, 1)}
    assert by_gpu == {0: "79", 1: "31,31"}


def test_a_library_without_events_reports_none_and_reads_on(tmp_path: Path, stub: Stub, start: Start) -> None:
    old = stub_or_skip(tmp_path, ("nvmlEventSetCreate", "nvmlEventSetWait_v2", "nvmlDeviceRegisterEvents"))
    old.script("gpus 1", STEADY, "xid@0 79 1")
    source = start(old.library)
    next_sample(source)
    assert next_sample(source).readings[0].xid_codes is None
    assert source.status is None


def test_a_machine_where_no_gpu_opens_says_why(stub: Stub, start: Start) -> None:
    stub.script("gpus 2", "fail nvmlDeviceGetHandleByIndex_v2 4")
    source = start(stub.library)
    next_sample(source)
    assert source.status == "no GPU could be opened: no permission to open this GPU"


def test_a_library_that_cannot_be_loaded_is_one_line_and_no_process_stays(tmp_path: Path, start: Start) -> None:
    source = start(tmp_path / "libnvidia-ml.so.1", Deadlines())
    says(source, "cannot load ")
    assert source.latest() is None
    assert source.reader_pid is None
    assert (source.status or "").isprintable()


def test_a_machine_without_the_library_says_exactly_that() -> None:
    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("this machine has an NVIDIA driver")
    source = GpuSource()
    source.start()
    until(lambda: source.status is not None, "a status")
    assert source.status == "libnvidia-ml.so.1 not found"
    assert source.reader_pid is None
    source.stop()


def test_the_reader_dies_with_its_parent_even_while_it_hangs(stub: Stub) -> None:
    stub.script("hang nvmlInitWithFlags")
    program = (
        "import sys, time\n"
        "from collectors.gpu.worker import GpuSource\n"
        "source = GpuSource(library=sys.argv[1])\n"
        "source.start()\n"
        "while source.reader_pid is None: time.sleep(0.01)\n"
        "print(source.reader_pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(stub.library)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: stub.calls().get("nvmlInitWithFlags", 0) == 1, "the call that hangs")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: gone(pid), "the end of the reader")


def test_the_parent_loads_nothing_of_nvml_and_the_child_nothing_it_can_do_without(stub: Stub) -> None:
    parent = "import sys, json, collectors.gpu.worker; print(json.dumps(sorted(sys.modules)))"
    child = (
        "import sys, json; sys.path[:0] = json.loads(sys.argv[1])\n"
        "import collectors.gpu.child, collectors.gpu.frames, collectors.gpu.reader, collectors.gpu.nvml\n"
        "collectors.gpu.nvml.load(sys.argv[2]); print(json.dumps(sorted(sys.modules)))"
    )

    def modules(*command: str) -> set[str]:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=True, text=True)
        return set(json.loads(done.stdout))

    assert not {"pynvml", "ctypes", "textual", "httpx"} & modules("-c", parent)
    paths = json.dumps([str(ROOT), *sys.path])
    heavy = {"textual", "httpx", "prometheus_client", "psutil", "typing", "dataclasses", "subprocess", "ctypes.util"}
    assert not heavy & modules("-I", "-S", "-c", child, paths, str(stub.library))


def test_starting_and_stopping_twice_or_never_is_harmless(stub: Stub) -> None:
    never = GpuSource(library=str(stub.library))
    never.request()
    assert never.latest() is None
    never.stop()
    never.start()
    assert never.reader_pid is None
    twice = GpuSource(library=str(stub.library))
    twice.start()
    twice.start()
    next_sample(twice)
    twice.stop()
    twice.stop()
    twice.request()
