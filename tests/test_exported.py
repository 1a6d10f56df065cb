"""Reports on what exporters told a Prometheus, beside reports on the recordings it was scraped from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.report_prometheus import Scraped, asking, blocks
from collectors.analysis.diff import difference
from collectors.analysis.exported import NoSuchNode, Stretch, steps_of, study
from collectors.analysis.figures import Report
from collectors.analysis.report import report, report_of
from collectors.analysis.study import Nothing, Study
from collectors.analysis.study import study as of_recording
from collectors.fleet.queries import Target
from collectors.promql import PromClient, PromProblem
from collectors.replay import Recording
from exporters.report_html import report_html
from exporters.report_json import report_json
from exporters.report_text import report_text
from tests.prom_server import Answer, Asked, matrix, prom_server
from tests.test_report import PROMISED, SECOND, START, labelled, page, recorded

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None, reason="prometheus is not installed"
)
SPAN = (START / SECOND, START / SECOND + 900)
LATER = SPAN[1] + 86_400.0
"""When the reports are asked for."""

BOUNDS: Mapping[str, float] = {
    "prefill_share": 0.002, "busy_ratio": 0.01, "wall_prefill": 0.01, "wall_decode": 0.01, "device_prefill": 0.01,
    "device_decode": 0.01, "joules": 0.01, "joules_prefill": 0.03, "joules_decode": 0.03, "mean_watts": 0.01,
    "tokens_per_joule": 0.01, "joules_per_prompt_token": 0.03, "joules_per_generated_token": 0.03, "money": 0.01,
    "money_in": 0.02, "money_out": 0.02, "ttft_met": 0.005, "tpot_met": 0.005, "goodput": 0.02, "time_per_token": 0.01,
    "added_by_prefill": 0.10, "added_by_accounting": 0.15, "mfu_prefill": 0.10, "mbu_decode": 0.10, "kv_mean": 0.07,
    "kv_most": 0.001, "kv_full": 0.7, "waiting_ratio": 0.10, "cached_ratio": 0.01, "clock_ratio": 0.01,
    "power_ratio": 0.05,
}  # fmt: skip
"""How far a figure may be from the recording's, relative to it. Gauges were seen every fifth second."""
NEVER = ("host_bound", "tokens_lost", "power_held", "free_batch", "prefill_per_decode")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("exported") / "a.db", (labelled(at, turn=47) for at in range(900)))


@pytest.fixture(scope="module")
def truth(saved: Path) -> Report:
    with Recording(saved) as recording:
        return report(recording, PROMISED)


@pytest.fixture(scope="module")
def server(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PromClient]:
    """Three nodes with the same load: one well, one whose exporter began anew, one that was down from the fifth
    minute on."""
    anew, down = START + 450 * SECOND, START + 300 * SECOND
    lives = [
        Scraped("well:19417", saved), Scraped("anew:19417", saved, None, anew), Scraped("anew:19417", saved, anew),
        Scraped("down:19417", saved, None, down),
    ]  # fmt: skip
    with asking(blocks(lives, tmp_path_factory.mktemp("blocks"))) as client:
        yield client


def seen(client: PromClient, node: str | None = None, span: tuple[float, float] = SPAN) -> Study:
    return study(client, Stretch(Target(), *span, node), PROMISED, wall=lambda: LATER)


@needs_prometheus
@pytest.mark.parametrize(("node", "wider"), [("well", 1.0), ("anew", 5.0)])
def test_a_nodes_report_is_that_of_its_recording(server: PromClient, truth: Report, node: str, wider: float) -> None:
    told = report_of(seen(server, node))
    assert told.source.host == node
    off = {}
    for key, bound in BOUNDS.items():
        expected, found = truth.figure(key).value, told.figure(key).value
        assert expected is not None
        if found is None or abs(found - expected) > wider * bound * abs(expected):
            off[key] = (expected, found)
    assert off == {}
    for key in NEVER:
        assert told.figure(key).value is None
        assert "not exported" in (told.figure(key).missing or "")


