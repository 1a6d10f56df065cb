"""Are the labels of a recording those that were made live, and those that are made anew?

    python -m benchmarks.recording_captures CAPTURE...

Each capture (a directory with `scrapes.jsonl.gz`, such a file, or a recording) is labelled as live and
recorded. Counted are the settled labels that differ, in any part, between what the labeller gave, what
the recording holds, and what is made anew from it; of the labels made anew also those wanted in random
order, each from the nearest checkpoint.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors.importer import import_intervals
from collectors.model import Interval, Label
from collectors.phase.label import Labeller, phase_seconds
from collectors.replay import Recording
from exporters.recording_file import Origin, RecordingFile

_SEEKS = 40

Settled = dict[tuple[int, str], Label]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many labels settled, and how many of them differ: stored, made anew, made anew at random places."""

    labels: int
    stored: int
    anew: int
    sought: int

    @property
    def is_same(self) -> bool:
        return self.labels > 0 and not (self.stored or self.anew or self.sought)


def intervals_of(path: Path) -> Iterator[Interval]:
    scrapes = path / "scrapes.jsonl.gz"
    if scrapes.exists():
        yield from import_intervals([scrapes])
    elif path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from import_intervals([path])
    else:
        with Recording(path) as recording:
            yield from (tick.interval for tick in recording.ticks())


def recorded(path: Path, output: Path) -> Settled:
    """Records the intervals; the labels as they settled meanwhile."""
    labeller = Labeller()
    live: Settled = {}
    file: RecordingFile | None = None
    for number, interval in enumerate(intervals_of(path)):
        state = labeller.checkpoint() if number % 60 == 0 else None
        tick = labeller.push(interval)
        live |= {(label.sequence, label.entity): label for label in tick.settled}
        if file is None:
            file = RecordingFile(output, Origin("capture", "UTC", "one"), interval, phase_seconds=phase_seconds)
        file.write(tick, checkpoint=state)
    if file is not None:
        rest = labeller.flush()
        live |= {(label.sequence, label.entity): label for label in rest}
        file.settle(rest)
        file.close()
    return live


def settled_of(recording: Recording) -> Settled:
    return {(label.sequence, label.entity): label for tick in recording.ticks() for label in tick.settled}


def differing(one: Settled, other: Settled) -> int:
    return sum(one.get(key) != other.get(key) for key in {*one, *other})


def outcome(path: Path, seed: int = 1) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "capture.db")
        live = recorded(path, file)
        with Recording(file) as stored:
            kept = settled_of(stored)
            numbers = range(stored.first_sequence, stored.last_sequence + 1)
        with Recording(file, relabel=True) as again:
            anew = settled_of(again)
        sought = 0
        chance = random.Random(seed)
        with Recording(file, relabel=True) as again:
            for number in (chance.choice(numbers) for _ in range(_SEEKS)):
                tick = again.tick(number)
                labels = {} if tick is None else tick.labels
                sought += any(label != live.get((number, entity)) for entity, label in labels.items())
    return Outcome(len(live), differing(live, kept), differing(live, anew), sought)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="+", type=Path)
    arguments = parser.parse_args()
    failed = False
    for path in arguments.captures:
        found = outcome(path)
        failed |= not found.is_same
        print(
            f"{path}: {found.labels} settled labels; differing: {found.stored} stored, {found.anew} made anew,"
            f" {found.sought} of {_SEEKS} intervals sought at random",
            flush=True,
        )
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
