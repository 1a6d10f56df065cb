"""The faults of a GPU driver that `benchmarks.gpu_faults` switches on, and what each view has to say of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

GPUS = 4
STEADY = (
    f"gpus {GPUS}",
    "stage 1000000 sm=0.8 tensor=0.2 dram=0.6 occupancy=0.3 kernel=1 memory=0.7 power=500"
    " sm_mhz=1700 memory_mhz=2600 celsius=60 memory_celsius=70",
)
OLD_DRIVER = (
    "nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlGpmSampleGet", "nvmlGpmMetricsGet", "nvmlEventSetCreate",
    "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetMigMode", "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetComputeRunningProcesses_v3",
)  # fmt: skip

Gpu = dict[str, Any]
Series = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fault:
    """Lines of the stand-in's script, and what each view has to say while they are in it."""

    name: str
    lines: tuple[str, ...]
    screen: Callable[[str], bool]
    page: Callable[[Series], bool]
    once: Callable[[dict[str, Any]], bool]
    others_go_on: bool = True


def gpu_line(screen: str, index: int) -> str:
    """The row of one GPU on the terminal; empty when there is none."""
    found = re.search(rf"^│ {index} .*$", screen, re.MULTILINE)
    return found[0] if found else ""


def value(page: Series, name: str, index: int, extra: str = "") -> float | None:
    """A GPU's series on the page."""
    start = f'phasetop_gpu_{name}{{gpu="{index}",'
    return next((number for key, number in page.items() if key.startswith(start) and extra in key), None)


def is_well(page: Series, index: int) -> bool:
    return (
        value(page, "dram_active_ratio", index) == 0.6
        and value(page, "power_watts", index) == 500.0
        and value(page, "temperature_celsius", index) == 60.0
        and value(page, "state", index, 'state="ok"') == 1.0
        and value(page, "instances", index) is None
        and value(page, "throttle_power_ratio", index) == 0.0
    )


def line_is_well(line: str) -> bool:
    return re.search(r" 80 .* 20 .* 60 .*66 /80 .*500 /700", line) is not None and "✖" not in line


def row_of(document: dict[str, Any], index: int) -> Gpu:
    return next((gpu for gpu in document.get("gpus", ()) if gpu["index"] == index and gpu["parent"] is None), {})


def _has_gap(document: dict[str, Any], words: str) -> bool:
    return any(words in gap["reason"] for gap in document["gaps"])


def _state(page: Series, state: str) -> bool:
    return all(value(page, "state", index, f'state="{state}"') == 1.0 for index in range(GPUS))


def _all_stale(page: Series) -> bool:
    return _state(page, "stale") and value(page, "power_watts", 1) is None


def _unanswered(name: str, line: str) -> Fault:
    """NVML does not answer in time, for any GPU."""
    return Fault(
        name,
        (line,),
        screen=lambda text: re.search(r"NVML has not answered for \d+ s", text) is not None,
        page=_all_stale,
        once=lambda document: not document["gpus"] and _has_gap(document, "NVML has not answered"),
        others_go_on=False,
    )


def _missing(field: str, lines: tuple[str, ...], name: str, shown: str) -> Fault:
    """One value of GPU 0 is garbage. `shown` is what its row has on the terminal where it is right."""
    return Fault(
        name,
        lines,
        screen=lambda text: bool(gpu_line(text, 0)) and shown not in gpu_line(text, 0),
        page=lambda page: value(page, field, 0) is None and value(page, "kernel_active_ratio", 0) == 1.0,
        once=lambda document: row_of(document, 0)[field] is None and row_of(document, 0)["state"] == "ok",
    )


FAULTS = (
    Fault(
        "one GPU lost",
        ("fail@0 * 15",),
        screen=lambda text: "lost" in gpu_line(text, 0) and "fallen off the bus" in text,
        page=lambda page: value(page, "state", 0, 'state="lost"') == 1.0 and value(page, "power_watts", 0) is None,
        once=lambda document: row_of(document, 0)["state"] == "lost" and _has_gap(document, "fallen off the bus"),
    ),
    Fault(
        "driver gone",
        ("fail * 9",),
        screen=lambda text: "the NVIDIA driver is not loaded" in text,
        page=_all_stale,
        once=lambda document: not document["gpus"] and _has_gap(document, "the NVIDIA driver is not loaded"),
        others_go_on=False,
    ),
    _unanswered("every call takes 5 s", "sleep * 5000000"),
    _unanswered("calls hang for ever", "hang *"),
    _unanswered("calls never return", "sleep * 3600000000"),  # also not when the fault is over
    Fault(
        "GPM denied",
        ("fail@0 nvmlGpmSampleGet 4",),
        screen=lambda text: "500 /700" in gpu_line(text, 0) and " 60 " not in gpu_line(text, 0)[:80],
        page=lambda page: value(page, "dram_active_ratio", 0) is None and value(page, "memory_active_ratio", 0) == 0.7,
        once=lambda document: (
            row_of(document, 0)["source"] == "nvml" and "CAP_SYS_ADMIN" in (row_of(document, 0)["note"] or "")
        ),
    ),
    _missing(
        "power_watts",
        ("value@0 power_mw 4294967295", "field@0 83 3", "fail@0 nvmlDeviceGetTotalEnergyConsumption 3"),
        "power of 0xFFFFFFFF mW",
        "500 /700",
    ),
    _missing("temperature_celsius", ("value@0 celsius 255",), "255 degrees", "    60  "),
    _missing("dram_active_ratio", ("metric@0 10 nan",), "NaN from GPM", "━━  60"),
    Fault(
        "power throttling",
        ("value@0 cap 1",),
        screen=lambda text: re.search(r"GPU 0: power cap \d+ % of the time", text) is not None,
        page=lambda page: (value(page, "throttle_power_ratio", 0) or 0.0) > 0.9,
        once=lambda document: row_of(document, 0)["throttle_ratio"]["power"] > 0.9,
    ),
    Fault(
        "MIG switched on",
        ("mig@0 9 16 9728 1g.10gb", "mig@0 11 32 19968 2g.20gb"),
        screen=lambda text: "1g.10gb" in text or "MIG" in text,
        page=lambda page: (
            value(page, "instances", 0) == 2.0
            and value(page, "kernel_active_ratio", 0) is None
            and sum(key.startswith("phasetop_gpu_dram_active_ratio") and "MIG-" in key for key in page) == 2
        ),
        once=lambda document: (
            row_of(document, 0)["instances"] == 2.0 and sum(gpu["parent"] is not None for gpu in document["gpus"]) == 2
        ),
    ),
)
