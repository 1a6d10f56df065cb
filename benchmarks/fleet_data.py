"""Simulated nodes for the benchmark of the fleet, as a Prometheus would have scraped them.

Every page is made by the exporter's own code: a handful of profiles (model, role, load) are run through
`PrometheusSink` for the whole time, and each node serves one profile's pages under its own name. Of a
page the families that the fleet and its drill-down read are kept, which is 300 series of 8 GPUs and
one engine. `phasetop.rules.yml` runs on them in a Prometheus of its own.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors.histogram import Histogram
from collectors.model import HOST, Bottleneck, Interval, Label, Phase, Tick, engine_entity, gpu_entity
from collectors.phase.rules import share_label
from collectors.readings import EngineReading, GpuReading, HostReading, rounded
from exporters.prometheus import PrometheusSink

SECOND = 1_000_000_000
GPUS = 8
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_KEPT = re.compile(
    r"phasetop_(?:settled_timestamp_seconds|build_info"
    r"|host_(?:phase_seconds|bottleneck_seconds)_total|host_(?:cpu_ratio|memory_used_bytes|memory_total_bytes)"
    r"|gpu_(?:state|info|phase_seconds_total|sm_active_ratio|tensor_active_ratio|dram_active_ratio|power_watts"
    r"|temperature_celsius|sm_clock_hertz|sm_clock_max_hertz|memory_used_bytes|memory_total_bytes|energy_joules_total"
    r"|phase_joules_total|power_limit_watts|occupancy_ratio|memory_clock_hertz)"
    r"|engine_(?:state|info|phase_seconds_total|bottleneck_seconds_total|phase_tokens_total|prompt_tokens_total"
    r"|generation_tokens_total|requests_running|requests_waiting|kv_cache_usage_ratio"
    r"|(?:ttft|tpot|e2e)_seconds_(?:bucket|sum|count)))[{ ]"
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What some nodes do. `slow` lowers the SM clock, `host_bound` takes time from the GPUs."""

    model: str
    role: str = "both"
    share: float = 0.3
    busy: float = 0.8
    requests: int = 24
    slow: bool = False
    host_bound: float = 0.04
    lost: bool = False
    seed: int = 0


COMMON: tuple[Profile, ...] = tuple(
    Profile(model, role, share, busy, requests, seed=seed)
    for seed, (model, role, share, busy, requests) in enumerate(
        (
            ("llama-3.1-70b", "both", 0.31, 0.86, 30), ("llama-3.1-70b", "both", 0.30, 0.84, 28),
            ("llama-3.1-70b", "both", 0.33, 0.88, 31), ("qwen3-235b", "prefill", 0.97, 0.62, 12),
            ("qwen3-235b", "decode", 0.03, 0.93, 60), ("qwen3-235b", "decode", 0.04, 0.91, 55),
            ("mistral-small", "both", 0.42, 0.21, 4), ("mistral-small", "both", 0.44, 0.19, 3),
        )
    )
)  # fmt: skip
ODD: tuple[Profile, ...] = (
    Profile("llama-3.1-70b", share=0.31, busy=0.86, slow=True, requests=30, seed=100),
    Profile("llama-3.1-70b", share=0.72, busy=0.86, requests=30, seed=101),
    Profile("llama-3.1-70b", share=0.31, busy=0.44, host_bound=0.48, requests=90, seed=102),
    Profile("llama-3.1-70b", share=0.31, busy=0.85, lost=True, requests=30, seed=103),
)


def profile_of(number: int) -> Profile:
    """Node 7, 17, 27 and 37 are odd; the rest serve three models in turn."""
    odd = {7: 0, 17: 1, 27: 2, 37: 3}.get(number)
    return ODD[odd] if odd is not None else COMMON[number % len(COMMON)]


def ticks(profile: Profile, start: int, steps: int, step: int) -> Iterator[Tick]:
    """One tick each `step` seconds from `start` (seconds since 1970) on, settled at once."""
    noise = random.Random(profile.seed)
    for n in range(steps):
        begins = (start + (n - 1) * step) * SECOND
        wave = math.sin(n / 6.0 + profile.seed)
        share = min(0.99, max(0.01, profile.share * (1 + 0.2 * wave) + noise.gauss(0, 0.01)))
        busy = min(0.99, max(0.02, profile.busy + 0.05 * wave + noise.gauss(0, 0.01)))
        gpus = {gpu.uuid: rounded(gpu) for gpu in _gpus(profile, share, busy, step, noise)}
        engine = rounded(_engine(profile, share, busy, step, noise))
        host = HostReading(
            name="node", window_seconds=float(step), cpu_ratio=0.3, memory_used_bytes=2e11, memory_total_bytes=1e12
        )
        interval = Interval(n, begins, begins + step * SECOND, float(step), host, gpus, {engine.key: engine})
        phase = Phase(share_label(share), True, round(share, 4), round(busy, 4), 0.03, "high", ("decode-deficit",))
        name = "host" if profile.host_bound > 0.15 else "compute" if share > 0.6 else "memory-bandwidth"
        bottleneck = Bottleneck(name, name, None, {name: 1.0}, "high", "")  # type: ignore[arg-type]
        entities = [HOST, *map(gpu_entity, gpus), engine_entity(engine.key)]
        labels = {entity: Label(n, entity, phase, bottleneck) for entity in entities}
        yield Tick(interval, labels, tuple(labels.values()))


