"""Recordings in other programs' forms: OpenMetrics, Parquet, excerpts, and without names."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.document import document
from collectors.events import events_between
from collectors.model import Event, Gap, GpuProcess, Interval, Tick
from collectors.phase.label import Labeller
from collectors.phase.rules import phase_seconds
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs
from collectors.replay import Recording
from dashboard.commands.progress import Progress
from exporters.dump import TABLES
from exporters.excerpt import SeveralRuns, write_excerpt
from exporters.openmetrics_dump import dump_openmetrics
from exporters.parquet_dump import dump_parquet
from exporters.recording_file import Origin, RecordingFile
from exporters.redact import POLICY, Redactor
from tests.recording_support import SECOND, START, interval, recording_file, ticks, with_event

LENGTH = 150


def serving(number: int, *, start: int | None = None) -> Interval:
    """The machine of `interval` with an engine that says what it did: blocks of prefill, decode and rest."""
    one = interval(number, start=start)
    (engine,) = one.engines.values()
    prefill, decode, idle = ((0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.0, 0.0, 1.0))[number // 20 % 3]
    busy = replace(
        engine,
        prefill_seconds=prefill,
        decode_seconds=decode,
        idle_seconds=idle,
        prompt_tokens_computed=4000 * prefill,
        generation_tokens=100 * decode,
        steps=50 * decode,
        requests_running=0.0 if idle == 1.0 else 4.0,
        window_seconds=1.0,
    )
    return replace(one, engines={busy.key: busy})


def labelled(path: Path, intervals: list[Interval], run: str = "one") -> Path:
    """A recording as `record` makes it: real labels, and the estimator's state once a minute."""
    labeller = Labeller()
    file: RecordingFile | None = None
    previous: Interval | None = None
    minute = None
    for one in intervals:
        tick = labeller.push(one)
        tick = replace(tick, events=events_between(previous, one))
        previous = one
        origin = Origin("web-7.example", "Europe/Berlin", run)
        file = file or RecordingFile(path, origin, one, phase_seconds=phase_seconds)
        due = one.end // (60 * SECOND) != minute
        minute = one.end // (60 * SECOND)
        file.write(tick, checkpoint=labeller.checkpoint() if due else None)
    assert file is not None
    file.settle(labeller.flush())
    file.close()
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(tmp_path_factory.mktemp("formats") / "one.db", [serving(number) for number in range(LENGTH)])


@pytest.fixture(scope="module")
def openmetrics(path: Path) -> str:
    out = io.StringIO()
    with Recording(path) as recording:
        assert dump_openmetrics(recording, out, labels={"job": "phasetop", "instance": "web"}, version="1") == LENGTH
    return out.getvalue()


def samples(page: str, name: str) -> dict[float, float]:
    """Time -> value of the samples whose name and labels begin so."""
    found = {}
    for line in page.splitlines():
        if line.startswith(name):
            _, value, moment = line.rsplit(" ", 2)
            found[float(moment)] = float(value)
    return found


def test_every_series_of_the_openmetrics_dump_stands_in_one_piece_and_in_the_order_of_time(openmetrics: str) -> None:
    lines = openmetrics.splitlines()
    assert lines[-1] == "# EOF"
    assert lines.count("# EOF") == 1
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    ended: set[str] = set()
    current, newest = "", 0.0
    for line in lines:
        if line.startswith("#") or "_bucket{" in line or "_sum{" in line or "_count{" in line:
            continue
        series, _, moment = line.rsplit(" ", 2)
        if series != current:
            assert series not in ended
            ended.add(series)
            current, newest = series, 0.0
        assert float(moment) > newest
        newest = float(moment)


