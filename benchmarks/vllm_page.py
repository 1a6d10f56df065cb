"""A loopback server whose /metrics reads like a busy vLLM's: 60 kB, with counters that move.

    python -m benchmarks.vllm_page [--port 0]           prints its port

The load is a wave of 2 s prefill, 4 s decode and 1 s idle on the monotonic clock, which is what the
stand-in for NVML (`tests/nvml_stub`) shows on its GPUs at the same time. Every value is a function
of the clock alone, so that no reader changes what another one sees.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PREFILL_SECONDS, DECODE_SECONDS, IDLE_SECONDS = 2.0, 4.0, 1.0
REQUESTS, PROMPT_TOKENS, STEPS_PER_SECOND = 32, 1800, 45.0
"""Of one wave: every request is prefilled, then all decode together."""
KV_BLOCKS, BLOCK_TOKENS = 52_000, 16
_PREFILL_STEP_TOKENS = 8192
_LABELS = 'engine="0",model_name="meta-llama/Llama-3.1-70B-Instruct"'

_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384)
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
         160.0, 640.0, 2560.0)  # fmt: skip
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
            960.0, 1920.0, 7680.0)  # fmt: skip
_HTTP = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0,
         60.0)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Load:
    """What has been done up to a moment, and what is under way."""

    prompts: float
    prefill_steps: float
    decode_steps: float
    finished: float
    running: int
    waiting: int
    kv_ratio: float

    @property
    def prompt_tokens(self) -> float:
        return self.prompts * PROMPT_TOKENS

    @property
    def generated(self) -> float:
        return self.decode_steps * REQUESTS + self.prompts


def load_at(seconds: float) -> Load:
    """The load of a moment on the monotonic clock."""
    waves, inside = divmod(seconds, PREFILL_SECONDS + DECODE_SECONDS + IDLE_SECONDS)
    prefilled = min(1.0, inside / PREFILL_SECONDS)
    decoded = min(1.0, max(0.0, (inside - PREFILL_SECONDS) / DECODE_SECONDS))
    prompts = int(prefilled * REQUESTS)
    steps = int(decoded * DECODE_SECONDS * STEPS_PER_SECOND)
    busy = decoded < 1.0
    tokens = prompts * PROMPT_TOKENS + steps * REQUESTS
    return Load(
        prompts=waves * REQUESTS + prompts,
        prefill_steps=waves * (REQUESTS * PROMPT_TOKENS // _PREFILL_STEP_TOKENS)
        + prompts * PROMPT_TOKENS // _PREFILL_STEP_TOKENS,
        decode_steps=waves * int(DECODE_SECONDS * STEPS_PER_SECOND) + steps,
        finished=waves * REQUESTS + (0 if busy else REQUESTS),
        running=min(REQUESTS, prompts + 1) if busy else 0,
        waiting=max(0, REQUESTS - prompts - 1) if busy else 0,
        kv_ratio=tokens / (KV_BLOCKS * BLOCK_TOKENS) if busy else 0.0,
    )


Amount = Callable[[Load], float]
# Name, what it is at a load, and label values where it has several series.
_Simple = tuple[str, Amount, Sequence[tuple[str, float]]]


def _never(load: Load) -> float:
    return 0.0


_COUNTERS: Sequence[_Simple] = (
    ("estimated_flops_per_gpu", lambda now: (now.prompt_tokens + now.generated) * 1.75e10, ()),
    ("estimated_read_bytes_per_gpu", lambda now: (now.prefill_steps + now.decode_steps) * 1.8e10, ()),
    ("estimated_write_bytes_per_gpu", lambda now: (now.prompt_tokens + now.generated) * 4.1e4, ()),
    ("prefix_cache_queries", lambda now: now.prompt_tokens, ()),
    ("prefix_cache_hits", _never, ()),
    ("external_prefix_cache_queries", _never, ()),
    ("external_prefix_cache_hits", _never, ()),
    ("mm_cache_queries", _never, ()),
    ("mm_cache_hits", _never, ()),
    ("num_preemptions", _never, ()),
    ("prompt_tokens", lambda now: now.prompt_tokens, ()),
    ("prompt_tokens_by_source", lambda now: now.prompt_tokens,
     (('source="local_compute"', 1.0), ('source="local_cache_hit"', 0.0), ('source="external_kv_transfer"', 0.0))),
    ("prompt_tokens_cached", _never, ()),
    ("generation_tokens", lambda now: now.generated, ()),
    ("request_success", lambda now: now.finished,
     (('finished_reason="stop"', 0.75), ('finished_reason="length"', 0.25), ('finished_reason="abort"', 0.0),
      ('finished_reason="error"', 0.0), ('finished_reason="repetition"', 0.0))),
    ("corrupted_requests", _never, ()),
)  # fmt: skip
_GAUGES: Sequence[_Simple] = (
    ("num_requests_running", lambda now: now.running, ()),
    ("num_requests_waiting", lambda now: now.waiting, ()),
    ("num_requests_waiting_by_reason", lambda now: now.waiting,
     (('reason="capacity"', 1.0), ('reason="deferred"', 0.0))),
    ("engine_sleep_state", lambda now: 1.0,
     (('sleep_state="awake"', 1.0), ('sleep_state="weights_offloaded"', 0.0), ('sleep_state="discard_all"', 0.0))),
    ("kv_cache_usage_perc", lambda now: now.kv_ratio, ()),
)  # fmt: skip
# Name, how many observations, bounds, and the median of the observations.
_HISTOGRAMS: Sequence[tuple[str, Amount, Sequence[float], float]] = (
    ("request_prompt_tokens", lambda now: now.finished, _TOKENS, PROMPT_TOKENS),
    ("request_generation_tokens", lambda now: now.finished, _TOKENS, DECODE_SECONDS * STEPS_PER_SECOND),
    ("iteration_tokens_total", lambda now: now.prefill_steps + now.decode_steps, _STEP_TOKENS, REQUESTS),
    ("request_max_num_generation_tokens", lambda now: now.finished, _TOKENS, 180),
    ("request_params_n", lambda now: now.finished, (1, 2, 5, 10, 20), 1),
    ("request_params_max_tokens", lambda now: now.finished, _TOKENS, 512),
    ("request_prefill_kv_computed_tokens", lambda now: now.finished, _TOKENS, PROMPT_TOKENS),
    ("time_to_first_token_seconds", lambda now: now.prompts, _TTFT, 1.0),
    ("inter_token_latency_seconds", lambda now: now.decode_steps * REQUESTS, _PER_TOKEN, 1 / STEPS_PER_SECOND),
    ("request_time_per_output_token_seconds", lambda now: now.finished, _PER_TOKEN, 1 / STEPS_PER_SECOND),
    ("e2e_request_latency_seconds", lambda now: now.finished, _LATENCY, 5.0),
    ("request_queue_time_seconds", lambda now: now.finished, _LATENCY, 0.9),
    ("request_inference_time_seconds", lambda now: now.finished, _LATENCY, 4.1),
    ("request_prefill_time_seconds", lambda now: now.finished, _LATENCY, 0.3),
    ("request_decode_time_seconds", lambda now: now.finished, _LATENCY, 4.0),
    ("request_num_preemptions", _never, (0, 1, 2, 5, 10, 20, 50), 1),
)  # fmt: skip


def page(seconds: float) -> str:
    """The whole page of a moment on the monotonic clock."""
    return "\n".join((*_process(seconds), *_engine(load_at(seconds)), ""))


def _process(seconds: float) -> Iterator[str]:
    for name in ("objects_collected", "objects_uncollectable", "collections"):
        yield from _head(f"python_gc_{name}_total", "counter")
        yield from (f'python_gc_{name}_total{{generation="{g}"}} {float(seconds // 10 ** (g + 1))}' for g in range(3))
    for name, kind, value in (
        ("virtual_memory_bytes", "gauge", 2.1e10),
        ("resident_memory_bytes", "gauge", 6.5e9 + 4096 * (seconds // 3)),
        ("cpu_seconds_total", "counter", round(seconds * 0.8, 2)),
        ("open_fds", "gauge", 135.0),
    ):
        yield from _head(f"process_{name}", kind)
        yield f"process_{name} {value}"


def _engine(now: Load) -> Iterator[str]:
    for name, amount, parts in _COUNTERS:
        yield from _series(f"vllm:{name}_total", "counter", amount(now), parts)
        yield from _series(f"vllm:{name}_created", "gauge", 1.7952103770616407e09, [(part, 1.0) for part, _ in parts])
    for name, amount, parts in _GAUGES:
        yield from _series(f"vllm:{name}", "gauge", amount(now), parts)
    for name, amount, bounds, median in _HISTOGRAMS:
        yield from _histogram(f"vllm:{name}", _LABELS, amount(now), bounds, median)
    yield from _head("vllm:cache_config_info", "gauge")
    yield (
        f'vllm:cache_config_info{{block_size="{BLOCK_TOKENS}",cache_dtype="auto",enable_prefix_caching="True",'
        f'engine="0",gpu_memory_utilization="0.9",num_gpu_blocks="{KV_BLOCKS}",sliding_window="None"}} 1.0'
    )
    for method in ("GET", "POST"):
        labels = f'handler="/v1/completions",method="{method}"'
        yield from _histogram("http_request_duration_seconds", labels, now.finished, _HTTP, 5.0)


def _head(name: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} Stands for what the engine says about {name.partition(':')[2] or name} in a sentence."
    yield f"# TYPE {name} {kind}"


def _series(name: str, kind: str, value: float, parts: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield from _head(name, kind)
    if not parts:
        yield f"{name}{{{_LABELS}}} {float(value)}"
    for label, share in parts:
        yield f"{name}{{{_LABELS},{label}}} {float(value * share)}"


def _histogram(name: str, labels: str, count: float, bounds: Sequence[float], median: float) -> Iterator[str]:
    yield from _head(name, "histogram")
    for bound in bounds:
        share = 1.0 / (1.0 + (median / bound) ** 4) if bound > 0 else 0.0
        yield f'{name}_bucket{{{labels},le="{float(bound)}"}} {float(int(count * share))}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {float(count)}'
    yield f"{name}_count{{{labels}}} {float(count)}"
    yield f"{name}_sum{{{labels}}} {float(count * median)}"
    yield from _head(f"{name}_created", "gauge")
    yield f"{name}_created{{{labels}}} 1.7952103770622814e+09"


class Page(BaseHTTPRequestHandler):
    """Serves the page of an engine that counts from `began`, in seconds of the monotonic clock."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    began = 0.0

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] in ("/metrics", "/metrics/")
        body = page(time.monotonic() - self.began).encode() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vllm_page", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Page)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
