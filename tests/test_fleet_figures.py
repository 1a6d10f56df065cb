"""What follows from the nodes' figures: health, totals, spare GPUs, balance, outliers, cells of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.fleet.heat import MISSING, HeatMap, last_column, mean_cells, missing, packed, step_for
from collectors.fleet.model import Node, Shares, health_of
from collectors.fleet.outliers import findings
from collectors.fleet.queries import Target, groups, heat, query_of, rule_names
from collectors.fleet.tables import identities, natural, nodes_of, numbers_of
from collectors.fleet.totals import balances, combined, spare, totals_of
from collectors.promql import Vector

BUSY: Shares = (0.3, 0.6, 0.1, 0.0, 0.0)


def node(number: int, **figures: object) -> Node:
    usual = {
        "name": f"node-{number}", "phases": BUSY, "gpus": 8, "watts": 4000.0, "clock": 0.9, "tpot": 0.05,
        "generated_rate": 1000.0, "running": 20.0, "waiting": 0.0, "kv_cache": 0.5, "bottlenecks": {"compute": 1.0},
        "models": ("llama",), "roles": ("both",), "gpu_names": ("H100",),
    }  # fmt: skip
    return Node(**{**usual, **figures})  # type: ignore[arg-type]


def texts(nodes: Sequence[Node]) -> list[str]:
    return [finding.text for finding in findings(nodes)]


def test_a_node_that_is_not_scraped_is_down_whatever_its_counters_say() -> None:
    assert health_of(0.0, 1.0, 0, 0) == "down"
    assert health_of(1.0, 500.0, 0, 0) == "stale"
    assert health_of(1.0, 5.0, 1, 0) == "degraded"
    assert health_of(1.0, None, 0, 0) == "ok"


def test_totals_add_up_and_leave_out_nodes_that_are_down() -> None:
    totals = totals_of([node(1), node(2), Node(name="node-3", health="down")], gpu_hour_price=3.6)
    assert (totals.nodes, totals.there, totals.gpus) == (3, 2, 16)
    assert totals.gpu_seconds["prefill"] == pytest.approx(4.8)
    assert totals.share("decode") == pytest.approx(0.6)
    assert totals.generated_per_joule == pytest.approx(2000 / 8000)
    assert totals.cost_per_million == pytest.approx(3.6 * 16 / 3600 / 2000 * 1e6)


def test_what_is_not_known_is_missing_in_the_totals_too() -> None:
    totals = totals_of([Node(name="a"), Node(name="b")], gpu_hour_price=2.0)
    assert totals.watts is None
    assert totals.cost_per_million is None
    assert totals.spare_gpus is None
    assert totals.share("prefill") is None


def test_a_group_at_a_quarter_of_its_load_spares_whole_nodes() -> None:
    quiet: Shares = (0.1, 0.1, 0.8, 0.0, 0.0)
    nodes = [node(n, phases=quiet, kv_cache=0.1) for n in range(8)]
    assert spare(nodes) == 6 * 8, "8 nodes 20 % busy fit into 2 that are 80 % busy"
    assert spare([replace(one, kv_cache=0.45) for one in nodes]) == 4 * 8, "the KV cache needs 4"
    assert spare([replace(one, waiting=3.0) for one in nodes]) == 0, "nothing is spare where requests wait"
    assert spare([node(1)]) == 0, "one stays"


def test_the_better_balance_of_prefill_and_decode_makes_both_sides_equally_busy() -> None:
    prefill = [node(n, roles=("prefill",), phases=(0.3, 0.0, 0.7, 0.0, 0.0)) for n in range(4)]
    decode = [node(n + 4, roles=("decode",), phases=(0.0, 0.9, 0.1, 0.0, 0.0)) for n in range(4)]
    (balance,) = balances([*prefill, *decode])
    assert (balance.prefill_gpus, balance.decode_gpus) == (32, 32)
    assert (balance.best_prefill_gpus, balance.best_decode_gpus) == (16, 48)
    assert not balance.is_good


def test_a_deployment_of_one_role_has_no_balance() -> None:
    assert balances([node(1), node(2)]) == ()


def test_the_node_with_a_slow_clock_is_named_with_its_peers_median() -> None:
    nodes = [node(n) for n in range(9)] + [node(9, clock=0.6, tpot=0.09)]
    told = texts(nodes)
    assert "node-9: SM clock of its highest 60 %, its 9 peers 90 % (median)" in told
    assert "node-9: TPOT p95 90 ms, its 9 peers 50 ms (median)" in told
    assert all("node-9" in text for text in told)


def test_a_faster_node_and_peers_of_another_model_are_no_outliers() -> None:
    nodes = [node(n) for n in range(9)] + [node(9, tpot=0.01), node(10, tpot=0.4, models=("other",))]
    assert texts(nodes) == []


def test_too_few_peers_say_nothing() -> None:
    assert texts([node(1), node(2), node(3, clock=0.2)]) == []


def test_unwell_nodes_come_first_and_in_one_sentence() -> None:
    nodes = [node(n) for n in range(5)] + [Node(name=f"x-{n}", health="down") for n in range(5)]
    nodes.append(node(9, health="degraded", gpus_lost=2))
    told = findings(nodes)
    assert told[0].text == "x-0, x-1, x-2 and 2 more are not scraped"
    assert told[0].weight == "critical"
    assert told[1].text == "node-9: 2 of 8 GPUs lost"


def test_a_replica_with_many_times_the_requests_of_the_others_is_named() -> None:
    nodes = [node(n, running=10.0) for n in range(3)] + [node(3, running=90.0)]
    assert "llama: node-3 has 90 requests, its 4 replicas 10 (median)" in texts(nodes)


def test_a_group_shows_means_by_gpus_sums_and_the_worst() -> None:
    group = combined("g", [node(1, sm=0.2, gpus=8, tpot=0.1), node(2, sm=0.8, gpus=24)])
    assert group.sm == pytest.approx(0.65)
    assert group.watts == 8000
    assert group.tpot == 0.1
    assert group.phases == pytest.approx(BUSY)


figure = st.one_of(st.none(), st.floats(0, 1e6, allow_nan=False))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Node, name=st.text(max_size=8), health=st.sampled_from(["ok", "degraded", "stale", "down", "gone"]),
            phases=st.one_of(st.none(), st.just(BUSY)), gpus=st.one_of(st.none(), st.integers(0, 16)), watts=figure,
            clock=figure, tpot=figure, running=figure, waiting=figure, kv_cache=figure, generated_rate=figure,
            bottlenecks=st.dictionaries(st.sampled_from(["host", "compute"]), st.floats(0, 1), max_size=2),
            models=st.sampled_from([(), ("m",)]), roles=st.sampled_from([(), ("prefill",), ("decode",)]),
        ),
        max_size=24,
    ),
    st.one_of(st.none(), st.floats(0, 10)),
)  # fmt: skip
def test_any_fleet_has_totals_findings_and_a_group_row(nodes: list[Node], price: float | None) -> None:
    totals = totals_of(nodes, price)
    assert 0 <= totals.there <= totals.nodes == len(nodes)
    assert totals.spare_gpus is None or 0 <= totals.spare_gpus <= max(1, totals.gpus)
    assert all(finding.text for finding in findings(nodes))
    assert combined("all", nodes).name == "all"
    assert all(1 <= one.best_prefill_gpus < one.prefill_gpus + one.decode_gpus for one in balances(nodes))


def test_names_sort_as_people_count() -> None:
    assert sorted(["node-10", "node-9", "a", "node-9b"], key=natural) == ["a", "node-9", "node-9b", "node-10"]


@given(st.lists(st.text(max_size=12), max_size=12))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert len(sorted(names, key=natural)) == len(names)


@given(*[st.floats(0, 1, allow_nan=False)] * 4)
def test_a_cell_holds_four_percents(prefill: float, decode: float, waiting: float, unknown: float) -> None:
    cell = packed(prefill, decode, waiting, unknown)
    parts = (cell // 1_000_000, cell // 10_000 % 100, cell // 100 % 100, cell % 100)
    for part, share in zip(parts, (prefill, decode, waiting, unknown), strict=True):
        assert abs(part - 100 * share) <= 1.1


def test_the_map_asks_only_for_columns_it_lacks_the_newest_first() -> None:
    known = HeatMap(30.0)
    known.put(98, {"a": 1})
    spans = missing(known, 100, 6, at_once=2)
    assert [(span.first, span.last) for span in spans] == [(99, 100), (96, 97), (95, 95)]
    assert known.row("a", 97, 3) == [MISSING, 1, MISSING]
    assert known.row("b", 97, 2) == [MISSING, MISSING]


def test_a_node_that_came_later_is_missing_in_earlier_columns() -> None:
    known = HeatMap(30.0)
    known.put(1, {"a": 5})
    known.put(2, {"a": 6, "b": 7})
    assert known.row("b", 1, 2) == [MISSING, 7]
    assert mean_cells([[packed(0.5, 0, 0, 0)], [MISSING], [packed(0.1, 0, 0, 0)]]) == [29_000_000]


@given(st.floats(1, 2e9), st.sampled_from([15.0, 30.0, 3600.0]))
def test_the_last_column_is_whole(moment: float, step: float) -> None:
    assert (last_column(moment, step) + 1) * step <= moment


def test_a_column_is_never_finer_than_a_scrape() -> None:
    assert step_for(15) == 15
    assert step_for(29.9) == 30
    assert step_for(45) == 60


def test_rules_stand_in_for_the_raw_expressions_one_by_one() -> None:
    target = Target()
    engines = groups(target)["engines"]
    rules = rule_names(target)
    assert "rate(" in query_of(engines, target, ())
    assert "rate(" not in query_of(engines, target, rules)
    some = query_of(engines, target, {"instance:phasetop_engine_requests_running:sum"})
    assert "instance:phasetop_engine_requests_running:sum" in some
    assert "rate(" in some


@pytest.mark.parametrize(("match", "labels"), [("", ("instance",)), ('{job="x"}', ("instance",)), ('a="b"', ())])
def test_a_selector_that_cannot_be_one_is_refused(match: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label"):
        Target(match, labels)


def test_the_map_is_one_number_a_node_and_column() -> None:
    query = heat(Target(), 30.0)
    assert query.count("rate(phasetop_host_phase_seconds_total") == 4
    assert "[30s]" in query


def test_answers_become_nodes_and_a_target_that_is_gone_stays_a_while() -> None:
    target = Target()
    labels = {"instance": "node-1:19417"}
    vector = Vector(
        (
            ({**labels, "figure": "up"}, 1.0), ({"instance": "node-2:19417", "figure": "up"}, 0.0),
            ({**labels, "figure": "gpu_phase", "phase": "decode"}, 0.75), ({**labels, "figure": "sm"}, 0.5),
            ({**labels, "figure": "gpus", "state": "lost"}, 1.0),
            ({**labels, "figure": "gpu_phase", "phase": "idle"}, 0.25),
            ({**labels, "figure": "host_phase", "phase": "prefill"}, 1.0),
            ({"instance": "node-2:19417", "figure": "sm"}, 0.5),
        )
    )  # fmt: skip
    told = [
        ({"figure": "engine", **labels, "model": "llama", "role": "both"}, 1.0),
        ({"figure": "gpus", **labels}, 8.0),
    ]
    known = identities(told, [({**labels, "pool": "a"}, 1.0)], target)
    one, two, three = nodes_of(numbers_of(vector, target), known, {"node-1": 100.0, "node-3": 50.0}, 100.0)
    assert (one.name, one.health, one.gpus, one.gpus_lost) == ("node-1", "degraded", 8, 1)
    assert one.phases == (0, 0.75, 0.25, 0, 0), "its GPUs' time, where they tell it"
    assert (one.models, one.labels) == (("llama",), {"pool": "a"})
    assert (two.health, two.sm) == ("down", None), "what a rate over minutes still shows of a dead node is its past"
    assert (three.name, three.health) == ("node-3", "gone")
    assert len(nodes_of(numbers_of(vector, target), known, {"node-3": 50.0}, 5000.0)) == 2
