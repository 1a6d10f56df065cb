"""Energy and money: the phase ledger's joules and cost, tokens per joule, cost per million tokens."""

from __future__ import annotations

from collectors.analysis.figures import Column, Figure, Section, Table
from collectors.analysis.measures import total_money
from collectors.analysis.resources import blur
from collectors.analysis.study import Study, figure
from collectors.analysis.sums import plus, ratio
from collectors.analysis.totals import Totals
from collectors.analysis.watts import Watts
from collectors.model import PHASES

_COUNTER = "energy counters of the GPUs, split as their seconds are"
_NO_ENERGY = "no GPU counted energy"
_CONTRAST = 0.20
"""How far the two phases' power may lie from their mean where an interval holds both, relative to the smaller part.

Measured: prefill draws from 0.84 (a GeForce) to 1.5 times (an A100) what decode does."""


def energy_section(study: Study) -> Section | None:
    totals = study.totals
    if not totals.gpus:
        return None
    joules = totals.all_joules()
    doubt = sum(value for key, value in totals.sums.items() if key[0] == "joules-error") if study.has_error else None
    figures: list[Figure] = [
        figure("joules", "energy of all GPUs", joules, "joules", "energy counters of the GPUs", "high",
               missing=_NO_ENERGY),
    ]  # fmt: skip
    if joules is not None:
        counted = sum(
            totals.sums.get(("gpu", gpu, "seconds"), 0.0)
            for gpu in totals.gpus
            if ("joules", gpu, "idle") in totals.sums
        )
        whole = sum(totals.sums.get(("gpu", gpu, "seconds"), 0.0) for gpu in totals.gpus)
        rest = f"of {counted / whole * 100:.0f} % of the GPU time; the rest counts none"
        note = "" if counted > 0.99 * whole else rest
        figures += _split(study, doubt, note)
        if study.watts is None:
            idle, evidence = totals.joules("idle"), _COUNTER
        else:
            idle, evidence = study.watts.idle_share * joules, "energy counters, less prefill and decode"
        figures.append(figure("joules_idle", "energy while idle", idle, "joules", evidence, "medium"))
    counters = "engines' token counters over the energy counters"
    missing = _NO_ENERGY if joules is None else "no engine counted tokens"
    figures += [
        study.measure("mean_watts", evidence="energy over time", confidence="high", missing=_NO_ENERGY),
        study.measure("tokens_per_joule", evidence=counters, confidence="high", missing=missing,
                      note="prompt tokens computed and tokens generated, all energy, idle too"),
        study.measure("joules_per_prompt_token", evidence=counters, confidence="medium", missing=missing),
        study.measure("joules_per_generated_token", evidence=counters, confidence="medium", missing=missing),
    ]  # fmt: skip
    return Section("energy", "Energy", "", tuple(figures))


def _split(study: Study, doubt: float | None, note: str) -> list[Figure]:
    """Energy in prefill and in decode: by the power each phase was found to draw, else as the seconds are."""
    totals = study.totals
    parts = totals.drawn or {}
    told = study.watts
    if told is not None:
        whole = (totals.all_joules() or 0.0) - (totals.joules("unknown") or 0.0)
        spread = 0.0 if told.low is None or told.high is None else (told.high - told.low) / 4 * whole
        alike = _alike(study, told)
        doubt = None if doubt is None or alike is None else (doubt**2 + spread**2) ** 0.5 + alike
        evidence = "energy counters; what each phase draws by regression over intervals"
        draws = {"prefill": told.prefill, "decode": told.decode}
    else:
        doubt = None if doubt is None else doubt + _CONTRAST * min(parts.values())
        evidence, draws = _COUNTER, {}
    found = []
    for phase, value in parts.items():
        words = f"{draws[phase]:.0f} W in {phase}" if draws else ""
        found.append(
            figure(f"joules_{phase}", f"energy in {phase}", value, "joules", evidence,
                   "high" if doubt is not None and doubt <= 0.05 * sum(parts.values()) else "medium", error=doubt,
                   note="; ".join(part for part in (words, note) if part))
        )  # fmt: skip
    return found


def _alike(study: Study, told: Watts) -> float | None:
    """Joules by which the phases' energy may be more apart: seconds booked under the wrong one make them look alike."""
    sums, wall, busy = study.totals.sums, study.totals.wall, study.totals.busy
    wrong = study.split_error(busy)
    if wrong is None or busy <= 0:
        return None
    much = blur(sums["power", "pp"], sums["power", "pd"], sums["power", "dd"], wrong / busy)
    return abs(told.prefill - told.decode) * much * wall["prefill"] * wall["decode"] / busy


