from __future__ import annotations

from pathlib import Path

import pytest

from collectors.cgroup import CpuCount, cpu_count, find_limits, memory_used, pressure_file
from tests.live_support import plant

V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_a_container_of_cgroup_v2_is_limited_by_its_own_root(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": "2000\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 5000000\nuser_usec 1\nnr_periods 40\nnr_throttled 10\n",
            "sys/fs/cgroup/memory.current": "900\n",
            "sys/fs/cgroup/memory.stat": "anon 500\ninactive_file 300\n",
            "sys/fs/cgroup/cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        },
    )
    group = find_limits(root)
    assert group is not None
    assert (group.version, group.cores, group.memory_limit) == (2, 1.5, 2000)
    assert cpu_count(group) == CpuCount(5.0, 40, 10)
    assert memory_used(group) == 600
    assert pressure_file(group, "cpu") == f"{root}/sys/fs/cgroup/cpu.pressure"
    assert pressure_file(group, "io") is None


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods.slice/pod1.slice/cri-containerd-a.scope\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/kubepods.slice/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kubepods.slice/pod1.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/kubepods.slice/pod1.slice/cri-containerd-a.scope/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/kubepods.slice/pod1.slice/cri-containerd-a.scope/memory.max": "max\n",
        },
    )
    group = find_limits(root)
    assert group is not None
    assert group.cores == 2.0
    assert group.cpu == f"{root}/sys/fs/cgroup/kubepods.slice/pod1.slice"
    assert (group.memory, group.memory_limit) == (None, None)


@pytest.mark.parametrize("namespace", ["host path", "own namespace"])
def test_a_container_of_cgroup_v1_finds_its_group_at_the_mounts_root(tmp_path: Path, namespace: str) -> None:
    path = "/docker/0123" if namespace == "host path" else "/"
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": f"4:memory:{path}\n3:cpu,cpuacct:{path}\n0::/\n",
            "proc/self/mountinfo": V1_MOUNTS.format(root=path),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_periods 8\nnr_throttled 2\nthrottled_time 99\n",
            "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "3000000000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "2048\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 48\n",
        },
    )
    group = find_limits(root)
    assert group is not None
    assert (group.version, group.cores, group.memory_limit) == (1, 0.5, 4096)
    assert cpu_count(group) == CpuCount(3.0, 8, 2)
    assert memory_used(group) == 2000
    assert pressure_file(group, "cpu") is None


def test_a_machine_without_limits_has_none(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/process/a\n3:cpu,cpuacct:/\n0::/\n",
            "proc/self/mountinfo": V1_MOUNTS.format(root="/") + V2_MOUNT,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/process/a/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert find_limits(root) is None


@pytest.mark.parametrize(
    ("path", "limited"),
    [
        ("/system.slice/phasetop.service", False),
        ("/user.slice/user-1000.slice/session-2.scope", False),
        ("/system.slice/docker-0123.scope", True),
        ("/machine.slice/libpod-0123.scope", True),
    ],
)
def test_limits_of_a_systemd_unit_are_not_the_machines_but_a_containers_are(
    tmp_path: Path, path: str, limited: bool
) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": f"0::{path}\n",
            "proc/self/mountinfo": V2_MOUNT,
            f"sys/fs/cgroup{path}/cpu.max": "10000 100000\n",
        },
    )
    assert (find_limits(root) is not None) is limited


def test_nothing_readable_is_no_limit(tmp_path: Path) -> None:
    assert find_limits(str(tmp_path)) is None
