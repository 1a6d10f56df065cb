"""What a machine of two NUMA nodes has beside `Wave`: single CPUs, links, limits, threads, calibrated costs."""

from __future__ import annotations

import random
from dataclasses import replace

from collectors.model import Tick, engine_entity
from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading, HostReading, rounded

COSTS = CostModel(
    step=0.0123, token=22e-6, kv_step=1.9e-9, prompt_token=20.7e-6, flops_per_token=1.6e10, error=0.034, windows=124,
    knows_decode=True, knows_prefill=True, batch_high=48.0,
)  # fmt: skip


def with_machine(tick: Tick, *, cpus: int = 112, rdma: int = 2) -> Tick:
    """The tick with all that; everything follows from its number."""
    interval = tick.interval
    noise = random.Random(interval.sequence * 7 + 1)
    host = None if interval.host is None else rounded(_host(interval.host, noise, cpus, rdma))
    engines = {key: rounded(_engine(engine, noise)) for key, engine in interval.engines.items()}
    costs = {engine_entity(key): COSTS for key in engines}
    return replace(tick, interval=replace(interval, host=host, engines=engines), costs=costs)


def _host(host: HostReading, noise: random.Random, cpus: int, rdma: int) -> HostReading:
    half = cpus // 2
    ratios: tuple[float | None, ...] = tuple(min(1.0, max(0.0, noise.gauss(0.34, 0.2))) for _ in range(cpus))
    if cpus > 8:
        ratios = (1.0, *ratios[1 : half + 3], None, 0.0, *ratios[half + 5 :])
    return replace(
        host, cpu_core_ratios=ratios, numa_cpus=(f"0-{half - 1}", f"{half}-{cpus - 1}"), cpu_iowait_ratio=0.01,
        cpu_steal_ratio=0.0, cpu_throttled_ratio=0.0, cpu_quota_cores=96.0, memory_limit_bytes=900 * 2.0**30,
        swap_used_bytes=2.0**30, swap_total_bytes=8 * 2.0**30, memory_pressure_full_ratio=0.0,
        io_pressure_full_ratio=0.001, disk_read_bytes=3e6, disk_write_bytes=41e6,
        rdma_receive_bytes=11e9, rdma_transmit_bytes=9e9,
        network_interfaces=("eth0", "eth1"), network_interface_speeds=(25e9 / 8, None),
        network_interface_receive_bytes=(1.2e9, 0.0), network_interface_transmit_bytes=(0.4e9, 120.0),
        rdma_ports=tuple(f"mlx5_{n}/1" for n in range(rdma)), rdma_port_speeds=(50e9,) * rdma,
        rdma_port_receive_bytes=(11e9 / max(1, rdma),) * rdma, rdma_port_transmit_bytes=(9e9 / max(1, rdma),) * rdma,
    )  # fmt: skip


def _engine(engine: EngineReading, noise: random.Random) -> EngineReading:
    if engine.state != "ok":
        return engine
    spin = min(1.0, 0.97 + noise.random() * 0.03)
    return replace(
        engine, processes=("VLLM::EngineCor", "vllm", "VLLM::Worker_TP"), process_ids=(4711.0, 4700.0, 4730.0),
        process_cores=(1.03, 0.41, 0.2), process_threads=("VLLM::EngineCor", "uvicorn", "pt_main_thread"),
        process_thread_ratios=(spin, 0.31, 0.2),
    )  # fmt: skip
