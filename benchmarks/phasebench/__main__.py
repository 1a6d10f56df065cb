"""python -m benchmarks.phasebench [--data DIR] [--trace NAME]... [--tables GPU/MODEL/tpN] [--seed N]
                                 [--interval S]... [--inputs KIND]... [--quick] [--json]

Simulates serving runs step by step on measured kernel times, publishes the pages the engine would
have published, labels them through the product's own import path, and compares the settled labels
with the truth. One row per workload, interval and set of inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.phasebench.deployment import deploy
from benchmarks.phasebench.inputs import INPUTS
from benchmarks.phasebench.scoring import Row, score
from benchmarks.phasebench.simulator import Limits
from benchmarks.phasebench.tables import StepTimes, find_tables
from benchmarks.phasebench.traces import workloads

_SHORTEST, _LONGEST = 0.1, 60.0
"""Seconds: engines show less than a step in less, and a run of ten minutes has too few intervals of more."""

_COLUMNS = (
    ("mae", 7),
    ("bias", 7),
    ("p95", 7),
    ("F1", 6),
    ("mixed", 6),
    ("stated", 7),
    ("cover", 6),
    ("abst", 6),
    ("delay", 6),
)


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    data: Path = arguments.data
    tables = _tables(data, arguments.tables)
    known = workloads(data)
    chosen = [one for one in known if not arguments.trace or one.name in arguments.trace]
    strangers = sorted(set(arguments.trace or ()) - {one.name for one in known})
    if strangers or not chosen:
        sys.exit(f"no trace {', '.join(strangers)}; there are: {', '.join(one.name for one in known)}")
    seconds = 300.0 if arguments.quick else 600.0
    for workload in chosen:
        limits = Limits(kv_tokens=workload.kv_tokens or tables.card.kv_tokens)
        requests = workload.make(seconds, arguments.seed)
        instances = deploy(workload.shape, requests, tables, limits, seconds)
        for interval in arguments.interval or ([1.0] if arguments.quick else [1.0, 0.25]):
            for inputs in arguments.inputs or (("pages", "exact") if arguments.quick else INPUTS):
                yield score(workload.name, instances, tables.card, interval, seconds, inputs)


def _tables(data: Path, wanted: str | None) -> StepTimes:
    """The tables asked for, or the first kernel tables of the data directory."""
    found = dict(find_tables(data))
    name = wanted or next(iter(found), None)
    if name not in found:
        if not data.is_dir():
            sys.exit(f"{data} is no directory; --data names the one with kernel tables and traces")
        there = ", ".join(found) or "none"
        asked = f"tables {wanted}" if wanted else "kernel tables"
        sys.exit(f"no {asked} under {data}; there are: {there}; see --data and --tables")
    return found[name]()


def _interval(text: str) -> float:
    """Raises ArgumentTypeError for what no interval can be."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is no interval: seconds, from {_SHORTEST:g} to {_LONGEST:g}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.phasebench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = os.environ.get("PHASETOP_TEST_DATA")
    parser.add_argument("--data", type=Path, default=Path(default, "data") if default else None, required=not default)
    parser.add_argument("--trace", action="append")
    parser.add_argument("--tables")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=_interval, action="append")
    parser.add_argument("--inputs", choices=INPUTS, action="append")
    parser.add_argument("--quick", action="store_true", help="300 s runs at 1 s, from pages and exact inputs")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    arguments = parser.parse_args()
    done: list[Row] = []
    for row in rows(arguments):
        if not (done or arguments.json):
            heads = "".join(f"{name:>{width}}" for name, width in _COLUMNS)
            print(f"{'workload':18}{'dt':>5} {'inputs':9}{heads}   mean error of baselines")
        done.append(row)
        print(json.dumps(row.as_dict()) if arguments.json else _line(row), flush=True)
    if not arguments.json:
        _summary(done)


def _summary(done: Sequence[Row]) -> None:
    """Means over the rows, and the mean errors beside those of the baselines."""
    if len(done) > 1:
        error, f1 = fmean(row.mae for row in done), fmean(row.macro_f1 for row in done)
        print(f"mean of {len(done)} rows: mae {error:.4f}, F1 {f1:.3f}")
    for row in done:
        if row.inputs in ("pages", "exact") and row.interval == 1.0:
            ratios = (f"{row.mae / value:.2f} of {name}" for name, value in row.baselines.items() if value)
            print(f"{row.workload:18} {row.inputs:6} mean error is {', '.join(ratios)}")


def _line(row: Row) -> str:
    mixed = "-" if row.mixed_accuracy is None else f"{row.mixed_accuracy:.2f}"
    delay = "-" if row.delay_seconds is None else f"{row.delay_seconds:.1f}"
    cover = "-" if row.coverage is None else f"{row.coverage:.2f}"
    baselines = "  ".join(f"{name} {value:.3f}" for name, value in row.baselines.items())
    return (
        f"{row.workload:18}{row.interval:5g} {row.inputs:9}{row.mae:7.3f}{row.bias:+7.3f}{row.p95:7.3f}"
        f"{row.macro_f1:6.2f}{mixed:>6}{row.error:7.3f}{cover:>6}{row.abstained:6.2f}{delay:>6}   {baselines}"
    )


if __name__ == "__main__":
    main()
