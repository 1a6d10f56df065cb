"""Where the wall time of one GPU group went, as shares of it: what the seconds were limited by.

Idle time of the GPUs belongs to the network (a KV cache is on its way), to the host (requests are
there and nothing runs) or to nobody (no demand). Busy time belongs to power or heat while they
hold the clocks down; the rest is divided by what was in use: links that are full, matrix units,
memory bandwidth. The evidence for that division, best first: hardware counters, the engine's own
estimate of operations and bytes, the phase (prefill multiplies matrices, decode streams weights
and KV cache).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collectors.model import BottleneckName, Phase
from collectors.phase.calibrate import CostModel
from collectors.phase.evidence import gpu_busy_ratio
from collectors.readings import EngineReading, GpuReading, HostReading

DRAM_ATTAINABLE = 0.80
"""DRAM activity a bandwidth-bound kernel reaches in practice (NVIDIA's own test program)."""
TENSOR_ATTAINABLE = 0.93
"""Tensor activity a saturating matrix multiplication reaches in practice (likewise)."""
FLOPS_ATTAINABLE = 0.80
"""Part of the data sheet's matrix rate that large multiplications reach (measured on A100 and H100)."""
BYTES_ATTAINABLE = 0.85
"""Part of the data sheet's bandwidth that weight-streaming multiplications reach (likewise)."""
EXPLAINED_FROM = 0.35
"""Below this share of what is attainable neither compute nor bandwidth explains busy time."""

_LINK_FULL = 0.70
"""Use of a link from which it is what a transfer waits for."""
_PCIE_LANE_BYTES = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
"""Bytes per second, lane and direction, by generation, after line coding."""

_CLOCK_FULL = 0.98
"""SM clock, relative to its maximum, at which nothing is held down whatever the driver's flags say."""
_CLOCK_HELD, _POWER_AT_LIMIT = 0.95, 0.97
"""Where no reason is counted: the clock is this far down while the power draw is at its limit."""
_ALWAYS = 0.90
"""Share of the interval from which a reason counts as named all the time."""

_RESTING_CORES = 0.5
"""CPU cores in use below which an engine that does not wait for anything else is not held up by computing."""
_STARVED = 0.10
"""Share of the time throttled by a quota, or waiting for a CPU, that explains a host that does not compute."""


class Group(NamedTuple):
    """GPUs that belong together (one, or an engine's), with the engines on them and whether requests were there."""

    has_requests: bool
    engines: Sequence[EngineReading]
    gpus: Sequence[GpuReading]


class Signals(NamedTuple):
    """The mean of each signal over the GPUs that have it; None where none has."""

    held: float | None
    tensor: float | None
    dram: float | None
    busy: float | None
    memory_active: float | None
    link: float | None


class Wall(NamedTuple):
    """A partition of wall time as ratios, what it rests on, and the signals behind it."""

    shares: Mapping[BottleneckName, float]
    basis: str
    hardware: Signals
    busy: float
    transfer: float = 0.0


def partition(
    group: Group, phase: Phase, host: HostReading | None, costs: CostModel, hardware: Signals | None = None
) -> Wall | None:
    """The wall of one group; None where nothing tells how much of the time it was busy.

    `phase` is that of the entity the group stands for; `hardware` what `signals` says of its GPUs that
    answer, where that is known already. The shares sum to 1.
    """
    gpus = [gpu for gpu in group.gpus if gpu.state == "ok"]
    if hardware is None:
        hardware = signals(gpus)
    busy = _busy(phase, hardware, gpus)
    if busy is None:
        return None
    shares: dict[BottleneckName, float] = {}
    transfer = _share_idle(shares, 1.0 - busy, group, phase, host, has_gpus=bool(gpus))
    shares["power"] = min(busy, hardware.held or 0.0)
    basis = _share_busy(shares, busy, group, phase, hardware, gpus, costs)
    return Wall(shares, basis, hardware, busy, transfer)


def depends_on(wall: Wall | None, phase: Phase, costs: CostModel) -> tuple[object, ...]:
    """What a group's wall rests on besides its readings: where it is the same, so is `wall`, made earlier of them."""
    is_waiting = phase.label == "waiting"
    hardware = NO_SIGNALS if wall is None else wall.hardware
    if hardware.busy and hardware.tensor is not None and hardware.dram is not None:
        return (is_waiting,)  # the counters alone tell how its busy time divides
    return is_waiting, phase.busy_ratio, phase.prefill_share, costs


def mean_wall(walls: Sequence[Wall]) -> Wall:
    """The wall of several groups of equal weight."""
    if len(walls) == 1:
        return walls[0]
    count = len(walls)
    shares: dict[BottleneckName, float] = {}
    busy = transfer = 0.0
    basis = walls[0].basis
    for wall in walls:
        for name, value in wall.shares.items():
            shares[name] = shares.get(name, 0.0) + value / count
        busy += wall.busy
        transfer += wall.transfer
        if wall.basis == "counters":
            basis = "counters"
    return Wall(shares, basis, mean_signals([wall.hardware for wall in walls]), busy / count, transfer / count)


def signals(gpus: Sequence[GpuReading]) -> Signals:
    """What the GPUs say, averaged over those that say it."""
    return mean_signals([signals_of(gpu) for gpu in gpus])


def mean_signals(several: Sequence[Signals]) -> Signals:
    """The mean of each signal over those that have it."""
    if len(several) < 2:
        return several[0] if several else NO_SIGNALS
    return Signals(*map(_mean, zip(*several, strict=True)))


NO_SIGNALS = Signals(None, None, None, None, None, None)


def signals_of(gpu: GpuReading) -> Signals:
    """What one GPU says."""
    return Signals(
        held_down(gpu), gpu.tensor_active_ratio, gpu.dram_active_ratio, gpu_busy_ratio(gpu), gpu.memory_active_ratio,
        _link_use(gpu),
    )  # fmt: skip


def held_down(gpu: GpuReading) -> float | None:
    """Share of the interval in which power or heat kept the SM clock down; None where nothing tells.

    A driver that names a reason all the time while the clock stands at its maximum holds nothing
    down. Where no reason is counted, a draw at its limit with the clock well below its maximum is one.
    """
    power, thermal, hardware = gpu.throttle_power_ratio, gpu.throttle_thermal_ratio, gpu.throttle_hardware_ratio
    if power is not None or thermal is not None or hardware is not None:
        most = max(power or 0.0, thermal or 0.0, hardware or 0.0)
        return 0.0 if most >= _ALWAYS and (_clock(gpu) or 0.0) >= _CLOCK_FULL else most
    clock = _clock(gpu)
    if clock is None or gpu.power_watts is None or not gpu.power_limit_watts:
        return None
    at_limit = gpu.power_watts >= _POWER_AT_LIMIT * gpu.power_limit_watts
    return (gpu_busy_ratio(gpu) or 0.0) if at_limit and clock < _CLOCK_HELD else 0.0


def _clock(gpu: GpuReading) -> float | None:
    """The SM clock relative to its maximum."""
    return gpu.sm_clock_hertz / gpu.sm_clock_max_hertz if gpu.sm_clock_hertz and gpu.sm_clock_max_hertz else None


def _link_use(gpu: GpuReading) -> float | None:
    """Use of the PCIe link in its busier direction."""
    if not gpu.pcie_link_generation or not gpu.pcie_link_width:
        return None
    lane = _PCIE_LANE_BYTES.get(int(gpu.pcie_link_generation))
    rates = [rate for rate in (gpu.pcie_rx_bytes_per_second, gpu.pcie_tx_bytes_per_second) if rate is not None]
    return min(1.0, max(rates) / (lane * gpu.pcie_link_width)) if lane and rates else None


def _busy(phase: Phase, hardware: Signals, gpus: Sequence[GpuReading]) -> float | None:
    """Busy time per wall time: measured by the GPUs, of which the busiest tells the time of a group."""
    if hardware.busy is None:
        return phase.busy_ratio
    if len(gpus) == 1:
        return min(1.0, hardware.busy)
    return min(1.0, max(ratio for gpu in gpus if (ratio := gpu_busy_ratio(gpu)) is not None))


def _share_idle(
    shares: dict[BottleneckName, float],
    idle: float,
    group: Group,
    phase: Phase,
    host: HostReading | None,
    *,
    has_gpus: bool,
) -> float:
    """Gives the idle time to those it was waited for; returns the part in which a KV cache was on its way."""
    transfer = min(idle, _transfer_ratio(group.engines, idle))
    if transfer > 0:
        shares["network"] = transfer
        idle -= transfer
    if not has_gpus:
        name: BottleneckName = "unknown" if phase.label == "waiting" else "demand"
    elif not (phase.label == "waiting" or requests_throughout(group)):
        name = "demand"
    else:
        name = "host" if _host_may_be_late(group.engines, host) else "unknown"
    shares[name] = idle
    return transfer


def requests_throughout(group: Group) -> bool:
    """Whether requests were there all the time, as far as is known.

    Running ones at both ends may be different ones, with nothing between. Someone was surely there
    while somebody waits, or when more run at the end than began within the interval.
    """
    if not group.has_requests:
        return False
    for engine in group.engines:
        if engine.requests_waiting or engine.first_tokens is None:
            return True
        if (engine.requests_running or 0.0) > engine.first_tokens:
            return True
    return not group.engines


def _transfer_ratio(engines: Sequence[EngineReading], idle: float) -> float:
    """Idle time in which KV caches were on their way between instances.

    Transfers overlap with computing wherever they can; only what shows as idle time costs.
    """
    most = 0.0
    for engine in engines:
        if engine.requests_waiting_transfer and not engine.requests_running:
            most = max(most, idle)
        elif engine.kv_transfer_seconds and engine.window_seconds:
            most = max(most, engine.kv_transfer_seconds / engine.window_seconds)
    return most


def _host_may_be_late(engines: Sequence[EngineReading], host: HostReading | None) -> bool:
    """Whether the host can be what the GPU waits for.

    A host-bound engine computes on its CPU all the time. The reverse does not hold, since an engine
    thread spins at a full core in any case: this rules out, and proves nothing.
    """
    if host is not None and max(host.cpu_throttled_ratio or 0.0, host.cpu_pressure_ratio or 0.0) >= _STARVED:
        return True
    cores = [engine.cpu_seconds / engine.window_seconds for engine in engines
             if engine.cpu_seconds is not None and engine.window_seconds]  # fmt: skip
    return not cores or max(cores) >= _RESTING_CORES


def _share_busy(
    shares: dict[BottleneckName, float],
    busy: float,
    group: Group,
    phase: Phase,
    hardware: Signals,
    gpus: Sequence[GpuReading],
    costs: CostModel,
) -> str:
    """Divides the busy time that power and heat leave over; returns what that rests on."""
    left = busy - shares["power"]
    used, basis = _use(group.engines, hardware, gpus, busy)
    if used is not None:
        compute, bandwidth = used
        link = hardware.link / busy if hardware.link is not None and hardware.link >= _LINK_FULL else 0.0
        if max(compute, bandwidth, link) < EXPLAINED_FROM:
            shares["unknown"] = shares.get("unknown", 0.0) + left
            return basis
        total = compute + bandwidth + link
        shares["compute"] = left * compute / total
        if link:
            shares["network"] = shares.get("network", 0.0) + left * link / total
        shares["memory-bandwidth"] = left * bandwidth / total
        return basis
    prefill = phase.prefill_share
    if prefill is None:
        shares["unknown"] = shares.get("unknown", 0.0) + left
        return "nothing"
    compute = prefill + (1.0 - prefill) * _decode_in_compute(group.engines, gpus, costs)
    shares["compute"] = left * compute
    shares["memory-bandwidth"] = left - shares["compute"]
    return "phase"


def _use(
    engines: Sequence[EngineReading], hardware: Signals, gpus: Sequence[GpuReading], busy: float
) -> tuple[tuple[float, float] | None, str]:
    """Compute and bandwidth in use during busy time, relative to what is attainable, and who says so."""
    if busy <= 0:
        return None, "nothing"
    if hardware.tensor is not None and hardware.dram is not None:
        return (hardware.tensor / TENSOR_ATTAINABLE / busy, hardware.dram / DRAM_ATTAINABLE / busy), "counters"
    if len(engines) == 1:
        rates = estimated_rates(engines[0], gpus)
        if rates is not None:
            return (rates[0] / FLOPS_ATTAINABLE / busy, rates[1] / BYTES_ATTAINABLE / busy), "engine"
    return None, "nothing"


def estimated_rates(engine: EngineReading, gpus: Sequence[GpuReading]) -> tuple[float, float] | None:
    """MFU and MBU by the engine's own estimate of operations and bytes, where it keeps one and peaks are known."""
    if not engine.flops or not engine.read_bytes or not engine.window_seconds:
        return None
    for gpu in gpus:
        if gpu.tensor_peak_flops_per_second and gpu.dram_peak_bytes_per_second:
            moved = engine.read_bytes + (engine.write_bytes or 0.0)
            return (
                engine.flops / engine.window_seconds / gpu.tensor_peak_flops_per_second,
                moved / engine.window_seconds / gpu.dram_peak_bytes_per_second,
            )
    return None


def _decode_in_compute(engines: Sequence[EngineReading], gpus: Sequence[GpuReading], costs: CostModel) -> float:
    """Share of decode time that is bound by compute: large batches use the matrix units, KV reads never do.

    Only where the costs tell the KV cache's part from the rest.
    """
    if len(engines) != 1 or not costs.is_sure or not costs.knows_decode or not costs.kv_step:
        return 0.0
    engine = engines[0]
    steps = engine.decode_steps or engine.steps
    if not steps or not engine.generation_tokens or engine.kv_cache_usage_ratio is None or not engine.kv_cache_tokens:
        return 0.0
    batch = engine.generation_tokens / steps
    if batch < (knee(gpus) or float("inf")):
        return 0.0
    step = costs.decode_seconds(1, batch, engine.kv_cache_usage_ratio * engine.kv_cache_tokens)
    return (costs.step + costs.token * batch) / step if step > 0 else 0.0


def knee(gpus: Sequence[GpuReading]) -> float | None:
    """Tokens a step from which a dense 16-bit model's multiplications are bound by compute; None where not known.

    A step reads two bytes of each weight and does two operations with it per token, so it is the
    ratio of peak compute to peak bandwidth.
    """
    for gpu in gpus:
        if gpu.tensor_peak_flops_per_second and gpu.dram_peak_bytes_per_second:
            return gpu.tensor_peak_flops_per_second / gpu.dram_peak_bytes_per_second
    return None


def _mean(values: Iterable[float | None]) -> float | None:
    total, count = 0.0, 0
    for value in values:
        if value is not None:
            total += value
            count += 1
    return total / count if count else None
