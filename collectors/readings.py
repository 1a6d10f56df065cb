"""The fields of every reading: declared once, with unit, scale, kind and help.

Everything that needs to know a field asks this table: the recording's columns and the rounding,
the Prometheus names, the column headings and the documentation. A field that could not be
measured is None; it is never 0.

Gauges hold the value at the end of the interval, or the mean over it where the source measures
means. Lists hold one number or text for each of several like things: CPUs, interfaces, processes.
Amounts hold how much was counted *within the interval's own real duration* (the reading's
`window_seconds`), never a rate and never a running total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, Literal, TypeVar

from collectors.histogram import Histogram

Kind = Literal["gauge", "amount", "text", "histogram", "list"]
Unit = Literal[
    "ratio", "bytes", "bytes_per_second", "watts", "joules", "celsius", "hertz", "seconds", "tokens", "count",
    "flops", "flops_per_second", "cores", "text",
]  # fmt: skip

# Integers stored per unit of the field: 1e4 for ratios keeps a hundredth of a percent.
_SCALES: Mapping[str, int] = {
    "ratio": 10_000, "bytes": 1, "bytes_per_second": 1, "watts": 1_000, "joules": 1_000, "celsius": 10, "hertz": 1,
    "seconds": 1_000_000, "tokens": 1, "count": 1, "flops": 1, "flops_per_second": 1, "cores": 1_000, "text": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One row of the table: how one field is named, scaled, summed and explained."""

    name: str
    kind: Kind
    unit: Unit
    scale: int
    help: str


def _gauge(unit: Unit, help: str, scale: int | None = None) -> Any:
    return field(default=None, metadata={"kind": "gauge", "unit": unit, "help": help, "scale": scale})


def _amount(unit: Unit, help: str, scale: int | None = None) -> Any:
    return field(default=None, metadata={"kind": "amount", "unit": unit, "help": help, "scale": scale})


def _text(help: str) -> Any:
    return field(default=None, metadata={"kind": "text", "unit": "text", "help": help, "scale": None})


def _histogram(help: str) -> Any:
    return field(default=None, metadata={"kind": "histogram", "unit": "seconds", "help": help, "scale": None})


def _list(unit: Unit, help: str, scale: int | None = None) -> Any:
    """A tuple of numbers or texts, None where one of them is missing; all of it None where none is known."""
    return field(default=None, metadata={"kind": "list", "unit": unit, "help": help, "scale": scale})