def test_the_openmetrics_counters_end_at_the_sums_of_the_recording(path: Path, openmetrics: str) -> None:
    with Recording(path) as recording:
        seconds = {"prefill": 0.0, "decode": 0.0, "idle": 0.0}
        tokens = 0.0
        for tick in recording.ticks():
            parts = phase_seconds(tick.labels["host"].phase, tick.interval.duration)
            seconds = {name: before + parts[name] for name, before in seconds.items()}
            tokens += sum(engine.generation_tokens or 0.0 for engine in tick.interval.engines.values())
    assert min(seconds.values()) > 10
    for name, expected in seconds.items():
        lead = f'phasetop_host_phase_seconds_total{{job="phasetop",instance="web",phase="{name}"}}'
        assert list(samples(openmetrics, lead).values())[-1] == pytest.approx(expected)
    written = samples(openmetrics, "phasetop_engine_generation_tokens_total{")
    assert list(written.values())[-1] == pytest.approx(tokens)
    assert len(written) == LENGTH


def test_fewer_samples_of_the_same_counters_when_asked_for(path: Path, openmetrics: str) -> None:
    out = io.StringIO()
    with Recording(path) as recording:
        dump_openmetrics(recording, out, every=15.0, labels={"job": "phasetop", "instance": "web"}, version="1")
    lead = 'phasetop_host_phase_seconds_total{job="phasetop",instance="web",phase="decode"}'
    few, all_of_them = samples(out.getvalue(), lead), samples(openmetrics, lead)
    assert len(few) == LENGTH / 15 + 1  # the first and the last are always there
    assert few.items() <= all_of_them.items()


