"""Is what a report says true? Simulated servings with known answers, recorded and reported on.

    python -m benchmarks.report_truth [--data DIR] [--seconds 600] [--seed 1]... [--markdown]

Each serving is simulated step by step on measured kernel times (phasebench), its pages are read and
labelled as `phasetop import` does, recorded, and reported on. One row per figure: the truth, the report's
value, its stated bounds, and whether the truth lies within them: twice a standard deviation, or bounds
that are of 95 % or hold for certain.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from benchmarks.phasebench.deployment import deploy
from benchmarks.phasebench.inputs import Truth
from benchmarks.phasebench.simulator import Done, Limits, simulate
from benchmarks.phasebench.tables import Card, Step, StepTimes, find_tables
from benchmarks.phasebench.traces import Request, Workload, workloads
from benchmarks.simulated_recording import DECODE_WATTS, DRAM, PREFILL_WATTS, TENSOR, record
from collectors.analysis.figures import Figure
from collectors.analysis.report import report_of
from collectors.analysis.settings import Settings
from collectors.analysis.study import Study, study
from collectors.replay import Recording
from collectors.slo import Objective, Slo, SloBook

SERVINGS = ("azure-conv-4", "sharegpt-10", "prefix-cached-4", "prompt-heavy-12", "kv-limited-10")
HOST_GAP = 0.006
PROMISED = {"ttft": 0.5, "tpot": 0.04}
"""Seconds."""
_SETTINGS = Settings(promises=SloBook(Slo(*(Objective(PROMISED[name], 0.99) for name in ("ttft", "tpot")))))
_OWNER_DOUBT = 0.10
"""Of the misses: how far an owner's part may be off. The report's table states no error of its own."""
_FULL = 0.95
_FIRST_PAGE = 0.995
_ROUNDED = 1e-3
"""Absolute: what a share that is said to be exact may be off, by what the last page did not have yet."""
_BATCH_PROMPTS, _BATCH_TOKENS = 60, 4000


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one serving. Seconds, joules, ratios. Bounds are of so many times what is stated."""

    serving: str
    figure: str
    truth: float
    reported: float | None
    low: float | None
    high: float | None
    times: float = 2.0

    @property
    def error(self) -> float | None:
        return None if self.reported is None or not self.truth else self.reported / self.truth - 1.0

    @property
    def is_within(self) -> bool | None:
        """Whether the truth lies within the bounds."""
        if self.reported is None or self.low is None or self.high is None:
            return None
        below, above = self.times * (self.reported - self.low), self.times * (self.high - self.reported)
        return self.reported - below - _ROUNDED <= self.truth <= self.reported + above + _ROUNDED


class Logged:
    """Step times that add up what the prompts of all steps would have taken alone."""

    def __init__(self, tables: StepTimes) -> None:
        self._tables = tables
        self.alone = 0.0

    @property
    def name(self) -> str:
        return self._tables.name

    @property
    def card(self) -> Card:
        return self._tables.card

    def seconds(self, step: Step) -> float:
        if step.prefill:
            self.alone += self._tables.seconds(Step(step.prefill, step.prefill_context, 0, 0.0))
        return self._tables.seconds(step)


@dataclass(frozen=True, slots=True)
class Served:
    """A serving: what was asked for, what was done, and what a report makes of it."""

    name: str
    requests: Sequence[Request]
    limits: Limits
    seconds: float
    steps: Sequence[Done]
    true: Sequence[Truth]
    alone: float
    """Seconds that all prompts would have taken with nothing beside them."""
    found: Study

    def row(self, title: str, truth: float, figure: Figure, times: float = 2.0) -> Row:
        return Row(self.name, title, truth, figure.value, figure.low, figure.high, times)


def rows(data: Path, seconds: float, seed: int, servings: Iterable[str] = SERVINGS) -> Iterator[Row]:
    tables = next(make() for name, make in find_tables(data))
    known = {one.name: one for one in workloads(data)}
    for name in servings:
        if name in known:
            limits = Limits(kv_tokens=known[name].kv_tokens or tables.card.kv_tokens)
            yield from _serving(serve(name, known[name].make(seconds, seed), tables, limits, seconds), tables)
    limits = Limits(kv_tokens=tables.card.kv_tokens)
    if "azure-conv-1" in known:
        requests = batches(known["azure-conv-1"], seconds, seed)
        yield from _shapley(serve("prompt batches", requests, tables, limits, seconds))
    if "sharegpt-10" in known:
        requests = known["sharegpt-10"].make(seconds, seed)
        yield from _host_bound(serve("slow host", requests, tables, replace(limits, host_gap=HOST_GAP), seconds))


