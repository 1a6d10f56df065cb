"""Small files of /proc and /sys, read without fuss: what cannot be read is None, never an error."""

from __future__ import annotations

import os

_LIMIT = 1 << 16


def read(path: str, limit: int = _LIMIT) -> str | None:
    """The file's text up to `limit` bytes; None when it is absent, forbidden or fails on reading."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        parts = []
        while limit > 0 and (part := os.read(descriptor, limit)):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts).decode("utf-8", "replace")
    except OSError:  # PSI files open and then answer EOPNOTSUPP; a process may end between open and read
        return None
    finally:
        os.close(descriptor)


def number(path: str) -> int | None:
    """The one whole number a file holds; None for anything else, "max" and "N/A" included."""
    text = read(path, 64)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def table(text: str) -> dict[str, int]:
    """`name value` lines, as in cpu.stat and memory.stat. Lines of another shape are passed over."""
    rows: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdecimal():
            rows[name] = int(value)
    return rows


def names(path: str) -> list[str]:
    """The entries of a folder; none when it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []
