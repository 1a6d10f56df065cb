"""TensorRT-LLM by itself and behind Triton, and Triton itself."""

from __future__ import annotations

from collectors.engine.catalog.table import Engine, markers, row

TRTLLM = Engine(
    name="trtllm",
    title="TensorRT-LLM",
    # Up to 1.2 its five families have no prefix: the label tells them from others' of these names.
    prefixes=("trtllm_", "trtllm:", ""),
    markers=markers(
        "trtllm_request_queue_time_seconds_count{engine_type^=}",
        "trtllm_request_success_total{engine_type^=}",
        "trtllm_generation_tokens_total{engine_type^=}",
        "trtllm_num_requests_running{engine_type^=}",
        "trtllm_scheduled_batch_size{engine_type^=}",
    ),
    rows=(
        row("prompt_tokens", ("trtllm_prompt_tokens_total", "request-end")),
        row(
            "prompt_tokens_computed",
            ("trtllm_iteration_context_tokens_total", "record"),
            ("trtllm_prefill_batch_tokens_sum", "report"),
            ("trtllm_prompt_tokens_total - trtllm_prompt_cached_tokens_total", "request-end"),
            ("trtllm_prompt_tokens_total", "request-end"),
        ),
        row("prompt_tokens_cached", ("trtllm_prompt_cached_tokens_total", "request-end")),
        row("prompt_tokens_ended", ("trtllm_prompt_tokens_total", "request-end")),
        row("generation_tokens", ("trtllm_generation_tokens_total", "request-end")),
        row("generation_tokens_ended", ("trtllm_generation_tokens_total", "request-end")),
        row("first_tokens", ("trtllm_time_to_first_token_seconds_count", "request-end")),
        # Totals made of its iteration statistics, where those are read (collectors/engine/iterations.py).
        row("steps", ("trtllm_iterations_total", "record")),
        row("decode_steps", ("trtllm_iterations_total{kind=generation}", "record")),
        row("prefill_seconds", ("trtllm_iteration_seconds_total{kind=context}", "record")),
        row("decode_seconds", ("trtllm_iteration_seconds_total{kind=generation}", "record")),
        # Its gauges carry the process that set them; those of processes that ended stay on the page.
        row(
            "requests_running",
            ("trtllm_num_requests_running", "report"),
            ("trtllm_scheduled_batch_size", "step"),
            combine="max",
        ),
        row("requests_waiting", ("trtllm_num_requests_waiting", "report"), combine="max"),
        row("requests_paused", ("trtllm_num_paused_requests", "report"), combine="max"),
        row(
            "requests_limit",
            ("trtllm_max_num_active_requests", "report"),
            ("trtllm_max_batch_size_runtime", "report"),
            combine="max",
        ),
        row("requests_finished", ("trtllm_request_success_total", "request-end")),
        row("requests_stopped", ("trtllm_request_success_total{finished_reason=stop}", "request-end")),
        row("requests_cut_off", ("trtllm_request_success_total{finished_reason=length}", "request-end")),
        row("requests_aborted", ("trtllm_num_aborted_requests_total", "request-end")),
        row("requests_failed", ("trtllm_request_error_total", "request-end")),
        row("kv_cache_usage_ratio", ("trtllm_kv_cache_utilization", "report"), combine="max"),
        row(
            "kv_cache_tokens",
            ("trtllm_kv_cache_max_blocks * trtllm_kv_cache_tokens_per_block", "report"),
            combine="max",
        ),
        row(
            "kv_block_tokens",
            ("trtllm_kv_cache_tokens_per_block", "report"),
            ("trtllm_kv_cache_config_info@page_size", "constant"),
            combine="max",
        ),
        row("kv_cache_dtype", ("trtllm_kv_cache_config_info@cache_dtype", "constant")),
        row("dtype", ("trtllm_model_config_info@dtype", "constant")),
        row("max_length_tokens", ("trtllm_model_config_info@max_model_len", "constant"), combine="max"),
        row(
            "tensor_parallel",
            ("trtllm_parallel_config_info@tensor_parallel_size", "constant"),
            ("trtllm_parallel_config_info@tp_size", "constant"),
            combine="max",
        ),
        row(
            "pipeline_parallel",
            ("trtllm_parallel_config_info@pipeline_parallel_size", "constant"),
            ("trtllm_parallel_config_info@pp_size", "constant"),
            combine="max",
        ),
        row("prefix_cache_queries", ("trtllm_prompt_tokens_total", "request-end")),
        row("prefix_cache_hits", ("trtllm_prompt_cached_tokens_total", "request-end")),
        row("prefix_cache_stated_ratio", ("trtllm_kv_cache_hit_rate", "report"), combine="max"),
        row(
            "spec_draft_tokens",
            ("trtllm_spec_decode_num_draft_tokens_total", "report"),
            ("trtllm_spec_decode_drafted_tokens_total", "request-end"),
        ),
        row(
            "spec_accepted_tokens",
            ("trtllm_spec_decode_num_accepted_tokens_total", "report"),
            ("trtllm_spec_decode_accepted_tokens_total", "request-end"),
        ),
        row("kv_transfer_seconds", ("trtllm_kv_transfer_latency_seconds_sum", "request-end")),
        row("kv_transfer_bytes", ("trtllm_kv_transfer_bytes_sum", "request-end")),
        row("ttft", ("trtllm_time_to_first_token_seconds", "request-end")),
        row("tpot", ("trtllm_time_per_output_token_seconds", "request-end")),
        row("request_tpot", ("trtllm_time_per_output_token_seconds", "request-end")),
        row("e2e", ("trtllm_e2e_request_latency_seconds", "request-end")),
        row("queue", ("trtllm_request_queue_time_seconds", "request-end")),
        row("prefill_time", ("trtllm_request_prefill_time_seconds", "request-end")),
        row("decode_time", ("trtllm_request_decode_time_seconds", "request-end")),
    ),
    notes=(
        "The page is `/prometheus/metrics`. `/metrics` is something else, which reading empties: it is left alone.",
        "Latencies and tokens need `return_perf_metrics`, the gauges `enable_iter_perf_stats`.",
        "Up to 1.2 the page has latencies and ended requests only, and labels that are often `undefined`.",
        "Nothing on the page is counted as the work is done: shares of an interval come from the GPU, or from the JSON "
        "at `/metrics` where `engine.iteration_stats` names the server. Steps, their seconds (`trtllm_iteration...` "
        "below) and prompt tokens computed then come from its records of every step, which nobody else can read any "
        "more. Of a step that does both, decode gets the time of the latest steps that only generated.",
    ),
)

