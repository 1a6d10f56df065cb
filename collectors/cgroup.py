"""The limits a container runs under, from cgroup v1 and v2.

`/proc` shows the host's CPUs and memory inside a container too; what counts there is the quota.
A limit may sit on any group from this process's own up to the root, so the tightest of them is
taken. Limits of an ordinary systemd unit or login session are passed over: they bind this tool and
not the machine it looks at (its own service may well be capped).

Sources: Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{memory,cpuacct}.rst,
Documentation/scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from collectors import procfs

_UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2^63, rounded to pages."""

_CONTAINER = re.compile(r"docker|kubepods|containerd|cri-|crio|libpod|lxc|nspawn|machine\.slice|buildkit|garden|ecs")
_UNIT_TREES = ("/system.slice", "/user.slice", "/init.scope")


@dataclass(frozen=True, slots=True)
class Group:
    """The folders of the groups that limit this process, the tightest ones; None where nothing limits."""

    version: int
    cpu: str | None = None
    cores: float | None = None
    memory: str | None = None
    memory_limit: int | None = None
    usage: str | None = None
    """The file that counts the CPU time of `cpu`, in microseconds (v2: in cpu.stat) or nanoseconds (v1)."""


@dataclass(frozen=True, slots=True)
class CpuCount:
    """Running totals of one group: CPU seconds used, scheduler periods, and those it was throttled in."""

    used_seconds: float | None
    periods: int | None
    throttled: int | None


@dataclass(frozen=True, slots=True)
class _Mount:
    version: int
    root: str
    point: str
    controllers: frozenset[str] = field(default_factory=frozenset)


def find_limits(root: str = "/") -> Group | None:
    """The limits on this process, or None where it has none. `root` stands in for / in tests."""
    memberships = _memberships(root)
    mounts = list(_mounts(root))
    for mount in mounts:
        if mount.version == 2 and (group := _unified(root, mount, memberships.get("", "/"))) is not None:
            return group
    by_controller = {name: mount for mount in mounts if mount.version == 1 for name in mount.controllers}
    return _legacy(root, by_controller, memberships)


def cpu_count(group: Group) -> CpuCount:
    """The totals now. What cannot be read is None alone."""
    if group.cpu is None:
        return CpuCount(None, None, None)
    text = procfs.read(f"{group.cpu}/cpu.stat")
    rows = procfs.table(text) if text is not None else {}
    used: float | None = None
    if group.version == 2 and "usage_usec" in rows:
        used = rows["usage_usec"] / 1e6
    elif group.usage is not None and (nanoseconds := procfs.number(group.usage)) is not None:
        used = nanoseconds / 1e9
    return CpuCount(used, rows.get("nr_periods"), rows.get("nr_throttled"))


def memory_used(group: Group) -> int | None:
    """Bytes the group holds that cannot be reclaimed at once: its use less inactive file pages.

    The definition Kubernetes calls the working set.
    """
    if group.memory is None:
        return None
    current, inactive = (
        ("memory.current", "inactive_file") if group.version == 2 else ("memory.usage_in_bytes", "total_inactive_file")
    )
    used = procfs.number(f"{group.memory}/{current}")
    if used is None:
        return None
    text = procfs.read(f"{group.memory}/memory.stat")
    return max(0, used - (procfs.table(text).get(inactive, 0) if text is not None else 0))


def pressure_file(group: Group, resource: str) -> str | None:
    """The group's own PSI file for cpu, memory or io; None when the kernel keeps none for it."""
    folder = group.cpu or group.memory
    if group.version != 2 or folder is None:
        return None
    path = f"{folder}/{resource}.pressure"
    return path if procfs.read(path) else None


def _memberships(root: str) -> Mapping[str, str]:
    """Controller -> path of this process's group; "" for the unified hierarchy."""
    found: dict[str, str] = {}
    for line in (procfs.read(f"{root}/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            found[name] = path
    return found


def _mounts(root: str) -> Iterator[_Mount]:
    for line in (procfs.read(f"{root}/proc/self/mountinfo", 1 << 20) or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield _Mount(2, fields[3], fields[4])
        elif kind[0] == "cgroup":
            yield _Mount(1, fields[3], fields[4], frozenset(kind[2].split(",")))


def _unified(root: str, mount: _Mount, path: str) -> Group | None:
    folders = _chain(root, mount, path)
    cores, cpu = _tightest((_quota_v2(f"{folder}/cpu.max"), folder) for folder in folders)
    limit, memory = _tightest((_bytes(f"{folder}/memory.max"), folder) for folder in folders)
    if cpu is None and memory is None:
        return None
    return Group(2, cpu, cores, memory, None if limit is None else int(limit))


def _legacy(root: str, mounts: Mapping[str, _Mount], memberships: Mapping[str, str]) -> Group | None:
    def folders(controller: str) -> list[str]:
        mount = mounts.get(controller)
        return _chain(root, mount, memberships.get(controller, "/")) if mount is not None else []

    cores, cpu = _tightest((_quota_v1(folder), folder) for folder in folders("cpu"))
    limit, memory = _tightest((_bytes(f"{folder}/memory.limit_in_bytes"), folder) for folder in folders("memory"))
    if cpu is None and memory is None:
        return None
    accounting = folders("cpuacct")
    # The quota may sit above the group itself; its usage is then counted at the same height.
    depth = folders("cpu").index(cpu) if cpu is not None else 0
    usage = f"{accounting[depth]}/cpuacct.usage" if cpu is not None and depth < len(accounting) else None
    return Group(1, cpu, cores, memory, None if limit is None else int(limit), usage)


def _chain(root: str, mount: _Mount, path: str) -> list[str]:
    """The folders from this process's group up to the top of what is mounted, nearest first."""
    if path.startswith(_UNIT_TREES) and not _CONTAINER.search(path):
        return []
    top = mount.root.rstrip("/")
    # A container without a cgroup namespace sees its path on the host, and its own group as the mount's root.
    inside = path[len(top) :] if top and (path == top or path.startswith(f"{top}/")) else path
    parts = [part for part in inside.split("/") if part and part != ".."]
    base = f"{root.rstrip('/')}{mount.point}"
    return ["/".join([base, *parts[:depth]]) for depth in range(len(parts), -1, -1)]


def _tightest(candidates: Iterator[tuple[float | None, str]]) -> tuple[float | None, str | None]:
    found = [(limit, folder) for limit, folder in candidates if limit is not None]
    return min(found, key=lambda candidate: candidate[0]) if found else (None, None)


def _quota_v2(path: str) -> float | None:
    quota, _, period = (procfs.read(path, 64) or "").strip().partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _quota_v1(folder: str) -> float | None:
    quota, period = procfs.number(f"{folder}/cpu.cfs_quota_us"), procfs.number(f"{folder}/cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _bytes(path: str) -> int | None:
    limit = procfs.number(path)
    return limit if limit is not None and limit < _UNLIMITED else None
