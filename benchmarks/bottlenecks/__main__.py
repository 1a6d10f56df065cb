"""The bottleneck named over the active part of each recorded run.

    python -m benchmarks.bottlenecks [--data DIR] [--json]

The data directory is `data` in PHASETOP_TEST_DATA unless it is given. A run is labelled from its
first row to its last, as it would have been live; the verdict is over the part between the first
and the last interval in which requests ran. `expected` is what is known of a run from elsewhere
("-": nothing); where it is, the row says whether the name found is one of those.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bottlenecks.recordings import Run, runs
from collectors.bottleneck import Period, over
from collectors.model import HOST, Interval, Label
from collectors.phase.label import Labeller
from collectors.phase.rules import IDLE_BELOW

EXPECTED: dict[str, tuple[str, ...]] = {
    "vllm_memory_gap_h100/llama-2-13b/bs2": ("memory-bandwidth",),
    "vllm_memory_gap_h100/llama-2-13b/bs8": ("memory-bandwidth",),
    "vllm_memory_gap_h100/llama-2-13b/bs32": ("memory-bandwidth",),
    "vllm_memory_gap_h100/llama-2-13b/bs96": ("memory-bandwidth", "kv-capacity"),
    "vllm_memory_gap_h100/llama-2-13b/bs256": ("kv-capacity",),
    "vllm_memory_gap_h100/opt-1.3b/bs16": ("host",),
    "vllm_memory_gap_h100/opt-1.3b/bs96": ("host",),
    "vllm_memory_gap_h100/opt-1.3b/bs512": ("host",),
    "vllm_memory_gap_h100/replicas_on_one_gpu/opt-1.3b_256__1": ("host",),
    "vllm_memory_gap_h100/replicas_on_one_gpu/opt-1.3b_256__2": ("host", "memory-bandwidth"),
    "vllm_memory_gap_h100/replicas_on_one_gpu/opt-1.3b_256__4": ("kv-capacity",),
    "rezolus/c16": ("power",),
}
"""Headline names that a run may get, from what was measured and varied in it."""


@dataclass(frozen=True, slots=True)
class Row:
    """The verdict on one run. `seconds` is its active part; `why` the numbers that were most often given."""

    run: str
    expected: tuple[str, ...]
    seconds: float
    verdict: Period
    why: str

    @property
    def is_right(self) -> bool | None:
        return self.verdict.name in self.expected if self.expected else None


def judge_run(run: Run) -> Row:
    """Labels a run and sums its active part up."""
    labeller = Labeller()
    intervals: dict[int, Interval] = {}
    labels: dict[int, Label] = {}
    for interval in run.intervals():
        intervals[interval.sequence] = interval
        _keep(labels, labeller.push(interval).settled)
    _keep(labels, labeller.flush())
    active = [sequence for sequence, interval in intervals.items() if _runs(interval)]
    part = range(active[0], active[-1] + 1) if active else range(0)
    judged = [(labels[at].bottleneck, intervals[at].duration) for at in part if at in labels]
    verdict = over(judged)
    said = Counter(one.why for one, _ in judged if one.name == verdict.name)
    middle = sorted(said)[len(said) // 2] if said else ""
    expected = next((names for known, names in EXPECTED.items() if _same(known, run.name)), ())
    return Row(run.name, expected, verdict.seconds, verdict, middle)


def _same(known: str, name: str) -> bool:
    """The data directory may be that of one source alone."""
    return known == name or known.endswith("/" + name)


def _keep(labels: dict[int, Label], settled: Iterable[Label]) -> None:
    labels.update({label.sequence: label for label in settled if label.entity == HOST})


def _runs(interval: Interval) -> bool:
    """Whether requests ran; by the GPU's own word where no engine was recorded."""
    if interval.engines:
        return any(engine.requests_running for engine in interval.engines.values())
    return any((gpu.kernel_active_ratio or 0.0) >= IDLE_BELOW for gpu in interval.gpus.values())


def table(rows: Iterable[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| run | seconds | expected | found | resource | admission | shares | why, at one moment |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = row.verdict
        shares = ", ".join(
            f"{name} {share * 100:.0f} %"
            for name, share in sorted(verdict.shares.items(), key=lambda item: -item[1])
            if share >= 0.005
        )
        kept_out: str = verdict.admission or "none"
        if verdict.admission is not None:
            kept_out += f" ({verdict.admission_ratio[verdict.admission] * 100:.0f} % of the time)"
        mark = {True: "", False: " (wrong)", None: ""}[row.is_right]
        lines.append(
            f"| {row.run} | {row.seconds:.0f} | {' or '.join(row.expected) or '-'} | **{verdict.name}**{mark} | "
            f"{verdict.resource} | {kept_out} | {shares} | {row.why} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory of recordings")
    parser.add_argument("--json", action="store_true", help="one JSON object a run")
    args = parser.parse_args()
    data = args.data or Path(os.environ.get("PHASETOP_TEST_DATA", "../shared")) / "data"
    try:
        rows = [judge_run(run) for run in runs(data)]
    except (OSError, ValueError) as problem:
        print(f"bottlenecks: {problem}", file=sys.stderr)
        return 1
    if args.json:
        for row in rows:
            print(json.dumps({**asdict(row), "found": row.verdict.name, "is_right": row.is_right}))
        return 0
    print(table(rows))
    known = [row for row in rows if row.is_right is not None]
    print(f"\n{sum(bool(row.is_right) for row in known)} of {len(known)} runs with a known bottleneck are right")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
