from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from collectors.clock import FakeClock
from collectors.document import document
from collectors.gpu.feed import GpuFeed
from collectors.gpu.occupants import Occupant, Occupants
from collectors.gpu.sample import GpuSample
from collectors.model import GpuProcess, Tick
from collectors.readings import GpuReading
from collectors.sampler import Sampler
from collectors.sources import Harvest
from tests.live_support import plant
from tests.making import ENDPOINT, intervals

ME = pwd.getpwuid(os.getuid()).pw_name


def people(proc: Path, *, trusted: bool = True) -> Occupants:
    return Occupants(str(proc), trusts_numbers=lambda: trusted)


def test_a_process_has_its_name_its_user_and_its_command_without_secrets(tmp_path: Path) -> None:
    command = "vllm\0serve\0/models/x\0--api-key\0sk-1234\0"
    plant(tmp_path, {"4711/comm": "VLLM::Worker\n", "4711/cmdline": command})
    found = people(tmp_path).look_up([4711])[4711]
    assert found == Occupant("VLLM::Worker", ME, "vllm serve /models/x --api-key ***")


def test_a_process_that_cannot_be_seen_is_nobody(tmp_path: Path) -> None:
    assert people(tmp_path).look_up([4711]) == {4711: Occupant()}


def test_foreign_names_are_cleaned(tmp_path: Path) -> None:
    plant(tmp_path, {"1/comm": "a\x1b[31mb\n", "1/cmdline": "x\x1b]0;y\x07\0"})
    found = people(tmp_path).look_up([1])[1]
    assert found.name is not None
    assert found.name.isprintable()
    assert found.command is not None
    assert found.command.isprintable()


def test_where_numbers_may_be_somebody_elses_only_a_holder_of_a_gpu_is_named(tmp_path: Path) -> None:
    plant(tmp_path, {"7/comm": "sshd\n", "7/cmdline": "sshd\0", "8/comm": "python\n", "8/cmdline": "python\0"})
    for pid, target in ((7, "/dev/null"), (8, "/dev/nvidia0")):
        (tmp_path / str(pid) / "fd").mkdir()
        (tmp_path / str(pid) / "fd" / "3").symlink_to(target)
    found = people(tmp_path, trusted=False).look_up([7, 8])
    assert (found[7].name, found[8].name) == (None, "python")


class Reader:
    """NVML's child, with two processes on the first of two GPUs."""

    status = None

    def __init__(self) -> None:
        self.sample: GpuSample | None = None
        self.asked = 0.0

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def latest(self) -> GpuSample | None:
        return self.sample

    def request(self, edge: float | None = None, next_at: float | None = None) -> None:
        self.asked += 1.0
        readings = (GpuReading(uuid="a"), GpuReading(uuid="b", index=1))
        memory = {(10, "a"): 5.0, (11, "a"): 9.0}
        self.sample = GpuSample(self.asked, self.asked, self.asked, readings, {10: ("a",), 11: ("a",)}, memory)


class Engines:
    """A source that knows whose process 11 is."""

    name = "engines"

    def start(self, arrived: object) -> None:
        """Nothing to start."""

    def request(self, edge: float) -> None:
        """Nothing to ask."""

    def pending(self) -> bool:
        return False

    def collect(self, edge: float) -> Harvest:
        return Harvest(trees={ENDPOINT: frozenset({11, 12})})

    def status(self) -> tuple[()]:
        return ()

    def stop(self) -> None:
        """Nothing to stop."""


def test_each_gpu_has_its_processes_with_names_and_engines_the_largest_first() -> None:
    looks: list[frozenset[int]] = []

    def look_up(pids: Collection[int]) -> Mapping[int, Occupant]:
        looks.append(frozenset(pids))
        return {pid: Occupant(f"worker {pid}") for pid in pids}

    made = []
    feed = GpuFeed(Reader(), look_up)
    sampler = Sampler([feed, Engines()], interval=1.0, clock=FakeClock(), deliver=made.append)
    while not made or made[-1].gpu_processes["a"][0].name is None:  # names come as soon as somebody has looked
        sampler.step()
    sampler.stop()
    assert made[-1].gpu_processes == {
        "a": (GpuProcess(11, "worker 11", None, 9.0, None, ENDPOINT), GpuProcess(10, "worker 10", None, 5.0)),
        "b": (),
    }
    assert looks[0] == {10, 11}


@pytest.mark.parametrize("carried", [True, False])
def test_the_document_lists_processes_where_somebody_looked(carried: bool) -> None:
    (interval,) = intervals([None], gpus=[{"a": GpuReading(uuid="a")}])
    if carried:
        interval = type(interval)(
            1, 0, 1, 1.0, gpus=interval.gpus, gpu_processes={"a": (GpuProcess(7, "python", "me", 3.0, "python x"),)}
        )
    (gpu,) = document(Tick(interval))["gpus"]
    listed = [{"pid": 7, "name": "python", "user": "me", "memory_bytes": 3.0, "command": "python x", "engine": None,
               "pod": None}]  # fmt: skip
    assert gpu["processes"] == (listed if carried else None)
