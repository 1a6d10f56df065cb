"""Faults switched on and off under a running session: the truth is told, the other GPUs go on, it recovers.

A real child process, the real pynvml, the stand-in library and the deadlines of everyday; what is
looked at is what `once --json` prints and what the Prometheus page serves.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.document import document
from collectors.gpu.feed import GpuFeed
from collectors.gpu.worker import GpuSource
from collectors.model import Interval, Tick
from collectors.sampler import Sampler
from exporters.prometheus import PrometheusSink
from tests.nvml_stub.build import Stub
from tests.nvml_stub.support import stub_or_skip
from tests.patience import PATIENCE, until
from tests.test_cli import COMMAND

STEADY = (
    "stage 1000000 sm=0.8 tensor=0.2 dram=0.6 occupancy=0.3 kernel=1 memory=0.7 power=500"
    " sm_mhz=1700 memory_mhz=2600 celsius=60 memory_celsius=70"
)
Gpu = dict[str, Any]
INSTANCE = "mig@0 9 16 9728 1g.10gb"


class Watched:
    """A session of the GPUs alone, four intervals a second, and the newest of them."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.stub.script("gpus 2", STEADY)
        self.page = PrometheusSink(version="0")
        self._newest: Tick | None = None
        self._moved = threading.Condition()
        self._sampler = Sampler([GpuFeed(GpuSource(library=str(stub.library)))], interval=0.25, deliver=self._deliver)
        self._sampler.start()
        self.see(lambda gpus: len(gpus) == 2 and all(gpu["dram_active_ratio"] == 0.6 for gpu in gpus))

    def _deliver(self, interval: Interval) -> None:
        tick = Tick(interval)
        self.page.put(tick)
        with self._moved:
            self._newest = tick
            self._moved.notify_all()

    def fault(self, *lines: str) -> None:
        """Switch faults on; without any, off."""
        self.stub.script("gpus 2", STEADY, *lines)

    def see(self, truth: Callable[[list[Gpu]], bool], *, stale: bool = False) -> list[Gpu]:
        """The GPUs of the first interval from now on of which this is true.

        An interval that a busy machine gave the reader no time for is passed over, unless stale ones are wanted.
        """
        deadline = time.monotonic() + PATIENCE
        with self._moved:
            self._newest = None
            while True:
                self._moved.wait(max(0.0, deadline - time.monotonic()))
                if self._newest is not None:
                    gpus: list[Gpu] = document(self._newest)["gpus"]
                    if truth(gpus) and (stale or all(gpu["state"] != "stale" for gpu in gpus)):
                        return gpus
                assert time.monotonic() < deadline, f"never seen; at last {self._newest}"

    def recovers(self) -> None:
        self.fault()
        self.see(lambda gpus: len(gpus) == 2 and all(is_well(gpu) for gpu in gpus))

    def gaps(self) -> list[str]:
        tick = self._newest
        return [gap.reason for gap in tick.interval.gaps] if tick is not None else []

    def stop(self) -> None:
        self._sampler.stop()


def is_well(gpu: Gpu) -> bool:
    return (
        gpu["state"] == "ok"
        and gpu["source"] == "gpm"
        and gpu["dram_active_ratio"] == 0.6
        and gpu["kernel_active_ratio"] == 1.0
        and gpu["power_watts"] == 500.0
        and gpu["temperature_celsius"] == 60.0
        and gpu["memory_used_bytes"] is not None
    )


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    stub = stub_or_skip(tmp_path)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    one = Watched(stub)
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (
            ("value@0 power_mw 4294967295", "field@0 83 3", "fail@0 nvmlDeviceGetTotalEnergyConsumption 3"),
            "power_watts",
        ),
        (("value@0 celsius 255",), "temperature_celsius"),
        (("value@0 memory_celsius 255",), "memory_temperature_celsius"),
        (("metric@0 10 nan",), "dram_active_ratio"),
        (("value@0 used 1e18",), "memory_used_bytes"),
    ],
)
def test_garbage_is_missing_and_nothing_else_is(watched: Watched, lines: tuple[str, ...], field: str) -> None:
    watched.fault(*lines)
    gpu, other = watched.see(lambda gpus: gpus[0][field] is None)
    assert gpu["state"] == "ok"
    assert gpu["sm_active_ratio"] == 0.8
    assert is_well(other)
    watched.recovers()


def test_a_lost_gpu_is_lost_everywhere_and_the_other_goes_on(watched: Watched) -> None:
    watched.fault("fail@0 * 15")
    gpu, other = watched.see(lambda gpus: gpus[0]["state"] == "lost")
    assert gpu["power_watts"] is gpu["dram_active_ratio"] is None
    assert is_well(other)

    def is_told() -> bool:
        page = watched.page.page(False, False).decode()
        assert 'phasetop_gpu_power_watts{gpu="0"' not in page
        return (
            f'phasetop_gpu_state{{gpu="0",uuid="{gpu["uuid"]}",state="lost"}} 1.0' in page
            and 'phasetop_gpu_power_watts{gpu="1"' in page
        )

    until(is_told, "a page that tells of it")
    watched.recovers()


