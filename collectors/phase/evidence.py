"""What one engine's reading says about its time, before anything is concluded from it.

An `Observation` is one interval of one engine in the estimator's own terms: decode steps, prompt
tokens computed, and how much of the interval the engine is known to have been busy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from collectors.engine.catalog import ENGINES_BY_NAME, UNASSURED, WITHIN_INTERVAL
from collectors.model import Interval
from collectors.readings import EngineReading, GpuReading

PROMPT_BATCH_TOKENS = 2048
"""Prompt tokens llama.cpp computes in one batch by default; its step counter counts batches too."""

_SPIN_FREE = frozenset({"vllm", "llamacpp"})
"""Engines whose processes rest while there is nothing to do (measured); SGLang's scheduler spins."""

_TELLING = ("generation_tokens", "steps", "decode_steps", "prefill_seconds", "decode_seconds")
"""Amounts of which one has to move with the work for an interval's time to be told apart."""

_TOKEN_GAPS_LIVE = frozenset(
    engine.name
    for engine in ENGINES_BY_NAME.values()
    for row in engine.rows
    if row.field == "tpot" and row.alternatives[0].moves == "step"
)
"""Engines that tell the time between two tokens at every step, not when a request ends."""

NO_PROMPTS = (0.0, 0.0)
_LENGTHS_HALF_LIFE = 60.0
"""Seconds after which a prompt's length counts half for what is usual."""

_CPU_BUSY, _CPU_IDLE = 0.7, 0.15
"""CPU seconds per second of an engine that computes on the CPU, surely busy and surely idle.

Measured on a vLLM and a llama.cpp server with one compute thread: 3 % idle, above 95 % busy.
"""


@dataclass(frozen=True, slots=True)
class Observation:
    """One interval of one engine. Seconds are within `seconds`, the time between its two pages.

    `busy` is measured busy time (an idle counter, the GPU, the CPU, or a running gauge that is
    live); None where nothing measures it. `steps` are decode steps: prompt batches are taken out.
    """

    sequence: int
    end: int
    seconds: float
    missing: bool = False
    prompt: float | None = None
    cached: float | None = None
    generated: float | None = None
    first: float | None = None
    preempted: float = 0.0
    """Requests whose prompts were computed once more, or will be."""
    guessed_prompt: float = 0.0
    """Sum of the squares of what was taken for the lengths of these: the variance of their tokens."""
    recent_prompts: tuple[float, float] = NO_PROMPTS
    """Prompt tokens computed lately, and the prompts they made; what is older counts less."""
    steps: float | None = None
    guessed_steps: bool = False
    is_uncounted: bool = False
    """Nothing counts tokens, steps or seconds as they pass: the time cannot be told apart."""
    kv_steps: float = 0.0
    resident: float | None = None
    """Tokens in the KV cache at the interval's end."""
    running: float | None = None
    running_before: float | None = None
    waiting: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    idle_seconds: float | None = None
    flops: float | None = None
    busy: float | None = None
    busy_source: str | None = None
    ttft_mean: float | None = None
    ttft_longest: float | None = None

    @property
    def is_heard(self) -> bool:
        """Whether a page of the engine arrived in this interval."""
        return not self.missing or self.running is not None

    @property
    def moved(self) -> bool:
        """Whether any sign of work was counted."""
        return bool(
            self.prompt or self.generated or self.steps or self.prefill_seconds or self.decode_seconds or self.first
        )

    @property
    def runs_throughout(self) -> bool:
        """Requests were running at both ends: taken as busy where nothing better is known."""
        return bool(self.running) and bool(self.running_before)

    @property
    def is_busy_throughout(self) -> bool:
        """Busy from end to end, measured or, where nothing measures it, by the running requests."""
        if self.missing:
            return False
        return self.runs_throughout if self.busy is None else self.busy >= 0.95 * self.seconds

    @property
    def decodes(self) -> bool:
        return bool(self.decode_seconds) or bool(self.steps) or (self.steps is None and bool(self.continued))

    @property
    def continued(self) -> float | None:
        """Generated tokens that were not a request's first."""
        if self.generated is None:
            return None
        return max(0.0, self.generated - (self.first or 0.0))


