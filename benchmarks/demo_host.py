"""The host of the demo's made-up node: what the simulated engines' work asks of CPUs, memory, network and disk.

Nothing here was measured on a host. Every figure follows from the simulated steps by round factors of the
right size, so that the screens have something to show; the recording says that it is simulated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.readings import HostReading

NAME = "demo"

_NODES = ("0-15,32-47", "16-31,48-63")
"""CPUs of each NUMA node; each engine lives on one of them."""
_CPUS = 64
_CPUS_APART = 16
_RESTING = (0.0, 0.0, 0.0, 0.01, 0.01, 0.02, 0.04)
"""What a CPU does that no engine runs on, drawn once a second."""
_GIB = float(1 << 30)
_MEMORY, _MEMORY_AT_REST = 512 * _GIB, 41 * _GIB
_LINK = "eth0"
_LINK_SPEED = 25e9 / 8

_SPINS = 0.985
"""CPU time of a worker, and of the engine's core, for each second that a step runs: both spin until it is done."""
_POLLS = 0.02
_TOKENIZING, _STREAMING = 2e-6, 130e-6
"""CPU seconds of the API server for each prompt token, and for each token it sends."""
_PROMPT_BYTES, _REQUEST_BYTES, _CHUNK_BYTES = 4.4, 900.0, 230.0
"""On the wire: a token of a prompt, what comes with a request, and the event that carries one token."""
_SCRAPED_BYTES, _SCRAPE_BYTES = 61_000.0, 1_400.0
_LOG_BYTES = 2_300.0
_SERVER_MEMORY, _CORE_MEMORY, _WORKER_MEMORY = 1.9 * _GIB, 2.2 * _GIB, 5.3 * _GIB
_READING_PRESSURE = 0.31
_LOAD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What one engine did in one second, as its host sees it.

    `busy` are the seconds in which a step ran; the tokens of prompts that ended, those sent, and requests begun.
    `loading` is the share of its weights that a starting process has, 1 for one that runs, 0 for none;
    `read` are bytes read of them from disk.
    """

    busy: float = 0.0
    prompts: float = 0.0
    tokens: float = 0.0
    requests: int = 0
    loading: float = 1.0
    read: float = 0.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process of an engine in one second, with its busiest thread."""

    name: str
    pid: int
    cores: float
    thread: str
    thread_ratio: float


def processes(engine: int, asked: Asked, ranks: int, chance: random.Random) -> list[Process]:
    """Those of an engine that runs or starts, in the order of their CPUs: workers, core, API server."""
    if not asked.loading:
        return []
    first = 4100 + 700 * engine + (311 if asked.loading < 1 else 0)
    spins = _POLLS + (_SPINS - _POLLS) * asked.busy if asked.loading == 1 else 0.35
    found = []
    for rank in range(ranks):
        cores = round(min(1.0, spins * chance.uniform(0.99, 1.01)), 2)
        found.append(Process("VLLM::Worker_TP", first + 40 + rank, cores, "VLLM::Worker_TP", cores))
    core = round(min(1.0, spins * chance.uniform(0.985, 1.0)) if asked.loading == 1 else 0.02, 2)
    found.append(Process("VLLM::EngineCor", first + 20, core, "VLLM::EngineCor", core))
    server = round(0.01 + asked.prompts * _TOKENIZING + asked.tokens * _STREAMING, 2)
    found.append(Process("vllm", first, server, "vllm", server))
    return found


def told_of(found: Sequence[Process], seconds: float | None) -> Mapping[str, Any]:
    """The fields of an engine's reading that tell of its processes, over an interval of so many seconds."""
    if not found:
        return {}
    busiest = sorted(found, key=lambda one: -one.cores)
    return {
        "cpu_seconds": None if seconds is None else sum(one.cores for one in found) * seconds,
        "processes": tuple(one.name for one in busiest),
        "process_ids": tuple(float(one.pid) for one in busiest),
        "process_cores": tuple(one.cores for one in busiest),
        "process_threads": tuple(one.thread for one in busiest),
        "process_thread_ratios": tuple(one.thread_ratio for one in busiest),
    }


class Host:
    """Second by second; `reading` is to be called once for each, in order."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._load = 1.0

    def reading(self, asked: Sequence[Asked], running: Sequence[Sequence[Process]], seconds: float) -> HostReading:
        """What the engines ask for and the processes they run, over an interval of so many seconds."""
        cores = self._cores(running)
        used = sum(cores)
        read = sum(one.read for one in asked)
        self._load += (used + (1.5 if read else 0.0) - self._load) * (1 - 2.718 ** (-seconds / _LOAD_SECONDS))
        received = _SCRAPE_BYTES + sum(one.prompts * _PROMPT_BYTES + one.requests * _REQUEST_BYTES for one in asked)
        sent = _SCRAPED_BYTES + sum(one.tokens * _CHUNK_BYTES for one in asked)
        waits = round(self._chance.uniform(0.0, 0.004) + used / _CPUS * 0.02, 3)
        return HostReading(
            name=NAME,
            window_seconds=seconds,
            cpu_ratio=used / _CPUS,
            cpu_cores=float(_CPUS),
            cpu_iowait_ratio=0.6 / _CPUS if read else 0.0,
            cpu_steal_ratio=0.0,
            load_1m=self._load,
            memory_used_bytes=_MEMORY_AT_REST + sum(self._memory(asked, running)),
            memory_total_bytes=_MEMORY,
            swap_used_bytes=0.0,
            swap_total_bytes=0.0,
            cpu_pressure_ratio=waits,
            memory_pressure_ratio=0.0,
            memory_pressure_full_ratio=0.0,
            io_pressure_ratio=_READING_PRESSURE if read else 0.0,
            io_pressure_full_ratio=0.0,
            network_receive_bytes=received * seconds,
            network_transmit_bytes=sent * seconds,
            disk_read_bytes=read * seconds,
            disk_write_bytes=(_LOG_BYTES * (1 + sum(one.requests for one in asked))) * seconds,
            cpu_core_ratios=tuple(cores),
            numa_cpus=_NODES,
            network_interfaces=(_LINK,),
            network_interface_speeds=(_LINK_SPEED,),
            network_interface_receive_bytes=(received * seconds,),
            network_interface_transmit_bytes=(sent * seconds,),
        )

    def _cores(self, running: Sequence[Sequence[Process]]) -> list[float]:
        """How busy each CPU was: every process stays on one of its engine's NUMA node."""
        cores = [self._chance.choice(_RESTING) for _ in range(_CPUS)]
        for engine, found in enumerate(running):
            for place, process in enumerate(found):
                cpu = engine * _CPUS_APART + 2 * place
                cores[cpu] = round(min(1.0, cores[cpu] + process.cores), 2)
        return cores

    def _memory(self, asked: Sequence[Asked], running: Sequence[Sequence[Process]]) -> Iterator[float]:
        """Bytes of each engine's processes; a worker's buffers are there once it has its weights."""
        for one, found in zip(asked, running, strict=True):
            workers = max(0, len(found) - 2)
            if found:
                yield _SERVER_MEMORY + _CORE_MEMORY + workers * _WORKER_MEMORY * (0.3 + 0.7 * one.loading)
