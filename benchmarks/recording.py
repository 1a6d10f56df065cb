"""What recording one interval costs: 8 GPUs and 2 engines at full, noisy load.

    python -m benchmarks.recording [--intervals 900] [--directory DIR]

Measured on a recorder's own writer thread through everything it does live: rows, labels as they
settle, roll-ups, a checkpoint a minute, commits. The reference in the same run is one JSON line per
interval, flushed each time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.busy_node import intervals, values
from collectors.model import Tick
from collectors.phase.label import Labeller
from exporters.recording_directory import Limits, RecordingDirectory
from exporters.recording_file import Origin

_DAY = 86_400
_WARM_UP = 60
_REFERENCE_VALUES = 720


def labelled(count: int) -> list[tuple[Tick, dict[str, Any] | None]]:
    """Ticks of the node, with the labeller's state once a minute."""
    labeller = Labeller()
    made = []
    for number, interval in enumerate(intervals(count)):
        tick = labeller.push(interval)
        made.append((tick, labeller.checkpoint() if number % 60 == 0 else None))
    return made


def measured(write: Callable[[Tick, dict[str, Any] | None], None], ticks: list[Any]) -> list[float]:
    """CPU milliseconds of each write, on this thread, which is the only one that writes."""
    spent = []
    for tick, checkpoint in ticks:
        begun = time.thread_time_ns()
        write(tick, checkpoint)
        spent.append((time.thread_time_ns() - begun) / 1e6)
    return spent


def recorded(ticks: list[Any], directory: Path) -> tuple[list[float], int]:
    files = RecordingDirectory(directory, Origin("node-17", "UTC", "benchmark"), Limits(2**40, 1e12, 0))
    spent = measured(lambda tick, checkpoint: files.write(tick, tick.settled, checkpoint), ticks)
    files.close()
    return spent, sum(path.stat().st_size for path in directory.glob("phasetop-*.db"))


def as_lines(ticks: list[Any], directory: Path) -> tuple[list[float], int]:
    path = directory / "raw.jsonl"
    with path.open("w") as out:

        def write(tick: Tick, _: object) -> None:
            interval = tick.interval
            readings = [interval.host, *interval.gpus.values(), *interval.engines.values()]
            line = {
                "start": interval.start,
                "end": interval.end,
                "readings": [asdict(reading) for reading in readings if reading is not None],
                "labels": [asdict(label) for label in tick.settled],
            }
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
            out.flush()

        spent = measured(write, ticks)
    return spent, path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=900)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory by default")
    arguments = parser.parse_args()
    ticks = labelled(arguments.intervals)
    count = round(mean(values(tick) for tick, _ in ticks))
    print(f"{arguments.intervals} intervals of 8 GPUs and 2 engines, {count} values each, seed 1")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        results = {"recording": recorded(ticks, Path(directory)), "JSON lines": as_lines(ticks, Path(directory))}
    for name, (spent, size) in results.items():
        kept = sorted(spent[_WARM_UP:])
        per_interval = size / arguments.intervals
        print(
            f"{name:10s} writer CPU: mean {mean(kept):.3f} median {median(kept):.3f}"
            f" p99 {kept[int(0.99 * len(kept))]:.3f} ms an interval"
            f" (mean {mean(kept) * _REFERENCE_VALUES / count:.3f} at {_REFERENCE_VALUES} values);"
            f" {per_interval:.0f} bytes an interval, {per_interval * _DAY / 1e9:.3f} GB a day at 1 s"
            f" ({per_interval * _DAY / 1e9 * _REFERENCE_VALUES / count:.3f} at {_REFERENCE_VALUES} values)"
        )


if __name__ == "__main__":
    main()
