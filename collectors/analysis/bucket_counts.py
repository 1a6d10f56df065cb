"""Histogram counts as recordings hold them, summed many at a time."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache


def counted(texts: str) -> dict[int, int]:
    """Observations by bucket of JSON objects `{"bucket":count}` after one another.

    Parsing each as JSON would take most of the time of a report; equal entries are counted as texts first.
    Raises ValueError for what is none.
    """
    if " " in texts:
        texts = texts.replace(" ", "")
    entries = Counter(texts.removeprefix("{").removesuffix("}").replace("},{", ",").split(","))
    result: dict[int, int] = {}
    for entry, times in entries.items():
        if entry:
            bucket, count = _entry(entry)
            result[bucket] = result.get(bucket, 0) + count * times
    return result


@lru_cache(maxsize=4096)
def _entry(text: str) -> tuple[int, int]:
    bucket, _, count = text.partition(":")
    return int(bucket.strip('"')), int(count)