def money_section(study: Study) -> Section | None:
    totals, prices = study.totals, study.settings.prices
    money = total_money(totals, study.settings)
    if money is None:
        return None
    split = totals.money_share()
    rule = split[1] if split is not None else "marginal"
    note = (
        "Shapley split: half of what prefill adds beside decode, half of what it takes alone"
        if rule == "Shapley"
        else "marginal split: prefill was not seen alone often enough for a Shapley one"
    )
    evidence = f"GPU time{' and energy' if prices.electricity else ''}, idle time shared out as busy time is"
    missing = "no engine counted tokens" if totals.generated() is None else "no busy time was split"
    share_error = _share_error(study, rule)
    figures = (
        figure(
            "money_share",
            f"prefill, of the busy cost ({rule})",
            None if split is None else split[0],
            "ratio",
            "settled labels",
            "high" if share_error is not None and share_error <= 0.03 else "medium",
            error=share_error,
            missing="no busy time was split",
        ),
        figure("money", "cost of all GPU time", money, "money", "GPU time at the price configured", "high"),
        study.measure("money_in", evidence=evidence, confidence="medium", missing=missing, note=note),
        study.measure("money_out", evidence=evidence, confidence="medium", missing=missing, note=note),
    )
    text = "Prices are those at the end of this report; they are settings, and no measurements."
    return Section("money", "What it cost", text, figures, (_ledger(study, note),))


def _drawn(totals: Totals, gpus: list[str]) -> dict[str, float | None]:
    """Joules of some GPUs by phase, as all of them draw in each; what is left of theirs is idle."""
    joules = {phase: totals.joules(phase, gpus) for phase in PHASES}
    both = totals.drawn
    if both is None or joules["idle"] is None:
        return joules
    for phase, drawn in both.items():
        booked, mine = totals.joules(phase), joules[phase]
        if booked and mine is not None:
            joules[phase] = drawn * mine / booked
            joules["idle"] -= drawn * mine / booked - mine
    joules["idle"] = max(0.0, joules["idle"])
    return joules


def _share_error(study: Study, rule: str) -> float | None:
    """One standard deviation of prefill's part of the busy cost."""
    if rule == "Shapley":
        return study.shapley_error(list(study.totals.engines))
    seconds = study.totals.device_seconds
    return ratio(study.split_error(seconds["prefill"] + seconds["decode"]), seconds["prefill"] + seconds["decode"])


def _ledger(study: Study, note: str) -> Table:
    """GPU time, energy and money by model and phase."""
    totals, prices = study.totals, study.settings.prices
    groups: dict[str, list[str]] = {}
    for entity in totals.gpus:
        groups.setdefault(study.read.roster.model_of_gpu(entity), []).append(entity)
    rows: list[tuple[str | float | None, ...]] = []
    for title, gpus in groups.items():
        seconds = totals.phases(gpus)
        engines = [one for one in study.models.get(title, ()) if set(totals.engines[one].gpus) & set(gpus)]
        share = totals.shapley_share(engines) if engines else None
        joules = _drawn(totals, gpus)
        busy, energy = seconds["prefill"] + seconds["decode"], plus(joules["prefill"], joules["decode"])
        if share is not None:
            seconds["prefill"], seconds["decode"] = busy * share, busy * (1.0 - share)
            if energy is not None:
                joules["prefill"], joules["decode"] = energy * share, energy * (1.0 - share)
        tokens = {"prefill": totals.computed(engines), "decode": totals.generated(engines)} if engines else {}
        for phase in PHASES:
            if seconds[phase] <= 0:
                continue
            cost = prices.money(seconds[phase], joules[phase])
            million = ratio(cost * 1e6, tokens.get(phase))
            rows.append((title, phase, seconds[phase], joules[phase], cost, tokens.get(phase), million))
    columns = (
        Column("model"), Column("phase"), Column("GPU time", "seconds"), Column("energy", "joules"),
        Column("cost", "money"), Column("tokens", "tokens"), Column("a million tokens", "money_per_million"),
    )  # fmt: skip
    return Table("money_ledger", "By model and phase", columns, tuple(rows), f"{note}; without idle time")
