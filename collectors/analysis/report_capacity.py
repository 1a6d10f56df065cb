"""Room and what was lost: KV cache, prefix cache, time lost to the host, power and clocks."""

from __future__ import annotations

import math

from collectors.analysis.figures import Column, Figure, Plot, Section, Series, Table
from collectors.analysis.study import Study, figure
from collectors.analysis.sums import ratio
from collectors.analysis.totals import Totals
from collectors.analysis.words import duration, percent
from collectors.model import Confidence

_STRETCHES = 12
_GAUGE_ERROR = 0.005
"""Of the KV cache: how far the mean of what is seen once an interval may be from the mean."""
_ROOM_ERROR = 0.05
"""Relative: requests differ in what they hold."""
_COST_ERROR = 0.15
"""Relative error, at least, of a prompt token's cost where it would have been computed in other company."""
_RESOLUTION = 0.005
"""GPUs tell their busy time in whole per cent."""


def capacity_section(study: Study) -> Section | None:
    totals = study.totals
    if not totals.engines:
        return None
    figures: list[Figure] = [
        study.measure("kv_mean", evidence="engines' gauges, at the end of each interval", confidence="high",
                      missing="no engine tells its KV cache's use"),
    ]  # fmt: skip
    tops = [value for key, value in totals.block.most.items() if key[0] == "kv"]
    full = totals.engine("kv-full-seconds")
    figures += [
        figure("kv_most", "KV cache in use, most", max(tops, default=None), "ratio", "engines' gauges", "high",
               missing="no engine tells its KV cache's use"),
        figure("kv_full", "time with a full KV cache (95 % and more)", full, "seconds", "engines' gauges", "high",
               error=_sampled(study, full), missing="no engine tells its KV cache's use"),
        *_headroom(study),
        study.measure("preemptions", evidence="engines' counters", confidence="high", missing="not counted"),
        study.measure("waiting_ratio", evidence="engines' gauges", confidence="high", missing="not told"),
        *_prefix(study),
    ]  # fmt: skip
    rows = tuple((begin, end, seconds) for begin, end, seconds in study.full[:_STRETCHES])
    tables = []
    if rows:
        left = len(study.full) - len(rows)
        columns = (Column("from", "time"), Column("to", "time"), Column("full", "seconds"))
        tables.append(
            Table("kv_full", "When the KV cache ran out", columns, rows, f"and {left} stretches more" if left else "")
        )
    return Section("capacity", "Room for requests", "", tuple(figures), tuple(tables), _usage(study))


def _sampled(study: Study, seconds: float | None) -> float | None:
    """One standard deviation of time that was seen by a look at the end of each interval."""
    engines, looks = study.totals.engine("seconds"), study.totals.sums.get(("intervals",))
    if seconds is None or not engines or not looks:
        return None
    share = min(1.0, seconds / engines)
    return math.sqrt(share * (1.0 - share) * engines * study.totals.machine_seconds / looks)


def _headroom(study: Study) -> list[Figure]:
    """Requests that would have fitted besides those that ran, at the mean."""
    found: list[Figure] = []
    for title, engines in study.models.items():
        room, doubt = None, 0.0
        for entity in engines:
            usage, running = (study.totals.mean(entity, name) for name in ("kv_cache_usage_ratio", "requests_running"))
            if usage and running:
                held = running / usage * study.totals.count([entity])
                room, doubt = (room or 0.0) + (1.0 - usage) * held, doubt + _GAUGE_ERROR * held
        key = "kv_room" if len(study.models) == 1 else f"kv_room:{title}"
        found.append(
            figure(key, f"requests more that would fit, mean{study.of(title)}", room, "count",
                   "free KV cache over what a running request holds", "medium",
                   error=None if room is None else max(doubt, _ROOM_ERROR * room),
                   missing="KV cache use or running requests were not told")
        )  # fmt: skip
    return found


def _prefix(study: Study) -> list[Figure]:
    totals = study.totals
    found = [
        study.measure("cached_ratio", evidence="engines' counters", confidence="high",
                      missing="no engine counts cached prompt tokens"),
    ]  # fmt: skip
    saved: float | None = None
    doubt = 0.0
    is_alone = False
    for engines in study.models.values():
        cached, costs = totals.engine("prompt_tokens_cached", engines), study.costs(engines)
        alone = totals.alone(engines)
        each = alone if alone is not None else costs.prompt_token if costs.knows_prefill and costs.is_sure else None
        if cached is not None and each is not None:
            saved, doubt = (saved or 0.0) + cached * each, doubt + max(_COST_ERROR, costs.error) * cached * each
            is_alone = is_alone or alone is not None
    confidence: Confidence = "medium"
    found.append(
        figure("prefix_saved", "prefill time the prefix cache saved", saved, "seconds",
               "cached tokens times what a prompt token takes " + ("alone" if is_alone else "beside decode"),
               confidence, error=doubt,
               missing=study.why("costs", "cached tokens or the cost of a prompt token are not known"),
               note="engine-seconds that were not needed")
    )  # fmt: skip
    return found


