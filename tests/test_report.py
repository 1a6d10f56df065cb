"""Reports: sums made in SQL against those of single intervals, figures with known answers, and how they are told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from html.parser import HTMLParser
from operator import add
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.analysis.blocks import Block, total
from collectors.analysis.bootstrap import bounds, draws, interval
from collectors.analysis.bucket_counts import counted
from collectors.analysis.diff import difference
from collectors.analysis.energy import energy_of
from collectors.analysis.figures import Change, Report
from collectors.analysis.interference import slope
from collectors.analysis.ledger import ledger_of
from collectors.analysis.moments import DELAY, POWER
from collectors.analysis.report import report
from collectors.analysis.resources import MOST_BLUR, blur
from collectors.analysis.settings import Prices, Settings
from collectors.analysis.study import Nothing, study
from collectors.analysis.tables import read
from collectors.analysis.tally import Tally, tally_of
from collectors.analysis.totals import Totals, surely_within, within
from collectors.analysis.watts import watts
from collectors.analysis.words import quantile
from collectors.histogram import Histogram
from collectors.model import (
    HOST,
    PHASES,
    Bottleneck,
    Interval,
    Label,
    Phase,
    PhaseLabel,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.phase.rules import phase_seconds
from collectors.readings import EngineReading, GpuReading, HostReading
from collectors.replay import Recording
from collectors.slo import Objective, Slo, SloBook
from exporters.recording_file import Origin, RecordingFile
from exporters.report_html import difference_html, report_html
from exporters.report_json import difference_json, report_json
from exporters.report_text import difference_text, report_text

SECOND = 1_000_000_000
START = 1_795_176_007 * SECOND  # seven seconds into a minute
ENDPOINT = "http://127.0.0.1:8000/metrics"
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
PREFILL_WATTS, DECODE_WATTS, IDLE_WATTS = 500.0, 300.0, 80.0
PROMISED = Settings(promises=SloBook(Slo(Objective(2.0, 0.99), Objective(0.1, 0.99))))
GOLDEN = Path(__file__).with_name("goldens") / "report.txt"
LABELS: tuple[tuple[PhaseLabel, float | None, float], ...] = (
    ("decode", 0.1, 0.95), ("prefill", 0.9, 0.9), ("mixed", 0.5, 1.0), ("idle", None, 0.02), ("decode", 0.0, 0.8),
    ("waiting", None, 0.1),
)  # fmt: skip


def labelled(number: int, model: str = "m", slow: float = 1.0, turn: int = 10) -> Tick:
    """A second of two GPUs and an engine whose every figure is known; what it does changes every `turn` seconds."""
    name, share, busy = LABELS[number // turn % len(LABELS)]
    phase = Phase(name, True, share, busy, None if share is None else 0.02, "high", ("engine-seconds",))
    spent = phase_seconds(phase, 1.0)
    joules = spent["prefill"] * PREFILL_WATTS + spent["decode"] * DECODE_WATTS
    joules += (1.0 - spent["prefill"] - spent["decode"]) * IDLE_WATTS
    gpus = {
        f"GPU-{index}": GpuReading(
            uuid=f"GPU-{index}", index=index, name="NVIDIA H100 80GB HBM3", source="gpm", window_seconds=1.0,
            energy_joules=round(joules, 3), power_watts=round(joules, 3), power_limit_watts=700.0,
            tensor_active_ratio=round(0.6 * spent["prefill"] + 0.04 * spent["decode"], 4),
            dram_active_ratio=round(0.1 * spent["prefill"] + 0.7 * spent["decode"], 4),
            sm_clock_hertz=1700e6, sm_clock_max_hertz=1980e6,
            dram_peak_bytes_per_second=3.35e12, tensor_peak_flops_per_second=989e12, peak_source="table",
        )
        for index in range(2)
    }  # fmt: skip
    steps = round(spent["decode"] * 50)
    added = spent["prefill"] / steps if steps else 0.0
    tokens = steps * 8
    tpot = Histogram(BOUNDS, tuple(tokens if at == 2 else 0 for at in range(len(BOUNDS) + 1)),
                     round(tokens * (0.02 + added) * slow, 6))  # fmt: skip
    engine = EngineReading(
        endpoint=ENDPOINT, engine_index="0", engine="vllm", model=model, role="both", window_seconds=1.0,
        prompt_tokens=1000.0 * spent["prefill"] // 1, prompt_tokens_computed=1000.0 * spent["prefill"] // 1,
        prompt_tokens_cached=50.0, generation_tokens=float(tokens), first_tokens=1.0, steps=float(steps),
        requests_running=8.0, requests_waiting=float(number % 3 == 0), kv_cache_usage_ratio=0.97 if number % 60 < 6
        else 0.5, kv_cache_tokens=100_000.0, gpus=("GPU-0", "GPU-1"), tpot=tpot if tokens else None,
        ttft=Histogram(BOUNDS, (0, 0, 0, 0, 1, 0, int(number % 40 == 0), 0), 0.2),
    )  # fmt: skip
    interval_ = Interval(
        number, START + number * SECOND, START + (number + 1) * SECOND, 1.0, HostReading(name="node-1"), gpus,
        {engine.key: engine},
    )  # fmt: skip
    resource = "host" if number % 10 == 0 else "memory-bandwidth"
    bottleneck = Bottleneck(
        resource, resource, "kv-capacity" if number % 60 < 6 else None,
        {"memory-bandwidth": round(busy, 4), "host": round(1.0 - busy, 4)}, "high",
    )  # fmt: skip
    entities = (HOST, *map(gpu_entity, gpus), engine_entity(engine.key))
    labels = {entity: Label(number, entity, phase, bottleneck) for entity in entities}
    return Tick(interval_, labels, tuple(labels.values()))


def recorded(path: Path, ticks: Iterator[Tick]) -> Path:
    file: RecordingFile | None = None
    for tick in ticks:
        if file is None:
            file = RecordingFile(path, Origin("node-1", "UTC", "run"), tick.interval, phase_seconds=phase_seconds)
        file.write(tick)
    assert file is not None
    file.close()
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("report") / "a.db", map(labelled, range(900)))


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("report") / "b.db", (labelled(at, slow=1.5) for at in range(900)))


@pytest.fixture(scope="module")
def made(saved: Path) -> Report:
    with Recording(saved) as recording:
        return _named(report(recording, PROMISED))


def _named(made: Report) -> Report:
    """Without the directory, which differs from run to run."""
    return replace(made, source=replace(made.source, path="a.db"))


# One pass in SQL, against the arithmetic of the screens.


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(begin=st.integers(0, 500), length=st.integers(1, 400))
def test_sums_made_in_sql_are_those_made_interval_by_interval(saved: Path, begin: int, length: int) -> None:
    span = (START + begin * SECOND, START + (begin + length) * SECOND)
    with Recording(saved) as recording:
        expected = reduce(add, (tally_of(one.interval, one.labels) for one in recording.ticks(*span)), Tally())
    found = read([saved], *span)
    totals = Totals(total(found.blocks), found.roster)
    assert totals.seconds == pytest.approx(expected.ledger.seconds)
    assert totals.wall == pytest.approx(dict(expected.ledger.wall))
    assert totals.device_seconds == pytest.approx(dict(expected.ledger.gpus), abs=1e-6)
    for phase in PHASES:
        assert totals.joules(phase) == pytest.approx(expected.energy.joules.get(phase, 0.0), abs=1e-3)
    assert totals.computed() == expected.energy.prompt_tokens
    assert totals.generated() == expected.energy.generated_tokens
    resources = {str(key[1]): value for key, value in totals.sums.items() if key[0] == "resource"}
    assert resources == pytest.approx({name: v for name, v in expected.ledger.resources.items() if v}, abs=1e-6)


def test_a_recording_of_any_length_is_held_in_as_many_blocks(tmp_path: Path) -> None:
    path = recorded(tmp_path / "long.db", (_minute(at) for at in range(1000)))
    found = read([path])
    assert (found.intervals, found.minutes_each) == (1000, 3)
    assert len(found.blocks) == 334
    assert total(found.blocks).sums["seconds",] == pytest.approx(60_000.0)


def _minute(number: int) -> Tick:
    one = Interval(number, START + number * 60 * SECOND, START + (number + 1) * 60 * SECOND, 60.0)
    label = Label(number, HOST, Phase("idle", True, None, 0.0), Bottleneck("demand", "demand"))
    return Tick(one, {HOST: label}, (label,))


@given(st.lists(st.dictionaries(st.integers(0, 30), st.integers(1, 10**9), max_size=6), max_size=20))
def test_buckets_are_counted_as_json_would_have_them(rows: list[dict[int, int]]) -> None:
    text = ",".join(json.dumps({str(bucket): count for bucket, count in row.items()}) for row in rows)
    expected: dict[int, int] = {}
    for row in rows:
        for bucket, count in row.items():
            expected[bucket] = expected.get(bucket, 0) + count
    assert dict(counted(text)) == expected


@pytest.mark.parametrize("text", ['{"a":1}', '{"1":"x"}', "garbage", '{"1"}'])
def test_counts_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        counted(text)


# The arithmetic.

_buckets = st.dictionaries(
    st.sampled_from([(0.0, 0.1), (0.1, 0.5), (0.5, 2.0), (2.0, float("inf"))]), st.floats(0, 1e6), min_size=1
)


@given(_buckets, st.floats(0.001, 10), st.floats(0.001, 10))
def test_observations_within_a_limit_rise_with_it_and_never_exceed_all(
    buckets: dict[tuple[float, float], float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert 0 <= within(buckets, low) <= within(buckets, high) + 1e-9 <= sum(buckets.values()) + 2e-9


@given(_buckets, st.floats(0.001, 10))
def test_wherever_observations_lie_in_their_bucket_the_share_is_between_the_least_and_the_most(
    buckets: dict[tuple[float, float], float], limit: float
) -> None:
    least, most = surely_within(buckets, limit)
    assert least <= within(buckets, limit) + 1e-6
    assert within(buckets, limit) <= most + 1e-6
    assert most <= sum(buckets.values()) + 1e-6


def test_of_a_quantile_above_all_bounds_no_more_is_said_than_that() -> None:
    histogram = Histogram((1.0, 80.0), (10, 20, 70), 9000.0)
    assert [histogram.is_beyond(q) for q in (0.1, 0.3, 0.31)] == [False, False, True]
    assert (quantile(histogram, 0.99), quantile(histogram, 0.1)) == ("over 80 s", "1 s")
    assert quantile(Histogram((1.0,), (0, 0), 0.0), 0.5) == "nothing"


@pytest.mark.parametrize("noise", [0.02, 0.06])
def test_how_alike_noise_makes_the_phases_look_is_known(noise: float) -> None:
    """Prefill uses 0.6 of something and decode nothing; shares are seen with noise."""
    chance = Random(1)
    pp = pd = dd = py = dy = 0.0
    for _ in range(20_000):
        true = 0.5 + chance.gauss(0.0, 0.08)
        seen = true + chance.gauss(0.0, noise)
        p, d, y = seen, 1.0 - seen, 0.6 * true
        pp, pd, dd, py, dy = pp + p * p, pd + p * d, dd + d * d, py + p * y, dy + d * y
    determinant = pp * dd - pd**2
    contrast = ((py * dd - dy * pd) - (dy * pp - py * pd)) / determinant
    assert contrast * (1.0 + blur(pp, pd, dd, noise)) == pytest.approx(0.6, rel=0.05)
    assert blur(pp, pd, dd, 0.0) == pytest.approx(0.0)
    assert blur(pp, pd, dd, 0.5) == MOST_BLUR


def test_what_lies_above_all_bounds_is_never_within() -> None:
    assert within({(1.0, float("inf")): 10.0}, 1e9) == 0.0


def test_the_bootstrap_is_seeded_and_knows_its_fewest_blocks() -> None:
    blocks = [{("x",): float(at % 7), ("n",): 1.0} for at in range(40)]
    assert draws(blocks, [("x",), ("n",)]) == draws(blocks, [("x",), ("n",)])
    found = interval(blocks, [("x",), ("n",)], lambda sums: sums["x",] / sums["n",])
    assert found is not None
    assert found[0] < sum(block["x",] for block in blocks) / 40 < found[1]
    assert interval(blocks[:9], [("x",)], lambda sums: sums["x",]) is None


def test_a_key_that_no_drawn_block_has_stays_missing() -> None:
    assert all(("y",) not in sums for sums in draws([{("x",): 1.0}] * 12, [("x",), ("y",)], count=5))


@given(st.lists(st.floats(0, 100), min_size=100, max_size=120))
def test_bounds_lie_within_what_was_drawn(values: list[float]) -> None:
    found = bounds(values)
    assert found is not None
    assert min(values) <= found[0] <= found[1] <= max(values)


@settings(deadline=None)
@given(
    added=st.floats(0.2, 3.0), base=st.floats(0.001, 0.1), by_batch=st.floats(0, 0.001),
    pairs=st.lists(st.tuples(st.floats(0, 0.05), st.floats(1, 60)), min_size=8, max_size=30),
)  # fmt: skip
def test_the_regression_finds_what_prefill_adds(
    added: float, base: float, by_batch: float, pairs: list[tuple[float, float]]
) -> None:
    moments = dict.fromkeys(DELAY, 0.0)
    for x, b in [*pairs, (0.0, 5.0), (0.04, 5.0), (0.0, 50.0), (0.03, 40.0)]:
        y = base + added * x + by_batch * b
        for name, value in zip(DELAY, (1, x, b, x * x, x * b, b * b, y, x * y, b * y, y * y), strict=True):
            moments[name] += 100.0 * value
    found = slope(moments)
    assert found is not None
    assert found == pytest.approx(added, rel=0.02)


def test_where_prefill_never_varied_nothing_is_regressed() -> None:
    x, y, w = 0.01, 0.03, 1000.0
    values = (1, x, 8.0, x * x, x * 8, 64.0, y, x * y, 8 * y, y * y)
    assert slope({name: w * value for name, value in zip(DELAY, values, strict=True)}) is None


@given(prefill=st.floats(100, 800), decode=st.floats(100, 800), rest=st.floats(40, 90))
def test_the_power_of_each_phase_is_found(prefill: float, decode: float, rest: float) -> None:
    block = Block(0, 1)
    for at in range(400):
        p, d = (at % 11) / 12, (at % 7) / 7 * (1 - (at % 11) / 12)
        i = 1 - p - d
        y = prefill * p + decode * d + rest * i
        values = (p * p, p * d, p * i, d * d, d * i, i * i, p * y, d * y, i * y, p, d, i, y)
        for name, value in zip(POWER, values, strict=True):
            block.add(("power", name), value)
    found = watts(block.sums, [])
    assert found is not None
    assert (found.prefill, found.decode) == pytest.approx((prefill, decode), rel=0.06)


# The report.


def test_the_figures_are_those_of_what_was_recorded(made: Report) -> None:
    ticks = [labelled(at) for at in range(900)]
    expected = reduce(add, (energy_of(one.interval, one.labels) for one in ticks))
    ledger = reduce(add, (ledger_of(one.interval, one.labels) for one in ticks))
    assert made.figure("wall_prefill").value == pytest.approx(ledger.wall["prefill"])
    assert made.figure("joules").value == pytest.approx(expected.total_joules)
    assert made.figure("tokens_per_joule").value == pytest.approx(1 / (expected.joules_per_token or 0))
    prefill = 2 * PREFILL_WATTS * ledger.wall["prefill"]
    assert made.figure("joules_prefill").value == pytest.approx(prefill, rel=0.03)
    assert made.figure("host_bound").value == pytest.approx(ledger.resources["host"], rel=1e-3)
    assert made.figure("money").value == pytest.approx(2 * 900 / 3600 * 2.5)
    assert made.figure("mbu_decode").value == pytest.approx(0.7, abs=0.02)
    assert made.figure("mfu_prefill").value == pytest.approx(0.6, abs=0.02)
    assert made.figure("kv_full").value == 90.0


def test_what_prefill_adds_is_told_with_bounds_around_the_truth(made: Report) -> None:
    weighted = tokens = 0.0
    for at in range(900):
        engine = next(iter(labelled(at).interval.engines.values()))
        if engine.tpot is not None and engine.steps:
            weighted += engine.tpot.sum - 0.02 * engine.tpot.count
            tokens += engine.tpot.count
    found = made.figure("added_by_prefill")
    assert found.value == pytest.approx(weighted / tokens, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= weighted / tokens <= found.high


def test_money_follows_the_prices(saved: Path) -> None:
    with Recording(saved) as recording:
        dear = report(recording, Settings(Prices(gpu_hour=10.0, electricity=0.5, pue=2.0, currency="EUR")))
    joules = dear.figure("joules").value or 0.0
    assert dear.figure("money").value == pytest.approx(0.5 * 10.0 + joules / 3.6e6 * 2.0 * 0.5)
    assert ("GPU hour", "10 EUR") in dear.settings
    assert "EUR/M" in report_text(dear)


def test_the_share_of_tokens_within_the_promise_is_linear_within_a_bucket(made: Report) -> None:
    assert made.figure("tpot_met").value == 1.0  # all between 25 and 50 ms
    late = 23 / 923  # between 1 and 5 s: three quarters of them above 2 s
    assert made.figure("ttft_met").value == pytest.approx(1 - 0.75 * late, rel=1e-3)


def test_nothing_is_computed_from_what_was_not_measured(tmp_path: Path) -> None:
    def bare(number: int) -> Tick:
        tick = labelled(number)
        engines = {
            key: replace(one, tpot=None, ttft=None, kv_cache_usage_ratio=None, prompt_tokens=None, gpus=(),
                         generation_tokens=None, prompt_tokens_computed=None, prompt_tokens_cached=None)
            for key, one in tick.interval.engines.items()
        }  # fmt: skip
        labels = {name: label for name, label in tick.labels.items() if not name.startswith("gpu/")}
        return Tick(replace(tick.interval, gpus={}, engines=engines), labels, tuple(labels.values()))

    with Recording(recorded(tmp_path / "bare.db", map(bare, range(120)))) as recording:
        poor = report(recording, Settings())
    assert {section.key for section in poor.sections} == {"time", "bottleneck", "capacity", "host", "disaggregation"}
    for section in poor.sections:
        for figure in section.figures:
            assert figure.value is not None or figure.missing
    assert poor.figure("kv_mean").missing == "no engine tells its KV cache's use"
    assert poor.figure("host_bound").missing == "no GPU tells when it is idle"


def test_a_stretch_without_an_interval_is_no_report(saved: Path) -> None:
    with Recording(saved) as recording, pytest.raises(Nothing):
        report(recording, Settings(), 5, 6)


# How it is told.


def test_the_text_is_as_it_was(made: Report) -> None:
    assert report_text(made) == GOLDEN.read_text()


@pytest.mark.parametrize("width", [80, 120, 140])
def test_the_text_keeps_its_width_where_words_allow(made: Report, width: int) -> None:
    told = [line for line in report_text(made, width).splitlines() if not line.startswith("    ")]
    assert max(map(len, told)) <= width


def test_the_json_has_a_schema_and_every_figure(made: Report) -> None:
    told = json.loads(report_json(made))
    assert (told["schema"], told["kind"]) == (1, "report")
    figures = {figure["key"]: figure for section in told["sections"] for figure in section["figures"]}
    assert figures["prefill_share"]["unit"] == "ratio"
    assert told["settings"]["PUE"] == "1.3"


class _Page(HTMLParser):
    """Collects tags, and that every one of them is closed."""

    VOID = frozenset({"meta", "br", "path", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attributes if name in ("href", "src", "xlink:href", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(text: str) -> _Page:
    found = _Page()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def test_the_page_stands_alone(made: Report) -> None:
    text = report_html(made)
    found = page(text)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert all(link.startswith("#") for link in found.links)
    assert not re.search(r"url\(|@import|\son\w+=", text)
    assert len(text.encode()) < 2_000_000
    assert "default-src 'none'" in text


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&"\'>'
    with Recording(recorded(tmp_path / "evil.db", (labelled(at, evil) for at in range(130)))) as recording:
        text = report_html(report(recording, Settings()))
    assert "script" not in page(text).tags
    assert "&lt;script&gt;alert(" in text


# Differences.


def changes(a: Path, b: Path) -> dict[str, Change]:
    with Recording(a) as first, Recording(b) as second:
        found = difference(study(first, Settings()), study(second, Settings()))
    page(difference_html(found))
    assert json.loads(difference_json(found))["kind"] == "diff"
    assert "B - A" in difference_text(found)
    return {change.key: change for _, group in found.groups for change in group}


def test_the_same_recording_twice_has_no_difference_beyond_noise(saved: Path) -> None:
    found = changes(saved, saved)
    assert found["tpot_mean"].difference == 0.0
    assert not any(change.is_more_than_noise for change in found.values())


def test_slower_tokens_are_a_difference_and_what_stayed_is_none(saved: Path, slower: Path) -> None:
    found = changes(saved, slower)
    assert found["tpot_mean"].relative == pytest.approx(0.5)
    assert found["tpot_mean"].is_more_than_noise
    assert not found["tokens_out"].is_more_than_noise


def test_stretches_too_short_for_the_bootstrap_are_said_to_be(saved: Path) -> None:
    middle = START + 100 * SECOND
    with Recording(saved) as one:
        found = difference(study(one, Settings(), None, middle), study(one, Settings(), middle, middle + 100 * SECOND))
    assert all(change.is_more_than_noise is None for _, group in found.groups for change in group)
    assert "too short" in found.summary[0]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        path_ = recorded(Path(scratch) / "a.db", map(labelled, range(900)))
        GOLDEN.write_text(report_text(_named(report(Recording(path_), PROMISED))))
