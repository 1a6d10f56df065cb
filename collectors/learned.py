"""What engines cost, kept from one run to the next in a small file.

A restart under load would otherwise know nothing for twenty seconds. The file is a convenience: one
that is damaged, of other rules or of another layout is passed over, with one line that says so.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from collectors.model import RULE_VERSION
from collectors.phase.calibrate import CostModel

FILE_NAME = "calibration.json"
LAYOUT = 1
MAX_SETS = 64
MAX_AGE_SECONDS = 30 * 86_400.0
MAX_BYTES = 1_000_000
_FIELDS = {entry.name for entry in fields(CostModel)}


@dataclass(frozen=True, slots=True)
class Kept:
    """One set of costs, and when they were learned, in seconds since 1970."""

    learned: float
    costs: CostModel


def state_directory(environment: Mapping[str, str]) -> Path | None:
    """Where this user's phasetop keeps its state: $STATE_DIRECTORY (systemd), $XDG_STATE_HOME/phasetop, or
    ~/.local/state/phasetop. None where there is not even a home."""
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base, home = Path(environment.get("XDG_STATE_HOME", "")), Path(environment.get("HOME", ""))
    if base.is_absolute():  # the XDG specification has relative values ignored
        return base / "phasetop"
    return home / ".local/state/phasetop" if home.is_absolute() else None


def load(path: Path, now: float) -> dict[str, Kept]:
    """The sets of a file by identity, without those too old; {} where there is no file.

    Raises OSError when it cannot be read, ValueError in words when it is not what was written here.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    if len(raw) > MAX_BYTES:
        raise ValueError("it is larger than any that is written")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(document, dict) or document.get("layout") != LAYOUT:
        raise ValueError("its layout is not known")
    rules = document.get("rule_version")
    if not isinstance(rules, int):
        raise ValueError("it does not tell the rules it was made by")
    if rules != RULE_VERSION:
        return {}  # costs of other rules mean something else; they are learned anew and written over
    sets = document.get("sets")
    if not isinstance(sets, dict):
        raise ValueError("it holds no sets of costs")
    found = {str(name): _kept(value) for name, value in sets.items()}
    return _bounded(found, now)


def save(path: Path, learned: Mapping[str, CostModel], now: float) -> None:
    """Puts sets of costs among those in a file, which is replaced at once or not at all. Raises OSError.

    Sets that another phasetop wrote stay. A damaged file is written over.
    """
    try:
        known = load(path, now)
    except ValueError:
        known = {}
    known.update({name: Kept(now, costs) for name, costs in learned.items()})
    document = {
        "layout": LAYOUT,
        "rule_version": RULE_VERSION,
        "sets": {name: {"learned": kept.learned, **asdict(kept.costs)} for name, kept in _bounded(known, now).items()},
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w") as file:
            json.dump(document, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _bounded(sets: Mapping[str, Kept], now: float) -> dict[str, Kept]:
    """The newest sets, without those too old or from the future by more than a day."""
    young = {name: kept for name, kept in sets.items() if -86_400.0 <= now - kept.learned <= MAX_AGE_SECONDS}
    newest = sorted(young, key=lambda name: (-young[name].learned, name))[:MAX_SETS]
    return {name: young[name] for name in newest}


def _kept(value: Any) -> Kept:
    """A set as it was written. Raises ValueError for anything else."""
    if not isinstance(value, dict) or set(value) != _FIELDS | {"learned"}:
        raise ValueError("a set of costs lacks a figure or has one too many")
    for name, figure in value.items():
        wanted = bool if name.startswith("knows_") else (int, float)
        is_number = not isinstance(figure, bool) and isinstance(figure, (int, float))
        if not isinstance(figure, wanted) or (is_number and not (math.isfinite(figure) and figure >= 0)):
            raise ValueError(f"{name} of a set of costs is no such figure")
    costs = {name: figure for name, figure in value.items() if name != "learned"}
    if not isinstance(costs["windows"], int) or isinstance(costs["windows"], bool):
        raise ValueError("windows of a set of costs is no whole number")
    return Kept(float(value["learned"]), CostModel(**costs))