def _usage(study: Study) -> tuple[Plot, ...]:
    """KV cache use over time, and the requests that ran and waited."""
    xs = tuple(block.start / 1e9 for block in study.read.blocks)
    usage: list[Series] = []
    requests: list[Series] = []
    for title, engines in study.models.items():
        for name, target in (
            ("kv_cache_usage_ratio", usage), ("requests_running", requests), ("requests_waiting", requests),
        ):  # fmt: skip
            values = [
                one.mean_of(engines, name) if name == "kv_cache_usage_ratio" else one.sum_of(engines, name)
                for one in study.each()
            ]
            if any(value is not None for value in values):
                suffix = "" if name == "kv_cache_usage_ratio" else f" {name.removeprefix('requests_')}"
                target.append(Series(f"{title}{suffix}", tuple(values)))
    plots = []
    if usage:
        plots.append(Plot("kv", "KV cache in use", "lines", xs, tuple(usage), y_title="of the KV cache"))
    if requests:
        plots.append(Plot("requests", "Requests", "lines", xs, tuple(requests), y_unit="count", y_title="requests"))
    return tuple(plots)


def host_section(study: Study) -> Section | None:
    totals = study.totals
    told = study.resource("host")
    if not totals.engines or (told is None and "resources" not in study.read.absent):
        return None
    seconds = told if totals.gpus else None
    missing = study.why("resources", "no GPU tells when it is idle")
    lost = None if seconds is None else tokens_lost(totals, seconds)
    error = study.split_error(totals.busy)
    doubt = None if seconds is None else 0.05 * seconds + _RESOLUTION * totals.machine_seconds
    evidence = "GPU idle while requests ran"
    figures = (
        figure("host_bound", "time the GPUs waited for the host", seconds, "seconds", evidence, "high", error=doubt,
               missing=missing),
        figure("host_bound_ratio", "the same, of all time", ratio(seconds, totals.machine_seconds), "ratio", evidence,
               "high", missing=missing),
        figure("tokens_lost", "tokens that time would have made", lost, "tokens", "at the rate of the busy time",
               "medium" if error is not None else "low",
               error=None if lost is None or not seconds or doubt is None else lost * doubt / seconds,
               missing=missing if seconds is None else "tokens or busy time were not measured"),
    )  # fmt: skip
    advice: tuple[str, ...] = ()
    if seconds is not None and seconds >= 0.15 * totals.machine_seconds:
        advice = (
            "The GPUs wait for the host: CUDA graphs, asynchronous scheduling, more API or tokenizer workers; a second"
            " engine on the same GPU uses the gaps of the first.",
        )
    return Section("host", "Time lost to the host", "", figures, advice=advice)


def tokens_lost(totals: Totals, seconds: float) -> float | None:
    """Tokens that would have been generated in so many seconds, at the rate of the busy time."""
    generated, busy = totals.generated(), totals.busy
    return None if generated is None or busy <= 0 else seconds * generated / busy


def power_section(study: Study) -> Section | None:
    totals, roster = study.totals, study.read.roster
    if not totals.gpus:
        return None
    names = ("throttle_power_ratio", "throttle_thermal_ratio", "throttle_hardware_ratio")
    is_told = any(totals.mean(gpu, name) is not None for gpu in totals.gpus for name in names) or any(
        roster.gpus[gpu].power_limit and roster.gpus[gpu].clock_max for gpu in totals.gpus
    )
    held = study.resource("power") if is_told else None
    clock = study.measure("clock_ratio", evidence="GPUs' clocks, mean", confidence="high",
                          missing="clocks or their maximum were not told")  # fmt: skip
    draws = []
    for gpu in totals.gpus:
        watts, limit = totals.mean(gpu, "power_watts"), roster.gpus[gpu].power_limit
        if watts is not None and limit:
            draws.append(watts / limit)
    figures = (
        figure("power_held", "time power or heat held the clocks down", held, "seconds",
               "throttle reasons of the GPUs, of busy time", "high",
               missing=study.why("resources", "neither reasons nor limits were told")),
        clock,
        figure("power_ratio", "power, of its limit, mean", sum(draws) / len(draws) if draws else None, "ratio",
               "GPUs' power draw", "high", missing="power or its limit was not told"),
    )  # fmt: skip
    return Section("power", "Power and clocks", "", figures, advice=_power_advice(study, held, clock.value))


def _power_advice(study: Study, held: float | None, clock: float | None) -> tuple[str, ...]:
    totals = study.totals
    busy = totals.busy
    if held is not None and totals.seconds and held >= 0.10 * totals.machine_seconds:
        less = (
            f"; at full clock prefill would take at most {percent(1 - clock)} less time, decode hardly less"
            if clock is not None and clock < 1
            else ""
        )
        return (f"The power cap or heat held the clocks down for {duration(held)}: raise it, or cool{less}.",)
    share = ratio(totals.wall["decode"], busy)
    dram = totals.use("memory-bandwidth").decode
    energy = ratio(None if totals.drawn is None else totals.drawn["decode"], totals.all_joules())
    if share is None or share < 0.7 or (dram is not None and dram < 0.4):
        return ()
    part = f" and {percent(energy)} of the energy" if energy is not None else ""
    return (
        f"Decode is {percent(share)} of the busy time{part}. It is bound by memory bandwidth and hardly needs the"
        " SM clock: try locking it lower (nvidia-smi --lock-gpu-clocks) and compare with `phasetop diff`. Published"
        " measurements save up to a third of decode's energy for a few per cent of latency (arXiv 2605.11999).",
    )
