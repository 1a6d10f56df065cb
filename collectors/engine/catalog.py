"""What each serving engine's page means: which series is which field, and when it moves.

This is data. A field lists its alternatives in order of preference; the first one whose samples
are on the page is used, so that a renamed or missing series degrades one field and nothing else.
Adding an engine is adding a table.

An alternative is written as a selector: `name`, `name{label=value}`, `name{label^=prefix}`;
`a + b` adds two, `a * b` multiplies two; `name@label` reads a number from a label.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from collectors.readings import EngineReading, field_specs

Moves = Literal["step", "first-token", "admission", "request-end", "log", "constant"]
"""When a series advances: every engine step; when a request gets its first token; when it is
scheduled; when it ends; only at the engine's own reporting interval; never."""

Combine = Literal["sum", "max"]

_SELECTOR = re.compile(
    r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<label>\w+)(?P<how>\^?=)(?P<value>[^}]*)\})?(?:@(?P<info>\w+))?$"
)


@dataclass(frozen=True, slots=True)
class Selector:
    """Chooses the series of one sample name, optionally by one label's value or prefix."""

    name: str
    label: str | None = None
    value: str = ""
    prefix: bool = False
    info: str | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        found = _SELECTOR.match(text.strip())
        if found is None:
            raise ValueError(f"not a selector: {text!r}")
        return cls(found["name"], found["label"], found["value"] or "", found["how"] == "^=", found["info"])

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.label is None:
            return True
        value = labels.get(self.label)
        return value is not None and (value.startswith(self.value) if self.prefix else value == self.value)


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to get a field: selectors joined by one operator, and when they move."""

    selectors: tuple[Selector, ...]
    operator: Literal["+", "*"]
    moves: Moves

    @classmethod
    def parse(cls, text: str, moves: Moves) -> Alternative:
        operator: Literal["+", "*"] = "*" if " * " in text else "+"
        return cls(tuple(Selector.parse(part) for part in text.split(f" {operator} ")), operator, moves)


@dataclass(frozen=True, slots=True)
class Row:
    """A field of `EngineReading` and where an engine's page has it.

    `zero_is_missing` is for counters that stand on the page at 0 when the engine does not keep them.
    """

    field: str
    alternatives: tuple[Alternative, ...]
    combine: Combine = "sum"
    zero_is_missing: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's table.

    `prefixes` are the name prefixes its samples may carry, the first being the one the rows are
    written with; `running_is_live` says that `requests_running` = 0 really means that nothing
    runs (elsewhere the gauge is published after a step, or seldom).
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    rows: tuple[Row, ...]
    model_label: str | None = "model_name"
    index_label: str | None = None
    role_label: str | None = None
    roles: Mapping[str, str] | None = None
    running_is_live: bool = False


def _row(field: str, *alternatives: tuple[str, Moves], combine: Combine = "sum", zero_is_missing: bool = False) -> Row:
    parsed = tuple(Alternative.parse(text, moves) for text, moves in alternatives)
    return Row(field, parsed, combine, zero_is_missing)


VLLM = Engine(
    name="vllm",
    title="vLLM",
    # Ray rewrites the colon; Aphrodite is a fork that kept the names.
    prefixes=("vllm:", "aphrodite:", "ray_vllm:", "ray_vllm_", "vllm_"),
    index_label="engine",
    rows=(
        _row("prompt_tokens", ("vllm:prompt_tokens_total", "first-token")),
        _row(
            "prompt_tokens_computed",
            ("vllm:prompt_tokens_by_source_total{source=local_compute}", "first-token"),
            ("vllm:prompt_tokens_total", "first-token"),
        ),
        _row(
            "prompt_tokens_cached",
            ("vllm:prompt_tokens_by_source_total{source=local_cache_hit}", "first-token"),
            ("vllm:prompt_tokens_cached_total", "first-token"),
        ),
        _row(
            "prompt_tokens_transferred",
            ("vllm:prompt_tokens_by_source_total{source=external_kv_transfer}", "first-token"),
        ),
        _row("generation_tokens", ("vllm:generation_tokens_total", "step")),
        _row("first_tokens", ("vllm:time_to_first_token_seconds_count", "first-token")),
        _row("steps", ("vllm:iteration_tokens_total_count", "step")),
        _row("flops", ("vllm:estimated_flops_per_gpu_total", "step"), zero_is_missing=True),
        _row("read_bytes", ("vllm:estimated_read_bytes_per_gpu_total", "step"), zero_is_missing=True),
        _row("write_bytes", ("vllm:estimated_write_bytes_per_gpu_total", "step"), zero_is_missing=True),
        _row("requests_running", ("vllm:num_requests_running", "step")),
        _row("requests_waiting", ("vllm:num_requests_waiting", "step")),
        _row("requests_finished", ("vllm:request_success_total", "request-end")),
        _row(
            "kv_cache_usage_ratio",
            ("vllm:kv_cache_usage_perc", "step"),
            ("vllm:gpu_cache_usage_perc", "step"),
            combine="max",
        ),
        _row(
            "kv_cache_tokens", ("vllm:cache_config_info@num_gpu_blocks * vllm:cache_config_info@block_size", "constant")
        ),
        _row(
            "prefix_cache_queries",
            ("vllm:prefix_cache_queries_total", "admission"),
            ("vllm:gpu_prefix_cache_queries_total", "admission"),
        ),
        _row(
            "prefix_cache_hits",
            ("vllm:prefix_cache_hits_total", "admission"),
            ("vllm:gpu_prefix_cache_hits_total", "admission"),
        ),
        _row("preemptions", ("vllm:num_preemptions_total", "step")),
        _row("ttft", ("vllm:time_to_first_token_seconds", "first-token")),
        _row(
            "tpot",
            ("vllm:inter_token_latency_seconds", "step"),
            ("vllm:time_per_output_token_seconds", "step"),
        ),
        _row("e2e", ("vllm:e2e_request_latency_seconds", "request-end")),
        _row("queue", ("vllm:request_queue_time_seconds", "request-end")),
    ),
)

SGLANG = Engine(
    name="sglang",
    title="SGLang",
    prefixes=("sglang:", "sglang_"),
    index_label="dp_rank",
    role_label="engine_type",
    roles={"unified": "both", "prefill": "prefill", "decode": "decode"},
    rows=(
        _row("prompt_tokens", ("sglang:prompt_tokens_total", "request-end")),
        _row(
            "prompt_tokens_computed",
            ("sglang:realtime_tokens_total{mode=prefill_compute}", "step"),
            ("sglang:prompt_tokens_total", "request-end"),
        ),
        _row(
            "prompt_tokens_cached",
            ("sglang:realtime_tokens_total{mode=prefill_cache}", "step"),
            ("sglang:cached_tokens_total{cache_source=total}", "request-end"),
            ("sglang:cached_tokens_total", "request-end"),
        ),
        _row(
            "generation_tokens",
            ("sglang:realtime_tokens_total{mode=decode}", "step"),
            ("sglang:generation_tokens_total", "request-end"),
        ),
        _row("first_tokens", ("sglang:time_to_first_token_seconds_count", "first-token")),
        _row("steps", ("sglang:cuda_graph_passes_total", "step")),
        _row("decode_steps", ("sglang:cuda_graph_passes_total{mode^=decode}", "step")),
        _row(
            "prefill_seconds",
            ("sglang:forward_execution_seconds_total{category=extend}", "step"),
            ("sglang:gpu_execution_seconds_total{category=extend}", "step"),
            ("sglang:gpu_execution_seconds_total{category=forward_extend}", "step"),
        ),
        _row(
            "decode_seconds",
            ("sglang:forward_execution_seconds_total{category=decode}", "step"),
            ("sglang:gpu_execution_seconds_total{category=decode}", "step"),
            ("sglang:gpu_execution_seconds_total{category=forward_decode}", "step"),
        ),
        _row("idle_seconds", ("sglang:scheduler_idle_seconds_total", "log")),
        _row("flops", ("sglang:estimated_flops_per_gpu_total", "step"), zero_is_missing=True),
        _row("read_bytes", ("sglang:estimated_read_bytes_per_gpu_total", "step"), zero_is_missing=True),
        _row("write_bytes", ("sglang:estimated_write_bytes_per_gpu_total", "step"), zero_is_missing=True),
        _row("requests_running", ("sglang:num_running_reqs", "log")),
        _row("requests_waiting", ("sglang:num_queue_reqs", "log")),
        _row("requests_finished", ("sglang:num_requests_total", "request-end")),
        _row("kv_cache_usage_ratio", ("sglang:token_usage", "log"), combine="max"),
        _row("kv_cache_tokens", ("sglang:max_total_num_tokens", "constant")),
        _row("preemptions", ("sglang:num_retracted_requests_total", "step")),
        _row("ttft", ("sglang:time_to_first_token_seconds", "first-token")),
        _row(
            "tpot",
            ("sglang:inter_token_latency_seconds", "step"),
            ("sglang:time_per_output_token_seconds", "step"),
        ),
        _row("e2e", ("sglang:e2e_request_latency_seconds", "request-end")),
        _row("queue", ("sglang:queue_time_seconds", "admission")),
    ),
)

LLAMACPP = Engine(
    name="llamacpp",
    title="llama.cpp",
    prefixes=("llamacpp:", "llamacpp_"),
    model_label=None,
    running_is_live=True,
    rows=(
        _row("prompt_tokens", ("llamacpp:prompt_tokens_total + llamacpp:prompt_tokens_cached_total", "step")),
        _row("prompt_tokens_computed", ("llamacpp:prompt_tokens_total", "step")),
        _row("prompt_tokens_cached", ("llamacpp:prompt_tokens_cached_total", "step")),
        # tokens_predicted_total moves only when a request ends; busy slots summed over the batch
        # computations is the live count, within 2 to 4 % of the tokens while decoding.
        _row(
            "generation_tokens",
            ("llamacpp:n_busy_slots_per_decode * llamacpp:n_decode_total", "step"),
            ("llamacpp:tokens_predicted_total", "request-end"),
        ),
        _row("steps", ("llamacpp:n_decode_total", "step")),
        # Its decode seconds move only when a request ends and overlap between slots: not read.
        _row("prefill_seconds", ("llamacpp:prompt_seconds_total", "step")),
        _row("requests_running", ("llamacpp:requests_processing", "step")),
        _row("requests_waiting", ("llamacpp:requests_deferred", "step")),
        _row("kv_cache_usage_ratio", ("llamacpp:kv_cache_usage_ratio", "step"), combine="max"),
    ),
)

ENGINES: tuple[Engine, ...] = (VLLM, SGLANG, LLAMACPP)
ENGINES_BY_NAME: Mapping[str, Engine] = {engine.name: engine for engine in ENGINES}


_HISTOGRAMS = frozenset(spec.name for spec in field_specs(EngineReading) if spec.kind == "histogram")


def _sample_names(engine: Engine) -> frozenset[str]:
    names: set[str] = set()
    for row in engine.rows:
        for selector in (selector for alternative in row.alternatives for selector in alternative.selectors):
            if row.field in _HISTOGRAMS:
                names.update(f"{selector.name}{part}" for part in ("_bucket", "_sum", "_count"))
            else:
                names.add(selector.name)
    return frozenset(names)


_SAMPLE_NAMES: Mapping[str, frozenset[str]] = {engine.name: _sample_names(engine) for engine in ENGINES}


@lru_cache(maxsize=20_000)  # names come from outside: bounded
def locate(sample_name: str) -> tuple[Engine, str] | None:
    """The engine whose table reads this sample, and the name it has there; None when none does.

    Knows the prefixes under which forks and agents publish the same samples, and that some agents
    drop the `_total` of counters.
    """
    for engine in ENGINES:
        for prefix in engine.prefixes:
            if sample_name.startswith(prefix):
                name = engine.prefixes[0] + sample_name[len(prefix) :]
                for candidate in (name, f"{name}_total"):
                    if candidate in _SAMPLE_NAMES[engine.name]:
                        return engine, candidate
    return None


def is_wanted(sample_name: str) -> bool:
    """Whether any engine's table reads this sample: what a page reader should keep."""
    return locate(sample_name) is not None
