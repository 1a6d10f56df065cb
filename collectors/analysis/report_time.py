"""Where the time went: phase share over time, the phase ledger's seconds, the bottleneck ledger."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.analysis.figures import Cell, Column, Plot, Section, Series, Table
from collectors.analysis.study import Study, figure
from collectors.analysis.sums import ratio
from collectors.analysis.totals import Totals
from collectors.analysis.words import duration, percent
from collectors.model import HOST, PHASES, Confidence

_LABELS = "settled labels"
_NOT_COUNTED = 0.01
"""Of the time, where counters are read at steps: the ends of the first and the last scrape are no gap."""
_NODES_SHOWN = 60


def time_section(study: Study) -> Section:
    totals = study.totals
    wall, device = totals.wall, totals.device_seconds
    busy = totals.busy
    error = study.split_error(busy)
    share = None if busy <= 0 else wall["prefill"] / busy
    confidence = _confidence(None if error is None or not busy else error / busy)
    kind, who = "GPU" if totals.gpus else "engine", study.subject
    figures = [
        figure("prefill_share", "prefill, of busy time", share, "ratio", _LABELS, confidence,
               error=None if error is None or not busy else error / busy, missing="no busy time was split",
               note="marginal: what a step took beyond its decode part alone" + (
                   "" if study.has_error else "; no error is stated")),
        study.measure("busy_ratio", evidence=_LABELS, confidence="high", missing="all time is unknown"),
        figure("wall_prefill", f"{who} in prefill", wall["prefill"], "seconds", _LABELS, confidence, error=error),
        figure("wall_decode", f"{who} in decode", wall["decode"], "seconds", _LABELS, confidence, error=error),
        figure("wall_idle", f"{who} idle", wall["idle"], "seconds", _LABELS, "high"),
        figure("wall_waiting", "requests there, nothing running", wall["waiting"], "seconds", _LABELS, "high"),
        figure("wall_unknown", "unknown", wall["unknown"], "seconds", _LABELS, "high"),
    ]  # fmt: skip
    if totals.gpus or totals.engines:
        device_busy = device["prefill"] + device["decode"]
        device_error = study.split_error(device_busy)
        figures += [
            figure(f"device_{phase}", f"{kind}-seconds in {phase}", device[phase], "seconds", f"labels of each {kind}",
                   confidence, error=device_error if phase in ("prefill", "decode") else None)
            for phase in ("prefill", "decode", "idle")
        ]  # fmt: skip
    length = study.read.end / 1e9 - study.read.start / 1e9
    gap = max(0.0, length * max(1, len(study.read.nodes)) - totals.machine_seconds)
    if gap > 1.0 + _NOT_COUNTED * length * bool(study.read.absent):
        figures.append(figure("gap", "not recorded", gap, "seconds", "between what was counted", "high"))
    return Section(
        "time", "Where the time went",
        "A phase share is a share of busy time. Every second is in exactly one phase.",
        tuple(figures), (_ledger(study, kind), *_nodes(study)), (_bands(study),),
    )  # fmt: skip


def _confidence(error: float | None) -> Confidence:
    if error is None:
        return "low"
    return "high" if error <= 0.03 else "medium" if error <= 0.10 else "low"


def _ledger(study: Study, kind: str) -> Table:
    """Seconds of each model's devices by phase."""
    totals = study.totals
    rows: list[tuple[Cell, ...]] = []
    groups: dict[str, list[str]] = {}
    for entity in totals.gpus:
        groups.setdefault(study.read.roster.model_of_gpu(entity), []).append(entity)
    if not totals.gpus:
        groups = study.models
    for title, entities in groups.items():
        seconds = totals.phases(entities)
        rows.append((title, float(totals.count(entities)), *(seconds[phase] for phase in PHASES)))
    columns = (Column("model"), Column(f"{kind}s", "count"), *(Column(phase, "seconds") for phase in PHASES))
    return Table("phase_ledger", f"{kind}-seconds by model and phase", columns, tuple(rows), "marginal split")


