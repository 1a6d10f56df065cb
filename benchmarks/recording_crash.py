"""Writers that are killed: does a recording keep every interval that was committed, whole, with its labels?

    python -m benchmarks.recording_crash [--kills 100] [--rate 20] [--directory DIR]

A process records a busy node at so many intervals a second and tells how many are committed; it gets
SIGKILL at a random moment. Then the recording must open, hold what was told and nothing torn, and
replay with the labels that the same intervals get without any of this.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.busy_node import intervals
from collectors.model import Interval, Label
from collectors.phase.label import Labeller
from collectors.replay import Recording
from exporters.recorder import Recorder

_LONGEST_SECONDS = 4.0
_MOST = 400


def write(directory: Path, rate: float) -> None:
    """The process that is killed."""
    labeller = Labeller()
    recorder = Recorder(
        directory, host_name="node-17", byte_cap=2**40, age_cap_seconds=1e12, reserve_bytes=0,
        checkpoint=labeller.checkpoint, beginning=labeller.checkpoint(),
    )  # fmt: skip
    begun = time.monotonic()
    for number, interval in enumerate(intervals(_MOST)):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        recorder.put(labeller.push(interval))
        print(recorder.written, flush=True)


def killed(directory: Path, rate: float, after: float) -> int:
    """How many intervals the writer said to have committed when it was killed."""
    command = [sys.executable, "-m", "benchmarks.recording_crash", "--write", str(directory), "--rate", str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [0]
    first = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                told[0] = int(line)
            first.set()
        first.set()

    listening = threading.Thread(target=listen)
    listening.start()
    first.wait()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    listening.join()
    process.stdout.close()
    return told[0]


def expected() -> tuple[list[Interval], list[Mapping[str, Label]]]:
    """The intervals, and the labels each has once it settles with those of ten seconds after it."""
    made = list(intervals(_MOST))
    labeller = Labeller()
    settled: dict[int, dict[str, Label]] = {one.sequence: {} for one in made}
    for one in made:
        for label in labeller.push(one).settled:
            settled[label.sequence][label.entity] = label
    return made, [settled[one.sequence] for one in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="intervals a second")
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory by default")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write is not None:
        write(arguments.write, arguments.rate)
        return
    made, settled = expected()
    chance = random.Random(1)
    lost = torn = wrong = labels = committed = read_back = unopened = 0
    for number in range(arguments.kills):
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            told = killed(Path(name), arguments.rate, chance.uniform(0.0, _LONGEST_SECONDS))
            committed += told
            if told == 0 and not list(Path(name).glob("phasetop-*.db")):
                continue
            try:
                with Recording(Path(name)) as recording:
                    ticks = list(recording.ticks())
            except Exception as problem:
                unopened += told > 0
                print(f"kill {number}: {told} told to be committed, and then: {problem}", flush=True)
                continue
            read_back += len(ticks)
            lost += max(0, told - len(ticks))
            torn += sum(tick.interval != made[place] for place, tick in enumerate(ticks))
            # The last ten seconds settle with what there is; everything before them is as it would have been.
            old = [tick for tick in ticks if tick.interval.end + 10 * 10**9 < ticks[-1].interval.end]
            labels += sum(len(tick.labels) for tick in old)
            wrong += sum(tick.labels != settled[place] for place, tick in enumerate(old))
        if number % 20 == 19:
            print(f"{number + 1} kills", flush=True)
    print(
        f"{arguments.kills} kills at {arguments.rate:g} intervals/s: {committed} intervals told to be committed,"
        f" {read_back} read back, {lost} lost, {torn} torn, {unopened} recordings not opened;"
        f" {labels} settled labels compared, {wrong} intervals with other ones"
    )
    if lost or torn or wrong or unopened:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
