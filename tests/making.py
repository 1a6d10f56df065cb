"""Small hand-made pages, readings and intervals that several tests build on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from collectors.histogram import Histogram
from collectors.model import EngineKey, Interval
from collectors.readings import EngineReading, GpuReading

SECOND = 1_000_000_000
ENDPOINT = "http://127.0.0.1:8000/metrics"
TTFT_BOUNDS = (0.1, 0.5, 1.0, 5.0, 10.0)


def vllm_page(
    *,
    prompt: int = 0,
    cached: int = 0,
    generated: int = 0,
    steps: int = 0,
    first: int = 0,
    ttft_sum: float = 0.0,
    running: int = 0,
    waiting: int = 0,
    kv: float = 0.0,
    engine: str = "0",
    model: str = "tiny",
) -> str:
    """A vLLM page with the families the catalogue reads, as vLLM writes them."""
    labels = f'engine="{engine}",model_name="{model}"'
    return "\n".join(
        [
            "# HELP vllm:num_requests_running Number of requests in model execution batches.",
            "# TYPE vllm:num_requests_running gauge",
            f"vllm:num_requests_running{{{labels}}} {float(running)}",
            f"vllm:num_requests_waiting{{{labels}}} {float(waiting)}",
            f"vllm:kv_cache_usage_perc{{{labels}}} {kv}",
            f"vllm:prompt_tokens_total{{{labels}}} {float(prompt + cached)}",
            f'vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}} {float(prompt)}',
            f'vllm:prompt_tokens_by_source_total{{{labels},source="local_cache_hit"}} {float(cached)}',
            f'vllm:prompt_tokens_by_source_total{{{labels},source="external_kv_transfer"}} 0.0',
            f"vllm:generation_tokens_total{{{labels}}} {float(generated)}",
            f"vllm:iteration_tokens_total_count{{{labels}}} {float(steps)}",
            f'vllm:time_to_first_token_seconds_bucket{{{labels},le="0.5"}} {float(first)}',
            f'vllm:time_to_first_token_seconds_bucket{{{labels},le="+Inf"}} {float(first)}',
            f"vllm:time_to_first_token_seconds_count{{{labels}}} {float(first)}",
            f"vllm:time_to_first_token_seconds_sum{{{labels}}} {ttft_sum}",
            f'vllm:cache_config_info{{block_size="16",engine="{engine}",num_gpu_blocks="1000"}} 1.0',
            f"vllm:estimated_flops_per_gpu_total{{{labels}}} 0.0",
        ]
    )


def reading(**fields: Any) -> EngineReading:
    """A vLLM reading over one second in which nothing happened, except for what is given."""
    base: dict[str, Any] = {
        "endpoint": ENDPOINT,
        "engine_index": "0",
        "engine": "vllm",
        "window_seconds": 1.0,
        "prompt_tokens": 0.0,
        "prompt_tokens_computed": 0.0,
        "prompt_tokens_cached": 0.0,
        "generation_tokens": 0.0,
        "first_tokens": 0.0,
        "steps": 0.0,
        "requests_running": 0.0,
        "requests_waiting": 0.0,
    }
    return EngineReading(**(base | fields))


def ttft_of(*waits: float) -> Histogram:
    """First tokens that took so many seconds."""
    counts = [0] * (len(TTFT_BOUNDS) + 1)
    for wait in waits:
        counts[next((i for i, bound in enumerate(TTFT_BOUNDS) if wait <= bound), len(TTFT_BOUNDS))] += 1
    return Histogram(TTFT_BOUNDS, tuple(counts), sum(waits))


def ttft(count: int, mean: float) -> Histogram:
    """`count` first tokens that took `mean` seconds each."""
    bucket = next((i for i, bound in enumerate(TTFT_BOUNDS) if mean <= bound), len(TTFT_BOUNDS))
    counts = [0] * (len(TTFT_BOUNDS) + 1)
    counts[bucket] = count
    return Histogram(TTFT_BOUNDS, tuple(counts), count * mean)


def prompt_landed(tokens: int, waited: float, **fields: Any) -> EngineReading:
    """A prompt of so many tokens got its first and only token after `waited` seconds."""
    return reading(
        prompt_tokens=float(tokens),
        prompt_tokens_computed=float(tokens),
        generation_tokens=1.0,
        first_tokens=1.0,
        steps=1.0,
        ttft=ttft(1, waited),
        **fields,
    )


def decoding(steps: int = 50, batch: int = 4, **fields: Any) -> EngineReading:
    """So many decode steps of a batch that was running before and after."""
    amounts = {"generation_tokens": float(steps * batch), "steps": float(steps), "requests_running": float(batch)}
    return reading(**(amounts | fields))


def intervals(
    readings: Iterable[EngineReading | None],
    *,
    gpus: Iterable[Mapping[str, GpuReading]] | None = None,
    seconds: float = 1.0,
    first: int = 1,
) -> list[Interval]:
    """Consecutive intervals of one engine; None stands for an interval without the engine."""
    length = round(seconds * SECOND)
    hardware = list(gpus) if gpus is not None else None
    made: list[Interval] = []
    for index, one in enumerate(readings):
        sequence = first + index
        engines: dict[EngineKey, EngineReading] = {}
        if one is not None:
            scaled = one if one.window_seconds != 1.0 else replace(one, window_seconds=seconds)
            engines[scaled.key] = scaled
        start = 1_700_000_000 * SECOND + sequence * length
        made.append(
            Interval(
                sequence, start, start + length, seconds, gpus=hardware[index] if hardware else {}, engines=engines
            )
        )
    return made


def gpu(uuid: str = "GPU-0", **fields: Any) -> GpuReading:
    """A healthy GPU read through GPM, busy throughout unless said otherwise."""
    base: dict[str, Any] = {"uuid": uuid, "source": "gpm", "window_seconds": 1.0, "kernel_active_ratio": 1.0}
    return GpuReading(**(base | fields))