def serve(name: str, requests: Sequence[Request], tables: StepTimes, limits: Limits, seconds: float) -> Served:
    logged = Logged(tables)
    steps = simulate(requests, logged, limits, seconds)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "serving.db")
        true = record(path, steps, limits, tables, seconds)
        with Recording(path) as recording:
            found = study(recording, _SETTINGS)
    return Served(name, requests, limits, seconds, steps, true, logged.alone, found)


def batches(chat: Workload, seconds: float, seed: int) -> list[Request]:
    """Chat for half of each minute, and then long prompts of which only one token is wanted."""
    found = [one for one in chat.make(seconds, seed) if one.arrival % 60.0 < 30.0]
    for minute in range(int(seconds / 60)):
        found += [Request(60.0 * minute + 42.0, _BATCH_TOKENS, 1) for _ in range(_BATCH_PROMPTS)]
    return found


def _figures(found: Study) -> dict[str, Figure]:
    return {figure.key: figure for section in report_of(found).sections for figure in section.figures}


def _serving(one: Served, tables: StepTimes) -> Iterator[Row]:
    made = _figures(one.found)
    spent = {
        "prefill": sum(true.prefill for true in one.true),
        "decode": sum(true.busy - true.prefill for true in one.true),
    }
    for at, (phase, truth) in enumerate(spent.items()):
        watts = PREFILL_WATTS if phase == "prefill" else DECODE_WATTS
        yield one.row(f"GPU-seconds in {phase}", truth, made[f"device_{phase}"])
        yield one.row(f"joules in {phase}", truth * watts, made[f"joules_{phase}"])
        yield one.row(f"tensor use in {phase}", TENSOR[at], made[f"mfu_{phase}"])
        yield one.row(f"DRAM use in {phase}", DRAM[at], made[f"mbu_{phase}"])
    tokens = sum(step.decode for step in one.steps)
    added = sum(step.prefill_seconds * step.decode for step in one.steps) / tokens
    yield one.row("prefill adds to a token", added, made["added_by_prefill"], times=1.0)
    yield from _instances(one, tables)
    yield from _latencies(one, made)
    yield from _room(one, made)
    if any(request.cached for request in one.requests):
        without = simulate([replace(each, cached=0) for each in one.requests], tables, one.limits, one.seconds)
        saved = sum(step.prefill_seconds for step in without) - sum(step.prefill_seconds for step in one.steps)
        yield one.row("prefill the cache saved", saved, made["prefix_saved"])


def _instances(one: Served, tables: StepTimes) -> Iterator[Row]:
    """Instances for prefill per instance for decode, against a simulation of the two apart."""
    apart = deploy("split", one.requests, tables, one.limits, one.seconds)
    busy = [sum(step.end - step.start for step in instance.steps) for instance in apart]
    decoding = [step for step in apart[1].steps if step.decode]
    batch = sum(step.decode for step in decoding) / len(decoding)
    planned = one.found.plan(next(iter(one.found.models)), batch=batch)
    told = (None, None, None) if planned is None else (planned.ratio, planned.low, planned.high)
    yield Row(one.name, "prefill per decode instances", busy[0] / busy[1], *told)


def _latencies(one: Served, made: dict[str, Figure]) -> Iterator[Row]:
    """Distributions, what was within the promise, and who owned what was not.

    What came before the first page is in no recording: counters tell what was added from page to page.
    """
    told_of = [step for step in one.steps if _FIRST_PAGE < step.end < one.seconds]
    seen = {
        "ttft": [(waited, 1) for step in told_of for _, _, waited in step.finished_prompts],
        "tpot": [(step.token_gaps / step.decode, step.decode) for step in told_of if step.decode],
    }
    met = {}
    for name, pairs in seen.items():
        histogram = one.found.totals.histogram(name)
        if histogram is None:
            continue
        for q in (0.5, 0.99):
            truth, told = _quantile(pairs, q), histogram.quantile(q) or 0.0
            place = bisect_left(histogram.bounds, told)
            edges = (0.0, *histogram.bounds, float("inf"))
            low, high = (edges[-2], edges[-1]) if histogram.is_beyond(q) else (edges[place], edges[place + 1])
            yield Row(one.name, f"{name.upper()} p{q * 100:g}", truth, told, low, high, times=1.0)
        whole = sum(count for _, count in pairs)
        met[name] = sum(count for took, count in pairs if took <= PROMISED[name]) / whole
        what = "first tokens" if name == "ttft" else "tokens"
        figure = made[f"{name}_met"]
        if figure.low is None:  # the promise is a bucket's bound, so that the share is exact
            figure = replace(figure, low=figure.value, high=figure.value)
        yield one.row(f"{what} within {PROMISED[name]:g} s", met[name], figure, times=1.0)
    yield one.row("goodput", met["ttft"] * met["tpot"] * len(seen["ttft"]) / one.seconds, made["goodput"], times=1.0)
    yield from _owned(one)