def observe(interval: Interval, reading: EngineReading, before: Observation | None) -> Observation:
    """The observation of one engine in one interval; `before` is the one that preceded it."""
    if reading.state != "ok" or reading.window_seconds is None:
        # A first page tells no amounts, but what was running then.
        running = reading.requests_running if reading.state == "ok" else None
        busy = _gpu_busy(interval, reading)
        return Observation(
            interval.sequence,
            interval.end,
            interval.duration,
            missing=True,
            running=running,
            recent_prompts=before.recent_prompts if before is not None else NO_PROMPTS,
            busy=None if busy is None else min(1.0, busy) * interval.duration,
            busy_source=None if busy is None else "gpu",
        )
    seconds = reading.window_seconds
    is_uncounted = _is_uncounted(reading)
    reading = without_late(reading)
    prompt = _computed_prompt(reading)
    recent = _recent_prompts(prompt, reading, before)
    preempted = reading.preemptions or 0.0
    length = _length_again(reading, recent) if preempted and prompt is not None else 0.0
    if prompt is not None:
        prompt += preempted * length
    running_before = before.running if before is not None else None
    steps = _decode_steps(reading, prompt)
    guessed = steps is None
    if steps is None:
        steps = _estimated_steps(reading, running_before)
    busy, source = _measured_busy(interval, reading, running_before)
    return Observation(
        sequence=interval.sequence,
        end=interval.end,
        seconds=seconds,
        prompt=prompt,
        cached=reading.prompt_tokens_cached,
        generated=reading.generation_tokens,
        first=reading.first_tokens,
        preempted=preempted,
        guessed_prompt=preempted * length**2,
        recent_prompts=recent,
        steps=steps,
        guessed_steps=guessed,
        is_uncounted=is_uncounted,
        kv_steps=_mean_resident(reading, before) * (steps or 0.0),
        resident=_resident_tokens(reading),
        running=reading.requests_running,
        running_before=running_before,
        waiting=reading.requests_waiting,
        prefill_seconds=reading.prefill_seconds,
        decode_seconds=reading.decode_seconds,
        idle_seconds=reading.idle_seconds,
        flops=reading.flops,
        busy=min(busy, seconds) if busy is not None else None,
        busy_source=source,
        ttft_mean=reading.ttft.mean if reading.ttft is not None else None,
        ttft_longest=reading.ttft.longest if reading.ttft is not None else None,
    )


def _is_uncounted(reading: EngineReading) -> bool:
    """Whether nothing of an engine moves with its work: not on this page, nor on one after a first request."""
    late = (reading.late_fields or "").split(",")
    if any(getattr(reading, name) is not None and name not in late for name in _TELLING):
        return False
    if any(name in late for name in _TELLING):
        return True
    engine = ENGINES_BY_NAME.get(reading.engine or "")
    if engine is None:
        return False
    rows = (row for row in engine.rows if row.field in _TELLING)
    return all(alternative.moves in UNASSURED for row in rows for alternative in row.alternatives)


def without_late(reading: EngineReading) -> EngineReading:
    """The reading without the amounts that are counted when a request ends: they are another time's work."""
    if not reading.late_fields:
        return reading
    late: dict[str, Any] = {name: None for name in reading.late_fields.split(",") if name in WITHIN_INTERVAL}
    if "first_tokens" in late:
        late["ttft"] = None
    return replace(reading, **late)


def _computed_prompt(reading: EngineReading) -> float | None:
    """Only locally computed prompt tokens are prefill work: neither cached nor transferred ones."""
    if reading.prompt_tokens_computed is not None:
        return reading.prompt_tokens_computed
    if reading.prompt_tokens is None:
        return None
    elsewhere = (reading.prompt_tokens_cached or 0.0) + (reading.prompt_tokens_transferred or 0.0)
    return max(0.0, reading.prompt_tokens - elsewhere)