def _gpus(profile: Profile, share: float, busy: float, step: int, noise: random.Random) -> Iterator[GpuReading]:
    for index in range(GPUS):
        uuid = f"GPU-{index:08x}"
        if profile.lost and index == 3:
            yield GpuReading(uuid=uuid, index=index, name="NVIDIA H100 80GB HBM3", state="lost")
            continue
        watts = 130 + 420 * busy + noise.gauss(0, 5)
        yield GpuReading(
            uuid=uuid, index=index, name="NVIDIA H100 80GB HBM3", source="gpm", window_seconds=float(step),
            sm_active_ratio=busy * (0.5 + 0.4 * share), tensor_active_ratio=busy * (0.05 + 0.5 * share),
            dram_active_ratio=busy * (0.8 - 0.5 * share), memory_used_bytes=7.1e10, memory_total_bytes=8.5e10,
            power_watts=watts, energy_joules=watts * step, temperature_celsius=58.0,
            power_limit_watts=700.0, occupancy_ratio=0.3 * busy, memory_clock_hertz=2.6e9,
            sm_clock_hertz=1.2e9 if profile.slow else 1.755e9, sm_clock_max_hertz=1.98e9,
        )  # fmt: skip


def _engine(profile: Profile, share: float, busy: float, step: int, noise: random.Random) -> EngineReading:
    computed, generated = round(9000 * busy * share * step), round(2400 * busy * (1 - share) * step)
    slow = 1.6 if profile.slow else 1.0
    return EngineReading(
        endpoint="http://127.0.0.1:8000/metrics", engine_index="0", engine="vllm", model=profile.model,
        role=profile.role, version="0.11.0", window_seconds=float(step),
        gpus=tuple(f"GPU-{n:08x}" for n in range(GPUS)),
        prompt_tokens=float(computed), prompt_tokens_computed=float(computed), generation_tokens=float(generated),
        requests_running=float(profile.requests), requests_waiting=0.0, kv_cache_usage_ratio=0.3 + 0.4 * busy,
        ttft=_histogram(noise, 40, 0.2 * slow), tpot=_histogram(noise, 200, 0.024 * slow),
        e2e=_histogram(noise, 40, 3.0 * slow),
    )  # fmt: skip


def _histogram(noise: random.Random, count: int, typical: float) -> Histogram:
    counts, total = [0] * (len(BOUNDS) + 1), 0.0
    for _ in range(count):
        value = noise.lognormvariate(math.log(typical), 0.4)
        total += value
        counts[next((k for k, bound in enumerate(BOUNDS) if value <= bound), len(BOUNDS))] += 1
    return Histogram(BOUNDS, tuple(counts), total)


_NODE, _TIME = "@node@", "@time@"


def templates(profile: Profile, start: int, steps: int, step: int) -> list[str]:
    """The kept lines of each of the profile's pages, with marks where a node's labels and the time go."""
    sink = PrometheusSink(version="benchmark")
    made = []
    for tick in ticks(profile, start, steps, step):
        sink.put(tick)
        lines = sink.page(openmetrics=False, gzip=False).decode().splitlines()
        made.append("".join(_marked(line) for line in lines if _KEPT.match(line)))
    return made


def _marked(line: str) -> str:
    series, _, value = line.rpartition(" ")
    inside = series[:-1] + "," if series.endswith("}") else series + "{"
    return f"{inside}{_NODE}}} {value} {_TIME}\n"


def node_labels(number: int) -> str:
    return f'instance="node-{number}:19417",job="phasetop",pool="pool-{number % 4}",zone="zone-{number % 2}"'


def write_openmetrics(path: Path, nodes: int, start: int, steps: int, step: int) -> int:
    """A file for `promtool tsdb create-blocks-from openmetrics`; how many series it has."""
    made = {profile: templates(profile, start, steps, step) for profile in {*map(profile_of, range(nodes))}}
    series = 0
    with path.open("w", encoding="utf-8") as file:
        for n in range(steps):
            moment = str(start + n * step)
            for number in range(nodes):
                labels = node_labels(number)
                text = made[profile_of(number)][n].replace(_NODE, labels).replace(_TIME, moment)
                file.write(text)
                file.write(f"up{{{labels}}} 1 {moment}\nscrape_duration_seconds{{{labels}}} 0.004 {moment}\n")
                series += (text.count("\n") + 2) * (n == 0)
        file.write("# EOF\n")
    return series