def _key(help: str) -> Any:
    return field(metadata={"kind": "text", "unit": "text", "help": help, "scale": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """The machine over one interval. Inside a container the cgroup's limits are the truth."""

    name: str = _key("host name")
    window_seconds: float | None = _gauge("seconds", "real time the amounts of this reading cover")
    cpu_ratio: float | None = _gauge("ratio", "CPU time not idle, of all the CPUs this process may use")
    cpu_cores: float | None = _gauge("cores", "CPUs this process may use: affinity and cgroup quota taken into account")
    cpu_iowait_ratio: float | None = _gauge("ratio", "CPU time idle while a disk request was outstanding")
    cpu_steal_ratio: float | None = _gauge("ratio", "CPU time a hypervisor gave to others")
    cpu_throttled_ratio: float | None = _gauge("ratio", "share of the interval this cgroup was throttled by its quota")
    load_1m: float | None = _gauge("ratio", "one-minute load average (runnable and blocked tasks)")
    memory_used_bytes: float | None = _gauge("bytes", "memory in use that cannot be reclaimed")
    memory_total_bytes: float | None = _gauge("bytes", "memory of the machine, or the cgroup's limit when lower")
    swap_used_bytes: float | None = _gauge("bytes", "swap in use")
    cpu_pressure_ratio: float | None = _gauge("ratio", "share of the interval some task waited for a CPU (PSI some)")
    memory_pressure_ratio: float | None = _gauge(
        "ratio", "share of the interval some task waited for memory (PSI some)"
    )
    io_pressure_ratio: float | None = _gauge(
        "ratio", "share of the interval some task waited for input or output (PSI some)"
    )
    network_receive_bytes: float | None = _amount("bytes", "received on physical network interfaces")
    network_transmit_bytes: float | None = _amount("bytes", "sent on physical network interfaces")
    rdma_receive_bytes: float | None = _amount("bytes", "received on InfiniBand and RoCE ports")
    rdma_transmit_bytes: float | None = _amount("bytes", "sent on InfiniBand and RoCE ports")
    disk_read_bytes: float | None = _amount("bytes", "read from disks")
    disk_write_bytes: float | None = _amount("bytes", "written to disks")
    cpu_quota_cores: float | None = _gauge("cores", "CPUs the cgroup's quota allows; missing without one")
    memory_limit_bytes: float | None = _gauge("bytes", "memory the cgroup may hold; missing without a limit")
    swap_total_bytes: float | None = _gauge("bytes", "swap of the machine")
    cpu_pressure_full_ratio: float | None = _gauge(
        "ratio", "share of the interval all tasks of the cgroup waited for a CPU (PSI full); not told of a machine"
    )
    memory_pressure_full_ratio: float | None = _gauge(
        "ratio", "share of the interval all tasks waited for memory (PSI full)"
    )
    io_pressure_full_ratio: float | None = _gauge(
        "ratio", "share of the interval all tasks waited for input or output (PSI full)"
    )
    cpu_core_ratios: tuple[float | None, ...] | None = _list(
        "ratio", "CPU time not idle, of each CPU of the machine by its number; null for one that is offline", 100
    )
    numa_cpus: tuple[str, ...] | None = _list("text", "CPU numbers of each NUMA node that has any, as in 0-27,56-83")
    network_interfaces: tuple[str, ...] | None = _list("text", "physical network interfaces")
    network_interface_speeds: tuple[float | None, ...] | None = _list(
        "bytes_per_second", "link speed of each of network_interfaces"
    )
    network_interface_receive_bytes: tuple[float | None, ...] | None = _list(
        "bytes", "received on each of network_interfaces"
    )
    network_interface_transmit_bytes: tuple[float | None, ...] | None = _list(
        "bytes", "sent on each of network_interfaces"
    )
    rdma_ports: tuple[str, ...] | None = _list("text", "InfiniBand and RoCE ports, as device/port")
    rdma_port_speeds: tuple[float | None, ...] | None = _list("bytes_per_second", "link speed of each of rdma_ports")
    rdma_port_receive_bytes: tuple[float | None, ...] | None = _list("bytes", "received on each of rdma_ports")
    rdma_port_transmit_bytes: tuple[float | None, ...] | None = _list("bytes", "sent on each of rdma_ports")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU (or MIG instance) over one interval.

    `kernel_active_ratio` and `memory_active_ratio` are NVML's utilization.gpu and
    utilization.memory: fractions of time, not of SMs or of bandwidth.
    """

    uuid: str = _key("the GPU's UUID, or the MIG instance's")
    index: int = field(default=0, metadata={"kind": "gauge", "unit": "count", "help": "NVML index", "scale": None})
    name: str | None = _text("product name as the driver gives it")
    source: str | None = _text("where the activity figures come from: gpm, dcgm, amd, gaudi, xpum, nvml or simulated")
    page_fields: str | None = _text("fields that an exporter's page added to those of NVML, after the page's kind")
    parent: str | None = _text("UUID of the GPU that this GPU instance (MIG) is a part of")
    instance: str | None = _text("id of this GPU instance (MIG)")
    state: str = field(
        default="ok", metadata={"kind": "text", "unit": "text", "help": "ok, stale or lost", "scale": None}
    )
    note: str | None = _text("why it is lost, or why its figures are not the best there could be, with the remedy")
    window_seconds: float | None = _gauge("seconds", "real time the averages and amounts of this reading cover")
    age_seconds: float | None = _gauge(
        "seconds", "how long before the interval's end this reading's own time ended; negative when after it"
    )
    instances: float | None = _gauge(
        "count", "GPU instances on this GPU (MIG): they are measured, not the GPU as a whole", 1
    )
    activity_window_seconds: float | None = _gauge(
        "seconds", "time an exporter's figures cover, seen from when they change; missing for NVML's own"
    )
    activity_age_seconds: float | None = _gauge("seconds", "time since an exporter's figures were first seen")
    sm_active_ratio: float | None = _gauge("ratio", "cycles an SM had at least one warp, mean over SMs")
    tensor_active_ratio: float | None = _gauge("ratio", "cycles any tensor pipe was active")
    dram_active_ratio: float | None = _gauge("ratio", "share of the theoretical DRAM bandwidth in use")
    occupancy_ratio: float | None = _gauge("ratio", "resident warps of the maximum")
    compute_active_ratio: float | None = _gauge(
        "ratio", "time the compute or graphics engine was busy, with little or much"
    )
    kernel_active_ratio: float | None = _gauge("ratio", "time some kernel was running (NVML utilization.gpu)")
    memory_active_ratio: float | None = _gauge(
        "ratio", "time device memory was being accessed (NVML utilization.memory)"
    )
    memory_used_bytes: float | None = _gauge("bytes", "device memory allocated")
    memory_total_bytes: float | None = _gauge("bytes", "device memory installed")
    power_watts: float | None = _gauge("watts", "power draw")
    power_limit_watts: float | None = _gauge("watts", "enforced power limit")
    energy_joules: float | None = _amount("joules", "energy used")
    temperature_celsius: float | None = _gauge("celsius", "core temperature")
    temperature_limit_celsius: float | None = _gauge("celsius", "core temperature at which clocks are reduced")
    memory_temperature_celsius: float | None = _gauge("celsius", "memory temperature")
    memory_temperature_limit_celsius: float | None = _gauge("celsius", "memory temperature at which clocks are reduced")
    sm_clock_hertz: float | None = _gauge("hertz", "SM clock (other makers: compute clock)")
    sm_clock_max_hertz: float | None = _gauge("hertz", "highest SM clock")
    memory_clock_hertz: float | None = _gauge("hertz", "memory clock")
    memory_clock_max_hertz: float | None = _gauge("hertz", "highest memory clock")
    throttle_power_ratio: float | None = _gauge("ratio", "share of the interval the power cap held clocks down")
    throttle_thermal_ratio: float | None = _gauge("ratio", "share of the interval heat held clocks down")
    throttle_hardware_ratio: float | None = _gauge(
        "ratio", "share of the interval the hardware slowdown or power brake held clocks down"
    )
    pcie_tx_bytes_per_second: float | None = _gauge("bytes_per_second", "sent over PCIe")
    pcie_rx_bytes_per_second: float | None = _gauge("bytes_per_second", "received over PCIe")
    nvlink_tx_bytes_per_second: float | None = _gauge("bytes_per_second", "sent over NVLink (xGMI, Xe Link)")
    nvlink_rx_bytes_per_second: float | None = _gauge("bytes_per_second", "received over NVLink (xGMI, Xe Link)")
    ecc_corrected_errors: float | None = _gauge("count", "corrected memory errors since the driver was loaded")
    ecc_uncorrected_errors: float | None = _gauge("count", "uncorrectable memory errors since the driver was loaded")
    remapped_rows_corrected: float | None = _gauge("count", "memory rows ever replaced after corrected errors")
    remapped_rows_uncorrected: float | None = _gauge("count", "memory rows ever replaced after uncorrectable errors")
    row_remap_pending: float | None = _gauge("count", "1 when a memory row waits for a reset to be replaced, else 0")
    row_remap_failed: float | None = _gauge("count", "1 when a memory row could not be replaced, else 0")
    recovery_action: str | None = _text(
        "what the driver asks for: none, gpu-reset, node-reboot, drain-p2p, drain-and-reset or imex-restart"
    )
    xid_codes: str | None = _text("XIDs (error reports of the driver) that came within the interval, comma-separated")
    pcie_link_generation: float | None = _gauge("count", "PCIe generation of the link now; it drops while idle")
    pcie_link_generation_max: float | None = _gauge("count", "highest PCIe generation of the link")
    pcie_link_width: float | None = _gauge("count", "PCIe lanes in use")
    pcie_link_width_max: float | None = _gauge("count", "highest number of PCIe lanes")
    persistence_mode: float | None = _gauge("count", "1 when the driver stays loaded without clients, else 0")
    dram_peak_bytes_per_second: float | None = _gauge("bytes_per_second", "theoretical DRAM bandwidth")
    tensor_peak_flops_per_second: float | None = _gauge("flops_per_second", "dense BF16 tensor peak")
    peak_source: str | None = _text("table, estimate or configuration: where the peaks come from")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReading:
    """One serving engine (one data-parallel rank of it) over one interval."""

    endpoint: str = _key("URL of the metrics page")
    engine_index: str = _key("data-parallel rank as the engine names it")
    engine: str | None = _text("vllm, sglang, llamacpp, ...")
    model: str | None = _text("model name the engine serves under")
    role: str | None = _text("prefill, decode or both; router where it only passes requests on")
    version: str | None = _text("engine version where its page tells")
    dtype: str | None = _text("data type of the weights where the page tells")
    kv_cache_dtype: str | None = _text("data type of the KV cache where the page tells")
    late_fields: str | None = _text(
        "fields counted only when a request ends, comma-separated: true over minutes, not within an interval"
    )
    state: str = field(
        default="ok", metadata={"kind": "text", "unit": "text", "help": "ok, blocked, stale or down", "scale": None}
    )
    window_seconds: float | None = _gauge("seconds", "real time between the two pages the amounts come from")
    age_seconds: float | None = _gauge("seconds", "age of the newest page at the interval's end")
    prompt_tokens: float | None = _amount("tokens", "prompt tokens, cached ones included")
    prompt_tokens_computed: float | None = _amount(
        "tokens", "prompt tokens computed here: neither cached nor transferred"
    )
    prompt_tokens_cached: float | None = _amount("tokens", "prompt tokens found in the prefix cache")
    prompt_tokens_transferred: float | None = _amount(
        "tokens", "prompt tokens whose KV cache came from another instance"
    )
    prompt_tokens_ended: float | None = _amount("tokens", "prompt tokens of requests that ended")
    generation_tokens: float | None = _amount("tokens", "generated tokens")
    generation_tokens_ended: float | None = _amount("tokens", "generated tokens of requests that ended")
    first_tokens: float | None = _amount("count", "requests that got their first token")
    steps: float | None = _amount(
        "count", "engine steps that generated tokens, or batch computations where only those are counted"
    )
    decode_steps: float | None = _amount("count", "decode steps, where the engine counts them apart")
    prefill_seconds: float | None = _amount("seconds", "time in prefill, counted by the engine")
    decode_seconds: float | None = _amount("seconds", "time in decode, counted by the engine")
    idle_seconds: float | None = _amount("seconds", "time the scheduler had nothing to do, counted by the engine")
    cpu_seconds: float | None = _amount("seconds", "CPU time of the engine's processes")
    flops: float | None = _amount("flops", "floating-point operations the engine estimates per GPU")
    read_bytes: float | None = _amount("bytes", "memory reads the engine estimates per GPU")
    write_bytes: float | None = _amount("bytes", "memory writes the engine estimates per GPU")
    requests_running: float | None = _gauge("count", "requests being executed at the interval's end", 1)
    requests_waiting: float | None = _gauge("count", "requests waiting at the interval's end", 1)
    requests_waiting_capacity: float | None = _gauge("count", "of those waiting: for room in the batch or KV cache", 1)
    requests_waiting_deferred: float | None = _gauge(
        "count", "put off for another reason than room: a grammar, an adapter, a limit", 1
    )
    requests_waiting_transfer: float | None = _gauge("count", "waiting for a KV cache from or to another instance", 1)
    requests_paused: float | None = _gauge("count", "requests begun and put aside: swapped out or paused", 1)
    requests_limit: float | None = _gauge("count", "requests the engine executes at once at most", 1)
    requests_finished: float | None = _amount("count", "requests that ended")
    requests_stopped: float | None = _amount("count", "requests that ended by themselves")
    requests_cut_off: float | None = _amount("count", "requests that ended at a length limit")
    requests_aborted: float | None = _amount("count", "requests that their client or the engine aborted")
    requests_failed: float | None = _amount("count", "requests that ended with an error")
    requests_rejected: float | None = _amount("count", "requests that were not taken on")
    kv_cache_usage_ratio: float | None = _gauge("ratio", "KV cache blocks in use")
    kv_cache_tokens: float | None = _gauge("tokens", "KV cache capacity")
    kv_block_tokens: float | None = _gauge("tokens", "tokens of one KV cache block")
    max_length_tokens: float | None = _gauge("tokens", "longest context the engine takes")
    tensor_parallel: float | None = _gauge("count", "GPUs that share each layer", 1)
    pipeline_parallel: float | None = _gauge("count", "stages the layers are split over", 1)
    prefix_cache_queries: float | None = _amount("tokens", "prompt tokens looked up in the prefix cache")
    prefix_cache_hits: float | None = _amount("tokens", "prompt tokens of those found there")
    prefix_cache_stated_ratio: float | None = _gauge("ratio", "prefix-cache hits per look-up, as the engine last said")
    preemptions: float | None = _amount("count", "requests preempted")
    spec_drafts: float | None = _amount("count", "drafts verified in speculative decoding")
    spec_draft_tokens: float | None = _amount("tokens", "drafted tokens")
    spec_accepted_tokens: float | None = _amount("tokens", "drafted tokens that were accepted")
    spec_acceptance_ratio: float | None = _gauge(
        "ratio", "drafted tokens accepted: of the interval where both are counted, else as the engine last said"
    )
    kv_transfer_seconds: float | None = _amount("seconds", "time of KV cache transfers to or from other instances")
    kv_transfer_bytes: float | None = _amount("bytes", "KV cache transferred to or from other instances")
    kv_transfer_failures: float | None = _amount("count", "KV cache transfers that failed")
    lora_running: float | None = _gauge("count", "LoRA adapters in use", 1)
    lora_waiting: float | None = _gauge("count", "LoRA adapters that requests wait for", 1)
    lora_limit: float | None = _gauge("count", "LoRA adapters that fit at once", 1)
    ttft: Histogram | None = _histogram("time to first token")
    tpot: Histogram | None = _histogram(
        "time per output token, as tokens are made; of whole requests where an engine tells no more"
    )
    request_tpot: Histogram | None = _histogram("mean time per output token of a request, told when it ends")
    e2e: Histogram | None = _histogram("request latency end to end")
    queue: Histogram | None = _histogram("time a request waited before its first step")
    prefill_time: Histogram | None = _histogram("time from a request's first step to its first token, told at its end")
    decode_time: Histogram | None = _histogram("time from a request's first token to its last, told at its end")
    processes: tuple[str, ...] | None = _list("text", "names of the engine's processes, the busiest first, six at most")
    process_ids: tuple[float | None, ...] | None = _list("count", "process id of each of processes")
    process_cores: tuple[float | None, ...] | None = _list("cores", "CPU time of each of processes, in cores", 100)
    process_threads: tuple[str | None, ...] | None = _list("text", "name of the busiest thread of each of processes")
    process_thread_ratios: tuple[float | None, ...] | None = _list(
        "ratio", "CPU time that thread took, of one core", 100
    )
    gpus: tuple[str, ...] = field(
        default=(),
        metadata={"kind": "text", "unit": "text", "help": "UUIDs of its GPUs, comma-separated", "scale": None},
    )

    @property
    def key(self) -> tuple[str, str]:
        return (self.endpoint, self.engine_index)

    @property
    def prefix_cache_hit_ratio(self) -> float | None:
        """Tokens found per token looked up within the interval; as the engine last said where it counts none."""
        if self.prefix_cache_hits is None or self.prefix_cache_queries is None:
            return self.prefix_cache_stated_ratio
        if not self.prefix_cache_queries:
            return None
        return min(1.0, self.prefix_cache_hits / self.prefix_cache_queries)


Reading = HostReading | GpuReading | EngineReading
ReadingT = TypeVar("ReadingT", HostReading, GpuReading, EngineReading)


def _table(reading: type[Reading]) -> tuple[FieldSpec, ...]:
    return tuple(
        FieldSpec(
            name=entry.name,
            kind=entry.metadata["kind"],
            unit=entry.metadata["unit"],
            scale=entry.metadata["scale"] or _SCALES[entry.metadata["unit"]],
            help=entry.metadata["help"],
        )
        for entry in fields(reading)
    )


_TABLES: Mapping[str, tuple[FieldSpec, ...]] = {
    reading.__name__: _table(reading) for reading in (HostReading, GpuReading, EngineReading)
}
_NUMBERS: Mapping[str, tuple[tuple[str, int], ...]] = {
    name: tuple((spec.name, spec.scale) for spec in table if spec.kind in ("gauge", "amount"))
    for name, table in _TABLES.items()
}
_NUMBER_VALUES: Mapping[str, Callable[[Reading], tuple[Any, ...]]] = {
    name: attrgetter(*(field for field, _ in numbers)) for name, numbers in _NUMBERS.items()
}
_NAMES: Mapping[str, tuple[str, ...]] = {name: tuple(spec.name for spec in table) for name, table in _TABLES.items()}
_VALUES: Mapping[str, Callable[[Reading], tuple[Any, ...]]] = {
    kind: attrgetter(*names) for kind, names in _NAMES.items()
}
_LISTS: Mapping[str, tuple[tuple[str, int], ...]] = {
    name: tuple((spec.name, spec.scale) for spec in table if spec.kind == "list" and spec.unit != "text")
    for name, table in _TABLES.items()
}
HISTOGRAM_FIELDS: tuple[str, ...] = tuple(spec.name for spec in _TABLES["EngineReading"] if spec.kind == "histogram")


def field_specs(reading: type[Reading]) -> tuple[FieldSpec, ...]:
    """The table of one reading, in declaration order."""
    return _TABLES[reading.__name__]


def changed(reading: ReadingT, changes: Mapping[str, Any]) -> ReadingT:
    """As `dataclasses.replace`, which takes half as long again on this many fields."""
    name = type(reading).__name__
    return type(reading)(**{**dict(zip(_NAMES[name], _VALUES[name](reading), strict=True)), **changes})


def rounded(reading: ReadingT) -> ReadingT:
    """The reading with every number rounded to its stored scale.

    Applied before anything is computed from a reading, so that live and recorded arithmetic are
    the same to the bit. Histogram sums are rounded to microseconds.
    """
    changes: dict[str, Any] = {}
    kind = type(reading).__name__
    for (name, scale), value in zip(_NUMBERS[kind], _NUMBER_VALUES[kind](reading), strict=True):
        if value is not None:
            nearest = round(value * scale) / scale
            if nearest != value:
                changes[name] = nearest
    for name, scale in _LISTS[kind]:
        values: tuple[float | None, ...] | None = getattr(reading, name)
        if values:
            changes[name] = tuple([None if one is None else round(one * scale) / scale for one in values])
    if isinstance(reading, EngineReading):
        for name in HISTOGRAM_FIELDS:
            histogram: Histogram | None = getattr(reading, name)
            if histogram is not None:
                changes[name] = replace(histogram, sum=round(histogram.sum * 1_000_000) / 1_000_000)
    return changed(reading, changes) if changes else reading
