"""The rules behind the bottleneck's names: idle time's owners, what holds clocks down, admission, periods."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.bottleneck import Group, judge, mean_wall, over, partition
from collectors.bottleneck.admission import admission
from collectors.bottleneck.partition import held_down
from collectors.model import BOTTLENECK_NAMES, Bottleneck
from collectors.phase.calibrate import UNCALIBRATED, CostModel
from collectors.phase.rules import Spent, phase_of
from collectors.readings import EngineReading, GpuReading, HostReading
from tests.making import decoding, gpu, reading


def judged(
    engines: list[EngineReading],
    gpus: list[GpuReading],
    *,
    busy: float = 1.0,
    prefill: float = 0.0,
    requests: bool = True,
    host: HostReading | None = None,
    costs: CostModel = UNCALIBRATED,
    role: str | None = None,
) -> Bottleneck:
    spent = Spent(busy * prefill, busy * (1 - prefill), 1 - busy, 0.0, 0.05, "high", (), requests)
    phase = phase_of(spent, settled=True)
    return judge(
        phase, engines, gpus, partition(Group(spent.has_requests, engines, gpus), phase, host, costs), costs, role
    )


def resting(**fields: float) -> GpuReading:
    """A GPU that was idle for two fifths of the time."""
    return gpu(kernel_active_ratio=0.6, **fields)


# Idle time: the network's, the host's, or nobody's.


def test_idle_time_while_a_kv_cache_is_on_its_way_is_the_networks() -> None:
    waiting = decoding(kv_transfer_seconds=0.3, gpus=("GPU-0",))
    got = judged([waiting], [resting()], busy=0.6)
    assert got.shares["network"] == pytest.approx(0.3)
    assert got.shares["host"] == pytest.approx(0.1)
    assert got.name == "network"
    assert "waiting for a KV cache transfer 30 %" in got.why


def test_transfers_hidden_behind_computing_cost_nothing() -> None:
    got = judged([decoding(kv_transfer_seconds=0.8, gpus=("GPU-0",))], [gpu()])
    assert "network" not in got.shares


def test_an_instance_for_decode_whose_requests_all_wait_for_their_kv_cache_waits_for_the_network() -> None:
    starved = reading(requests_waiting=3.0, requests_waiting_transfer=3.0, gpus=("GPU-0",))
    assert judged([starved], [gpu(kernel_active_ratio=0.1)], busy=0.1).name == "network"


def test_requests_that_came_and_went_do_not_make_idle_time_the_hosts() -> None:
    """One runs at each end, but it is not the same one: between them there may have been nobody."""
    sparse = decoding(batch=1, first_tokens=2.0, gpus=("GPU-0",))
    assert judged([sparse], [resting()], busy=0.6).shares["demand"] == pytest.approx(0.4)
    dense = decoding(batch=8, first_tokens=2.0, gpus=("GPU-0",))
    assert judged([dense], [resting()], busy=0.6).name == "host"


def test_an_engine_thread_at_a_full_core_is_not_enough_to_blame_the_host() -> None:
    spinning = decoding(cpu_seconds=1.0, gpus=("GPU-0",))
    assert judged([spinning], [gpu(dram_active_ratio=0.7, tensor_active_ratio=0.1)]).name == "memory-bandwidth"


def test_the_busiest_thread_is_named_where_the_host_is() -> None:
    late = decoding(
        cpu_seconds=1.4,
        process_threads=("MainThread", "EngineCore"),
        process_thread_ratios=(0.4, 0.98),
        gpus=("GPU-0",),
    )
    why = judged([late], [resting()], busy=0.6).why
    assert "engine uses 1.4 cores · its thread EngineCore 98 % of one" in why


def test_a_host_that_does_not_compute_is_not_blamed() -> None:
    resting_engine = decoding(cpu_seconds=0.05, gpus=("GPU-0",))
    got = judged([resting_engine], [gpu(kernel_active_ratio=0.3)], busy=0.3)
    assert got.name == "unknown"
    assert "neither the GPU nor the engine's processes compute" in got.why


def test_a_host_that_is_not_let_compute_is_blamed() -> None:
    starved = decoding(cpu_seconds=0.3, gpus=("GPU-0",))
    quota = HostReading(name="node", cpu_throttled_ratio=0.4)
    assert judged([starved], [gpu(kernel_active_ratio=0.3)], busy=0.3, host=quota).name == "host"


def test_a_machine_of_a_held_up_and_an_idle_engine_is_neither_one_nor_the_other() -> None:
    held_up = Spent(0.0, 0.6, 0.4, 0.0, 0.05, "high", (), True)
    phase = phase_of(held_up, settled=True)
    walls = [
        partition(Group(True, [decoding(gpus=("GPU-0",))], [resting()]), phase, None, UNCALIBRATED),
        partition(Group(False, [reading()], [gpu(kernel_active_ratio=0.0)]), phase, None, UNCALIBRATED),
    ]
    whole = mean_wall([wall for wall in walls if wall is not None])
    assert whole.shares["host"] == pytest.approx(0.2)
    assert whole.shares["demand"] == pytest.approx(0.5)
    assert sum(whole.shares.values()) == pytest.approx(1.0)


# Busy time: power and heat, links, counters, the engine's own estimate, the phase.


def test_a_draw_at_the_limit_with_the_clock_down_is_power_where_no_reason_is_counted() -> None:
    capped = gpu(power_watts=71.5, power_limit_watts=72.0, sm_clock_hertz=1.4e9, sm_clock_max_hertz=2.04e9)
    got = judged([decoding(gpus=("GPU-0",))], [capped])
    assert got.name == "power"
    assert "SM clock 1400 of 2040 MHz at 72 of 72 W" in got.why
    assert any("at most 31 % less time" in line for line in got.advice)


@pytest.mark.parametrize(
    "fields",
    [
        {"power_watts": 71.5, "power_limit_watts": 72.0, "sm_clock_hertz": 2.03e9, "sm_clock_max_hertz": 2.04e9},
        {"power_watts": 50.0, "power_limit_watts": 72.0, "sm_clock_hertz": 1.4e9, "sm_clock_max_hertz": 2.04e9},
        {"throttle_thermal_ratio": 1.0, "sm_clock_hertz": 1.98e9, "sm_clock_max_hertz": 1.98e9},
    ],
)
def test_what_does_not_lower_the_clock_holds_nothing_down(fields: dict[str, float]) -> None:
    assert held_down(gpu(**fields)) == 0.0


def test_a_reason_that_held_for_a_part_of_the_time_counts_whatever_the_clock_says_at_its_end() -> None:
    assert held_down(gpu(throttle_power_ratio=0.4, sm_clock_hertz=1.98e9, sm_clock_max_hertz=1.98e9)) == 0.4


def test_whether_clocks_are_held_down_is_not_known_without_limits() -> None:
    assert held_down(gpu(power_watts=300.0, sm_clock_hertz=1.4e9)) is None


def test_a_full_pcie_link_is_the_network_and_one_in_use_is_not() -> None:
    link = {"pcie_link_generation": 4.0, "pcie_link_width": 16.0, "dram_active_ratio": 0.3, "tensor_active_ratio": 0.1}
    assert judged([decoding(gpus=("GPU-0",))], [gpu(pcie_rx_bytes_per_second=28e9, **link)]).name == "network"
    assert "network" not in judged([decoding(gpus=("GPU-0",))], [gpu(pcie_rx_bytes_per_second=9e9, **link)]).shares


def test_the_engines_own_estimate_of_operations_and_bytes_stands_in_for_counters() -> None:
    card = gpu(tensor_peak_flops_per_second=100e12, dram_peak_bytes_per_second=1e12)
    streaming = decoding(flops=8e12, read_bytes=7e11, write_bytes=1e10, gpus=("GPU-0",))
    multiplying = decoding(flops=6e13, read_bytes=1e11, gpus=("GPU-0",))
    assert judged([streaming], [card]).name == "memory-bandwidth"
    got = judged([multiplying], [card])
    assert (got.name, got.confidence) == ("compute", "medium")


def test_decode_beyond_the_knee_is_bound_by_compute_save_for_reading_the_kv_cache() -> None:
    card = gpu(tensor_peak_flops_per_second=121e12, dram_peak_bytes_per_second=300e9)  # knee at 403
    costs = CostModel(step=0.02, token=0.0001, kv_step=1e-7, windows=60, knows_decode=True, error=0.02)
    large = decoding(steps=10, batch=512, kv_cache_usage_ratio=0.1, kv_cache_tokens=1e6, gpus=("GPU-0",))
    small = replace(large, generation_tokens=10.0 * 64, requests_running=64.0)
    assert judged([large], [card], costs=costs).name == "compute"
    assert judged([small], [card], costs=costs).name == "memory-bandwidth"


# Admission.


def test_waiting_for_room_with_a_roomy_kv_cache_is_the_schedulers_limit() -> None:
    waiting = decoding(kv_cache_usage_ratio=0.4, requests_waiting=5.0, requests_waiting_capacity=5.0)
    assert admission([waiting]).name == "scheduler"
    assert admission([replace(waiting, kv_cache_usage_ratio=0.9)]).name is None
    assert admission([replace(waiting, requests_waiting=0.0)]).name is None


def test_one_full_engine_among_several_is_told() -> None:
    full = decoding(kv_cache_usage_ratio=1.0, requests_waiting=4.0)
    assert admission([decoding(kv_cache_usage_ratio=0.2), full]).name == "kv-capacity"


# What is said.


def test_nothing_wrong_is_said_aloud_and_only_when_nobody_waits() -> None:
    calm = decoding(kv_cache_usage_ratio=0.3, gpus=("GPU-0",))
    assert "nothing is wrong" in judged([calm], [gpu(dram_active_ratio=0.7, tensor_active_ratio=0.1)]).why
    crowded = replace(calm, requests_waiting=3.0)
    assert "nothing is wrong" not in judged([crowded], [gpu(dram_active_ratio=0.7, tensor_active_ratio=0.1)]).why
    assert "nothing is wrong" in judged([reading()], [gpu(kernel_active_ratio=0.0)], busy=0.0, requests=False).why


def test_an_instance_of_a_disaggregated_deployment_is_named() -> None:
    assert "an instance for decode alone" in judged([decoding()], [gpu()], role="decode").why
    assert "instance" not in judged([decoding()], [gpu()], role="both").why


# Periods.


def test_a_host_late_in_every_other_interval_is_named_over_the_whole_time() -> None:
    late = Bottleneck("host", "host", None, {"host": 0.4, "memory-bandwidth": 0.6})
    well = Bottleneck("memory-bandwidth", "memory-bandwidth", None, {"memory-bandwidth": 1.0})
    period = over([(late, 1.0), (well, 1.0)] * 10)
    assert (period.name, period.seconds) == ("host", 20.0)
    assert period.shares["host"] == pytest.approx(0.2)
    assert period.names == {"host": 0.5, "memory-bandwidth": 0.5}


def test_a_kv_cache_full_for_a_moment_is_not_what_the_time_was_about() -> None:
    full = Bottleneck("kv-capacity", "memory-bandwidth", "kv-capacity", {"memory-bandwidth": 1.0})
    roomy = Bottleneck("memory-bandwidth", "memory-bandwidth", None, {"memory-bandwidth": 1.0})
    assert over([(full, 1.0), *[(roomy, 1.0)] * 9]).name == "memory-bandwidth"
    assert over([(full, 1.0), (roomy, 1.0)]).name == "kv-capacity"


def test_no_time_is_unknown() -> None:
    assert over([]).name == "unknown"


shares = st.lists(st.sampled_from(BOTTLENECK_NAMES), min_size=1, max_size=6, unique=True)


@given(st.lists(st.tuples(shares, st.floats(0.1, 10)), min_size=1, max_size=20))
def test_a_periods_shares_sum_to_one_and_do_not_depend_on_the_order(parts: list[tuple[list[str], float]]) -> None:
    judgements = [(Bottleneck(shares={name: 1 / len(names) for name in names}), seconds) for names, seconds in parts]
    there, back = over(judgements), over(reversed(judgements))
    assert sum(there.shares.values()) == pytest.approx(1.0)
    assert there.shares == pytest.approx(back.shares)


ratio = st.floats(0, 1)
maybe = st.none() | ratio


@given(
    ratio, ratio, maybe, maybe, maybe, maybe, st.none() | st.floats(0, 3), st.none() | st.floats(0, 3),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_every_second_has_one_owner_whatever_is_missing(
    busy: float, prefill: float, dram: float | None, tensor: float | None, throttled: float | None, link: float | None,
    transfer: float | None, cores: float | None, requests: bool, has_gpu: bool,
) -> None:  # fmt: skip
    card = gpu(
        kernel_active_ratio=busy, dram_active_ratio=dram, tensor_active_ratio=tensor, throttle_power_ratio=throttled,
        pcie_link_generation=5.0, pcie_link_width=16.0,
        pcie_tx_bytes_per_second=None if link is None else link * 63e9,
    )  # fmt: skip
    engine = decoding(kv_transfer_seconds=transfer, cpu_seconds=cores, gpus=("GPU-0",))
    got = judged([engine], [card] if has_gpu else [], busy=busy, prefill=prefill, requests=requests)
    assert sum(got.shares.values()) == pytest.approx(1.0, abs=0.002)
    assert min(got.shares.values()) >= 0
    assert got.name in BOTTLENECK_NAMES
