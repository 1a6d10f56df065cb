"""Short turns on the processor, asked for in a process of its own: a thread keeps what it once asked for."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import os
from collectors.gpu.punctual import ask_for_short_turns
os.nice({nice})
if {batch}:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
took = ask_for_short_turns()
print(took, os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_BATCH)
"""


def answer(*, nice: int = 0, batch: bool = False) -> list[str]:
    program = [sys.executable, "-c", ASK.format(nice=nice, batch=batch)]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=120).stdout.split()


def test_asking_for_short_turns_leaves_the_niceness_as_it_was() -> None:
    before = int(answer()[1])
    assert int(answer(nice=3)[1]) == min(before + 3, 19)


def test_a_process_that_was_put_into_another_class_is_left_there_and_asks_for_nothing() -> None:
    assert answer(batch=True)[::2] == ["False", "True"]
