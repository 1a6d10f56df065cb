"""A node of 8 GPUs and 2 engines under full and noisy load: every field has a value, and most change.

That is the worst case for a recording. Real nodes are stickier.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator

from collectors.histogram import Histogram
from collectors.model import Interval, Tick
from collectors.readings import EngineReading, GpuReading, HostReading, field_specs, rounded

SECOND = 1_000_000_000
START = 1_795_132_800 * SECOND  # 2026-11-20T00:00:00Z
GPUS, ENGINES = 8, 2

# The bounds of vLLM's histograms.
_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
_TPOT = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_E2E = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip


def _histogram(chance: random.Random, bounds: tuple[float, ...], middle: float, observations: int) -> Histogram:
    counts = [0] * (len(bounds) + 1)
    total = 0.0
    for _ in range(observations):
        seconds = chance.lognormvariate(0.0, 0.8) * middle
        counts[bisect_left(bounds, seconds)] += 1
        total += seconds
    return Histogram(bounds, tuple(counts), total)


def _gpu(index: int, chance: random.Random, prefill: bool) -> GpuReading:
    active = chance.uniform(0.85, 1.0)
    dram = chance.uniform(0.1, 0.3) if prefill else chance.uniform(0.6, 0.8)
    watts = chance.uniform(550, 700)
    return GpuReading(
        uuid=f"GPU-{index:08x}-1111-2222-3333-444455556666", index=index, name="NVIDIA H100 80GB HBM3", source="gpm",
        window_seconds=1.0 + chance.uniform(-2e-3, 2e-3), age_seconds=chance.uniform(0.0, 5e-3),
        sm_active_ratio=active, tensor_active_ratio=chance.uniform(0.3, 0.6) if prefill else chance.uniform(0.02, 0.1),
        dram_active_ratio=dram, occupancy_ratio=chance.uniform(0.1, 0.4), kernel_active_ratio=1.0,
        memory_active_ratio=round(dram, 2), memory_used_bytes=chance.randrange(70, 76) * 2.0**30,
        memory_total_bytes=80.0 * 2**30, power_watts=watts, power_limit_watts=700.0, energy_joules=watts,
        temperature_celsius=chance.randrange(55, 70), temperature_limit_celsius=87.0,
        memory_temperature_celsius=chance.randrange(60, 80), sm_clock_hertz=chance.randrange(1600, 1980) * 1e6,
        sm_clock_max_hertz=1980e6, memory_clock_hertz=2619e6, memory_clock_max_hertz=2619e6,
        throttle_power_ratio=chance.choice((0.0, chance.random())), throttle_thermal_ratio=0.0,
        throttle_hardware_ratio=0.0, pcie_tx_bytes_per_second=chance.uniform(1e6, 4e9),
        pcie_rx_bytes_per_second=chance.uniform(1e6, 4e9), nvlink_tx_bytes_per_second=chance.uniform(1e8, 3e11),
        nvlink_rx_bytes_per_second=chance.uniform(1e8, 3e11), dram_peak_bytes_per_second=3.35e12,
        tensor_peak_flops_per_second=989.4e12, peak_source="table",
    )  # fmt: skip


def _engine(index: int, chance: random.Random, prefill: bool) -> EngineReading:
    computed = float(chance.randrange(8_000, 30_000) if prefill else chance.randrange(0, 900))
    cached = float(chance.randrange(0, 4_000))
    steps = float(chance.randrange(20, 80))
    requests = chance.randrange(5, 40)
    return EngineReading(
        endpoint=f"http://127.0.0.1:{8000 + index}/metrics", engine_index="0", engine="vllm",
        model="meta-llama/Llama-3.3-70B-Instruct", role="both", version="0.11.0",
        window_seconds=1.0 + chance.uniform(-0.02, 0.02), age_seconds=chance.uniform(0.0, 0.05),
        prompt_tokens=computed + cached, prompt_tokens_computed=computed, prompt_tokens_cached=cached,
        prompt_tokens_transferred=0.0, generation_tokens=steps * chance.randrange(60, 64), first_tokens=float(requests),
        steps=steps, decode_steps=steps, prefill_seconds=None, decode_seconds=None, idle_seconds=0.0,
        cpu_seconds=chance.uniform(0.9, 1.3), flops=chance.uniform(1e14, 4e14), read_bytes=chance.uniform(1e12, 3e12),
        write_bytes=chance.uniform(1e9, 3e10), requests_running=float(chance.randrange(50, 64)),
        requests_waiting=float(chance.randrange(0, 9)), requests_limit=256.0, requests_finished=float(requests),
        kv_cache_usage_ratio=chance.uniform(0.5, 0.95), kv_cache_tokens=510_336.0,
        prefix_cache_queries=computed + cached, prefix_cache_hits=cached, preemptions=0.0,
        ttft=_histogram(chance, _TTFT, 0.2, requests), tpot=_histogram(chance, _TPOT, 0.04, requests * 20),
        e2e=_histogram(chance, _E2E, 8.0, requests), queue=_histogram(chance, _E2E, 0.5, requests),
        gpus=tuple(f"GPU-{gpu:08x}-1111-2222-3333-444455556666" for gpu in range(index * 4, index * 4 + 4)),
    )  # fmt: skip


def _host(chance: random.Random) -> HostReading:
    return HostReading(
        name="node-17", window_seconds=1.0 + chance.uniform(-1e-3, 1e-3), cpu_ratio=chance.uniform(0.05, 0.3),
        cpu_cores=96.0, cpu_iowait_ratio=chance.uniform(0, 0.01), cpu_steal_ratio=0.0, cpu_throttled_ratio=0.0,
        load_1m=chance.uniform(5, 20), memory_used_bytes=chance.uniform(3e11, 4e11), memory_total_bytes=2.0 * 2**40,
        swap_used_bytes=0.0, cpu_pressure_ratio=chance.uniform(0, 0.05), memory_pressure_ratio=0.0,
        io_pressure_ratio=chance.uniform(0, 0.02), network_receive_bytes=chance.uniform(1e5, 1e9),
        network_transmit_bytes=chance.uniform(1e5, 1e9), rdma_receive_bytes=chance.uniform(1e5, 1e10),
        rdma_transmit_bytes=chance.uniform(1e5, 1e10), disk_read_bytes=chance.uniform(0, 1e8),
        disk_write_bytes=chance.uniform(0, 1e8),
    )  # fmt: skip


def intervals(count: int, *, seed: int = 1, start: int = START) -> Iterator[Interval]:
    """`count` one-second intervals of the node; prefill and decode take turns every half minute or so."""
    chance = random.Random(seed)
    prefill = False
    for sequence in range(count):
        if chance.random() < 1 / 30:
            prefill = not prefill
        gpus = [rounded(_gpu(index, chance, prefill)) for index in range(GPUS)]
        engines = [rounded(_engine(index, chance, prefill)) for index in range(ENGINES)]
        begin = start + sequence * SECOND
        yield Interval(
            sequence,
            begin,
            begin + SECOND,
            1.0 + chance.uniform(-1e-4, 1e-4),
            rounded(_host(chance)),
            {gpu.uuid: gpu for gpu in gpus},
            {engine.key: engine for engine in engines},
        )


def values(tick: Tick) -> int:
    """Numbers in an interval and its labels: fields that have one, the buckets of each histogram with
    their sum, and the ratios of each label."""
    interval = tick.interval
    count = 0
    for reading in (interval.host, *interval.gpus.values(), *interval.engines.values()):
        if reading is None:
            continue
        for spec in field_specs(type(reading)):
            value = getattr(reading, spec.name)
            if isinstance(value, Histogram):
                count += len(value.counts) + 1
            elif spec.kind != "text" and value is not None:
                count += 1
    for label in tick.labels.values():
        ratios = (label.phase.prefill_share, label.phase.busy_ratio, label.phase.error)
        count += sum(ratio is not None for ratio in ratios) + len(label.bottleneck.shares)
    return count
