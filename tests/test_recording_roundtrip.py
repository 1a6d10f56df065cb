"""What is read back is what was written, to the bit."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.histogram import Histogram
from collectors.model import (
    BOTTLENECK_NAMES,
    HOST,
    PHASE_LABELS,
    Bottleneck,
    Event,
    Evidence,
    Gap,
    Interval,
    Label,
    Phase,
    Tick,
    engine_entity,
    gpu_entity,
)
from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs, rounded
from collectors.replay import Recording
from collectors.store_read import FileReader
from tests.recording_support import START, Estimator, interval, recording_file, ticks

LINE = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f,"), max_size=20).filter(
    str.isprintable
)
NAME = LINE.filter(bool)
COUNTS = st.integers(0, 2**40)
BITS = 2.0**62
"""What is stored is this large at most, so that no value is dropped for its size."""


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    bounds = sorted(draw(st.sets(st.floats(1e-6, 1e6), max_size=5)))
    counts = draw(st.lists(COUNTS, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    return Histogram(tuple(bounds), tuple(counts), draw(st.floats(0, 1e9)))


def _without_minus_zero(value: float) -> float:
    """An integer column has one zero, and the two floats are equal."""
    return value + 0.0


@functools.cache  # made anew for every example, it would be most of the work
def readings(reading: type[Reading], **identity: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(reading)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for spec in field_specs(reading):
        if spec.kind == "histogram":
            fields[spec.name] = st.none() | histograms()
        elif spec.name == "gpus":
            fields[spec.name] = st.lists(NAME, max_size=3).map(tuple)
        elif spec.kind == "list":
            number = st.integers(-(2**40), 2**40).map(lambda n, scale=spec.scale: n / scale)
            items = st.none() | (LINE if spec.unit == "text" else number)
            fields[spec.name] = st.none() | st.lists(items, max_size=3).map(tuple)
        elif spec.kind == "text":
            fields[spec.name] = st.none() | LINE if type(None) in get_args(hints[spec.name]) else LINE
        elif hints[spec.name] is int:
            fields[spec.name] = st.integers(0, 64)
        else:
            fields[spec.name] = st.none() | st.floats(-BITS / spec.scale, BITS / spec.scale).map(_without_minus_zero)
    return st.builds(reading, **(fields | identity))


RATIO = st.none() | st.integers(0, 10_000).map(lambda n: n / 10_000)
PHASES = st.builds(
    Phase,
    st.sampled_from(PHASE_LABELS), st.just(True), RATIO, RATIO, RATIO, st.sampled_from(["high", "medium", "low"]),
    st.lists(st.sampled_from(get_args(Evidence)), max_size=3).map(tuple), st.integers(1, 9),
)  # fmt: skip
BOTTLENECKS = st.builds(
    Bottleneck,
    st.sampled_from(BOTTLENECK_NAMES), st.sampled_from(BOTTLENECK_NAMES), st.none() | st.just("scheduler"),
    st.dictionaries(st.sampled_from(BOTTLENECK_NAMES), st.integers(0, 10_000).map(lambda n: n / 10_000)),
    st.sampled_from(["high", "low"]), LINE, st.lists(LINE, max_size=2).map(tuple),
)  # fmt: skip


@st.composite
def labelled(draw: st.DrawFn) -> Tick:
    gpus = draw(st.lists(readings(GpuReading, uuid=NAME), max_size=3, unique_by=lambda gpu: gpu.uuid))
    engines = draw(
        st.lists(readings(EngineReading, endpoint=NAME, engine_index=NAME), max_size=2, unique_by=lambda one: one.key)
    )
    sequence = draw(st.integers(0, 2**40))
    start = draw(st.integers(0, 2**61))
    one = Interval(
        sequence,
        start,
        start + draw(st.integers(1, 60_000_000_000)),
        draw(st.floats(1e-3, 1e3)),
        draw(st.none() | readings(HostReading, name=NAME)),
        {gpu.uuid: gpu for gpu in gpus},
        {engine.key: engine for engine in engines},
        tuple(draw(st.lists(st.builds(Gap, NAME, LINE), max_size=3))),
    )
    entities = [HOST, *map(gpu_entity, one.gpus), *map(engine_entity, one.engines)]
    labels = {name: Label(sequence, name, draw(PHASES), draw(BOTTLENECKS)) for name in entities}
    events = tuple(draw(st.lists(st.builds(Event, st.integers(0, 2**61), st.just("note"), NAME, LINE), max_size=2)))
    return Tick(one, labels, tuple(labels.values()), events)


def rounded_interval(one: Interval) -> Interval:
    return Interval(
        one.sequence,
        one.start,
        one.end,
        one.duration,
        None if one.host is None else rounded(one.host),
        {uuid: rounded(gpu) for uuid, gpu in one.gpus.items()},
        {key: rounded(engine) for key, engine in one.engines.items()},
        one.gaps,
    )


@settings(max_examples=60, deadline=None)
@given(labelled())
def test_a_tick_read_back_is_the_rounded_one_that_was_written(tick: Tick) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = recording_file(Path(directory) / "one.db", [tick])
        with Recording(path) as recording:
            read = recording.tick(tick.interval.sequence)
    assert read is not None
    assert read.interval == rounded_interval(tick.interval)
    assert repr(read.interval.gpus) == repr(rounded_interval(tick.interval).gpus)
    assert read.labels == tick.labels
    assert read.settled == tuple(tick.labels.values())
    assert read.events == tick.events


def test_order_of_gpus_and_engines_is_kept(tmp_path: Path) -> None:
    one = interval(0)
    path = recording_file(tmp_path / "one.db", ticks([one]))
    with Recording(path) as recording:
        read = recording.tick(0)
    assert read is not None
    assert list(read.interval.gpus) == list(one.gpus)
    assert list(read.labels) == [HOST, "gpu/GPU-0", "gpu/GPU-1", f"engine/{next(iter(one.engines))[0]}#0"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, 1e30])
def test_a_value_that_no_column_can_hold_is_missing_and_loses_nothing_else(tmp_path: Path, value: float) -> None:
    host = HostReading(name="h", memory_used_bytes=value, cpu_ratio=0.5)
    written = [Tick(Interval(1, START, START + 1, 1.0, host)), *ticks([interval(2)])]
    path = recording_file(tmp_path / "one.db", written)
    with Recording(path) as recording:
        read = list(recording.ticks())
    assert read[0].interval.host == HostReading(name="h", cpu_ratio=0.5)
    assert read[1].interval == interval(2)
    assert set(read[1].labels) == set(written[1].labels)


def test_text_that_is_no_unicode_loses_only_what_is_not(tmp_path: Path) -> None:
    gpu = GpuReading(uuid="GPU-\udc80", name="H100 \ud800")
    tick = Tick(Interval(1, START, START + 1, 1.0, None, {gpu.uuid: gpu}, {}, (Gap("gpu", "why \udfff"),)))
    with Recording(recording_file(tmp_path / "one.db", [tick])) as recording:
        read = recording.tick(1)
    assert read is not None
    assert read.interval.gpus == {"GPU-?": GpuReading(uuid="GPU-?", name="H100 ?")}
    assert read.interval.gaps == (Gap("gpu", "why ?"),)


def test_text_in_a_file_from_elsewhere_is_cleaned_when_it_is_read(tmp_path: Path) -> None:
    gpu = GpuReading(uuid="GPU-0", name="H100\x1b[31m\nred")
    tick = Tick(Interval(1, START, START + 1, 1.0, None, {gpu.uuid: gpu}))
    with Recording(recording_file(tmp_path / "one.db", [tick])) as recording:
        read = recording.tick(1)
    assert read is not None
    assert read.interval.gpus["GPU-0"].name == "H100\ufffd[31m\ufffdred"


def test_checkpoints_come_back_as_they_were_put_and_coefficients_as_rows_when_they_change(tmp_path: Path) -> None:
    labeller = Estimator()
    states = []

    def pushed() -> Any:
        for tick in ticks(map(interval, range(400)), labeller):
            states.append(labeller.checkpoint())
            yield tick

    path = recording_file(tmp_path / "one.db", pushed(), checkpoints=labeller)
    reader = FileReader(path)
    stored = [reader.find.checkpoint(sequence) for sequence in range(400)]
    assert {found[0]: found[2] for found in stored if found} == {
        state["next_sequence"]: state for state in states[0::25]
    }
    reader.close()


class _Costed(Estimator):
    """Its checkpoints hold costs, which change at interval 60, and a set that makes none."""

    def checkpoint(self) -> dict[str, Any]:
        state = super().checkpoint()
        model = _EARLY if state["next_sequence"] < 60 else _LATE
        return {**state, "coefficients": {"engine/x#0": asdict(model), "engine/y#0": {"seen": 1}}}


_EARLY, _LATE = CostModel(step=0.01, error=0.04, windows=30, knows_decode=True), CostModel(step=0.02, windows=60)


def test_the_costs_in_force_come_back_with_each_interval(tmp_path: Path) -> None:
    estimator = _Costed()
    path = recording_file(tmp_path / "one.db", ticks(map(interval, range(150)), estimator), checkpoints=estimator)
    with Recording(path) as recording:
        read = {tick.interval.sequence: tick.costs for tick in recording.ticks()}
        found = [costs.get("engine/x#0") for costs in read.values()]
        assert found.index(_EARLY) < found.index(_LATE)
        assert set(found[found.index(_LATE) :]) == {_LATE}
        assert all("engine/y#0" not in costs for costs in read.values())
        alone = recording.tick(149)
        assert alone is not None
        assert alone.costs == read[149]


def test_more_texts_than_are_remembered_are_all_read_back(tmp_path: Path) -> None:
    def noisy(number: int) -> Tick:
        one = interval(number, gaps=(Gap("gpu", f"NVML has not answered for {number} s"),))
        return Tick(one, {}, ())

    path = recording_file(tmp_path / "one.db", (noisy(number) for number in range(4200)))
    with Recording(path) as recording:
        for number in (0, 1, 4095, 4096, 4199):
            tick = recording.tick(number)
            assert tick is not None
            assert tick.interval == noisy(number).interval