def _recent_prompts(prompt: float | None, reading: EngineReading, before: Observation | None) -> tuple[float, float]:
    tokens, prompts = before.recent_prompts if before is not None else NO_PROMPTS
    keep = 0.5 ** ((reading.window_seconds or 0.0) / _LENGTHS_HALF_LIFE)
    return tokens * keep + (prompt or 0.0), prompts * keep + (reading.first_tokens or 0.0)


def _length_again(reading: EngineReading, recent: tuple[float, float]) -> float:
    """Tokens that a preempted request computes again, which are not counted again.

    Engines preempt the request that came last, or that has generated least: little more than its prompt is lost.
    """
    tokens, prompts = recent
    mean_length = _resident_tokens(reading) / reading.requests_running if reading.requests_running else 0.0
    if not prompts:
        return mean_length
    return min(tokens / prompts, mean_length) if mean_length else tokens / prompts


def _decode_steps(reading: EngineReading, prompt: float | None) -> float | None:
    if reading.decode_steps is not None:
        return reading.decode_steps
    if reading.steps is None:
        return None
    if reading.first_tokens is not None and reading.generation_tokens is not None:
        # Steps that emitted nothing but first tokens were prefill steps; there cannot be more
        # decode steps than tokens that were not first ones.
        return min(reading.steps, max(0.0, reading.generation_tokens - reading.first_tokens))
    if prompt:
        return max(0.0, reading.steps - math.ceil(prompt / PROMPT_BATCH_TOKENS))
    return reading.steps


def _estimated_steps(reading: EngineReading, running_before: float | None) -> float | None:
    """Steps of an engine that counts none: each gave every running request a token, and accepted drafts besides."""
    running = [count for count in (reading.requests_running, running_before) if count]
    if reading.generation_tokens is None or not running:
        return None
    continued = max(0.0, reading.generation_tokens - (reading.first_tokens or 0.0))
    return continued / (_mean_batch(reading, running) * tokens_a_step(reading))


def _mean_batch(reading: EngineReading, running: Sequence[float]) -> float:
    """Requests that were decoding, on average: the seconds between their tokens, added up, per second.

    The gauge at the two ends of the interval is all that is known otherwise.
    """
    gauge = sum(running) / len(running)
    if reading.engine not in _TOKEN_GAPS_LIVE or reading.tpot is None or not reading.window_seconds:
        return gauge
    waiting_for_tokens = reading.tpot.sum / reading.window_seconds
    return max(1.0, waiting_for_tokens) if len(running) == 2 else max(1.0, waiting_for_tokens, gauge)


def tokens_a_step(reading: EngineReading) -> float:
    """Tokens one step gives to one request: 1, and under speculative decoding the accepted drafts as well."""
    if reading.spec_drafts and reading.spec_accepted_tokens is not None:
        return 1.0 + reading.spec_accepted_tokens / reading.spec_drafts
    return 1.0


def _resident_tokens(reading: EngineReading) -> float:
    if reading.kv_cache_usage_ratio is None or reading.kv_cache_tokens is None:
        return 0.0
    return reading.kv_cache_usage_ratio * reading.kv_cache_tokens


def _mean_resident(reading: EngineReading, before: Observation | None) -> float:
    """Resident tokens in the middle of the interval, as nearly as its two ends tell."""
    now = _resident_tokens(reading)
    return now if before is None or before.resident is None else (before.resident + now) / 2.0


