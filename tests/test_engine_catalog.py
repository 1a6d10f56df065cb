"""Small pages of each engine, made by hand: what is read, what is late, and whose page it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.engine.reading import engine_reading, new_memo, snapshots
from collectors.engine.strangers import described
from collectors.model import Interval
from collectors.phase.label import Labeller
from collectors.readings import EngineReading
from tests.making import ENDPOINT, SECOND, reading, ttft, vllm_page


def readings(before: str, after: str) -> list[EngineReading]:
    memo = new_memo()
    first = {one.key: one for one in snapshots(ENDPOINT, before, 0.0, memo)}
    return [engine_reading(first.get(one.key), one, end=1.0) for one in snapshots(ENDPOINT, after, 1.0, memo)]


def only(before: str, after: str) -> EngineReading:
    (one,) = readings(before, after)
    return one


def numbered(page: str, *values: float) -> tuple[str, str]:
    """The page with zeros for its `#`s, and with the values."""
    parts = page.split("#")
    assert len(parts) == len(values) + 1
    filled = "".join(part + str(value) for part, value in zip(parts, (*values, ""), strict=True))
    return page.replace("#", "0"), filled


def bucketed(name: str, labels: str = "", sum_: str = "#", count: str = "#") -> str:
    inside = f"{labels}," if labels else ""
    outside = f"{{{labels}}}" if labels else ""
    return (
        f'{name}_bucket{{{inside}le="0.5"}} {count}\n{name}_bucket{{{inside}le="+Inf"}} {count}\n'
        f"{name}_sum{outside} {sum_}\n{name}_count{outside} {count}\n"
    )


def test_tgi_counts_seconds_of_both_phases_and_tokens_by_bursts() -> None:
    page = (
        'tgi_batch_inference_duration_sum{method="prefill"} #\ntgi_batch_inference_duration_sum{method="decode"} #\n'
        'tgi_batch_inference_count{method="prefill"} #\ntgi_batch_inference_count{method="decode"} #\n'
        'tgi_request_skipped_tokens{quantile="0.5"} 0\ntgi_request_skipped_tokens_sum #\n'
        "tgi_request_skipped_tokens_count #\ntgi_request_input_length_sum #\n"
        "tgi_batch_current_size 3\ntgi_queue_size 2\n"
    )
    got = only(*numbered(page, 0.3, 0.6, 2, 20, 7, 60, 900))
    assert (got.engine, got.prefill_seconds, got.decode_seconds) == ("tgi", 0.3, 0.6)
    assert (got.steps, got.decode_steps, got.generation_tokens, got.prompt_tokens) == (22, 20, 67, 900)
    assert (got.requests_running, got.requests_waiting, got.late_fields) == (3, 2, None)


TRTLLM = (
    'trtllm_request_success_total{engine_type="trtllm",finished_reason="length",model_name="m"} #\n'
    'trtllm_prompt_tokens_total{engine_type="trtllm",model_name="m"} #\n'
    'trtllm_prompt_cached_tokens_total{engine_type="trtllm",model_name="m"} #\n'
    'trtllm_generation_tokens_total{engine_type="trtllm",model_name="m"} #\n'
    'trtllm_num_requests_running{engine_type="trtllm",model_name="m",pid="1"} 4\n'
    'trtllm_num_requests_running{engine_type="trtllm",model_name="m",pid="2"} 4\n'
    'trtllm_kv_cache_max_blocks{engine_type="trtllm",model_name="m",pid="2"} 100\n'
    'trtllm_kv_cache_tokens_per_block{engine_type="trtllm",model_name="m",pid="2"} 32\n'
    'trtllm_model_config_info{dtype="float16",engine_type="trtllm",max_model_len="4096",model_name="m"} 1\n'
    'trtllm_parallel_config_info{engine_type="trtllm",model_name="m",tensor_parallel_size="4"} 1\n'
)


def test_tensorrt_llm_counts_tokens_late_and_says_so() -> None:
    got = only(*numbered(TRTLLM, 1, 1000, 200, 500))
    assert (got.prompt_tokens, got.prompt_tokens_computed, got.prompt_tokens_cached) == (1000, 800, 200)
    assert (got.generation_tokens, got.generation_tokens_ended, got.requests_cut_off) == (500, 500, 1)
    assert got.late_fields == "prompt_tokens,prompt_tokens_computed,prompt_tokens_cached,generation_tokens"
    assert (got.requests_running, got.kv_cache_tokens, got.kv_block_tokens) == (4, 3200, 32)
    assert (got.dtype, got.max_length_tokens, got.tensor_parallel) == ("float16", 4096, 4)


def labelled(seen: EngineReading) -> str:
    interval = Interval(1, 0, SECOND, 1.0, engines={seen.key: seen})
    labeller = Labeller()
    settled = [*labeller.push(interval).settled, *labeller.flush()]
    return next(label.phase.label for label in settled if label.entity.startswith("engine/"))


def test_a_burst_of_tokens_counted_at_a_requests_end_is_no_phase_of_its_second() -> None:
    late = only(*numbered(TRTLLM, 1, 0, 0, 5000))
    assert late.generation_tokens == 5000
    assert labelled(late) == "unknown"
    live = only(vllm_page(running=1), vllm_page(generated=5000, steps=100, running=1))
    assert labelled(live) == "decode"


def test_before_a_first_request_silence_means_idle_only_where_work_would_be_counted() -> None:
    fresh = dict.fromkeys(("prompt_tokens", "prompt_tokens_computed", "prompt_tokens_cached", "steps"))
    nothing = reading(**fresh, generation_tokens=None, first_tokens=None)
    assert labelled(nothing) == "idle"
    assert labelled(replace(nothing, engine="triton")) == "unknown"
    assert labelled(replace(nothing, engine="trtllm")) == "unknown"


def test_decode_is_not_concluded_where_prompts_are_not_counted_as_they_land() -> None:
    amounts = {"generation_tokens": 100.0, "first_tokens": 2.0, "ttft": ttft(2, 0.4), "requests_running": 4.0}
    uncounted = {"prompt_tokens": None, "prompt_tokens_computed": None, "steps": None}
    assert labelled(reading(**amounts, **uncounted)) == "unknown"
    assert labelled(reading(**amounts, prompt_tokens_computed=20.0, steps=60.0)) == "decode"


def test_tensorrt_llm_without_a_prefix_is_told_by_its_label() -> None:
    labels = 'engine_type="undefined",model_name="undefined"'
    page = bucketed("request_queue_time_seconds", labels) + f"request_success_total{{{labels}}} #\n"
    got = only(*numbered(page, 2, 2, 0.5, 2, 2))
    assert (got.engine, got.model, got.requests_finished) == ("trtllm", None, 2)
    assert got.queue is not None
    assert got.queue.mean == 0.25
    assert snapshots(ENDPOINT, page.replace("#", "1").replace("engine_type", "job"), 0.0, new_memo()) == ()


def test_nim_is_told_by_its_limit_of_requests() -> None:
    page = 'prompt_tokens_total{model_name="m"} #\ngeneration_tokens_total{model_name="m"} #\n'
    got = only(*numbered(page + 'num_request_max{model_name="m"} 64\n', 9, 4))
    assert (got.engine, got.prompt_tokens, got.generation_tokens, got.requests_limit) == ("nim", 9, 4, 64)
    assert snapshots(ENDPOINT, page.replace("#", "1"), 0.0, new_memo()) == ()


def test_triton_reads_the_latest_step_of_its_tensorrt_llm_backend() -> None:
    page = (
        'nv_trt_llm_request_metrics{model="t",request_type="scheduled",version="1"} 5\n'
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="t",version="1"} 0.4\n'
        'nv_trt_llm_disaggregated_serving_metrics{disaggregated_serving_type="kv_cache_transfer_ms",model="t"} #\n'
        'nv_inference_request_failure{model="t",reason="CANCELED"} #\nnv_inference_request_success{model="t"} #\n'
    )
    got = only(*numbered(page, 1500, 2, 7))
    assert (got.engine, got.model, got.requests_running, got.kv_cache_usage_ratio) == ("triton", "t", 5, 0.4)
    assert (got.kv_transfer_seconds, got.requests_aborted, got.requests_finished) == (1.5, 2, 7)


def test_an_engine_inside_a_server_is_read_in_its_place() -> None:
    for around in ('nv_inference_request_success{model="m"} 3\n', "dynamo_component_inflight_requests 2\n"):
        assert [one.engine for one in snapshots(ENDPOINT, around + vllm_page(), 0.0, new_memo())] == ["vllm"]
        assert len(snapshots(ENDPOINT, around, 0.0, new_memo())) == 1


def test_a_frontend_is_a_router_without_a_phase() -> None:
    page = 'dynamo_frontend_output_tokens_total{model="m"} #\ndynamo_frontend_model_context_length{model="M"} 4096\n'
    got = only(*numbered(page, 12))
    assert (got.engine, got.role, got.model, got.generation_tokens) == ("dynamo", "router", "M", 12)
    tick = Labeller().push(Interval(1, 0, SECOND, 1.0, engines={got.key: got}))
    assert [entity for entity in tick.labels if entity.startswith("engine/")] == []
    assert tick.interval.engines[got.key] is got


def test_lmdeploy_mlc_and_openvino_are_recognised() -> None:
    lmdeploy = only(*numbered('lmdeploy:generation_tokens_total{engine="1",model_name="m"} #\n', 3))
    assert (lmdeploy.engine, lmdeploy.engine_index, lmdeploy.generation_tokens) == ("lmdeploy", "1", 3)
    mlc = only(
        "engine_prefill_time_sum\t1\ncompletion_tokens_sum\t1", "engine_prefill_time_sum\t3\ncompletion_tokens_sum\t8"
    )
    assert (mlc.engine, mlc.prefill_seconds, mlc.generation_tokens) == ("mlc", 2, 7)
    assert mlc.late_fields == "generation_tokens"
    page = "ovms_current_requests 2\n" + bucketed("ovms_request_time_us").replace('le="0.5"', 'le="500000"')
    ovms = only(*numbered(page, 4, 4, 1_000_000, 4))
    assert (ovms.engine, ovms.requests_running) == ("ovms", 2)
    assert ovms.e2e is not None
    assert (ovms.e2e.bounds, ovms.e2e.mean) == ((0.5,), 0.25)


SGLANG = 'sglang:realtime_tokens_total{%smode="decode",model_name="m",tp_rank="0"} #\n'


def test_pieces_of_streamed_answers_are_no_requests_of_openvino() -> None:
    page = "ovms_current_graphs 1\novms_responses # 40\n" + bucketed("ovms_graph_processing_time_us")
    before, after = (page.replace("# 40", count) for count in ("0", "40"))
    ovms = only(numbered(before, 0, 0, 0.0, 0)[1], numbered(after, 4, 4, 1_000_000, 4)[1])
    assert ovms.requests_finished == 4


def test_sglang_generates_a_first_token_in_prefill() -> None:
    page = SGLANG % "" + bucketed("sglang:time_to_first_token_seconds", 'model_name="m"')
    got = only(*numbered(page, 90, 10, 10, 2.0, 10))
    assert (got.generation_tokens, got.first_tokens) == (100, 10)


def test_sglang_before_live_counts_takes_generated_tokens_from_latencies() -> None:
    page = bucketed("sglang:inter_token_latency_seconds") + bucketed("sglang:time_to_first_token_seconds")
    page += "sglang:prompt_tokens_total #\nsglang:cached_tokens_total #\n"
    got = only(*numbered(page, 50, 50, 1.0, 50, 2, 2, 0.4, 2, 3000, 1000))
    assert (got.generation_tokens, got.prompt_tokens_computed) == (52, 2000)
    assert got.late_fields == "prompt_tokens,prompt_tokens_computed,prompt_tokens_cached"


@pytest.mark.parametrize(
    ("family", "prefix"),
    [("forward_execution_seconds", ""), ("gpu_execution_seconds", ""), ("gpu_execution_seconds", "forward_")],
)
def test_sglang_seconds_are_read_under_every_name_they_had(family: str, prefix: str) -> None:
    page = "".join(
        f'sglang:{family}_total{{category="{prefix}{one}"}} #\n' for one in ("extend", "decode", "target_verify")
    )
    got = only(*numbered(page, 0.25, 0.5, 0.125))
    assert (got.prefill_seconds, got.decode_seconds) == (0.25, 0.625)


def test_sglang_priorities_are_parts_of_their_total() -> None:
    page = (
        'sglang:num_running_reqs{model_name="m",priority=""} 5\n'
        'sglang:num_running_reqs{model_name="m",priority="1"} 3\n'
        'sglang:num_running_reqs{model_name="m",priority="2"} 2\n'
    )
    assert only(page, page).requests_running == 5


def test_the_processes_of_a_tensor_parallel_group_count_once_and_ranks_apart() -> None:
    page = "".join(
        f'sglang:kv_transfer_total_mb_sum{{dp_rank="{dp}",model_name="m",tp_rank="{tp}"}} #\n'
        for dp, tp in ((0, 0), (0, 1), (1, 2), (1, 10))
    )
    zero, one = readings(*numbered(page, 2, 2, 3, 3))
    assert (zero.engine_index, zero.kv_transfer_bytes) == ("0", 2 << 20)
    assert (one.engine_index, one.kv_transfer_bytes) == ("1", 3 << 20)


def test_replicas_of_a_ray_node_are_told_apart() -> None:
    page = "".join(
        f'ray_vllm_generation_tokens_total{{ReplicaId="{replica}",WorkerId="w",engine="{rank}",model_name="m"}} #\n'
        for replica, rank in (("a", 0), ("b", 0), ("b", 1))
    )
    found = {one.engine_index: one.generation_tokens for one in readings(*numbered(page, 1, 2, 3))}
    assert found == {"a": 1, "b": 2, "b/1": 3}


def test_outcomes_waiting_drafts_and_adapters_of_vllm_are_read() -> None:
    labels = 'engine="0",model_name="m"'
    page = "".join(
        f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} #\n'
        for reason in ("stop", "length", "abort", "error")
    )
    page += (
        f"vllm:generation_tokens_total{{{labels}}} 0\n"
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} 3\n'
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="deferred"}} 1\n'
        f"vllm:spec_decode_num_drafts_total{{{labels}}} #\nvllm:spec_decode_num_draft_tokens_total{{{labels}}} #\n"
        f"vllm:spec_decode_num_accepted_tokens_total{{{labels}}} #\nvllm:nixl_bytes_transferred_sum{{{labels}}} #\n"
        'vllm:lora_requests_info{max_lora="4",running_lora_adapters="old,a,b",waiting_lora_adapters=""} 100.0\n'
        'vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters="c"} 200.0\n'
    )
    got = only(*numbered(page, 5, 2, 1, 1, 10, 30, 12, 4096))
    assert (got.requests_stopped, got.requests_cut_off, got.requests_aborted, got.requests_failed) == (5, 2, 1, 1)
    assert (got.requests_waiting_capacity, got.requests_waiting_deferred) == (3, 1)
    assert (got.spec_drafts, got.spec_draft_tokens, got.spec_acceptance_ratio) == (10, 30, 0.4)
    assert (got.lora_running, got.lora_waiting, got.lora_limit, got.kv_transfer_bytes) == (2, 1, 4, 4096)


def test_vllm_before_sources_leaves_prefix_cache_hits_out_of_what_was_computed() -> None:
    page = (
        'vllm:prompt_tokens_total{engine="0",model_name="m"} #\n'
        'vllm:generation_tokens_total{engine="0",model_name="m"} #\n'
        'vllm:prefix_cache_hits_total{engine="0",model_name="m"} #\n'
    )
    got = only(*numbered(page, 3000, 10, 2048))
    assert (got.prompt_tokens, got.prompt_tokens_computed, got.prompt_tokens_cached) == (3000, 952, 2048)
    older = page.replace("vllm:prefix", "vllm:gpu_prefix")
    assert only(*numbered(older, 3000, 10, 2048)).prompt_tokens_computed == 952
    external = page + 'vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} #\n'
    got = only(*numbered(external, 3000, 10, 2048, 500))
    assert (got.prompt_tokens_computed, got.prompt_tokens_transferred) == (452, 500)


def test_what_a_server_counts_as_a_whole_makes_no_rank_of_its_own() -> None:
    page = (
        'vllm:generation_tokens_total{engine="4",model_name="m"} #\n'
        'vllm:generation_tokens_total{engine="5",model_name="m"} #\n'
        'vllm:admission_rejections_total{model_name="m",reason="max_num_queued_reqs"} #\n'
    )
    got = {one.engine_index: one for one in readings(*numbered(page, 10, 20, 3))}
    assert {index: one.generation_tokens for index, one in got.items()} == {"4": 10, "5": 20}
    assert (got["4"].requests_rejected, got["5"].requests_rejected) == (3, None)


def test_lmdeploy_tells_its_configuration_on_its_page() -> None:
    labels = 'engine="0",model_name="m"'
    page = (
        f"lmdeploy:generation_tokens_total{{{labels}}} #\nlmdeploy:num_requests_failed{{{labels}}} #\n"
        'lmdeploy:backend_config_info{block_size="64",dtype="bfloat16",max_batch_size="128",num_gpu_blocks="1000",'
        'session_len="None",tp="2"} 1.0\n'
    )
    got = only(*numbered(page, 40, 2))
    assert (got.generation_tokens, got.requests_failed, got.requests_limit) == (40, 2, 128)
    assert (got.dtype, got.tensor_parallel, got.max_length_tokens) == ("bfloat16", 2, None)
    assert (got.kv_cache_tokens, got.kv_block_tokens) == (64000, 64)
    unknown = page.replace('num_gpu_blocks="1000"', 'num_gpu_blocks="0"')
    assert only(*numbered(unknown, 40, 2)).kv_cache_tokens is None


def test_an_sglang_decode_instance_waits_for_transfers_without_a_prefill_queue() -> None:
    labels = 'engine_type="decode",model_name="m"'
    page = (
        f"sglang:num_running_reqs{{{labels}}} 3\nsglang:num_decode_prealloc_queue_reqs{{{labels}}} 2\n"
        f"sglang:num_decode_transfer_queue_reqs{{{labels}}} 1\n"
    )
    got = only(page, page)
    assert (got.role, got.requests_waiting_transfer) == ("decode", 3)


def test_blank_negative_and_impossible_gauges_are_missing() -> None:
    def usage(value: str) -> float | None:
        memo = new_memo()
        page = 'vllm:kv_cache_usage_perc{engine="0"} %s\nvllm:cache_config_info{engine="0"} 1\n'
        snapshots(ENDPOINT, page % "0.5", 0.0, memo)
        (one,) = snapshots(ENDPOINT, page % value, 1.0, memo)
        return engine_reading(None, one, end=1.0).kv_cache_usage_ratio

    assert usage("0.25") == 0.25
    assert usage("1.003") == 1.0
    assert [usage(value) for value in ("-1", "NaN", "+Inf", "45", "9223372036854775794", "2147483632")] == [None] * 6


def test_a_kv_gauge_that_only_ever_is_full_or_empty_is_unknown() -> None:
    memo = new_memo()

    def usage(value: float, running: int) -> float | None:
        (one,) = snapshots(ENDPOINT, vllm_page(kv=value, running=running), 0.0, memo)
        return engine_reading(None, one, end=0.0).kv_cache_usage_ratio

    assert usage(0.0, 0) == 0.0
    assert usage(0.0, 3) is None
    assert usage(1.0, 3) is None
    assert usage(0.4, 3) == 0.4
    assert (usage(1.0, 3), usage(0.0, 3)) == (1.0, 0.0)


def test_a_page_that_is_no_engines_is_named() -> None:
    assert "LiteLLM" in described('litellm_input_tokens_metric_total{model="m"} 1\n')
    assert "a router, not an engine" in described("litellm_in_flight_requests 3\n")
    assert "--gpu-page" in described('DCGM_FI_DEV_GPU_UTIL{gpu="0"} 5\n')
    assert "--disable-log-stats" in described("python_info 1\nprocess_open_fds 3\nhttp_requests_total 2\n")
    assert "empty" in described("")
    assert described("go_goroutines 1") == "its page holds no metrics of a known engine"


def test_a_router_that_shows_gauges_of_its_servers_is_no_engine() -> None:
    page = 'vllm:num_requests_running{server="http://a"} 3\nvllm:healthy_pods_total{server="http://a"} 1\n'
    assert snapshots(ENDPOINT, page, 0.0, new_memo()) == ()
    assert "router" in described(page)