def test_promtool_makes_blocks_of_the_openmetrics_dump(openmetrics: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    page = tmp_path / "page.om"
    page.write_text(openmetrics)
    blocks = tmp_path / "blocks"
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(page), str(blocks)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert [one for one in blocks.iterdir() if (one / "meta.json").exists()]


def test_what_a_clock_that_stepped_back_recorded_twice_is_left_out_of_a_time_series() -> None:
    steps = [interval(0), interval(1), replace(interval(2), start=START, end=START + SECOND), interval(3)]
    out = io.StringIO()
    assert dump_openmetrics(_Ticks([Tick(one) for one in steps]), out) == 3
    assert list(samples(out.getvalue(), "phasetop_build_info")) == [START / SECOND + at for at in (1, 2, 4)]


class _Ticks:
    def __init__(self, made: list[Tick]) -> None:
        self._made = made

    def ticks(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Tick]:
        return iter(self._made)


@pytest.mark.parametrize("name", TABLES)
def test_parquet_has_the_columns_of_the_table_with_their_types(path: Path, name: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "one.parquet"
    with Recording(path) as recording:
        count = dump_parquet(recording, name, out)
    table = parquet.read_table(out)
    assert tuple(table.column_names) == TABLES[name][0]
    assert table.num_rows == count
    if name == "gpu":
        types = {field.name: str(field.type) for field in table.schema}
        assert types["start"] == "timestamp[us, tz=UTC]"
        assert (types["uuid"], types["index"], types["dram_active_ratio"]) == ("string", "int64", "double")
        row = table.slice(84, 1).to_pylist()[0]
        expected = serving(42).gpus["GPU-0"]
        assert row["start"].timestamp() == START / SECOND + 42
        assert all(row[spec.name] == getattr(expected, spec.name) for spec in field_specs(GpuReading))


def written_out(recording: Recording) -> list[object]:
    return [document(tick) for tick in recording.ticks()]


def test_an_excerpt_is_a_recording_of_the_same_intervals_labels_and_events(path: Path, tmp_path: Path) -> None:
    start, end = START + 70 * SECOND, START + 140 * SECOND
    with Recording(path) as recording:
        made = write_excerpt(recording, tmp_path / "part.db", start, end)
        expected = [document(tick) for tick in recording.ticks(start, end)]
    assert made.intervals == 70
    with Recording(tmp_path / "part.db") as excerpt:
        assert written_out(excerpt) == expected
        assert (excerpt.host_name, excerpt.time_zone) == ("web-7.example", "Europe/Berlin")
        columns = excerpt.strip(start, end, 7)
        assert sum(column.prefill + column.decode for column in columns) == pytest.approx(45, abs=5)


def test_labels_of_an_excerpt_made_anew_equal_the_stored_ones_from_its_eleventh_second_on(
    path: Path, tmp_path: Path
) -> None:
    start = START + 75 * SECOND
    with Recording(path) as recording:
        write_excerpt(recording, tmp_path / "part.db", start)
    with Recording(tmp_path / "part.db") as stored, Recording(tmp_path / "part.db", relabel=True) as anew:
        later = start + 10 * SECOND
        assert [tick.labels for tick in anew.ticks(later)] == [tick.labels for tick in stored.ticks(later)]


def test_runs_of_a_recorder_become_files_of_their_own(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    moved = [serving(number, start=START + (number + 500) * SECOND) for number in range(30)]
    labelled(whole / "phasetop-20260501T000000Z.db", [serving(number) for number in range(30)], run="one")
    labelled(whole / "phasetop-20260501T000820Z.db", moved, run="two")
    with Recording(whole) as recording:
        with pytest.raises(SeveralRuns, match="2 runs"):
            write_excerpt(recording, tmp_path / "part.db")
        assert not (tmp_path / "part.db").exists()
        into = tmp_path / "parts"
        into.mkdir()
        made = write_excerpt(recording, into, START + 20 * SECOND, START + 510 * SECOND)
        expected = [document(tick) for tick in recording.ticks(START + 20 * SECOND, START + 510 * SECOND)]
    assert (len(made.files), made.intervals) == (2, 20)
    with Recording(into) as excerpt:
        assert written_out(excerpt) == expected


def secretive(number: int) -> Tick:
    one = serving(number)
    engines = {
        key: replace(engine, endpoint="http://10.9.8.7:8000/metrics", model="acme/secret-70b")
        for key, engine in one.engines.items()
    }
    (engine,) = engines.values()
    assert one.host is not None
    process = GpuProcess(7, "python", "alice", 1.0, "serve --api-key x acme/secret-70b", engine.endpoint)
    return Tick(
        replace(
            one,
            host=replace(one.host, name="web-7.example"),
            engines={engine.key: engine},
            gaps=(Gap(engine.endpoint, "web-7.example did not answer"),),
            gpu_processes={"GPU-0": (process,)},
        ),
        events=(
            Event(one.start, "note", "host", "deployed acme/secret-70b for Bob"),
            Event(one.start, "engine-up", f"engine/{engine.endpoint}#0", "acme/secret-70b at 10.9.8.7 is up"),
        ),
    )


def test_redacting_takes_out_every_name_and_leaves_every_figure() -> None:
    tick = secretive(3)
    redacted = Redactor().tick(tick)
    told = repr(redacted) + json.dumps(document(redacted))
    for name in ("web-7", "10.9.8.7", "secret", "acme", "alice", "Bob", "api-key"):
        assert name not in told
    (engine,) = redacted.interval.engines.values()
    assert (engine.endpoint, engine.model) == ("http://host-2:8000/metrics", "model-1")
    assert redacted.interval.gaps[0] == Gap("http://host-2:8000/metrics", "host-1 did not answer")
    assert redacted.events[1].entity == "engine/http://host-2:8000/metrics#0"
    (before,) = tick.interval.engines.values()
    assert replace(engine, endpoint=before.endpoint, model=before.model) == before
    assert redacted.interval.gpus == tick.interval.gpus


@pytest.mark.parametrize("reading", [HostReading, GpuReading, EngineReading])
def test_redacting_knows_what_to_do_with_every_text_of_a_reading(reading: type[Reading]) -> None:
    texts = {spec.name for spec in field_specs(reading) if spec.unit == "text"}
    assert set(POLICY[reading]) == texts, "say in exporters/redact.py what becomes of it; until then it is taken out"


def test_redacting_takes_names_out_of_lists_and_notes_too() -> None:
    tick = secretive(3)
    host, (engine,), (gpu, *_) = tick.interval.host, tick.interval.engines.values(), tick.interval.gpus.values()
    assert host is not None
    named = replace(
        tick.interval,
        host=replace(host, network_interfaces=("eno1-acme",), rdma_ports=("mlx5_acme/1",)),
        engines={
            engine.key: replace(engine, processes=("VLLM::EngineCore", "acme-router"), process_threads=(None, "x9"))
        },
        gpus={gpu.uuid: replace(gpu, note="lost; ask web-7.example")},
        gpu_processes={gpu.uuid: (GpuProcess(7, "acme-train", "alice"),)},
    )
    redacted = Redactor().tick(replace(tick, interval=named)).interval
    assert "acme" not in repr(redacted)
    assert redacted.host is not None
    assert (redacted.host.network_interfaces, redacted.host.rdma_ports) == (("link-1",), ("link-2",))
    (kept,) = redacted.engines.values()
    assert kept.processes == ("VLLM::EngineCore", "program-1")
    assert redacted.gpus[gpu.uuid].note == "lost; ask host-1"
    assert redacted.gpu_processes[gpu.uuid][0].name == "program-3"


def test_the_same_name_is_the_same_word_and_another_is_another() -> None:
    redactor = Redactor()
    first, second = (redactor.tick(secretive(number)).interval for number in (1, 2))
    assert list(first.engines) == list(second.engines)
    assert redactor.host("web-7.example") == "host-1"
    assert redactor.host("web-8.example") not in ("host-1", "host-2")


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8))
def test_no_name_that_is_known_stays_a_word_of_a_text(names: list[str]) -> None:
    redactor = Redactor()
    words = [redactor.host(name) for name in names]
    assert redactor.text(" , ".join(names)) is not None
    for name, word in zip(names, words, strict=True):
        if not any(name != other and other in name for other in names):
            assert redactor.text(f"( {name} )") == f"( {word} )"


def test_a_redacted_excerpt_holds_no_name_in_any_byte_and_can_be_labelled_anew(tmp_path: Path) -> None:
    labelled(tmp_path / "secret.db", [secretive(number).interval for number in range(LENGTH)])
    with Recording(tmp_path / "secret.db") as recording:
        write_excerpt(recording, tmp_path / "open.db", redactor=Redactor())
    stored = (tmp_path / "open.db").read_bytes()
    assert b"web-7" in (tmp_path / "secret.db").read_bytes()
    for name in (b"web-7", b"10.9.8.7", b"secret", b"alice", b"api-key"):
        assert name not in stored
    with Recording(tmp_path / "open.db") as kept, Recording(tmp_path / "open.db", relabel=True) as anew:
        assert [tick.labels for tick in anew.ticks()] == [tick.labels for tick in kept.ticks()]


def test_progress_is_silent_where_nobody_watches_and_passes_everything_on() -> None:
    out = io.StringIO()
    made = list(ticks(interval(number) for number in range(5)))
    assert list(Progress("dump", START, START + 5 * SECOND, out=out)(iter(made))) == made
    assert out.getvalue() == ""


def test_an_unknown_table_is_refused_by_parquet_as_by_csv(path: Path, tmp_path: Path) -> None:
    with Recording(path) as recording, pytest.raises(ValueError, match='no table "gpus"'):
        dump_parquet(recording, "gpus", tmp_path / "x.parquet")


def test_a_note_of_a_person_is_no_place_for_a_name(tmp_path: Path) -> None:
    made = [with_event(tick, "for Bob") for tick in ticks(interval(number) for number in range(3))]
    recording_file(tmp_path / "one.db", made)
    with Recording(tmp_path / "one.db") as recording:
        write_excerpt(recording, tmp_path / "two.db", redactor=Redactor())
    assert b"Bob" not in (tmp_path / "two.db").read_bytes()
