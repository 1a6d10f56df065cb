from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import FakeClock
from collectors.cores import cpu_numbers
from collectors.host import Host
from collectors.readings import HostReading, field_specs
from tests.live_support import CpuTimes, FakeSystem, plant

PRESSURE = "some avg10=1.00 avg60=1.00 avg300=1.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"


def a_host(root: Path, system: FakeSystem, clock: FakeClock, cpus: tuple[int, ...] = (0, 1)) -> Host:
    return Host(clock, system=system, root=str(root), cpus=lambda: cpus, name="node")


def plant_pressure(root: Path, some: int) -> None:
    for resource in ("cpu", "memory", "io"):
        plant(root, {f"proc/pressure/{resource}": PRESSURE.format(some=some, full=some)})


def test_the_first_sample_has_gauges_and_no_amounts(tmp_path: Path) -> None:
    reading = a_host(tmp_path, FakeSystem(), FakeClock()).sample()
    assert reading.memory_used_bytes == 60.0
    assert (reading.swap_used_bytes, reading.swap_total_bytes) == (7.0, 70.0)
    assert reading.load_1m == 0.5
    assert reading.window_seconds is None
    assert reading.cpu_ratio is None
    assert reading.network_receive_bytes is None


def test_cpu_time_is_shared_out_over_what_was_not_idle(tmp_path: Path) -> None:
    system, clock = FakeSystem(), FakeClock()
    host = a_host(tmp_path, system, clock)
    host.sample()
    clock.advance(10.0)
    # guest time lies within user time and must not count twice
    system.cpu = [CpuTimes(4, 0, 1, 3, 1, 0, 0, 1, 4, 0), CpuTimes(0, 0, 0, 10, 0, 0, 0, 0, 0, 0)]
    reading = host.sample()
    assert reading.window_seconds == 10.0
    assert reading.cpu_ratio == pytest.approx(6 / 20)
    assert reading.cpu_iowait_ratio == pytest.approx(1 / 20)
    assert reading.cpu_steal_ratio == pytest.approx(1 / 20)


def test_only_the_cpus_this_process_may_use_count(tmp_path: Path) -> None:
    system, clock = FakeSystem(), FakeClock()
    host = a_host(tmp_path, system, clock, cpus=(0,))
    host.sample()
    clock.advance(1.0)
    system.cpu[0] = CpuTimes(1, *[0] * 9)
    system.cpu[1] = CpuTimes(0, 0, 0, 1, *[0] * 6)
    assert host.sample().cpu_ratio == pytest.approx(1.0)
    assert host.sample().cpu_cores == 1.0


def test_pressure_is_what_was_waited_within_the_interval(tmp_path: Path) -> None:
    clock = FakeClock()
    plant_pressure(tmp_path, 1_000_000)
    host = a_host(tmp_path, FakeSystem(), clock)
    host.sample()
    clock.advance(2.0)
    plant_pressure(tmp_path, 1_500_000)
    reading = host.sample()
    assert reading.cpu_pressure_ratio == pytest.approx(0.25)
    assert reading.memory_pressure_ratio == pytest.approx(0.25)
    assert reading.io_pressure_ratio == pytest.approx(0.25)
    assert reading.memory_pressure_full_ratio == pytest.approx(0.25)
    assert reading.io_pressure_full_ratio == pytest.approx(0.25)
    assert reading.cpu_pressure_full_ratio is None, "of a whole machine the kernel writes 0 there"


def test_each_cpu_has_its_own_ratio_by_its_number(tmp_path: Path) -> None:
    clock = FakeClock()
    plant(tmp_path, {"proc/stat": "cpu 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu2 10 0 0 90 0 0 0 0 0 0\nintr 1\n"})
    host = a_host(tmp_path, FakeSystem(), clock)
    assert host.sample().cpu_core_ratios is None
    clock.advance(1.0)
    # guest time (the last two) lies within user time; waiting for a disk is idle
    plant(tmp_path, {"proc/stat": "cpu 0 0 0 0\ncpu0 20 5 0 70 5 0 0 0 20 0\ncpu2 110 0 0 90 0 0 0 0 0 0\nintr 1\n"})
    assert host.sample().cpu_core_ratios == (pytest.approx(0.25), None, pytest.approx(1.0))


def test_the_numa_nodes_with_cpus_are_told_and_those_of_memory_alone_are_not(tmp_path: Path) -> None:
    node = "sys/devices/system/node"
    plant(
        tmp_path, {f"{node}/node0/cpulist": "0-1,4\n", f"{node}/node10/cpulist": "\n", f"{node}/node2/cpulist": "2-3\n"}
    )
    assert a_host(tmp_path, FakeSystem(), FakeClock()).sample().numa_cpus == ("0-1,4", "2-3")


@given(st.lists(st.integers(0, 300), unique=True, min_size=1))
def test_a_list_of_cpus_is_read_as_the_kernel_writes_it(numbers: list[int]) -> None:
    numbers.sort()
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    written = ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
    assert cpu_numbers(written) == tuple(numbers)


@pytest.mark.parametrize("wrong", ["", "a", "1-", "-1", "1-x", "0x1"])
def test_a_list_of_cpus_that_makes_no_sense_has_none(wrong: str) -> None:
    assert cpu_numbers(wrong) in ((), (1,))