@needs_prometheus
def test_an_exporter_that_began_anew_loses_no_more_than_a_scrape_or_two(server: PromClient) -> None:
    well, anew = (seen(server, node).totals for node in ("well", "anew"))
    assert anew.machine_seconds == pytest.approx(well.machine_seconds, abs=25.0)
    assert anew.generated() == pytest.approx(well.generated(), rel=0.03)
    assert min(anew.sums.values()) >= 0.0


@needs_prometheus
def test_a_fleets_sums_are_those_of_its_nodes_and_a_node_that_was_down_leaves_a_gap(server: PromClient) -> None:
    every, alone = seen(server), [seen(server, node).totals for node in ("well", "anew", "down")]
    together = every.totals
    assert together.machine_seconds == pytest.approx(sum(one.machine_seconds for one in alone), abs=11)
    for phase in ("prefill", "decode", "idle"):
        assert together.wall[phase] == pytest.approx(sum(one.wall[phase] for one in alone), abs=11)
        assert together.device_seconds[phase] == pytest.approx(sum(one.device_seconds[phase] for one in alone), abs=22)
    assert together.all_joules() == pytest.approx(sum(one.all_joules() or 0.0 for one in alone), rel=0.01)
    assert together.generated() == pytest.approx(sum(one.generated() or 0.0 for one in alone), rel=0.01)
    made = report_of(every)
    assert made.figure("gap").value == pytest.approx(600, abs=25)
    assert (made.source.host, made.source.machines[0]) == ("3 nodes", "6 x NVIDIA H100 80GB HBM3")
    nodes = next(table for section in made.sections for table in section.tables if table.key == "nodes")
    assert {row[0] for row in nodes.rows} == {"down", "anew", "well"}
    assert nodes.rows[0][0] == "down"
    assert nodes.rows[0][1] == pytest.approx(1 / 3, abs=0.02)


@needs_prometheus
def test_a_report_on_a_fleet_is_told_in_every_form(server: PromClient) -> None:
    made = report_of(seen(server))
    assert "3 nodes" in report_text(made)
    assert json.loads(report_json(made))["source"]["notes"]
    assert not page(report_html(made)).tags & {"script", "img", "link"}


@needs_prometheus
def test_what_changed_between_two_stretches_is_what_the_recording_says(server: PromClient, saved: Path) -> None:
    middle = SPAN[0] + 420
    found = difference(seen(server, "well", (SPAN[0], middle)), seen(server, "well", (middle, SPAN[1])))
    with Recording(saved) as one:
        at = START + 420 * SECOND
        true = difference(of_recording(one, PROMISED, None, at), of_recording(one, PROMISED, at))
    told, expected = ({change.key: change for _, group in one.groups for change in group} for one in (found, true))
    for key in ("tpot_mean", "tokens_out", "prefill_share"):
        assert told[key].difference == pytest.approx(expected[key].difference, rel=0.1)
    assert found.fingerprint == ()


@needs_prometheus
def test_a_node_that_was_not_there_is_told_with_those_that_were(server: PromClient) -> None:
    with pytest.raises(NoSuchNode, match="no node 'gone' in that time; there were anew, down, well"):
        seen(server, "gone")


@needs_prometheus
def test_a_time_in_which_nothing_was_scraped_is_nothing(server: PromClient) -> None:
    with pytest.raises(Nothing):
        seen(server, None, (SPAN[0] - 7200, SPAN[0] - 3600))


# Against a server of the test's own.


class Fake:
    """One node that is scraped every 15 s and always half busy; `busy` answers come first."""

    def __init__(self, busy: int = 0) -> None:
        self.busy = busy

    def __call__(self, asked: Asked) -> Answer:
        if self.busy:
            self.busy -= 1
            return Answer(429, body=b"slow down", headers={"Retry-After": "1"})
        query = asked["query"]
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        moments = [start + n * step for n in range(int((end - start) / step + 0.001) + 1)]

        def flat(value: float, **labels: str) -> tuple[dict[str, str], list[tuple[float, float | str]]]:
            return labels, [(moment, value) for moment in moments]

        if 'job="none"' in query:
            return matrix([])
        if query.startswith("count by (instance)"):
            return matrix([flat(1, instance="n1:19417")])
        if query.startswith("max(count_over_time"):
            return matrix([flat(20)])
        if query.startswith("quantile"):
            return matrix([flat(12)])
        if '"host:phase"' in query:
            told = {"prefill": 0.1, "decode": 0.4, "idle": 0.5}
            return matrix([
                flat(share * step, figure="host:phase", instance="n1:19417", phase=phase)
                for phase, share in told.items()
            ], warnings=["a store is gone"])  # fmt: skip
        return matrix([])


