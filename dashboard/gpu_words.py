"""What is to be said about one GPU, in words: what is wrong with it first, then what is well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from collectors.model import Event, gpu_entity
from dashboard.format import clock, duration, percent

if TYPE_CHECKING:
    from collectors.readings import GpuReading
    from dashboard.scene import Scene

Level = Literal["bad", "odd", "well"]

_HELD = 0.01
"""Throttling for less of the time is not worth a word."""
THROTTLED = 0.10
"""From here on it is marked."""
CAUSES = (
    ("throttle_thermal_ratio", "heat", "heat"),
    ("throttle_hardware_ratio", "hardware", "the hardware slowdown or the power brake"),
    ("throttle_power_ratio", "power cap", "the power cap"),
)
"""Field, the cause in a word, and in a sentence."""

_ACTIONS = {
    "gpu-reset": "the driver asks for a reset of this GPU",
    "node-reboot": "the driver asks for a reboot of the machine",
    "drain-p2p": "the driver asks to drain peer-to-peer traffic",
    "drain-and-reset": "the driver asks to drain this GPU and to reset it",
    "imex-restart": "the driver asks to restart the IMEX service",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One statement: `level` is bad (lost, failed), odd (needs a look) or well."""

    level: Level
    text: str


def cause(gpu: GpuReading) -> tuple[str, float] | None:
    """What held the clocks down most, in a word, and for which share of the interval."""
    shares = [(value, word) for field, word, _ in CAUSES if (value := getattr(gpu, field)) is not None]
    share, word = max(shares, default=(0.0, ""))
    return (word, share) if share >= _HELD else None


def lost_reason(scene: Scene, gpu: GpuReading) -> str:
    """Why a GPU is lost, as far as it is known."""
    if gpu.note:
        return gpu.note
    for gap in scene.tick.interval.gaps if scene.tick else ():
        if gpu.uuid in gap.source:
            return gap.reason
    return "it does not answer any more"


def health(scene: Scene, gpu: GpuReading) -> list[Said]:
    """Most urgent first."""
    said = [*_state(scene, gpu), *_throttling(gpu), *_errors(scene, gpu), *_heat(scene, gpu), *_link(gpu)]
    said += _traffic(scene, gpu)
    ranks = {"bad": 0, "odd": 1, "well": 2}
    said.sort(key=lambda one: ranks[one.level])
    if gpu.state == "ok" and all(one.level == "well" for one in said):
        said.insert(0, Said("well", "nothing is wrong with it"))
    return said


def _state(scene: Scene, gpu: GpuReading) -> Iterator[Said]:
    if gpu.state == "lost":
        yield Said("bad", f"lost: {lost_reason(scene, gpu)}")
    elif gpu.state == "stale":
        told = f": last reading {duration(gpu.age_seconds)} ago" if gpu.age_seconds else ""
        yield Said("odd", f"not answering{told}")
    elif gpu.note:
        yield Said("well", gpu.note)
    if gpu.instances:
        yield Said("well", f"split into {_count(gpu.instances, 'GPU instance')}, which are measured instead of it")
    if gpu.recovery_action in _ACTIONS:
        yield Said("bad", _ACTIONS[gpu.recovery_action])


def _throttling(gpu: GpuReading) -> Iterator[Said]:
    known = [(value, words) for field, _, words in CAUSES if (value := getattr(gpu, field)) is not None]
    for share, words in sorted(known, reverse=True):
        if share >= _HELD:
            level: Level = "odd" if share >= THROTTLED else "well"
            yield Said(level, f"clocks held down by {words} {percent(share, 1)} % of the time")
    if known and all(share < _HELD for share, _ in known):
        yield Said("well", "clocks are not held down")