def _measured_busy(
    interval: Interval, reading: EngineReading, running_before: float | None
) -> tuple[float | None, str | None]:
    seconds = reading.window_seconds or interval.duration
    on_gpus = _gpu_busy(interval, reading)
    if on_gpus is not None:
        return on_gpus * seconds, "gpu"
    if reading.idle_seconds is not None:
        return max(0.0, seconds - reading.idle_seconds), "idle-counter"
    engine = ENGINES_BY_NAME.get(reading.engine or "")
    if engine is not None and engine.running_is_live and reading.requests_running is not None:
        if reading.requests_running > 0 and (running_before or 0) > 0:
            return seconds, "requests"
        moved = any((reading.steps, reading.prefill_seconds, reading.prompt_tokens_computed))
        if reading.requests_running == 0 and running_before == 0 and not moved:
            return 0.0, "requests"
    # CPU time is known of the interval alone, not of a longer time between two pages.
    is_one_interval = seconds <= 1.5 * interval.duration
    if reading.cpu_seconds is not None and is_one_interval and reading.engine in _SPIN_FREE and not interval.gpus:
        load = reading.cpu_seconds / seconds
        if load >= _CPU_BUSY:
            return seconds, "cpu"
        if load <= _CPU_IDLE:
            return 0.0, "cpu"
    return None, None


def _gpu_busy(interval: Interval, reading: EngineReading) -> float | None:
    """Busy time of an engine's GPUs. The ranks of a tensor-parallel group wait for one another: the busiest tells."""
    gpus = [interval.gpus[uuid] for uuid in reading.gpus if uuid in interval.gpus]
    return max((ratio for gpu in gpus if (ratio := gpu_busy_ratio(gpu)) is not None), default=None)


def gpu_busy_ratio(gpu: GpuReading) -> float | None:
    """Time the GPU was computing: kernel-active time, which is about time and not about use."""
    if gpu.state != "ok":
        return None
    for ratio in (gpu.kernel_active_ratio, gpu.compute_active_ratio):
        if ratio is not None:
            return ratio
    return gpu.sm_active_ratio


def with_live_prompt(seen: Observation, flops_per_token: float) -> Observation:
    """The observation with the prompt tokens its floating-point operations were spent on.

    An engine that estimates its operations counts them at every step, unfinished prompts included,
    while its prompt counter moves in one lump when a prompt ends. A token costs much the same
    operations in either phase (two per parameter), so what the generated ones did not use went
    into prompts.
    """
    if seen.flops is None or flops_per_token <= 0 or seen.prefill_seconds is not None:
        return seen
    return replace(seen, prompt=max(0.0, seen.flops / flops_per_token - (seen.generated or 0.0)))


def spread(earlier: Mapping[int, Observation], late: Observation) -> dict[int, Observation]:
    """A page that had blocked, told to the intervals it covers, in proportion to their time.

    `earlier` are the directly preceding intervals without a page, by sequence. An engine that
    answers only between two batches gives one page for several intervals; what it counted belongs
    to all of them.
    """
    covered = {**earlier, late.sequence: late}
    total = sum(one.seconds for one in earlier.values())
    own = max(1e-9, late.seconds - total)
    parts = {sequence: one.seconds for sequence, one in earlier.items()} | {late.sequence: own}
    whole = sum(parts.values())
    return {sequence: _scaled(late, covered[sequence], part / whole, part) for sequence, part in parts.items()}


def _scaled(source: Observation, place: Observation, share: float, seconds: float) -> Observation:
    def part(value: float | None) -> float | None:
        return None if value is None else value * share

    is_last = place.sequence == source.sequence
    return Observation(
        sequence=place.sequence,
        end=place.end,
        seconds=seconds,
        prompt=part(source.prompt),
        cached=part(source.cached),
        generated=part(source.generated),
        first=part(source.first),
        preempted=source.preempted * share,
        guessed_prompt=source.guessed_prompt * share,
        recent_prompts=source.recent_prompts,
        steps=part(source.steps),
        guessed_steps=source.guessed_steps,
        is_uncounted=source.is_uncounted,
        kv_steps=source.kv_steps * share,
        resident=source.resident,
        running=source.running if is_last else max(source.running or 0.0, source.running_before or 0.0),
        running_before=source.running_before,
        waiting=source.waiting,
        prefill_seconds=part(source.prefill_seconds),
        decode_seconds=part(source.decode_seconds),
        idle_seconds=part(source.idle_seconds),
        flops=part(source.flops),
        busy=part(source.busy),
        busy_source=source.busy_source,
        ttft_mean=source.ttft_mean,
        ttft_longest=source.ttft_longest,
    )
