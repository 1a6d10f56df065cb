"""Differences between two JSON values that grow at the end and forget at the front.

The estimator's state is mostly histories of fixed length: from one minute to the next they move on
by a few entries. What changed is a tenth of the whole.

A patch is null (nothing changed), `{"is": value}` (replaced), `{"keys": {key: patch, ...}}` (an
object with the same keys in the same order), `{"items": [patch, ...]}` (an array of the same
length), or `{"drop": n, "add": [...]}` (an array that lost its first n items and got others).
"""

from __future__ import annotations

from typing import Any

Json = Any


def difference(old: Json, new: Json) -> Json:
    """The patch that makes `new` of `old`."""
    if old == new:
        return None
    if isinstance(old, dict) and isinstance(new, dict) and list(old) == list(new):
        patches = {key: difference(old[key], value) for key, value in new.items()}
        return {"keys": {key: patch for key, patch in patches.items() if patch is not None}}
    if isinstance(old, list) and isinstance(new, list):
        return _array_difference(old, new)
    return {"is": new}


def patched(old: Json, patch: Json) -> Json:
    """The value that `patch` makes of `old`, which is not changed. Raises ValueError for no patch."""
    match patch:
        case None:
            return old
        case {"is": value}:
            return value
        case {"keys": dict(patches)} if isinstance(old, dict):
            return {key: patched(value, patches.get(key)) for key, value in old.items()}
        case {"items": list(patches)} if isinstance(old, list) and len(old) == len(patches):
            return [patched(value, patch) for value, patch in zip(old, patches, strict=True)]
        case {"drop": int(dropped), "add": list(added)} if isinstance(old, list):
            return old[dropped:] + added
    raise ValueError("not the difference to this value")


def _array_difference(old: list[Json], new: list[Json]) -> Json:
    dropped = _shift(old, new)
    if dropped < len(old) or not new:
        return {"drop": dropped, "add": new[len(old) - dropped :]}
    if len(old) == len(new) and all(isinstance(value, dict) for value in new):
        return {"items": [difference(before, after) for before, after in zip(old, new, strict=True)]}
    return {"is": new}


def _shift(old: list[Json], new: list[Json]) -> int:
    """How many items went from the front so that the rest of `old` is how `new` begins."""
    if new:
        for dropped, value in enumerate(old):
            kept = len(old) - dropped
            if value == new[0] and kept <= len(new) and old[dropped:] == new[:kept]:
                return dropped
    return len(old)
