"""Hostile recordings: does reading them ever end in anything but what was read, or a refusal in one line?

    python -m benchmarks.recording_hostile [RECORDING] [--seconds 60] [--seed 1]

A good recording (by default one of a made-up node) is cut at every 4 kB boundary, then, for so many seconds,
damaged at random: bytes flipped, blocks overwritten, moved and zeroed, values in its tables made absurd, its
log torn. Each is opened and everything that replay reads is read of it; each is also given to repair. Files of
other kinds follow: a 10 GB sparse one, a symlink to itself, another application's SQLite, a text.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.busy_node import intervals
from collectors.phase.label import Labeller, phase_seconds
from collectors.replay import Recording, RecordingError
from exporters.recording_file import Origin, RecordingFile
from exporters.repair import repair

_PAGE = 4096
_ABSURD = (0, -1, 1, 2**31, 2**62, -(2**62), 2**63 - 1)
_TEXTS = ("", "\x1b[2J", "[" * 5000, "{" * 50, "9" * 4000, "null", '{"0": 1e400}', "\U0001f600" * 500)
_SLOW_SECONDS = 20.0


def good(path: Path) -> None:
    labeller = Labeller()
    file: RecordingFile | None = None
    for interval in intervals(60):
        state = labeller.checkpoint() if interval.sequence % 20 == 0 else None
        if file is None:
            file = RecordingFile(path, Origin("node-17", "UTC", "hostile"), interval, phase_seconds=phase_seconds)
        file.write(labeller.push(interval), checkpoint=state)
    assert file is not None
    file.settle(labeller.flush())
    file.close()


def read_all(path: Path) -> None:
    """Everything that a replay asks for."""
    for relabel in (False, True):
        with Recording(path, relabel=relabel) as recording:
            for tick in recording.ticks():
                recording.next(tick.interval.sequence)
            middle = (recording.start + recording.end) // 2
            for find in (
                recording.tick_at, recording.next_event, recording.previous_event, recording.next_gap,
                recording.previous_gap, recording.next_phase_change, recording.previous_phase_change,
            ):  # fmt: skip
                find(middle)
            recording.events(recording.start, recording.end)
            if recording.end > recording.start:
                recording.strip(recording.start, recording.end, 60)
            recording.refresh()


def outcome(act: Callable[[], object]) -> str:
    begun = time.monotonic()
    try:
        act()
    except RecordingError as refused:
        told = str(refused)
        found = "refused" if told and "\n" not in told and "\x1b" not in told else "BADLY TOLD"
    else:
        found = "read"
    return f"{found}, SLOW" if time.monotonic() - begun > _SLOW_SECONDS else found


def damaged(content: bytes, chance: random.Random) -> bytes:
    made = bytearray(content)
    match chance.randrange(5):
        case 0:
            for _ in range(chance.choice((1, 8, 64, 512))):
                made[chance.randrange(len(made))] = chance.randrange(256)
        case 1:
            at = chance.randrange(len(made) // _PAGE) * _PAGE
            made[at : at + _PAGE] = chance.randbytes(_PAGE)
        case 2:
            one, other = (chance.randrange(len(made) // _PAGE) * _PAGE for _ in range(2))
            made[one : one + _PAGE] = made[other : other + _PAGE]
        case 3:
            at = chance.randrange(len(made))
            made[at : at + chance.randrange(1, 3 * _PAGE)] = b""
        case _:
            at = chance.randrange(100)  # the header
            made[at] = chance.randrange(256)
    return bytes(made)


def absurd(path: Path, chance: random.Random) -> None:
    """Some values of some rows become what no recorder writes; the file stays sound SQLite."""
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for _ in range(chance.randrange(1, 6)):
        table = chance.choice(tables)
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        _, column, kind, *_ = chance.choice(columns)
        value: object = chance.choice(_ABSURD)
        if kind == "TEXT":
            value = chance.choice(_TEXTS)
        elif kind == "BLOB":
            value = chance.randbytes(chance.randrange(200))
        elif kind == "REAL":
            value = chance.choice((0.0, -1.0, 1e308, float("inf"), float("-inf")))
        where = "" if chance.random() < 0.3 else f" LIMIT {chance.randrange(1, 20)}"
        with suppress(sqlite3.Error):
            keys = f"(SELECT rowid FROM {table}{where})"
            connection.execute(f'UPDATE OR IGNORE {table} SET "{column}" = ? WHERE rowid IN {keys}', (value,))
            continue
        with suppress(sqlite3.Error):
            connection.execute(f'UPDATE OR IGNORE {table} SET "{column}" = ?', (value,))
    connection.commit()
    connection.close()


def both(path: Path, counts: Counter[str], what: str) -> None:
    counts[f"{what}: {outcome(lambda: read_all(path))}"] += 1
    saved = path.with_name("saved.db")
    saved.unlink(missing_ok=True)
    counts[f"{what}, repair: {outcome(lambda: repair(path, saved))}"] += 1
    if saved.exists():
        counts[f"{what}, what repair saved: {outcome(lambda: read_all(saved))}"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        whole = arguments.recording or directory / "good.db"
        if arguments.recording is None:
            good(whole)
        content = whole.read_bytes()
        path = directory / "hostile.db"
        for length in range(0, len(content), _PAGE):
            path.write_bytes(content[:length])
            both(path, counts, "cut at a boundary")
        deadline = time.monotonic() + arguments.seconds
        rounds = 0
        while time.monotonic() < deadline:
            rounds += 1
            state = chance.getstate()
            try:
                if rounds % 2:
                    path.write_bytes(damaged(content, chance))
                    both(path, counts, "bytes at random")
                else:
                    path.write_bytes(content)
                    absurd(path, chance)
                    both(path, counts, "absurd values")
            except Exception:
                kept = Path(tempfile.gettempdir(), f"hostile-{arguments.seed}-{rounds}.db")
                kept.write_bytes(path.read_bytes())
                print(f"round {rounds}: what broke it is kept in {kept}; random state {hash(state)}")
                raise
        path.unlink()
        path.touch()
        os.truncate(path, 10 * 2**30)
        counts[f"10 GB of nothing: {outcome(lambda: read_all(path))}"] += 1
        path.write_bytes(content)
        os.truncate(path, 10 * 2**30)
        counts[f"10 GB of nothing after a recording: {outcome(lambda: read_all(path))}"] += 1
        path.unlink()
        path.symlink_to(path)
        counts[f"a symlink to itself: {outcome(lambda: read_all(path))}"] += 1
        path.unlink()
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE interval (sequence INTEGER)")
        other.close()
        counts[f"another application's SQLite: {outcome(lambda: read_all(path))}"] += 1
        path.write_text("not a recording\n" * 1000)
        counts[f"a text: {outcome(lambda: read_all(path))}"] += 1
    for what, count in sorted(counts.items()):
        print(f"{count:6d}  {what}")
    print(f"{rounds} rounds in {arguments.seconds:g} s, seed {arguments.seed}")
    if any("BADLY" in what or "SLOW" in what for what in counts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
