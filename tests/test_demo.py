from __future__ import annotations

from pathlib import Path

import pytest

from collectors.replay import Recording
from dashboard.cli import main
from dashboard.commands.demo import DEMOS, unpacked
from dashboard.scrub import origin

SHIPPED = Path(__file__).parents[1] / "dashboard/demo"


@pytest.mark.parametrize("name", DEMOS)
def test_every_demo_opens_and_says_what_it_is_of(name: str, tmp_path: Path) -> None:
    assert (SHIPPED / f"{name}.db.gz").stat().st_size <= 2_000_000
    with Recording(unpacked(name, tmp_path)) as recording:
        kind, _, about = recording.description.partition(": ")
        assert kind == ("simulated" if name == "node" else "real")
        assert ("VM" in about and "no GPU" in about) or name == "node"
        assert recording.host_name == "demo"
        assert len(recording) > 300
        last = recording.tick_at(recording.end)
        assert last is not None
        assert last.interval.engines
        assert all(label.settled for label in last.labels.values())


def test_nothing_else_is_shipped_as_a_demo() -> None:
    assert {path.name for path in SHIPPED.iterdir()} == {f"{name}.db.gz" for name in DEMOS}


def test_the_node_is_simulated_throughout_and_has_something_to_find(tmp_path: Path) -> None:
    with Recording(unpacked("node", tmp_path)) as recording:
        sources = {gpu.source for tick in recording.ticks() for gpu in tick.interval.gpus.values()}
        kinds = {event.kind for event in recording.events(recording.start, recording.end)}
        texts = " ".join(event.text for event in recording.events(recording.start, recording.end))
        columns = recording.strip(recording.start, recording.end, 45)
        hosts = [tick.interval.host for tick in recording.ticks()]
    assert sources == {"simulated"}
    assert all(host is not None and len(host.cpu_core_ratios or ()) == host.cpu_cores for host in hosts)
    assert kinds >= {"note", "kv-full", "throttle-begin", "throttle-end", "engine-down", "engine-up"}
    assert "GPU 5" in texts
    assert sum(column.idle for column in columns[:6]) > 250
    assert max(column.prefill for column in columns) > 20


def test_an_unknown_demo_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "mars"]) == 2
    assert "node, vllm, llamacpp" in capsys.readouterr().err


class _Recording:
    description = ""

    def __init__(self, *rules: int) -> None:
        self.rule_versions = frozenset(rules)


@pytest.mark.parametrize(
    ("rules", "relabelled", "words"),
    [
        ((2,), False, ""),
        ((2,), True, "labels made anew"),
        ((1, 2), False, "labels by rules 1, today's are 2: see --relabel"),
        ((1,), True, "labels made anew by rules 2, the overview strip's are stored ones by 1"),
        ((3,), False, "labels by rules 3, newer than this phasetop's 2"),
    ],
)
def test_the_header_says_whose_labels_are_shown(rules: tuple[int, ...], relabelled: bool, words: str) -> None:
    assert origin(_Recording(*rules), relabelled=relabelled, rules=2) == words
