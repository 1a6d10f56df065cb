"""llama.cpp's server, from 2024 on."""

from __future__ import annotations

from collectors.engine.catalog.table import Engine, row

LLAMACPP = Engine(
    name="llamacpp",
    title="llama.cpp",
    prefixes=("llamacpp:", "llamacpp_"),
    model_labels=(),
    running_is_live=True,
    also_read=("llamacpp:n_busy_slots_per_decode",),
    rows=(
        row(
            "prompt_tokens",
            ("llamacpp:prompt_tokens_total + llamacpp:prompt_tokens_cached_total", "step"),
        ),
        row("prompt_tokens_computed", ("llamacpp:prompt_tokens_total", "step")),
        row("prompt_tokens_cached", ("llamacpp:prompt_tokens_cached_total", "step")),
        # tokens_predicted_total moves only when a request ends; collectors/engine/livetokens.py adds a total that
        # moves with the batches computed and is set right by it.
        row(
            "generation_tokens",
            ("llamacpp:tokens_estimated_total", "step"),
            ("llamacpp:tokens_predicted_total", "request-end"),
        ),
        row("generation_tokens_ended", ("llamacpp:tokens_predicted_total", "request-end")),
        row("steps", ("llamacpp:n_decode_total", "step")),
        # Its decode seconds move only when a request ends and overlap between slots: not read.
        row("prefill_seconds", ("llamacpp:prompt_seconds_total", "step")),
        row("requests_running", ("llamacpp:requests_processing", "step")),
        row("requests_waiting", ("llamacpp:requests_deferred", "step")),
        row("kv_cache_usage_ratio", ("llamacpp:kv_cache_usage_ratio", "step"), combine="max"),
        row(
            "prefix_cache_queries",
            ("llamacpp:prompt_tokens_total + llamacpp:prompt_tokens_cached_total", "step"),
        ),
        row("prefix_cache_hits", ("llamacpp:prompt_tokens_cached_total", "step")),
        row("spec_drafts", ("llamacpp:spec_decode_num_drafts_total", "step")),
        row("spec_draft_tokens", ("llamacpp:spec_decode_num_draft_tokens_total", "step")),
        row("spec_accepted_tokens", ("llamacpp:spec_decode_num_accepted_tokens_total", "step")),
    ),
    notes=(
        "The page needs `--metrics`. It has no latencies and no model name.",
        "Numbers have six digits: past a million a counter moves in steps of ten and more.",
        "`generation_tokens` (`tokens_estimated_total`, which phasetop makes itself) is estimated from the slots busy "
        "in each batch, and set right by the exact count when requests end: from one rest to the next it is exact.",
        "Pages of 2024 and 2025 count no cached tokens; KV-cache usage went in May 2025. In 2025 a page may be held "
        "back until the batch being computed is done.",
        "Its `*_tokens_seconds` gauges restart at every read by anybody and are not used.",
    ),
)
