"""Which Kubernetes pod and container a process belongs to, by its control group and the names of log files.

Nothing is asked of the Kubernetes API. The kubelet puts every container into a group whose name has
the pod's UID and the container's id, and the names of the files in `/var/log/containers` tie that id
to names: `POD_NAMESPACE_CONTAINER-ID.log`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from collectors import procfs
from collectors.text import clean

LOGS = "/var/log/containers"
_LOOK_SECONDS = 10.0
_GROUP_LIMIT = 1 << 14

# systemd writes the dashes of a UID as underscores; the UID of a static pod is 32 digits without any.
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])")
# containerd, CRI-O and Docker: `cri-containerd-ID.scope`, `crio-ID.scope`, `docker-ID.scope`; cgroupfs: `ID` alone.
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_LOG_FILE = re.compile(r"([^_/]+)_([^_/]+)_([^_/]+)-([0-9a-f]{64})\.log")


@dataclass(frozen=True, slots=True)
class Pod:
    """A container of a pod. `uid` is the pod's; None is what cannot be told from here."""

    container_id: str
    uid: str | None = None
    name: str | None = None
    namespace: str | None = None
    container: str | None = None


def pod_of_groups(text: str) -> Pod | None:
    """The pod that `/proc/PID/cgroup` tells of, without names; None for a process in none.

    Version 1 and version 2, the kubelet's drivers systemd and cgroupfs, seen from inside or outside of a container.
    """
    for line in text.splitlines():
        pod = _POD.search(line)
        containers = _CONTAINER.findall(line, pod.end() if pod else 0)
        if containers and (pod is not None or "kubepods" in line or ":/../" in line):
            return Pod(containers[0], pod[1].replace("_", "-") if pod else None)
    return None


class Pods:
    """Looks up pods. Reads a file a process, and lists a directory every ten seconds at most.

    `logs` is where the kubelet links the containers' logs; where it is not mounted, there are no names.
    """

    def __init__(self, proc: str = "/proc", *, logs: str = LOGS, clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._logs = logs
        self._clock = clock
        self._names: Mapping[str, tuple[str, str, str]] = {}
        self._looked = float("-inf")

    def of(self, pid: int) -> Pod | None:
        """The pod of a process, None for one in none."""
        found = pod_of_groups(procfs.read(f"{self._proc}/{pid}/cgroup", _GROUP_LIMIT) or "")
        if found is None:
            return None
        names = self._names_of(found.container_id)
        return found if names is None else replace(found, name=names[0], namespace=names[1], container=names[2])

    def _names_of(self, container_id: str) -> tuple[str, str, str] | None:
        now = self._clock()
        if container_id not in self._names and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._names = dict(self._listed())
        return self._names.get(container_id)

    def _listed(self) -> list[tuple[str, tuple[str, str, str]]]:
        found = (_LOG_FILE.fullmatch(name) for name in procfs.names(self._logs))
        return [(one[4], (clean(one[1], 253), clean(one[2], 63), clean(one[3], 63))) for one in found if one]