def test_a_kernel_without_pressure_files_leaves_them_missing_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    plant(tmp_path, {"proc/pressure/cpu": "garbage\n"})
    host = a_host(tmp_path, FakeSystem(), clock)
    host.sample()
    clock.advance(1.0)
    reading = host.sample()
    assert reading.cpu_pressure_ratio is None
    assert reading.memory_used_bytes == 60.0


def test_inside_a_container_the_quota_is_the_truth(tmp_path: Path) -> None:
    system, clock = FakeSystem(), FakeClock()
    plant_pressure(tmp_path, 0)
    group = "sys/fs/cgroup"

    def plant_group(used: int, periods: int, throttled: int, waited: int) -> None:
        plant(
            tmp_path,
            {
                "proc/self/cgroup": "0::/\n",
                "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                f"{group}/cpu.max": "50000 100000\n",
                f"{group}/memory.max": "50\n",
                f"{group}/memory.current": "30\n",
                f"{group}/memory.stat": "inactive_file 10\n",
                f"{group}/cpu.stat": f"usage_usec {used}\nnr_periods {periods}\nnr_throttled {throttled}\n",
                f"{group}/cpu.pressure": PRESSURE.format(some=waited, full=0),
            },
        )

    plant_group(0, 0, 0, 0)
    host = a_host(tmp_path, system, clock)
    host.sample()
    clock.advance(2.0)
    plant_group(500_000, 20, 5, 1_000_000)
    system.cpu = [CpuTimes(0, 0, 0, 2, *[0] * 6)] * 2
    reading = host.sample()
    assert reading.cpu_cores == 0.5
    assert reading.cpu_ratio == pytest.approx(0.5)
    assert reading.cpu_throttled_ratio == pytest.approx(0.25)
    assert reading.cpu_pressure_ratio == pytest.approx(0.5)
    assert reading.cpu_pressure_full_ratio == 0.0
    assert (reading.cpu_quota_cores, reading.memory_limit_bytes) == (0.5, 50.0)
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (20.0, 50.0)


def test_a_group_that_did_not_run_was_not_throttled(tmp_path: Path) -> None:
    clock = FakeClock()
    plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 1\nnr_periods 9\nnr_throttled 3\n",
        },
    )
    host = a_host(tmp_path, FakeSystem(), clock)
    host.sample()
    clock.advance(1.0)
    assert host.sample().cpu_throttled_ratio == 0.0


def test_disks_are_counted_once_and_not_again_as_partitions_or_volumes(tmp_path: Path) -> None:
    system, clock = FakeSystem(), FakeClock()
    plant(tmp_path, {"sys/block/sda/device/model": "x", "sys/block/dm-0/size": "1"})
    system.disks = {name: SimpleNamespace(read_bytes=0, write_bytes=0) for name in ("sda", "sda1", "dm-0")}
    host = a_host(tmp_path, system, clock)
    host.sample()
    clock.advance(1.0)
    system.disks = {name: SimpleNamespace(read_bytes=100, write_bytes=50) for name in ("sda", "sda1", "dm-0")}
    reading = host.sample()
    assert (reading.disk_read_bytes, reading.disk_write_bytes) == (100.0, 50.0)


def test_a_machine_without_disks_or_interfaces_has_them_missing_and_not_zero(tmp_path: Path) -> None:
    clock = FakeClock()
    host = a_host(tmp_path, FakeSystem(), clock)
    host.sample()
    clock.advance(1.0)
    reading = host.sample()
    assert reading.disk_read_bytes is None
    assert reading.network_receive_bytes is None
    assert reading.rdma_receive_bytes is None


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("cpu_times", "cpu_ratio"),
        ("virtual_memory", "memory_used_bytes"),
        ("swap_memory", "swap_used_bytes"),
        ("net_io_counters", "network_receive_bytes"),
        ("disk_io_counters", "disk_read_bytes"),
        ("getloadavg", "load_1m"),
    ],
)
def test_what_cannot_be_read_is_missing_alone(tmp_path: Path, method: str, missing: str) -> None:
    class Broken(FakeSystem):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not for you")

    setattr(Broken, method, refuse)
    clock = FakeClock()
    host = a_host(tmp_path, Broken(), clock)
    host.sample()
    clock.advance(1.0)
    reading = host.sample()
    assert getattr(reading, missing) is None
    assert reading.window_seconds == 1.0
    assert reading.cpu_cores == 2.0


CPU_TIMES = st.lists(st.floats(0, 1e9), min_size=10, max_size=10).map(lambda values: CpuTimes(*values))


@given(CPU_TIMES, CPU_TIMES)
def test_every_ratio_lies_between_0_and_1_whatever_the_kernel_counts(before: CpuTimes, now: CpuTimes) -> None:
    system, clock = FakeSystem(), FakeClock()
    host = Host(clock, system=system, root="/nowhere", cpus=lambda: (0, 1), name="node")
    system.cpu = [before, before]
    host.sample()
    clock.advance(1.0)
    system.cpu = [now, now]
    reading = host.sample()
    for spec in field_specs(HostReading):
        if spec.name.startswith("cpu_") and spec.unit == "ratio":
            value = getattr(reading, spec.name)
            assert value is None or 0.0 <= value <= 1.0


def test_this_machine_can_be_sampled() -> None:
    clock = FakeClock()
    host = Host(clock)
    host.sample()
    clock.advance(1.0)
    reading = host.sample()
    assert reading.memory_total_bytes is not None
    assert reading.memory_used_bytes is not None
    assert 0 < reading.memory_used_bytes <= reading.memory_total_bytes
    assert reading.cpu_cores is not None
    assert reading.cpu_cores > 0
