"""Latencies, what was promised of them, what prefill adds to them, and whether to separate the two."""

from __future__ import annotations

from collectors.analysis.deployment import Plan, verdict
from collectors.analysis.figures import Cell, Column, Figure, Plot, Section, Series, Table
from collectors.analysis.interference import Interference
from collectors.analysis.queries import LATENCIES
from collectors.analysis.study import Study, figure
from collectors.analysis.totals import surely_within, within
from collectors.analysis.words import latency, quantile
from collectors.histogram import Histogram
from collectors.model import Confidence

_NAMES = {"ttft": "time to first token", "tpot": "time per output token", "e2e": "request", "queue": "queue"}
_BOOTSTRAPPED = "bounds: 95 % of a block bootstrap"
_BOUNDED = f"{_BOOTSTRAPPED}, and the labels' stated error"
_IN_BUCKET = "; bounds: wherever the observations lie within the promise's bucket"
_HISTOGRAMS = "engines' histograms, merged before quantiles are taken"


def latency_section(study: Study) -> Section | None:
    rows: list[tuple[Cell, ...]] = []
    plots = []
    for field in LATENCIES:
        series = []
        for title, engines in study.models.items():
            histogram = study.totals.histogram(field, engines)
            if histogram is None or not histogram.count:
                continue
            rows.append(
                (_NAMES[field], title, float(histogram.count), histogram.mean,
                 *(_told(histogram, q) for q in (0.5, 0.9, 0.95, 0.99)))
            )  # fmt: skip
            series.append((title, histogram))
        if field in ("ttft", "tpot") and series:
            bounds = tuple(sorted({bound for _, one in series for bound in one.bounds}))
            lines = []
            for title, one in series:
                reached = {bound: sum(one.counts[: index + 1]) / one.count for index, bound in enumerate(one.bounds)}
                lines.append(Series(title, tuple(reached.get(bound) for bound in bounds)))
            marks = {
                objective.seconds: f"promised to {objective.name}"
                for title in study.models
                if (objective := study.settings.promises.of(title).of(field)) is not None
            }
            plots.append(
                Plot(f"cdf_{field}", f"{_NAMES[field].capitalize()}: share at most so long", "lines", bounds,
                     tuple(lines), "seconds", "ratio", _NAMES[field], "of the observations", log_x=True,
                     marks=tuple(marks.items()))
            )  # fmt: skip
    if not rows:
        return None
    columns = (
        Column("latency"), Column("model"), Column("observed", "count"), Column("mean", "seconds"),
        *(Column(name, "seconds") for name in ("p50", "p90", "p95", "p99")),
    )  # fmt: skip
    table = Table("latencies", "Latencies", columns, tuple(rows), f"{_HISTOGRAMS}; linear within a bucket")
    figures, owners = _promises(study)
    return Section("latency", "Latency and what was promised", "", tuple(figures), (table, *owners), tuple(plots))


def _told(histogram: Histogram, q: float) -> Cell:
    """A quantile; in words where only a bound of it is known."""
    return quantile(histogram, q) if histogram.is_beyond(q) else histogram.quantile(q)