_REQUESTS = "nv_trt_llm_request_metrics{request_type="
_BLOCKS = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="

TRITON = Engine(
    name="triton",
    title="Triton Inference Server",
    kind="server",
    prefixes=("nv_",),
    markers=markers("nv_inference_request_success", "nv_trt_llm_request_metrics"),
    model_labels=("model",),
    rows=(
        # The gauges of the TensorRT-LLM backend are those of the latest step it reported.
        row("requests_running", (_REQUESTS + "scheduled}", "report"), combine="max"),
        row(
            "requests_waiting",
            (_REQUESTS + "waiting}", "report"),
            ("nv_inference_pending_request_count", "step"),
            combine="max",
        ),
        row("requests_limit", (_REQUESTS + "max}", "report"), combine="max"),
        row(
            "requests_paused",
            ("nv_trt_llm_inflight_batcher_metrics{inflight_batcher_specific_metric=paused_requests}", "report"),
            combine="max",
        ),
        row("kv_cache_usage_ratio", (_BLOCKS + "fraction}", "report"), combine="max"),
        row("kv_cache_tokens", (f"{_BLOCKS}max}} * {_BLOCKS}tokens_per}}", "report"), combine="max"),
        row("kv_block_tokens", (_BLOCKS + "tokens_per}", "report"), combine="max"),
        row(
            "kv_transfer_seconds",
            ("nv_trt_llm_disaggregated_serving_metrics{disaggregated_serving_type=kv_cache_transfer_ms}", "step", 1e-3),
        ),
        row("prompt_tokens_ended", ("nv_llm_input_token_len_sum", "request-end")),
        row("generation_tokens_ended", ("nv_llm_output_token_len_sum", "request-end")),
        row("requests_finished", ("nv_inference_request_success", "request-end")),
        row("requests_aborted", ("nv_inference_request_failure{reason=CANCELED}", "request-end")),
        row("requests_rejected", ("nv_inference_request_failure{reason=REJECTED}", "request-end")),
        row("ttft", ("nv_inference_first_response_histogram_ms", "first-token", 1e-3)),
    ),
    notes=(
        "With the vLLM backend (`REPORT_CUSTOM_METRICS`) vLLM's own series are on the page and are read instead.",
        "A request to an ensemble counts once for the ensemble and once for each of its models.",
        "The page has no count of tokens as they are made: shares of an interval come from the GPU.",
    ),
)
