"""Waiting for what other threads and processes bring about.

How long it takes says nothing: the patience only keeps what never comes from holding up everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds."""


def until(condition: Callable[[], object], what: object = "it", seconds: float = PATIENCE) -> None:
    """Wait until it is so. `what` is named when it never comes; a callable is asked for it then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline and not condition():
            raise AssertionError(f"never came: {what() if callable(what) else what}")
        time.sleep(0.01)
