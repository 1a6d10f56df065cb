"""How well the hardware was used: MFU and MBU by phase, the roofline, and how much room the batch has."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.analysis.figures import Figure, Plot, Section, Series
from collectors.analysis.resources import Moments, Use, blur
from collectors.analysis.roofline import Roof
from collectors.analysis.study import Study, figure
from collectors.bottleneck.predict import tells_batches
from collectors.model import Confidence

_MORE = 0.10
"""How much longer a token may take for the batch that is called free."""


def hardware_section(study: Study) -> Section | None:
    totals = study.totals
    cards = [gpu for gpu in study.read.roster.gpus.values() if not gpu.is_divided]
    if not cards:
        return None
    roof = Roof(_one({gpu.tensor_peak for gpu in cards}), _one({gpu.dram_peak for gpu in cards}))
    figures = [*_efficiency(study, roof), *_position(study, roof), *_free_batch(study)]
    sources = sorted({gpu.peak_source for gpu in cards if gpu.peak_source})
    known = (
        "The peaks of these GPUs are not known."
        if roof == Roof(None, None)
        else (
            f"Peaks: {_tera(roof.compute, 'Tflop/s dense BF16')}, {_tera(roof.bandwidth, 'TB/s')}"
            f" ({', '.join(sources) or 'not known'})."
        )
    )
    detail = totals.sums.get(("detail",), 0.0)
    if study.read.stride > 1:
        known += f" By phase: from {detail / 60:.0f} min spread evenly over the recording."
    plots = _roofline(roof, {figure.key: figure.value for figure in figures})
    return Section("hardware", "How well the hardware was used", known, tuple(figures), plots=plots)


def _roofline(roof: Roof, values: dict[str, float | None]) -> tuple[Plot, ...]:
    """The roof of a GPU and where the phases are under it; in Tflop/s over operations for each byte."""
    if roof.ridge is None:
        return ()
    points = {
        phase: (intensity, rate * (roof.compute or 0.0) / 1e12)
        for phase in ("prefill", "decode")
        if (intensity := values[f"intensity_{phase}"]) and (rate := values[f"mfu_{phase}"])
    }
    if not points:
        return ()
    places = [intensity for intensity, _ in points.values()]
    low, high = min(0.5, *places) / 2, max(10.0 * roof.ridge, *places) * 2
    xs = tuple(sorted({low, roof.ridge, high, *places}))
    roofs = tuple((roof.attainable(x) or 0.0) / 1e12 for x in xs)
    series = [Series("roof", roofs)]
    series += [Series(phase, tuple(rate if x == at else None for x in xs)) for phase, (at, rate) in points.items()]
    return (
        Plot("roofline", "Roofline of one GPU", "lines", xs, tuple(series), "flops_per_byte", "count",
             "operations for each byte moved", "Tflop/s", log_x=True, log_y=True,
             marks=((roof.ridge, f"ridge at {roof.ridge:.0f} flop/B"),)),
    )  # fmt: skip


def _one(values: set[float | None]) -> float | None:
    return values.pop() if len(values) == 1 else None


def _tera(value: float | None, unit: str) -> str:
    return f"{value / 1e12:.3g} {unit}" if value else f"no {unit}"


def _efficiency(study: Study, roof: Roof) -> Iterator[Figure]:
    """Use of compute and of bandwidth by phase, from the engine's estimates and from the GPU's counters."""
    totals = study.totals
    for resource, title, engine, activity, peak in (
        ("mfu", "compute in use", "engine-flops", "compute", roof.compute),
        ("mbu", "memory bandwidth in use", "engine-bytes", "memory-bandwidth", roof.bandwidth),
    ):
        used = totals.moments(engine)
        if used is not None and peak:
            use, evidence = totals.use(engine, peak), "the engines' own estimates over the peak"
            note = ""
        else:
            use, used = totals.use(activity), totals.moments(activity)
            evidence = "tensor activity of the GPUs" if resource == "mfu" else "DRAM activity of the GPUs"
            note = "an upper bound: an active tensor pipe need not run at full rate" if resource == "mfu" else ""
        confidence: Confidence = "medium" if use.separated else "low"
        if not use.separated and use.prefill is not None:
            note = f"{note}; " * bool(note) + "the phases hardly varied: both have the weighted mean"
        missing = "neither tensor and DRAM activity nor an engine's estimate was recorded"
        for phase, value in (("prefill", use.prefill), ("decode", use.decode)):
            yield figure(f"{resource}_{phase}", f"{title} in {phase} ({resource.upper()})", value, "ratio", evidence,
                         confidence, error=_mixed_up(study, used, use, phase), missing=missing, note=note)  # fmt: skip


def _mixed_up(study: Study, used: Moments | None, use: Use, phase: str) -> float | None:
    """One standard deviation: seconds booked under the wrong phase bring the other phase's use along, and make
    the two look more alike."""
    wall, busy = study.totals.wall, study.totals.busy
    wrong, spent = study.split_error(busy), wall[phase]
    if wrong is None or spent <= 0 or used is None or use.prefill is None or use.decode is None or not use.separated:
        return None
    alike = blur(used.pp, used.pd, used.dd, wrong / busy) * (busy - spent) / busy
    return abs(use.prefill - use.decode) * (min(1.0, wrong / spent) + alike)


def _position(study: Study, roof: Roof) -> Iterator[Figure]:
    """Operations for each byte by phase, and how far that is from the ridge."""
    totals = study.totals
    if totals.moments("engine-flops") is not None and totals.moments("engine-bytes") is not None:
        flops, moved = totals.use("engine-flops", 1e18), totals.use("engine-bytes", 1e18)
        source, factor, bytes_ = "the engines' own estimates", 1.0, "engine-bytes"
    elif roof.compute and roof.bandwidth:
        flops, moved = totals.use("compute"), totals.use("memory-bandwidth")
        source, factor = "activity times peaks: at most that", roof.compute / roof.bandwidth
        bytes_ = "memory-bandwidth"
    else:
        flops = moved = totals.use("none")
        source, factor, bytes_ = "", 1.0, "none"
    for phase in ("prefill", "decode"):
        a, b = getattr(flops, phase), getattr(moved, phase)
        doubt = _mixed_up(study, totals.moments(bytes_), moved, phase)
        is_lost = bool(a and b and doubt is not None and b <= doubt)
        value = a / b * factor if a and b and not is_lost else None
        note = ""
        if value is not None and roof.ridge:
            side = "compute-bound side" if value >= roof.ridge else "memory-bound side"
            note = f"{value / roof.ridge:.2g} of the ridge at {roof.ridge:.0f}: {side}"
        yield figure(f"intensity_{phase}", f"operations for each byte in {phase}", value, "flops_per_byte", source,
                     "medium" if flops.separated and moved.separated else "low",
                     missing="the bytes it moved cannot be told from none" if is_lost
                     else "operations or bytes were not measured", note=note)  # fmt: skip


def _free_batch(study: Study) -> Iterator[Figure]:
    """How many more sequences would make a token take a tenth longer."""
    for title, engines in study.models.items():
        costs = study.costs(engines)
        many = len(study.models) > 1
        key = f"free_batch:{title}" if many else "free_batch"
        steps = study.totals.engine("decode_steps", engines) or study.totals.engine("steps", engines)
        generated = study.totals.generated(engines)
        running, usage = (
            study.totals.mean_of(engines, name) for name in ("requests_running", "kv_cache_usage_ratio")
        )  # fmt: skip
        size = study.read.roster.engines[engines[0]].kv_tokens
        value, note = None, ""
        if costs.is_sure and costs.knows_decode and steps and generated and tells_batches(costs):
            batch = generated / steps
            resident = usage * size / running if usage and size and running else 0.0
            slope = costs.token + costs.kv_step * resident
            if slope > 0:
                value = _MORE * (costs.step + slope * batch) / slope
                reach = batch + value
                note = f"at a batch of {batch:.0f}; batches up to {costs.batch_high:.0f} were seen"
                if reach > 2 * costs.batch_high:
                    value, note = 2 * costs.batch_high - batch, note + ", more cannot be told"
        yield figure(key, f"more sequences until a token takes 10 % longer{study.of(title)}", value, "count",
                     f"calibrated costs, {costs.windows} windows", "medium", error=None if value is None else
                     value * max(0.1, costs.error), note=note,
                     missing=study.why("costs", "the costs of larger batches are not calibrated"))  # fmt: skip
