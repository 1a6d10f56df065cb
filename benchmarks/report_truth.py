"""Is what a report says true? Simulated servings with known answers, recorded and reported on.

    python -m benchmarks.report_truth [--data DIR] [--seconds 600] [--seed 1] [--markdown]

Each serving is simulated step by step on measured kernel times (phasebench), its pages are read and
labelled as `phasetop import` does, recorded, and reported on. One row per figure: the truth, the report's
value, its stated bounds, and whether the truth lies within them: twice a standard deviation, or 95 %.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from benchmarks.phasebench.deployment import Instance, Process, deploy
from benchmarks.phasebench.inputs import Truth, intervals, truths
from benchmarks.phasebench.simulator import Done, Limits, simulate
from benchmarks.phasebench.tables import StepTimes, find_tables
from benchmarks.phasebench.traces import Request, workloads
from collectors.analysis.figures import Figure
from collectors.analysis.report import report
from collectors.analysis.settings import Settings
from collectors.analysis.study import Study
from collectors.analysis.tables import read
from collectors.model import Interval
from collectors.phase.label import Labeller, phase_seconds
from collectors.readings import rounded
from collectors.replay import Recording
from exporters.recording_file import Origin, RecordingFile

PREFILL_WATTS, DECODE_WATTS, IDLE_WATTS = 420.0, 330.0, 90.0
SERVINGS = ("azure-conv-4", "sharegpt-10", "prefix-cached-4", "prompt-heavy-12", "kv-limited-10")
HOST_GAP = 0.006
INTERFERENCE = "prefill adds to a token"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one serving. Seconds, joules, ratios."""

    serving: str
    figure: str
    truth: float
    reported: float | None
    low: float | None
    high: float | None

    @property
    def error(self) -> float | None:
        return None if self.reported is None or not self.truth else self.reported / self.truth - 1.0

    @property
    def is_within(self) -> bool | None:
        """Whether the truth lies within the stated bounds where they are of 95 %, within twice a standard deviation."""
        if self.reported is None or self.low is None or self.high is None:
            return None
        times = 1.0 if self.figure == INTERFERENCE else 2.0
        below, above = times * (self.reported - self.low), times * (self.high - self.reported)
        return self.reported - below <= self.truth <= self.reported + above


def rows(data: Path, seconds: float, seed: int, servings: Iterable[str] = SERVINGS) -> Iterator[Row]:
    tables = next(make() for name, make in find_tables(data))
    known = {one.name: one for one in workloads(data)}
    for name in servings:
        if name not in known:
            continue
        requests = known[name].make(seconds, seed)
        limits = Limits(kv_tokens=known[name].kv_tokens or tables.card.kv_tokens)
        yield from _serving(name, requests, tables, limits, seconds)
    if "sharegpt-10" in known:
        requests = known["sharegpt-10"].make(seconds, seed)
        yield from _host_bound(requests, tables, seconds)


def _serving(
    name: str, requests: Sequence[Request], tables: StepTimes, limits: Limits, seconds: float
) -> Iterator[Row]:  # fmt: skip
    steps = simulate(requests, tables, limits, seconds)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "serving.db")
        true = record(path, steps, limits, tables, seconds)
        made = _reported(path)
        for phase, truth in (
            ("prefill", sum(one.prefill for one in true)),
            ("decode", sum(one.busy - one.prefill for one in true)),
        ):
            watts = PREFILL_WATTS if phase == "prefill" else DECODE_WATTS
            yield _row(name, f"GPU-seconds in {phase}", truth, made[f"device_{phase}"])
            yield _row(name, f"joules in {phase}", truth * watts, made[f"joules_{phase}"])
        tokens = sum(step.decode for step in steps)
        added = sum(step.prefill_seconds * step.decode for step in steps) / tokens
        yield _row(name, INTERFERENCE, added, made["added_by_prefill"])
        yield from _ratio(name, path, requests, tables, limits, seconds)


def _ratio(
    name: str, path: Path, requests: Sequence[Request], tables: StepTimes, limits: Limits, seconds: float
) -> Iterator[Row]:
    """Instances for prefill per instance for decode, against a simulation of the two apart."""
    apart = deploy("split", requests, tables, limits, seconds)
    busy = [sum(step.end - step.start for step in one.steps) for one in apart]
    decoding = [step for step in apart[1].steps if step.decode]
    batch = sum(step.decode for step in decoding) / len(decoding)
    found = Study(read([path]), Settings())
    planned = found.plan(next(iter(found.models)), batch=batch)
    value = None if planned is None else planned.ratio
    yield Row(
        name, "prefill per decode instances", busy[0] / busy[1], value,
        None if planned is None else planned.low, None if planned is None else planned.high,
    )  # fmt: skip


def _host_bound(requests: Sequence[Request], tables: StepTimes, seconds: float) -> Iterator[Row]:
    limits = Limits(kv_tokens=tables.card.kv_tokens, host_gap=HOST_GAP)
    steps = simulate(requests, tables, limits, seconds)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "serving.db")
        record(path, steps, limits, tables, seconds)
        made = _reported(path)
    waited = sum(
        min(HOST_GAP, later.start - step.end) for step, later in pairwise(steps) if step.running or step.waiting
    )
    yield _row("slow host", "host-bound seconds", waited, made["host_bound"])


def record(path: Path, steps: Sequence[Done], limits: Limits, tables: StepTimes, seconds: float) -> list[Truth]:
    """A simulated serving as a recording; the truth of each of its intervals."""
    instance = Instance("http://simulated/metrics", "0", (Process(0.0, seconds, steps),), limits)
    true = truths(steps, 1.0, seconds)
    seen = intervals([instance], {instance.key: true}, tables.card, 1.0, "pages")
    record_intervals(path, (_with_energy(one, true[one.sequence]) for one in seen), "simulated")
    return true


def record_intervals(path: Path, seen: Iterable[Interval], host: str) -> None:
    """Intervals as a recording, labelled on the way. Raises ValueError when there is none."""
    labeller = Labeller()
    file: RecordingFile | None = None
    for interval in seen:
        tick = labeller.push(interval)
        if file is None:
            file = RecordingFile(path, Origin(host, "UTC", host), interval, phase_seconds=phase_seconds)
        file.write(tick, checkpoint=labeller.checkpoint() if interval.sequence % 60 == 59 else None)
    if file is None:
        raise ValueError("there is no interval")
    file.settle(labeller.flush())
    file.close()


def _with_energy(interval: Interval, true: Truth) -> Interval:
    joules = (
        true.prefill * PREFILL_WATTS
        + (true.busy - true.prefill) * DECODE_WATTS
        + max(0.0, true.seconds - true.busy) * IDLE_WATTS
    )
    gpus = {uuid: rounded(replace(gpu, energy_joules=joules)) for uuid, gpu in interval.gpus.items()}
    return replace(interval, gpus=gpus)


def _reported(path: Path) -> dict[str, Figure]:
    with Recording(path) as recording:
        made = report(recording, Settings())
    return {figure.key: figure for section in made.sections for figure in section.figures}


def _row(serving: str, title: str, truth: float, figure: Figure) -> Row:
    return Row(serving, title, truth, figure.value, figure.low, figure.high)


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
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, (18, 30, 11, 11, 11, 11, 10, 8), strict=True))


HEADS = ("serving", "figure", "truth", "reported", "low", "high", "error", "within")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PHASETOP_TEST_DATA", "../shared"), "data"))
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    is_good = True
    for row in rows(arguments.data, arguments.seconds, arguments.seed):
        print(line(row, markdown=arguments.markdown), flush=True)
        is_good = is_good and row.is_within is not False
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