def _promises(study: Study) -> tuple[list[Figure], list[Table]]:
    """Goodput and who owned the misses."""
    figures: list[Figure] = []
    rows: list[tuple[Cell, ...]] = []
    totals = study.totals
    for title, engines in study.models.items():
        shares: dict[str, tuple[float, float, float]] = {}
        for field, name in (("ttft", "TTFT"), ("tpot", "TPOT")):
            objective = study.settings.promises.of(title).of(field)
            buckets = totals.buckets(field, engines)
            seen = sum(buckets.values())
            if objective is None:
                continue
            key = f"{field}_met" if len(study.models) == 1 else f"{field}_met:{title}"
            what = "first tokens" if field == "ttft" else "output tokens"
            share = within(buckets, objective.seconds) / seen if seen else None
            least, most = (part / seen for part in surely_within(buckets, objective.seconds)) if seen else (0.0, 1.0)
            is_exact = most - least < 0.0005
            figures.append(
                figure(key, f"{what} within {latency(objective.seconds)}{study.of(title)}", share, "ratio",
                       f"{name} histogram, {seen:.0f} observations", _sureness(seen, most - least),
                       bounds=None if is_exact else (least, most), missing=f"no {name} was observed",
                       note=f"promised to {objective.quantile * 100:g} %{'' if is_exact else _IN_BUCKET}")
            )  # fmt: skip
            if share is None:
                continue
            shares[field] = (least, share, most)
            missed = seen - within(buckets, objective.seconds)
            if missed < 0.5:
                continue
            for held in sorted(totals.held(field)):
                part = totals.buckets(field, engines, held)
                count = sum(part.values())
                late = count - within(part, objective.seconds)
                if late >= 0.5:
                    rows.append((title, name, held, float(round(late)), late / missed, late / count))
        requests = totals.engine("first_tokens", engines) or sum(totals.buckets("ttft", engines).values())
        if "ttft" in shares and requests and totals.seconds:
            rate = requests / totals.seconds
            first, later = shares["ttft"], shares.get("tpot", (1.0, 1.0, 1.0))
            low, high = max(0.0, first[0] + later[0] - 1.0) * rate, min(first[2], later[2]) * rate
            key = "goodput" if len(study.models) == 1 else f"goodput:{title}"
            figures.append(
                figure(key, f"goodput{study.of(title)}", first[1] * later[1] * rate, "per_second",
                       "first tokens times the shares met", _sureness(requests, (high - low) / rate),
                       bounds=(low, high),
                       note="requests a second whose first token and whose share of later tokens were in time; bounds"
                       " are for any dependence between the two and any place within a bucket")
            )  # fmt: skip
    rows.sort(key=lambda row: -float(row[3] or 0.0))
    columns = (
        Column("model"), Column("promise"), Column("bottleneck then"), Column("missed", "count"),
        Column("of the misses", "ratio"), Column("of its own", "ratio"),
    )  # fmt: skip
    tables = [Table("slo_misses", "Who owned the misses", columns, tuple(rows))] if rows else []
    return figures, tables


def _sureness(seen: float, spread: float) -> Confidence:
    """Of a share of so many observations that bounds so far apart enclose."""
    if spread > 0.2:
        return "low"
    return "high" if seen >= 1000 and spread <= 0.02 else "medium"


def interference_section(study: Study) -> Section | None:
    figures: list[Figure] = []
    points: list[Plot] = []
    for title, found in study.delays.items():
        if found is None:
            continue
        many = len(study.models) > 1
        late = any("tpot" in study.totals.engines[one].late_fields for one in study.models[title])
        evidence = f"regression over intervals, {found.tokens:.0f} tokens"
        is_told = found.added is not None and found.low is not None and found.low > 0
        confidence: Confidence = "low" if late or not is_told else "high" if _agrees(found) else "medium"
        figures += [
            figure(_key("time_per_token", title, many), f"time per output token{study.of(title)}", found.time_per_token,
                   "seconds", "engines' histograms", "high"),
            figure(_key("added_by_prefill", title, many), "of which prefill added, by regression", found.added,
                   "seconds", evidence, confidence,
                   bounds=_bounds(study, found, study.totals.recomputed(study.models[title])),
                   missing="prefill beside decode hardly varied",
                   note=_BOUNDED if study.has_error else _BOOTSTRAPPED),
            figure(_key("added_by_accounting", title, many), "the same by the labels' split of each step",
                   found.accounted, "seconds", "settled labels and step counts", "medium"),
        ]  # fmt: skip
        points += _scatter(study, title)
    if not figures:
        return None
    return Section(
        "interference", "What prefill does to the tokens of others",
        "A step that computes prompts takes longer, and everybody who decodes in it waits.", tuple(figures),
        plots=tuple(points),
    )  # fmt: skip