def _errors(scene: Scene, gpu: GpuReading) -> Iterator[Said]:
    for event, times in _xids(scene, gpu):
        text = event.text.partition(": ")[2] or event.text
        often = f", {times} times" if times > 1 else ""
        yield Said("odd", f"{text} ({clock(event.time, scene.zone)}{often})")
    if gpu.row_remap_failed:
        yield Said("bad", "a memory row could not be replaced: the GPU is to be exchanged")
    if gpu.row_remap_pending:
        yield Said("odd", "a memory row waits for a reset of the GPU to be replaced")
    corrected, uncorrected = gpu.ecc_corrected_errors, gpu.ecc_uncorrected_errors
    if uncorrected:
        text = f"{_count(uncorrected, 'uncorrectable memory error')} since the driver was loaded"
        yield Said("odd", text + (f", {corrected:.0f} corrected" if corrected else ""))
    elif corrected:
        yield Said("well", f"{_count(corrected, 'corrected memory error')} since the driver was loaded")
    elif corrected == 0 or uncorrected == 0:
        yield Said("well", "no memory errors")
    rows = (gpu.remapped_rows_corrected or 0) + (gpu.remapped_rows_uncorrected or 0)
    if rows:
        yield Said("well", f"{_count(rows, 'memory row')} replaced in its life")


def _count(number: float, word: str) -> str:
    return f"{number:.0f} {word}{'' if number == 1 else 's'}"


def _xids(scene: Scene, gpu: GpuReading) -> list[tuple[Event, int]]:
    """The error reports of the driver up to the interval looked at, the last of each text, and how often."""
    entity = gpu_entity(gpu.uuid)
    until = scene.tick.interval.end if scene.tick is not None else scene.now
    known: Sequence[Event] = [placed.event for placed in scene.history.events]
    if scene.playback is not None and scene.playback.events:
        known = scene.playback.events
    found: dict[str, tuple[Event, int]] = {}
    for event in known:
        if event.kind == "xid" and event.entity == entity and event.time <= until:
            found[event.text] = (event, found[event.text][1] + 1 if event.text in found else 1)
    return sorted(found.values(), key=lambda pair: -pair[0].time)


def degrees(ascii: bool) -> str:
    """The unit of temperatures."""
    return "C" if ascii else "°C"


def _heat(scene: Scene, gpu: GpuReading) -> Iterator[Said]:
    parts = []
    level: Level = "well"
    for name, value, limit in (
        ("core", gpu.temperature_celsius, gpu.temperature_limit_celsius),
        ("memory", gpu.memory_temperature_celsius, gpu.memory_temperature_limit_celsius),
    ):
        if value is not None:
            unit = degrees(scene.palette.ascii)
            parts.append(f"{name} {value:.0f}" + (f" of {limit:.0f}" if limit is not None else "") + f" {unit}")
            if limit is not None and value >= limit:
                level = "odd"
    if parts:
        yield Said(level, ", ".join(parts))


def _traffic(scene: Scene, gpu: GpuReading) -> Iterator[Said]:
    for name, sent, received in (
        ("NVLink", gpu.nvlink_tx_bytes_per_second, gpu.nvlink_rx_bytes_per_second),
        ("PCIe", gpu.pcie_tx_bytes_per_second, gpu.pcie_rx_bytes_per_second),
    ):
        parts = []
        for word, rate in (("out", sent), ("in", received)):
            if rate is not None:
                number, prefix = scene.units.parted(f"{gpu.uuid}/{name}/{word}", rate)
                parts.append(f"{number.strip()} {prefix}B/s {word}")
        if parts:
            yield Said("well", f"{name} {', '.join(parts)}")


def _link(gpu: GpuReading) -> Iterator[Said]:
    generation, most = gpu.pcie_link_generation, gpu.pcie_link_generation_max
    width, widest = gpu.pcie_link_width, gpu.pcie_link_width_max
    if generation is None and width is None:
        return
    text = "PCIe"
    if generation is not None:
        text += f" generation {generation:.0f}"
        if most is not None and most != generation:
            text += f" of {most:.0f} (it drops while idle)"
    if width is not None:
        text += f" ×{width:.0f}"
        if widest is not None and width < widest:
            yield Said("odd", f"{text}: {widest:.0f} lanes are possible")
            return
    yield Said("well", text)
