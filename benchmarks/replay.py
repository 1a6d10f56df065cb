"""What looking into a long recording costs: a day at one second of 8 GPUs and 2 engines, and a week.

    python -m benchmarks.replay [--days 7] [--directory DIR]

Half an hour is recorded as live; a day repeats it, row by row with times and numbers moved on, and
further days repeat the day, one file each.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.busy_node import SECOND, START, intervals
from collectors.model import HOST, Event
from collectors.phase.label import Labeller, phase_seconds
from collectors.replay import Recording
from collectors.store import file_name
from exporters.recording_file import Origin, RecordingFile

_BLOCK = 1800
_DAY = 86_400
_SEEKS = 300
_BY_MINUTE = ("minute", "host_minute", "gpu_minute", "engine_minute")
_MOVED = ("interval", "host", "gpu", "engine", "label", *_BY_MINUTE, "phase_change", "gap_start", "checkpoint", "event")


def block(path: Path) -> None:
    """Half an hour, recorded, with an event every five minutes."""
    labeller = Labeller()
    file: RecordingFile | None = None
    for interval in intervals(_BLOCK):
        if file is None:
            file = RecordingFile(path, Origin("node-17", "UTC", "benchmark"), interval, phase_seconds=phase_seconds)
        tick = labeller.push(interval)
        if interval.sequence % 300 == 7:
            tick = replace(tick, events=(Event(interval.start, "note", HOST, "deployed 1.4.2"),))
        file.write(tick, checkpoint=labeller.checkpoint() if interval.sequence % 60 == 0 else None)
    if file is not None:
        file.settle(labeller.flush())
        file.close()


def day(half_hour: Path, path: Path) -> None:
    """The half hour again and again, until the day is full."""
    shutil.copy(half_hour, path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    for copy in range(1, _DAY // _BLOCK):
        for table in _MOVED:
            _repeat(connection, table, copy * _BLOCK, limit=_BLOCK)
    connection.execute("COMMIT")
    connection.close()


def later(one_day: Path, path: Path, days: int) -> None:
    """The day again, so many days later, as a run of its own."""
    shutil.copy(one_day, path)
    connection = sqlite3.connect(path)
    shift = days * _DAY
    connection.execute("UPDATE meta SET value = ? WHERE key = 'run'", (f"day {days}",))
    for table in _MOVED:
        for column, moved in _columns(connection, table, shift):
            # Upwards by more than the file is long, so that no row meets another on its way.
            if moved:
                connection.execute(f'UPDATE {table} SET "{column}" = "{column}"{moved}')
    connection.commit()
    connection.close()


def _repeat(connection: sqlite3.Connection, table: str, shift: int, *, limit: int) -> None:
    columns = [(name, moved) for name, moved in _columns(connection, table, shift) if (table, name) != ("event", "id")]
    names = ", ".join(f'"{name}"' for name, _ in columns)
    values = ", ".join(f'"{name}"{moved}' for name, moved in columns)
    original = f"start_ns < {START + limit * SECOND}" if table in _BY_MINUTE else f"sequence < {limit}"
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE {original}")


def _columns(connection: sqlite3.Connection, table: str, shift: int) -> list[tuple[str, str]]:
    moved = {"sequence": f" + {shift}", "base": f" + {shift}"}
    moved |= dict.fromkeys(("start_ns", "end_ns", "time_ns"), f" + {shift * SECOND}")
    return [
        (name, moved.get(name, "")) for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")
    ]


def timed(name: str, act: Callable[[int], object], moments: list[int]) -> None:
    spent = []
    for moment in moments:
        begun = time.perf_counter_ns()
        act(moment)
        spent.append((time.perf_counter_ns() - begun) / 1e6)
    spent.sort()
    p99 = spent[int(0.99 * len(spent))]
    print(f"  {name:34s} median {spent[len(spent) // 2]:7.2f}  p99 {p99:7.2f}  max {spent[-1]:7.2f} ms")


def first_frame(path: Path) -> None:
    """Until what the first frame shows has been delivered, and until all columns of the axis are there."""
    from dashboard.replay_feed import ReplayFeed
    from dashboard.state import Delivery, Window

    begun = time.perf_counter()
    feed = ReplayFeed(Recording(path))
    arrived: list[tuple[float, int]] = []
    complete = threading.Event()

    def deliver(delivery: Delivery) -> None:
        if isinstance(delivery, Window) and delivery.ticks:
            arrived.append(((time.perf_counter() - begun) * 1e3, len(delivery.ticks)))
            if len(delivery.ticks) > 1:
                complete.set()

    feed.start(deliver)
    complete.wait(60)
    feed.stop()
    (first, _), (last, ticks) = arrived[0], arrived[-1]
    print(f"  opened and delivered to the screen: {first:.0f} ms; with the {ticks} intervals before it: {last:.0f} ms")


def measure(path: Path) -> None:
    begun = time.perf_counter()
    recording = Recording(path)
    first = recording.tick_at(recording.end)
    recording.strip(recording.start, recording.end, 120)
    opened = (time.perf_counter() - begun) * 1e3
    print(f"  opened, last tick and overview strip: {opened:.1f} ms; {len(recording)} intervals")
    first_frame(path)
    chance = random.Random(1)
    moments = [chance.randrange(recording.start, recording.end) for _ in range(_SEEKS)]
    last = recording.last_sequence
    timed("seek to a time", recording.tick_at, moments)
    timed("next interval", lambda _: recording.next(chance.randrange(last)), moments)
    timed("next phase change", recording.next_phase_change, moments)
    timed("previous phase change", recording.previous_phase_change, moments)
    timed("next event", recording.next_event, moments)
    timed("next gap (there is none)", recording.next_gap, moments)
    timed(
        "strip of all of it, 120 columns", lambda _: recording.strip(recording.start, recording.end, 120), moments[:30]
    )
    minutes = 10 * 60 * SECOND
    timed("strip of 10 minutes, 120 columns", lambda at: recording.strip(at, at + minutes, 120), moments[:60])
    hour = 3600 * SECOND
    timed("strip of 1 hour, 120 columns", lambda at: recording.strip(at, at + hour, 120), moments[:60])
    timed("refresh", lambda _: recording.refresh(), moments)
    _long_view(recording)
    begun = time.perf_counter()
    count = sum(1 for _ in recording.ticks(moments[0], moments[0] + hour))
    print(f"  streaming: {count / (time.perf_counter() - begun):.0f} ticks a second")
    recording.close()
    anew = Recording(path, relabel=True)
    timed("seek, labels made anew", anew.tick_at, moments[:30])
    anew.close()
    if first is None:
        raise SystemExit("the recording has no end")
    print(f"  memory: {_resident():.1f} MiB resident")


def _long_view(recording: Recording) -> None:
    """All of it on the axis of a screen, read as the dashboard reads it: some columns at a time."""
    from dashboard.survey import Span
    from dashboard.surveyor import Surveyor
    from dashboard.zoom import coarser

    step, columns = 60 * SECOND, 90
    while (further := coarser(step, columns, recording.end - recording.start, replay=True)) != step:
        step = further
    last = recording.tick_at(recording.end)
    engines = frozenset(entity for entity in last.labels if entity.startswith("engine/")) if last else frozenset()
    surveyor = Surveyor(recording)
    surveyor.wish(Span(step, (recording.end - 1) // step, columns), engines)
    spent = []
    while surveyor.is_pending:
        begun = time.perf_counter_ns()
        surveyor.read()
        spent.append((time.perf_counter_ns() - begun) / 1e6)
    told = f"{columns} columns of {step // (60 * SECOND)} min"
    print(f"  zoomed out, {told:22s} {sum(spent):.0f} ms in all, the longest read {max(spent):.1f} ms")


def _resident() -> float:
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory by default")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        short, long = Path(directory) / "hour.db", Path(directory) / "days"
        long.mkdir()
        block(short)
        one_day = long / file_name(START)
        day(short, one_day)
        for number in range(1, arguments.days):
            later(one_day, long / file_name(START + number * _DAY * SECOND), number)
        # Each in a process of its own, so that memory is comparable.
        for name, path in (("half an hour", short), ("a day", one_day), (f"{arguments.days} days", long)):
            size = sum(one.stat().st_size for one in ([path] if path.is_file() else path.iterdir()))
            print(f"{name}, {size / 1e6:.0f} MB:", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.replay", "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()
