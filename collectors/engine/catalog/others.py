"""Engines whose pages need no file of their own."""

from __future__ import annotations

from collectors.engine.catalog.table import Engine, markers, row

TGI = Engine(
    name="tgi",
    title="Text Generation Inference",
    prefixes=("tgi_",),
    model_labels=(),
    rows=(
        row("prompt_tokens", ("tgi_request_input_length_sum", "admission")),
        row("prompt_tokens_computed", ("tgi_request_input_length_sum", "admission")),
        # One observation for every burst of tokens of a request, of the tokens beyond its first.
        row(
            "generation_tokens",
            ("tgi_request_skipped_tokens_count + tgi_request_skipped_tokens_sum", "step"),
            ("tgi_request_generated_tokens_sum", "request-end"),
        ),
        row("generation_tokens_ended", ("tgi_request_generated_tokens_sum", "request-end")),
        row("steps", ("tgi_batch_inference_count", "step")),
        row("decode_steps", ("tgi_batch_inference_count{method=decode}", "step")),
        row(
            "prefill_seconds",
            ("tgi_batch_inference_duration_sum{method=prefill}", "step"),
            ("tgi_batch_forward_duration_sum{method=prefill}", "step"),
        ),
        row(
            "decode_seconds",
            ("tgi_batch_inference_duration_sum{method=decode}", "step"),
            ("tgi_batch_forward_duration_sum{method=decode}", "step"),
        ),
        row("requests_running", ("tgi_batch_current_size", "step")),
        row("requests_waiting", ("tgi_queue_size", "step")),
        row("requests_finished", ("tgi_request_success", "request-end")),
        row("requests_failed", ("tgi_request_failure{err=generation}", "request-end")),
        row(
            "requests_rejected",
            ("tgi_request_failure{err=overloaded} + tgi_request_failure{err=validation}", "admission"),
        ),
        row("e2e", ("tgi_request_duration", "request-end")),
        row("queue", ("tgi_request_queue_duration", "request-end")),
    ),
    empty_at_first=True,
    notes=(
        "It counts seconds of prefill and decode itself. It has no time to first token, and its time per token holds "
        "the prompt's time too, so that it is not read.",
        "Prompt tokens are counted when a request is accepted, before it waits; prefix-cache hits are not told.",
        "Its page is empty before the first request.",
    ),
)

LMDEPLOY = Engine(
    name="lmdeploy",
    title="LMDeploy",
    prefixes=("lmdeploy:", "lmdeploy_"),
    index_label="engine",
    rows=(
        row("prompt_tokens", ("lmdeploy:prompt_tokens_total", "first-token")),
        row("prompt_tokens_computed", ("lmdeploy:prompt_tokens_total", "first-token")),
        row("prompt_tokens_cached", ("lmdeploy:cached_tokens_total", "request-end")),
        row("prompt_tokens_ended", ("lmdeploy:request_prompt_tokens_sum", "request-end")),
        row("generation_tokens", ("lmdeploy:generation_tokens_total", "step")),
        row("generation_tokens_ended", ("lmdeploy:request_generation_tokens_sum", "request-end")),
        row("first_tokens", ("lmdeploy:time_to_first_token_seconds_count", "first-token")),
        row("requests_running", ("lmdeploy:num_requests_running", "log")),
        row("requests_waiting", ("lmdeploy:num_requests_waiting", "log")),
        row("requests_finished", ("lmdeploy:request_success_total", "request-end")),
        row("requests_stopped", ("lmdeploy:request_success_total{finished_reason=ResponseType.FINISH}", "request-end")),
        row("requests_aborted", ("lmdeploy:request_success_total{finished_reason=ResponseType.CANCEL}", "request-end")),
        # A gauge by its type, and a total.
        row("requests_failed", ("lmdeploy:num_requests_failed", "log")),
        row("requests_limit", ("lmdeploy:backend_config_info@max_batch_size", "constant"), combine="max"),
        row("kv_cache_usage_ratio", ("lmdeploy:gpu_cache_usage_perc", "log"), combine="max"),
        row(
            "kv_cache_tokens",
            ("lmdeploy:backend_config_info@num_gpu_blocks * lmdeploy:backend_config_info@block_size", "constant"),
            combine="max",
            zero_is_missing=True,
        ),
        row(
            "kv_block_tokens",
            ("lmdeploy:backend_config_info@block_size", "constant"),
            ("lmdeploy:backend_config_info@cache_block_seq_len", "constant"),
            combine="max",
        ),
        row("dtype", ("lmdeploy:backend_config_info@dtype", "constant")),
        row(
            "max_length_tokens",
            ("lmdeploy:backend_config_info@session_len", "constant"),
            combine="max",
            zero_is_missing=True,
        ),
        row("tensor_parallel", ("lmdeploy:backend_config_info@tp", "constant"), combine="max"),
        row("prefix_cache_queries", ("lmdeploy:request_prompt_tokens_sum", "request-end")),
        row("prefix_cache_hits", ("lmdeploy:cached_tokens_total", "request-end")),
        row("prefix_cache_stated_ratio", ("lmdeploy:prefix_cache_hit_rate", "log"), combine="max"),
        row("spec_drafts", ("lmdeploy:spec_decode_num_drafts_total", "step")),
        row("spec_draft_tokens", ("lmdeploy:spec_decode_num_draft_tokens_total", "step")),
        row("spec_accepted_tokens", ("lmdeploy:spec_decode_num_accepted_tokens_total", "step")),
        row("ttft", ("lmdeploy:time_to_first_token_seconds", "first-token")),
        row(
            "tpot",
            ("lmdeploy:iter_token_latency", "step"),
            ("lmdeploy:time_per_output_token_seconds", "step"),
        ),
        row("e2e", ("lmdeploy:e2e_request_latency_seconds", "request-end")),
        row("queue", ("lmdeploy:request_queue_time_seconds", "request-end")),
        row("prefill_time", ("lmdeploy:request_prefill_time_seconds", "request-end")),
        row("decode_time", ("lmdeploy:request_decode_time_seconds", "request-end")),
    ),
    notes=(
        "Its gauges are brought up to date every 10 s. Every end counts as a success, cancelled and failed ones too.",
        "`iteration_tokens_total` is observed for every request's output and is no count of steps.",
    ),
)

