"""Which processes of this machine record, and into which directories: for whoever wants to look back.

A process counts that is this user's, root's or a system user's, or whose recordings a group of this
user may read; anybody else could put words into this machine's past.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from collectors.learned import state_directory
from collectors.store import LOCK_NAME, is_being_written

_STATE_DIRECTORY = Path("/var/lib/phasetop")
"""Where the systemd unit that is shipped records."""
_SYSTEM_USERS = 1000
"""User ids below are not people's."""
_ARGUMENTS_LIMIT = 4096
_COMMAND_WITHIN = 6
"""An interpreter, its flags, the program and its command: `python -I /opt/phasetop/bin/phasetop export`."""
_TAKES_DIRECTORY = {"record"}
_HAS_FLAG = {"export", "live"}


def recorded_directories(
    configured: Path | None, environment: Mapping[str, str], *, proc: Path = Path("/proc")
) -> Iterator[Path]:
    """Directories that a process records into right now, and that this one may look into; likely ones first.

    `configured` is what the configuration names.
    """
    seen: set[Path] = set()
    for directory in _candidates(configured, environment, proc):
        place = directory.absolute()
        if place not in seen:
            seen.add(place)
            if is_being_written(place) and os.access(place, os.R_OK | os.X_OK):
                yield place


def _candidates(configured: Path | None, environment: Mapping[str, str], proc: Path) -> Iterator[Path]:
    if configured is not None:
        yield configured
    yield _STATE_DIRECTORY
    own = state_directory(environment)
    if own is not None:
        yield own
    yield from _of_processes(proc)


def _of_processes(proc: Path) -> Iterator[Path]:
    try:
        processes = [entry for entry in proc.iterdir() if entry.name.isdecimal()]
    except OSError:
        return
    for process in processes:
        with suppress(OSError):
            owner = process.stat().st_uid
            with (process / "cmdline").open("rb") as file:
                words = file.read(_ARGUMENTS_LIMIT).decode("utf-8", "surrogateescape").split("\0")
            named = recorded_by(words)
            if named is None:
                continue
            directory = Path(named) if PurePath(named).is_absolute() else (process / "cwd").readlink() / named
            if _is_trusted(owner, directory):
                yield directory


def _is_trusted(owner: int, directory: Path) -> bool:
    """Raises OSError where there is nothing to be seen."""
    if owner == os.geteuid() or owner < _SYSTEM_USERS:
        return True
    return (directory / LOCK_NAME).stat().st_gid in {os.getegid(), *os.getgroups()}


def recorded_by(words: Sequence[str]) -> str | None:
    """The directory that a command line records into, as it stands there; None where it is none of ours."""
    for place, word in enumerate(words[:_COMMAND_WITHIN]):
        if PurePath(word).name == "phasetop":
            return _recorded(words[place + 1 :])
    return None


def _recorded(words: Sequence[str]) -> str | None:
    command = words[0] if words else ""
    if command in _TAKES_DIRECTORY:
        return next(_without_flags(words[1:]), None)
    if command in _HAS_FLAG or command.startswith("-"):
        for place, word in enumerate(words):
            if word == "--record" and place + 1 < len(words):
                return words[place + 1] or None
            if word.startswith("--record="):
                return word.removeprefix("--record=") or None
    return None


def _without_flags(words: Iterable[str]) -> Iterator[str]:
    """The words that are neither flags nor values of the flags of `phasetop record`, all of which take one."""
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif word.startswith("-") and word != "-":
            is_value = "=" not in word
        elif word:
            yield word
