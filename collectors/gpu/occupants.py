"""Who the processes on the GPUs are: name, user and command line of what NVML gives as numbers.

NVML numbers processes as the machine does. In a container with processes of its own the same
number may be somebody else here, so there a name is given only to a process that holds an NVIDIA
device open; the others stay numbers, which is the truth about them.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from collectors import procfs
from collectors.pods import Pod, Pods
from collectors.text import clean, masked

_MACHINES_OWN_NAMESPACE = 0xEFFFFFFC
"""The inode of the first namespace of processes, the same on every machine (PROC_PID_INIT_INO of the kernel)."""
_COMMAND_LIMIT = 1 << 14
_SHOWN = 400


@dataclass(frozen=True, slots=True)
class Occupant:
    """A process as far as it can be seen from here; None is what cannot."""

    name: str | None = None
    user: str | None = None
    command: str | None = None
    """The command line, secrets masked."""
    pod: Pod | None = None
    """The Kubernetes pod it runs in."""


def is_machines_own_namespace(proc: str = "/proc") -> bool:
    """Whether process numbers seen here are the machine's."""
    try:
        return Path(f"{proc}/self/ns/pid").stat().st_ino == _MACHINES_OWN_NAMESPACE
    except OSError:
        return False


class Occupants:
    """Looks processes up. May block where a process hangs in the kernel, so not for a thread in a hurry."""

    def __init__(
        self,
        proc: str = "/proc",
        *,
        trusts_numbers: Callable[[], bool] = is_machines_own_namespace,
        pods: Pods | None = None,
    ) -> None:
        self._proc = proc
        self._trusts_numbers = trusts_numbers
        self._pods = pods or Pods(proc)

    def look_up(self, pids: Collection[int]) -> Mapping[int, Occupant]:
        """What is known of each; a process that cannot be seen is an Occupant without anything."""
        trusted = self._trusts_numbers()
        return {pid: self._one(pid) if trusted or self._holds_a_gpu(pid) else Occupant() for pid in pids}

    def _one(self, pid: int) -> Occupant:
        folder = f"{self._proc}/{pid}"
        name = procfs.read(f"{folder}/comm", 64)
        if name is None:
            return Occupant()
        arguments = (procfs.read(f"{folder}/cmdline", _COMMAND_LIMIT) or "").rstrip("\0").split("\0")
        return Occupant(
            name=clean(name.strip(), 64) or None,
            user=self._user(folder),
            command=masked(" ".join(arguments), _SHOWN) or None,
            pod=self._pods.of(pid),
        )

    def _user(self, folder: str) -> str | None:
        try:
            number = Path(folder).stat().st_uid
        except OSError:
            return None
        try:
            return clean(pwd.getpwuid(number).pw_name, 64)
        except KeyError:
            return str(number)

    def _holds_a_gpu(self, pid: int) -> bool:
        folder = f"{self._proc}/{pid}/fd"
        for name in procfs.names(folder):
            try:
                if os.readlink(f"{folder}/{name}").startswith("/dev/nvidia"):  # noqa: PTH115 (there are thousands)
                    return True
            except OSError:
                continue
        return False