NIM = Engine(
    name="nim",
    title="NVIDIA NIM",
    prefixes=("",),
    markers=markers("num_request_max"),
    rows=(
        row("prompt_tokens", ("prompt_tokens_total", "step")),
        row("prompt_tokens_computed", ("prompt_tokens_total", "step")),
        row("prompt_tokens_ended", ("request_prompt_tokens_sum", "request-end")),
        row("generation_tokens", ("generation_tokens_total", "step")),
        row("generation_tokens_ended", ("request_generation_tokens_sum", "request-end")),
        row("first_tokens", ("time_to_first_token_seconds_count", "first-token")),
        row("requests_running", ("num_requests_running", "step")),
        row("requests_waiting", ("num_requests_waiting", "step")),
        row("requests_limit", ("num_request_max", "constant")),
        row("requests_finished", ("request_success_total", "request-end")),
        row("requests_stopped", ("request_finish_total{finished_reason=stop}", "request-end")),
        row("requests_cut_off", ("request_finish_total{finished_reason=length}", "request-end")),
        row("requests_failed", ("request_failure_total", "request-end")),
        row("kv_cache_usage_ratio", ("gpu_cache_usage_perc", "step"), combine="max"),
        row("ttft", ("time_to_first_token_seconds", "first-token")),
        row("tpot", ("time_per_output_token_seconds", "step")),
        row("e2e", ("e2e_request_latency_seconds", "request-end")),
    ),
    notes=("NIM for LLMs 1.x, whose page is `/v1/metrics`. Newer images show the page of the engine inside.",),
)

MLC = Engine(
    name="mlc",
    title="MLC LLM",
    prefixes=("",),
    markers=markers("engine_prefill_time_sum"),
    model_labels=(),
    rows=(
        row("prompt_tokens", ("prompt_tokens_sum", "request-end")),
        row("prompt_tokens_computed", ("prefill_tokens_sum", "request-end")),
        row("prompt_tokens_ended", ("prompt_tokens_sum", "request-end")),
        row("generation_tokens", ("completion_tokens_sum", "request-end")),
        row("generation_tokens_ended", ("completion_tokens_sum", "request-end")),
        row("prefill_seconds", ("engine_prefill_time_sum", "step")),
        row("decode_seconds", ("engine_decode_time_sum", "step")),
    ),
    notes=(
        "Every read of its page runs a small request: it is read only where its address is configured.",
        "Seconds are counted as they pass, tokens when a request ends.",
    ),
)

