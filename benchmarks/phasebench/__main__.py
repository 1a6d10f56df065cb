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
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from benchmarks.phasebench.scoring import INPUTS, Row, score
from benchmarks.phasebench.simulator import Limits, simulate
from benchmarks.phasebench.tables import KernelTables
from benchmarks.phasebench.traces import workloads

_COLUMNS = (("mae", 7), ("bias", 7), ("p95", 7), ("F1", 6), ("mixed", 6), ("cover", 6), ("abst", 6), ("delay", 6))


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    data: Path = arguments.data
    table_directories = sorted(path.parent for path in (data / "llmservingsim" / "perf").glob("*/*/*/attention.csv"))
    wanted = [
        path
        for path in table_directories
        if not arguments.tables or path.parts[-3:] == tuple(arguments.tables.split("/"))
    ]
    if not wanted:
        sys.exit(f"no kernel tables {arguments.tables or ''} under {data / 'llmservingsim' / 'perf'}; see --data")
    chosen = [one for one in workloads(data) if not arguments.trace or one.name in arguments.trace]
    if not chosen:
        sys.exit(f"no such trace; there are: {', '.join(one.name for one in workloads(data))}")
    seconds = 300.0 if arguments.quick else 600.0
    for directory in wanted:
        tables = KernelTables(directory)
        limits = Limits()
        for workload in chosen:
            steps = simulate(workload.make(seconds, arguments.seed), tables, limits, seconds)
            for interval in arguments.interval or ([1.0] if arguments.quick else [1.0, 0.25]):
                for inputs in arguments.inputs or (("pages", "exact") if arguments.quick else INPUTS):
                    yield score(workload.name, steps, limits, interval, seconds, inputs)


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
    parser.add_argument("--interval", type=float, action="append")
    parser.add_argument("--inputs", choices=INPUTS, action="append")
    parser.add_argument("--quick", action="store_true", help="300 s runs at 1 s, from pages and exact inputs")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    arguments = parser.parse_args()
    done: list[Row] = []
    if not arguments.json:
        heads = "".join(f"{name:>{width}}" for name, width in _COLUMNS)
        print(f"{'workload':18}{'dt':>5} {'inputs':9}{heads}   mean error of baselines")
    for row in rows(arguments):
        done.append(row)
        print(json.dumps(row.as_dict()) if arguments.json else _line(row), flush=True)
    if not arguments.json and len(done) > 1:
        error, f1 = fmean(row.mae for row in done), fmean(row.macro_f1 for row in done)
        print(f"mean of {len(done)} rows: mae {error:.4f}, F1 {f1:.3f}")


def _line(row: Row) -> str:
    mixed = "-" if row.mixed_accuracy is None else f"{row.mixed_accuracy:.2f}"
    delay = "-" if row.delay_seconds is None else f"{row.delay_seconds:.1f}"
    baselines = "  ".join(f"{name} {value:.3f}" for name, value in row.baselines.items())
    return (
        f"{row.workload:18}{row.interval:5g} {row.inputs:9}{row.mae:7.3f}{row.bias:+7.3f}{row.p95:7.3f}"
        f"{row.macro_f1:6.2f}{mixed:>6}{row.coverage:6.2f}{row.abstained:6.2f}{delay:>6}   {baselines}"
    )


if __name__ == "__main__":
    main()