def test_a_driver_that_goes_away_leaves_stale_gpus_with_the_reason(watched: Watched) -> None:
    watched.fault("fail * 9")
    gpus = watched.see(lambda gpus: all(gpu["state"] == "stale" for gpu in gpus), stale=True)
    assert [gpu["power_watts"] for gpu in gpus] == [None, None]
    watched.see(lambda gpus: "the NVIDIA driver is not loaded" in watched.gaps(), stale=True)
    watched.recovers()


def test_calls_that_hang_leave_stale_gpus_with_how_long(watched: Watched) -> None:
    watched.fault("sleep * 5000000")
    gpus = watched.see(lambda gpus: all(gpu["state"] == "stale" for gpu in gpus), stale=True)
    assert [gpu["dram_active_ratio"] for gpu in gpus] == [None, None]
    watched.see(lambda gpus: any("NVML has not answered for" in reason for reason in watched.gaps()), stale=True)
    watched.recovers()


def test_gpm_that_is_denied_leaves_the_coarse_figures_under_their_own_names(watched: Watched) -> None:
    watched.fault("fail@0 nvmlGpmSampleGet 4")
    gpu, other = watched.see(lambda gpus: gpus[0]["source"] == "nvml")
    assert gpu["sm_active_ratio"] is gpu["tensor_active_ratio"] is gpu["dram_active_ratio"] is None
    assert (gpu["kernel_active_ratio"], gpu["memory_active_ratio"]) == (1.0, 0.7)
    assert is_well(other)
    watched.recovers()


def test_power_throttling_is_a_share_of_time_and_ends_with_it(watched: Watched) -> None:
    watched.fault("value@0 cap 1")
    gpu, other = watched.see(lambda gpus: (gpus[0]["throttle_ratio"]["power"] or 0.0) > 0.9)
    assert gpu["throttle_ratio"]["thermal"] == 0.0
    assert other["throttle_ratio"]["power"] == 0.0
    watched.recovers()
    watched.see(lambda gpus: gpus[0]["throttle_ratio"]["power"] == 0.0)


def test_mig_switched_on_shows_the_instances_and_switched_off_the_gpu_again(watched: Watched) -> None:
    watched.fault(INSTANCE)
    gpu, part, other = watched.see(lambda gpus: len(gpus) == 3 and gpus[1]["dram_active_ratio"] is not None)
    assert (gpu["instances"], gpu["kernel_active_ratio"]) == (1.0, None)
    assert (part["parent"], part["instance"]) == (gpu["uuid"], "9")
    assert part["memory_total_bytes"] == 9728 * 2**20
    assert is_well(other)
    watched.recovers()


def test_an_old_driver_without_the_new_symbols_tells_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = ("nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet", "nvmlDeviceGetMemoryInfo_v2", "nvmlEventSetCreate",
               "nvmlDeviceGetTemperatureV", "nvmlDeviceGetMigMode", "nvmlDeviceGetCurrPcieLinkGeneration")  # fmt: skip
    stub = stub_or_skip(tmp_path, lacking)
    stub.script("gpus 1", STEADY)
    (gpu,) = once(stub, tmp_path)["gpus"]
    assert (gpu["source"], gpu["state"], gpu["dram_active_ratio"]) == ("nvml", "ok", None)
    assert (gpu["kernel_active_ratio"], gpu["temperature_celsius"]) == (1.0, 60.0)
    assert gpu["pcie_link_generation"] is None
    assert gpu["pcie_link_width"] == 16.0


def test_the_odd_process_list_of_the_first_r535_drivers_is_read_by_its_own_layout(tmp_path: Path) -> None:
    stub = stub_or_skip(tmp_path, ("nvmlDeviceGetRunningProcessDetailList",))
    stub.script("gpus 1", STEADY, "value r535_processes 1", "process 4711 1000", "process 815 2000")
    (gpu,) = once(stub, tmp_path)["gpus"]
    assert {process["pid"]: process["memory_bytes"] for process in gpu["processes"]} == {4711: 1000.0, 815: 2000.0}


def test_once_tells_of_a_fault_as_of_everything_else(tmp_path: Path) -> None:
    stub = stub_or_skip(tmp_path)
    stub.script("gpus 2", STEADY, "fail@1 nvmlDeviceGetMemoryInfo_v2 15", f"process@0 {os.getpid()} 1000")
    good, lost = once(stub, tmp_path)["gpus"]
    assert is_well(good)
    assert (lost["state"], lost["power_watts"], lost["processes"]) == ("lost", None, None)
    assert [(process["pid"], process["memory_bytes"]) for process in good["processes"]] == [(os.getpid(), 1000.0)]


def once(stub: Stub, directory: Path) -> dict[str, Any]:
    """What `phasetop once --json` prints where the reader is given the time to answer."""
    found: dict[str, Any] = {}

    def is_in_time() -> bool:
        found.update(printed(stub, directory))
        return all(gpu["state"] != "stale" for gpu in found["gpus"])

    until(is_in_time, lambda: found)
    return found


def printed(stub: Stub, directory: Path) -> dict[str, Any]:
    environment = {
        **os.environ, **stub.environment, "PHASETOP_GPU_NVML_LIBRARY": str(stub.library), "PHASETOP_GPU_DISCOVER": "no",
        "PHASETOP_ENGINE_DISCOVER": "no", "XDG_CONFIG_HOME": str(directory),
    }  # fmt: skip
    command = [*COMMAND, "once", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=2 * PATIENCE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
