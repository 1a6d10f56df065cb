"""What to change, with the effect the calibrated costs predict; in words alone where they predict none.

Numbers appear only for levers whose effect follows from costs the engine itself has shown, and say
so where they reach beyond the batches those were learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from collectors.bottleneck.admission import Admission
from collectors.bottleneck.partition import Wall, knee
from collectors.bottleneck.predict import Effect, Load, chunk_step, effect, load_of, tells_batches
from collectors.model import BottleneckName
from collectors.phase.calibrate import CostModel
from collectors.readings import EngineReading, GpuReading

_WORTH = 0.05
"""Predicted gain below which a change is not worth its mention."""
_LEAST_FACTOR = 1.2
"""A batch that can grow by less is as large as it gets."""
_KV_TO = 0.90
"""KV cache use up to which a larger batch is proposed."""
_CHUNKS = (512, 2048)
"""Prompt tokens a step whose effect is told: a small chunk, and what engines take by default."""
_RESTS, _HALF = 0.05, 0.50
"""Between these shares of busy time a GPU has work, and room for as much again."""
PREDICTED = frozenset({"kv-capacity", "memory-bandwidth", "compute", "host", "scheduler"})
"""Names for which there is a lever whose effect the costs may tell."""


def advise(
    name: BottleneckName,
    kept_out: Admission,
    wall: Wall,
    engines: Sequence[EngineReading],
    gpus: Sequence[GpuReading],
    costs: CostModel,
) -> Iterator[str]:
    """Lines of advice for the headline name, most useful first. `costs` are the sole engine's."""
    engine = engines[0] if len(engines) == 1 else None
    load = None
    if engine is not None and costs.is_sure and name in PREDICTED:
        load = load_of(engine, costs, wall.shares.get("host", 0.0))
    if name == "kv-capacity":
        yield from _more_kv(kept_out.engine or engine, load, costs, gpus)
    elif name == "memory-bandwidth":
        yield from _more_at_once(engine, kept_out, load, costs, gpus)
        yield "lower-precision weights or KV cache move fewer bytes a step; speculative decoding pays here"
        yield from _wider(engine, engines)
    elif name == "compute":
        yield from _smaller_chunks(wall, load, costs)
        yield "prefix caching saves prompt tokens; FP8 doubles the matrix rate where the hardware has it"
        yield from _speculation(engine)
        yield from _wider(engine, engines)
    elif name == "host":
        yield from _closer_steps(wall, load, costs)
    elif name == "power":
        yield from _more_power(wall, gpus)
    elif name == "network":
        yield from _shorter_ways(wall)
    elif name == "scheduler":
        yield from _more_at_once(engine, kept_out, load, costs, gpus)
    elif name == "demand" and gpus and engines and _RESTS < wall.busy < _HALF:
        yield f"GPU busy {wall.busy * 100:.0f} %: this load would fit beside another"
    if kept_out.name == "scheduler" and name not in ("memory-bandwidth", "scheduler"):
        yield "raise the engine's limit of concurrent requests until the time per token reaches its target"


def _more_at_once(
    engine: EngineReading | None, kept_out: Admission, load: Load | None, costs: CostModel, gpus: Sequence[GpuReading]
) -> Iterator[str]:
    """A larger batch: the weights are read once a step, for however many sequences."""
    is_limit = kept_out.name == "scheduler"
    predicted = _larger_batch(engine, load, costs, gpus)
    if predicted is None:
        if is_limit:
            yield "raise the limit of requests at once (max-num-seqs) until the time per token reaches its target"
        return
    usage = engine.kv_cache_usage_ratio if engine is not None else None
    room = f"; KV cache {usage * 100:.0f} % used" if usage is not None else ""
    yield f"{'raise max-num-seqs' if is_limit else 'more requests at once'}: {_in_words(predicted, costs)}{room}"


def _larger_batch(
    engine: EngineReading | None, load: Load | None, costs: CostModel, gpus: Sequence[GpuReading]
) -> Effect | None:
    """Twice the batch, or what fits into the KV cache and stays below the knee of the matrix units."""
    if engine is None or load is None or engine.kv_cache_usage_ratio is None or not tells_batches(costs):
        return None
    factor = min(2.0, _KV_TO / engine.kv_cache_usage_ratio if engine.kv_cache_usage_ratio > 0 else 2.0)
    limit = knee(gpus)
    if limit is not None:
        factor = min(factor, limit / load.batch)
    if factor < _LEAST_FACTOR:
        return None
    predicted = effect(load, load.scaled(int(load.batch * factor) / load.batch), costs)
    return predicted if predicted.gain >= _WORTH else None


def _in_words(predicted: Effect, costs: CostModel) -> str:
    reach = ""
    if predicted.after.batch > costs.batch_high:
        reach = f" (extrapolated: up to {costs.batch_high:.0f} seen)"
    return (
        f"batch {predicted.before.batch:.0f} → {predicted.after.batch:.0f}: TPOT {_ms(predicted.tpot_before)} → "
        f"{_ms(predicted.tpot_after)} ms, {predicted.gain * 100:+.0f} % tokens/s{reach}"
    )


