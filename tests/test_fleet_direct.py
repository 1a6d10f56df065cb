"""Exporters read directly: pages the exporter itself made, one slow host, targets from files."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleet_data import COMMON, ODD, ticks
from collectors.engine.scrape import Fetcher, Page, PageProblem
from collectors.fleet.direct import DirectFleet
from collectors.fleet.heat import HeatMap, Span
from collectors.fleet.model import Node
from collectors.fleet.targets import TargetsProblem, read_targets
from collectors.model import HOST, Tick
from exporters.prometheus import PrometheusSink

STEP = 30
_PATIENCE_LOOKS = 30
"""Each waits two seconds for the slow one."""


def pages_of(profile: object, count: int) -> list[str]:
    """What the exporter serves after each interval."""
    sink = PrometheusSink(version="test")
    made = []
    for tick in ticks(profile, 1_800_000_000, count, STEP):  # type: ignore[arg-type]
        sink.put(tick)
        made.append(sink.page(openmetrics=False, gzip=False).decode())
    return made


class Pages(Fetcher):
    """Gives one page after another; the clock goes on by a step with each."""

    def __init__(self, pages: list[str | PageProblem], clock: list[float]) -> None:
        super().__init__("http://127.0.0.1:1/metrics")
        self._pages = list(pages)
        self._now = clock

    def fetch(self) -> Page:
        page = self._pages.pop(0) if len(self._pages) > 1 else self._pages[0]
        if isinstance(page, PageProblem):
            raise page
        return Page(page, self._now[0], 0.01)


def read(pages: Mapping[str, list[str | PageProblem]], times: int) -> tuple[DirectFleet, list[float]]:
    """A fleet that has read so many pages of each target, 30 s apart, without its threads."""
    clock = [1000.0]
    fleet = DirectFleet(
        {url: {"rack": "a"} for url in pages}, interval=30.0, fetcher=lambda url: Pages(pages[url], clock),
        monotonic=lambda: clock[0], wall=lambda: 1_800_000_000.0 + clock[0],
    )  # fmt: skip
    for _ in range(times):
        clock[0] += 30.0
        for reader in fleet._readers.values():
            reader.read()
    return fleet, clock


def row(fleet: DirectFleet, name: str) -> Node:
    return fleet._readers[name].node()


def test_the_exporters_own_pages_become_the_same_figures() -> None:
    fleet, _ = read({"http://a:19417/metrics": list(pages_of(COMMON[0], 6))}, 6)
    node = row(fleet, "a")
    assert node.gpus == 8
    assert node.models == ("llama-3.1-70b",)
    assert node.labels == {"rack": "a"}
    assert node.bottleneck == "memory-bandwidth"
    assert node.phases is not None
    assert sum(node.phases) == pytest.approx(1.0)
    assert node.prefill_share == pytest.approx(COMMON[0].share, rel=0.3)
    assert node.generated_rate == pytest.approx(2400 * 0.86 * 0.69, rel=0.2)
    assert node.tpot is not None
    assert 0.02 < node.tpot < 0.1
    fleet.close()


def test_a_lost_gpu_and_a_page_that_fails_are_told() -> None:
    problem = PageProblem("down", "connection refused")
    fleet, clock = read({"a:19417": list(pages_of(ODD[3], 3)), "b:19417": [problem]}, 3)
    assert row(fleet, "a:19417").health in ("degraded", "stale")
    assert row(fleet, "a:19417").gpus_lost == 1
    assert row(fleet, "b:19417").health == "down"
    assert fleet._readers["b:19417"].problem == "connection refused"
    clock[0] += 500
    assert row(fleet, "a:19417").health == "stale", "a page that has not come for long says nothing about now"
    fleet.close()


def test_a_page_that_is_not_ours_is_named() -> None:
    fleet, _ = read({"http://a/metrics": ["# HELP up x\nup 1\n"]}, 2)
    assert fleet._readers["a"].problem == "its page holds no figures of phasetop"
    fleet.close()


def test_the_map_of_time_comes_from_the_counters() -> None:
    fleet, clock = read({"http://a/metrics": list(pages_of(COMMON[4], 8))}, 8)
    heat = HeatMap(60.0)
    last = int((1_800_000_000.0 + clock[0]) // 60) - 1
    fleet.heat(heat, Span(last - 5, last))
    cells = heat.row("a", last - 1, 1)
    assert cells[0] // 10_000 % 100 > 80, "decode"
    fleet.close()


def test_one_slow_host_delays_nobody() -> None:
    gate = threading.Event()

    class Slow(Fetcher):
        def fetch(self) -> Page:
            gate.wait()
            raise PageProblem("blocked", "late")

    page = pages_of(COMMON[0], 1)[0]

    class Quick(Fetcher):
        def fetch(self) -> Page:
            return Page(page, time.monotonic(), 0.01)

    def fetcher(url: str) -> Fetcher:
        return Slow(url) if url == "slow" else Quick(url)

    fleet = DirectFleet({"slow": {}, **{f"quick-{n}": {} for n in range(7)}}, interval=60.0, fetcher=fetcher)
    try:
        for _ in range(_PATIENCE_LOOKS):
            known = {node.name: node.health for node in fleet.look().nodes}
            if sum(health != "stale" for health in known.values()) >= 7:
                break
    finally:
        gate.set()
        fleet.close()
    assert sum(health != "stale" for health in known.values()) == 7
    assert known["slow"] == "stale"


def test_an_opened_node_delivers_its_intervals_as_pages_come() -> None:
    fleet, clock = read({"http://a/metrics": list(pages_of(COMMON[0], 5))}, 2)
    got: list[Tick] = []
    feed = fleet.open("a", None)
    feed.start(got.append)
    assert len(got) == 1, "the newest one at once"
    clock[0] += 30
    fleet._readers["a"].read()
    feed.stop()
    clock[0] += 30
    fleet._readers["a"].read()
    assert len(got) == 2
    assert got[1].interval.duration == 30.0
    assert got[1].labels[HOST].phase.settled
    assert len(got[1].interval.gpus) == 8
    fleet.close()


JSON = '[{"targets": ["a:1", "b:2"], "labels": {"rack": "r1"}}, {"targets": ["c:3"]}]'
BLOCK = """
# of the first hall
- targets:
    - a:1
    - 'b:2'   # in service
  labels:
    rack: r1
