"""Judgements in words: the verdict, which GPU is odd, why something is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from collectors.median import median
from collectors.model import NOTHING_WRONG, WHY_SEPARATOR, BottleneckName, Label, Tick
from dashboard.format import duration
from dashboard.scene import ODD_SECONDS, Scene

if TYPE_CHECKING:
    from collectors.readings import GpuReading

ENGINE_NAMES: Mapping[str, str] = {
    "vllm": "vLLM", "sglang": "SGLang", "llamacpp": "llama.cpp", "tgi": "TGI", "trtllm": "TensorRT-LLM",
}  # fmt: skip

_BOUND: Mapping[BottleneckName, tuple[str, str]] = {
    "compute": ("bound by ", "compute"),
    "memory-bandwidth": ("bound by ", "memory bandwidth"),
    "kv-capacity": ("held back by ", "KV-cache capacity"),
    "scheduler": ("held back by ", "the scheduler's limit"),
    "host": ("held back by ", "the host"),
    "network": ("bound by ", "the network"),
    "power": ("held back by ", "power or heat"),
}
_PHASE_WORDS: Mapping[str, str] = {
    "prefill": "Prefill-dominated",
    "decode": "Decode-dominated",
    "mixed": "Prefill and decode mixed",
}
BEHIND = 0.15
"""A GPU this much below the median of its peers is named."""
_BUSY_ENOUGH = 0.10
"""Peers whose median is lower are too idle to compare."""
THROTTLED = 0.10


def place_of(endpoint: str) -> str:
    """The short form of an endpoint: ":8000" on this host, "node-3:8000" elsewhere."""
    authority = endpoint.partition("://")[2].partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        return authority or endpoint
    return f":{port}" if host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0") else authority


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement: `phase` is in the phase's colour, `limit` in bold; `evidence` follows, `advice` lines below."""

    phase: str
    joint: str = ""
    limit: str = ""
    evidence: str = ""
    advice: tuple[str, ...] = ()


def verdict(label: Label | None, reason: str | None, *, is_odd: bool = False) -> Verdict:
    """What one interval's label says, words first. `reason` explains an unknown phase.

    `is_odd`: something is wrong that the label does not know of, so that it is not said that nothing is.
    """
    said = _verdict(label, reason)
    if not is_odd:
        return said
    limit = "demand is the limit" if said.limit == NOTHING_WRONG else said.limit
    parts = (part.removeprefix(f"{NOTHING_WRONG}: ") for part in said.evidence.split(WHY_SEPARATOR))
    return replace(said, limit=limit, evidence=_joined(*(part for part in parts if part not in (NOTHING_WRONG, limit))))


def says_fine(label: Label | None) -> bool:
    """Whether the words for that label say that nothing is wrong."""
    said = _verdict(label, None)
    return NOTHING_WRONG in (said.limit, *(part.partition(":")[0] for part in said.evidence.split(WHY_SEPARATOR)))


def _verdict(label: Label | None, reason: str | None) -> Verdict:
    if label is None:
        return Verdict("Unknown", ":", evidence=reason or "no label for this interval yet")
    phase, bottleneck = label.phase, label.bottleneck
    name = bottleneck.admission if bottleneck.admission not in (None, "unknown") else bottleneck.name
    if phase.label == "idle":
        return Verdict("Idle", ": ", "no requests", _unless(bottleneck.why, "no requests"), bottleneck.advice)
    if phase.label == "unknown":
        told = bottleneck.why or reason or "nothing tells the phases apart"
        return Verdict("Unknown", ":", evidence=told, advice=bottleneck.advice)
    if phase.label == "waiting":
        bound = _BOUND.get(name) if name else None
        joint, limit = (", ", "".join(bound)) if bound else (": ", "requests are present, the hardware is not busy")
        return Verdict("Waiting", joint, limit, bottleneck.why, bottleneck.advice)
    words = _PHASE_WORDS[phase.label]
    if bottleneck.name == "demand":
        return Verdict(words, "; ", NOTHING_WRONG, _joined("demand is the limit", bottleneck.why), bottleneck.advice)
    bound = _BOUND.get(bottleneck.name)
    if bound is None:
        return Verdict(words, "; ", "what limits it is unknown", bottleneck.why or reason or "", bottleneck.advice)
    return Verdict(words, f" and {bound[0]}", bound[1], bottleneck.why, bottleneck.advice)


def _unless(text: str, said: str) -> str:
    return "" if text == said else text


def _joined(*parts: str) -> str:
    return WHY_SEPARATOR.join(part for part in parts if part)


def no_gpu_reason(scene: Scene) -> str:
    """Why there is no GPU to show, in one line."""
    return _source_reason(scene) or ("none found" if scene.playback is None else "none in this recording")


def _source_reason(scene: Scene) -> str | None:
    """What is wrong with reading the GPUs as a whole, in one line."""
    for status in scene.statuses:
        if status.source == "gpu" and status.reason:
            return status.reason
    if scene.tick is not None:
        for gap in scene.tick.interval.gaps:
            if gap.source == "gpu":
                return gap.reason
    return None


def missing_reason(scene: Scene) -> str | None:
    """The first thing that is missing from the interval looked at, in one line."""
    if scene.tick is None:
        return None
    for gap in scene.tick.interval.gaps:
        if gap.source != "gpu" and not gap.source.startswith("gpu "):
            return f"{gap.source}: {gap.reason}"
    if not scene.tick.interval.engines:
        return "no serving engine" + (" was found on this host" if scene.playback is None else " in this recording")
    return None


@dataclass(frozen=True, slots=True)
class Odd:
    """What is odd about a GPU: `critical` when it is lost. `uuids` are the GPUs meant."""

    text: str
    critical: bool
    uuids: frozenset[str]