OVMS = Engine(
    name="ovms",
    title="OpenVINO Model Server",
    kind="server",
    prefixes=("ovms_",),
    model_labels=(),
    rows=(
        row(
            "requests_running",
            ("ovms_current_graphs + ovms_current_requests", "step"),
            ("ovms_current_requests", "step"),
        ),
        row(
            "requests_finished",
            # `ovms_responses` counts every piece of a streamed answer.
            ("ovms_graph_processing_time_us_count", "request-end"),
            ("ovms_requests_success{method=ModelInfer} + ovms_requests_success{method=Predict}", "request-end"),
        ),
        row(
            "requests_failed",
            ("ovms_graph_error", "request-end"),
            ("ovms_requests_fail{method=ModelInfer} + ovms_requests_fail{method=Predict}", "request-end"),
        ),
        row("requests_rejected", ("ovms_requests_rejected", "admission")),
        row(
            "e2e",
            ("ovms_graph_processing_time_us", "request-end", 1e-6),
            ("ovms_request_time_us", "request-end", 1e-6),
        ),
    ),
    notes=("The page needs `--metrics_enable`. It has no tokens and no KV cache: shares come from the GPU.",),
)

DYNAMO = Engine(
    name="dynamo",
    title="NVIDIA Dynamo frontend",
    kind="gateway",
    prefixes=("dynamo_frontend_",),
    model_labels=("model",),
    rows=(
        # Elsewhere the name is in lower case.
        row("model", ("dynamo_frontend_model_context_length@model", "constant")),
        row("prompt_tokens", ("dynamo_frontend_input_sequence_tokens_sum", "first-token")),
        row("prompt_tokens_cached", ("dynamo_frontend_cached_tokens_sum", "request-end")),
        row("generation_tokens", ("dynamo_frontend_output_tokens_total", "step")),
        row("generation_tokens_ended", ("dynamo_frontend_output_sequence_tokens_sum", "request-end")),
        row("first_tokens", ("dynamo_frontend_time_to_first_token_seconds_count", "first-token")),
        row("requests_running", ("dynamo_frontend_inflight_requests", "step")),
        row("requests_waiting", ("dynamo_frontend_queued_requests", "step")),
        row("requests_limit", ("dynamo_frontend_model_max_num_seqs", "constant"), combine="max"),
        row("requests_finished", ("dynamo_frontend_requests_total", "request-end")),
        row("requests_failed", ("dynamo_frontend_requests_total{status=error}", "request-end")),
        row("requests_rejected", ("dynamo_frontend_model_rejection_total", "admission")),
        row(
            "kv_cache_tokens",
            ("dynamo_frontend_model_total_kv_blocks * dynamo_frontend_model_kv_cache_block_size", "constant"),
            combine="max",
        ),
        row("kv_block_tokens", ("dynamo_frontend_model_kv_cache_block_size", "constant"), combine="max"),
        row("max_length_tokens", ("dynamo_frontend_model_context_length", "constant"), combine="max"),
        row("ttft", ("dynamo_frontend_time_to_first_token_seconds", "first-token")),
        row("tpot", ("dynamo_frontend_inter_token_latency_seconds", "step")),
        row("e2e", ("dynamo_frontend_request_duration_seconds", "request-end")),
    ),
    notes=(
        "A router: its figures are those of the requests it passes on. It has no phase and no GPUs; "
        "the engines behind it have.",
    ),
)

DYNAMO_WORKER = Engine(
    name="dynamo-worker",
    title="NVIDIA Dynamo worker",
    kind="server",
    prefixes=("dynamo_component_",),
    model_labels=("model",),
    rows=(
        row("requests_running", ("dynamo_component_inflight_requests", "step")),
        row("requests_finished", ("dynamo_component_requests_total", "request-end")),
        row("requests_failed", ("dynamo_component_errors_total", "request-end")),
        row(
            "kv_cache_usage_ratio",
            ("dynamo_component_gpu_cache_usage_percent", "log"),
            ("dynamo_component_kvstats_gpu_cache_usage_percent", "log"),
            combine="max",
        ),
        row(
            "prefix_cache_stated_ratio",
            ("dynamo_component_kv_cache_hit_rate", "log"),
            ("dynamo_component_kvstats_gpu_prefix_cache_hit_rate", "log"),
            combine="max",
        ),
        row("e2e", ("dynamo_component_request_duration_seconds", "request-end")),
    ),
    notes=(
        "The engine inside (vLLM, SGLang, TensorRT-LLM) publishes its own series on the same page, "
        "which are read instead.",
    ),
)
