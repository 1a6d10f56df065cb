"""Metrics pages that are no engine's: what they are, so that whoever pointed here knows where to point.

This is data: the beginnings of sample names, most telling first.
"""

from __future__ import annotations

import re

_LINES_READ = 5_000

_ROUTER = "a router, not an engine: name the pages of the engines behind it"
_GPU_PAGE = "a GPU page: give it with --gpu-page"
_CACHE = "a store of KV caches, not an engine"

STRANGERS: tuple[tuple[str, str], ...] = (
    ("litellm_", f"LiteLLM's proxy, {_ROUTER}"),
    ("vllm:current_qps", f"the vLLM production stack's router, {_ROUTER}"),
    ("vllm:healthy_pods_total", f"the vLLM production stack's router, {_ROUTER}"),
    ("sgl_router_", f"SGLang's router, {_ROUTER}"),
    ("smg_", f"SGLang's router, {_ROUTER}"),
    ("llm_d_inference_scheduler_", f"llm-d's router, {_ROUTER}"),
    ("inference_extension_", f"the Gateway API inference extension's, {_ROUTER}"),
    ("inference_pool_", f"the Gateway API inference extension's, {_ROUTER}"),
    ("dynamo_component_router_", f"Dynamo's router, {_ROUTER}"),
    ("envoy_", f"Envoy's, {_ROUTER}"),
    ("traefik_", f"Traefik's, {_ROUTER}"),
    ("haproxy_", f"HAProxy's, {_ROUTER}"),
    ("nginx_", f"nginx's, {_ROUTER}"),
    ("DCGM_", f"dcgm-exporter's, {_GPU_PAGE}"),
    ("habanalabs_", f"the Gaudi exporter's, {_GPU_PAGE}"),
    ("xpum_", f"Intel XPU Manager's, {_GPU_PAGE}"),
    ("hw_gpu_", f"Intel XPU Manager's, {_GPU_PAGE}"),
    ("gpu_nodes_total", f"AMD's device metrics exporter's, {_GPU_PAGE}"),
    ("gpu_gfx_", f"AMD's device metrics exporter's, {_GPU_PAGE}"),
    ("gpu_clock", f"AMD's device metrics exporter's, {_GPU_PAGE}"),
    ("lmcache", f"LMCache's, {_CACHE}"),
    ("mooncake_", f"Mooncake's, {_CACHE}"),
    ("master_key_count", f"Mooncake's, {_CACHE}"),
    ("master_put_", f"Mooncake's, {_CACHE}"),
    ("tent_", f"Mooncake's transfer engine's, {_CACHE}"),
    ("phasetop_", "phasetop's own, not an engine's"),
    ("node_", "node_exporter's, not an engine's"),
    ("ray_", "a Ray node's without an engine's metrics: set log_engine_metrics in the LLM's configuration"),
)

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ANY_PYTHON_SERVER = ("python_", "process_", "http_")


def described(text: str) -> str:
    """One line that says what a page is, given that no engine's table reads it."""
    lines = text.split("\n", _LINES_READ)[:_LINES_READ]
    names = {found[0] for line in lines if (found := _NAME.match(line)) is not None}
    if not names:
        return "its page is empty: nothing has been counted yet"
    for beginning, what in STRANGERS:
        if any(name.startswith(beginning) for name in names):
            return f"its page is {what}"
    if all(name.startswith(_ANY_PYTHON_SERVER) for name in names):
        return "its page holds only what any Python server has; vLLM with --disable-log-stats shows no more"
    return "its page holds no metrics of a known engine"
