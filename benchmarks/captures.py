"""How often the labels of recorded pages are right, where the load's phases are known.

    python -m benchmarks.captures CAPTURE_DIR... [--interval 1.0]
    python -m benchmarks.captures CAPTURE_DIR --recorded RECORDING [--endpoint URL]

A capture directory holds `scrapes.jsonl.gz` (pages in the import format) and `truth.jsonl` (one
phase a line: `phase`, `t0`, `t_stop_issuing`, `t1`). Counted are the intervals wholly inside
[t0 + 1 s, t_stop_issuing] of a pure phase: prefill, decode or idle. "False" is prefill called
decode or idle, decode called prefill or idle, idle called anything busy; unknown and mixed are
neither right nor false.

With `--recorded` the labels are those that `phasetop record` made meanwhile, of the engine at an
endpoint, instead of those made from the saved pages.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from collectors.importer import import_intervals
from collectors.model import Interval, Label
from collectors.phase.label import Labeller
from collectors.replay import Recording

PURE = ("prefill", "decode", "idle")
_FALSE = {"prefill": {"decode", "idle"}, "decode": {"prefill", "idle"}, "idle": {"prefill", "decode", "mixed"}}


@dataclass(slots=True)
class Score:
    """Labels counted by true phase, settled and provisional, and how late they settled in seconds."""

    settled: dict[str, Counter[str]] = field(default_factory=dict)
    provisional: dict[str, Counter[str]] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)

    @property
    def intervals(self) -> int:
        return sum(self.settled[phase].total() for phase in PURE if phase in self.settled)

    @property
    def right(self) -> int:
        return sum(self.settled[phase][phase] for phase in PURE if phase in self.settled)

    @property
    def false(self) -> int:
        return sum(
            self.settled[phase][label] for phase in PURE if phase in self.settled for label in sorted(_FALSE[phase])
        )


def score(directory: Path, *, interval: float = 1.0) -> Score:
    """Runs the pages of one capture through import and labelling and compares with its truth."""
    phases = [json.loads(line) for line in (directory / "truth.jsonl").read_text().splitlines()]
    labeller = Labeller()
    seen: dict[int, Interval] = {}
    provisional: dict[int, Label] = {}
    settled: dict[int, Label] = {}
    result = Score()
    for one in import_intervals([directory / "scrapes.jsonl.gz"], interval=interval):
        tick = labeller.push(one)
        seen[one.sequence] = one
        provisional.update({label.sequence: label for label in _engine_labels(tuple(tick.labels.values()))})
        for label in _engine_labels(tick.settled):
            settled[label.sequence] = label
            result.delays.append((one.end - seen[label.sequence].end) / 1e9)
    settled.update({label.sequence: label for label in _engine_labels(labeller.flush())})
    for sequence, one in seen.items():
        truth = _true_phase(phases, one)
        if truth is not None and sequence in settled:
            result.settled.setdefault(truth, Counter())[settled[sequence].phase.label] += 1
            result.provisional.setdefault(truth, Counter())[provisional[sequence].phase.label] += 1
    return result


def score_recorded(recording: Path, directory: Path, *, endpoint: str = "") -> Score:
    """Compares the labels of a recording made during a capture with the capture's truth."""
    phases = [json.loads(line) for line in (directory / "truth.jsonl").read_text().splitlines()]
    result = Score()
    with Recording(recording) as recorded:
        for tick in recorded.ticks():
            truth = _true_phase(phases, tick.interval)
            for label in _engine_labels(tuple(tick.labels.values())):
                if truth is not None and label.entity.startswith(f"engine/{endpoint}"):
                    result.settled.setdefault(truth, Counter())[label.phase.label] += 1
                    result.provisional.setdefault(truth, Counter())
    return result


def _engine_labels(labels: tuple[Label, ...]) -> list[Label]:
    return [label for label in labels if label.entity.startswith("engine/")]


def _true_phase(phases: list[dict[str, object]], one: Interval) -> str | None:
    start, end = one.start / 1e9, one.end / 1e9
    for phase in phases:
        stop = phase.get("t_stop_issuing", phase["t1"])
        if float(str(phase["t0"])) + 1.0 <= start and end <= float(str(stop)):
            return str(phase["phase"])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds (default 1.0)")
    parser.add_argument("--recorded", type=Path, help="a recording made during the capture: score its labels")
    parser.add_argument("--endpoint", default="", help="the engine's page, where the recording holds several")
    arguments = parser.parse_args()
    for directory in arguments.directories:
        if arguments.recorded is not None:
            found = score_recorded(arguments.recorded, directory, endpoint=arguments.endpoint)
        else:
            found = score(directory, interval=arguments.interval)
        print(f"{directory}: {found.right} of {found.intervals} pure intervals right, {found.false} false")
        for phase, labels in sorted(found.settled.items()):
            provisional = found.provisional[phase]
            print(
                f"  {phase:15s} settled {dict(labels)}" + (f"  provisional {dict(provisional)}" if provisional else "")
            )
        if found.delays:
            print(f"  settled {sum(found.delays) / len(found.delays):.1f} s after the end on average")


if __name__ == "__main__":
    main()
