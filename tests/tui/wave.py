"""Hand-made ticks: a plausible wave of prefill and decode on simulated GPUs and engines.

Used by the tests of the screens and for their pictures. Everything follows from the sequence
number and the seed, so a tick is the same whenever it is made.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from collectors.histogram import Histogram
from collectors.model import (
    HOST,
    Bottleneck,
    Event,
    EventKind,
    Gap,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.readings import EngineReading, GpuReading, HostReading, rounded

SECOND = 1_000_000_000
START = 1_795_262_400 * SECOND  # 2026-11-21 12:00:00 UTC
SETTLES_AFTER = 10
BOUNDS = tuple(0.001 * 1.5**k for k in range(20))

ADVICE = (
    "more concurrent sequences: KV cache is 41 % used. batch 23 → 46: TPOT 24 → 27 ms, +78 % tokens/s",
    "FP8 weights or KV cache; speculative decoding pays here: predicted TPOT 24 → 15 ms",
)


def uuid(index: int) -> str:
    return f"GPU-{index:08x}-0000-4000-8000-000000000000"


def _endpoint(index: int) -> str:
    return f"http://127.0.0.1:{8000 + index}/metrics"


@dataclass(frozen=True, slots=True)
class Wave:
    """A node with `gpus` GPUs and `engines` engines, one tick a second."""

    gpus: int = 8
    engines: int = 1
    seed: int = 7
    start: int = START
    model: str = "llama-3.1-70b"
    activity_source: str = "gpm"
    idle_at: tuple[int, int] = (90, 98)
    missing_at: tuple[int, int] = (200, 206)
    restart_at: int = 206
    hot_gpu: int | None = 5
    lost_gpu: int | None = None
    no_gpu_reason: str = "libnvidia-ml.so.1 not found"

    def ticks(self, count: int, first: int = 0) -> Iterator[Tick]:
        """The ticks of the seconds `first` to `first + count`, those of the missing stretch left out."""
        for n in range(first, first + count):
            if self.recorded(n):
                yield self.tick(n)

    @lru_cache(maxsize=2048)  # noqa: B019 - waves are few, and live as long as their module
    def tick(self, n: int) -> Tick:
        interval = self.interval(n)
        labels = {label.entity: label for label in self._labels(n, settled=False)}
        due = range(max(0, n - SETTLES_AFTER), n - SETTLES_AFTER + 1)
        if n == self.missing_at[1]:
            due = range(max(0, self.missing_at[0] - SETTLES_AFTER), n - SETTLES_AFTER + 1)
        settled = tuple(label for late in due if self.recorded(late) for label in self._labels(late, settled=True))
        return Tick(interval, labels, settled, tuple(self._events(n)))

    def recorded(self, n: int) -> bool:
        return n >= 0 and not self.missing_at[0] <= n < self.missing_at[1]

    def interval(self, n: int) -> Interval:
        gpus = {uuid(i): rounded(self._gpu(n, i)) for i in range(self.gpus)}
        engines = {engine.key: engine for engine in (rounded(self._engine(n, i)) for i in range(self.engines))}
        begins = self.start + n * SECOND
        gaps = () if self.gpus else (Gap("gpu", self.no_gpu_reason),)
        return Interval(n, begins, begins + SECOND, 1.0, rounded(self._host(n)), gpus, engines, gaps)

    def _random(self, n: int, what: int = 0) -> random.Random:
        return random.Random(self.seed * 1_000_003 + n * 101 + what)

    def _idle(self, n: int) -> bool:
        return self.idle_at[0] <= n < self.idle_at[1] or self.engines == 0

    def share(self, n: int) -> float:
        slow = 0.27 + 0.18 * math.sin(n / 31.0) + 0.12 * math.sin(n / 7.3)
        return min(0.97, max(0.02, slow + self._random(n).gauss(0, 0.05)))

    def busy(self, n: int) -> float:
        return 0.0 if self._idle(n) else min(1.0, max(0.06, 0.92 + self._random(n, 1).gauss(0, 0.03)))

    def phase(self, n: int, *, settled: bool, what: int = 0) -> Phase:
        if self._idle(n):
            return Phase("idle", settled, None, 0.0, None, "high", ("idle-counter",))
        share = min(1.0, max(0.0, self.share(n) + self._random(n, 10 + what).gauss(0, 0.01 if settled else 0.06)))
        label: PhaseLabel = "prefill" if share >= 0.6 else "decode" if share <= 0.4 else "mixed"
        error = 0.03 if settled else 0.08
        confidence = "high" if settled else "medium"
        return Phase(label, settled, share, self.busy(n), error, confidence, ("decode-deficit",))  # type: ignore[arg-type]

    def bottleneck(self, n: int) -> Bottleneck:
        if self._idle(n):
            return Bottleneck("demand", "demand", None, {"demand": 1.0}, "high", "no requests")
        shares = {"memory-bandwidth": 0.63, "compute": 0.21, "host": 0.04, "demand": 0.12}
        why = "DRAM 74 % of peak, 92 % of attainable · tensor 6 % · batch 23"
        return Bottleneck("memory-bandwidth", "memory-bandwidth", None, shares, "high", why, ADVICE)

    def _labels(self, n: int, *, settled: bool) -> Iterator[Label]:
        bottleneck = self.bottleneck(n)
        yield Label(n, HOST, self.phase(n, settled=settled), bottleneck)
        for i in range(self.gpus):
            yield Label(n, gpu_entity(uuid(i)), self.phase(n, settled=settled, what=1 + i), bottleneck)
        for i in range(self.engines):
            yield Label(n, engine_entity((_endpoint(i), "0")), self.phase(n, settled=settled, what=30), bottleneck)

    def _host(self, n: int) -> HostReading:
        noise = self._random(n, 2)
        return HostReading(
            name="node-17", window_seconds=1.0, cpu_ratio=0.34 + noise.gauss(0, 0.02), cpu_cores=112.0, load_1m=38.2,
            memory_used_bytes=212e9 + round(noise.gauss(0, 2e8)), memory_total_bytes=1024e9,
            cpu_pressure_ratio=0.02, memory_pressure_ratio=0.0, io_pressure_ratio=0.001,
            network_receive_bytes=float(round(1.2e9 + noise.gauss(0, 4e7))),
            network_transmit_bytes=float(round(0.4e9 + noise.gauss(0, 2e7))),
        )  # fmt: skip

    def _gpu(self, n: int, i: int) -> GpuReading:
        noise = self._random(n, 40 + i)
        card = GpuReading(
            uuid=uuid(i), index=i, name="NVIDIA H100 80GB HBM3", source=self.activity_source, window_seconds=1.0,
            age_seconds=0.02, memory_used_bytes=69 * 2.0**30, memory_total_bytes=81559 * 2.0**20,
            power_limit_watts=700.0, temperature_limit_celsius=83.0, sm_clock_max_hertz=1.98e9,
            dram_peak_bytes_per_second=3.35e12, tensor_peak_flops_per_second=989e12, peak_source="table",
        )  # fmt: skip
        if i == self.lost_gpu:
            return replace(card, state="lost", memory_used_bytes=None, age_seconds=42.0)
        busy, share, hot = self.busy(n), self.share(n), i == self.hot_gpu
        slow = 0.82 if hot else 1.0
        measured = replace(
            card, kernel_active_ratio=min(1.0, busy * 1.04), memory_active_ratio=busy * 0.7,
            power_watts=(120 + 310 * busy) * (0.77 if hot else 1.0) + noise.gauss(0, 6),
            energy_joules=120 + 310 * busy, temperature_celsius=float((83 if hot else 52) + noise.randint(0, 3)),
            sm_clock_hertz=(1.41e9 if hot else 1.755e9), memory_clock_hertz=2.619e9,
            throttle_power_ratio=0.0, throttle_thermal_ratio=0.41 if hot else 0.0, throttle_hardware_ratio=0.0,
            nvlink_tx_bytes_per_second=31e9 * busy, nvlink_rx_bytes_per_second=31e9 * busy,
            pcie_tx_bytes_per_second=0.4e9, pcie_rx_bytes_per_second=1.1e9,
        )  # fmt: skip
        if self.activity_source == "nvml":
            return measured
        return replace(
            measured, sm_active_ratio=busy * (0.55 + 0.3 * share) * slow + noise.gauss(0, 0.01) * busy,
            tensor_active_ratio=busy * (0.06 + 0.5 * share) * slow, occupancy_ratio=0.3 * busy,
            dram_active_ratio=busy * (0.82 - 0.45 * share) * slow + noise.gauss(0, 0.006) * busy,
        )  # fmt: skip

    def _engine(self, n: int, i: int) -> EngineReading:
        noise = self._random(n, 80 + i)
        busy, share = self.busy(n), self.share(n)
        restarted = n == self.restart_at
        computed = float(round(9000 * busy * share * (1 + noise.gauss(0, 0.1))))
        generated = float(round(2000 * busy * (1 - share)))
        reading = EngineReading(
            endpoint=_endpoint(i), engine_index="0", engine="vllm", model=self.model,
            role="both", version="0.11.0", state="ok", window_seconds=1.0, age_seconds=0.3,
            gpus=tuple(uuid(g) for g in range(self.gpus)),
        )  # fmt: skip
        if restarted:
            return replace(reading, state="stale", age_seconds=6.0)
        some = float(math.ceil(busy))
        return replace(
            reading, prompt_tokens=computed * 1.75, prompt_tokens_computed=computed,
            prompt_tokens_cached=computed * 0.75, generation_tokens=generated, steps=float(round(40 * busy)),
            first_tokens=4.0 * some, requests_finished=float(round(3 * busy)), requests_running=23.0 * some,
            requests_waiting=4.0 * some, requests_limit=256.0,
            kv_cache_usage_ratio=0.41 * busy, kv_cache_tokens=480_000.0, cpu_seconds=0.97,
            prefix_cache_queries=computed * 1.75, prefix_cache_hits=computed * 0.75, preemptions=0.0,
            ttft=_histogram(noise, 4, 0.25) if busy else None, tpot=_histogram(noise, 60, 0.025) if busy else None,
            e2e=_histogram(noise, 4, 2.0) if busy else None, queue=_histogram(noise, 4, 0.02) if busy else None,
        )  # fmt: skip

    def _events(self, n: int) -> Iterator[Event]:
        engine = engine_entity((_endpoint(0), "0"))
        marks: dict[int, tuple[EventKind, str, str]] = {
            140: ("throttle-begin", gpu_entity(uuid(5)), "power cap 38 s"),
            self.restart_at: ("engine-restart", engine, "engine restart"),
        }
        if n in marks:
            kind, entity, text = marks[n]
            yield Event(self.start + n * SECOND, kind, entity, text)


def _histogram(noise: random.Random, count: int, typical: float) -> Histogram:
    counts = [0] * (len(BOUNDS) + 1)
    total = 0.0
    for _ in range(count):
        value = noise.lognormvariate(math.log(typical), 0.4)
        total += value
        counts[bisect_left(BOUNDS, value)] += 1
    return Histogram(BOUNDS, tuple(counts), round(total, 6))
