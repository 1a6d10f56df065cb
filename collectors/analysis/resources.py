"""What each phase asks of the hardware: compute, memory bandwidth and capacity, network bandwidth and latency.

Intervals of a second or more hold both phases, so a plain mean over "prefill intervals" shows neither.
Flows (activity, bytes) are separated by least squares: in each interval the flow is what prefill uses per
second times its seconds, plus the same of decode; idle time uses nothing. The two unknowns per resource
follow from sums that add up over any intervals. Where the shares hardly vary the sums do not tell the
phases apart; then each has the mean weighted by its seconds, and `separated` is False. Levels (capacity)
are no flows and are always weighted means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from collectors.analysis.ledger import entity_seconds
from collectors.analysis.sums import total
from collectors.median import mean_of_known
from collectors.model import HOST, Interval, Label
from collectors.readings import EngineReading, GpuReading, HostReading

Resource = Literal[
    "compute", "memory-bandwidth", "memory-capacity", "network-bandwidth", "network-link", "network-latency",
]  # fmt: skip
RESOURCES: tuple[Resource, ...] = (
    "compute", "memory-bandwidth", "memory-capacity", "network-bandwidth", "network-link", "network-latency",
)  # fmt: skip
"""compute: cycles a tensor pipe was active. memory-bandwidth: DRAM bandwidth in use, of its peak.
memory-capacity: KV cache in use, or device memory where no engine tells. network-bandwidth: bytes/s on network
interfaces, RDMA ports and NVLink together. network-link: the busiest interface or port, of its link speed.
network-latency: time in transfers of KV caches, per time."""
LEVELS: frozenset[Resource] = frozenset({"memory-capacity"})
RATIOS: frozenset[Resource] = frozenset(RESOURCES) - {"network-bandwidth"}

MOST_BLUR = 4.0
_LEAST_SECONDS = 1.0
"""Of a phase, before anything is said about it."""
_LEAST_CONTRAST = 0.02
"""1 - r^2 of the two phases' seconds over the intervals: below it they cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the intervals in which a resource was measured: p and d are seconds of prefill and decode, y the use.

    For a flow y is the amount of the interval (use times seconds), for a level its value.
    """

    intervals: int = 0
    p: float = 0.0
    d: float = 0.0
    pp: float = 0.0
    pd: float = 0.0
    dd: float = 0.0
    py: float = 0.0
    dy: float = 0.0
    p_mean: float = 0.0
    """Sum of p times the use per busy second."""
    d_mean: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.intervals + other.intervals, self.p + other.p, self.d + other.d, self.pp + other.pp,
            self.pd + other.pd, self.dd + other.dd, self.py + other.py, self.dy + other.dy,
            self.p_mean + other.p_mean, self.d_mean + other.d_mean,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Use:
    """What one second of each phase uses of a resource; None for a phase that was not there, or not measured."""

    prefill: float | None = None
    decode: float | None = None
    separated: bool = True


@dataclass(frozen=True, slots=True)
class ResourceMix:
    """The moments of each resource that was measured. Mixes add up."""

    moments: Mapping[Resource, Moments] = field(default_factory=dict)

    def __add__(self, other: ResourceMix) -> ResourceMix:
        result = dict(self.moments)
        for name, moments in other.moments.items():
            result[name] = result[name] + moments if name in result else moments
        return ResourceMix(result)

    def use(self, resource: Resource) -> Use:
        """What each phase uses of a resource."""
        moments = self.moments.get(resource)
        if moments is None:
            return Use()
        found = _means(moments) if resource in LEVELS else _separated(moments)
        if resource not in RATIOS:
            return found
        return Use(_at_most_one(found.prefill), _at_most_one(found.decode), found.separated)


def _at_most_one(value: float | None) -> float | None:
    return None if value is None else min(1.0, value)


def _means(moments: Moments) -> Use:
    return Use(
        moments.p_mean / moments.p if moments.p >= _LEAST_SECONDS else None,
        moments.d_mean / moments.d if moments.d >= _LEAST_SECONDS else None,
        separated=False,
    )


def _separated(moments: Moments) -> Use:
    """The least squares of two unknowns that are not negative."""
    has_prefill, has_decode = moments.p >= _LEAST_SECONDS, moments.d >= _LEAST_SECONDS
    determinant = moments.pp * moments.dd - moments.pd**2
    if not (has_prefill and has_decode and moments.pp * moments.dd > 0):
        return _means(moments)
    if determinant < _LEAST_CONTRAST * moments.pp * moments.dd:
        return _means(moments)
    prefill = (moments.py * moments.dd - moments.dy * moments.pd) / determinant
    decode = (moments.dy * moments.pp - moments.py * moments.pd) / determinant
    if prefill < 0:
        prefill, decode = 0.0, moments.dy / moments.dd
    elif decode < 0:
        prefill, decode = moments.py / moments.pp, 0.0
    return Use(prefill, decode)


def blur(pp: float, pd: float, dd: float, error: float) -> float:
    """By how much more the phases differ than least squares finds, relative to what it finds.

    `pp`, `pd` and `dd` are sums of products of the seconds of prefill and decode, `error` the standard deviation
    of a share. Seconds booked under the wrong phase add error^2 (p + d)^2 to the first and the last and take it from
    the middle one, so that what the shares explain looks smaller (errors in variables; W. A. Fuller, Measurement
    Error Models, 1987). Where noise is most of what varies, `MOST_BLUR`.
    """
    determinant = pp * dd - pd**2
    told = 1.0 - (error * (pp + dd + 2.0 * pd)) ** 2 / determinant if determinant > 0 else 0.0
    return min(MOST_BLUR, 1.0 / told - 1.0) if told > 0 else MOST_BLUR


def mix_of(interval: Interval, labels: Mapping[str, Label]) -> ResourceMix:
    """The moments of one interval; without a split of its busy time there are none."""
    label = labels.get(HOST)
    if label is None or label.phase.prefill_share is None:
        return ResourceMix()
    seconds = entity_seconds(label, interval.duration)
    p, d = seconds["prefill"], seconds["decode"]
    if p + d <= 0:
        return ResourceMix()
    found: dict[Resource, Moments] = {}
    for resource, value in _measured(interval).items():
        amount = value if resource in LEVELS else value * interval.duration
        mean = value if resource in LEVELS else amount / (p + d)
        found[resource] = Moments(
            1, p, d, p * p, p * d, d * d, p * amount, d * amount, p * mean, d * mean
        )  # fmt: skip
    return ResourceMix(found)


def _measured(interval: Interval) -> dict[Resource, float]:
    gpus = [gpu for gpu in interval.gpus.values() if gpu.state == "ok" and not gpu.instances]
    engines = [engine for engine in interval.engines.values() if engine.state == "ok"]
    values: dict[Resource, float | None] = {
        "compute": mean_of_known(gpu.tensor_active_ratio for gpu in gpus),
        "memory-bandwidth": mean_of_known(gpu.dram_active_ratio for gpu in gpus),
        "memory-capacity": _capacity(gpus, engines),
        "network-bandwidth": _network(interval.host, gpus),
        "network-link": None if interval.host is None else busiest_link(interval.host),
        "network-latency": _transfers(engines),
    }
    return {resource: value for resource, value in values.items() if value is not None}


def _capacity(gpus: list[GpuReading], engines: list[EngineReading]) -> float | None:
    """The fullest KV cache; without one the device memory in use."""
    caches = [engine.kv_cache_usage_ratio for engine in engines if engine.kv_cache_usage_ratio is not None]
    if caches:
        return max(caches)
    return mean_of_known(
        gpu.memory_used_bytes / gpu.memory_total_bytes
        for gpu in gpus
        if gpu.memory_used_bytes is not None and gpu.memory_total_bytes
    )


def _network(host: HostReading | None, gpus: list[GpuReading]) -> float | None:
    """Bytes/s in both directions, of what is measured: interfaces, RDMA ports, NVLink."""
    links = total(
        part for gpu in gpus for part in (gpu.nvlink_tx_bytes_per_second, gpu.nvlink_rx_bytes_per_second)
    )  # fmt: skip
    if host is None or not host.window_seconds:
        return links
    amounts = total(
        (
            host.network_receive_bytes, host.network_transmit_bytes, host.rdma_receive_bytes, host.rdma_transmit_bytes,
        )
    )  # fmt: skip
    return total((links, None if amounts is None else amounts / host.window_seconds))


def busiest_link(host: HostReading) -> float | None:
    """The busier direction of the busiest interface or RDMA port whose link speed is known, of that speed."""
    if not host.window_seconds:
        return None
    ratios = []
    for speeds, received, sent in (
        (host.network_interface_speeds, host.network_interface_receive_bytes, host.network_interface_transmit_bytes),
        (host.rdma_port_speeds, host.rdma_port_receive_bytes, host.rdma_port_transmit_bytes),
    ):
        for speed, *amounts in zip(speeds or (), received or (), sent or (), strict=False):
            known = [amount for amount in amounts if amount is not None]
            if speed and known:
                ratios.append(max(known) / host.window_seconds / speed)
    return max(ratios) if ratios else None


def _transfers(engines: list[EngineReading]) -> float | None:
    """Seconds in KV transfers per second, of the engine that spends most there."""
    shares = [
        engine.kv_transfer_seconds / engine.window_seconds
        for engine in engines
        if engine.kv_transfer_seconds is not None and engine.window_seconds
    ]
    return max(shares) if shares else None