def _nodes(study: Study) -> Iterator[Table]:
    """The nodes of a fleet, those that were counted least first."""
    nodes = sorted(study.read.nodes, key=lambda one: (one.seconds, one.name))
    if not nodes:
        return
    length = (study.read.end - study.read.start) / 1e9
    rows: list[tuple[Cell, ...]] = []
    for one in nodes[:_NODES_SHOWN]:
        busy = one.phases.get("prefill", 0.0) + one.phases.get("decode", 0.0)
        known = sum(one.phases.values()) - one.phases.get("unknown", 0.0)
        rows.append(
            (one.name, ratio(one.seconds, length), ratio(busy, known), ratio(one.phases.get("prefill", 0.0), busy),
             one.bottleneck, ratio(one.computed, one.seconds), ratio(one.generated, one.seconds),
             ratio(one.joules, one.seconds))
        )  # fmt: skip
    columns = (
        Column("node"), Column("counted", "ratio"), Column("busy", "ratio"), Column("prefill, of it", "ratio"),
        Column("held by"), Column("tokens in", "tokens_per_second"), Column("tokens out", "tokens_per_second"),
        Column("power", "watts"),
    )  # fmt: skip
    left = len(nodes) - len(rows)
    note = "counted: of the time; where a node was down or not scraped, it is less" + (
        f"; {left} more nodes were counted longer" if left else ""
    )
    yield Table("nodes", "Nodes", columns, tuple(rows), note)


def _bands(study: Study) -> Plot:
    """Shares of time by phase over time."""
    columns = [
        (one.start, one.end, {phase: float(getattr(one, phase)) for phase in PHASES}) for one in study.strip
    ] or [
        (block.start, block.end, {phase: block.sums.get(("phase", HOST, phase), 0.0) for phase in PHASES})
        for block in study.read.blocks
    ]  # fmt: skip
    shares: dict[str, list[float | None]] = {phase: [] for phase in PHASES}
    for _, _, seconds in columns:
        whole = sum(seconds.values())
        for phase in PHASES:
            shares[phase].append(seconds[phase] / whole if whole else None)
    xs = [start / 1e9 for start, _, _ in columns] + [columns[-1][1] / 1e9]
    return Plot(
        "phase_share", "Phases over time", "bands", tuple(xs),
        tuple(Series(phase, tuple(shares[phase])) for phase in PHASES), y_title="of the time",
    )  # fmt: skip


def bottleneck_section(study: Study) -> Section | None:
    names = study.bottlenecks()
    if not names:
        return None
    totals = study.totals
    resources = {str(key[1]): value for key, value in totals.sums.items() if key[0] == "resource"}
    headlines = dict(names)
    ranked = sorted({*resources, *headlines}, key=lambda one: -(resources.get(one, 0.0) + headlines.get(one, 0.0)))
    rows: list[tuple[Cell, ...]] = [
        (name, headlines.get(name, 0.0), resources.get(name), totals.sums.get(("admission", name))) for name in ranked
    ]
    inferred, seconds = totals.sums.get(("inferred",), 0.0), totals.machine_seconds
    figures = [
        figure("bottleneck_minutes", f"held by {names[0][0]}", names[0][1], "seconds", f"labels of the {study.subject}",
               "medium" if inferred > 0.5 * seconds else "high"),
    ]  # fmt: skip
    text = "Headline: what an interval was named after."
    absent = study.read.absent.get("resources")
    text += (
        f" What else it limited, and what requests waited for: {absent}."
        if absent
        else " Limited by: a partition of the time over resources."
        " Kept out: time in which requests waited outside because of it."
    )
    if inferred > 0.05 * seconds:
        text += (
            f" For {duration(inferred)} ({percent(inferred / seconds)}) the partition follows from the phases"
            " alone; no hardware counter told."
        )
    unlabelled = totals.sums.get(("unlabelled",), 0.0)
    if unlabelled > 0:
        text += f" {duration(unlabelled)} have no label yet."
    columns: tuple[Column, ...] = (Column("name"), Column("headline", "seconds"), Column("limited by", "seconds"),
               Column("kept out", "seconds"))  # fmt: skip
    if absent:  # no more columns than there are figures
        columns, rows = columns[:2], [row[:2] for row in rows]
    table = Table("bottleneck_ledger", "Time each bottleneck owned", columns, tuple(rows))
    return Section("bottleneck", "What held it back", text, tuple(figures), (table,), (_limits(study),))


def _limits(study: Study) -> Plot:
    """Shares of time by limiting resource over time; by headline where no partition of the time is known."""
    kind = "bottleneck" if "resources" in study.read.absent else "resource"
    names = sorted({str(key[1]) for key in study.totals.sums if key[0] == kind})
    xs: list[float] = []
    shares: dict[str, list[float | None]] = {name: [] for name in names}
    for block in study.read.blocks:
        values = {name: block.sums.get((kind, name), 0.0) for name in names}
        whole = Totals(block, study.read.roster).machine_seconds
        xs.append(block.start / 1e9)
        for name in names:
            shares[name].append(values[name] / whole if whole else None)
    xs.append(study.read.blocks[-1].end / 1e9)
    return Plot(
        "limits", f"What {'limited it' if kind == 'resource' else 'it was named after'} over time", "bands", tuple(xs),
        tuple(Series(name, tuple(shares[name])) for name in names), y_title="of the time",
    )  # fmt: skip
