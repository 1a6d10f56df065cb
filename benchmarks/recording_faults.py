"""A disk that fills up, turns read-only or is taken away, a clock that steps back, a second writer: said, and survived?

    python -m benchmarks.recording_faults

Mounts a small tmpfs of its own (which takes root), records into it, does these things to it one after the other,
and prints what recording says meanwhile and how long after the cure it went on. Fails when anything that was
committed is lost or recording does not resume.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.busy_node import intervals
from collectors.phase.label import Labeller
from collectors.replay import Recording
from exporters.recorder import AlreadyRecording, Recorder

_SIZE = "6m"
_PATIENCE_SECONDS = 60.0


@contextmanager
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "phasetop-test", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


class _Node:
    """Puts interval after interval, twenty a second."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recorder = self._recorder()
        self._labeller = Labeller()
        self._intervals = intervals(10_000)
        self.put = 0
        self.back = 0

    def _recorder(self) -> Recorder:
        return Recorder(
            self.directory, host_name="node-17", byte_cap=2**30, age_cap_seconds=1e12, reserve_bytes=0,
            retry_seconds=(0.2, 1.0),
        )  # fmt: skip

    def go_on(self) -> None:
        interval = next(self._intervals)
        interval = replace(interval, start=interval.start - self.back, end=interval.end - self.back)
        self.recorder.put(self._labeller.push(interval))
        self.put += 1
        time.sleep(0.05)

    def until(self, is_so: Callable[[], bool]) -> float:
        begun = time.monotonic()
        while not is_so():
            if time.monotonic() - begun > _PATIENCE_SECONDS:
                raise SystemExit(f"it did not happen within {_PATIENCE_SECONDS:g} s; {self.recorder.status}")
            self.go_on()
        return time.monotonic() - begun

    def suffer(self, what: str, break_it: Callable[[], None], cure: Callable[[], None]) -> None:
        self.until(lambda: self.recorder.status is None)
        break_it()
        noticed = self.until(lambda: self.recorder.status is not None)
        print(f"{what}: said after {_seconds(noticed)}: {self.recorder.status}")
        cure()
        written = self.recorder.written
        resumed = self.until(lambda: self.recorder.status is None and self.recorder.written > written)
        print(f"  went on {_seconds(resumed)} after the cure; {self.recorder.dropped} intervals dropped so far")


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if os.geteuid() != 0:
        raise SystemExit("mounting a disk takes root")
    with small_disk() as disk:
        directory = disk / "recording"
        node = _Node(directory)
        node.until(lambda: node.recorder.written >= 20)
        ballast = disk / "ballast"

        def fill() -> None:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)) == 4096:
                    pass

        node.suffer("disk full", fill, ballast.unlink)

        def remount(how: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

        moved = disk / "elsewhere"
        node.suffer(
            "directory taken away, a file in its place",
            lambda: (directory.rename(moved), directory.write_text(""))[0] and None,
            lambda: (directory.unlink(), moved.rename(directory))[0],
        )
        node.back = 30 * 10**9
        before = node.recorder.written
        node.until(lambda: node.recorder.written >= before + 20)
        print(f"clock 30 s back: recording goes on, says {node.recorder.status}")
        try:
            Recorder(directory, host_name="other", byte_cap=2**30, age_cap_seconds=1e12)
        except AlreadyRecording as refused:
            print(f"second writer: refused: {refused}")
        else:
            raise SystemExit("a second writer was let in")
        node.recorder.close()
        remount("ro")
        second = _Node(directory)
        print(f"read-only disk: {second.recorder.status}")
        remount("rw")
        second.back = -3600 * 10**9
        took = second.until(lambda: second.recorder.status is None and second.recorder.written > 0)
        print(f"  went on {_seconds(took)} after the cure")
        second.recorder.close()
        with Recording(directory) as recording:
            count = sum(1 for _ in recording.ticks())
            print(f"{count} intervals read back of {node.recorder.written + second.recorder.written} committed;"
                  f" {list(recording.problems)}")  # fmt: skip
            if count != node.recorder.written + second.recorder.written:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
