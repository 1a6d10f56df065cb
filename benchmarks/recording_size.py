"""What a day of a busy node takes on disk, beside the same figures as Prometheus blocks and as compressed JSON lines.

    python -m benchmarks.recording_size [--minutes 60] [--directory DIR]

An hour of 8 GPUs and 2 engines at full, noisy load is recorded once a second. `phasetop dump` writes it as
OpenMetrics, of which Debian's `promtool` makes blocks, and as JSON lines, which `zstd` compresses where it
is installed (else gzip). The JSON lines and the recording hold labels with their explanations; blocks do not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.busy_node import intervals
from collectors.phase.label import Labeller, phase_seconds
from dashboard.cli import main as phasetop
from exporters.recording_file import Origin, RecordingFile

_DAY_MINUTES = 24 * 60


def record(path: Path, minutes: int) -> None:
    labeller = Labeller()
    file: RecordingFile | None = None
    for interval in intervals(60 * minutes):
        state = labeller.checkpoint() if interval.sequence % 60 == 0 else None
        if file is None:
            file = RecordingFile(path, Origin("node-17", "UTC", "size"), interval, phase_seconds=phase_seconds)
        file.write(labeller.push(interval), checkpoint=state)
    assert file is not None
    file.settle(labeller.flush())
    file.close()


def size(path: Path) -> int:
    return (
        path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    )


def compressed(path: Path) -> list[tuple[str, Path]]:
    """The file by each compressor that is installed."""
    made = []
    for name, command in (("zstd -3", ["zstd", "-3"]), ("zstd -19", ["zstd", "-19"]), ("gzip -6", ["gzip", "-6"])):
        if shutil.which(command[0]):
            output = path.with_name(f"{path.name}.{name.replace(' ', '')}")
            with path.open("rb") as source, output.open("wb") as target:
                subprocess.run([*command, "-c"], stdin=source, stdout=target, check=True)
            made.append((name, output))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory by default")
    arguments = parser.parse_args()

    def tell(what: str, path: Path, seconds: float = 0.0) -> None:
        megabytes = size(path) / 1e6
        took = f", {seconds:.0f} s to make" if seconds else ""
        print(
            f"{what:34s} {megabytes:8.1f} MB, {megabytes / arguments.minutes * _DAY_MINUTES / 1e3:6.3f} GB a day{took}"
        )

    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        recording = directory / "node.db"
        record(recording, arguments.minutes)
        print(f"{arguments.minutes} minutes of 8 GPUs and 2 engines at 1 s, every field full and most of them noise:")
        tell("recording", recording)
        for compressor, path in compressed(recording):
            tell(f"recording, {compressor}", path)
        for form in ("jsonl", "openmetrics"):
            begun = time.monotonic()
            output = directory / f"node.{form}"
            if phasetop(["dump", str(recording), "--format", form, "-o", str(output)]):
                raise SystemExit(f"dump --format {form} failed")
            tell(f"dump --format {form}", output, time.monotonic() - begun)
        for compressor, path in compressed(directory / "node.jsonl"):
            tell(f"JSON lines, {compressor}", path)
        if shutil.which("promtool"):
            blocks = directory / "blocks"
            begun = time.monotonic()
            command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(directory / "node.openmetrics"),
                       str(blocks)]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            tell("Prometheus blocks", blocks, time.monotonic() - begun)


if __name__ == "__main__":
    main()