- targets: ["c:3"]
"""
FLOW = '---\n- labels: {rack: "r1"}\n  targets: [a:1, "b:2"]\n- targets:\n  - c:3\n'


@pytest.mark.parametrize(("name", "text"), [("t.json", JSON), ("t.yml", BLOCK), ("t.yaml", FLOW), ("t.yml", JSON)])
def test_targets_are_read_from_json_and_from_plain_yaml(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_targets(path) == [("a:1", {"rack": "r1"}), ("b:2", {"rack": "r1"}), ("c:3", {})]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "is not JSON"),
        ('{"targets": []}', "list of groups"),
        ('[{"labels": {}}]', "group 1 has no list of targets"),
        ("- targets: &all [a:1]\n", "line 1"),
        ("targets: [a:1]\n", "line 1"),
        ("- targets:\n    - |\n", "line 2"),
        ("- hosts: [a]\n", "neither under targets nor under labels"),
        ("- targets: [a:1\n", "does not end"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "t.yml"
    path.write_text(text)
    with pytest.raises(TargetsProblem, match=words):
        read_targets(path)


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=80), st.text("-: \n[]{},#'\"atrgesl:1&", max_size=60)))
def test_any_file_is_targets_or_a_problem(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("targets") / "t.yml"
    path.write_text(text, encoding="utf-8", errors="replace")
    said = ""
    try:
        assert all(isinstance(one, str) for one, _ in read_targets(path))
    except TargetsProblem as problem:
        said = str(problem)
    assert said == "" or str(path) in said


def test_a_targets_scheme_and_path_belong_to_its_address_and_not_to_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(
        '[{"targets": ["a:1", "http://b:2/m"], "labels": {"__scheme__": "https", "__metrics_path__": "/of/gpus",'
        ' "__meta_x": "y", "rack": "r1"}}]'
    )
    assert read_targets(path) == [("https://a:1/of/gpus", {"rack": "r1"}), ("http://b:2/m", {"rack": "r1"})]


def test_what_happened_before_a_node_was_opened_is_told_with_its_first_interval() -> None:
    lost = [page.replace('uuid="GPU-00000002",state="ok"} 1', 'uuid="GPU-00000002",state="ok"} 0')
                .replace('uuid="GPU-00000002",state="lost"} 0', 'uuid="GPU-00000002",state="lost"} 1')
            for page in pages_of(COMMON[0], 4)]  # fmt: skip
    pages = pages_of(COMMON[0], 4)
    fleet, clock = read({"http://a/metrics": [pages[0], pages[1], lost[2], lost[3]]}, 3)
    got: list[Tick] = []
    fleet.open("a", None).start(got.append)
    assert [event.text for event in got[0].events if event.kind == "gpu-lost"] == [
        "GPU 2 (NVIDIA H100 80GB HBM3) is lost"
    ]
    clock[0] += 30
    fleet._readers["a"].read()
    assert [event.kind for event in got[1].events if event.kind == "gpu-lost"] == []
    fleet.close()