def odd_gpus(scene: Scene) -> Odd | None:
    """The odd ones out in one sentence: lost, stale, behind their peers, or throttled."""
    if "odd GPUs" not in scene.told:
        scene.told["odd GPUs"] = _odd_gpus(scene)
    found = scene.told["odd GPUs"]
    return found if isinstance(found, Odd) else None


def _odd_gpus(scene: Scene) -> Odd | None:
    if scene.tick is None or not scene.tick.interval.gpus:
        return None
    gpus = scene.tick.interval.gpus
    if all(gpu.state != "ok" for gpu in gpus.values()) and (reason := _source_reason(scene)):
        return Odd(reason, True, frozenset(gpus))
    lost = [gpu for gpu in gpus.values() if gpu.state == "lost"]
    if lost:
        return Odd(f"{_named(lost)} lost{_gap_reason(scene, lost)}", True, frozenset(gpu.uuid for gpu in lost))
    stale = [gpu for gpu in gpus.values() if gpu.state == "stale"]
    if stale:
        age = max((gpu.age_seconds or 0.0 for gpu in stale), default=0.0)
        told = f": last reading {duration(age)} ago" if age else ""
        return Odd(f"{_named(stale)} not answering{told}", False, frozenset(gpu.uuid for gpu in stale))
    ticks = scene.recent(ODD_SECONDS) or [scene.tick]
    return _behind(gpus, ticks) or _throttled(gpus, ticks)


def _named(gpus: Sequence[GpuReading]) -> str:
    numbers = ", ".join(str(gpu.index) for gpu in gpus[:6]) + ("…" if len(gpus) > 6 else "")
    return f"GPU {numbers} is" if len(gpus) == 1 else f"GPUs {numbers} are"


def _gap_reason(scene: Scene, lost: Sequence[GpuReading]) -> str:
    uuids = {gpu.uuid for gpu in lost}
    for gap in scene.tick.interval.gaps if scene.tick else ():
        if any(uuid in gap.source for uuid in uuids):
            return f": {gap.reason}"
    return ""


def _means(ticks: Sequence[Tick], name: str) -> dict[str, float]:
    value_of = attrgetter(name)
    values: dict[str, list[float]] = {}
    for tick in ticks:
        for uuid, gpu in tick.interval.gpus.items():
            value = value_of(gpu)
            if value is not None:
                if uuid in values:
                    values[uuid].append(value)
                else:
                    values[uuid] = [value]
    return {uuid: sum(known) / len(known) for uuid, known in values.items()}


def _peers(gpus: Mapping[str, GpuReading], tick: Tick) -> list[set[str]]:
    """GPUs that do the same work: those of each engine, and those that are known to be nobody's."""
    groups = [set(engine.gpus) & gpus.keys() for engine in tick.interval.engines.values() if engine.gpus]
    return [*groups, gpus.keys() - set().union(*groups)]


def _behind(gpus: Mapping[str, GpuReading], ticks: Sequence[Tick]) -> Odd | None:
    """The GPU farthest below the median of its peers; three GPUs are needed to say who is odd."""
    found = [one for peers in _peers(gpus, ticks[-1]) if (one := _farthest_behind(peers, ticks)) is not None]
    if not found:
        return None
    lag, uuid = max(found)
    cause = _throttling(ticks).get(uuid)
    told = f": {cause[1]}" if cause else ""
    text = f"GPU {gpus[uuid].index} runs {round(lag * 100)} % behind its peers{told}"
    return Odd(text, False, frozenset((uuid,)))


def _farthest_behind(peers: Set[str], ticks: Sequence[Tick]) -> tuple[float, str] | None:
    """By how much, and which; by the best measure that three of the peers have."""
    for measure in ("dram_active_ratio", "sm_active_ratio", "kernel_active_ratio"):
        means = {uuid: value for uuid, value in _means(ticks, measure).items() if uuid in peers}
        if len(means) < 3:
            continue
        middle = median(means.values())
        if middle < _BUSY_ENOUGH:
            return None
        uuid = min(means, key=lambda key: means[key])
        lag = 1 - means[uuid] / middle
        return (lag, uuid) if lag > BEHIND else None
    return None


_THROTTLES = (
    ("throttle_thermal_ratio", "thermal slowdown"),
    ("throttle_hardware_ratio", "hardware slowdown"),
    ("throttle_power_ratio", "power cap"),
)


_THROTTLED_BY = attrgetter(*(name for name, _ in _THROTTLES))


def _throttling(ticks: Sequence[Tick]) -> dict[str, tuple[float, str]]:
    """The largest throttling share of each GPU, also in words, where it is a tenth of the time at least."""
    if not any(any(_THROTTLED_BY(gpu)) for tick in ticks for gpu in tick.interval.gpus.values()):
        return {}  # as nearly always
    means = [(_means(ticks, name), words) for name, words in _THROTTLES]
    told: dict[str, tuple[float, str]] = {}
    for uuid in dict.fromkeys(uuid for shares, _ in means for uuid in shares):
        share, words = max(((shares.get(uuid, 0.0), words) for shares, words in means), key=lambda item: item[0])
        if share >= THROTTLED:
            told[uuid] = share, f"{words} {round(share * 100)} % of the time"
    return told


def _throttled(gpus: Mapping[str, GpuReading], ticks: Sequence[Tick]) -> Odd | None:
    throttling = _throttling(ticks)
    told = {uuid: throttling[uuid] for uuid in gpus if uuid in throttling}
    if not told:
        return None
    first = max(told, key=lambda uuid: told[uuid][0])
    more = f", and {len(told) - 1} more" if len(told) > 1 else ""
    return Odd(f"GPU {gpus[first].index}: {told[first][1]}{more}", False, frozenset(told))
