"""The pages a vLLM engine would have published while it ran the simulated steps.

Counters move as vLLM moves them: generated tokens and steps at every step that had output, prompt
tokens in one lump when a prompt ends, the running gauge after a step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from benchmarks.phasebench.simulator import Done

TTFT_BOUNDS = (.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1., 2.5, 5., 7.5, 10., 20., 40., 80.)  # fmt: skip
ITL_BOUNDS = (.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1., 2.5, 5., 7.5, 10., 20., 40., 80.)  # fmt: skip
BLOCK_TOKENS = 16


class Publisher:
    """One engine's pages at rising times; several ranks' make one page.

    `takes_over` says that prompts it did not compute arrived from another instance; otherwise they
    were in its prefix cache. `with_steps` False leaves the step counter out.
    """

    def __init__(
        self,
        steps: Sequence[Done],
        kv_tokens: int,
        index: str = "0",
        takes_over: bool = False,
        *,
        with_steps: bool = True,
    ) -> None:
        self._labels = f'engine="{index}",model_name="simulated"'
        self._elsewhere = "external_kv_transfer" if takes_over else "local_cache_hit"
        self._steps = steps
        self._next = 0
        self._kv_tokens = kv_tokens
        self._with_steps = with_steps
        self._computed = self._cached = self._generated = self._with_output = self._first = 0
        self._ended = self._preempted = 0
        self._ttft_sum = 0.0
        self._ttft = [0] * (len(TTFT_BOUNDS) + 1)
        self._itl_sum = 0.0
        self._itl = [0] * (len(ITL_BOUNDS) + 1)
        self._last: Done | None = None

    def page(self, at: float) -> str:
        """The page as of `at` seconds; times must not fall."""
        while self._next < len(self._steps) and self._steps[self._next].end <= at:
            self._take(self._steps[self._next])
            self._next += 1
        return "\n".join(self._lines()) + "\n"

    def _take(self, step: Done) -> None:
        for prompt, cached, waited in step.finished_prompts:
            self._computed += prompt - cached
            self._cached += cached
            self._first += 1
            self._ttft_sum += waited
            self._ttft[bisect_left(TTFT_BOUNDS, waited)] += 1
        output = step.decode + len(step.finished_prompts) + step.resumed
        self._generated += output
        if step.decode:
            self._itl_sum += step.token_gaps
            self._itl[bisect_left(ITL_BOUNDS, step.token_gaps / step.decode)] += step.decode
        self._with_output += output > 0
        self._ended += step.ended
        self._preempted += step.preempted
        self._last = step

    def _lines(self) -> Iterator[str]:
        last, labels = self._last, self._labels
        samples: list[tuple[str, float]] = [
            ("num_requests_running", last.running if last else 0),
            ("num_requests_waiting", last.waiting if last else 0),
            ("kv_cache_usage_perc", last.kv_usage if last else 0.0),
            ("prompt_tokens_total", self._computed + self._cached),
            ("generation_tokens_total", self._generated),
            ("request_success_total", self._ended),
            ("num_preemptions_total", self._preempted),
            ("time_to_first_token_seconds_sum", self._ttft_sum),
            ("time_to_first_token_seconds_count", self._first),
            ("inter_token_latency_seconds_sum", self._itl_sum),
            ("inter_token_latency_seconds_count", sum(self._itl)),
        ]
        if self._with_steps:
            samples.append(("iteration_tokens_total_count", self._with_output))
        for name, value in samples:
            yield f"vllm:{name}{{{labels}}} {float(value)!r}"
        yield f'vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}} {float(self._computed)!r}'
        yield f'vllm:prompt_tokens_by_source_total{{{labels},source="{self._elsewhere}"}} {float(self._cached)!r}'
        yield from _buckets(labels, "time_to_first_token_seconds", TTFT_BOUNDS, self._ttft)
        yield from _buckets(labels, "inter_token_latency_seconds", ITL_BOUNDS, self._itl)
        blocks = self._kv_tokens // BLOCK_TOKENS
        yield f'vllm:cache_config_info{{block_size="{BLOCK_TOKENS}",engine="0",num_gpu_blocks="{blocks}"}} 1.0'


def _buckets(labels: str, name: str, limits: Sequence[float], counts: Sequence[int]) -> Iterator[str]:
    bounds = [*(f"{limit!r}" for limit in limits), "+Inf"]
    for bound, reached in zip(bounds, accumulate(counts), strict=True):
        yield f'vllm:{name}_bucket{{{labels},le="{bound}"}} {float(reached)!r}'
