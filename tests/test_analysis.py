"""The arithmetic of the analysis, on intervals whose answers are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.analysis.energy import Energy, energy_of, shapley, shapley_split
from collectors.analysis.ledger import ledger_of
from collectors.analysis.resources import Moments, ResourceMix, busiest_link, mix_of
from collectors.analysis.roofline import Point, Roof, point_of, reached, roof_of
from collectors.analysis.sums import plus, ratio, total
from collectors.analysis.tally import Tally, tally_of
from collectors.model import HOST, PHASES, Bottleneck, Interval, Label, Phase, PhaseLabel, engine_entity, gpu_entity
from collectors.readings import EngineReading, GpuReading, HostReading

SECOND = 1_000_000_000
COMPUTE, BANDWIDTH = 989e12, 3.35e12


def phase(share: float | None, busy: float = 1.0, label: PhaseLabel = "mixed") -> Phase:
    return Phase(label, True, share, busy, 0.03, "high", ("engine-seconds",))


def one(
    share: float | None = 0.25, busy: float = 1.0, *, label: PhaseLabel = "mixed", seconds: float = 1.0,
    gpu: GpuReading | None = None, engine: EngineReading | None = None, host: HostReading | None = None,
) -> tuple[Interval, dict[str, Label]]:  # fmt: skip
    """One interval in which everything has the same phase."""
    gpu = gpu or GpuReading(uuid="A")
    engine = engine or EngineReading(endpoint="http://x", engine_index="0", window_seconds=seconds)
    interval = Interval(
        7, 0, round(seconds * SECOND), seconds, host, {gpu.uuid: gpu}, {engine.key: engine}
    )  # fmt: skip
    told = phase(share, busy, label)
    judged = Bottleneck("memory-bandwidth", "memory-bandwidth", None, {"memory-bandwidth": 0.75, "demand": 0.25})
    labels = {
        entity: Label(7, entity, told, judged)
        for entity in (HOST, gpu_entity(gpu.uuid), engine_entity(engine.key))
    }  # fmt: skip
    return interval, labels


def summed(tallies: Iterable[Tally]) -> Tally:
    return reduce(add, tallies, Tally())


def test_the_ledger_splits_busy_time_and_keeps_every_second() -> None:
    ledger = ledger_of(*one(0.25, 0.8, seconds=10.0))
    assert ledger.wall == pytest.approx({"prefill": 2.0, "decode": 6.0, "idle": 2.0, "waiting": 0.0, "unknown": 0.0})
    assert ledger.gpus == pytest.approx(dict(ledger.wall))
    assert ledger.busy == pytest.approx(8.0)
    assert ledger.bottlenecks == {"memory-bandwidth": 10.0}
    assert ledger.resources == {"memory-bandwidth": 7.5, "demand": 2.5}
    assert ledger.inferred == 10.0, "its confidence is low: no counter told what limited it"


def test_without_a_label_all_of_the_time_is_unknown() -> None:
    interval, _ = one()
    ledger = ledger_of(interval, {})
    assert ledger.wall["unknown"] == ledger.gpus["unknown"] == 1.0
    assert (ledger.bottlenecks, ledger.resources) == ({"unknown": 1.0}, {})


def test_a_divided_gpu_is_counted_by_its_instances_alone() -> None:
    assert ledger_of(*one(gpu=GpuReading(uuid="A", instances=2.0))).gpus == {}


def test_energy_is_split_as_the_seconds_and_tokens_stand_beside_it() -> None:
    engine = EngineReading(
        endpoint="e", engine_index="0", window_seconds=1.0, prompt_tokens=900.0, prompt_tokens_cached=500.0,
        generation_tokens=100.0,
    )  # fmt: skip
    energy = energy_of(*one(0.25, 0.8, gpu=GpuReading(uuid="A", energy_joules=500.0), engine=engine))
    assert energy.joules["prefill"] == pytest.approx(100.0)
    assert energy.joules["decode"] == pytest.approx(300.0)
    assert energy.joules["idle"] == pytest.approx(100.0)
    assert energy.total_joules == pytest.approx(500.0)
    assert energy.prompt_tokens == 400.0, "tokens found in the cache cost no work"
    assert energy.joules_per_prompt_token == pytest.approx(0.25)
    assert energy.joules_per_generated_token == pytest.approx(3.0)
    assert energy.joules_per_token == pytest.approx(1.0)


def test_what_was_not_measured_is_missing_and_never_0() -> None:
    energy = energy_of(*one())
    assert energy.total_joules is None
    assert energy.prompt_tokens is None
    assert energy.generated_tokens is None
    assert energy.joules_per_prompt_token is None
    assert energy.joules_per_token is None
    assert shapley_split(energy) is None
    assert point_of(*one()) is None
    assert roof_of([GpuReading(uuid="A")]) == Roof(None, None)
    assert mix_of(*one()).use("compute").prefill is None


def test_no_tokens_cost_no_joules_each() -> None:
    energy = Energy(joules={"prefill": 5.0}, prompt_tokens=0.0)
    assert energy.joules_per_prompt_token is None


def test_the_shapley_value_is_the_mean_over_both_orders() -> None:
    # Together 10; decode alone takes 8, prefill alone 6: prefill comes last for 2, first for 6.
    assert shapley(marginal=2.0, alone=6.0, both=10.0) == 4.0


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_shapley_value_lies_within_what_is_shared(marginal: float, alone: float, both: float) -> None:
    assert 0.0 <= shapley(marginal, alone, both) <= both


def test_the_shapley_split_needs_prefill_alone_and_sums_to_the_whole() -> None:
    def engine(prompt: float, generated: float) -> EngineReading:
        return EngineReading(
            endpoint="e", engine_index="0", window_seconds=1.0, prompt_tokens_computed=prompt,
            generation_tokens=generated,
        )  # fmt: skip

    gpu = GpuReading(uuid="A", energy_joules=400.0)
    alone = [energy_of(*one(1.0, 1.0, label="prefill", gpu=gpu, engine=engine(1000.0, 0.0))) for _ in range(3)]
    # Beside decode a prompt token adds half a millisecond; alone it takes one.
    mixed = [energy_of(*one(0.5, 1.0, gpu=gpu, engine=engine(1000.0, 40.0))) for _ in range(10)]
    assert shapley_split(reduce(add, mixed)) is None
    energy = reduce(add, [*alone, *mixed])
    assert energy.alone_seconds_per_token == pytest.approx(0.001)
    split = shapley_split(energy)
    assert split is not None
    assert split.prefill_joules + split.decode_joules == pytest.approx(13 * 400.0)
    # marginal 3 + 5 s of prefill, alone 3 + 10 s: half of their sum is 10.5 s of 13
    assert split.prefill_joules == pytest.approx(10.5 * 400.0)
    assert split.joules_per_prompt_token == pytest.approx(10.5 * 400.0 / 13_000)


def test_the_ridge_is_where_compute_and_bandwidth_limit_alike() -> None:
    roof = Roof(COMPUTE, BANDWIDTH)
    assert roof.ridge == pytest.approx(295.2, abs=0.1)
    assert roof.attainable(roof.ridge or 0.0) == pytest.approx(COMPUTE)
    assert roof.attainable(1.0) == BANDWIDTH
    assert roof.attainable(1e9) == COMPUTE
    assert reached(Point(100.0, 0.5 * 100.0 * BANDWIDTH, "decode", "engine"), roof) == pytest.approx(0.5)
    assert reached(Point(100.0, 1.0, "decode", "engine"), Roof(None, None)) is None


def test_gpus_of_two_kinds_have_no_one_roof() -> None:
    both = [
        GpuReading(uuid=name, tensor_peak_flops_per_second=peak, dram_peak_bytes_per_second=BANDWIDTH)
        for name, peak in (("A", 1e12), ("B", 2e12))
    ]
    assert roof_of(both) == Roof(None, BANDWIDTH)


def test_an_engines_own_estimate_comes_before_the_activity_of_the_hardware() -> None:
    gpu = GpuReading(
        uuid="A", kernel_active_ratio=0.8, tensor_active_ratio=0.2, dram_active_ratio=0.4,
        tensor_peak_flops_per_second=COMPUTE, dram_peak_bytes_per_second=BANDWIDTH,
    )  # fmt: skip
    activity = point_of(*one(busy=0.8, gpu=gpu))
    assert activity is not None
    assert activity.source == "activity"
    assert activity.rate == pytest.approx(0.25 * COMPUTE)
    assert activity.intensity == pytest.approx(0.2 * COMPUTE / (0.4 * BANDWIDTH))
    engine = EngineReading(
        endpoint="e", engine_index="0", window_seconds=2.0, flops=8e13, read_bytes=1e12, write_bytes=1e12
    )
    told = point_of(*one(busy=0.8, seconds=2.0, gpu=gpu, engine=engine))
    assert told is not None
    assert (told.source, told.phase) == ("engine", "mixed")
    assert told.intensity == pytest.approx(40.0)
    assert told.rate == pytest.approx(8e13 / 1.6), "over busy time"


def test_an_idle_interval_has_no_point() -> None:
    gpu = GpuReading(
        uuid="A", kernel_active_ratio=0.01, tensor_active_ratio=0.005, dram_active_ratio=0.005,
        tensor_peak_flops_per_second=COMPUTE, dram_peak_bytes_per_second=BANDWIDTH,
    )  # fmt: skip
    assert point_of(*one(None, 0.01, label="idle", gpu=gpu)) is None


@pytest.mark.parametrize("busy", [1.0, 0.6])
def test_what_each_phase_uses_is_told_apart_though_every_interval_is_mixed(busy: float) -> None:
    """Prefill 60 % tensor and 20 % DRAM, decode 5 % and 80 %, in shares that vary."""
    mix = ResourceMix()
    for n in range(40):
        share = 0.2 + 0.5 * (n % 10) / 10
        gpu = GpuReading(
            uuid="A",
            tensor_active_ratio=busy * (0.6 * share + 0.05 * (1 - share)),
            dram_active_ratio=busy * (0.2 * share + 0.8 * (1 - share)),
        )
        mix = mix + mix_of(*one(share, busy, gpu=gpu))
    compute, bandwidth = mix.use("compute"), mix.use("memory-bandwidth")
    assert (compute.prefill, compute.decode) == (pytest.approx(0.6), pytest.approx(0.05))
    assert (bandwidth.prefill, bandwidth.decode) == (pytest.approx(0.2), pytest.approx(0.8))
    assert compute.separated


def test_shares_that_do_not_vary_tell_no_phases_apart() -> None:
    gpu = GpuReading(uuid="A", tensor_active_ratio=0.3, dram_active_ratio=0.5)
    use = reduce(add, [mix_of(*one(0.3, gpu=gpu)) for _ in range(20)]).use("compute")
    assert not use.separated
    assert (use.prefill, use.decode) == (pytest.approx(0.3), pytest.approx(0.3))


def test_a_phase_that_was_not_there_uses_nothing_that_could_be_told() -> None:
    gpu = GpuReading(uuid="A", tensor_active_ratio=0.06)
    use = reduce(add, [mix_of(*one(0.0, label="decode", gpu=gpu)) for _ in range(20)]).use("compute")
    assert (use.prefill, use.decode) == (None, pytest.approx(0.06))


def test_capacity_is_a_level_and_not_a_flow() -> None:
    engine = EngineReading(endpoint="e", engine_index="0", window_seconds=10.0, kv_cache_usage_ratio=0.4)
    use = mix_of(*one(0.5, 0.5, seconds=10.0, engine=engine)).use("memory-capacity")
    assert (use.prefill, use.decode) == (pytest.approx(0.4), pytest.approx(0.4))


def test_the_busiest_link_counts_in_its_busier_direction() -> None:
    host = HostReading(
        name="n", window_seconds=2.0, network_interface_speeds=(10.0, None),
        network_interface_receive_bytes=(4.0, 1e9), network_interface_transmit_bytes=(10.0, None),
        rdma_port_speeds=(100.0,), rdma_port_receive_bytes=(None,), rdma_port_transmit_bytes=(60.0,),
    )  # fmt: skip
    assert busiest_link(host) == pytest.approx(0.5)
    assert busiest_link(replace(host, window_seconds=None)) is None
    assert busiest_link(HostReading(name="n", window_seconds=1.0)) is None


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.06, 1), st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_tallies_add_up_in_any_order_and_any_grouping(share: float, busy: float, lengths: list[int]) -> None:
    gpu = GpuReading(uuid="A", energy_joules=10.0, tensor_active_ratio=0.3, dram_active_ratio=0.5)
    parts = [tally_of(*one(share, busy, seconds=float(length), gpu=gpu)) for length in lengths]
    forward, backward = summed(parts), summed(reversed(parts))
    grouped = summed([summed(parts[:1]), summed(parts[1:])])
    for other in (backward, grouped):
        assert other.ledger.wall == pytest.approx(dict(forward.ledger.wall))
        assert other.energy.joules == pytest.approx(dict(forward.energy.joules))
        assert other.mix.use("compute").decode == pytest.approx(forward.mix.use("compute").decode)
    assert sum(forward.ledger.wall[name] for name in PHASES) == pytest.approx(forward.ledger.seconds)
    assert forward.energy.total_joules == pytest.approx(10.0 * len(lengths))


positive = st.floats(0, 1e6)


@given(st.builds(Moments, st.integers(1, 99), *[positive] * 9))
def test_no_sums_at_all_give_a_share_beyond_1_or_below_0(moments: Moments) -> None:
    for name in ("compute", "memory-bandwidth", "memory-capacity"):
        use = ResourceMix({name: moments}).use(name)  # type: ignore[arg-type, dict-item]
        for value in (use.prefill, use.decode):
            assert value is None or 0.0 <= value <= 1.0


def test_sums_of_what_may_be_missing() -> None:
    assert plus(None, None) is None
    assert plus(None, 2.0) == plus(2.0, None) == 2.0
    assert total([None, 1.0, None, 2.0]) == 3.0
    assert total([]) is None
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 2.0) is None
