"""Memory that a program needs now and then, and gives back in between."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def give_large_memory_back(size: int) -> None:
    """Have pieces of so many bytes and more leave the process as soon as they are freed.

    glibc would keep them after the second time, in every thread that takes some, as it takes a program
    that allocates so much twice for one that always will.
    """
    with contextlib.suppress(AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, size)
        mallopt(_M_TRIM_THRESHOLD, 2 * size)  # what glibc itself would pair it with