def _more_kv(
    engine: EngineReading | None, load: Load | None, costs: CostModel, gpus: Sequence[GpuReading]
) -> Iterator[str]:
    """Room for more sequences: a quantised cache, more memory for it, or fewer tokens in it."""
    is_quantised = engine is not None and "8" in (engine.kv_cache_dtype or "")
    if engine is not None and load is not None and engine.requests_waiting and tells_batches(costs):
        factor = min(2.0, 1.0 + engine.requests_waiting / load.batch)
        limit = knee(gpus)
        if limit is None or load.batch * factor <= limit:
            after = load.scaled(int(load.batch * factor) / load.batch)
            more = effect(load, after, costs)
            if more.gain >= _WORTH:
                yield f"twice the KV cache (more memory for it, or tensor parallelism): {_in_words(more, costs)}"
            if not is_quantised and costs.kv_step:
                lighter = effect(load, after, costs, replace(costs, kv_step=costs.kv_step / 2))
                if lighter.gain >= _WORTH:
                    yield f"FP8 KV cache, if reading it takes half the time: {_in_words(lighter, costs)}"
    if not is_quantised:
        yield "more KV cache: FP8 KV cache, a larger memory share for the engine, or fewer tokens a request"
    else:
        yield "more KV cache: a larger memory share for the engine, tensor parallelism, or fewer tokens a request"
    yield "cap admission: preempted requests are computed twice"


def _smaller_chunks(wall: Wall, load: Load | None, costs: CostModel) -> Iterator[str]:
    """Prompts delay the tokens of those who decode beside them: by how much is a matter of chunk size."""
    if load is None or not costs.knows_prefill or not costs.prompts_per_token:
        return
    parts = ", ".join(f"up to {_ms(chunk_step(load, costs, chunk))} ms with {chunk} prompt tokens" for chunk in _CHUNKS)
    alone = _ms(chunk_step(load, costs, 0))
    yield f"a smaller prefill chunk (max-num-batched-tokens) evens out token times: a step takes {alone} ms, {parts}"


def _closer_steps(wall: Wall, load: Load | None, costs: CostModel) -> Iterator[str]:
    share = wall.shares.get("host", 0.0)
    most = share / (1.0 - share) if share < 1.0 else 0.0
    bound = f"; without its gaps at most {most * 100:+.0f} % tokens/s" if 0 < most < 5 else ""
    if load is not None and load.gap > 0:
        now, then = effect(load, load, costs).tpot_before, effect(load, replace(load, gap=0.0), costs).tpot_after
        bound = f"; without its gaps TPOT {_ms(now)} → {_ms(then)} ms, at most {most * 100:+.0f} % tokens/s"
    yield f"the GPU waits for the host: CUDA graphs, asynchronous scheduling, more API or tokenizer workers{bound}"
    yield "pin the engine to cores of the GPU's NUMA node; a second engine on this GPU uses the gaps of the first"


def _more_power(wall: Wall, gpus: Sequence[GpuReading]) -> Iterator[str]:
    hot = max((gpu.throttle_thermal_ratio or 0.0 for gpu in gpus), default=0.0)
    capped = max((gpu.throttle_power_ratio or 0.0 for gpu in gpus), default=0.0)
    if hot > capped:
        yield "heat holds the clocks down: check cooling and airflow"
        return
    clocks = [
        gpu.sm_clock_hertz / gpu.sm_clock_max_hertz for gpu in gpus if gpu.sm_clock_hertz and gpu.sm_clock_max_hertz
    ]
    bound = ""
    if clocks and 0 < min(clocks) < 1:
        bound = (
            f": at full clock prefill would take at most {(1 - min(clocks)) * 100:.0f} % less time, decode hardly less"
        )
    yield f"the power cap holds the clocks down: raise it where the supply allows{bound}"


def _shorter_ways(wall: Wall) -> Iterator[str]:
    if wall.transfer > 0:
        yield "KV caches are waited for: RDMA or NVLink between the instances, sending layer by layer, fewer hops"
    else:
        yield "the link is full: keep tensor-parallel groups on NVLink, and KV cache offloading off the busy path"


def _wider(engine: EngineReading | None, engines: Sequence[EngineReading]) -> Iterator[str]:
    """More hardware, in words: what it brings depends on links that the costs know nothing of."""
    queued = sum(one.requests_waiting or 0.0 for one in engines)
    if queued:
        yield f"{queued:.0f} waiting: a further replica serves them; tensor parallelism shortens each token instead"


def _speculation(engine: EngineReading | None) -> Iterator[str]:
    """Drafted tokens cost compute that prompts want."""
    if engine is None or not (engine.spec_drafts or engine.spec_acceptance_ratio):
        yield "speculative decoding costs more than it gives while compute is the limit"
    else:
        told = engine.spec_acceptance_ratio
        rate = f" ({told * 100:.0f} % of the drafted tokens are accepted)" if told is not None else ""
        yield f"turn speculative decoding off while compute is the limit{rate}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}" if seconds >= 0.00995 else f"{seconds * 1e3:.1f}"
