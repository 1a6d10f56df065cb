from __future__ import annotations

import itertools
import os
import random
from collections import deque
from pathlib import Path

import pytest

from benchmarks.phasebench.deployment import deploy
from benchmarks.phasebench.inputs import truths
from benchmarks.phasebench.pages import Publisher
from benchmarks.phasebench.scoring import score
from benchmarks.phasebench.simulator import Limits, simulate
from benchmarks.phasebench.tables import KernelTables, Step
from benchmarks.phasebench.traces import Request, Shape
from collectors.engine.reading import new_memo, snapshots


@pytest.fixture
def tables(tmp_path: Path) -> KernelTables:
    """Kernel times of a made-up card: linear, so that every step's cost can be told by hand."""
    directory = tmp_path / "GPU" / "Model" / "tp1"
    directory.mkdir(parents=True)
    dense = "".join(f"qkv_proj,{tokens},{200 + 2 * tokens}\n" for tokens in (1, 64, 512, 2048))
    (directory / "dense.csv").write_text("layer,tokens,time_us\n" + dense)
    (directory / "per_sequence.csv").write_text("layer,sequences,time_us\nlm_head,1,100\nlm_head,256,100\n")
    grid = [(c, k, n, d) for c in (0, 16, 2048) for k in (0, 16, 8192) for n in (0, 1, 256) for d in (0, 16, 8192)]
    lines = "".join(f"{c},{k},{n},{d},{c / 20 + n / 4}\n" for c, k, n, d in grid)
    (directory / "attention.csv").write_text("prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n" + lines)
    return KernelTables(directory)


def load(count: int = 200) -> list[Request]:
    chance = random.Random(1)
    return [Request(0.3 * index, chance.randrange(50, 1600), chance.randrange(5, 50)) for index in range(count)]


def test_a_mixed_step_costs_at_least_its_decode_part(tables: KernelTables) -> None:
    mixed, alone = tables.seconds(Step(512, 0.0, 32, 256)), tables.seconds(Step(0, 0.0, 32, 256))
    assert mixed > alone > 0


def test_the_simulation_computes_every_prompt_and_generates_every_token(tables: KernelTables) -> None:
    requests = load()
    steps = simulate(requests, tables, Limits(), 1e9)
    assert sum(step.prefill_tokens for step in steps) == sum(one.prompt for one in requests)
    made = sum(step.decode + len(step.finished_prompts) for step in steps)
    assert made == sum(one.output for one in requests)
    assert all(later.start >= earlier.end for earlier, later in itertools.pairwise(steps))


def test_steps_never_exceed_the_token_budget(tables: KernelTables) -> None:
    steps = simulate(load(), tables, Limits(batch_tokens=512), 60.0)
    assert max(step.prefill_tokens + step.decode for step in steps) <= 512


def test_a_full_kv_cache_preempts_and_loses_nothing(tables: KernelTables) -> None:
    requests = [Request(0.0, 300, 200) for _ in range(8)]
    steps = simulate(requests, tables, Limits(kv_tokens=2600), 1e9)
    assert sum(step.preempted for step in steps) > 0
    made = sum(step.decode + len(step.finished_prompts) + step.resumed for step in steps)
    assert made == sum(one.output for one in requests)
    assert sum(step.ended for step in steps) == len(requests)


def test_the_intervals_hold_all_the_time_of_the_steps(tables: KernelTables) -> None:
    steps = simulate(load(), tables, Limits(), 40.0)
    inside = [step for step in steps if step.end <= 40.0]
    cut = truths(inside, 0.5, 40.0)
    assert sum(one.busy for one in cut) == pytest.approx(sum(step.end - step.start for step in inside))
    assert sum(one.prefill for one in cut) == pytest.approx(sum(step.prefill_seconds for step in inside))


def test_published_pages_lump_a_prompt_at_its_end(tables: KernelTables) -> None:
    steps = simulate([Request(0.0, 5000, 3)], tables, Limits(), 10.0)
    assert [step.prefill_tokens for step in steps[:3]] == [2048, 2048, 904]
    publisher, memo, counts = Publisher(steps, 100_000), new_memo(), deque[float]()
    for step in steps:
        (snapshot,) = snapshots("x", publisher.page(step.end), step.end, memo)
        counts.append(next(v for s, v in snapshot.values.items() if s.labels.get("source") == "local_compute"))
    assert list(counts)[:3] == [0.0, 0.0, 5000.0]


def test_the_score_of_a_made_up_card_is_within_its_gate(tables: KernelTables) -> None:
    instances = deploy("one", load(1000), tables, Limits(), 240.0)
    row = score("made", instances, tables.card, 1.0, 240.0, "pages")
    assert row.mae <= 0.05
    assert row.intervals >= 100


@pytest.mark.parametrize("shape", ["ranks", "split", "restart"])
def test_every_deployment_is_labelled_through_the_same_path(tables: KernelTables, shape: Shape) -> None:
    instances = deploy(shape, load(1000), tables, Limits(), 260.0)
    row = score("made", instances, tables.card, 1.0, 260.0, "pages")
    assert row.mae <= 0.05
    assert row.intervals >= 90


def test_the_parts_of_a_split_deployment_do_all_the_work_once(tables: KernelTables) -> None:
    requests = load(40)
    prefill, decode = deploy("split", requests, tables, Limits(), 1e9)
    assert sum(step.prefill_tokens for step in prefill.steps) == sum(one.prompt for one in requests)
    made = sum(step.decode + len(step.finished_prompts) for part in (prefill, decode) for step in part.steps)
    assert made == sum(one.output for one in requests)


def test_a_process_that_starts_again_counts_from_zero(tables: KernelTables) -> None:
    (instance,) = deploy("restart", load(1000), tables, Limits(), 100.0)
    before, after = instance.processes
    assert before.end <= 50.0 < after.begin
    assert all(after.begin <= step.start for step in after.steps)
    assert not instance.is_up(49.5, 50.5)


ROOT = os.environ.get("PHASETOP_TEST_DATA")


@pytest.mark.skipif(not ROOT, reason="PHASETOP_TEST_DATA is not set: no kernel tables here")
def test_measured_tables_give_the_decode_step_that_was_measured() -> None:
    directory = next(Path(ROOT or "", "data", "llmservingsim", "perf").glob("*/Llama-3.1-8B/tp1"))
    # 128 sequences of some 1,150 tokens: 26.6 to 27 ms on the real engine, its own overhead included.
    assert KernelTables(directory).seconds(Step(0, 0.0, 128, 1152)) == pytest.approx(0.0268, rel=0.1)