def _owned(one: Served) -> Iterator[Row]:
    """Late first tokens that a full KV cache owned: others waited for room when they came."""
    if one.limits.kv_tokens >= 100_000:
        return
    late = [step for step in one.steps for *_, waited in step.finished_prompts if waited > PROMISED["ttft"]]
    truth = sum(step.waiting > 0 for step in late) / len(late)
    tables = {table.key: table for section in report_of(one.found).sections for table in section.tables}
    owned = sum(float(row[4] or 0.0) for row in tables["slo_misses"].rows if row[1:3] == ("TTFT", "kv-capacity"))
    yield Row(one.name, "late first tokens, KV cache's", truth, owned, owned - _OWNER_DOUBT, owned + _OWNER_DOUBT, 1.0)


def _room(one: Served, made: dict[str, Figure]) -> Iterator[Row]:
    """The KV cache: how long it was full, and how many requests more would have fitted."""
    spans = [(before, after.end - before.end) for before, after in pairwise(one.steps)]
    usage, running = (
        sum(getattr(step, name) * length for step, length in spans) / one.seconds for name in ("kv_usage", "running")
    )
    if made["kv_full"].value:
        full = sum(length for step, length in spans if step.kv_usage >= _FULL)
        yield one.row("seconds with a full KV cache", full, made["kv_full"])
    yield one.row("requests more that would fit", (1.0 - usage) / usage * running, made["kv_room"])


def _shapley(one: Served) -> Iterator[Row]:
    busy = sum(true.busy for true in one.true)
    marginal = sum(true.prefill for true in one.true)
    made = _figures(one.found)["money_share"]
    if "Shapley" in made.title:
        yield one.row("Shapley share of prefill", min(busy, (marginal + one.alone) / 2) / busy, made)


def _host_bound(one: Served) -> Iterator[Row]:
    waited = sum(
        min(HOST_GAP, later.start - step.end) for step, later in pairwise(one.steps) if step.running or step.waiting
    )
    made = _figures(one.found)
    yield one.row("host-bound seconds", waited, made["host_bound"])
    generated = sum(step.decode + len(step.finished_prompts) for step in one.steps)
    lost = waited * generated / sum(true.busy for true in one.true)
    yield one.row("tokens lost to the host", lost, made["tokens_lost"])


def _quantile(pairs: Iterable[tuple[float, int]], q: float) -> float:
    """Of values with counts."""
    ordered = sorted(pairs)
    rank, reached = q * sum(count for _, count in ordered), 0
    for value, count in ordered:
        reached += count
        if reached >= rank:
            return value
    raise ValueError("nothing was observed")


def line(row: Row, *, markdown: bool) -> str:
    def number(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"

    error = "-" if row.error is None else f"{row.error * 100:+.1f} %"
    within = {True: "yes", False: "NO", None: "-"}[row.is_within]
    cells = [row.serving, row.figure, number(row.truth), number(row.reported), number(row.low), number(row.high),
             error, within]  # fmt: skip
    if markdown:
        return f"| {' | '.join(cells)} |"
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, (18, 32, 11, 11, 11, 11, 10, 8), strict=True))


HEADS = ("serving", "figure", "truth", "reported", "low", "high", "error", "within")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PHASETOP_TEST_DATA", "../shared"), "data"))
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, action="append", help="repeatable; 1 by default")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    seen = within = 0
    for seed in arguments.seed or [1]:
        for row in rows(arguments.data, arguments.seconds, seed):
            print(line(row, markdown=arguments.markdown), flush=True)
            seen, within = seen + 1, within + (row.is_within is not False)
        print(f"after seed {seed}: {within} of {seen} within", file=sys.stderr)
    return 0 if within == seen else 1


if __name__ == "__main__":
    sys.exit(main())
