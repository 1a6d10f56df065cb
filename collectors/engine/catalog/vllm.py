"""vLLM: its V1 engine, and V0 as far as the names differ. Forks and Ray Serve publish the same names."""

from __future__ import annotations

from collectors.engine.catalog.table import Engine, markers, row

VLLM = Engine(
    name="vllm",
    title="vLLM",
    # Ray rewrites the colon; Aphrodite is a fork that kept the names.
    prefixes=("vllm:", "aphrodite:", "ray_vllm:", "ray_vllm_", "vllm_"),
    # A router in front of several servers shows some gauges of theirs under the same names, and none of these.
    markers=markers(
        "vllm:generation_tokens_total",
        "vllm:cache_config_info",
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "vllm:prompt_tokens_total",
    ),
    model_labels=("model_name", "model"),
    index_label="engine",
    rows=(
        row("prompt_tokens", ("vllm:prompt_tokens_total", "first-token")),
        row(
            "prompt_tokens_computed",
            ("vllm:prompt_tokens_by_source_total{source=local_compute}", "first-token"),
            (
                "vllm:prompt_tokens_total - vllm:prefix_cache_hits_total - vllm:external_prefix_cache_hits_total",
                "first-token",
            ),
            ("vllm:prompt_tokens_total - vllm:prefix_cache_hits_total", "first-token"),
            ("vllm:prompt_tokens_total - vllm:gpu_prefix_cache_hits_total", "first-token"),
            ("vllm:prompt_tokens_total", "first-token"),
        ),
        row(
            "prompt_tokens_cached",
            ("vllm:prompt_tokens_by_source_total{source=local_cache_hit}", "first-token"),
            ("vllm:prompt_tokens_cached_total", "first-token"),
            ("vllm:prefix_cache_hits_total", "admission"),
            ("vllm:gpu_prefix_cache_hits_total", "admission"),
        ),
        row(
            "prompt_tokens_transferred",
            ("vllm:prompt_tokens_by_source_total{source=external_kv_transfer}", "first-token"),
            ("vllm:external_prefix_cache_hits_total", "admission"),
        ),
        row("prompt_tokens_ended", ("vllm:request_prompt_tokens_sum", "request-end")),
        row("generation_tokens", ("vllm:generation_tokens_total", "step")),
        row("generation_tokens_ended", ("vllm:request_generation_tokens_sum", "request-end")),
        row("first_tokens", ("vllm:time_to_first_token_seconds_count", "first-token")),
        row("steps", ("vllm:iteration_tokens_total_count", "step")),
        row("flops", ("vllm:estimated_flops_per_gpu_total", "step"), zero_is_missing=True),
        row("read_bytes", ("vllm:estimated_read_bytes_per_gpu_total", "step"), zero_is_missing=True),
        row("write_bytes", ("vllm:estimated_write_bytes_per_gpu_total", "step"), zero_is_missing=True),
        row("requests_running", ("vllm:num_requests_running", "step")),
        row("requests_waiting", ("vllm:num_requests_waiting", "step")),
        row("requests_waiting_capacity", ("vllm:num_requests_waiting_by_reason{reason=capacity}", "step")),
        row("requests_waiting_deferred", ("vllm:num_requests_waiting_by_reason{reason=deferred}", "step")),
        row("requests_waiting_transfer", ("vllm:num_requests_kv_fetch_by_stage", "step")),
        row("requests_paused", ("vllm:num_requests_swapped", "step")),
        row("requests_finished", ("vllm:request_success_total", "request-end")),
        row("requests_stopped", ("vllm:request_success_total{finished_reason=stop}", "request-end")),
        row("requests_cut_off", ("vllm:request_success_total{finished_reason=length}", "request-end")),
        row("requests_aborted", ("vllm:request_success_total{finished_reason=abort}", "request-end")),
        row("requests_failed", ("vllm:request_success_total{finished_reason=error}", "request-end")),
        row("requests_rejected", ("vllm:admission_rejections_total", "admission")),
        row(
            "kv_cache_usage_ratio",
            ("vllm:kv_cache_usage_perc", "step"),
            ("vllm:gpu_cache_usage_perc", "step"),
            combine="max",
        ),
        row(
            "kv_cache_tokens",
            ("vllm:cache_config_info@kv_cache_size_tokens", "constant"),
            ("vllm:cache_config_info@num_gpu_blocks * vllm:cache_config_info@block_size", "constant"),
        ),
        row("kv_block_tokens", ("vllm:cache_config_info@block_size", "constant"), combine="max"),
        row("kv_cache_dtype", ("vllm:cache_config_info@cache_dtype", "constant")),
        row(
            "prefix_cache_queries",
            ("vllm:prefix_cache_queries_total", "admission"),
            ("vllm:gpu_prefix_cache_queries_total", "admission"),
        ),
        row(
            "prefix_cache_hits",
            ("vllm:prefix_cache_hits_total", "admission"),
            ("vllm:gpu_prefix_cache_hits_total", "admission"),
        ),
        row("prefix_cache_stated_ratio", ("vllm:gpu_prefix_cache_hit_rate", "log"), combine="max"),
        row("preemptions", ("vllm:num_preemptions_total", "step")),
        row("spec_drafts", ("vllm:spec_decode_num_drafts_total", "step")),
        row("spec_draft_tokens", ("vllm:spec_decode_num_draft_tokens_total", "step")),
        row("spec_accepted_tokens", ("vllm:spec_decode_num_accepted_tokens_total", "step")),
        row("spec_acceptance_ratio", ("vllm:spec_decode_draft_acceptance_rate", "log"), combine="max"),
        row(
            "kv_transfer_seconds",
            ("vllm:nixl_xfer_time_seconds_sum", "step"),
            ("vllm:mooncake_xfer_time_seconds_sum", "step"),
        ),
        row(
            "kv_transfer_bytes",
            ("vllm:nixl_bytes_transferred_sum", "step"),
            ("vllm:mooncake_bytes_transferred_sum", "step"),
        ),
        row("kv_transfer_failures", ("vllm:nixl_num_failed_transfers_total", "step")),
        row("lora_running", ("vllm:lora_requests_info@#running_lora_adapters", "step")),
        row("lora_waiting", ("vllm:lora_requests_info@#waiting_lora_adapters", "step")),
        row("lora_limit", ("vllm:lora_requests_info@max_lora", "constant"), combine="max"),
        row("ttft", ("vllm:time_to_first_token_seconds", "first-token")),
        row(
            "tpot",
            ("vllm:inter_token_latency_seconds", "step"),
            ("vllm:time_per_output_token_seconds", "step"),
        ),
        row("request_tpot", ("vllm:request_time_per_output_token_seconds", "request-end")),
        row("e2e", ("vllm:e2e_request_latency_seconds", "request-end")),
        row("queue", ("vllm:request_queue_time_seconds", "request-end")),
        row("prefill_time", ("vllm:request_prefill_time_seconds", "request-end")),
        row("decode_time", ("vllm:request_decode_time_seconds", "request-end")),
    ),
    notes=(
        "V0 (before 0.8) counts prompt tokens at every chunk and leaves cached ones out; V1 counts a whole prompt, "
        "cached tokens included, with its first token. From 0.16 the page tells them apart by source; before, prompt "
        "tokens computed are those counted less the prefix cache's hits, which it counts when a request is admitted.",
        "Operations and bytes need `--enable-mfu-metrics` (0.18); without it they stand at 0 and are missing here.",
        "`num_requests_running` is 0 while a lone prompt is computed.",
        "`--disable-log-stats` takes all of these from the page.",
        "Aphrodite and Ray Serve LLM are read through this table; a Ray node's replicas are told apart.",
    ),
)