def _bounds(study: Study, found: Interference, recomputed: float) -> tuple[float, float] | None:
    """Those of the bootstrap, wider by what the labels may be wrong (the regression repairs no more than a factor),
    and at least as far as the accounting with its own error: the regression leans towards 0 where prefill is noisy.
    Prompts that preempted requests had computed again are in no counter: they may have been beside decode, too."""
    if found.added is None or found.low is None or found.high is None:
        return None
    doubt, prefill = study.split_error(study.totals.busy), study.totals.wall["prefill"]
    part = min(1.0, doubt / prefill) if doubt is not None and prefill > 0 else 0.0
    wrong = found.added * part
    below, above = max(0.0, found.added - found.low), max(0.0, found.high - found.added)
    low, high = found.added - (below**2 + wrong**2) ** 0.5, found.added + (above**2 + wrong**2) ** 0.5
    return min(low, found.accounted * (1.0 - part)), max(high, found.accounted * (1.0 + part)) * (1.0 + recomputed)


def _agrees(found: Interference) -> bool:
    """Whether the two ways tell much the same."""
    if found.added is None:
        return False
    return abs(found.added - found.accounted) <= 0.35 * max(found.added, found.accounted)


def _key(name: str, title: str, many: bool) -> str:
    return f"{name}:{title}" if many else name


def _scatter(study: Study, title: str) -> list[Plot]:
    """Each block's mean time per token over its prefill seconds per step."""
    xs: list[float] = []
    ys: list[float] = []
    for block in study.read.blocks:
        sums = [
            [block.sums.get(("delay", one, name)) or 0.0 for name in ("w", "x", "y")] for one in study.models[title]
        ]
        w, x, y = (sum(column) for column in zip(*sums, strict=True))
        if w >= 20:
            xs.append(x / w)
            ys.append(y / w)
    if len(xs) < 3:
        return []
    return [
        Plot(f"interference:{title}", f"Time per token over prefill, {title}", "points", tuple(xs),
             (Series(title, tuple(ys)),), "seconds", "seconds", "prefill in a decode step", "time per token")
    ]  # fmt: skip


def disaggregation_section(study: Study) -> Section | None:
    figures: list[Figure] = []
    advice: list[str] = []
    for title, engines in study.models.items():
        found = study.plan(title)
        many = len(study.models) > 1
        delay = study.delays[title]
        objective = study.settings.promises.of(title).tpot
        buckets = study.totals.buckets("tpot", engines)
        met = within(buckets, objective.seconds) / sum(buckets.values()) if objective and buckets else None
        added = None if delay is None else (delay.added if delay.added is not None else delay.accounted)
        share = None if added is None or delay is None else max(0.0, added) / delay.time_per_token
        roles = {study.totals.engines[one].role for one in engines}
        told, reasons = verdict(
            share,
            met,
            objective.quantile if objective else 0.0,
            found,
            study.totals.count(engines),
            bool(roles & {"prefill"}),
        )
        advice.append(f"{title}: {told}" + (f" ({'; '.join(reasons)})" if reasons else ""))
        if found is not None:
            advice.append(_in_words(title, found))
        figures.append(
            figure(_key("prefill_per_decode", title, many), f"prefill instances per decode instance{study.of(title)}",
                   None if found is None else found.ratio, "count",
                   "" if found is None else f"calibrated costs, {study.costs(engines).windows} windows",
                   "medium" if found is not None and found.is_alone_measured else "low",
                   bounds=None if found is None else (found.low, found.high),
                   missing=study.why("costs", "costs of steps and prompts are not calibrated"))
        )  # fmt: skip
    if not advice:
        return None
    return Section(
        "disaggregation", "Prefill and decode on instances of their own",
        "The ratio that keeps both kinds of instance equally busy under this load.", tuple(figures),
        advice=tuple(advice),
    )  # fmt: skip


def _in_words(title: str, found: Plan) -> str:
    if found.ratio >= 1:
        told = f"{found.ratio:.1f} prefill instances for each decode instance"
    else:
        told = f"{1 / found.ratio:.1f} decode instances for each prefill instance"
    return (
        f"{title}, separated: {told}, decoding batches of {found.batch:.0f} at {latency(found.tpot)} a token"
        f" (bounded by {found.limit}); this load keeps {found.prefill_load:.2g} and {found.decode_load:.2g} of them"
        f" busy{'' if found.is_alone_measured else '; prefill was never alone, what it takes then is estimated'}."
    )
