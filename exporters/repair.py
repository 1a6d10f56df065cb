"""A new recording file out of what can be read of a damaged one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collectors.model import RULE_VERSION, Tick
from collectors.phase.rules import phase_seconds
from collectors.salvage import Salvage, Saved
from collectors.store import DamagedRecording
from exporters.recording_file import Origin, RecordingFile


@dataclass(frozen=True, slots=True)
class Repaired:
    """How many intervals were saved and lost, and from when to when those saved are (wall-clock ns)."""

    saved: int
    lost: int
    start: int
    end: int


def repair(damaged: Path, output: Path) -> Repaired:
    """Writes the intervals of a damaged file that can be read whole into a new one; the old one stays as it is.

    Labels that were lost are made anew when the file is read, where they are among its last.
    Raises RecordingError when nothing can be saved, FileExistsError, OSError or sqlite3.Error when
    the new file cannot be made.
    """
    salvage = Salvage(damaged)
    file: RecordingFile | None = None
    start = end = 0
    try:
        for saved in salvage.intervals():
            interval = saved.stored.interval
            if file is None:
                file = RecordingFile(output, _origin(salvage), interval, phase_seconds=phase_seconds)
                start = interval.start
            end = interval.end
            file.write(_tick(saved), checkpoint=saved.checkpoint)
        if file is None:
            raise DamagedRecording(f"{damaged}: none of its intervals can be read any more")
        file.close()
    except BaseException:
        if file is not None:
            file.abandon()
        raise
    finally:
        salvage.close()
    return Repaired(file.intervals, salvage.lost, start, end)


def _origin(salvage: Salvage) -> Origin:
    meta = salvage.meta
    version = meta.get("rule_version", "")
    part = meta.get("part", "")
    return Origin(
        meta.get("host_name", ""),
        meta.get("time_zone", "UTC"),
        meta["run"],
        int(part) if part.isdecimal() else 0,
        meta.get("phasetop_version", ""),
        int(version) if version.isdecimal() else RULE_VERSION,
        meta.get("description", ""),
    )


def _tick(saved: Saved) -> Tick:
    stored = saved.stored
    return Tick(stored.interval, stored.labels, tuple(stored.labels.values()), stored.events)
