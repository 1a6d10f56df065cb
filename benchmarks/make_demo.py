"""Makes the recordings that ship with the package (dashboard/demo/), which `phasetop demo` plays.

    python -m benchmarks.make_demo node [--data DIR] [-o dashboard/demo/node.db.gz]
    python -m benchmarks.make_demo engine RECORDING --endpoint URL --model NAME --description TEXT -o FILE

`node` simulates a node of 8 GPUs (demo_node.py). `engine` takes what `phasetop record` recorded of one
engine: names of the machine go, everything measured stays, labels are made anew by the rules of today.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.demo_host import NAME
from benchmarks.demo_node import node
from collectors.model import Event, Interval
from collectors.phase.label import Labeller, phase_seconds
from collectors.replay import Recording
from collectors.slo import SloBook
from collectors.watch import Watch
from dashboard import __version__
from exporters.recording_file import Origin, RecordingFile

NODE = "simulated: host, 8 GPUs, two engines, a chat load"
_MOST_BYTES = 2_000_000


def write(path: Path, description: str, source: Iterable[tuple[Interval, tuple[Event, ...]]]) -> int:
    """Labels the intervals and records them; how many there were."""
    labeller, watch = Labeller(), Watch(SloBook())
    file: RecordingFile | None = None
    for interval, notes in source:
        state = labeller.checkpoint() if file is None or interval.sequence % 60 == 0 else None
        tick = labeller.push(interval)
        if file is None:
            origin = Origin(NAME, "UTC", path.stem, phasetop_version=__version__, description=description)
            file = RecordingFile(path, origin, interval, phase_seconds=phase_seconds)
        file.write(replace(tick, events=(*tick.events, *watch.push(tick), *notes)), checkpoint=state)
    if file is None:
        raise SystemExit("there is nothing to record")
    file.settle(labeller.flush())
    file.close()
    return file.intervals


def recorded(path: Path, endpoint: str, model: str) -> Iterator[tuple[Interval, tuple[Event, ...]]]:
    """The intervals of a recording with one of its engines."""
    with Recording(path) as recording:
        for number, tick in enumerate(recording.ticks()):
            one = tick.interval
            engines = {
                key: replace(engine, model=model) for key, engine in one.engines.items() if engine.endpoint == endpoint
            }
            host = one.host if one.host is None else replace(one.host, name=NAME)
            gaps = tuple(gap for gap in one.gaps if gap.source == endpoint)
            yield replace(one, sequence=number, host=host, engines=engines, gaps=gaps), ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    simulated = kinds.add_parser("node")
    simulated.add_argument("--data", type=Path, help="with phasebench's tables (default $PHASETOP_TEST_DATA/data)")
    simulated.add_argument("-o", "--output", type=Path, default=Path("dashboard/demo/node.db.gz"))
    engine = kinds.add_parser("engine")
    engine.add_argument("recording", type=Path)
    engine.add_argument("--endpoint", required=True)
    engine.add_argument("--model", required=True, help="what the model is called in the demo")
    engine.add_argument("--description", required=True)
    engine.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    if arguments.kind == "node":
        data = arguments.data or Path(os.environ["PHASETOP_TEST_DATA"]) / "data"
        description, source = NODE, node(data)
    else:
        description = arguments.description
        source = recorded(arguments.recording, arguments.endpoint, arguments.model)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, output.name.removesuffix(".gz"))
        count = write(file, description, source)
        whole = file.stat().st_size
        output.write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))
    size = output.stat().st_size
    print(f"{output}: {count} intervals, {whole / 1e6:.2f} MB, {size / 1e6:.2f} MB deflated")
    if size > _MOST_BYTES:
        raise SystemExit(f"too large to ship: {_MOST_BYTES / 1e6:.0f} MB at most")


if __name__ == "__main__":
    main()
