"""Who serves the requests: one engine, data-parallel ranks, or instances for prefill and for decode.

An `Instance` is one engine as its counters know it: one page (or one rank's part of it), its own
GPUs, and one or more runs of its process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.phasebench.simulator import Done, Limits, simulate
from benchmarks.phasebench.tables import StepTimes
from benchmarks.phasebench.traces import Request, Shape

TRANSFER_SECONDS = 0.04
"""KV cache of a prompt from one instance to the other (measured: 43 to 45 ms for 8,000 tokens)."""
DOWN_SECONDS = 15.0
"""From the end of an engine's process to the first page of the next one."""

_ENDPOINT = "http://simulated/metrics"


@dataclass(frozen=True, slots=True)
class Process:
    """One life of an engine's process: its counters begin at 0. Seconds since the simulation began."""

    begin: float
    end: float
    steps: Sequence[Done]


@dataclass(frozen=True, slots=True)
class Instance:
    """One engine. `takes_over` says that its prompts were computed elsewhere and their KV cache arrives."""

    endpoint: str
    index: str
    processes: tuple[Process, ...]
    limits: Limits
    takes_over: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.endpoint, self.index

    @property
    def steps(self) -> list[Done]:
        return [step for process in self.processes for step in process.steps]

    def is_up(self, begin: float, end: float) -> bool:
        """Whether one process lived from `begin` to `end`, and some seconds before."""
        return any(one.begin == 0.0 <= begin or one.begin + 2.0 <= begin for one in self.processes if end <= one.end)


def deploy(
    shape: Shape, requests: Sequence[Request], tables: StepTimes, limits: Limits, seconds: float
) -> list[Instance]:
    """Serves the requests for so many seconds."""
    if shape == "ranks":
        shares = [requests[rank::2] for rank in range(2)]
        runs = [simulate(share, tables, limits, seconds) for share in shares]
        return [Instance(_ENDPOINT, str(rank), (Process(0.0, seconds, run),), limits) for rank, run in enumerate(runs)]
    if shape == "split":
        return _split(requests, tables, limits, seconds)
    if shape == "restart":
        return [Instance(_ENDPOINT, "0", _restarted(requests, tables, limits, seconds), limits)]
    run = simulate(requests, tables, limits, seconds)
    return [Instance(_ENDPOINT, "0", (Process(0.0, seconds, run),), limits)]


def _split(requests: Sequence[Request], tables: StepTimes, limits: Limits, seconds: float) -> list[Instance]:
    """One instance computes the prompts and their first tokens, the other one the rest."""
    first = simulate([replace(one, output=1) for one in requests], tables, limits, seconds)
    handed: list[Request] = []
    by_prompt: dict[int, list[Request]] = {}
    for one in sorted(requests, key=lambda one: one.arrival, reverse=True):
        by_prompt.setdefault(one.prompt, []).append(one)
    for step in first:
        for prompt, _, _ in step.finished_prompts:
            request = by_prompt[prompt].pop()
            if request.output > 1:
                handed.append(Request(step.end + TRANSFER_SECONDS, prompt, request.output - 1, cached=prompt))
    second = simulate(handed, tables, limits, seconds)
    return [
        Instance("http://prefill/metrics", "0", (Process(0.0, seconds, first),), limits),
        Instance("http://decode/metrics", "0", (Process(0.0, seconds, second),), limits, takes_over=True),
    ]


def _restarted(
    requests: Sequence[Request], tables: StepTimes, limits: Limits, seconds: float
) -> tuple[Process, Process]:
    """The process dies in the middle; what it was working on is lost."""
    half = seconds / 2
    again = half + DOWN_SECONDS
    before = [step for step in simulate(requests, tables, limits, half) if step.end <= half]
    late = [replace(one, arrival=one.arrival - again) for one in requests if one.arrival >= again]
    after = simulate(late, tables, limits, seconds - again)
    for step in after:
        step.start, step.end = step.start + again, step.end + again
    return Process(0.0, half, before), Process(again, seconds, after)
