"""SGLang, with and without its device timer."""

from __future__ import annotations

from collectors.engine.catalog.table import Engine, Source, row

_EXECUTION = "sglang:forward_execution_seconds_total", "sglang:gpu_execution_seconds_total"
"""The device timer's family, and its name before 0.5.11."""


def _execution(*categories: str) -> tuple[Source, ...]:
    """Seconds of some kinds of batches, under either family; the older one may begin categories with `forward_`."""
    older = [f"forward_{category}" for category in categories]
    return tuple(
        (" + ".join(f"{family}{{category={category}}}" for category in known), "step")
        for family, known in ((_EXECUTION[0], categories), (_EXECUTION[1], (*categories, *older)))
    )


SGLANG = Engine(
    name="sglang",
    title="SGLang",
    prefixes=("sglang:", "ray_sglang:", "ray_sglang_", "sglang_"),
    model_labels=("model_name", "name"),
    index_label="dp_rank",
    # With metrics for all schedulers every process of a tensor-parallel group counts the same work.
    replica_labels=("pp_rank", "tp_rank"),
    part_labels=("priority",),
    role_label="engine_type",
    roles={"unified": "both", "prefill": "prefill", "decode": "decode"},
    rows=(
        row(
            "prompt_tokens",
            (
                "sglang:realtime_tokens_total{mode=prefill_compute} + sglang:realtime_tokens_total{mode=prefill_cache}",
                "step",
            ),
            ("sglang:prompt_tokens_total", "request-end"),
        ),
        row(
            "prompt_tokens_computed",
            ("sglang:realtime_tokens_total{mode=prefill_compute}", "step"),
            ("sglang:prefill_effective_tokens_total{mode=input}", "step"),
            ("sglang:prompt_tokens_total - sglang:cached_tokens_total{cache_source!=total}", "request-end"),
            ("sglang:prompt_tokens_total", "request-end"),
        ),
        row(
            "prompt_tokens_cached",
            ("sglang:realtime_tokens_total{mode=prefill_cache}", "step"),
            ("sglang:cached_tokens_total{cache_source!=total}", "request-end"),
        ),
        row("prompt_tokens_ended", ("sglang:prompt_tokens_total", "request-end")),
        # A request's first token comes from its prefill, which this counter's decode mode leaves out.
        row(
            "generation_tokens",
            (
                "sglang:realtime_tokens_total{mode=decode} + sglang:time_to_first_token_seconds_count",
                "step",
            ),
            ("sglang:realtime_tokens_total{mode=decode}", "step"),
            ("sglang:inter_token_latency_seconds_count + sglang:time_to_first_token_seconds_count", "step"),
            ("sglang:time_per_output_token_seconds_count + sglang:time_to_first_token_seconds_count", "step"),
            ("sglang:generation_tokens_total", "request-end"),
        ),
        row("generation_tokens_ended", ("sglang:generation_tokens_total", "request-end")),
        row("first_tokens", ("sglang:time_to_first_token_seconds_count", "first-token")),
        row("steps", ("sglang:cuda_graph_passes_total", "step")),
        row("decode_steps", ("sglang:cuda_graph_passes_total{mode^=decode}", "step")),
        # A speculative step is a draft and its verification: decode under other names. A mixed batch is an `extend`.
        row("prefill_seconds", *_execution("extend", "split_prefill")),
        row("decode_seconds", *_execution("decode", "target_verify", "eagle_draft")),
        row("idle_seconds", ("sglang:scheduler_idle_seconds_total", "log")),
        row("flops", ("sglang:estimated_flops_per_gpu_total", "step"), zero_is_missing=True),
        row("read_bytes", ("sglang:estimated_read_bytes_per_gpu_total", "step"), zero_is_missing=True),
        row("write_bytes", ("sglang:estimated_write_bytes_per_gpu_total", "step"), zero_is_missing=True),
        row("requests_running", ("sglang:num_running_reqs", "log")),
        row("requests_waiting", ("sglang:num_queue_reqs", "log")),
        row("requests_waiting_deferred", ("sglang:num_grammar_queue_reqs", "log")),
        row(
            "requests_waiting_transfer",
            (
                "sglang:num_prefill_bootstrap_queue_reqs + sglang:num_prefill_inflight_queue_reqs"
                " + sglang:num_decode_prealloc_queue_reqs + sglang:num_decode_transfer_queue_reqs",
                "log",
            ),
            (
                "sglang:num_prefill_prealloc_queue_reqs + sglang:num_prefill_inflight_queue_reqs"
                " + sglang:num_decode_prealloc_queue_reqs + sglang:num_decode_transfer_queue_reqs",
                "log",
            ),
            ("sglang:num_prefill_bootstrap_queue_reqs + sglang:num_prefill_inflight_queue_reqs", "log"),
            ("sglang:num_decode_prealloc_queue_reqs + sglang:num_decode_transfer_queue_reqs", "log"),
        ),
        row("requests_paused", ("sglang:num_paused_reqs", "log"), combine="max"),
        row("requests_finished", ("sglang:num_requests_total", "request-end")),
        row("requests_aborted", ("sglang:num_aborted_requests_total", "request-end")),
        row("kv_cache_usage_ratio", ("sglang:token_usage", "log"), combine="max"),
        row("kv_cache_tokens", ("sglang:max_total_num_tokens", "constant")),
        row(
            "kv_block_tokens",
            ("sglang:page_size", "constant"),
            ("sglang:cache_config_info@page_size", "constant"),
            combine="max",
        ),
        row("max_length_tokens", ("sglang:context_len", "constant"), combine="max"),
        row(
            "prefix_cache_queries",
            (
                "sglang:realtime_tokens_total{mode=prefill_compute} + sglang:realtime_tokens_total{mode=prefill_cache}",
                "step",
            ),
            ("sglang:prompt_tokens_total", "request-end"),
        ),
        row(
            "prefix_cache_hits",
            ("sglang:realtime_tokens_total{mode=prefill_cache}", "step"),
            ("sglang:cached_tokens_total{cache_source!=total}", "request-end"),
        ),
        row("prefix_cache_stated_ratio", ("sglang:cache_hit_rate", "log"), combine="max"),
        row("preemptions", ("sglang:num_retracted_requests_total", "step")),
        row("spec_drafts", ("sglang:spec_verify_calls_total", "request-end")),
        row("spec_acceptance_ratio", ("sglang:spec_accept_rate", "log"), combine="max", zero_is_missing=True),
        row("kv_transfer_seconds", ("sglang:kv_transfer_latency_ms_sum", "step", 1e-3)),
        row("kv_transfer_bytes", ("sglang:kv_transfer_total_mb_sum", "step", 1_048_576.0)),
        row("kv_transfer_failures", ("sglang:num_transfer_failed_reqs_total", "step")),
        row("lora_running", ("sglang:lora_pool_slots_used", "log"), combine="max"),
        row("lora_limit", ("sglang:lora_pool_slots_total", "constant"), combine="max"),
        row("ttft", ("sglang:time_to_first_token_seconds", "first-token")),
        row(
            "tpot",
            ("sglang:inter_token_latency_seconds", "step"),
            ("sglang:time_per_output_token_seconds", "step"),
        ),
        row("request_tpot", ("sglang:request_time_per_output_token_seconds", "request-end")),
        row("e2e", ("sglang:e2e_request_latency_seconds", "request-end")),
        row("queue", ("sglang:queue_time_seconds", "admission")),
    ),
    notes=(
        "The page needs `--enable-metrics`. Seconds by kind of batch need `SGLANG_ENABLE_METRICS_DEVICE_TIMER=1` "
        "(0.5.7); a mixed batch counts as prefill. Operations and bytes need `--enable-mfu-metrics` (0.5.10).",
        "`generation_tokens` may count one token too many for each request where steps overlap with scheduling; "
        "`generation_tokens_ended` is exact.",
        "The gauges are brought up to date with every prefill batch and every 40th decode step.",
        "Before 0.5.7 prompt tokens are counted when a request ends; generated ones are taken from the latencies, "
        "which are observed as tokens are sent.",
        "With data parallelism and attention ranks the latencies are the whole server's and stand with rank 0.",
    ),
)