def test_counters_of_settled_time_are_asked_for_as_much_later_as_they_settle() -> None:
    with prom_server(Fake()) as server:
        client = PromClient(server.url)
        found = study(client, Stretch(Target(), 1000.0, 4600.0), PROMISED, wall=lambda: LATER)
        client.close()
    assert found.totals.wall["prefill"] == pytest.approx(360.0)
    assert (len(found.read.blocks), found.totals.seconds) == (60, pytest.approx(3600.0))
    starts = {
        name: float(next(one["start"] for one in server.asked if f'"{name}"' in one["query"]))
        for name in ("host:phase", "generation_tokens")
    }
    assert starts == {"host:phase": 1072.0, "generation_tokens": 1067.5}
    assert server.most_at_once <= 4
    assert "The server warns: a store is gone." in found.read.notes


def test_what_is_too_new_to_have_settled_is_not_asked_for() -> None:
    with prom_server(Fake()) as server:
        client = PromClient(server.url)
        found = study(client, Stretch(Target(), 1000.0, 4600.0), PROMISED, wall=lambda: 2827.0)
        client.close()
    assert found.read.end == 2800 * SECOND


def test_a_server_that_wants_to_be_left_alone_is_asked_again() -> None:
    waited: list[float] = []
    monotonic = [0.0]

    def pause(seconds: float) -> None:
        waited.append(seconds)
        monotonic[0] += seconds

    with prom_server(Fake(busy=2)) as server:
        client = PromClient(server.url, monotonic=lambda: monotonic[0], jitter=lambda: 0.5)
        found = study(client, Stretch(Target(), 1000.0, 4600.0), PROMISED, wall=lambda: LATER, pause=pause)
        client.close()
    assert found.totals.busy == pytest.approx(1800.0)
    assert waited == [1.0, 2.0]


def test_a_server_for_which_it_is_too_much_is_asked_for_less_at_once() -> None:
    fake = Fake()

    def answer(asked: Asked) -> Answer:
        if float(asked["end"]) - float(asked["start"]) > 10.5 * float(asked["step"]):
            return Answer(422, {"status": "error", "errorType": "execution", "error": "too many samples"})
        return fake(asked)

    with prom_server(answer) as server:
        client = PromClient(server.url)
        found = study(client, Stretch(Target(), 1000.0, 4600.0), PROMISED, wall=lambda: LATER)
        client.close()
    assert (len(found.read.blocks), found.totals.busy) == (60, pytest.approx(1800.0))


def test_a_server_that_refuses_is_a_problem_that_says_so() -> None:
    with prom_server(lambda _: Answer(401, document={})) as server:
        client = PromClient(server.url)
        with pytest.raises(PromProblem, match="credentials"):
            study(client, Stretch(Target(), 1000.0, 4600.0), PROMISED, wall=lambda: LATER)
        client.close()


def test_of_a_node_that_tells_nothing_else_every_other_figure_is_missing() -> None:
    with prom_server(Fake()) as server:
        client = PromClient(server.url)
        made = report_of(study(client, Stretch(Target(), 1000.0, 4600.0), PROMISED, wall=lambda: LATER))
        client.close()
    for section in made.sections:
        for figure in section.figures:
            assert figure.value is not None or figure.missing
    assert {section.key for section in made.sections} == {"time"}


@pytest.mark.parametrize(
    ("length", "scrape", "nodes", "expected"),
    [(0.5, 15, 1, (1.0, 0)), (45, 15, 1, (45.0, 1)), (3600, 15, 1, (60.0, 60)), (86_400, 15, 1, (240.0, 360)),
     (86_400, 15, 1000, (3600.0, 24)), (3600, 60, 1, (120.0, 30))],
)  # fmt: skip
def test_a_stretch_is_cut_into_steps_of_a_minute_or_two_scrapes_at_least(
    length: float, scrape: float, nodes: int, expected: tuple[float, int]
) -> None:
    assert steps_of(length, scrape, nodes) == expected
