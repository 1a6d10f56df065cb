"""Looks at a fleet through a server of the test's own: what fails, what stays, what comes back."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from collectors.clock import FakeClock
from collectors.fleet.past import NodePast
from collectors.fleet.prometheus import PrometheusFleet
from collectors.fleet.queries import Target
from collectors.fleet.watch import FleetState, FleetWatch, Wanted
from collectors.model import HOST
from collectors.promql import PromClient, PromProblem
from tests.patience import PATIENCE
from tests.prom_server import Answer, Asked, PromServer, matrix, prom_server, vector


class FakeFleet:
    """Answers as a Prometheus with so many nodes would."""

    def __init__(self, nodes: int = 4, *, has_rules: bool = False) -> None:
        self.nodes = nodes
        self.down = 0
        self.has_rules = has_rules
        self.without_gpus = 0

    def __call__(self, asked: Asked) -> Answer:
        query = asked["query"]
        if asked["endpoint"] == "query_range":
            points = [(float(t), 30_600_000) for t in _steps(asked)]
            return matrix([({"instance": f"n{n}"}, points) for n in range(self.nodes)])
        if query.startswith("group by (__name__)"):
            rules = ["instance:phasetop_engine_requests_running:sum"] if self.has_rules else []
            return vector([({"__name__": name}, 1) for name in rules])
        if query.startswith("max(count_over_time"):
            return vector([({}, 20)])
        if query.startswith("up{"):
            return vector([({"instance": f"n{n}", "pool": "a"}, 1) for n in range(self.nodes)])
        samples: list[tuple[Mapping[str, str], float]] = []
        for n in range(self.nodes):
            name = {"instance": f"n{n}"}
            if '"up"' in query:
                samples.append(({**name, "figure": "up"}, 0.0 if n < self.down else 1.0))
            if '"sm"' in query:
                samples.append(({**name, "figure": "sm"}, 0.5))
            if '"gpu_phase"' in query and n >= self.without_gpus:
                samples.append(({**name, "figure": "gpu_phase", "phase": "decode"}, 0.5))
            if '"host_phase"' in query:
                samples.append(({**name, "figure": "host_phase", "phase": "prefill"}, 0.5))
        return vector(samples)


def _steps(asked: Asked) -> list[float]:
    start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
    return [start + n * step for n in range(int((end - start) / step + 0.001) + 1)]


def fleet_of(server: PromServer, **options: object) -> PrometheusFleet:
    client = PromClient(server.url, **{"timeout": PATIENCE, **options})  # type: ignore[arg-type]
    return PrometheusFleet(client, Target(), wall=lambda: 1000.0)


def test_a_look_needs_ten_queries_at_first_and_six_afterwards() -> None:
    with prom_server(FakeFleet()) as server:
        fleet = fleet_of(server)
        first, second = fleet.look(), fleet.look()
        fleet.close()
    assert (first.queries, second.queries) == (10, 6)
    assert [node.name for node in second.nodes] == ["n0", "n1", "n2", "n3"]
    assert second.nodes[0].sm == 0.5
    assert second.nodes[0].labels == {"pool": "a"}
    assert fleet.scrape_interval == 15.0


def test_machines_are_asked_for_their_time_only_where_no_gpu_tells_it() -> None:
    answers = FakeFleet()
    with prom_server(answers) as server:
        fleet = fleet_of(server)
        fleet.look()
        answers.without_gpus = 1
        first, second = fleet.look(), fleet.look()
        server.answer = lambda asked: Answer(status=500, body=b"")
        failed = fleet.look()
        server.answer = answers
        answers.without_gpus = 0
        third, fourth = fleet.look(), fleet.look()
        fleet.close()
    assert [one.queries for one in (first, second, third, fourth)] == [7, 7, 7, 6]
    assert [one.nodes[0].phases for one in (second, fourth)] == [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0)]
    assert second.nodes[1].phases == (0, 1, 0, 0, 0)
    assert failed.nodes == second.nodes, "the last figures stay"


def test_who_a_node_is_that_came_since_is_asked_at_once() -> None:
    answers = FakeFleet()
    with prom_server(answers) as server:
        fleet = fleet_of(server)
        fleet.look()
        answers.nodes += 1
        seen, known, usual = fleet.look(), fleet.look(), fleet.look()
        fleet.close()
    assert (seen.nodes[-1].name, seen.nodes[-1].labels) == ("n4", {})
    assert known.nodes[-1].labels == {"pool": "a"}
    assert [one.queries for one in (seen, known, usual)] == [6, 9, 6]


def test_latencies_are_of_the_quantile_that_is_wanted_and_of_no_other() -> None:
    answers = FakeFleet()

    def answer(asked: Asked) -> Answer:
        query = asked["query"]
        if '"ttft"' not in query:
            return answers(asked)
        if "0.99" in query:
            return Answer(status=422, document={"status": "error", "error": "no"})
        return vector([({"instance": "n0", "figure": "ttft"}, 0.5 if "(0.5" in query else 0.95)])

    with prom_server(answer) as server:
        fleet = fleet_of(server)
        seen = [fleet.look(None, quantile) for quantile in (0.95, 0.5, 0.99)]
        fleet.close()
    assert [one.nodes[0].ttft for one in seen] == [0.95, 0.5, None]
    assert [one.quantile for one in seen] == [0.95, 0.5, 0.99]


def test_rules_that_the_server_has_are_used_with_a_longer_look_back() -> None:
    with prom_server(FakeFleet(has_rules=True)) as server:
        fleet = fleet_of(server)
        fleet.look()
        fleet.close()
        asked = next(one for one in server.asked if '"running"' in one["query"])
    assert "instance:phasetop_engine_requests_running:sum" in asked["query"]
    assert asked["lookback_delta"] == "150s"


def test_a_query_that_fails_leaves_the_rest_and_its_own_last_answer() -> None:
    answers = FakeFleet()
    with prom_server(answers) as server:
        fleet = fleet_of(server)
        fleet.look()
        slow = Answer(status=422, document={"status": "error", "errorType": "execution", "error": "too many samples"})
        server.answer = lambda asked: slow if '"sm"' in asked["query"] else answers(asked)
        snapshot = fleet.look()
        fleet.close()
    assert snapshot.nodes[0].sm == 0.5
    (problem,) = snapshot.problems
    assert "GPUs" in problem
    assert "too many samples" in problem
    assert "shown as 0 s ago" in problem


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(status=503, body=b""), "503"),
        (Answer(status=429, body=b"", headers={"Retry-After": "5"}), "429"),
        (Answer(body=b"<html>maintenance</html>"), "HTML"),
    ],
)
def test_the_last_look_stays_with_the_reason_and_the_next_one_recovers(answer: Answer, words: str) -> None:
    answers = FakeFleet()
    clock = FakeClock()
    states: list[FleetState] = []
    with prom_server(answers) as server:
        fleet = fleet_of(server, monotonic=clock.monotonic)
        watch = FleetWatch(fleet, states.append, interval=10.0, clock=clock)
        watch.turn()
        server.answer = lambda asked: answer
        clock.advance(10)
        watch.turn()
        failed = states[-1]
        assert failed.snapshot is not None
        assert len(failed.snapshot.nodes) == 4
        assert any(words in problem for problem in failed.snapshot.problems)
        assert failed.failing_since is not None
        server.answer = answers
        clock.advance(70)
        watch.turn()
        watch.stop()
    assert states[-1].snapshot is not None
    assert states[-1].snapshot.problems == ()
    assert states[-1].failing_since is None


def test_a_server_that_is_gone_is_one_line_whatever_was_asked() -> None:
    answers = FakeFleet()
    with prom_server(answers) as server:
        fleet = fleet_of(server)
        fleet.look()
        fleet._identified = fleet._rules_asked = -1e9
        server.answer = lambda asked: Answer(status=500, body=b"<html>")
        everything = fleet.look().problems
        server.answer = lambda asked: Answer(status=500, body=b"") if "info" in asked["query"] else answers(asked)
        names = fleet.look().problems
        fleet.close()
    assert everything == ("everything: answers with HTML instead of Prometheus' JSON (HTTP 500); shown as 0 s ago",)
    assert names == ("models and roles: answers with nothing instead of Prometheus' JSON (HTTP 500)",)


def test_a_server_that_never_answered_is_named_and_found_when_it_comes() -> None:
    states: list[FleetState] = []
    clock = FakeClock()
    with prom_server(lambda asked: Answer(status=500, body=b"no")) as server:
        fleet = fleet_of(server)
        watch = FleetWatch(fleet, states.append, interval=10.0, clock=clock)
        watch.turn()
        assert states[-1].snapshot is None
        assert "not JSON" in (states[-1].problem or "")
        server.answer = FakeFleet()
        clock.advance(10)
        watch.turn()
        watch.stop()
    assert states[-1].problem is None
    assert states[-1].snapshot is not None


def test_a_server_that_is_killed_while_a_query_hangs_keeps_nobody_from_leaving() -> None:
    gate = threading.Event()
    states: list[FleetState] = []

    def hang(asked: Asked) -> Answer:
        gate.wait(PATIENCE)
        return vector([])

    with prom_server(hang) as server:
        fleet = fleet_of(server)
        watch = FleetWatch(fleet, states.append, interval=10.0)
        watch.start()
        watch.stop()
        gate.set()
    assert states == [] or states[-1].snapshot is None


def test_half_the_nodes_gone_are_named_and_not_counted() -> None:
    answers = FakeFleet(8)
    clock = FakeClock()
    states: list[FleetState] = []
    with prom_server(answers) as server:
        watch = FleetWatch(fleet_of(server), states.append, interval=10.0, clock=clock)
        watch.turn()
        answers.nodes = 4
        clock.advance(10)
        watch.turn()
        answers.down = 2
        clock.advance(10)
        watch.turn()
        watch.stop()
    snapshot = states[-1].snapshot
    assert snapshot is not None
    assert [node.health for node in snapshot.nodes] == ["down"] * 2 + ["ok"] * 2 + ["gone"] * 4
    assert [finding.text for finding in states[-1].findings] == [
        "n0 and n1 are not scraped",
        "n4, n5, n6 and 1 more are no targets any more",
    ]


def test_the_map_of_time_asks_for_new_columns_alone_after_its_first_fill() -> None:
    clock = FakeClock(wall_ns=1_800_000_000 * 10**9)
    states: list[FleetState] = []
    with prom_server(FakeFleet()) as server:
        watch = FleetWatch(fleet_of(server), states.append, interval=10.0, clock=clock)
        watch.want(Wanted(columns=70))
        watch.turn()
        ranges = [one for one in server.asked if one["endpoint"] == "query_range"]
        assert len(ranges) == 3, "70 columns, 30 at once"
        clock.advance(15)
        watch.turn()
        more = [one for one in server.asked if one["endpoint"] == "query_range"][len(ranges) :]
        watch.stop()
    assert [len(_steps(one)) for one in more] == [1]
    heat, last = states[-1].heat, states[-1].last_column
    assert heat is not None
    assert last is not None
    assert heat.row("n1", last - 69, 70) == [30_600_000] * 70


def test_a_column_that_is_told_late_is_asked_for_until_it_is_there() -> None:
    """VictoriaMetrics tells nothing of the last half minute."""
    clock = FakeClock(wall_ns=1_800_000_000 * 10**9)
    states: list[FleetState] = []
    answers = FakeFleet()

    def late(asked: Asked) -> Answer:
        if asked["endpoint"] != "query_range":
            return answers(asked)
        told = clock.wall_ns() / 1e9 - 30
        return matrix([({"instance": "n0"}, [(t, 30_600_000) for t in _steps(asked) if t <= told])])

    with prom_server(late) as server:
        fleet = PrometheusFleet(PromClient(server.url, timeout=30.0), Target(), wall=lambda: clock.wall_ns() / 1e9)
        watch = FleetWatch(fleet, states.append, interval=10.0, clock=clock)
        watch.want(Wanted(columns=20))
        watch.turn()
        first = states[-1].last_column
        for _ in range(9):
            clock.advance(10)
            watch.turn()
        watch.stop()
    heat, last = states[-1].heat, states[-1].last_column
    assert heat is not None
    assert first is not None
    assert last is not None
    assert (first + 1) * 15.0 <= 1_800_000_000 - 30, "the axis ends with what is known"
    assert last == first + 6
    assert heat.row("n0", last - 19, 20) == [30_600_000] * 20


def test_a_moment_in_the_past_is_looked_at_as_it_was() -> None:
    clock = FakeClock()
    states: list[FleetState] = []
    with prom_server(FakeFleet()) as server:
        watch = FleetWatch(fleet_of(server), states.append, interval=10.0, clock=clock)
        watch.want(Wanted(at=5000.0))
        watch.turn()
        assert {one["time"] for one in server.asked} == {"5000.000"}
        server.answer = lambda asked: Answer(status=500, body=b"")
        watch.want(Wanted(at=6000.0))
        watch.turn()
        watch.stop()
    assert states[-1].problem is not None
    assert states[-1].snapshot is not None
    assert states[-1].snapshot.at == 5000.0


def _node_page(asked: Asked) -> Answer:
    """Counters of one node at the edges: 0.6 of each step in decode, 0.3 in prefill, a restart at 600 s."""
    name = "phasetop_host_phase_seconds_total"
    series = []
    for phase, rate in (("prefill", 0.3), ("decode", 0.6), ("idle", 0.1)):
        points = [(t, (t - 600 if t >= 600 else t) * rate) for t in _steps(asked) if t <= 1200]
        series.append(({"__name__": name, "phase": phase}, points))
    gpu = {"gpu": "0", "uuid": "GPU-a"}
    series.append(({"__name__": "phasetop_gpu_sm_active_ratio", **gpu}, [(t, 0.5) for t in _steps(asked) if t <= 1200]))
    engine = {"endpoint": "http://e/metrics", "engine": "vllm", "engine_index": "0"}
    tokens = [(t, 10.0 * t) for t in _steps(asked) if t <= 1200]
    series.append(({"__name__": "phasetop_engine_generation_tokens_total", **engine}, tokens))
    return matrix(series)


def node_past(server: PromServer, *, wall: float = 1500.0) -> NodePast:
    client = PromClient(server.url, timeout=PATIENCE)
    return NodePast(client, Target(), ('a"b',), name="a", step=30.0, at=wall, wall=lambda: wall)


def test_a_nodes_past_is_intervals_made_of_differences() -> None:
    with prom_server(_node_page) as server:
        past = node_past(server)
        tick = past.tick_at(910 * 10**9)
        assert tick is not None
        assert (tick.interval.start, tick.interval.end) == (900 * 10**9, 930 * 10**9)
        phase = tick.labels[HOST].phase
        assert (phase.label, phase.settled, phase.error) == ("decode", True, None)
        assert phase.prefill_share == pytest.approx(1 / 3, abs=1e-3)
        assert phase.busy_ratio == pytest.approx(0.9, abs=1e-3)
        assert tick.interval.gpus["GPU-a"].sm_active_ratio == 0.5
        engine = tick.interval.engines["http://e/metrics", "0"]
        assert engine.generation_tokens == 300.0
        assert engine.kv_cache_usage_ratio is None, "what is not exported is missing"
        assert 'instance="a\\"b"' in server.asked[-1]["query"]
        past.close()


def test_a_scrape_that_failed_or_is_not_told_yet_makes_no_interval_of_nothing() -> None:
    """The server goes on telling the page of 900 s at 930 s, and that of 1170 s, the last one, at 1200 s."""

    def held(asked: Asked) -> Answer:
        seen = {930.0: 900.0, 1200.0: 1170.0}
        told = [(t, seen.get(t, t)) for t in _steps(asked) if t <= 1200]
        engine = {"endpoint": "http://e/metrics", "engine": "vllm", "engine_index": "0"}
        return matrix(
            [
                (
                    {"__name__": "phasetop_host_phase_seconds_total", "phase": "decode"},
                    [(t, 0.9 * of) for t, of in told],
                ),
                ({"__name__": "phasetop_engine_generation_tokens_total", **engine}, [(t, 10.0 * of) for t, of in told]),
            ]
        )

    with prom_server(held) as server:
        past = node_past(server, wall=1212.0)
        past._is_start_known = True
        known = list(past.ticks(840 * 10**9, 1200 * 10**9))
        past.close()
    spans = [(tick.interval.start // 10**9, tick.interval.duration) for tick in known]
    assert spans == [(840, 30.0), (870, 30.0), (900, 60.0), *((start, 30.0) for start in range(960, 1170, 30))]
    engines = [engine for tick in known for engine in tick.interval.engines.values()]
    rates = {engine.generation_tokens / engine.window_seconds for engine in engines}  # type: ignore[operator]
    assert rates == {10.0}


def _eventful_page(asked: Asked) -> Answer:
    """A GPU is lost at 600 s and back at 660; XID 79 comes twice at 690; an engine is down from 750 to 780."""
    gpu = {"gpu": "0", "uuid": "GPU-a", "name": "H100"}
    engine = {"endpoint": "http://e/metrics", "engine": "vllm", "engine_index": "0"}
    times = _steps(asked)

    def state(family: str, labels: Mapping[str, str], name: str, where: range) -> tuple[Mapping[str, str], object]:
        points = [(t, float((t in where) == (name != "ok"))) for t in times]
        return {"__name__": family, **labels, "state": name}, points

    lost, down = range(600, 660), range(750, 780)
    series = [
        ({"__name__": "phasetop_host_phase_seconds_total", "phase": "decode"}, [(t, t * 0.9) for t in times]),
        ({"__name__": "phasetop_gpu_sm_active_ratio", **gpu}, [(t, 0.5) for t in times if t not in lost]),
        *(state("phasetop_gpu_state", gpu, name, lost) for name in ("ok", "lost")),
        *(state("phasetop_engine_state", engine, name, down) for name in ("ok", "down")),
        ({"__name__": "phasetop_gpu_xid_errors_total", **gpu, "xid": "79"}, [(t, 2.0) for t in times if t >= 690]),
    ]
    return matrix(series)  # type: ignore[arg-type]


def test_what_happened_on_a_node_is_told_on_its_axis_and_can_be_jumped_to() -> None:
    with prom_server(_eventful_page) as server:
        past = node_past(server)
        past._is_start_known = True
        ticks = list(past.ticks(570 * 10**9, 870 * 10**9))
        told = [(event.time // 10**9, event.kind) for tick in ticks for event in tick.events]
        assert told == [(600, "gpu-lost"), (660, "gpu-back"), (690, "xid"), (750, "engine-down"), (780, "engine-up")]
        assert any("(2 times)" in event.text for tick in ticks for event in tick.events)
        assert [event.kind for event in past.events(0, 700 * 10**9)] == ["gpu-lost", "gpu-back", "xid"]
        assert past.next_event(660 * 10**9) == 720 * 10**9
        assert past.previous_event(660 * 10**9) == 630 * 10**9
        past.close()


def test_a_restarted_exporter_is_an_interval_of_unknown_phase_and_never_negative() -> None:
    with prom_server(_node_page) as server:
        past = node_past(server)
        tick = past.tick_at(585 * 10**9)
        assert tick is not None
        assert tick.labels[HOST].phase.label == "unknown"
        assert "phasetop was started anew" in tick.interval.gaps[0].reason
        assert tick.events == (), "no engine began anew"
        past.close()


def test_what_was_not_scraped_is_a_gap_that_can_be_jumped_over() -> None:
    with prom_server(_node_page) as server:
        past = node_past(server)
        assert past.tick(1300 // 30) is None
        last = past.tick_at(1400 * 10**9)
        assert last is not None
        assert last.interval.end == 1200 * 10**9
        assert [tick.interval.start for tick in past.ticks(1100 * 10**9, 1300 * 10**9)] == [
            1080 * 10**9, 1110 * 10**9, 1140 * 10**9, 1170 * 10**9,
        ]  # fmt: skip
        past.close()


def test_a_strip_of_any_stretch_is_one_range_query() -> None:
    with prom_server(lambda asked: matrix([({"phase": "decode"}, [(t, 0.5) for t in _steps(asked)])])) as server:
        past = node_past(server)
        past._is_start_known = True
        strip = past.strip(0, 1000 * 10**9, 10)
        past.close()
        assert len(server.asked) == 1
    assert len(strip) == 10
    assert all(one.decode == pytest.approx(50.0) for one in strip)
    assert all(one.gap == pytest.approx(50.0) for one in strip)


def test_a_server_that_refuses_is_a_problem_of_the_replay_and_no_crash() -> None:
    with prom_server(lambda asked: Answer(status=500, body=b"<html>")) as server:
        past = node_past(server)
        past._is_start_known = True
        with pytest.raises(PromProblem, match="HTML"):
            past.tick_at(900 * 10**9)
        assert past.problems
        past.close()
