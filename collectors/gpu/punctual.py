"""Being let onto a processor soon after waking, and not for longer. Runs in the child.

A sample that is taken late is of another time than its interval. Linux from 6.12 on lets any thread ask for short
turns: among threads that want a processor, one with a short turn goes first, and its share of the time stays what it
was. So nothing is taken from the engine, as it would be by a higher priority.
"""

from __future__ import annotations

import ctypes
import os
import struct

_TURN_NANOSECONDS = 100_000  # the shortest the kernel grants
_ATTRIBUTES = struct.Struct("@IIQiIQQQ")
"""struct sched_attr as it first was: size, policy, flags, nice, priority, runtime, deadline, period."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The number of the system call, which the C library of older systems has no function for."""


def ask_for_short_turns() -> bool:
    """Do so for the calling thread, at the niceness it has; whether the kernel took it.

    Older kernels take it and change nothing; where a sandbox forbids it, all stays as it was.
    """
    call = _SCHED_SETATTR.get(os.uname().machine)
    policy = os.sched_getscheduler(0)
    if call is None or policy != os.SCHED_OTHER or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, _TURN_NANOSECONDS, 0, 0)
    libc = ctypes.CDLL(None)
    return bool(libc.syscall(ctypes.c_long(call), ctypes.c_long(0), attributes, ctypes.c_long(0)) == 0)
