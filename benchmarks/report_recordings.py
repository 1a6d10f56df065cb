"""What a report says of real engines that others recorded, beside what is known of them.

    python -m benchmarks.report_recordings [--data DIR] [--captures DIR] [--run NAME]... [-o DIRECTORY]

Public recordings are converted, saved pages imported; each is recorded and reported on. A row gives the
bottleneck that owned most of the time in which requests ran, and the report's own sentences. With -o the
recordings stay there, to be looked at with `phasetop report`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bottlenecks.recordings import runs
from benchmarks.simulated_recording import record_intervals
from collectors.analysis.report import report
from collectors.analysis.settings import Settings
from collectors.importer import import_intervals
from collectors.model import Interval
from collectors.replay import Recording

RUNS = (
    "vllm_memory_gap_h100/llama-2-13b/bs8", "vllm_memory_gap_h100/llama-2-13b/bs256",
    "vllm_memory_gap_h100/opt-1.3b/bs96", "rezolus/c16", "rezolus/vllm",
)  # fmt: skip
"""Decode bound by bandwidth, a full KV cache, a small model bound by its host, a power cap, and a GPU whose
own counters were recorded."""


def found(data: Path, captures: Path) -> Iterator[tuple[str, Callable[[], Iterator[Interval]]]]:
    if data.is_dir():
        yield from ((run.name, run.intervals) for run in runs(data))
    for path in sorted(captures.rglob("scrapes.jsonl.gz")):
        yield f"captures/{path.parent.relative_to(captures)}", lambda path=path: import_intervals([path], interval=1.0)  # type: ignore[misc]


def told(path: Path, seen: Iterator[Interval], name: str) -> tuple[str, tuple[str, ...]]:
    """The bottleneck of most of the time with work, and the summary of the report."""
    record_intervals(path, seen, name)
    with Recording(path) as recording:
        made = report(recording, Settings())
    table = next((table for one in made.sections for table in one.tables if table.key == "bottleneck_ledger"), None)
    rows = [(str(row[0]), float(row[1] or 0.0)) for row in table.rows] if table is not None else []
    working = [row for row in rows if row[0] not in ("demand", "unknown")]
    return max(working or rows or [("unknown", 0.0)], key=lambda row: row[1])[0], made.summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(os.environ.get("PHASETOP_TEST_DATA", "../shared"))
    parser.add_argument("--data", type=Path, default=root / "data")
    parser.add_argument("--captures", type=Path, default=root / "captures")
    parser.add_argument("--run", action="append", help="names of runs; by default those of whom something is known")
    parser.add_argument("-o", "--output", type=Path, help="an existing directory for the recordings")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.output or Path(scratch)
        for name, seen in found(arguments.data, arguments.captures):
            is_wanted = name in arguments.run if arguments.run else name in RUNS or name.startswith("captures/")
            if not is_wanted:
                continue
            bottleneck, summary = told(directory / f"{name.replace('/', '-')}.db", seen(), name)
            print(f"{name}: {bottleneck}")
            for line in summary:
                print(f"    {line}")


if __name__ == "__main__":
    main()
