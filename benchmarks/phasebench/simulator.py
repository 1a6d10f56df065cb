"""Continuous batching with chunked prefill, step by step, on measured kernel times.

Each step decodes one token for every sequence whose prompt is done and spends what is left of the
token budget on prompts, as vLLM's scheduler does. The truth of a mixed step is marginal: what it
took longer than its decode part alone would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from benchmarks.phasebench.tables import Card, Step, StepTimes
from benchmarks.phasebench.traces import Request


@dataclass(frozen=True, slots=True)
class Limits:
    """The engine's limits, in tokens and sequences; `host_gap` is seconds between two steps."""

    batch_tokens: int = 2048
    sequences: int = 128
    kv_tokens: int = 500_000
    host_gap: float = 0.0


@dataclass(slots=True, eq=False)
class Sequence:
    """A request being served: how much of its prompt is computed, and how many tokens it has."""

    request: Request
    computed: int
    generated: int = 0
    first_token: float | None = None
    last_token: float = 0.0
    before: int = 0
    """Tokens it had when it was preempted."""

    @property
    def context(self) -> int:
        return self.computed + self.generated

    @property
    def is_decoding(self) -> bool:
        return self.computed >= self.request.prompt


@dataclass(slots=True)
class Done:
    """One finished step: when, what it cost, and what it brought.

    `finished_prompts` holds (prompt tokens, cached tokens, seconds to first token) of every prompt
    whose last part was computed; `resumed` counts preempted sequences whose prompt was computed again.
    `token_gaps` are seconds since the previous token, summed over the decoding sequences. `served` holds
    (seconds to first token, mean seconds a later token) of every request that ended.
    """

    start: float
    end: float
    prefill_seconds: float
    decode: int
    prefill_tokens: int
    finished_prompts: list[tuple[int, int, float]] = field(default_factory=list)
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    ended: int = 0
    preempted: int = 0
    resumed: int = 0
    token_gaps: float = 0.0
    served: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Slowed:
    """Step times of hardware that is so many times slower than it was measured."""

    tables: StepTimes
    factor: float

    @property
    def name(self) -> str:
        return self.tables.name

    @property
    def card(self) -> Card:
        return self.tables.card

    def seconds(self, step: Step) -> float:
        return self.tables.seconds(step) * self.factor


def simulate(
    requests: Iterable[Request],
    tables: StepTimes,
    limits: Limits,
    seconds: float,
    *,
    slowdown: Callable[[float], float] | None = None,
) -> list[Done]:
    """All steps until `seconds`. Requests that could never fit into the KV cache are refused, as engines do.

    `slowdown` tells how many times longer a step takes that begins at a moment (seconds): throttled hardware.
    """
    fitting = (one for one in requests if one.prompt + one.output <= limits.kv_tokens)
    arriving = deque(sorted(fitting, key=lambda one: one.arrival))
    waiting: deque[Sequence] = deque()
    running: list[Sequence] = []
    now, steps = 0.0, []
    while now < seconds:
        while arriving and arriving[0].arrival <= now:
            request = arriving.popleft()
            waiting.append(Sequence(request, min(request.cached, request.prompt - 1)))
        if not running and not waiting:
            if not arriving:
                break
            now = arriving[0].arrival
            continue
        times = tables if slowdown is None else _Slowed(tables, slowdown(now))
        done = _step(now, waiting, running, times, limits)
        steps.append(done)
        now = done.end + limits.host_gap
    return steps


def _step(now: float, waiting: deque[Sequence], running: list[Sequence], tables: StepTimes, limits: Limits) -> Done:
    decoding = [one for one in running if one.is_decoding]
    preempted = _make_room(running, decoding, waiting, limits)
    budget = limits.batch_tokens - len(decoding)
    parts = _prompt_parts(waiting, running, budget, limits)
    prefill = sum(tokens for _, tokens in parts)
    context = sum(one.computed * tokens for one, tokens in parts) / prefill if prefill else 0.0
    mean_length = sum(one.context for one in decoding) / len(decoding) if decoding else 0.0
    step = Step(prefill, round(context / 32) * 32, len(decoding), round(mean_length / 16) * 16)
    took = tables.seconds(step)
    alone = tables.seconds(Step(0, 0.0, step.decode, step.decode_context)) if decoding else 0.0
    done = Done(now, now + took, max(0.0, took - alone) if prefill else 0.0, len(decoding), prefill)
    done.preempted = preempted
    for one in decoding:
        one.generated += 1
        done.token_gaps += done.end - one.last_token
        one.last_token = done.end
    for one, tokens in parts:
        one.computed += tokens
        if one.is_decoding:
            one.generated += 1
            one.last_token = done.end
            if one.first_token is None:
                one.first_token = done.end
                wait = done.end - one.request.arrival
                done.finished_prompts.append((one.request.prompt, one.request.cached, wait))
            else:
                done.resumed += 1
    ended = [one for one in running if one.is_decoding and one.generated >= one.request.output]
    for one in ended:
        running.remove(one)
        if one.first_token is not None:
            later = max(1, one.before + one.generated - 1)
            done.served.append((one.first_token - one.request.arrival, (one.last_token - one.first_token) / later))
    done.ended = len(ended)
    done.running, done.waiting = len(running), len(waiting)
    done.kv_usage = min(1.0, sum(one.context for one in running) / limits.kv_tokens)
    return done


def _make_room(running: list[Sequence], decoding: list[Sequence], waiting: deque[Sequence], limits: Limits) -> int:
    """Preempts the youngest sequences while the next tokens do not fit; they are computed again."""
    preempted = 0
    while len(running) > 1 and sum(one.context for one in running) + len(decoding) > limits.kv_tokens:
        victim = running.pop()
        if victim in decoding:
            decoding.remove(victim)
        request = victim.request
        again = Request(request.arrival, request.prompt + victim.generated, request.output - victim.generated)
        tokens = victim.before + victim.generated
        waiting.appendleft(Sequence(again, 0, first_token=victim.first_token, before=tokens))
        preempted += 1
    return preempted


def _prompt_parts(
    waiting: deque[Sequence], running: list[Sequence], budget: int, limits: Limits
) -> list[tuple[Sequence, int]]:
    parts: list[tuple[Sequence, int]] = []
    for one in running:
        if not one.is_decoding and budget > 0:
            tokens = min(budget, one.request.prompt - one.computed)
            parts.append((one, tokens))
            budget -= tokens
    used = sum(one.context for one in running) + sum(tokens for _, tokens in parts)
    while waiting and budget > 0 and len(running) < limits.sequences:
        one = waiting[0]
        tokens = min(budget, one.request.prompt - one.computed)
        if used + one.request.prompt > limits.kv_tokens:
            break
        waiting.popleft()
        running.append(one)
        parts.append((one, tokens))
        budget -= tokens
        used += one.request.prompt
    return parts
