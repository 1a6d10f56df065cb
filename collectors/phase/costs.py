"""What a step costs, and what the costs are learned from.

decode seconds  = a * steps + b * generated tokens + c * resident KV tokens * steps
prefill seconds = d * prompt tokens computed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SURE_WINDOWS = 20
"""Below this many windows every label that rests on the fit has low confidence."""

CPU_TOKENS_PER_STEP, GPU_TOKENS_PER_STEP = 20.0, 200.0
"""Prompt tokens that cost as much as one decode step, where the device's peaks are not known.

Measured: 14 and 18 on llama.cpp and vLLM on a CPU, 280 by the kernels of an RTX PRO 6000; the
ratio of peak compute to bandwidth is 150 to 300 operations a byte on data-centre GPUs.
"""

BUDGET_TOKENS = 2048
"""Tokens an engine computes in one step at most, by default (vLLM, SGLang, llama.cpp)."""

_MOST_WEIGHTS = 0.8
"""Share of the memory in use that weights take at most: an engine leaves some for its KV cache."""


class Hardware(NamedTuple):
    """What a device's data sheet says of its engine's costs before anything was measured.

    `tokens_per_step` is how many prompt tokens cost as much as a decode step: a step reads every
    weight once and a prompt token computes with every weight once. `bytes_per_second`
    is what a step reaches on all the engine's GPUs and `memory_bytes` what is in use on them,
    `kv_tokens` the size of its KV cache; 0 where unknown.
    """

    tokens_per_step: float = CPU_TOKENS_PER_STEP
    bytes_per_second: float = 0.0
    memory_bytes: float = 0.0
    kv_tokens: float = 0.0

    @property
    def is_device_known(self) -> bool:
        return self.bytes_per_second > 0

    def kv_step(self, step: float) -> float:
        """Seconds a step takes longer for each resident token, by the bytes a token has in the KV cache.

        The cache is what is in use besides the weights; the weights are what a step reads.
        """
        weights = min(step * self.bytes_per_second, _MOST_WEIGHTS * self.memory_bytes)
        cache = self.memory_bytes - weights
        if weights <= 0 or cache <= 0 or self.kv_tokens <= 0:
            return 0.0
        return step * cache / self.kv_tokens / weights


UNKNOWN_HARDWARE = Hardware()


class Stretch(NamedTuple):
    """A second or so of a window: the decode work that got done in it. Seconds by the wall."""

    steps: float = 0.0
    generated: float = 0.0
    kv_steps: float = 0.0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.steps / self.seconds if self.seconds else 0.0


NO_STRETCH = Stretch()


class Window(NamedTuple):
    """Sums over one busy window.

    `kv_steps` is resident KV tokens times steps; `busy` is seconds; `waited` is seconds that the
    requests whose prompts these are waited for their first token, 0 where it is not known. Prompts
    and their tokens include those of preempted requests, which are computed again; the lengths of
    these are not counted, and `guessed` is the sum of the squares of what was taken for them.
    The last four are those of the `Stretch` of it in which most steps got done.
    """

    steps: float
    generated: float
    kv_steps: float
    prompt: float
    busy: float
    waited: float = 0.0
    prompts: float = 0.0
    guessed: float = 0.0
    fast_steps: float = 0.0
    fast_generated: float = 0.0
    fast_kv_steps: float = 0.0
    fast_seconds: float = 0.0

    @property
    def mixed(self) -> float:
        """About how many of the steps computed a part of a prompt as well."""
        return min(self.steps, self.prompts + self.prompt / BUDGET_TOKENS)

    @property
    def fastest(self) -> Stretch:
        return Stretch(self.fast_steps, self.fast_generated, self.fast_kv_steps, self.fast_seconds)

    @property
    def whole(self) -> Stretch:
        return Stretch(self.steps, self.generated, self.kv_steps, self.busy)


SUMS = Window._fields.index("fast_steps")
"""How many of a window's figures are sums over its intervals."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds per unit of work, with how well they explain the past.

    `flops_per_token` is what the engine's own estimate of operations comes to per token computed,
    0 where it keeps none. `error` is the root-mean-square of the windows' residuals relative to
    their length; `windows` is how many there were. Without decode in them `knows_decode` is False
    and the decode costs must not be asked. `decode_error` is one standard deviation of the decode
    seconds of work like that of the windows, relative to their length.
    """

    step: float = 0.0
    token: float = 0.0
    kv_step: float = 0.0
    prompt_token: float = 0.0
    flops_per_token: float = 0.0
    error: float = 1.0
    windows: int = 0
    knows_decode: bool = False
    knows_prefill: bool = False
    batch_low: float = 0.0
    batch_high: float = 0.0
    """The smallest and the largest batch of the windows, in generated tokens a step. Beyond them the costs are
    extrapolated, and where they are much the same the costs of a step and of a sequence were not told apart."""
    prompts_per_token: float = 0.0
    """Prompt tokens computed for each generated one, over all the windows."""
    prefill_share: float = 0.0
    """Share of the windows' time that prompts took."""
    decode_error: float = 0.0

    def decode_seconds(self, steps: float, generated: float, kv_steps: float) -> float:
        return self.step * steps + self.token * generated + self.kv_step * kv_steps

    def prefill_seconds(self, prompt_tokens: float) -> float:
        return self.prompt_token * prompt_tokens

    @property
    def is_sure(self) -> bool:
        return self.windows >= SURE_WINDOWS


UNCALIBRATED = CostModel()
